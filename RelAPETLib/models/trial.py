"""A draw on tensors without values: whether a model's settings let it draw at all, and what that takes."""

from __future__ import annotations

import copy
import traceback
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..grid import MNI_GRID
from ..methods.base import SEQUENCES, DrawOptions

if TYPE_CHECKING:
    from ..methods.base import Method

#: More steps keep no more tensors, and call the network in no further way.
STEPS = 2
#: Module of torch whose functions check the shapes that they are given in Python, before anything is computed.
_CHECKING = "torch.nn.functional"


def drawn_without_values(method: Method, label: int, count: int, options: DrawOptions) -> tuple[int, tuple[int, ...]]:
    """A case encoded and `count` samples drawn on tensors without values, in a tenth of a second and no memory.

    Args:
        method: with its weights, of which small ones decide shapes; it is not touched.
        label, count, options: as for `Method.draw`; of the steps at most `STEPS` are done.

    Returns:
        Bytes of the tensors that live at one time, without weights, and the shape of what was drawn.

    Raises:
        counted_memory.ShapeError: layers do not fit one another.
        RuntimeError or whatever torch and the method raise, also where the method asks for a value that is not there.
    """
    import torch

    from ..counted_memory import nothing, peak_bytes, without_values

    shell, shapes = copy.copy(method), []
    steps = min(options.steps, STEPS)

    def draw() -> None:
        mri = torch.empty((1, len(SEQUENCES), *MNI_GRID.shape), device="meta")
        encoded = shell.encode(mri)
        del mri
        made = shell.draw(encoded, label, count, DrawOptions(options.sampler, steps, options.clip), nothing)
        shapes.append(tuple(made.shape))

    shell.network = without_values(method.network)
    return peak_bytes(draw), shapes[0]


def check_draws(method: Method, label: int, what: str) -> None:
    """Raise `ModelError` where a model could be built, and its weights fit, but its layers do not fit one another.

    Anything else that fails is left to a draw with values: an operation that this torch lacks on tensors without, a
    method that asks for values, or an error in how the shapes are worked out here.

    Args:
        method: with its weights, on the CPU.
        label: class label of one of its tracers.
        what: the model, for the message.
    """
    defaults = method.defaults
    options = DrawOptions(defaults.sampler, defaults.samplers.get(defaults.sampler, 1), defaults.clip)
    try:
        shape = drawn_without_values(method, label, 1, options)[1]
    except Exception as error:
        if not _says_unfit(error):
            return
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{what}: its settings make a {method.name} network that cannot draw: {reason}") from error
    if shape != (1, 1, *MNI_GRID.shape):
        raise ModelError(f"{what}: its settings make a {method.name} network that draws {list(shape)}, not a PET")


def _says_unfit(error: Exception) -> bool:
    """Whether an error is that of a check of shapes, here or in torch."""
    from ..counted_memory import ShapeError

    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    of_torch = isinstance(error, ValueError) and frame.f_globals.get("__name__") == _CHECKING
    return isinstance(error, ShapeError) or of_torch
