"""The order of things: read, load the model, preprocess, draw, compare, bring back to the T1w."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DeviceError, DoubtfulInputError
from ..grid import array_to_image, image_to_array, image_to_tensor
from ..notices import collected, warn
from ..regions import regional_rows
from .inputs import Inputs, read_inputs, without_paths
from .options import Plan, check_options, make_plan
from .result import Synthesis, describe

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

    from ..models import Model
    from ..preprocessing import Preprocessed
    from .reference import ReferenceUnits
    from .sampling import Draw

#: Shares of the whole that each stage takes on the progress bar, about as long as they last with a raw pair on a CPU.
_SHARES = {"read": 0.03, "model": 0.02, "preprocess": 0.55, "sample": 0.25, "compare": 0.1, "return": 0.05}


def synthesize(
    t1w: str | os.PathLike | sitk.Image,
    t2f: str | os.PathLike | sitk.Image,
    tracer: str,
    *,
    model: str | os.PathLike = "demo",
    reference: str | os.PathLike | sitk.Image | None = None,
    reference_region: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    space: str = "t1w",
    preprocessed: bool = False,
    force: bool = False,
    yes: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> Synthesis:
    """Make a synthetic PET from a T1w and a T2-FLAIR of one person.

    Args:
        t1w, t2f: files (NIfTI, NRRD, MetaImage, MGH, a DICOM folder) or 3-D images.
        tracer: TAU, PIB or PBR, or a BIDS ``trc-`` spelling of one.
        model: name in the catalogue, or folder of a bundle.
        reference: a measured PET of the same person to compare with; its unit: `synthesis.reference`.
        reference_region: region whose mean sets the reference's scale: it is made the synthetic PET's mean there.
        sampler, steps, samples: the model's own defaults when None, else 20 steps of ``dpmpp``, and 4 samples for a
            latent model or 1 for a voxel one. 1 to T steps, 1 to 64 samples.
        seed: 0 to 2^63 - 1. Sample k depends on (seed, k) only, not on batch or device (up to rounding).
        device: auto, cpu, cuda, cuda:i or mps.
        space: grid of the results: ``t1w``, ``mni`` (the model's) or ``both``.
        preprocessed: both MRIs (and the reference) lie on the model grid already.
        force: accept inputs that look wrong, with a warning.
        yes: accept more than half an hour of voxel-space synthesis on a CPU.
        progress: called as progress(fraction, message).

    Warns:
        RelAPETWarning: what the user should know; the same lines stand in the result's `warnings`.

    Raises:
        InputError: an option or volume that cannot be used; `DoubtfulInputError` when `force` would accept it.
        ModelError: the model is unknown or damaged.
        DeviceError: unknown, absent or full device.

    Example:
        >>> result = synthesize("t1w.nii.gz", "flair.nii.gz", "TAU")  # doctest: +SKIP
        >>> result.save("out")  # doctest: +SKIP
    """
    from ..devices import resolve_device
    from .reference import reference_units
    from .sampling import check_duration, draw_samples

    check_options(tracer, sampler, steps, samples, seed, space)
    part, clock, messages = _parts(progress), _Clock(), []
    with collected(messages):
        device = resolve_device(device)
        inputs = read_inputs({"t1w": t1w, "t2f": t2f, "reference": reference}, part("read"), force)
        clock.lap("reading")
        loaded = _load(model, device)
        plan = make_plan(loaded, tracer, sampler, steps, samples, seed, space)
        units = None
        if reference is not None:
            units = reference_units(inputs.paths.get("reference"), reference_region, relative=plan.output == "relative")
        check_duration(loaded, plan.label, plan.steps, plan.samples, yes, part("model"))
        clock.lap("model")
        ready = _prepare(inputs, preprocessed, device, part("preprocess"))
        _settle_doubts(ready, "grid" if preprocessed else "raw", plan.reference_region, force)
        clock.lap("preprocessing")
        draw = draw_samples(
            loaded, _condition(ready), plan.label, sampler=plan.sampler, steps=plan.steps, samples=plan.samples,
            seed=plan.seed, clip=plan.clip, yes=yes, progress=part("sample"),
        )  # fmt: skip
        clock.lap("sampling")
        maps, metrics = _maps(draw, ready, plan, units, inputs, force, part("compare"))
        regions = regional_rows({name: maps[name] for name in maps if name != "uncertainty"}, ready.mask, ready.in_view)
        clock.lap("comparison")
        volumes, pictures = _bring_back(maps, ready, inputs, plan.space, part("return"))
        clock.lap("return")
    messages = without_paths(messages, inputs.paths)
    document = describe(loaded, plan, inputs, ready, draw, units, metrics, preprocessed, messages, clock.seconds)
    ending = "_space-MNI" if space == "mni" else ""
    return Synthesis(
        pet=volumes[f"synthetic_pet{ending}"],
        uncertainty=volumes.get(f"uncertainty{ending}"),
        difference=volumes.get(f"difference{ending}"),
        provenance=document,
        metrics=metrics,
        warnings=messages,
        regions=regions,
        volumes=volumes,
        pictures=pictures,
    )


def _load(name: str | os.PathLike, device: str) -> Model:
    """The model on its device, or on the CPU when the device has no room even for the weights."""
    from ..models import load_model

    try:
        return load_model(name, device=device)
    except DeviceError as error:  # the device is there: `resolve_device` has found it
        if device == "cpu":
            raise
        warn(f"{error}; going on on the CPU, which is slower")
    return load_model(name, device="cpu")


class _Clock:
    """Seconds by stage."""

    def __init__(self):
        self.seconds, self._last = {}, time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def _parts(progress: Callable[[float, str], None] | None) -> Callable[[str], Callable[[float, str], None]]:
    """By stage, a progress callback that fills its share of the whole."""
    starts, total = {}, 0.0
    for stage, share in _SHARES.items():
        starts[stage] = total
        total += share

    def part(stage: str) -> Callable[[float, str], None]:
        def report(fraction: float, message: str) -> None:
            if progress:
                progress(min(1.0, starts[stage] + _SHARES[stage] * min(max(fraction, 0.0), 1.0)), message)

        return report

    return part


def _prepare(inputs: Inputs, preprocessed: bool, device: str, progress) -> Preprocessed:
    from .. import preprocessing

    t1w, t2f, pet = (inputs.images.get(role) for role in ("t1w", "t2f", "reference"))
    if preprocessed:
        progress(0.0, "checking the preprocessed volumes")
        ready = preprocessing.from_grid(t1w, t2f, pet=pet)
    else:
        ready = preprocessing.preprocess(t1w, t2f, pet=pet, device=device, progress=progress)
    for words in ready.warnings:
        warn(words)
    return ready


def _settle_doubts(ready: Preprocessed, kind: str, reference_region: str | None, force: bool) -> None:
    """Refuse inputs that are probably not a brain's T1w and T2-FLAIR, or a PET of another one; warn when forced."""
    from ..preprocessing import cautions, doubts, reference_doubts

    every = (ready.quality, *ready.pet_quality.values())
    found = [line for figures in every for line in doubts(figures, kind)]
    if reference_region is not None:
        found += reference_doubts(ready, reference_region)
    if found and not force:
        raise DoubtfulInputError(f"{'; '.join(found)}; check the files, or use --force to go on all the same")
    for words in found:
        warn(f"accepted by force: {words}")
    for words in (line for figures in every for line in cautions(figures, kind)):
        warn(words)


def _condition(ready: Preprocessed) -> torch.Tensor:
    """T1w and T2F as [1, 2, X, Y, Z] in [-1, 1]."""
    import torch

    return torch.cat([image_to_tensor(ready.t1w), image_to_tensor(ready.t2f)], dim=1)


def _maps(
    draw: Draw, ready: Preprocessed, plan: Plan, units: ReferenceUnits | None, inputs: Inputs, force: bool, progress
) -> tuple[dict[str, sitk.Image], dict | None]:
    """PET, uncertainty, reference and difference on the model grid in their units, and the metrics.

    A SUVR model's [-1, 1] is its window, SUVR = lo + (x + 1) / 2 (hi - lo); a relative model's becomes [0, 1].
    """
    from ..comparison import compare, minmax
    from .reference import level_of, to_suvr

    progress(0.0, "turning samples into maps")
    inside = image_to_array(ready.mask) > 0
    low, high = plan.window or (0.0, 1.0)
    pet = np.clip(low + (draw.mean + 1) / 2 * (high - low), low, high)
    maps = {"synthetic_pet": _masked(pet, inside)}
    if draw.deviation is not None:
        maps["uncertainty"] = _masked(draw.deviation * (high - low) / 2, inside)
    if units is None:
        return maps, None
    progress(0.1, "comparing with the reference")
    reference = ready.pet
    if plan.window is not None:
        level = level_of(maps["synthetic_pet"], ready.mask, units.region) if units.region else 1.0
        reference = to_suvr(reference, ready.mask, units, inputs.names["reference"], force, level)
    maps["difference"], metrics = compare(maps["synthetic_pet"], reference, ready.mask, window=plan.window)
    if plan.window is None:
        reference = _masked(minmax(image_to_array(reference)), inside)
    maps["reference"] = reference
    return maps, metrics


def _masked(array: np.ndarray, inside: np.ndarray) -> sitk.Image:
    return array_to_image(np.where(inside, array, 0).astype(np.float32))


def _bring_back(
    maps: dict[str, sitk.Image], ready: Preprocessed, inputs: Inputs, space: str, progress
) -> tuple[dict[str, sitk.Image], dict[str, sitk.Image]]:
    """Volumes to save by file name without ending, and the report's pictures, all on one grid."""
    import SimpleITK as sitk

    from ..preprocessing import to_t1w_space

    progress(0.0, "bringing the PET back to the T1w")
    saved = [name for name in maps if name != "reference"]
    volumes, t1w = {}, inputs.images["t1w"]
    if space in ("t1w", "both"):
        pictures = {name: to_t1w_space(image, ready, t1w) for name, image in maps.items()}
        volumes |= {name: pictures[name] for name in saved}
        pictures |= {
            "t1w": t1w,
            "t2f": sitk.Resample(inputs.images["t2f"], t1w, ready.t1w_to_t2f, sitk.sitkLinear, 0.0),
        }
    else:
        pictures = maps | {"t1w": ready.t1w, "t2f": ready.t2f}
    if space in ("mni", "both"):
        volumes |= {f"{name}_space-MNI": maps[name] for name in saved}
    pictures["pet"] = pictures.pop("synthetic_pet")
    progress(1.0, "synthesis done")
    return volumes, pictures
