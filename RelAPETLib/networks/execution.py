"""Other ways through the same networks: a GPU's, off until somebody has measured what they win, and one in less memory.

Sums are taken in another order, so that results differ in rounding.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ..errors import InputError
from ..notices import printable

if TYPE_CHECKING:
    import torch

#: ``channels_last``: weights and activations with their channels last. ``compile``: the U-Nets by torch.compile.
#: ``graphs``: compiled and replayed as CUDA graphs, which saves small networks the time that starting kernels takes.
WAYS = ("channels_last", "compile", "graphs")
#: Environment variable that names some of them, with commas between, for models on CUDA devices.
SETTING = "RELAPET_GPU_WAYS"
_in_slabs: ContextVar[bool] = ContextVar("relapet_in_slabs", default=False)


@contextmanager
def in_slabs(wanted: bool = True) -> Iterator[None]:
    """Has U-Nets of `build_generator` compute slab by slab (`lean_unet`) meanwhile, or not, in this context alone."""
    before = _in_slabs.set(wanted)
    try:
        yield
    finally:
        _in_slabs.reset(before)


def slabs_wanted() -> bool:
    """Whether `in_slabs` asks for them."""
    return _in_slabs.get()


def ways_asked_for(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Those of `WAYS` that `SETTING` names. Raises `InputError` for another word."""
    words = tuple(word.strip() for word in environment.get(SETTING, "").split(",") if word.strip())
    for word in words:
        if word not in WAYS:
            raise InputError(
                f"unknown way '{word[:40]}' in {SETTING}; use some of {', '.join(WAYS)}, or leave it unset"
            )
    return tuple(way for way in WAYS if way in words)


def compiler_failure(error: BaseException) -> str | None:
    """What torch.compile says of itself, in one line, where it is what failed; it does so at the first call."""
    if not type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.")):
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"torch.compile failed: {printable(' '.join(lines[:2])) if lines else type(error).__name__}"


def take_ways(network: torch.nn.Module, ways: Sequence[str], backend: str = "inductor") -> None:
    """Have a network compute so, unless it does; with none of `WAYS`, as torch does by itself again.

    Args:
        network: in place; values and names of its weights stay.
        backend: of torch.compile.
    """
    import torch
    from monai.networks.nets import DiffusionModelUNet

    if getattr(network, "ways", ()) == tuple(ways):
        return
    network.ways = tuple(ways)
    network.to(memory_format=torch.channels_last_3d if "channels_last" in ways else torch.contiguous_format)
    for part in network.modules():
        if not isinstance(part, DiffusionModelUNet):
            continue
        if "graphs" in ways:
            part.compile(backend=backend, dynamic=False, mode="reduce-overhead")
            part._compiled_call_impl = _replayed(part._compiled_call_impl, part._call_impl)
        elif "compile" in ways:
            part.compile(backend=backend, dynamic=False)
        else:
            part._compiled_call_impl = None


def _replayed(compiled: Callable[..., torch.Tensor], plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A network replayed as CUDA graphs, called as if it were none.

    A graph's result lies where the next replay writes, so that what is kept over steps is copied. Inputs are copied to
    the graph's own places by torch, which also records anew where weights have moved. torch's graphs belong to one
    thread (its issue 123177), so that others than the main one go the plain way.
    """
    import torch

    def call(*given, **named) -> torch.Tensor:
        if threading.current_thread() is not threading.main_thread():
            return plain(*given, **named)
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*given, **named).clone()

    return call
