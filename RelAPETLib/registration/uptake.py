"""Whether a PET that was laid over a T1w shows the same brain: figures by name, each a plain float.

Mutual information between PET and MRI depends on the tracer more than on the person, so the outline is compared: the
uptake of any tracer falls at the brain's edge.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..grid import array_to_image
from .quality import dice
from .template import Template

#: Gaussian smoothing (SD, mm) before the outline is drawn, so that noise does not fray it.
SMOOTHING_MM = 2.0
#: Share of the brain's median uptake at its edge; ventricles and white matter may have less, holes are filled.
EDGE_LEVEL = 0.4


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
