"""Whether this machine can do what the configuration asks of it; known before any process is started."""

from __future__ import annotations

import os

from .config import TrainConfig, layout
from .errors import ConfigError

#: CPU ranks a core; more would only wait for one another.
RANKS_A_CORE = 4


def check_machine(config: TrainConfig) -> None:
    """Raise `ConfigError` naming the key for a layout, device or precision that cannot be."""
    hardware = config.hardware
    ranks = hardware.devices * hardware.nodes
    _check_devices(config)
    layout(config, ranks)
    config.check_ranks(ranks)


def device_kind(accelerator: str) -> str:
    """cpu, cuda or mps: what ``hardware.accelerator`` means on this machine."""
    import torch

    if accelerator not in ("auto", "gpu"):
        return accelerator
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if accelerator == "gpu" or (torch.cuda.is_available() and torch.cuda.device_count()) else "cpu"


def _check_devices(config: TrainConfig) -> None:
    import torch

    hardware = config.hardware
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = int(torch.backends.mps.is_available())
    there = {"cuda": gpus, "mps": mps, "cpu": RANKS_A_CORE * (os.cpu_count() or 1)}
    kind = device_kind(hardware.accelerator)
    if not there[kind]:
        raise ConfigError(
            f"hardware.accelerator={hardware.accelerator}: this machine has none that torch can use; use "
            "hardware.accelerator=cpu or auto, or see what 'relapet doctor' says"
        )
    # torchrun may show each of its processes one GPU alone.
    one_each = kind == "cuda" and gpus == 1 and "TORCHELASTIC_RUN_ID" in os.environ
    if hardware.devices > there[kind] and not one_each:
        words = f"{os.cpu_count()} cores" if kind == "cpu" else f"{there[kind]} of {kind}"
        raise ConfigError(f"hardware.devices={hardware.devices}: this machine has {words}; use at most {there[kind]}")
    if kind != "cuda" and hardware.compile:
        raise ConfigError(f"hardware.compile=true is for CUDA GPUs, and this run is on {kind}; use false")
    if kind == "cpu" and hardware.precision in ("fp16", "tf32"):
        raise ConfigError(f"hardware.precision={hardware.precision} needs a GPU; use bf16 or fp32")
    if kind == "cuda" and hardware.precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError("hardware.precision=bf16: this GPU has no bfloat16; use fp16 or fp32")
