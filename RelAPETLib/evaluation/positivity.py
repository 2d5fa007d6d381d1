"""Positivity by a cut-off: does the synthetic PET call the same people positive as the measured one?

There is no default cut-off: one belongs to a tracer, a region, a reference and a way of processing. The same is applied
to both images, and positive is whoever reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..tracers import get_tracer
from .resampling import NONE, RESAMPLES, needs_statistics, over_people, share
from .tsv import number, pairs_by

COLUMNS = (
    "tracer", "model", "atlas", "region", "cutoff", "people", "scans", "positive", "negative",
    "sensitivity", "sensitivity_low", "sensitivity_high", "specificity", "specificity_low", "specificity_high",
    "auc", "auc_low", "auc_high", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Cutoff:
    """A cut-off of a tracer in a region.

    Attributes:
        tracer: short name.
        region: as in the table of regions, or ``ATLAS/REGION`` where several atlases have it.
        value: SUVR, or the scale's unit where the atlas is a scale.
    """

    tracer: str
    region: str
    value: float

    def matches(self, row: Mapping) -> bool:
        """Whether a row of a table of regions is of this tracer and region."""
        return row["tracer"] == self.tracer and self.region in (row["region"], f"{row['atlas']}/{row['region']}")


def parse_cutoff(text: str) -> Cutoff:
    """A cut-off from ``TRACER=REGION:VALUE``. Raises `InputError` where it cannot be read."""
    tracer, equals, rest = text.partition("=")
    region, colon, value = rest.rpartition(":")
    level = number(value)
    if not (equals and colon and region.strip() and math.isfinite(level)):
        raise InputError(f"cannot read the cut-off '{text[:60]}'; write it as TRACER=REGION:VALUE")
    return Cutoff(get_tracer(tracer).name, region.strip(), level)


def positivity(
    synthetic: Sequence[float],
    measured: Sequence[float],
    people: Sequence[str],
    cutoff: float,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, float | int | str]:
    """Sensitivity, specificity and AUC of a synthetic value for the measured one's status.

    Sensitivity and specificity have Wilson's interval where nobody was scanned twice, else one over people; the AUC
    (`sklearn.metrics.roc_auc_score`) has one by resampling people.

    Args:
        synthetic, measured: [n], finite.
        people: [n], whose scan each is.
        cutoff: positive is whoever reaches it, on both.
        seed, resamples: of the resampling of people.

    Returns:
        The columns of `COLUMNS` from ``people`` on; NaN for what cannot be said, and why in ``note``.
    """
    needs_statistics()
    made, whose = np.asarray(synthetic, float), np.asarray(people)
    truth, called = np.asarray(measured, float) >= cutoff, made >= cutoff
    notes = []
    found: dict = {
        "people": len(set(people)), "scans": len(made), "positive": int(truth.sum()), "negative": int((~truth).sum())
    }  # fmt: skip
    for name, own, hit in (("sensitivity", truth, called), ("specificity", ~truth, ~called)):
        level, low, high = share(hit[own], list(whose[own]), seed=seed, resamples=resamples)
        found |= {name: level, f"{name}_low": low, f"{name}_high": high}
        if own.any() and math.isnan(low):
            notes.append(f"no interval of the {name}: too few people, or all alike")
    area, low, high = math.nan, *NONE
    if not truth.any() or truth.all():
        notes.append("no AUC: all measured PET are " + ("positive" if truth.any() else "negative"))
    else:
        from sklearn.metrics import roc_auc_score

        area = float(roc_auc_score(truth, made))
        low, high = over_people(
            whose, lambda chosen: _quick_auc(made[chosen], truth[chosen]), seed=seed, resamples=resamples
        )
        if math.isnan(low):
            notes.append("no interval of the AUC: too few people, or all resamples alike")
    return found | {"auc": area, "auc_low": low, "auc_high": high, "note": "; ".join(notes)}


def _quick_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """What `roc_auc_score` gives, by ranks: thousands of resamples would take it minutes. NaN where all are alike."""
    from scipy.stats import rankdata

    above = int(positive.sum())
    pairs = above * (len(score) - above)
    return (float(rankdata(score)[positive].sum()) - above * (above + 1) / 2) / pairs if pairs else math.nan


def positivity_rows(
    regions: Iterable[Mapping], cutoffs: Iterable[Cutoff], *, seed: int = 0, resamples: int = RESAMPLES
) -> list[dict]:
    """Rows of ``positivity.tsv`` (`COLUMNS`): one a cut-off and model.

    Args:
        regions: rows of ``regions.tsv``, or of a table with those columns (`scales.scale_rows`), texts or numbers;
            those without a synthetic or measured value do not count.
        cutoffs: what to ask.
        seed, resamples: of the resampling of people.

    Raises:
        InputError: a region that the tracer's rows lack, or that several atlases have.
    """
    groups, rows = pairs_by(regions, ("tracer", "model", "atlas", "region")), []
    for cutoff in cutoffs:
        own = {key: scans for key, scans in groups.items() if cutoff.matches(scans[0])}
        if not own:
            there = sorted({region for tracer, _, _, region in groups if tracer == cutoff.tracer})
            hint = f"use one of {', '.join(there)}" if there else f"there is no pair of {cutoff.tracer} at all"
            raise InputError(f"no values of {cutoff.tracer} in region '{cutoff.region}' for the cut-off; {hint}")
        atlases = sorted({atlas for _, _, atlas, _ in own})
        if len(atlases) > 1:
            ways = ", ".join(f"{atlas}/{cutoff.region}" for atlas in atlases)
            raise InputError(f"several atlases have region '{cutoff.region}'; write one of {ways}")
        for (tracer, model, atlas, region), scans in own.items():
            values = [[number(scan[side]) for scan in scans] for side in ("synthetic", "measured")]
            people = [scan["participant_id"] for scan in scans]
            found = positivity(*values, people, cutoff.value, seed=seed, resamples=resamples)
            names = {"tracer": tracer, "model": model, "atlas": atlas, "region": region, "cutoff": cutoff.value}
            rows.append(names | found)
    return rows
