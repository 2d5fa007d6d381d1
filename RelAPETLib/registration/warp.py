"""From the template to a T1w and back: the affine and a displacement field on top of it, or the affine alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..grid import MNI_GRID, array_to_image, image_to_array
from .fields import as_transform, extended, inverse
from .quality import correlation, field_figures, normalised_mutual_information
from .template import Template

#: More folded brain voxels than this (percent) and a deformation is given up.
MAX_FOLDS_PERCENT = 0.1


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
        to_grid: its inverse.
        method: ``demons``, ``torch`` or ``affine``.
        quality: ``affine_ncc`` and, unless the affine stands alone, ``folds_percent`` and ``sd_log_jacobian``.
        warnings: one line each.
        laid: the T1w through `to_t1w`.
    """

    to_t1w: sitk.Transform
    to_grid: sitk.Transform
    method: str
    quality: dict[str, float]
    warnings: list[str]
    laid: Laid


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
    """A deformation under trial; `problem` says in words why it must not be used, and is empty when it may."""

    field: sitk.Image
    transform: sitk.Transform
    method: str
    figures: dict[str, float]
    ncc: float
    mutual_information: float
    problem: str
    laid: Laid


def resample_to_grid(image: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """An image on the model grid, linear, float32, 0 outside its field of view."""
    return sitk.Resample(image, MNI_GRID.reference_image(), transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def lay(image: sitk.Image, transform: sitk.Transform) -> Laid:
    """An image on the model grid, and where that lies in its field of view, by one resampling for both."""
    outside = float(np.finfo(np.float32).min)
    there = sitk.Resample(image, MNI_GRID.reference_image(), transform, sitk.sitkLinear, outside, sitk.sitkFloat32)
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


def _deform(method: str, start: _Start, device: str) -> _Fit:
    template, warped = start.template, array_to_image(start.laid.values)
    if method == "torch":
        from .local_ncc import register_local_ncc

        field = register_local_ncc(warped, template, device)
    else:
        from .demons import register_demons

        field = register_demons(warped, template)
    figures = field_figures(field, template.mask)
    field = extended(field)
    transform = sitk.CompositeTransform([start.affine, as_transform(field)])
    laid = lay(start.t1w, transform)
    ncc, information = agreement(laid, template)
    problem = ""
    if figures["folds_percent"] > MAX_FOLDS_PERCENT:
        problem = f"folded {figures['folds_percent']:.2g} % of the brain"
    elif information < start.mutual_information:
        problem = "made the agreement with the template worse"
    return _Fit(field, transform, method, figures, ncc, information, problem, laid)


def _on_device(start: _Start, device: str) -> tuple[_Fit | None, list[str]]:
    """The torch method on a device, or nothing and why not when the device cannot do it."""
    try:
        return _deform("torch", start, device), []
    except RuntimeError as error:  # torch: out of memory, or an operation that mps lacks
        if device == "cpu":
            raise
        cause = " ".join(str(error).split())[:120]
        return None, [f"the registration could not run on {device} ({cause}); it ran on the CPU instead"]


def fit_warp(
    t1w: sitk.Image, affine: sitk.AffineTransform, template: Template, method: str = "auto", device: str = "cpu"
) -> Warp:
    """Deform the template onto a T1w that an affine has brought near.

    Args:
        t1w: bias-corrected T1w.
        affine: template points to T1w points.
        method: ``torch``, ``demons``, ``affine``, or ``auto``: torch, and demons where torch had to be given up.
        device: where the torch method runs; the CPU when that fails.
    """
    laid = lay(t1w, affine)
    ncc, information = agreement(laid, template)
    start, quality = _Start(t1w, affine, template, laid, information), {"affine_ncc": ncc}
    fits, warnings = [], []
    if method in ("torch", "auto"):
        fit, warnings = _on_device(start, device)
        fits = [fit or _deform("torch", start, "cpu")]
    if method == "demons" or (method == "auto" and fits[0].problem):
        fits.append(_deform("demons", start, device))
    good = [fit for fit in fits if not fit.problem]
    if not good:
        warnings += [f"the {fit.method} registration {fit.problem} and was given up" for fit in fits]
        if fits:
            warnings.append("the T1w is laid over the template by an affine only, which is coarser")
        return Warp(affine, affine.GetInverse(), "affine", quality, warnings, laid)
    best = max(good, key=lambda fit: fit.mutual_information)
    back = sitk.CompositeTransform([as_transform(inverse(best.field)), affine.GetInverse()])
    return Warp(best.transform, back, best.method, quality | best.figures, warnings, best.laid)
