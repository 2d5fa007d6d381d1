"""The template all scans are registered to: ICBM 152 2009a symmetric, skull-stripped, on the model grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import SimpleITK as sitk

from ..errors import RelAPETError
from ..grid import MNI_GRID
from ..resources import resource
from .copies import COARSE_MM, FINE_MM, working_copy

#: What still counts as near the brain, mm: uptake of scalp, glands and neck lies beyond the skull.
NEAR_MM = 10
#: The mask's rim, in 1 mm voxels, shows the affine's metric the brain's border; of a wider one skull and scalp fit it.
RIM = 2
#: The same for a rigid registration of two scans of one head.
WIDE = 4
#: Where skull and scalp are: so many voxels of 2 mm outside the brain, from and to.
SHELL = (3, 6)


@dataclass(frozen=True)
class Template:
    """Template maps on `MNI_GRID`; treat them as read-only, they are shared.

    Attributes:
        t1: float32, T1 contrast, 0..255, 0 outside the brain.
        grey, white: float32, share of grey or white matter in a voxel, 0..1.
        mask: uint8, 1 inside the brain.
    """

    t1: sitk.Image
    grey: sitk.Image
    white: sitk.Image
    mask: sitk.Image

    @cached_property
    def fine(self) -> sitk.Image:
        """`t1` on the voxels of a scan's own fine working copy; see `copies.working_copy`."""
        return working_copy(self.t1, FINE_MM)

    @cached_property
    def coarse(self) -> sitk.Image:
        """`fine` on the voxels of a scan's coarse working copy."""
        return working_copy(self.fine, COARSE_MM)

    @cached_property
    def rim(self) -> sitk.Image:
        """The mask, wider by `RIM`."""
        return sitk.BinaryDilate(self.mask, [RIM] * 3)

    @cached_property
    def wide(self) -> sitk.Image:
        """The mask, wider by `WIDE`."""
        return sitk.BinaryDilate(self.mask, [WIDE] * 3)

    @cached_property
    def shell(self) -> sitk.Image:
        """Where skull and scalp are, see `SHELL`: 1 there, uint8, on 2 mm voxels."""
        small = sitk.Shrink(self.mask, [2] * 3)
        near, far = (sitk.BinaryDilate(small, [voxels] * 3) for voxels in SHELL)
        return far - near

    def made(self) -> Template:
        """The same, with everything made that `affine` reads besides the maps."""
        self.coarse, self.rim  # noqa: B018 (made and kept)
        return self

    @cached_property
    def near(self) -> np.ndarray:
        """Boolean [X, Y, Z], the brain and all within `NEAR_MM` of it."""
        return sitk.GetArrayFromImage(sitk.BinaryDilate(self.mask, [NEAR_MM] * 3)).transpose(2, 1, 0) > 0


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The shipped template. Raises `RelAPETError` when its files are missing or not on the grid."""
    maps = {}
    for name in ("t1", "grey_matter", "white_matter", "brain_mask"):
        path = resource("template", f"{name}.nii.gz")
        maps[name] = sitk.ReadImage(str(path))
        if not MNI_GRID.matches(maps[name]):
            raise RelAPETError(f"{path} is not on the model grid; reinstall relapet")
    return Template(
        t1=sitk.Cast(maps["t1"], sitk.sitkFloat32),
        grey=sitk.Cast(maps["grey_matter"] / 255.0, sitk.sitkFloat32),
        white=sitk.Cast(maps["white_matter"] / 255.0, sitk.sitkFloat32),
        mask=sitk.Cast(maps["brain_mask"] > 0, sitk.sitkUInt8),
    )
