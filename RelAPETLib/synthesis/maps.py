"""From samples to maps: units, the comparison with a measured PET, and the way back to the T1w."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..grid import array_to_image, image_to_array
from ..scaling import deviation_to_units, to_units
from .inputs import reference_role

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .case import Case
    from .reference import ReferenceUnits
    from .sampling import Draw

#: Maps of the measured PET alone; all others are synthetic or hold something of that.
MEASURED = ("reference", "reference_z")
#: Maps that say something only where the measured PET shows the brain.
OF_MEASURED = (*MEASURED, "difference")


def make_maps(
    case: Case, draw: Draw, units: ReferenceUnits | None, force: bool, progress
) -> tuple[dict[str, sitk.Image], dict | None]:
    """PET, uncertainty, departure, reference and difference on the model grid in their units, and the metrics."""
    from ..comparison import compare, minmax
    from ..registration.uptake import seen_brain
    from .departure import departure_map
    from .reference import level_of, to_suvr

    progress(0.0, "turning samples into maps")
    plan, ready = draw.plan, case.ready
    inside = image_to_array(ready.mask) > 0
    maps = {"synthetic_pet": _masked(to_units(draw.mean, plan.window), inside)}
    if draw.deviation is not None:
        maps["uncertainty"] = _masked(deviation_to_units(draw.deviation, plan.window), inside)
    departure = departure_map(case, draw)
    if departure is not None:
        maps["departure"] = departure
    if units is None:
        return maps, None
    progress(0.1, "comparing with the reference")
    reference, view = ready.pets[plan.tracer.name], ready.pet_views.get(plan.tracer.name)
    measured = seen_brain(ready.mask, view)
    if plan.window is not None:
        level = level_of(maps["synthetic_pet"], measured, units.region) if units.region else 1.0
        name = case.names[reference_role(plan.tracer.name)]
        reference = to_suvr(reference, measured, units, name, force, level)
    maps["difference"], metrics = compare(maps["synthetic_pet"], reference, ready.mask, window=plan.window, view=view)
    if plan.window is None:
        reference = _masked(minmax(image_to_array(reference)), image_to_array(measured) > 0)
    maps["reference"] = reference
    return maps, metrics


def sample_rows(draw: Draw) -> list[dict]:
    """Regional SUVR of single samples, a row a sample and region; none of one sample, or where the output is relative.

    Returns:
        Rows of ``sample`` (from 1), ``pair`` (samples of one have mirrored noise and are not independent), ``region``
        and ``suvr``.
    """
    if draw.plan.window is None or len(draw.regions) < 2:
        return []
    return [
        {"sample": number + 1, "pair": number // 2 + 1, "region": region, "suvr": _in_units(value, draw)}
        for number, means in enumerate(draw.regions)
        for region, value in means.items()
    ]


def with_spread(rows: list[dict], draw: Draw) -> list[dict]:
    """Regional rows with ``spread``, the SD of the regional means over the samples (`Moments`), in the PET's units.

    It is smaller than the regional mean of the voxels' SD, since what varies from voxel to voxel averages out.
    """
    if len(draw.regions) < 2:
        return rows
    from .sampling import Moments

    moments = Moments()
    for means in draw.regions:
        moments.add(np.array([means[row["region"]] for row in rows]))
    spread = deviation_to_units(moments.deviation(), draw.plan.window)
    return [row | {"spread": float(value)} for row, value in zip(rows, spread, strict=True)]


def _in_units(value: float, draw: Draw) -> float:
    return float(to_units(np.float64(value), draw.plan.window))


def _masked(array: np.ndarray, inside: np.ndarray) -> sitk.Image:
    return array_to_image(np.where(inside, array, 0).astype(np.float32))


def bring_back(
    maps: dict[str, sitk.Image], case: Case, tracer: str, space: str, progress
) -> tuple[dict[str, sitk.Image], dict[str, sitk.Image]]:
    """Volumes to save by file name without ending, and the report's pictures, all on one grid.

    The pictures are in the T1w's space where the raw scans are at hand and results are wanted there.

    Args:
        tracer: whose maps they are.
    """
    import SimpleITK as sitk

    from .white_matter import shown_on_t1w

    progress(0.0, "bringing the PET back to the T1w")
    ready = case.ready
    volumes, pictures = {}, maps | {"t1w": ready.t1w, "t2f": ready.t2f}
    if space in ("t1w", "both"):
        returned = _on_t1w(maps, case, ready.pet_views.get(tracer))
        volumes |= returned
        if shown_on_t1w(case, space):
            t1w, t2f = case.raw["t1w"], case.raw.get("t2f")
            if t2f is not None:
                t2f = sitk.Resample(t2f, t1w, ready.t1w_to_t2f, sitk.sitkLinear, 0.0)
            pictures = returned | {"t1w": t1w, "t2f": t2f}
    if space in ("mni", "both"):
        volumes |= {f"{name}_space-MNI": maps[name] for name in maps}
    pictures["pet"] = pictures.pop("synthetic_pet")
    progress(1.0, "synthesis done")
    return volumes, pictures


def _on_t1w(maps: dict[str, sitk.Image], case: Case, view: sitk.Image | None) -> dict[str, sitk.Image]:
    """Maps on the T1w's grid, none of which fades at the brain's rim or where the measured PET's `view` ends."""
    from ..registration.uptake import seen_brain
    from ..volumes.masked import interpolated, weights_on

    ready, returned, weighed = case.ready, {}, {}
    seen = seen_brain(ready.mask, view)
    for name, image in maps.items():
        inside = seen if name in OF_MEASURED else ready.mask
        if id(inside) not in weighed:
            weighed[id(inside)] = weights_on(inside, case.t1w_space, ready.t1w_to_grid)
        returned[name] = interpolated(image, inside, weighed[id(inside)], ready.t1w_to_grid, 0.5)
    return returned
