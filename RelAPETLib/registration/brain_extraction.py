"""Brain extraction from a raw T1w by deepbet's two networks; see ``Resources/brain_extraction/NOTICE.md``.

The first network finds the brain's box in the whole volume, the second the brain in that box. Both see the volume
stretched to a cube, so any spacing will do; axes must run to R, A and S, which `canonical` sees to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..devices import kept_memory
from ..resources import resource
from ..volumes import canonical

if TYPE_CHECKING:
    import torch

#: Edges of the cubes the networks were trained on.
BOX_EDGE, BRAIN_EDGE = 128, 256
#: The box is widened by this share of its own size on each side.
MARGIN = 0.1
#: A slice of the coarse mask belongs to the box when more than this share of it is brain.
BOX_SLICE_SHARE = 0.02
#: Share of the voxels below and above which intensities are cut.
CUT = 0.005


@dataclass(frozen=True)
class Brain:
    """The brain of a scan.

    Attributes:
        mask: uint8 on the scan's own grid, 1 inside the brain (with its fluid); empty when no brain was found.
        volume_ml: intracranial volume in the field of view, millilitres.
    """

    mask: sitk.Image
    volume_ml: float


def extract_brain(image: sitk.Image, device: str = "cpu") -> Brain:
    """Brain mask and intracranial volume of a T1w, with scalp or without, of any orientation and spacing.

    About 2 s of one CPU thread. Other contrasts are not what the networks were trained on.
    """
    import torch

    upright = canonical(image)
    array = np.ascontiguousarray(sitk.GetArrayFromImage(upright).transpose(2, 1, 0), dtype=np.float32)
    volume = torch.from_numpy(array).to(device)
    with torch.inference_mode(), kept_memory():
        mask = _predict(torch.nan_to_num(volume)).cpu().numpy()
    found = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8))
    found.CopyInformation(upright)
    found = sitk.BinaryFillhole(largest_piece(found))
    millilitres = float(np.prod(found.GetSpacing())) * int(sitk.GetArrayViewFromImage(found).sum()) / 1000
    if found.GetSize() != image.GetSize() or found.GetDirection() != image.GetDirection():
        found = sitk.Resample(found, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return Brain(found, millilitres)


def largest_piece(mask: sitk.Image) -> sitk.Image:
    """The largest connected piece of a mask, voxels that touch by a corner included; uint8."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(mask, True), sortByObjectSize=True)
    return sitk.Cast(pieces == 1, sitk.sitkUInt8)


def _predict(volume: torch.Tensor) -> torch.Tensor:
    """Boolean [X, Y, Z], before pieces and holes are looked at."""
    import torch

    small = _resized(volume, (BOX_EDGE,) * 3)
    low, high = small.quantile(small.new_tensor([CUT, 1 - CUT]))  # sorted once
    result = torch.zeros(volume.shape, dtype=torch.bool, device=volume.device)
    if not high > low:
        return result
    coarse = _network("box", volume.device)(_normalised(small, low, high, small.shape)[None, None])[0, 0] > 0
    coarse = largest_piece(sitk.GetImageFromArray(coarse.cpu().numpy().astype(np.uint8)))
    box = _box(sitk.GetArrayViewFromImage(coarse), tuple(volume.shape))
    if box is None:
        return result
    inside = _normalised(volume[box], low, high, (BRAIN_EDGE,) * 3)
    brain = _network("brain", volume.device)(inside[None, None])[0, 0] > 0
    result[box] = _resized(brain.float(), tuple(result[box].shape)) > 0
    return result


def _resized(volume: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    import torch.nn.functional as F

    return F.interpolate(volume[None, None], shape, mode="nearest-exact")[0, 0]


def _normalised(volume: torch.Tensor, low: torch.Tensor, high: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Intensities as the networks were trained on them, stretched to a shape; mean and SD are of the stretched volume.

    Stretching copies voxels, thick slices above all, so what is done to each is done before.
    """
    volume = ((volume - low) / (high - low)).clamp(0, 1)
    stretched = _resized(volume, shape)
    return _resized(0.226 * (volume - stretched.mean()) / stretched.std() + 0.449, shape)


def _box(coarse: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The widened box of a coarse mask [128, 128, 128] in a volume of `shape`, or None when there is no brain.

    It is at least one voxel wide, however thick the voxels are.
    """
    slices = []
    for axis, size in enumerate(shape):
        others = tuple(a for a in range(3) if a != axis)
        taken = np.flatnonzero(coarse.mean(axis=others) > BOX_SLICE_SHARE)
        if not taken.size:
            return None
        scale = size / coarse.shape[axis]
        centre = round(scale * (taken[-1] + 1 + taken[0]) / 2)
        edge = max(1, round((1 + 2 * MARGIN) * scale * (taken[-1] + 1 - taken[0])))
        first = max(0, int(centre - edge / 2))
        slices.append(slice(first, max(first + 1, min(size, int(centre + edge / 2)))))
    return tuple(slices)


def _network(part: str, device) -> torch.nn.Module:
    """``box`` or ``brain`` with its weights, which are stored as float16."""
    from safetensors import safe_open

    from .linknet import LinkNet3d

    network = LinkNet3d()
    with safe_open(resource("brain_extraction", "weights.safetensors"), framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{part}.")]
        network.load_state_dict({name.removeprefix(f"{part}."): file.get_tensor(name).float() for name in names})
    return network.eval().to(device)
