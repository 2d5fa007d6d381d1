"""Computing devices: choosing one, describing what there is, and knowing when one is full."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from .errors import DeviceError
from .host_memory import control_group_memory, free_host_bytes

if TYPE_CHECKING:
    import torch

DEVICE_CHOICES = "auto, cpu, cuda, cuda:0 (or another number) or mps"


def share_the_cores() -> None:
    """Let torch's threads (GNU OpenMP's) sleep after some microseconds without work, where the user has not chosen.

    They would turn round for milliseconds, on cores that other programs want: `Testing/benchmarks/busy_machine.py`.
    Torch reads it when it is imported, so programs call this before.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "3000"


def resolve_device(name: str = "auto") -> str:
    """The torch device that a name stands for: ``cpu``, ``cuda:i`` or ``mps``.

    ``auto`` takes the first CUDA GPU, else Apple's MPS, else the CPU.

    Raises:
        DeviceError: the name is unknown, or this machine (or this build of torch) has no such device.
    """
    name = str(name).strip().lower()
    match = re.fullmatch(r"auto|cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"unknown device '{name}'; use {DEVICE_CHOICES}")
    if name == "cpu":
        return name

    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("no MPS device on this machine; use --device auto or cpu")
        return name
    if not gpus:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no GPU it can use"
        raise DeviceError(f"no CUDA device: {why}; use --device auto or cpu, or run 'relapet doctor'")
    number = int(match.group(1) or 0)
    if number >= gpus:
        raise DeviceError(f"no device cuda:{number}; this machine has {gpus} CUDA device(s), cuda:0 to cuda:{gpus - 1}")
    return f"cuda:{number}"


def describe_devices() -> list[dict]:
    """Every device torch can use: ``{"device", "name", "total_gib", "free_gib", "attention"}``.

    Memory is None where it is not known; for attention see `attention_backend`.
    """
    import platform

    import psutil
    import torch

    gib = 1024**3
    memory, limit = psutil.virtual_memory(), control_group_memory()
    threads = torch.get_num_threads()
    found = [
        {
            "device": "cpu",
            "name": f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, {threads} threads",
            "total_gib": memory.total / gib,
            "free_gib": min(memory.available, limit) / gib,
        }
    ]
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        found.append({"device": f"cuda:{number}", "name": name, "total_gib": total / gib, "free_gib": free / gib})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "total_gib": None, "free_gib": None})
    return [each | {"attention": attention_backend(each["device"])} for each in found]


def free_memory(device: str) -> float | None:
    """Bytes that a new computation can have on a device; None where that is not known (MPS).

    On the CPU a limit of this process's control group counts, as containers and Slurm set one; on a GPU also what torch
    has reserved there and does not use.
    """
    if device == "cpu":
        return free_host_bytes()
    import torch

    if not device.startswith("cuda"):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


#: Types that a network may compute in: as its weights are, or products in bfloat16 with the rest as it is.
PRECISIONS = ("fp32", "bf16")
#: What models were measured in: their calibration, steps and shares of draws.
MEASURED_PRECISION = "fp32"


def check_precision(precision: str, device: str) -> None:
    """Raise `DeviceError` where a device cannot compute in one of `PRECISIONS`."""
    import torch

    if precision == "fp32":
        return
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.amp.is_autocast_available(device)
    if not able:
        raise DeviceError(f"{device} does not compute in {precision}", "use --precision fp32")


def computing(precision: str, device: str) -> AbstractContextManager:
    """Has networks compute in one of `PRECISIONS` on a device: products in it, norms and sums as torch has them.

    `full_precision` takes parts out.
    """
    import torch

    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def describe_precision(precision: str, device: str) -> str:
    """The same for a record: on a CUDA GPU torch rounds the factors of float32 convolutions to TF32 by default."""
    if precision != "fp32" or not device.startswith("cuda"):
        return precision
    import torch

    try:
        rounded = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # somebody told convolutions apart, as torch lets one since 2.9
        rounded = torch.backends.cudnn.conv.fp32_precision == "tf32"
    return "fp32, TF32 in convolutions" if rounded else precision


def attention_backend(device: str, precision: str = "fp32") -> str:
    """The way that torch's attention takes on a device for heads of 32 channels.

    Returns:
        ``flash_attention``, ``efficient_attention`` or ``cudnn_attention``, which keep no product of queries and keys;
        ``math``, which does; ``unknown`` where torch does not tell.
    """
    import torch
    from torch.nn.attention import SDPBackend

    ask = getattr(torch, "_fused_sdp_choice", None)
    if ask is None:
        return "unknown"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        with torch.inference_mode():
            tokens = torch.zeros(1, 2, 64, 32, dtype=dtype, device=device)
            return SDPBackend(ask(tokens, tokens, tokens)).name.lower()
    except NotImplementedError:  # the device has none of its own
        return "math"
    except Exception:  # a record must not fail for it
        return "unknown"


def full_precision(device: str | torch.device) -> AbstractContextManager:
    """Computes as tensors' own types say, whatever autocast is on around it."""
    import torch

    kind = torch.device(device).type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is full: torch's own class, or the words of MPS, cuDNN and the CPU."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    words = ("out of memory", "cudnn_status_alloc_failed", "defaultcpuallocator", "not enough memory")
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def free_device_memory(device: str) -> None:
    """Hand cached memory of a GPU back, before another attempt with less."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def free_host_memory() -> None:
    """Hand memory of this process that is free back to the system; without glibc that is left to its allocator.

    Volumes lie in glibc's heap (`mallopt(3)`: its threshold for mapping grows with what was freed), and small objects
    that are made between them keep it from shrinking: without this call a process that does one person after the
    other takes some 10 MB more with each.
    """
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


#: Parameters of glibc's `mallopt`, and what they become by themselves in a process that has freed a lot.
_TRIM, _MMAP = -1, -3
_GROWN = {_TRIM: 64 * 1024**2, _MMAP: 32 * 1024**2}
_keeping = [0, threading.Lock()]


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep the memory that is freed meanwhile, for what comes next, and hand it back to the system at the end.

    Otherwise glibc maps each large tensor anew, and the system clears page by page what was the process's own a moment
    before: a seventh of a voxel generator's time on a CPU (``results/generator_cpu.md``). It is the allocator of the
    whole process, so the first to enter sets it and the last to leave resets it. Elsewhere than with glibc nothing is
    done.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    with _keeping[1]:
        _keeping[0] += 1
        libc.mallopt(_MMAP, 1024**3)
        libc.mallopt(_TRIM, 2**31 - 1)
    try:
        yield
    finally:
        with _keeping[1]:
            _keeping[0] -= 1
            if not _keeping[0]:
                for parameter, value in _GROWN.items():
                    libc.mallopt(parameter, value)
                libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
