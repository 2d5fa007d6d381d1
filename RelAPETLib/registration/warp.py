"""From the template to a T1w and back: the affine and the displacement field on top of it, or the affine alone."""

from __future__ import annotations

from dataclasses import dataclass

import SimpleITK as sitk

from ..grid import MNI_GRID, image_to_array
from .demons import register_demons
from .fields import as_transform, extended, inverse
from .quality import correlation, field_figures, field_of_view
from .template import Template

#: More folded brain voxels than this (percent) and the deformation is given up for the affine.
MAX_FOLDS_PERCENT = 0.1


@dataclass(frozen=True)
class Warp:
    """A fitted T1w.

    Attributes:
        to_t1w: from points of the model grid to points of the T1w, LPS mm.
        to_grid: its inverse.
        method: ``demons``, ``torch`` or ``affine``.
        quality: ``affine_ncc``, ``deformable_ncc``, ``folds_percent``, ``sd_log_jacobian``.
        warnings: one line each.
    """

    to_t1w: sitk.Transform
    to_grid: sitk.Transform
    method: str
    quality: dict[str, float]
    warnings: list[str]


def resample_to_grid(image: sitk.Image, transform: sitk.Transform) -> sitk.Image:
    """An image on the model grid, linear, float32, 0 outside its field of view."""
    return sitk.Resample(image, MNI_GRID.reference_image(), transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def template_correlation(t1w: sitk.Image, transform: sitk.Transform, template: Template) -> float:
    """Correlation with the template inside its brain mask and the T1w's field of view."""
    where = (image_to_array(template.mask) > 0) & field_of_view(t1w, transform)
    if not where.any():
        return 0.0
    warped = image_to_array(resample_to_grid(t1w, transform))
    return correlation(warped[where], image_to_array(template.t1)[where])


def fit_warp(t1w: sitk.Image, affine: sitk.AffineTransform, template: Template, method: str, device: str) -> Warp:
    """Deform the template onto a T1w that an affine has brought near.

    Args:
        t1w: bias-corrected T1w.
        affine: template points to T1w points.
        method: ``demons``, ``torch``, ``affine`` or ``auto``.
        device: where the torch method runs.
    """
    quality = {"affine_ncc": template_correlation(t1w, affine, template)}
    back = affine.GetInverse()
    if method == "affine":
        return Warp(affine, back, "affine", quality, [])
    used = "demons"
    field = register_demons(resample_to_grid(t1w, affine), template)
    figures = field_figures(field, template.mask)
    wide = extended(field)
    forward = sitk.CompositeTransform([affine, as_transform(wide)])
    figures["deformable_ncc"] = template_correlation(t1w, forward, template)
    if figures["folds_percent"] > MAX_FOLDS_PERCENT or figures["deformable_ncc"] < quality["affine_ncc"]:
        reason = (
            f"folded {figures['folds_percent']:.2g} % of the brain"
            if figures["folds_percent"] > MAX_FOLDS_PERCENT
            else "made the agreement with the template worse"
        )
        message = f"the deformable registration {reason} and was given up: only an affine was used"
        return Warp(affine, back, "affine", quality, [message])
    backward = sitk.CompositeTransform([as_transform(inverse(wide)), back])
    return Warp(forward, backward, used, quality | figures, [])
