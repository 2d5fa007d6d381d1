"""A label image with the names of its regions: the shipped one, a user's own, or a person's segmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import printable, warn
from ..volumes.geometry import image_affine
from . import load_regions
from .lookup import LARGEST_LABEL, lookup_beside, read_lookup

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Name of the shipped one, and what a person's own segmentation is called.
SHIPPED, NATIVE = "relapet", "dseg"
#: Spaces that labels can be in.
SPACES = ("MNI", "T1w")
#: More labels than this are no regions; a picture, perhaps.
MOST_LABELS = 5000
#: What marks a left and a right region in a name, and what stands in its place in the name of the pair.
_SIDES = (
    (re.compile(r"(?i)^(left|lh|l)[-_. ]"), re.compile(r"(?i)^(right|rh|r)[-_. ]"), ""),
    (re.compile(r"(?i)[-_. ](left|lh|l)$"), re.compile(r"(?i)[-_. ](right|rh|r)$"), ""),
    (re.compile(r"(?i)[-_. ](left|lh)[-_. ]"), re.compile(r"(?i)[-_. ](right|rh)[-_. ]"), "-"),
)


@dataclass(frozen=True)
class Atlas:
    """Labels and their regions.

    Attributes:
        name: what tables call it.
        image: integer labels on a grid of their own, 0 = none.
        labels: labels of each region, by its name; several where a name stands for several.
        space: ``MNI``, or ``T1w`` for a person's own.
        facts: where it is from, for the record: hashes, no paths.
        sides: labels of the left and of the right region of each pair, by what the pair is called.
    """

    name: str
    image: sitk.Image
    labels: Mapping[str, tuple[int, ...]]
    space: str
    facts: Mapping[str, str]
    sides: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


def side_pairs(names: list[str]) -> dict[str, tuple[str, str]]:
    """Left and right of a pair of names by what they share, e.g. ``Hippocampus`` of ``Left-`` and ``Right-``."""
    sides: list[dict[str, str]] = [{}, {}]
    for name in names:
        for left, right, rest in _SIDES:
            for number, pattern in enumerate((left, right)):
                if pattern.search(name):
                    sides[number].setdefault(pattern.sub(rest, name, count=1), name)
    return {rest: (left, sides[1][rest]) for rest, left in sides[0].items() if rest in sides[1]}


@lru_cache(maxsize=1)
def shipped_atlas() -> Atlas:
    """The approximate regions of ``Resources/regions`` on the model grid."""
    image, regions = load_regions()
    facts = {"source": "shipped with relapet, approximate"}
    return Atlas(SHIPPED, image, {region.name: (region.label,) for region in regions}, "MNI", facts)


def read_atlas(path: Path | str, name: str, space: str, lookup: Path | str | None = None) -> Atlas:
    """A label image from a file, with its lookup table.

    Args:
        path: whole numbers up to `lookup.LARGEST_LABEL`, on any grid.
        name: what it is called.
        space: one of `SPACES`.
        lookup: table of its labels; None: the one that BIDS has beside it, else a single label is the region `name`
            and several are called ``label_1`` ...

    Raises:
        InputError: the image or table cannot be read, values are no whole numbers from 0 on, no label, one that is
            too large, too many, or none that the table knows.

    Warns:
        RelAPETWarning: labels of the image that the table has no name for; they are left out, of the image too.
    """
    import SimpleITK as sitk

    from ..volumes import file_sha256, read_volume

    path = Path(path)
    shown = f"label image {printable(path)}"
    array = sitk.GetArrayFromImage(image := read_volume(path, name=f"label image {name}"))
    if not np.isfinite(array).all() or (array < 0).any() or (array != np.round(array)).any():
        raise InputError(f"{shown}: holds values that are no whole numbers from 0 on; threshold it to labels first")
    found = [int(label) for label in np.unique(array) if label > 0]
    if not found:
        raise InputError(f"{shown}: every voxel is 0; there is no region in it")
    if found[-1] > LARGEST_LABEL:
        raise InputError(
            f"{shown}: label {found[-1]} is above {LARGEST_LABEL}; give its regions smaller numbers, and the lookup "
            "table too"
        )
    if len(found) > MOST_LABELS:
        raise InputError(f"{shown}: {len(found)} different values are no regions; give a label image")
    table = lookup if lookup is not None else lookup_beside(path)
    facts = {"sha256": file_sha256(path)}
    if table is not None:
        names = read_lookup(table)
        facts["lookup_sha256"] = file_sha256(table)
        if not set(names) & set(found):
            raise InputError(
                f"{shown}: none of its labels ({_few(found)}) stands in the lookup table {printable(table)}"
            )
    else:
        names = {found[0]: name} if len(found) == 1 else {label: f"label_{label}" for label in found}
    nameless = [label for label in found if label not in names]
    if nameless:
        warn(
            f"label image {name}: {len(nameless)} of {len(found)} labels ({_few(nameless)}) have no name in the lookup "
            "table and are left out"
        )
        array[np.isin(array, nameless)] = 0
    labels: dict[str, tuple[int, ...]] = {}
    for label in [label for label in names if label in found]:
        labels[names[label]] = (*labels.get(names[label], ()), label)
    kept = sitk.GetImageFromArray(array.astype(np.int32))
    kept.CopyInformation(image)
    return Atlas(name, kept, labels, space, facts)


def _few(labels: list[int]) -> str:
    return ", ".join(map(str, labels[:5])) + (" ..." if len(labels) > 5 else "")


def cropped(atlas: Atlas) -> Atlas:
    """The same with its image cut to the box that holds all labels; nothing is measured outside it."""
    import SimpleITK as sitk

    inside = np.argwhere(sitk.GetArrayViewFromImage(atlas.image) > 0)[:, ::-1]
    if not len(inside):
        return atlas
    low, high = inside.min(0), inside.max(0)
    return replace(atlas, image=sitk.RegionOfInterest(atlas.image, (high - low + 1).tolist(), low.tolist()))


def with_sides(atlas: Atlas) -> Atlas:
    """The same with its `sides`: as the names tell them, else, in MNI space, each region parted at the midline x = 0.

    In the latter case its image gets three times as many labels, and each region all of its own. Voxels that the
    midline crosses, such as those at x = 0, are of neither side: on one of them they would make a symmetric PET uneven.
    """
    import SimpleITK as sitk

    pairs = side_pairs(list(atlas.labels))
    if pairs:
        return replace(atlas, sides={name: (atlas.labels[a], atlas.labels[b]) for name, (a, b) in pairs.items()})
    if atlas.space != "MNI":
        return atlas
    array = sitk.GetArrayFromImage(atlas.image).astype(np.int32)
    top = int(array.max())
    affine = image_affine(atlas.image)
    indices = np.indices(array.shape, sparse=True)[::-1]  # x, y, z of an array [z, y, x]
    x = sum(affine[0, axis] * index for axis, index in enumerate(indices)) + affine[0, 3]
    half = 0.5 * np.abs(affine[0, :3]).sum() * (1 - 1e-6)  # of a voxel's width; grids that begin at half count as sides
    part = np.where(x < -half, 0, np.where(x > half, 1, 2)).astype(np.int32)
    image = sitk.GetImageFromArray(np.where(array > 0, array + top * part, 0).astype(np.int32))
    image.CopyInformation(atlas.image)
    right, middle = (
        {name: tuple(label + top * number for label in labels) for name, labels in atlas.labels.items()}
        for number in (1, 2)
    )
    return replace(
        atlas,
        image=image,
        labels={name: labels + right[name] + middle[name] for name, labels in atlas.labels.items()},
        sides={name: (labels, right[name]) for name, labels in atlas.labels.items()},
    )
