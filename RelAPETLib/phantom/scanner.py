"""Raw scans of a simulated person: T1w, FLAIR and PET, each on a grid of its own.

The person lies somewhere in the scanner (a rigid pose), slices have an orientation, thickness and tilt, voxels are
stored in any of the 48 axis orders, and contrast, coil sensitivity and noise differ from scan to scan. Geometry here is
RAS millimetres in 4x4 matrices until the `SimpleITK.Image` is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..grid import ModelGrid, array_to_image
from ..tracers import TRACERS
from .head import COARSE_GRID, HEAD_GRID, Head
from .people import Person
from .render import PET_FWHM_MM, Contrast, bias_field, blur_pet, draw_contrasts, pet_noise, rician

if TYPE_CHECKING:
    import SimpleITK as sitk

SEQUENCES = ("T1w", "FLAIR")
#: Slice axis (0 sagittal, 1 coronal, 2 axial) and how often each sequence is taken that way.
ORIENTATIONS = ("sagittal", "coronal", "axial")
ORIENTATION_SHARES = {"T1w": (0.45, 0.15, 0.4), "FLAIR": (0.25, 0.1, 0.65)}
LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class RawScan:
    """One scan as a scanner would store it.

    Attributes:
        image: int16 (MRI, arbitrary units) or float32 (PET, SUVR), in scanner space.
        to_scanner: 4x4 rigid matrix, person's own RAS millimetres -> scanner RAS millimetres.
        settings: what was drawn for it: orientation, voxel size, noise, ... (plain numbers and words).
    """

    image: sitk.Image
    to_scanner: np.ndarray
    settings: dict


@dataclass(frozen=True)
class ScanGrid:
    """Voxel grid of a scan: `axes` holds in its columns the RAS unit vector of each storage axis."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: np.ndarray
    axes: np.ndarray

    def refined(self, axis: int, parts: int) -> ScanGrid:
        """The same block of space with every voxel cut into `parts` along one storage axis."""
        size, spacing = list(self.size), list(self.spacing)
        size[axis], spacing[axis] = size[axis] * parts, spacing[axis] / parts
        return ScanGrid(tuple(size), tuple(spacing), self.centre, self.axes)

    def set_on(self, image: sitk.Image) -> sitk.Image:
        """Give an image of this size this geometry (LPS, as SimpleITK has it)."""
        half = self.axes @ (np.multiply(np.subtract(self.size, 1), self.spacing) / 2)
        image.SetOrigin((LPS @ (self.centre - half)).tolist())
        image.SetSpacing([float(s) for s in self.spacing])
        image.SetDirection((LPS @ self.axes).ravel().tolist())
        return image

    def reference(self) -> sitk.Image:
        """An empty 8-bit image with this geometry."""
        import SimpleITK as sitk

        return self.set_on(sitk.Image([int(n) for n in self.size], sitk.sitkUInt8))


def rotation(degrees) -> np.ndarray:
    """3x3 rotation about x, then y, then z by these angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _rigid(rng: np.random.Generator, degrees_sd: float, mm_sd: float) -> np.ndarray:
    """Random rigid 4x4 matrix; angles and shifts are cut at 2.5 SD."""
    draws = np.clip(rng.standard_normal(6), -2.5, 2.5)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(draws[:3] * degrees_sd), draws[3:] * mm_sd
    return matrix


def pose(person: Person, scan: str) -> np.ndarray:
    """4x4 matrix, person's RAS -> scanner RAS, of the ``T1w``, the ``FLAIR`` or a tracer's PET.

    The FLAIR belongs to the T1w's session, with a small movement between the two; each PET has a session of its own.
    """
    session = _rigid(person.rng("pose-MRI" if scan in SEQUENCES else f"pose-{scan}"), 6, 10)
    return session @ _rigid(person.rng("movement"), 0.8, 1.2) if scan == "FLAIR" else session


def acquire(array: np.ndarray, grid: ModelGrid, to_scanner: np.ndarray, scan_grid: ScanGrid, slab: int) -> np.ndarray:
    """What slices of full thickness see of a map in the person's space.

    Args:
        array: map [X, Y, Z] on `grid`, in the person's space.
        to_scanner: person's RAS -> scanner RAS.
        scan_grid: where to sample; 0 outside the map.
        slab: storage axis across the slices; voxels average over their extent along it.

    Returns:
        float32 array [I, J, K] in storage order.
    """
    import SimpleITK as sitk

    parts = max(1, int(np.ceil(scan_grid.spacing[slab] - 0.2)))
    inverse = np.linalg.inv(to_scanner)
    back = sitk.AffineTransform(3)
    back.SetMatrix((LPS @ inverse[:3, :3] @ LPS).ravel().tolist())
    back.SetTranslation((LPS @ inverse[:3, 3]).tolist())
    source = array_to_image(np.asarray(array, np.float32), grid)
    fine = sitk.Resample(source, scan_grid.refined(slab, parts).reference(), back, sitk.sitkLinear, 0.0)
    values = sitk.GetArrayFromImage(fine).transpose(2, 1, 0)
    if parts == 1:
        return values
    split = (*values.shape[:slab], scan_grid.size[slab], parts, *values.shape[slab + 1 :])
    return values.reshape(split).mean(axis=slab + 1)


def scan_mri(head: Head, sequence: str) -> RawScan:
    """Scan a head with one of `SEQUENCES`: int16, the scan's own geometry, contrast, bias field and Rician noise."""
    rng = head.person.rng(f"scan-{sequence}")
    to_scanner = pose(head.person, sequence)
    slice_axis = int(rng.choice(3, p=ORIENTATION_SHARES[sequence]))
    thick = rng.random() < (0.4 if sequence == "T1w" else 0.7)
    in_plane = rng.uniform(0.8, 1.2)
    thickness = rng.uniform(2.5, 5.0) if thick else rng.uniform(1.0, 1.4)
    frame, tilt = _frame(rng, to_scanner)
    voxel = np.full(3, in_plane)
    voxel[slice_axis] = thickness
    margins = rng.uniform(18, 32, (3, 2))  # in-plane: to the air beyond the scalp
    margins[slice_axis] = rng.uniform(4, 20, 2)
    scan_grid, order = _grid_around(head, to_scanner, frame, voxel, margins, rng)
    slab = int(np.argmax(order == slice_axis))

    contrast = draw_contrasts(head.person, head.person.rng("contrast"))[SEQUENCES.index(sequence)]
    array = acquire(_signal(head, sequence, contrast, rng), HEAD_GRID, to_scanner, scan_grid, slab)
    bias, noise, gain = rng.uniform(0.03, 0.1), rng.uniform(0.01, 0.035), rng.uniform(200, 1500)
    measured = rician(array * bias_field(array.shape, rng, bias), noise, rng)
    if rng.random() < 0.3:  # some scanners blank the air
        measured = np.where(array > 1.5 * noise, measured, 0)
    settings = {
        "orientation": ORIENTATIONS[slice_axis],
        "slice_thickness_mm": round(thickness, 3),
        "in_plane_mm": round(in_plane, 3),
        "tilt_degrees": round(tilt, 2),
        "bias_field_sd": round(bias, 4),
        "noise_sd": round(noise, 4),
        "contrast": {name: round(float(value), 4) for name, value in vars(contrast).items()},
    }
    stored = np.clip(np.rint(measured * gain), 0, 32767).astype(np.int16)
    return RawScan(_image(stored, scan_grid), to_scanner, settings)


def scan_pet(head: Head, tracer: str) -> RawScan:
    """Scan a head with a PET tracer: float32 SUVR on about 2 mm voxels, blurred by 6 mm, with smooth noise.

    Nothing outside the brain takes the tracer up, as on the model grid (`render`); values below 0 are set to 0.
    """
    rng = head.person.rng(f"scan-{tracer}")
    to_scanner = pose(head.person, tracer)
    spacing = rng.uniform(1.8, 2.3)
    voxel, margins = np.full(3, spacing), np.tile(rng.uniform(20, 35, (3, 1)), 2)
    scan_grid, _ = _grid_around(head, to_scanner, np.eye(3), voxel, margins, rng)
    blurred = blur_pet(head.maps.activity[tracer], HEAD_GRID.spacing[0])
    array = acquire(blurred, HEAD_GRID, to_scanner, scan_grid, 0)
    suvr = np.maximum(array + pet_noise(array.shape, rng, spacing), 0).astype(np.float32)
    settings = {"voxel_mm": round(spacing, 3), "resolution_fwhm_mm": PET_FWHM_MM}
    return RawScan(_image(suvr, scan_grid), to_scanner, settings)


def true_pet(head: Head, tracer: str, image: sitk.Image, scan: str = "T1w", *, expected: bool = True) -> sitk.Image:
    """PET without scanner noise on the grid of one of the person's scans; float32 SUVR at the scanner's resolution.

    Args:
        image: the scan whose grid is wanted, as `scan_mri` or `scan_pet` made it (or as read back from its file).
        scan: which scan that is: ``T1w``, ``FLAIR`` or a tracer's name.
        expected: the law without its noise (the oracle: the best any reader of the MRI could do); False gives the
            person's own uptake.
    """
    import SimpleITK as sitk

    if scan not in (*SEQUENCES, *TRACERS):
        raise ValueError(f"scan '{scan}' is none of {', '.join((*SEQUENCES, *TRACERS))}")
    activity = (head.maps.expected_activity if expected else head.maps.activity)[tracer]
    direction = LPS @ np.reshape(image.GetDirection(), (3, 3))
    centre = LPS @ image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    scan_grid = ScanGrid(image.GetSize(), image.GetSpacing(), centre, direction)
    slab = int(np.argmax(image.GetSpacing()))
    blurred = blur_pet(activity, HEAD_GRID.spacing[0])
    values = acquire(blurred, HEAD_GRID, pose(head.person, scan), scan_grid, slab)
    result = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    result.CopyInformation(image)
    return result


def _frame(rng: np.random.Generator, to_scanner: np.ndarray) -> tuple[np.ndarray, float]:
    """Axes of the slices in scanner space: the scanner's own, or turned towards the head's; and the tilt in degrees."""
    if rng.random() < 0.4:
        return np.eye(3), 0.0
    frame = to_scanner[:3, :3] @ rotation(rng.normal(0, 3, 3))
    return frame, float(np.rad2deg(np.arccos(np.clip((np.trace(frame) - 1) / 2, -1, 1))))


def _grid_around(head: Head, to_scanner, frame, voxel, margins, rng) -> tuple[ScanGrid, np.ndarray]:
    """Grid in a random storage order that holds the brain and `margins` [3, 2] (mm) around it along `frame`'s axes.

    Also returns, for each storage axis, which of `frame`'s axes it runs along.
    """
    step = 4
    inside = np.argwhere(head.maps.brain[::step, ::step, ::step] > 0.5) * step + np.asarray(HEAD_GRID.origin)
    points = (inside @ to_scanner[:3, :3].T + to_scanner[:3, 3]) @ frame  # coordinates along the frame's axes
    low, high = points.min(axis=0) - step - margins[:, 0], points.max(axis=0) + step + margins[:, 1]
    order, flips = rng.permutation(3), rng.choice((-1.0, 1.0), 3)
    size = np.ceil((high - low) / voxel).astype(int)
    centre = frame @ ((low + high) / 2)
    axes = frame[:, order] * flips
    return ScanGrid(tuple(map(int, size[order])), tuple(map(float, voxel[order])), centre, axes), order


def _signal(head: Head, sequence: str, contrast: Contrast, rng: np.random.Generator) -> np.ndarray:
    """Noise-free signal [X, Y, Z] of the whole head on `HEAD_GRID`."""
    import SimpleITK as sitk

    t1w = sequence == "T1w"
    values = {
        "fluid": contrast.csf,
        "bone": rng.uniform(0.04, 0.12),
        "marrow": rng.uniform(0.6, 1.0) if t1w else rng.uniform(0.3, 0.6),
        "fat": rng.uniform(1.1, 1.9) if t1w else rng.uniform(0.3, 1.2),
        "muscle": rng.uniform(0.45, 0.6) if t1w else rng.uniform(0.35, 0.5),
        "cord": 0.9 if t1w else 0.85,
    }
    around = array_to_image(head.surroundings.signal(values).astype(np.float32), COARSE_GRID)
    around = sitk.Resample(around, HEAD_GRID.reference_image(), sitk.Transform(), sitk.sitkLinear, 0.0)
    outside = sitk.GetArrayFromImage(around).transpose(2, 1, 0)
    brain = head.maps.brain
    return brain * contrast.signal(head.maps) + (1 - brain) * outside


def _image(array: np.ndarray, scan_grid: ScanGrid) -> sitk.Image:
    import SimpleITK as sitk

    return scan_grid.set_on(sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0))))
