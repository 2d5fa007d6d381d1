"""What the picture and the page share: planes, windows, and pictures that show the brain and no face.

Slices are the T1w's own voxel planes after a lossless reordering to R, A, S, drawn in millimetres, so that anisotropic
voxels keep their proportions. Radiological convention: the subject's right is on the left, as in 3D Slicer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

BURNED_IN = "SYNTHETIC, research only"
#: Around the brain so much of the head is shown: enough to see how the brain's edge lies, too little for a face.
RIM_MM = 4.0
#: Black around the rim.
_BORDER_MM = 6.0
#: Half width of the window of maps in SD: the same for all people, so that little looks like little.
SD_WINDOW = 3.0
_SAGITTAL_OFFSET_MM = 25.0  # off the midline, where a sagittal slice would show little but the fissure
#: Volumes that hold more than the brain: a face is cut off them.
_WHOLE_HEADS = ("t1w", "t2f")


@dataclass(frozen=True)
class Plane:
    """One of the three planes: ``normal``, ``across`` and ``up`` are array axes, ``marks`` the left and right letters.

    The across axis is drawn mirrored (towards L, or P): radiological convention, and nose to the left as in Slicer.
    """

    name: str
    normal: int
    across: int
    up: int
    marks: tuple[str, str]


PLANES = (
    Plane("axial", 2, 0, 1, ("R", "L")),
    Plane("coronal", 1, 0, 2, ("R", "L")),
    Plane("sagittal", 0, 1, 2, ("A", "P")),
)


@dataclass(frozen=True)
class Volumes:
    """Volumes of one person on one grid, cropped to the brain and its rim, with no face.

    Attributes:
        arrays: float32 [X, Y, Z] by name (``pet``, ``t1w``, perhaps ``t2f``, ``reference`` ...), axes to R, A, S.
        brain: bool [X, Y, Z], where the PET is not 0.
        spacing: voxel size in mm, [3].
        affine: 4x4, from voxel indices to RAS mm.
        centre: voxel through which the three planes go.
    """

    arrays: dict[str, np.ndarray]
    brain: np.ndarray
    spacing: np.ndarray
    affine: np.ndarray
    centre: tuple[int, int, int]


def prepare(images: dict[str, sitk.Image | None]) -> Volumes:
    """Canonical, cropped volumes without a face.

    Args:
        images: volumes on one grid by name; ``pet`` is 0 outside the brain. None is left out.

    Raises:
        InputError: they are not on one grid.
    """
    from ..volumes import canonical, image_affine

    pet = canonical(images["pet"])
    whole, spacing, affine = array_of(pet), np.array(pet.GetSpacing()), image_affine(pet)
    box = _box(whole != 0, spacing)
    arrays = {}
    for name, image in images.items():  # one at a time, since a whole scan may be large
        if image is None:
            continue
        image = canonical(image)
        if image.GetSize() != pet.GetSize() or not np.allclose(image_affine(image), affine, atol=0.01):
            raise InputError(f"the report needs all volumes on the T1w's grid, but {name} is on another one")
        arrays[name] = np.ascontiguousarray(array_of(image)[box], dtype=np.float32)
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    brain = arrays["pet"] != 0
    shown = _rim(brain, spacing)
    for name in _WHOLE_HEADS:
        if name in arrays:
            arrays[name] = np.where(shown, arrays[name], arrays[name].min())
    return Volumes(arrays, brain, spacing, affine, _centre(brain, spacing))


def array_of(image: sitk.Image) -> np.ndarray:
    """The image's own voxels as [X, Y, Z], not copied; read them while the image lives."""
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)


def _rim(brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The brain and `RIM_MM` around it; everything where there is no brain to be found."""
    import SimpleITK as sitk

    if not brain.any():
        return np.ones_like(brain)
    mask = sitk.GetImageFromArray(brain.astype(np.uint8))  # z, y, x in ITK's words; radii follow the array's axes
    radius = [int(np.ceil(RIM_MM / s)) for s in spacing[::-1]]
    return sitk.GetArrayFromImage(sitk.BinaryDilate(mask, radius, sitk.sitkBall)).astype(bool)


def _box(brain: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """The brain, its rim and a black border, inside the volume; the volume where there is no brain."""
    box = []
    for axis, s in enumerate(spacing):
        where = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        if where.size == 0:
            return tuple(slice(0, n) for n in brain.shape)
        margin = int(round((RIM_MM + _BORDER_MM) / s))
        box.append(slice(max(int(where[0]) - margin, 0), min(int(where[-1]) + margin, brain.shape[axis] - 1) + 1))
    return tuple(box)


def _centre(brain: np.ndarray, spacing: np.ndarray) -> tuple[int, int, int]:
    """Voxel through which the three planes go: the brain's centre, off the midline."""
    where = np.nonzero(brain)
    if where[0].size == 0:
        return tuple(n // 2 for n in brain.shape)
    centre = [int(round(float(axis.mean()))) for axis in where]
    centre[0] = max(int(where[0].min()), centre[0] - int(round(_SAGITTAL_OFFSET_MM / spacing[0])))
    return tuple(centre)


def slice_of(array: np.ndarray, plane: Plane, centre: tuple[int, int, int]) -> np.ndarray:
    """Picture [up, across] of one plane, across mirrored; the first row is the lowest."""
    index: list = [slice(None)] * 3
    index[plane.normal] = centre[plane.normal]
    picture = array[tuple(index)]  # the remaining axes keep their order, and across < up in every plane
    return picture.T[:, ::-1]


def grey_limits(array: np.ndarray, brain: np.ndarray) -> tuple[float, float]:
    """Window of an MRI: from its minimum to a little above the brain's 99.5th percentile (fat may be brighter)."""
    low = float(array.min())
    inside = array[brain] if brain.any() else array[array > low]
    high = low + 1.15 * (float(np.percentile(inside, 99.5)) - low) if inside.size else low
    return low, max(high, low + 1e-6)


def round_limit(array: np.ndarray, step: float) -> float:
    """99th percentile of the non-zero magnitudes, rounded up to a multiple of `step`."""
    magnitudes = np.abs(array[array != 0])
    high = float(np.percentile(magnitudes, 99)) if magnitudes.size else step
    return max(step, float(np.ceil(high / step)) * step)


def own_window(array: np.ndarray) -> tuple[float, float]:
    """Window of a PET [X, Y, Z] by itself: 5th to 99.5th percentile of what is not 0, at least 0.1 wide."""
    inside = array[array != 0]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(inside, (5, 99.5)))
    if high - low < 0.1:
        low, high = (low + high) / 2 - 0.05, (low + high) / 2 + 0.05
    return round(low, 3), round(high, 3)
