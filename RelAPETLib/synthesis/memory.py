"""How much memory drawing takes, known before it starts, and how many samples at a time fit a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..devices import MEASURED_PRECISION, free_memory
from ..errors import DeviceError
from ..host_memory import most_memory
from ..methods.base import DrawOptions
from ..models.trial import drawn_without_values
from ..networks.execution import in_slabs

if TYPE_CHECKING:
    from ..methods.base import Method

#: Memory taken beside and between counted tensors: a share of theirs, and bytes whatever they are. On the CPU set on
#: measured peaks (Testing/library/test_memory_ahead.py), of which the highest came in a process that had done much else
#: before; on others assumed: convolutions have workspaces there.
SHARE = {"cpu": 2.5}
BESIDE = {"cpu": 250e6}
OTHER_SHARE, OTHER_BESIDE = 1.5, 500e6
#: The CPU's own way through a network may take this share of the tensors counted; less memory cannot do.
LEAST = 0.6
#: The same of tensors in bfloat16, which are counted as if they were float32: half of them.
LEAST_HALVED = 0.3


@dataclass(frozen=True)
class Room:
    """How many samples are drawn at a time, and why.

    Attributes:
        batch: samples at a time; 0 where not even one can fit.
        needed: bytes that they need about.
        free: bytes that are free on the device.
        device: which.
        slabs: whether the one sample is to be computed slab by slab, since it would not fit otherwise.
    """

    batch: int
    needed: float
    free: float
    device: str
    slabs: bool = False

    @property
    def tight(self) -> bool:
        """Whether it may turn out to be too little."""
        return self.needed > self.free

    def __str__(self) -> str:
        one = "one sample, computed slab by slab, needs" if self.slabs else "one sample needs"
        samples = one if self.batch <= 1 else f"{self.batch} samples at a time need"
        return (
            f"{samples} about {self.needed / 1e9:.1f} GB of memory; {self.free / 1e9:.1f} GB are free on {self.device}"
        )


def counted_bytes(method: Method, label: int, count: int, options: DrawOptions) -> int | None:
    """Bytes of the tensors that live at one time while a case is encoded and `count` samples are drawn.

    The method works on tensors without values, which takes a tenth of a second and no memory. Weights are left out, and
    the network counts as one that computes in float32.

    Returns:
        None where that cannot be known: the method asks for values, or this torch has no such tensors for it.
    """
    try:
        return drawn_without_values(method, label, count, options)[0]
    except Exception:  # what is only an estimate must not end a synthesis
        return None


def saved_by_slabs(method: Method, label: int, options: DrawOptions, known: dict) -> bool:
    """Whether one sample takes less memory slab by slab (`networks.execution.in_slabs`); `known` as in `find_room`."""
    if {"compile", "graphs"} & set(getattr(method.network, "ways", ())):  # a compiled network goes its own way
        return False
    lean, plain = (_counted(method, label, 1, options, known, slabs) for slabs in (True, False))
    return lean is not None and plain is not None and lean < plain


def find_room(
    method: Method,
    label: int,
    batch: int,
    options: DrawOptions,
    device: str,
    known: dict | None = None,
    precision: str = MEASURED_PRECISION,
    slabs: bool = False,
) -> Room | None:
    """The largest of `batch`, its half, and so on, that fits the memory that is free on a device; else one in slabs.

    Args:
        known: of one method and one number of steps, what was counted before for a batch; what is counted now is added.
        precision: that the network computes in; half a one is refused later, and otherwise counts like a whole one.
        slabs: compute one slab by slab whatever is free.

    Returns:
        None where that is not known: the device does not say what is free, or `counted_bytes` does not know.
    """
    if (free := _asked(free_memory, device)) is None:
        return None
    kind = device.partition(":")[0]
    share, beside = SHARE.get(kind, OTHER_SHARE), BESIDE.get(kind, OTHER_BESIDE)
    known, batch = {} if known is None else known, 1 if slabs else batch
    while True:
        counted = _counted(method, label, batch, options, known, slabs)
        if counted is None:
            return None
        needed = share * counted + beside
        if needed <= free or slabs:
            break
        if batch == 1 and not saved_by_slabs(method, label, options, known):
            break
        batch, slabs = max(batch // 2, 1), batch == 1
    least = (LEAST if precision == MEASURED_PRECISION else LEAST_HALVED) * counted
    short = least > free
    if short and device == "cpu":
        most = _asked(most_memory)
        short = most is not None and least > most
    return Room(0 if short else batch, needed, free, device, slabs)


def _counted(method: Method, label: int, batch: int, options: DrawOptions, known: dict, slabs: bool) -> int | None:
    """`counted_bytes`, which are kept in `known`."""
    if (batch, slabs) not in known:
        with in_slabs(slabs):
            known[batch, slabs] = counted_bytes(method, label, batch, options)
    return known[batch, slabs]


def _asked(figure: Callable[..., float | None], *arguments) -> float | None:
    """What the system says; None where it does not."""
    try:
        return figure(*arguments)
    except Exception:  # drivers and systems have ways of their own to fail
        return None


def refusal(room: Room) -> DeviceError:
    """What to say where not even one sample can fit."""
    return DeviceError(f"{room}; close other programs, or choose a model of latents or of larger voxels")
