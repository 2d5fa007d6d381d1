"""What the numbers of a reference PET mean, and how they become SUVR.

A reference is compared with a SUVR model only when its unit is known to be SUVR, or made so. In this order:

1. a named reference region: the PET is scaled so that its mean there is the synthetic PET's, whatever its unit was,
   so that both are on one scale (an error of the synthetic's overall level in that region cannot show then);
2. ``Units`` of its BIDS sidecar, its own or inherited (`volumes.sidecar`), or of its DICOM header: SUVR spellings are
   accepted, others refused;
3. neither: values that only SUVR would give (`PLAUSIBLE_SUVR`) are accepted with a warning, others refused.

A mean is one over what the PET shows: outside its field of view nothing was measured, and nothing counts.

Between volumes that are min-max scaled (relative models) the unit does not matter.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DoubtfulInputError, InputError
from ..notices import warn
from ..suvr import PLAUSIBLE_SUVR, ReferenceUnits, check_suvr, sidecar_units, stated_units
from .inputs import REFERENCE

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .options import Options

__all__ = ["PLAUSIBLE_SUVR", "ReferenceUnits", "level_of", "reference_units", "sidecar_units", "to_suvr"]

#: From this share of the reference region in the field of view on, nothing is said.
WHOLE = 0.98


def reference_units(path: Path | None, region: str | None, *, relative: bool) -> ReferenceUnits:
    """How the unit of a reference PET is known, before anything is computed.

    Args:
        path: its file; None for an image in memory.
        region: region named by the user, or None.
        relative: whether the model's output is relative.

    Raises:
        InputError: the region is unknown, or the sidecar or DICOM header names another unit than SUVR.
    """
    check_region(region)
    if relative:
        return ReferenceUnits("not needed: both volumes are min-max scaled")
    if region is not None:
        return ReferenceUnits(f"scaled by its mean in {region}", region)
    return stated_units(path)


def check_references(options: Options) -> None:
    """Refuse a region that is not known, or a unit that sidecars and headers tell, before any volume is read.

    Raises:
        InputError: as `reference_units`, for a measured PET that came as a file.
        ModelError: there is a unit to complain of and the model, on which it depends whether it matters, is unknown.
    """
    check_region(options.reference_region)
    for tracer, given in options.reference.items():
        if not isinstance(given, (str, os.PathLike)) or not Path(given).exists():
            continue  # an image says nothing of its unit; what is missing is told of where it is read
        try:
            reference_units(Path(given), options.reference_region, relative=False)
        except InputError:
            from ..models import locate

            own = locate(options.model).metadata["tracers"].get(tracer, {})
            if own.get("output") != "relative":
                raise


def check_region(region: str | None) -> None:
    """Raise `InputError` for a reference region that is not known; None is none."""
    if region is not None:
        from ..regions import region_names

        names = region_names()
        if region not in names:
            raise InputError(f"unknown reference region '{region}'; use one of {', '.join(names)}")


def level_of(synthetic: sitk.Image, mask: sitk.Image, region: str) -> float:
    """Mean of a synthetic PET in a reference region, SUVR: the scale on which a reference is compared with it.

    A region that is 1 in a model's SUVR by definition of the true uptake reads less in a blurred PET. Were only the
    reference divided by its own mean, the two would differ by that factor everywhere.

    Args:
        synthetic: on the model grid; 0 outside the brain.
        mask: above 0 in the brain where the reference shows it, so that both have their means over the same voxels.

    Raises:
        InputError: the mean is not positive.
    """
    from ..regions import regional_means

    level = regional_means(synthetic, [region], mask=mask)[region]
    if not (math.isfinite(level) and level > 0):
        raise InputError(f"the synthetic PET's mean in {region} is {level:.4g}; choose another --reference-region")
    return level


def to_suvr(
    pet: sitk.Image, mask: sitk.Image, units: ReferenceUnits, name: str, force: bool, level: float = 1.0
) -> sitk.Image:
    """The reference on the model grid as SUVR (unchanged, or scaled by its regional mean).

    Args:
        pet: on the model grid; 0 outside the brain.
        mask: above 0 in the brain and in the PET's field of view; nothing else counts.
        name: what errors call it; warnings know it as `inputs.REFERENCE`.
        force: accept values that SUVR hardly has when the sidecar says SUVR, and a region that is hardly seen.
        level: mean that the named reference region gets, SUVR; see `level_of`.

    Raises:
        InputError: the region's mean is not positive, or the unit is unknown and the values are not SUVR's.
        DoubtfulInputError: `force` is False, and the sidecar says SUVR, the values do not, or less than
            `regions.LEAST_IN_VIEW` of the region is seen.

    Warns:
        RelAPETWarning: part of the region is not seen.
    """
    from ..grid import image_to_array
    from ..regions import regional_means, shares_in_view

    if units.region is not None:
        _check_share(shares_in_view(mask)[units.region], units.region, name, force)
        mean = regional_means(pet, [units.region], mask=mask)[units.region]
        if not (math.isfinite(mean) and mean > 0):
            raise InputError(f"{name}: its mean in {units.region} is {mean:.4g}; choose another --reference-region")
        return pet * (level / mean)
    inside = image_to_array(pet)[image_to_array(mask) > 0]
    mean = float(np.mean(inside)) if inside.size else 0.0
    check_suvr(mean, units, name, force, warned=REFERENCE)
    return pet


def _check_share(share: float, region: str, name: str, force: bool) -> None:
    """Refuse a reference region of which too little is seen, and tell where some of it is not."""
    from ..regions import LEAST_IN_VIEW

    if share >= WHOLE:
        return
    words = f"{100 * (1 - share):.0f} % of {region.replace('_', ' ')} is outside its field of view"
    if share < LEAST_IN_VIEW and not force:
        raise DoubtfulInputError(
            f"{name}: {words}, so that nothing shows what its SUVR would be relative to",
            "choose another --reference-region, or use --force to accept it",
        )
    warn(f"{REFERENCE}: {words}; it is scaled by its mean in the rest of that region")
