"""How much of a brain lies outside the field of view of its T1w and T2F, and which regions.

Measured before any deformation, which would stretch what is left over what is missing. What a scan shows of the brain
is the extracted mask; what it lacks is the template's brain, placed by the affine, where the mask runs into the border
of the volume. Where it does not, nothing is missing, wherever the affine puts the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .brain_extraction import Brain
from .mutual_information import linear_parts, mask_points
from .template import Template

#: The brain runs into a border where its mask touches it with more than this area. Its ends are round: one that just
#: reaches the last slice touches it with less.
TOUCH_MM2 = 100.0
#: One in so many voxels is looked at.
STRIDE = 17


@dataclass(frozen=True)
class Coverage:
    """What two scans show of a brain.

    Attributes:
        missing: share of the brain outside the field of view, 0 to 1, by ``t1w`` and ``t2f``, those that there are.
        in_view: boolean [X, Y, Z] on `MNI_GRID`: brain that all scans show.
    """

    missing: dict[str, float]
    in_view: np.ndarray


def measure_coverage(
    brain: Brain,
    t1w: sitk.Image,
    t2f: sitk.Image | None,
    affine: sitk.Transform,
    rigid: sitk.Transform | None,
    template: Template,
) -> Coverage:
    """Compare where the brain is with what the scans show.

    Args:
        brain: of the T1w.
        t1w, t2f: the scans, for their geometry; `t2f` and `rigid` are None where there is no T2F.
        affine: template points to T1w points, linear.
        rigid: T1w points to T2F points, linear.
        template: from `load_template`.
    """
    points = mask_points(template.mask)
    seen_t1w = _inside(points, t1w, (affine,), touched_faces(brain.mask))
    seen = seen_t1w if t2f is None else seen_t1w & _inside(points, t2f, (affine, rigid))
    in_view = sitk.GetArrayFromImage(template.mask) > 0
    in_view[in_view] = seen
    in_view = in_view.transpose(2, 1, 0)

    size = abs(np.linalg.det(linear_parts(affine)[0])) * float(np.prod(template.mask.GetSpacing()))
    shown = mask_points(brain.mask, STRIDE)
    lacking = _moved((points[~seen_t1w] if len(shown) else points)[::STRIDE], affine)
    weight = np.r_[np.full(len(shown), float(np.prod(brain.mask.GetSpacing()))), np.full(len(lacking), size)]
    whole = np.concatenate([shown, lacking])
    missing = {"t1w": 1 - np.average(_inside(whole, t1w), weights=weight)}
    if t2f is not None:
        missing["t2f"] = 1 - np.average(_inside(whole, t2f, (rigid,)), weights=weight)
    return Coverage({name: float(share) for name, share in missing.items()}, in_view)


def face_areas(mask: sitk.Image) -> np.ndarray:
    """Area (mm2) in which a mask touches the lower and the upper end of each axis, [3, 2]."""
    array, spacing = sitk.GetArrayViewFromImage(mask) > 0, mask.GetSpacing()
    pixels = [[np.take(array, position, axis=2 - axis).sum() for position in (0, -1)] for axis in range(3)]
    return np.array(pixels) * (np.prod(spacing) / np.array(spacing))[:, None]


def touched_faces(mask: sitk.Image) -> np.ndarray:
    """Whether a brain mask runs into the lower and the upper end of each axis, boolean [3, 2]; all when it is empty."""
    if not np.any(sitk.GetArrayViewFromImage(mask)):
        return np.ones((3, 2), bool)
    return face_areas(mask) > TOUCH_MM2


def _moved(points: np.ndarray, transform: sitk.Transform) -> np.ndarray:
    matrix, offset = linear_parts(transform)
    return points @ matrix.T + offset


def _inside(
    points: np.ndarray,
    image: sitk.Image,
    transforms: Sequence[sitk.Transform] = (),
    faces: np.ndarray | None = None,
) -> np.ndarray:
    """Which points [N, 3], taken through linear transforms one after the other, lie in an image's field of view.

    Beyond a face that is not in `faces`, all do.
    """
    faces = np.ones((3, 2), bool) if faces is None else faces
    to_index = (np.reshape(image.GetDirection(), (3, 3)) / image.GetSpacing()).T
    shift = -to_index @ image.GetOrigin()
    for transform in reversed(transforms):
        matrix, offset = linear_parts(transform)
        to_index, shift = to_index @ matrix, to_index @ offset + shift
    inside = np.ones(len(points), bool)
    for row, first, (lower, upper), size in zip(to_index, shift, faces, image.GetSize(), strict=True):
        index = points @ row + first
        if lower:
            inside &= index >= -0.5
        if upper:
            inside &= index <= size - 0.5
    return inside
