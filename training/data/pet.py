"""Of a PET of the training data: how its unit is known, its SUVR, and whether it shows enough to be learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RelAPETLib.absent import why_no_file
from RelAPETLib.errors import InputError
from RelAPETLib.notices import warn
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes.frames import PetScan

if TYPE_CHECKING:
    import SimpleITK as sitk

    from RelAPETLib.synthesis.reference import ReferenceUnits

#: Mean of a SUVR in the region that it is relative to, with room on both sides: 0.85 to 1.13 in 27 PET of ten simulated
#: people, six rendered and four registered from raw scans, whose PET are blurred. There was no real PET with its MRI.
OWN_LEVEL = (0.7, 1.4)


def pet_units(scan: PetScan, region: str | None, declared: str | None) -> ReferenceUnits:
    """How a PET becomes SUVR, before anything is computed.

    Args:
        region: reference region that every PET is divided by, ``tracer`` for each tracer's own, or None.
        declared: unit that the user vouches for where a sidecar or DICOM header says nothing (``suvr``), or None.

    Raises:
        InputError: unknown region, no ``Units`` anywhere, no file of a PET without some, or units that are not
            SUVR.
    """
    from RelAPETLib.synthesis.reference import ReferenceUnits, reference_units
    from RelAPETLib.volumes import header_units
    from RelAPETLib.volumes.sidecar import is_suvr, units_of

    if region is not None:
        name = TRACERS[scan.tracer].reference_region if region == "tracer" else region
        return reference_units(None, name, relative=False)
    said, where = units_of(scan.sidecar), scan.sidecar_name
    if said is None and (said := header_units(scan.path)) is not None:
        where = f"{scan.path}: its DICOM header"
    units = said or declared
    if units is None:
        if not scan.path.is_dir() and (why := why_no_file(scan.path)):
            raise InputError(f"{scan.path}: {why}")
        raise InputError(
            f"{where}: no field 'Units', which {scan.path.name} needs; --units suvr vouches for PET without one, "
            "--reference-region makes SUVR of any unit"
        )
    if not is_suvr(units):
        raise InputError(f"{where}: 'Units' is '{units}', not SUVR; name a --reference-region to make it SUVR")
    return ReferenceUnits(f"Units '{units}'")


def suvr_of(pet: sitk.Image, seen: sitk.Image, units: ReferenceUnits, scan: PetScan, force: bool) -> sitk.Image:
    """A PET on the model grid as SUVR, as `RelAPETLib.synthesis.reference.to_suvr` makes it.

    Args:
        seen: above 0 in the brain and in the PET's field of view.

    Raises:
        InputError: as `to_suvr`.

    Warns:
        RelAPETWarning: it comes as SUVR, but not as one by the tracer's own reference region, which a bundle names.
    """
    from RelAPETLib.regions import regional_means
    from RelAPETLib.synthesis.reference import to_suvr

    suvr, region = to_suvr(pet, seen, units, str(scan.path), force), TRACERS[scan.tracer].reference_region
    if units.region is None:
        level, (low, high) = regional_means(suvr, [region], mask=seen)[region], OWN_LEVEL
        if level < low or level > high:
            warn(
                f"PET {scan.tracer}: said to be SUVR, but its mean in {region} is {level:.2f} and not about 1; it is "
                "SUV, or of another region than a bundle will say; --reference-region tracer divides by that mean"
            )
    return suvr


def unseen_target(coverage: float) -> list[str]:
    """A line where a PET shows too little of the brain to be learned from: it is 0 where nothing was seen.

    The limit is stricter than an MRI's, of which nothing says that there is no uptake where it ends.

    Args:
        coverage: share of the brain in its field of view, 0 to 1.
    """
    from RelAPETLib.preprocessing import MISSING_WARNED

    if coverage >= 1 - MISSING_WARNED:
        return []
    return [
        f"{100 * (1 - coverage):.0f} % of the brain is outside the field of view of the measured PET, where a model "
        "would learn that there is no uptake"
    ]
