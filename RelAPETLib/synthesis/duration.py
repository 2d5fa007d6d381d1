"""How long a method that is slow on a CPU would take there, and the user's consent to that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..devices import MEASURED_PRECISION, computing
from ..errors import LongRunError
from ..networks.execution import in_slabs

if TYPE_CHECKING:
    from ..methods.base import Method
    from ..models import Model

#: Synthesis by a method that is slow on a CPU needs the user's consent beyond this.
CONSENT_MINUTES = 30.0


def check_duration(
    model: Model, label: int, steps: int, samples: int, yes: bool, progress=None, precision: str = MEASURED_PRECISION
) -> float | None:
    """Estimate how long a method that is slow on a CPU takes there, and ask for consent when that is long.

    Returns:
        Estimated seconds, or None where nothing was timed (a fast method, or a GPU).

    Raises:
        LongRunError: more than half an hour and `yes` is False.
        DeviceError: there is no room for one step.
    """
    if not model.method.defaults.slow_on_cpu or str(model.device) != "cpu":
        return None
    if progress:
        progress(0.0, "timing one step of the model on the CPU")
    slabs = _slabs_needed(model.method, label, precision)
    with computing(precision, model.device), in_slabs(slabs):
        step = model.method.seconds_per_step(label)
    total = step * steps * samples
    words = f"one step takes {step:.1f} s on this CPU: about {_minutes(total)} for {steps} steps, {samples} sample(s)"
    if total > 60 * CONSENT_MINUTES and not yes:
        raise LongRunError(words, "use --yes to accept that, a GPU, fewer --steps or --samples, or a latent model")
    if progress:
        progress(1.0, words)
    return total


def _slabs_needed(method: Method, label: int, precision: str) -> bool:
    """Whether a step, which is about to be timed, has to go slab by slab on the CPU for want of memory.

    Raises:
        DeviceError: there is no room for it even so.
    """
    from ..methods.base import DrawOptions
    from .memory import find_room, refusal

    options = DrawOptions(method.defaults.sampler, 1, method.defaults.clip)
    room = find_room(method, label, 1, options, "cpu", precision=precision)
    if room is not None and not room.batch:
        raise refusal(room)
    return room is not None and room.slabs


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} minute(s)"
