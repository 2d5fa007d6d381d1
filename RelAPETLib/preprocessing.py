"""From a raw T1w and T2-FLAIR to the model grid, and back.

N4 bias correction of both, T1w to the template (affine, then deformable), T2F rigid to the T1w, one resampling from
each raw scan to the grid through the composed transform, the template's brain mask, then each volume's minimum and
maximum to [-1, 1]: masked before scaling, so that the background is exactly -1, as the published model was trained.
(The paper corrects the T2F's bias only; here both are.) Before the deformation, which would stretch what is left, the
extracted brain and the affine say how much of the brain each scan shows.

Two runs on the CPU of one machine give the same bytes: ITK's mutual information runs in one thread, since several add
it up in no fixed order. Another number of threads, another processor or a GPU may change a transform's last digits.

A T1w alone goes the same way; what concerns the T2F is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .grid import array_to_image, image_to_array
from .host_memory import free_host_bytes
from .registration import AUTO, FINE_BYTES, METHODS

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .registration.brain_extraction import Brain
    from .registration.uptake import Uptake

#: A warning says that part of the brain is outside the field of view from this share on.
MISSING_WARNED = 0.02
#: Bytes that a synthesis takes at most beside its volumes, whatever their size, and for each voxel of the largest. A
#: pair of 512^3 took 1.3 GB while it was preprocessed (Testing/benchmarks/results/brain_extraction.md); two scans made
#: ready beside each other take 16 bytes a voxel, and up to five maps brought back to the T1w's grid with weights 30.
FIXED_BYTES = 1_300_000_000
BYTES_PER_VOXEL = 30


@dataclass
class Preprocessed:
    """A T1w and T2F (and PET) on the model grid, and how they got there.

    Attributes:
        t1w, t2f: float32 on `MNI_GRID`, brain only, [-1, 1], background exactly -1; `t2f` is None without one.
        pet: float32 on `MNI_GRID` in its own units, 0 outside the brain; None without one.
        mask: uint8 on `MNI_GRID`, 1 inside the brain.
        grid_to_t1w: from LPS points of the grid to points of the raw T1w (what resampling the T1w onto the grid takes).
        t1w_to_grid: its inverse.
        t1w_to_t2f: rigid, from T1w points to T2F points; None without a T2F.
        quality: figures by name; see `RelAPETLib.registration.quality`.
        warnings: one line each.
        method: how the T1w was deformed: ``fine``, ``torch``, ``demons``, ``affine`` (not at all), ``none`` (came on
            the grid).
        skull_stripped: the T1w came without scalp.
        pets: further PET by name, as `pet`.
        pet_view, pet_views: uint8 on `MNI_GRID`, 1 in the field of view of `pet`, and of `pets` by name.
        pet_quality: figures of each PET (`registration.uptake`) by name, ``PET`` for `pet`.
        in_view: uint8 on `MNI_GRID`, 1 where the brain is in the field of view of all MRI; None: everywhere.
    """

    t1w: sitk.Image
    t2f: sitk.Image | None
    pet: sitk.Image | None
    mask: sitk.Image
    grid_to_t1w: sitk.Transform
    t1w_to_grid: sitk.Transform
    t1w_to_t2f: sitk.Transform | None
    quality: dict[str, float]
    warnings: list[str] = field(default_factory=list)
    method: str = "none"
    skull_stripped: bool = False
    pets: dict[str, sitk.Image] = field(default_factory=dict)
    pet_view: sitk.Image | None = None
    pet_views: dict[str, sitk.Image] = field(default_factory=dict)
    pet_quality: dict[str, dict[str, float]] = field(default_factory=dict)
    in_view: sitk.Image | None = None


def preprocess(
    t1w: sitk.Image,
    t2f: sitk.Image | None,
    *,
    pet: sitk.Image | None = None,
    pets: Mapping[str, sitk.Image] | None = None,
    device: str = "cpu",
    method: str = AUTO,
    progress: Callable[[float, str], None] | None = None,
) -> Preprocessed:
    """Bring a raw pair, of any orientation and spacing, onto the model grid.

    Args:
        t1w, t2f: 3-D scalar images (`volumes.read_volume`), with scalp or skull-stripped; `t2f` may be None.
        pet: a PET of the same person, e.g. in SUVR; goes rigidly to the T1w and through the same warp.
        pets: further PET by name, each on its own grid.
        device: ``cpu``, ``cuda``, ``cuda:i`` or ``mps``, for the torch method, the brain extraction and, on CUDA, the
            resampling onto the grid.
        method: one of `METHODS`, see there.
        progress: called as progress(fraction 0..1, message).

    Nothing is refused here for looking odd: read `quality` with `doubts`.

    Raises:
        InputError: no head in a volume, scans that cannot be made to overlap, volumes too large for the free memory, or
            an unknown method.

    Example:
        >>> ready = preprocess(read_volume("t1w.nii.gz"), read_volume("flair.nii.gz"))  # doctest: +SKIP
        >>> ready.quality["template_ncc"]  # doctest: +SKIP
    """
    from .registration.affine import begin_affine
    from .registration.beside import beside, one_core_less, own
    from .registration.brain_figures import brain_figures
    from .registration.rigid import rigid_to_t1w
    from .registration.scans import is_skull_stripped, prepare_first, prepare_others, upright_mri
    from .registration.warp import fit_warp

    if method not in METHODS:
        raise InputError(f"unknown registration method '{method}'; use one of {', '.join(METHODS)}")
    uptakes = _named(pet, pets)
    check_memory((image for image in (t1w, t2f, *uptakes.values()) if image is not None), method)
    report = progress or (lambda fraction, message: None)
    with beside() as start:
        report(0.0, "correcting the bias fields")
        raw = upright_mri(t1w, "T1w")
        first = start(partial(prepare_first, own(raw)))
        report(0.12, "looking for the brain in the T1w")
        brain, lines = _extract(raw, device)
        scans, template = first()
        report(0.2, "laying the T1w over the template")
        affine = begin_affine(scans["t1w"], template, brain, start)
        others = start(lambda: prepare_others(t2f, uptakes, template))
        affine = affine()
        stripped = start(partial(is_skull_stripped, raw, affine, template))
        del raw
        scans |= others()
        found = start(rigid_to_t1w(scans, affine, template))
        judged = start(lambda: brain_figures(scans, brain, affine, found().get("t2f"), template))
        report(0.3, "fitting the T1w to the template")
        with one_core_less() if method != "fine" else nullcontext():  # whose 1 mm level takes most of the time
            warp = fit_warp(scans["t1w"].image, affine, template, method, device, start)
        report(0.7, "laying the other scans over the T1w")
        rigid = found()
        coverage, figures = judged()
        scans = {name: scan for name, scan in scans.items() if name not in uptakes}
        report(0.85, "resampling onto the model grid")
        result = _on_grid(scans, uptakes, rigid, warp, template, device)
    if method == "affine":  # asked for: it is `affine_ncc` then, whose limit is an affine's
        del result.quality["template_ncc"]
    result.skull_stripped = stripped()
    result.in_view = array_to_image(coverage.in_view.astype(np.uint8))
    result.quality |= figures
    result.warnings += lines + missing_lines(coverage.missing)
    report(1.0, "preprocessing done")
    return result


def bytes_needed(images: Iterable[sitk.Image], method: str = AUTO) -> int:
    """Memory that a synthesis takes at most beside the images themselves, in bytes, estimated from their sizes."""
    fixed = FIXED_BYTES + (FINE_BYTES if method == "fine" else 0)
    return fixed + BYTES_PER_VOXEL * max(int(np.prod(image.GetSize(), dtype=np.int64)) for image in images)


def check_memory(images: Iterable[sitk.Image], method: str = AUTO) -> None:
    """Raise `InputError` when a synthesis from these images needs more memory than is free."""
    images = list(images)
    needed, free = bytes_needed(images, method), free_host_bytes()
    if needed > free:
        sizes = ", ".join("x".join(map(str, image.GetSize())) for image in images)
        raise InputError(
            f"volumes of {sizes} voxels need about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; "
            "close other programs, or resample the volumes to 1 mm voxels"
        )


def _extract(t1w: sitk.Image, device: str) -> tuple[Brain, list[str]]:
    """The brain of a T1w, on the CPU when the device cannot do it, and what to say then."""
    from .registration.brain_extraction import extract_brain

    try:
        return extract_brain(t1w, device), []
    except RuntimeError as error:  # torch: out of memory, or an operation that mps lacks
        if device == "cpu":
            raise
        cause = " ".join(str(error).split())[:120]
        return extract_brain(t1w), [f"brain extraction could not run on {device} ({cause}); it ran on the CPU instead"]


def missing_lines(missing: Mapping[str, float]) -> list[str]:
    """A line for each scan, ``t1w`` or ``t2f``, that lacks a share of the brain which is worth a warning."""
    names = {"t1w": "T1w", "t2f": "T2-FLAIR"}
    return [
        f"about {100 * share:.0f} % of the brain is outside the field of view of the {names[name]}; the PET is not "
        "founded there, and regions.tsv says which regions it concerns"
        for name, share in missing.items()
        if share >= MISSING_WARNED
    ]


def _named(pet: sitk.Image | None, pets: Mapping[str, sitk.Image] | None) -> dict[str, sitk.Image]:
    """All PET by what messages call them: ``PET`` for the first argument, ``PET NAME`` for the rest."""
    return ({} if pet is None else {"PET": pet}) | {f"PET {name}": image for name, image in (pets or {}).items()}


def _split(uptakes: Mapping[str, Uptake]) -> dict:
    """What a `Preprocessed` holds of its PET, from what `_named` called them."""
    own, rest = uptakes.get("PET"), {name.removeprefix("PET "): of for name, of in uptakes.items() if name != "PET"}
    return {
        "pet": None if own is None else own.pet,
        "pets": {name: of.pet for name, of in rest.items()},
        "pet_view": None if own is None else own.view,
        "pet_views": {name: of.view for name, of in rest.items()},
        "pet_quality": {name.removeprefix("PET "): of.figures for name, of in uptakes.items()},
    }


def _on_grid(scans: dict, uptakes: dict, rigid: dict, warp, template, device: str) -> Preprocessed:
    """One resampling of each raw scan through its composed transform, masking, scaling, quality figures."""
    import SimpleITK as sitk

    from .registration import quality
    from .registration.uptake import uptake_on_grid
    from .registration.warp import lay

    mask = image_to_array(template.mask) > 0
    chains = {name: sitk.CompositeTransform([t, warp.to_t1w]) for name, t in rigid.items()}
    rest = (name for name in scans if name != "t1w")
    laid = {"t1w": warp.laid} | {name: lay(scans[name].image, chains[name], device) for name in rest}
    arrays, seen = ({name: getattr(one, part) for name, one in laid.items()} for part in ("values", "seen"))
    shown = np.logical_and.reduce([mask, *seen.values()])
    if not shown.any():
        if "t2f" not in scans:
            raise InputError("the T1w shows no part of the brain; check that it is of a head")
        raise InputError("T1w and T2F show no common part of the brain; check that both are of the same head")
    figures = {**warp.quality, **quality.template_figures(arrays["t1w"], mask & seen["t1w"], template)}
    figures |= _mri_figures(arrays["t1w"], arrays.get("t2f"), shown, template)
    there = ((name, lay(pet, chains[name], device)) for name, pet in uptakes.items())
    uptakes = {name: uptake_on_grid(pet.values, pet.seen, template) for name, pet in there}
    return Preprocessed(
        t1w=array_to_image(_scaled(arrays["t1w"], mask, "T1w")),
        t2f=array_to_image(_scaled(arrays["t2f"], mask, "T2F")) if "t2f" in arrays else None,
        **_split(uptakes),
        mask=sitk.Image(template.mask),
        grid_to_t1w=warp.to_t1w,
        t1w_to_grid=warp.to_grid,
        t1w_to_t2f=rigid.get("t2f"),
        quality=figures,
        warnings=list(warp.warnings),
        method=warp.method,
    )


def _mri_figures(t1w: np.ndarray, t2f: np.ndarray | None, where: np.ndarray, template) -> dict[str, float]:
    """Figures of a pair on the grid, or what a T1w says alone."""
    from .registration import quality

    if t2f is None:
        return {"t1w_contrast": quality.tissue_contrast(t1w, where, template)}
    return quality.pair_figures(t1w, t2f, where, template)


def _scaled(array: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
    """Masked, then 0 and the brain's maximum, without strays, to [-1, 1]; the background is exactly -1."""
    from .registration.strays import empty_voxels, without_strays

    brain = without_strays(array[mask], name, empty_voxels(array, mask))
    top = float(brain.max())
    if not top > 0:
        raise InputError("nothing but background lies inside the brain mask; check that the volumes show a brain")
    scaled = np.full(array.shape, -1, np.float32)
    scaled[mask] = 2 * brain / top - 1
    return scaled


def from_grid(
    t1w: sitk.Image,
    t2f: sitk.Image | None,
    *,
    pet: sitk.Image | None = None,
    pets: Mapping[str, sitk.Image] | None = None,
) -> Preprocessed:
    """A pair, or T1w, that is on the model grid already (other software's registration to the ICBM 152 template).

    Volumes are masked by the template's brain and scaled to [-1, 1] unless they are already; PET are only masked.

    Raises:
        InputError: a volume does not lie on `MNI_GRID`, or shows nothing inside the brain.
    """
    import SimpleITK as sitk

    from .registration import quality
    from .registration.template import load_template
    from .registration.uptake import uptake_on_grid

    template = load_template()
    mask = image_to_array(template.mask) > 0
    uptakes = _named(pet, pets)
    given = {"T1w": t1w, **({} if t2f is None else {"T2F": t2f}), **uptakes}
    arrays = {name: _checked_on_grid(image, name) for name, image in given.items()}
    figures = quality.template_figures(arrays["T1w"], mask, template)
    figures |= _mri_figures(arrays["T1w"], arrays.get("T2F"), mask, template)
    uptakes = {name: uptake_on_grid(arrays[name], np.ones_like(mask), template) for name in uptakes}
    return Preprocessed(
        t1w=array_to_image(_scaled_unless_already(arrays["T1w"], mask, "T1w")),
        t2f=array_to_image(_scaled_unless_already(arrays["T2F"], mask, "T2F")) if "T2F" in arrays else None,
        **_split(uptakes),
        mask=sitk.Image(template.mask),
        grid_to_t1w=sitk.Transform(),
        t1w_to_grid=sitk.Transform(),
        t1w_to_t2f=sitk.Transform() if "T2F" in arrays else None,
        quality=figures,
    )


def _checked_on_grid(image: sitk.Image, name: str) -> np.ndarray:
    """Array [X, Y, Z] of an image that lies on the grid, in whichever order its axes are stored."""
    from .volumes import canonical

    try:
        return image_to_array(canonical(image)).astype(np.float32)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _scaled_unless_already(array: np.ndarray, mask: np.ndarray, name: str) -> np.ndarray:
    inside = array[mask]
    low, high = float(inside.min()), float(inside.max())
    if -1 <= low < -0.5 and 0.5 < high <= 1:
        return np.where(mask, array, -1).astype(np.float32)
    return _scaled(array, mask, name)


def to_t1w_space(image_on_grid: sitk.Image, preprocessed: Preprocessed, t1w: sitk.Image) -> sitk.Image:
    """A volume on `MNI_GRID` on the raw T1w's own grid: float32, one linear interpolation, 0 outside.

    One of the brain alone fades at its rim; see `volumes.masked.interpolated`.

    Args:
        preprocessed, t1w: of the raw T1w; the latter for its geometry.
    """
    import SimpleITK as sitk

    return sitk.Resample(image_on_grid, t1w, preprocessed.t1w_to_grid, sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def doubts(quality: dict[str, float], kind: str = "raw") -> list[str]:
    """What in the quality figures does not look like a brain's T1w and T2F; see `registration.quality.doubts`."""
    from .registration.quality import doubts

    return doubts(quality, kind)


def cautions(quality: dict[str, float], kind: str = "raw") -> list[str]:
    """What is odd in the quality figures without being a doubt; see `registration.quality.cautions`."""
    from .registration.quality import cautions

    return cautions(quality, kind)


def reference_doubts(preprocessed: Preprocessed, region: str, tracer: str | None = None) -> list[str]:
    """A line when the region whose mean is the SUVR's unit is not in the field of view, of all MRI or of a PET.

    Args:
        region: name in ``regions.tsv``, e.g. a tracer's `reference_region`.
        tracer: name of the PET in `pets` that is looked at; None: the MRI.
    """
    from .regions import LEAST_IN_VIEW, shares_in_view

    view = preprocessed.in_view if tracer is None else preprocessed.pet_views.get(tracer)
    if view is None or (share := shares_in_view(view)[region]) >= LEAST_IN_VIEW:
        return []
    whose, what = ("the MRI", "the SUVR are") if tracer is None else ("the measured PET", "its SUVR would be")
    return [
        f"{100 * (1 - share):.0f} % of the reference region ({region.replace('_', ' ')}) is outside the field of view "
        f"of {whose}, so that nothing shows what {what} relative to"
    ]
