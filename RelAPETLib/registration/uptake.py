"""Where a PET that was laid over a T1w shows the brain, and whether it is the same brain: figures, plain floats.

Mutual information between PET and MRI depends on the tracer more than on the person, so the outline is compared: the
uptake of any tracer falls at the brain's edge.

A PET's field of view is known from its geometry. A file may have been laid onto a larger grid before, though, by other
software, which writes exactly 0 where the scanner saw nothing: such padding counts as outside the field of view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..grid import array_to_image, image_to_array
from .quality import dice
from .template import Template

#: Gaussian smoothing (SD, mm) before the outline is drawn, so that noise does not fray it.
SMOOTHING_MM = 2.0
#: Share of the brain's median uptake at its edge; ventricles and white matter may have less, holes are filled.
EDGE_LEVEL = 0.4
#: What is exactly 0 from the brain's surface on is padding where some of it is deeper than this, mm. The rim that
#: another brain mask leaves is thinner, and a ventricle without any uptake does not reach the surface.
PADDING_MM = 5.0
#: Voxels of 1 mm beside padding in which interpolation may have mixed it with uptake.
MIXED_MM = 2


@dataclass(frozen=True)
class Uptake:
    """A PET on the model grid.

    Attributes:
        pet: float32, its own unit, 0 outside the brain.
        view: uint8, 1 where the grid lies in its field of view.
        figures: of `uptake_figures`; the coverage is that of `view`.
    """

    pet: sitk.Image
    view: sitk.Image
    figures: dict[str, float]


def uptake_on_grid(pet: np.ndarray, seen: np.ndarray, template: Template) -> Uptake:
    """A PET that was laid over the model grid, and where it shows the brain.

    Args:
        pet: [X, Y, Z] on `MNI_GRID`, any unit, not masked.
        seen: boolean [X, Y, Z], the field of view by the PET's geometry; true everywhere for one that came on the grid.
        template: the template, whose brain mask the T1w was fitted to.
    """
    mask, view = image_to_array(template.mask) > 0, pet_view(pet, seen, template)
    figures = uptake_figures(pet, seen, template) | {"pet_coverage": float((mask & view).sum() / mask.sum())}
    inside = np.where(mask, pet, 0).astype(np.float32)
    return Uptake(array_to_image(inside), array_to_image(view.astype(np.uint8)), figures)


def seen_brain(mask: sitk.Image, view: sitk.Image | None) -> sitk.Image:
    """The brain where a PET shows it, uint8: `mask` itself for a view of all of it, or None."""
    if view is None:
        return mask
    brain, shown = image_to_array(mask) > 0, image_to_array(view) > 0
    return array_to_image((brain & shown).astype(np.uint8)) if (brain & ~shown).any() else mask


def pet_view(pet: np.ndarray, seen: np.ndarray, template: Template) -> np.ndarray:
    """What a PET shows, boolean [X, Y, Z]: its field of view without what was padded of the brain.

    Args:
        pet, seen, template: as for `uptake_on_grid`.
    """
    mask = image_to_array(template.mask) > 0
    empty = mask & seen & (pet == 0)
    if not empty.any():
        return seen
    image = array_to_image(empty.astype(np.uint8))
    depth = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    pieces = image_to_array(sitk.ConnectedComponent(image))
    surface = mask & ~(image_to_array(sitk.BinaryErode(template.mask, [1] * 3)) > 0)
    outer = np.unique(pieces[empty & surface])
    if not np.isin(pieces[empty & (image_to_array(depth) > PADDING_MM)], outer).any():
        return seen
    padding = sitk.BinaryDilate(array_to_image(np.isin(pieces, outer).astype(np.uint8)), [MIXED_MM] * 3)
    return seen & ~(mask & (image_to_array(padding) > 0))


def uptake_figures(pet: np.ndarray, seen: np.ndarray, template: Template) -> dict[str, float]:
    """Agreement of a PET on the model grid with the brain that the T1w was fitted to.

    Args:
        pet: [X, Y, Z] on `MNI_GRID`, any unit, not masked.
        seen: boolean [X, Y, Z], the PET's field of view.
        template: the template, whose brain mask the T1w was fitted to.

    Returns:
        ``pet_coverage``, the share of the brain in the field of view; ``pet_outline``, Dice of the brain mask and of
        all near it whose smoothed uptake is above `EDGE_LEVEL` of the brain's median, holes filled.
    """
    mask = sitk.GetArrayViewFromImage(template.mask).transpose(2, 1, 0) > 0
    near = template.near & seen
    brain = mask & seen
    if not brain.any():
        return {"pet_coverage": 0.0, "pet_outline": 0.0}
    smooth = sitk.SmoothingRecursiveGaussian(array_to_image(pet.astype(np.float32)), SMOOTHING_MM)
    edge = EDGE_LEVEL * float(np.median(sitk.GetArrayViewFromImage(smooth).transpose(2, 1, 0)[brain]))
    inside = sitk.GetArrayFromImage(sitk.BinaryFillhole(smooth > edge)).transpose(2, 1, 0) > 0
    return {
        "pet_coverage": float(brain.sum() / mask.sum()),
        "pet_outline": dice(inside & near, brain) if edge > 0 else 0.0,
    }
