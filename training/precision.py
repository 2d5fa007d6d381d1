"""In which numbers a run computes, decided from what is asked and what the device can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Precision:
    """The decision.

    Attributes:
        name: fp32, tf32, bf16 or fp16.
        fabric: Lightning Fabric's word for it.
        tf32: whether float32 matrix products and convolutions may round their factors to TF32 (CUDA).
    """

    name: str
    fabric: str
    tf32: bool

    @property
    def mixed(self) -> bool:
        """Whether networks compute in half precision with weights in float32."""
        return self.fabric.endswith("mixed")


_FABRIC = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def choose(asked: str, device: str, bfloat16: bool) -> Precision:
    """What ``hardware.precision`` means on a device.

    Args:
        asked: auto, fp32, tf32, bf16 or fp16. Weights stay in float32 under all of them.
        device: cpu, cuda or mps.
        bfloat16: whether the device computes in bfloat16 itself, without emulation.

    Returns:
        Under ``auto`` bf16 where a CUDA device has it, TF32 on older ones (which ignore it where they lack it), and
        float32 elsewhere. What a mixed precision leaves in float32 may use TF32; ``fp32`` itself never does.
    """
    name = asked
    if asked == "auto":
        name = "fp32" if device != "cuda" else "bf16" if bfloat16 else "tf32"
    return Precision(name, _FABRIC[name], device == "cuda" and name != "fp32")


def chosen(asked: str, device: str) -> Precision:
    """`choose` for a device of this machine."""
    import torch

    return choose(asked, device, device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))


def exact(values: torch.Tensor) -> torch.Tensor:
    """Values in float64; in float32 on Apple's GPUs (MPS), which have no wider one and refuse it."""
    return values.float() if values.device.type == "mps" else values.double()


def use(precision: Precision) -> None:
    """Set this process's switches for TF32; float32 is exact without it, also where torch's own default allows it."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = precision.tf32
    torch.backends.cudnn.allow_tf32 = precision.tf32
