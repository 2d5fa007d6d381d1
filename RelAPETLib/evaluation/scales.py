"""Centiloid, CenTauRz and other published scales (`tracers.Scale`) of synthetic and measured PET.

The uptake is referenced anew: a region's mean over that of the scale's reference, both by the scale's own masks, which
the user brings. What comes out is estimated and uncalibrated: the equations hold for their own processing, and nobody
has shown that they hold for ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..grid import MNI_GRID, image_to_array
from ..homes import path_beside
from ..regions import LEAST_IN_VIEW
from ..tracers import TRACERS, Scale
from .tsv import KEYS, read_tsv

if TYPE_CHECKING:
    import SimpleITK as sitk

MASK_COLUMNS = ("scale", "region", "file")
REFERENCE = "reference"
#: What every value is called where it is printed.
ESTIMATED = "uncalibrated, estimated"
COLUMNS = (
    *KEYS, "atlas", "region", "unit", "synthetic", "measured", "in_field", "kind", "reference", "source"
)  # fmt: skip
#: Shares of a mask's volume that must lie on the model grid, and inside the template's brain.
LEAST_ON_GRID, LEAST_IN_BRAIN = 0.95, 0.6
#: A share of 1 may be as much above it in a file that scales whole numbers.
ROUNDING = 1e-3

Masks = dict[str, dict[str, np.ndarray]]


def scale_of(tracer: str, *, relative: bool = False) -> Scale | None:
    """Scale of a tracer; None for one that has none or is not known, and for relative PET, which has no SUVR."""
    return None if relative or tracer not in TRACERS else TRACERS[tracer].scale


def words_of(scale: Scale) -> str:
    """What to print beside values of a scale: what they are, the equations' source, and what they are not."""
    first, last = scale.minutes
    return (
        f"{scale.name} is {ESTIMATED}: equations of {scale.source} for {first} to {last} minutes after injection, "
        f"applied to SUVR referenced to {scale.regions[REFERENCE]}; {scale.caution}"
    )


def read_scale_masks(path: Path | str) -> Masks:
    """Masks of scales from a table of files.

    Args:
        path: tab separated, columns ``scale``, ``region`` and ``file`` (relative to the table's folder). The region is
            one of the scale's own, or ``reference``. Each file is one mask in MNI space, on any grid, with values
            as in `on_grid`.

    Returns:
        By scale and region, bool [X, Y, Z] on `MNI_GRID`. Each scale has its reference and one region or more.

    Raises:
        InputError: unreadable, an unknown scale or region, one twice or without its reference, no binary mask, or one
            that does not lie in the brain of MNI space.
    """
    path = Path(path)
    known = {tracer.scale.name.lower(): tracer.scale for tracer in TRACERS.values() if tracer.scale}
    masks: Masks = {}
    for row in read_tsv(path, MASK_COLUMNS):
        scale = known.get(row["scale"].lower())
        if scale is None:
            names = ", ".join(scale.name for scale in known.values())
            raise InputError(f"{path}: unknown scale '{row['scale']}'; use one of {names}")
        region, own = row["region"], masks.setdefault(scale.name, {})
        if region not in scale.regions:
            wanted = ", ".join(f"{name} ({what})" for name, what in scale.regions.items())
            raise InputError(f"{path}: unknown region '{region}' of {scale.name}; use one of {wanted}")
        if region in own:
            raise InputError(f"{path}: {scale.name}'s {region} stands there twice; remove one")
        own[region] = read_mask(path_beside(path, row["file"]))
    for name, own in masks.items():
        if REFERENCE not in own or len(own) == 1:
            lacks = "a region beside the reference" if REFERENCE in own else "the reference"
            raise InputError(f"{path}: {name} lacks {lacks}; add a row for it")
    return masks


def read_mask(path: Path | str) -> np.ndarray:
    """A mask in MNI space, bool [X, Y, Z] on `MNI_GRID`. Raises `InputError` as `read_scale_masks`."""
    from ..registration.template import load_template
    from ..volumes import read_volume

    image = read_volume(path)
    mask = on_grid(image, str(path))
    inside = (mask & (image_to_array(load_template().mask) > 0)).sum() / mask.sum()
    if inside < LEAST_IN_BRAIN:
        raise InputError(f"{path}: only {inside:.0%} of the mask lies in the brain of MNI space; use one in MNI space")
    return mask


def on_grid(image: sitk.Image, name: str) -> np.ndarray:
    """A mask image of any geometry as bool [X, Y, Z] on `MNI_GRID`: voxels that it covers for half or more.

    Args:
        image: 0 and one other value, whichever (1, 100, 255), or shares of the region from 0 to 1, as probability maps
            and interpolated masks have them: a share counts as it is, however low the highest one is.
        name: what messages call it.

    Raises:
        InputError: no mask (empty, several labels, a map in percent), nowhere half, or not on the grid.
    """
    import SimpleITK as sitk

    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high > 0):
        raise InputError(
            f"{name}: the mask is empty, or has values below 0; use one that is above 0 in its region alone"
        )
    if binary := not ((values != 0) & (values != values.max())).any():
        share = sitk.Cast(image, sitk.sitkFloat32) / high
    elif high <= 1 + ROUNDING:
        share = sitk.Cast(image, sitk.sitkFloat32)
    else:
        raise InputError(
            f"{name}: holds several labels or no mask; write each region to a file of its own, 0 and 1 (or its shares "
            "from 0 to 1: divide a map in percent by 100)"
        )
    volume = float(sitk.GetArrayViewFromImage(share).sum()) * float(np.prod(image.GetSpacing()))
    resampled = image_to_array(
        sitk.Resample(share, MNI_GRID.reference_image(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    )
    kept = float(resampled.sum()) * float(np.prod(MNI_GRID.spacing)) / volume
    if kept < LEAST_ON_GRID:
        raise InputError(f"{name}: only {kept:.0%} of the mask lies on the model grid; use one in MNI space")
    if not (resampled >= 0.5).any():
        words = "thinner than the model grid" if binary else f"of shares up to {high:.2g}, where half is wanted"
        raise InputError(f"{name}: no voxel is covered by half; the mask is {words}")
    return resampled >= 0.5


def scale_values(
    suvr: np.ndarray, masks: Mapping[str, np.ndarray], scale: Scale, inside: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Values of a PET on a scale.

    Args:
        suvr: [X, Y, Z] on `MNI_GRID`, SUVR of any reference.
        masks: bool, the same shape, by region of the scale, ``reference`` among them.
        scale: whose.
        inside: bool, the same shape: the voxels that count, such as the brain in the field of view.

    Returns:
        Values by region, NaN where less than half of the region or of the reference is inside; and the shares inside.

    Raises:
        InputError: the reference's mean is not above 0.
    """
    shares = {name: float((mask & inside).sum() / mask.sum()) for name, mask in masks.items()}
    means = {
        name: float(suvr[mask & inside].mean(dtype=np.float64)) if shares[name] >= LEAST_IN_VIEW else float("nan")
        for name, mask in masks.items()
    }
    base = means[REFERENCE]
    if base <= 0:
        raise InputError(f"the mean uptake in {scale.name}'s reference is {base:.3g}; it must be above 0")
    values = {}
    for name in masks:
        if name != REFERENCE:
            slope, intercept = scale.lines[name]
            values[name] = slope * means[name] / base + intercept
    return values, {name: shares[name] for name in values}


def scale_rows(
    keys: Mapping[str, str],
    synthetic: np.ndarray,
    measured: np.ndarray | None,
    masks: Masks,
    inside: np.ndarray,
    *,
    relative: bool = False,
) -> list[dict]:
    """Rows of ``scales.tsv`` (`COLUMNS`) of one synthetic PET and the measured.

    ``atlas`` is the scale's name: the rows can be taken for those of ``regions.tsv`` (`positivity`, `uncertainty`).

    Args:
        keys: ``participant_id``, ``session``, ``tracer`` and ``model``.
        synthetic, measured: SUVR [X, Y, Z] on `MNI_GRID`; `measured` may be None.
        masks: of `read_scale_masks`.
        inside: as in `scale_values`.
        relative: the synthetic PET is relative.

    Returns:
        A row a region that has a mask; none for relative PET, for a tracer without a scale, or without its masks.
    """
    scale = scale_of(keys["tracer"], relative=relative)
    if scale is None or scale.name not in masks:
        return []
    own = masks[scale.name]
    made, shares = scale_values(synthetic, own, scale, inside)
    truth = dict.fromkeys(made, float("nan")) if measured is None else scale_values(measured, own, scale, inside)[0]
    fixed = {"atlas": scale.name, "unit": scale.unit, "kind": ESTIMATED, "source": scale.source}
    return [
        {name: keys[name] for name in KEYS}
        | fixed
        | {"region": region, "synthetic": made[region], "measured": truth[region], "in_field": shares[region]}
        | {"reference": scale.regions[REFERENCE]}
        for region in made
    ]
