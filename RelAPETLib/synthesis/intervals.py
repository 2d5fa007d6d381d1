"""Intervals of regional means beside a synthesis, from its model's calibration; withheld where they would mean nothing.

An interval says where a measured mean lay in people like those of the calibration. It is withheld, with the reason, for
everybody else: real people where the model was calibrated on simulated ones, other sampling or clinical values than the
calibration's, an input that the checks doubt (`verdict`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .withheld import OTHER_KIND, why_another_draw, why_another_person

if TYPE_CHECKING:
    from ..evaluation.conformal import Intervals
    from .case import Case
    from .sampling import Draw

#: A region that is less than this in the field of view has no interval: nobody in the calibration lacked any.
LEAST_IN_VIEW = 0.98
CALIBRATED = "was calibrated"
#: Maps in SD, whose regional mean is not a region's own value in SD.
WITHOUT_UNIT = ("departure", "reference_z")
#: Maps of a measured PET, which count where that shows the brain.
OF_MEASURED = ("reference", "difference")


def regional_table(case: Case, drawn: Draw, maps: dict) -> tuple[list[dict], dict]:
    """Rows of `regions.tsv` and what the record says of the intervals.

    Args:
        maps: by name, from `maps.make_maps`, on the model grid.

    Returns:
        Rows of `regions.regional_rows`, in the units of the PET (SUVR or relative), with ``spread`` (of
        `maps.with_spread`), ``low`` and ``high`` before ``share_measured``, if any, and ``share_in_view``, NaN where
        there is none;
        and the ``intervals`` of `synthetic_pet.json`.
    """
    from ..regions import regional_rows
    from .maps import with_spread

    shown = {name: image for name, image in maps.items() if name not in WITHOUT_UNIT}
    ready, view = case.ready, case.ready.pet_views.get(drawn.plan.tracer.name)
    rows = with_spread(regional_rows(shown, ready.mask, ready.in_view, view, OF_MEASURED), drawn)
    # What the calibration scales by: the mean of the voxels' SD, not the SD of the samples' means.
    scale = np.array([row.pop("uncertainty", math.nan) for row in rows])
    low, high, record = _intervals(case, drawn, rows, scale)
    table = []
    for number, row in enumerate(rows):
        spread = row.pop("spread", math.nan)
        shares = {name: row.pop(name) for name in ("share_measured", "share_in_view") if name in row}
        ends = {"low": float(low[number]), "high": float(high[number])}
        table.append({**row, "spread": spread, **ends, **shares})
    return table, record


def why_withheld(case: Case, drawn: Draw) -> str | None:
    """Why a synthesis has no intervals; None where it has some."""
    model, plan, calibration = drawn.model, drawn.plan, drawn.model.calibration
    if calibration is None:
        return f"model {model.name} has no calibration"
    facts = calibration.facts
    population, sampling = facts["population"], facts["sampling"]
    if plan.tracer.name not in facts["intervals"]["tracers"] or plan.window is None:
        return f"model {model.name} has no calibration for {plan.tracer.name}"
    knows = population["simulated"] or model.metadata["training_data"]["simulated"]
    how = {"knows_simulated": knows, "on_simulated": population["simulated"], "verb": CALIBRATED}
    if why := why_another_person(case, **how):
        return why
    own = {"sampler": plan.sampler, "steps": plan.steps, "samples": plan.samples}
    if own != {name: sampling[name] for name in own}:
        theirs = f"{sampling['samples']} sample(s) of {sampling['steps']} step(s)"
        return f"the model {CALIBRATED} for {theirs} by {sampling['sampler'] or 'its own draw'}"
    return why_another_draw(drawn, CALIBRATED, sampling.get("told", ()))


def intervals_of(facts: dict, tracer: str, regions: list[str]) -> Intervals:
    """Intervals of one tracer from ``calibration`` of a bundle's metadata; infinite for a region that it lacks."""
    from ..evaluation.conformal import Intervals

    own = facts["intervals"]["tracers"][tracer]
    ends = [own["regions"].get(name, (None, None)) for name in regions]
    return Intervals(
        level=facts["intervals"]["level"],
        low=np.array([-math.inf if low is None else low for low, _ in ends]),
        high=np.array([math.inf if high is None else high for _, high in ends]),
        joint=math.inf if own["joint"] is None else own["joint"],
        n=own["people"],
        normalised=facts["intervals"]["normalised"],
        floor=facts["intervals"]["floor"],
        asymmetric=facts["intervals"]["asymmetric"],
        effective=own["effective"],
    )


def _intervals(case: Case, drawn: Draw, rows: list[dict], scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict]:
    """Ends by region, and the record."""
    none = np.full(len(rows), math.nan)
    why = why_withheld(case, drawn)
    if why is not None:
        record = dict.fromkeys(("level", "people", "population", "coverage_95", "joint"))
        return none, none, {**record, "withheld": why, "says": f"No intervals: {why}."}
    facts, tracer = drawn.model.calibration.facts, drawn.plan.tracer.name
    population, names = facts["population"], [row["region"] for row in rows]
    found, own = intervals_of(facts, tracer, names), facts["intervals"]["tracers"][tracer]
    synthetic = np.array([row["synthetic_pet"] for row in rows])
    scale_of = np.where(np.isnan(scale), 0.0, scale)  # one sample has no spread
    whole = np.array([row["share_in_view"] >= LEAST_IN_VIEW for row in rows]) & np.isfinite(synthetic)
    low, high = (np.where(whole, end, math.nan) for end in found.of(synthetic, scale_of))
    ends = found.joint_of(synthetic, scale_of)
    infinite = bool(np.isinf(low[whole]).any() or np.isinf(high[whole]).any())
    joint = {name: [_finite(end[k]) for end in ends] for k, name in enumerate(names) if whole[k]}
    record = {
        "withheld": None,
        "level": found.level,
        "people": found.n,
        "population": population["description"],
        "coverage_95": own["coverage_95"],
        "joint": joint,
        "says": _words(found, population, own["coverage_95"], infinite, case.unlike(population)),
    }
    return low, high, record


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _words(found: Intervals, population: dict, coverage: list[float], infinite: bool, unlike: str) -> str:
    """One line on what the intervals are."""
    low, high = coverage
    who = "simulated people" if population["simulated"] else "people"
    words = f"{100 * found.level:.0f} % intervals of regional means, calibrated on {found.n} {who}"
    words += f" (such a calibration covers {100 * low:.0f} to {100 * high:.0f} %)"
    if infinite:
        words += "; infinite where so few people set no bound"
    if unlike:
        words += f"; {OTHER_KIND[unlike]}"
    return words + "."
