"""Resampling by torch on a device: what ITK does on a CPU, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

if TYPE_CHECKING:
    import torch

#: Planes of the target that are computed together: their points take 24 bytes a voxel and as much again.
PLANES = 40


def resampled(image: sitk.Image, transform: sitk.Transform, like: sitk.Image, device: str) -> tuple[np.ndarray, ...]:
    """An image on the voxels of another, linear.

    Args:
        image: scalar, any grid.
        transform: from points of `like` to points of `image`, LPS mm: affine ones, fields, and chains of them.
        like: whose voxels are wanted.
        device: of torch, which must know float64; MPS does not.

    Returns:
        Values float32 [z, y, x], 0 outside the image's field of view, and that field of view, boolean.

    Raises:
        RuntimeError: torch's own, when the device has no memory.
    """
    import torch

    volume = torch.from_numpy(sitk.GetArrayFromImage(image).astype(np.float32)).to(device)[None]
    steps = [_Step(part, device) for part in _parts(transform)]
    x, y, z = (torch.arange(n, dtype=torch.float64, device=device) for n in like.GetSize())
    to_points, to_voxels = _Linear.of_grid(like, device), _Linear.of_grid(image, device).inverse()
    values, seen = [], []
    for planes in z.split(PLANES):
        voxels = torch.stack(torch.meshgrid(planes, y, x, indexing="ij")[::-1], -1)
        points = to_points(voxels)
        for step in steps:
            points = step(points)
        found, inside = _sampled(volume, to_voxels(points))
        values.append(torch.where(inside, found[0], 0).cpu().numpy())
        seen.append(inside.cpu().numpy())
    return np.concatenate(values), np.concatenate(seen)


def _parts(transform: sitk.Transform) -> Iterator[sitk.Transform]:
    """Affine transforms and fields in the order in which points go through them: a chain's last one is the first."""
    transform = transform.Downcast()
    if not isinstance(transform, sitk.CompositeTransform):
        yield transform
        return
    for number in reversed(range(transform.GetNumberOfTransforms())):
        yield from _parts(transform.GetNthTransform(number))


class _Linear:
    """points [..., 3] -> matrix points + offset."""

    def __init__(self, matrix: np.ndarray, offset: np.ndarray, device: str):
        import torch

        self._numbers, self._device = (matrix, offset), device
        self._matrix, self._offset = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in self._numbers)

    @classmethod
    def of_grid(cls, image: sitk.Image, device: str) -> _Linear:
        """From an image's voxels (x, y, z) to its points."""
        matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        return cls(matrix, np.asarray(image.GetOrigin()), device)

    def inverse(self) -> _Linear:
        matrix = np.linalg.inv(self._numbers[0])
        return _Linear(matrix, -matrix @ self._numbers[1], self._device)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return points @ self._matrix.T + self._offset


class _Step:
    """One transform of a chain; a field moves nothing outside itself, as ITK has it."""

    def __init__(self, transform: sitk.Transform, device: str):
        import torch

        self._field = None
        if isinstance(transform, sitk.DisplacementFieldTransform):
            field = transform.GetDisplacementField()
            self._linear = _Linear.of_grid(field, device).inverse()
            self._field = torch.from_numpy(np.moveaxis(sitk.GetArrayFromImage(field), -1, 0).copy()).to(device)
            return
        if not transform.IsLinear():
            raise TypeError(f"{transform.GetName()} is neither affine nor a field")
        offset = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
        columns = [np.asarray(transform.TransformPoint(axis)) - offset for axis in np.eye(3).tolist()]
        self._linear = _Linear(np.stack(columns, -1), offset, device)

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        if self._field is None:
            return self._linear(points)
        shift, inside = _sampled(self._field, self._linear(points))
        return points + (shift * inside).permute(1, 2, 3, 0)


def _sampled(volume: torch.Tensor, voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear interpolation of [C, Z, Y, X] at voxels [..., 3] (x, y, z), and which lie at most half a voxel outside."""
    import torch
    import torch.nn.functional as F

    size = torch.tensor(volume.shape[:0:-1], dtype=torch.float64).to(voxels.device)
    inside = ((voxels >= -0.5) & (voxels < size - 0.5)).all(-1)  # as ITK has it
    places = 2 * voxels / (size - 1).clamp_min(1) - 1
    found = F.grid_sample(volume[None], places.to(volume)[None], "bilinear", "border", align_corners=True)
    return found[0], inside
