"""Drawing PET samples from a loaded model: batches, one seed a sample, what to do when a GPU is full."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..clinical import ClinicalValues
from ..devices import computing, free_device_memory, is_out_of_memory, kept_memory
from ..errors import DeviceError, ModelError
from ..networks.execution import SETTING, compiler_failure, in_slabs
from ..notices import warn
from .duration import check_duration

if TYPE_CHECKING:
    import torch

    from ..methods.base import DrawOptions
    from ..models import Model
    from ..regions import RegionCounter
    from .options import Plan
    from .verdict import Verdict


@dataclass(frozen=True)
class Draw:
    """What was drawn of one tracer.

    Attributes:
        mean: mean of the samples, [X, Y, Z] float32 in the model's units, [-1, 1].
        deviation: standard deviation over the samples, same units; None for one sample.
        device: where the last sample was computed.
        batch: samples computed together at the end.
        plan: what was asked for.
        model: which model drew.
        said: warnings on the way to it, where `pipeline.draw` was asked.
        verdict: on the input, where the pipeline drew.
        regions: of each sample, in order, its mean in each region, in the model's units; empty where nobody asked.
        told: names of the clinical values that the model was told, and uses.
        needed: bytes of memory that it was thought to need (`memory.find_room`); None where that was not known.
        slabs: whether the last sample was computed slab by slab, for want of memory.
    """

    mean: np.ndarray
    deviation: np.ndarray | None
    device: str
    batch: int
    plan: Plan
    model: Model
    said: tuple[str, ...] = ()
    verdict: Verdict | None = None
    regions: tuple[dict[str, float], ...] = ()
    needed: float | None = None
    told: tuple[str, ...] = ()
    slabs: bool = False


class ConditionedModel:
    """A model to which one person's MRI is shown: it encodes them once, for all tracers and samples.

    Attributes:
        model: the model, its network brought back to its device, should a full GPU have handed it over to the CPU for
            somebody before; another one, on the CPU, once the GPU has no room for it.
        mri: [1, 2, X, Y, Z] in [-1, 1] on the model's grid: T1w, T2F.
        clinical: what is known of the person, for a method that uses it.
        slabs: whether samples are computed slab by slab, as memory is short.
    """

    def __init__(self, model: Model, mri: torch.Tensor, clinical: ClinicalValues | None = None):
        self.model, self.mri, self.clinical = _at_home(model), mri, clinical or ClinicalValues()
        self._unasked = self.model.device != model.device
        self._encoded = self._device = None
        self._counted: dict[tuple, dict] = {}
        self.slabs = self._only_slabs = False

    @property
    def encoded(self) -> Any:
        """What the model's method makes of the MRI, on the model's device."""
        if self._device != self.model.device:
            self._encoded = self.model.method.encode(self.mri.to(self.model.device), self._values())
            self._device = self.model.device
        return self._encoded

    def features(self) -> torch.Tensor | None:
        """`Method.features` of the MRI, from the CPU where the device has no room to look at it."""
        try:
            encoded = self.encoded
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            encoded = None
        if encoded is None:  # outside `except`, as in `draw_samples`
            self.make_room(1)
        return self.model.method.features(self.encoded)

    @property
    def told(self) -> tuple[str, ...]:
        """Names of the clinical values that the model uses and is told."""
        return self.clinical.known if "clinical" in self.model.method.defaults.inputs else ()

    def _values(self) -> torch.Tensor | None:
        """Clinical values [1, 3] for the model's method; None for one that uses none."""
        import torch

        if "clinical" not in self.model.method.defaults.inputs:
            return None
        return torch.tensor([self.clinical.numbers()], device=self.model.device)

    def find_room(self, plan: Plan, batch: int) -> tuple[int, float | None, str]:
        """Before anything is drawn: how many of `batch` samples to draw at a time, perhaps on the CPU.

        Returns:
            Samples at a time, bytes that they need about (None where that is not known), and a line that says so.

        Raises:
            DeviceError: not even one can fit.
        """
        from .memory import find_room, refusal

        options, known = self._options(plan)

        def on(device: str):
            return find_room(self.model.method, plan.label, batch, options, device, known, plan.precision, slabs)

        device, slabs = str(self.model.device), self._only_slabs
        room = on(device)
        if room is not None and not room.batch and device != "cpu":
            warn(f"{room}: going on on the CPU, which is slower and gives the same volume up to rounding")
            self._move(self.model.to("cpu"))
            free_device_memory(device)
            slabs = False
            room = on("cpu")
        self.slabs = slabs if room is None else room.slabs
        if room is None:
            return batch, None, f"{batch} sample(s) at a time; how much memory they need is not known"
        if not room.batch:
            raise refusal(room)
        if room.tight:
            warn(f"{room}: it may run out; close other programs, or choose a smaller model, if it does")
        return room.batch, room.needed, str(room)

    def _options(self, plan: Plan) -> tuple[DrawOptions, dict]:
        """Of a plan, and what was counted for them before, which is the same for all tracers."""
        from ..methods.base import DrawOptions

        known = self._counted.setdefault((plan.sampler, plan.steps, plan.clip), {})
        return DrawOptions(plan.sampler, plan.steps, plan.clip), known

    def ask(self, plan: Plan, samples: int, yes: bool, progress=None) -> None:
        """`check_duration` of samples still to come, where a full GPU has handed them over to the CPU meanwhile."""
        if self._unasked:
            check_duration(self.model, plan.label, plan.steps, samples, yes, progress, plan.precision)
            self._unasked = False

    def _move(self, model: Model) -> None:
        if model.device != self.model.device:
            self._encoded = self._device = None
            self._unasked, self._only_slabs = True, False
        self.model = model

    def make_room(self, size: int, plan: Plan | None = None) -> int:
        """After running out of memory with `size` samples: how many to draw at a time now, perhaps on the CPU.

        One sample of a plan is computed slab by slab before a GPU is left or the CPU gives up, where that takes less.
        """
        from .memory import saved_by_slabs

        device = str(self.model.device)
        if size == 1 and plan is not None and not self.slabs:
            options, known = self._options(plan)
            if saved_by_slabs(self.model.method, plan.label, options, known):
                warn(f"{device} ran out of memory; going on slab by slab, which gives the same volume up to rounding")
                self._only_slabs = True
                free_device_memory(device)
                return 1
        model, batch = _make_room(self.model, size)
        self._move(model)
        return batch


def draw_samples(
    conditioned: ConditionedModel, plan: Plan, *, yes: bool = False, progress=None, counter: RegionCounter | None = None
) -> Draw:
    """Draw PET volumes of one tracer and return their mean and spread.

    Sample k's noise follows from (plan.seed, k), whatever the tracer, the batch and the device: the tracers of one
    person are drawn jointly. Samples 2 j and 2 j + 1 get mirrored noise (`RelAPETLib.diffusion.seeded_noise`), so that
    their mean is closer to the model's own. So many are computed together as fit the device's free memory by
    `memory.find_room`, one slab by slab where one does not. When a GPU is full all the same, fewer are, then one slab
    by slab, then the CPU takes over; a `RelAPETWarning` says so.

    Args:
        conditioned: model and MRI.
        plan: from `options.resolve`.
        yes: consent to more than half an hour, should a slow method end up on the CPU.
        progress: called as progress(fraction, message).
        counter: gives the regional means of each sample, which is not kept itself.

    Raises:
        ModelError: the model gave NaN or infinite values.
        DeviceError: the GPU is full even for one sample, and so is the machine's own memory; or that has no room for
            one, as is counted before.
        LongRunError: a slow method would have to go on on the CPU for more than half an hour without `yes`.
    """
    return draw_tracers(conditioned, (plan,), yes=yes, progress=progress, counters=(counter,))[0]


def pays_together(model: Model, plans: Sequence[Plan]) -> bool:
    """Whether samples of several tracers are worth computing in one batch: small networks keep a GPU waiting.

    On a CPU each tracer is drawn alone, so that its PET is the same to the bit whichever others are asked for.
    """
    return len(plans) > 1 and str(model.device) != "cpu" and model.method.defaults.batch > 1


def draw_tracers(
    conditioned: ConditionedModel, plans: Sequence[Plan], *, yes: bool = False, progress=None,
    counters: Sequence[RegionCounter | None] | None = None, later: int = 0,
) -> list[Draw]:  # fmt: skip
    """What `draw_samples` gives of each plan; samples of all tracers are computed together.

    Args:
        plans: from one call of `options.resolve`: they differ in nothing but the tracer.
        counters: one for each plan.
        later: samples of other tracers that are drawn after these: consent to a long run is asked for all.
    """
    of_model = conditioned.model.method.defaults
    wanted = [(place, number) for place, plan in enumerate(plans) for number in range(plan.samples)]
    plan, total = plans[0], len(wanted)
    batch, needed, line = conditioned.find_room(plan, min(total, of_model.batch * len(plans)))
    conditioned.ask(plan, total + later, yes, progress)
    if progress:
        progress(0.0, line)
    moments, regions = [Moments() for _ in plans], [[] for _ in plans]
    done = 0
    while done < total:
        part = wanted[done : done + batch]
        share = _share(progress, done, len(part), total)
        volumes = None
        try:
            volumes = _draw_batch(conditioned, plans, part, share)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if said := compiler_failure(error):
                    raise DeviceError(f"{said}; leave 'compile' and 'graphs' out of {SETTING}") from error
                raise
        if volumes is None:  # outside `except`: the exception holds on to the tensors of the failed attempt
            batch, needed, _ = conditioned.find_room(plan, conditioned.make_room(len(part), plan))
            conditioned.ask(plan, total - done + later, yes, progress)
            continue
        done += len(part)
        for (place, _), volume in zip(part, volumes, strict=True):
            moments[place].add(volume)
            if counters is not None and counters[place] is not None:
                regions[place].append(counters[place].means(volume))
    model = conditioned.model
    return [
        Draw(
            m.mean,
            m.deviation(),
            str(model.device),
            batch,
            plan,
            model,
            regions=tuple(own),
            needed=needed,
            told=conditioned.told,
            slabs=conditioned.slabs,
        )
        for m, own, plan in zip(moments, regions, plans, strict=True)
    ]


def _draw_batch(
    conditioned: ConditionedModel, plans: Sequence[Plan], part: Sequence[tuple[int, int]], progress
) -> list:
    """Volumes [X, Y, Z] in [-1, 1] of samples, each told by its plan's place and its number.

    Raises:
        ModelError: a value is NaN or infinite, which clipping would hide.
    """
    import torch

    from ..diffusion import noise_for, seeded_noise
    from ..methods.base import DrawOptions

    plan, on_cpu = plans[0], str(conditioned.model.device) == "cpu"
    labels = [plans[place].label for place, _ in part]
    label = labels[0] if len(set(labels)) == 1 else labels
    with torch.inference_mode(), kept_memory() if on_cpu else nullcontext():
        encoded = conditioned.encoded
        options = DrawOptions(plan.sampler, plan.steps, plan.clip)
        numbers = [number for _, number in part]
        noise = noise_for(conditioned.model.device, seeded_noise(plan.seed, mirrored=True, numbers=numbers))
        with computing(plan.precision, conditioned.model.device), in_slabs(conditioned.slabs):
            drawn = conditioned.model.method.draw(encoded, label, len(part), options, noise, progress)
        volumes = [volume.float().cpu().numpy()[0] for volume in drawn]
    if not all(np.isfinite(volume).all() for volume in volumes):
        name = conditioned.model.name
        raise ModelError(f"model {name} gave NaN or infinite values; try another sampler, more steps, or another model")
    return [volume.clip(-1.0, 1.0) for volume in volumes]


def _at_home(model: Model) -> Model:
    """A model with its network on the device that it names, or on the CPU where that has no room for it any more."""
    full = False
    try:
        model.brought_back()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        full = True
    if not full:
        return model
    device = str(model.device)
    warn(f"{device} has no room for model {model.name}; going on on the CPU, which is slower")
    moved = model.to("cpu")  # outside `except`, as in `draw_tracers`
    free_device_memory(device)
    return moved


def _make_room(model: Model, size: int) -> tuple[Model, int]:
    """After running out of memory with `size` samples: fewer at a time, or the CPU when one was too many."""
    device = str(model.device)
    if size > 1:
        free_device_memory(device)
        words = f"{device} ran out of memory with {size} samples at a time; going on with {size // 2}"
        warn(words)
        return model, size // 2
    if device == "cpu":
        raise DeviceError("this machine has too little free memory for one sample; close other programs and try again")
    words = f"{device} ran out of memory; going on on the CPU, which is slower and gives the same volume up to rounding"
    warn(words)
    moved = model.to("cpu")
    free_device_memory(device)
    return moved, 1


def _share(progress, done: int, size: int, total: int):
    """Progress of one batch of so many samples as a part of all."""
    if progress is None:
        return None
    which = f"sample {done + 1}" if size == 1 else f"samples {done + 1} to {done + size}"
    return lambda fraction, message: progress((done + size * fraction) / total, f"{which} of {total}: {message}")


class Moments:
    """Running mean and sum of squared deviations (Welford 1962), so that samples need not be kept.

    Samples come in mirrored pairs, which cancel in the mean where the answer is linear in the noise: only the last of
    an odd number adds to its variance, by sd^2 / n^2, so the expected sum of squares is (n - (n mod 2) / n) sd^2, and
    that is the divisor; n - 1 would be that of independent samples. With a correlation r of a pair's two, -1 where
    linear, it is n - 1 - r of an even n, so that the SD told is too small by a factor of sqrt((n - 1 - r) / n). The
    demo model's r in blocks of 4 mm, which its norms tell (`single_to_pair` = 2 / (1 + r)), are -0.53 for TAU, -0.58
    for PIB and -0.91 for PBR: 6, 5 and 1 % of 4 samples, 12, 11 and 2 % of 2.
    """

    def __init__(self):
        self.count, self.mean, self._squares = 0, None, None

    def add(self, volume: np.ndarray) -> None:
        self.count += 1
        if self.mean is None:
            self.mean, self._squares = volume.copy(), volume * 0
            return
        delta = volume - self.mean
        self.mean += delta / self.count
        self._squares += delta * (volume - self.mean)

    def deviation(self) -> np.ndarray | None:
        if self.count < 2:
            return None
        return (self._squares / (self.count - self.count % 2 / self.count)) ** 0.5
