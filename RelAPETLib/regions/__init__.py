"""The approximate regions of ``Resources/regions`` on the model grid, and regional means of a map.

The map splits the template's tissue maps by published landmarks (`training/assets/make_regions.py`); it is our own, it
is approximate, and it is no substitute for a segmentation of the person's own MRI.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..grid import array_to_image, image_to_array
from ..resources import resource

if TYPE_CHECKING:
    import SimpleITK as sitk

#: A region of which less than this share is in the field of view has no value.
LEAST_IN_VIEW = 0.5


@dataclass(frozen=True)
class Region:
    """One row of ``regions.tsv``.

    Attributes:
        label: integer in the label map, 1 to 12.
        name: identifier, e.g. ``cerebellar_grey``.
        title: words for people.
        tissue: ``grey``, ``white`` or ``mixed``.
        definition: the rule that made it.
        source: literature of the rule.
    """

    label: int
    name: str
    title: str
    tissue: str
    definition: str
    source: str


def load_regions() -> tuple[sitk.Image, list[Region]]:
    """Label image (uint8 on `MNI_GRID`, 0 = none) and the regions in order of their labels.

    Raises:
        RelAPETError: the data files are missing.
    """
    import SimpleITK as sitk

    image = sitk.ReadImage(str(resource("regions", "regions.nii.gz")), sitk.sitkUInt8)
    return image, _rows()


@lru_cache(maxsize=1)
def region_names() -> tuple[str, ...]:
    """Names of the regions in order of their labels; reads no image. Raises `RelAPETError` as `load_regions` does."""
    return tuple(region.name for region in _rows())


def _rows() -> list[Region]:
    with open(resource("regions", "regions.tsv"), newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [Region(**{**row, "label": int(row["label"])}) for row in rows]


@lru_cache(maxsize=1)
def _labels() -> tuple[np.ndarray, tuple[Region, ...]]:
    image, regions = load_regions()
    labels = image_to_array(image)
    labels.flags.writeable = False
    return labels, tuple(regions)


def regional_means(
    image: sitk.Image, names: Iterable[str] | None = None, mask: sitk.Image | None = None
) -> dict[str, float]:
    """Mean of a map in each region.

    Args:
        image: scalar map on `MNI_GRID`, any unit (the means have it too).
        names: the regions wanted, in this order; None for all, in order of label.
        mask: image on `MNI_GRID`; only voxels where it is above 0 count. None counts all.

    Returns:
        Mean by region name; NaN where the mask leaves no voxel.

    Raises:
        InputError: the map or mask is not on the grid, or a name is no region's.
    """
    labels, regions = _labels()
    by_name = {region.name: region.label for region in regions}
    wanted = list(by_name) if names is None else list(names)
    for name in wanted:
        if name not in by_name:
            raise InputError(f"unknown region '{name}'; use one of {', '.join(by_name)}")
    counted = labels if mask is None else labels * (image_to_array(mask) > 0)
    number = max(by_name.values()) + 1
    values = image_to_array(image).ravel()
    sums = np.bincount(counted.ravel(), weights=values, minlength=number)
    voxels = np.bincount(counted.ravel(), minlength=number)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / voxels
    return {name: float(means[by_name[name]]) for name in wanted}


def shares_in_view(in_view: sitk.Image) -> dict[str, float]:
    """Share of each region, 0 to 1, where an image on `MNI_GRID` is above 0. Raises `InputError` off the grid."""
    labels, regions = _labels()
    number = max(region.label for region in regions) + 1
    seen = np.bincount(labels.ravel(), weights=(image_to_array(in_view) > 0).ravel(), minlength=number)
    whole = np.bincount(labels.ravel(), minlength=number)
    return {region.name: float(seen[region.label] / whole[region.label]) for region in regions}


class RegionCounter:
    """Means of many arrays in the regions of one person, counted once which voxels belong to which.

    Args:
        mask, in_view: as for `regional_rows`.

    Attributes:
        shares: share of each region in the field of view, 0 to 1, by name.

    Raises:
        InputError: off the grid.
    """

    def __init__(self, mask: sitk.Image, in_view: sitk.Image | None = None):
        labels, regions = _labels()
        self.shares = {region.name: 1.0 for region in regions}
        counted = labels * (image_to_array(mask) > 0)
        if in_view is not None:
            self.shares = shares_in_view(in_view)
            counted *= image_to_array(in_view) > 0
        self._where = np.flatnonzero(counted)
        self._labels = counted.ravel()[self._where]
        self._voxels = np.bincount(self._labels, minlength=1 + max(region.label for region in regions))

    def means(self, values: np.ndarray) -> dict[str, float]:
        """Mean by region of an array [X, Y, Z] on `MNI_GRID`; NaN with less than `LEAST_IN_VIEW` in the field."""
        sums = np.bincount(self._labels, weights=values.ravel()[self._where], minlength=len(self._voxels))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = sums / self._voxels
        return {
            region.name: float(means[region.label]) if self.shares[region.name] >= LEAST_IN_VIEW else float("nan")
            for region in _labels()[1]
        }


def regional_rows(
    maps: dict[str, sitk.Image],
    mask: sitk.Image,
    in_view: sitk.Image | None = None,
    pet_view: sitk.Image | None = None,
    measured: Iterable[str] = (),
) -> list[dict]:
    """Regional means of several maps side by side, one row a region in order of label.

    Args:
        maps: scalar maps on `MNI_GRID` by column name.
        mask: image on `MNI_GRID`; only voxels where it is above 0 count.
        in_view: image on `MNI_GRID`, above 0 where the brain is in the field of view of the MRI; None: everywhere. The
            means are over what is in view; a region of which less than `LEAST_IN_VIEW` is has none (NaN).
        pet_view: the same of a measured PET.
        measured: names of the maps that hold something of it, whose means are over what both show.

    Returns:
        Rows with ``label``, ``region``, ``title``, ``tissue``, a mean for each map and ``share_in_view``, the share of
        the region in the field of view of the MRI, 0 to 1; before it, where the measured PET shows less of some region,
        ``share_measured``, the share that both show.

    Raises:
        InputError: as `regional_means`.
    """
    counter, measured = RegionCounter(mask, in_view), tuple(measured)
    both = counter if pet_view is None else RegionCounter(mask, _both(in_view, pet_view))
    columns = {
        name: (both if name in measured else counter).means(image_to_array(image)) for name, image in maps.items()
    }
    partly = both.shares != counter.shares
    return [
        {"label": region.label, "region": region.name, "title": region.title, "tissue": region.tissue}
        | {name: means[region.name] for name, means in columns.items()}
        | ({"share_measured": both.shares[region.name]} if partly else {})
        | {"share_in_view": counter.shares[region.name]}
        for region in _labels()[1]
    ]


def _both(one: sitk.Image | None, other: sitk.Image) -> sitk.Image:
    """Where both views are above 0; the other where there is no first."""
    if one is None:
        return other
    seen = (image_to_array(one) > 0) & (image_to_array(other) > 0)
    return array_to_image(seen.astype(np.uint8))
