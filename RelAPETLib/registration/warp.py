"""From the template to a T1w and back: the affine and a displacement field on top of it, or the affine alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from ..grid import MNI_GRID, array_to_image, image_to_array
from ..notices import warn
from .beside import Start, at_once
from .fields import as_transform, extended, inverse
from .on_device import resampled
from .quality import correlation, field_figures, normalised_mutual_information
from .template import Template

#: More folded brain voxels than this (percent) and a deformation is given up.
MAX_FOLDS_PERCENT = 0.1
#: Methods in the order in which they are tried; one that is not named here is tried alone.
INSTEAD = {"auto": ("torch", "demons"), "fine": ("fine", "torch", "demons"), "affine": ()}


@dataclass(frozen=True)
class Laid:
    """An image laid over the model grid.

    Attributes:
        values: float32 [X, Y, Z], linear, 0 outside the field of view.
        seen: boolean [X, Y, Z], the field of view.
    """

    values: np.ndarray
    seen: np.ndarray


@dataclass(frozen=True)
class Warp:
    """A fitted T1w.

    Attributes:
        to_t1w: from points of the model grid to points of the T1w, LPS mm.
        back: gives its inverse, which may still be under way; see `to_grid`.
        method: ``fine``, ``torch``, ``demons`` or ``affine``, whichever it came to.
        quality: ``affine_ncc`` and, unless the affine stands alone, ``folds_percent`` and ``sd_log_jacobian``.
        warnings: one line each.
        laid: the T1w through `to_t1w`.
    """

    to_t1w: sitk.Transform
    back: Callable[[], sitk.Transform]
    method: str
    quality: dict[str, float]
    warnings: list[str]
    laid: Laid

    @cached_property
    def to_grid(self) -> sitk.Transform:
        """From points of the T1w to points of the model grid."""
        return self.back()


@dataclass(frozen=True)
class _Start:
    """What every deformation starts from; `laid` is the affine's, its `mutual_information` is to be bettered."""

    t1w: sitk.Image
    affine: sitk.AffineTransform
    template: Template
    laid: Laid
    mutual_information: float


@dataclass(frozen=True)
class _Fit:
    """A deformation under trial; `problem` says in words why it must not be used, and is empty when it may.

    `back` gives the inverse, where nothing folds.
    """

    back: Callable[[], sitk.Transform] | None
    transform: sitk.Transform
    method: str
    figures: dict[str, float]
    problem: str
    laid: Laid


def resample_to_grid(image: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """An image on the model grid, linear, float32, 0 outside its field of view."""
    return sitk.Resample(image, MNI_GRID.reference_image(), transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def lay(image: sitk.Image, transform: sitk.Transform, device: str = "cpu") -> Laid:
    """An image on the model grid, and where that lies in its field of view, by one resampling for both.

    On a CUDA device torch does it, up to rounding; on others, or where that fails, ITK on the CPU.
    """
    grid = MNI_GRID.reference_image()
    if device.startswith("cuda"):
        try:
            return Laid(*(array.transpose(2, 1, 0) for array in resampled(image, transform, grid, device)))
        except RuntimeError as error:  # torch: out of memory
            cause = " ".join(str(error).split())[:120]
            warn(f"a scan could not be resampled on {device} ({cause}); it was on the CPU instead")
    outside = float(np.finfo(np.float32).min)
    there = sitk.Resample(image, grid, transform, sitk.sitkLinear, outside, sitk.sitkFloat32)
    values = image_to_array(there)
    seen = values != np.float32(outside)
    values[~seen] = 0
    return Laid(values, seen)


def agreement(laid: Laid, template: Template) -> tuple[float, float]:
    """Correlation and normalised mutual information with the template's T1 inside its brain and the field of view."""
    where = (image_to_array(template.mask) > 0) & laid.seen
    if not where.any():
        return 0.0, 0.0
    values, reference = laid.values[where], image_to_array(template.t1)[where]
    return correlation(values, reference), normalised_mutual_information(values, reference)


def _deform(method: str, start: _Start, device: str, aside: Start) -> _Fit:
    template, warped = start.template, array_to_image(start.laid.values)
    if method in ("fine", "torch"):
        from .local_ncc import register_local_ncc

        field = register_local_ncc(warped, template, device, fine=method == "fine")
    else:
        from .demons import register_demons

        field = register_demons(warped, template)
    figures = field_figures(field, template.mask)
    field, back = extended(field), None
    if figures["folds_percent"] <= MAX_FOLDS_PERCENT:  # nothing here waits for the inverse
        back = aside(lambda: sitk.CompositeTransform([as_transform(inverse(field)), start.affine.GetInverse()]))
    transform = sitk.CompositeTransform([start.affine, as_transform(field)])
    laid = lay(start.t1w, transform, device)
    _, information = agreement(laid, template)
    problem = ""
    if back is None:
        problem = f"folded {figures['folds_percent']:.2g} % of the brain"
    elif information < start.mutual_information:
        problem = "made the agreement with the template worse"
    return _Fit(back, transform, method, figures, problem, laid)


def _tried(method: str, start: _Start, device: str, aside: Start) -> tuple[_Fit, list[str]]:
    """A deformation on a device, or on the CPU and why when the device cannot do it."""
    try:
        return _deform(method, start, device, aside), []
    except RuntimeError as error:  # torch: out of memory, or an operation that mps lacks
        if device == "cpu" or method == "demons":
            raise
        cause = " ".join(str(error).split())[:120]
        said = f"the registration could not run on {device} ({cause}); it ran on the CPU instead"
        return _deform(method, start, "cpu", aside), [said]


def fit_warp(
    t1w: sitk.Image, affine: sitk.AffineTransform, template: Template, method: str = "auto", device: str = "cpu",
    aside: Start = at_once,
) -> Warp:  # fmt: skip
    """Deform the template onto a T1w that an affine has brought near.

    Args:
        t1w: bias-corrected T1w.
        affine: template points to T1w points.
        method: one of `METHODS`; `INSTEAD` says what is tried where it had to be given up.
        device: where the methods with torch run, and resampling onto the grid (see `lay`); the CPU when that fails.
        aside: starts the inverse, which nothing here waits for; see `beside`.
    """
    laid = lay(t1w, affine, device)
    ncc, information = agreement(laid, template)
    start, quality = _Start(t1w, affine, template, laid, information), {"affine_ncc": ncc}
    given_up, warnings = [], []
    for attempt in INSTEAD.get(method, (method,)):
        fit, said = _tried(attempt, start, device, aside)
        if said:  # the device will not do for the next one either
            warnings, device = said, "cpu"
        if not fit.problem:
            break
        given_up.append(f"the {attempt} registration {fit.problem} and was given up")
    else:
        warnings += given_up
        if given_up:
            warnings.append("the T1w is laid over the template by an affine only, which is coarser")
        return Warp(affine, affine.GetInverse, "affine", quality, warnings, laid)
    if given_up and method == "fine":  # it was asked for
        warnings.append(f"{'; '.join(given_up)}; the {fit.method} one was taken")
    return Warp(fit.transform, fit.back, fit.method, quality | fit.figures, warnings, fit.laid)
