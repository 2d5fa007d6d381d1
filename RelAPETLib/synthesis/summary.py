"""One value of a tracer's composite regions beside a synthesis, with what it is not, and perhaps how many draws reach
a cut-off.

The share of draws at or above a cut-off is a probability only of a model whose metadata say so (``positivity`` of its
tracer): of others the samples differ for reasons that have nothing to do with the person. No cut-off is made up here:
it is the model's, or the user's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..provenance import SUVR_UNITS
from .intervals import LEAST_IN_VIEW
from .withheld import why_another_draw, why_another_person

if TYPE_CHECKING:
    from ..tracers import Tracer
    from .case import Case
    from .sampling import Draw

MEASURED = "was measured"
GUESS = "An uncalibrated model's guess in approximate regions"


def summary(case: Case, drawn: Draw, rows: Sequence[Mapping], samples: Sequence[Mapping]) -> dict | None:
    """What the record says of the tracer's composite.

    Args:
        rows: of `regions.tsv` (`intervals.regional_table`).
        samples: of `samples.tsv` (`maps.sample_rows`); empty for one sample.

    Returns:
        ``summary`` of `synthetic_pet.json`; None for a tracer without a composite and for relative PET.
    """
    tracer, plan = drawn.plan.tracer, drawn.plan
    if tracer.composite is None or plan.window is None:
        return None
    names = tracer.composite.regions
    value = _mean(rows, names, "synthetic_pet")
    partly = _partly_measured(rows, names)
    measured = None if partly else _mean(rows, names, "reference")
    draws = _draws(samples, names)
    positivity = _positivity(case, drawn, draws)
    found = {
        "name": tracer.composite.name,
        "regions": list(names),
        "units": SUVR_UNITS,
        "value": value,
        "spread": _spread(draws),
        "measured": measured,
        "samples": draws,
        "positivity": positivity,
    }
    return found | {"caveat": caveat(tracer), "says": _words(found, tracer, partly)}


def caveat(tracer: Tracer) -> str:
    """What a tracer's composite is not, in one sentence."""
    scale = f"not a {tracer.scale.name} value, " if tracer.scale else ""
    return f"{GUESS}: {scale}not a reading, without an interval, and no published cut-off holds for it."


def _mean(rows: Sequence[Mapping], names: Sequence[str], column: str) -> float | None:
    """Mean over regions; None where a region has no value."""
    values = [row.get(column, math.nan) for row in rows if row["region"] in names]
    mean = sum(values) / len(names) if len(values) == len(names) else math.nan
    return float(mean) if math.isfinite(mean) else None


def _partly_measured(rows: Sequence[Mapping], names: Sequence[str]) -> bool:
    """Whether the measured PET lacks some of a region that the MRI show: its mean is of less than the value's then."""
    own = (row for row in rows if row["region"] in names and "share_measured" in row)
    return any(row["share_measured"] < LEAST_IN_VIEW * row["share_in_view"] for row in own)


def _draws(samples: Sequence[Mapping], names: Sequence[str]) -> list[float] | None:
    """The composite of each sample; None of a single one, or where a region has no value."""
    by_sample: dict[int, list[Mapping]] = {}
    for row in samples:
        by_sample.setdefault(row["sample"], []).append(row)
    values = [_mean(rows, names, "suvr") for _, rows in sorted(by_sample.items())]
    return values if values and None not in values else None


def _spread(draws: list[float] | None) -> float | None:
    from .sampling import Moments

    if draws is None:
        return None
    moments = Moments()
    for value in draws:
        moments.add(np.array([value]))
    return float(moments.deviation()[0])


def _positivity(case: Case, drawn: Draw, draws: list[float] | None) -> dict | None:
    """How many draws reach the cut-off, or why that is not told; None where nobody gave a cut-off."""
    plan, metadata = drawn.plan, drawn.model.metadata
    own = metadata["tracers"][plan.tracer.name].get("positivity") or {}
    cutoff = own.get("cutoff") if plan.cutoff is None else plan.cutoff
    if cutoff is None:
        return None
    source = "given by the user" if plan.cutoff is not None else f"the model's own ({own['source']})"
    if own.get("cutoff") not in (None, cutoff):
        source += f"; the model's share was measured at {own['cutoff']:g} alone"
    why = _why_no_share(case, drawn, own, draws)
    reached = None if why else sum(value >= cutoff for value in draws)
    return {
        "cutoff": float(cutoff),
        "source": source,
        "meaning": own.get("meaning"),
        "reached": reached,
        "withheld": why,
    }


def _why_no_share(case: Case, drawn: Draw, own: Mapping, draws: list[float] | None) -> str | None:
    """Why the share of draws is no probability; None where the model says that it is one.

    Args:
        own: ``positivity`` of the tracer in the model's metadata; empty where they do not say so.
    """
    plan, model = drawn.plan, drawn.model
    defaults, simulated = model.method.defaults, model.metadata["training_data"]["simulated"]
    if not own:
        return f"model {model.name} does not say that the share of its draws is a probability"
    how = {"knows_simulated": simulated, "on_simulated": simulated, "verb": MEASURED}
    if why := why_another_person(case, **how):
        return why
    if (plan.sampler, plan.steps) != (defaults.sampler, defaults.samplers.get(defaults.sampler, 1)):
        return "it was drawn by another sampler or number of steps than the model's own, of which it was measured"
    if case.unlike({"kind": case.kind}):
        return "the scans were registered in another way than usual, of which it was not measured"
    if why := why_another_draw(drawn, MEASURED, own.get("told", ())):
        return why
    return "one sample was drawn, or a region is not in the field of view" if draws is None else None


def _words(found: Mapping, tracer: Tracer, partly: bool) -> str:
    """All of it on one line; `partly`: the measured PET lacks some of a region."""
    name = found["name"][:1].upper() + found["name"][1:]
    of = ", ".join(region.replace("_", " ") for region in found["regions"])
    if found["value"] is None:
        return f"{name} (mean of {of}): none, since one of these regions is not in the field of view."
    words = f"{name} (mean of {of}): {found['value']:.2f} {found['units']}"
    if found["spread"] is not None:
        words += f", spread of {len(found['samples'])} samples {found['spread']:.2f}"
    if found["measured"] is not None:
        words += f", measured {found['measured']:.2f}"
    elif partly:
        words += ", no measured value, since the measured PET lacks part of a region"
    return " ".join(f"{words}. {caveat(tracer)}{_positivity_words(found)}".split())


def _positivity_words(found: Mapping) -> str:
    own = found["positivity"]
    if own is None:
        return ""
    if own["withheld"]:
        return f" No probability of positivity: {own['withheld']}."
    reached, many = own["reached"], len(found["samples"])
    return (
        f" {reached} of {many} samples ({100 * reached / many:.0f} %) reach the cut-off of {own['cutoff']:g} "
        f"{found['units']}, {own['source']}: the model's guess of the probability of positivity, in steps of "
        f"1 in {many}."
    )
