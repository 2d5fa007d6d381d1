"""A table after the scorecard for synthetic medical data of Zamzmi et al. (arXiv 2406.11143): what this report has on
each of its seven criteria, and what it has not. Filling it in is no endorsement by its authors or their agency."""

from __future__ import annotations

import numpy as np

from . import web
from .cohort_tables import Group, Tables, agreements, by_region, figures_of

NOTE = (
    "Laid out after the scorecard for synthetic medical data (Zamzmi et al., arXiv 2406.11143). Its authors and the "
    "U.S. Food and Drug Administration have not seen, checked or endorsed this software or these data."
)
NOT_COVERED = "not assessed"
HEAD = ("criterion", "what it asks", "in this report", "not in it")


def scorecard(tables: Tables, verdicts: dict[str, int], records: int) -> str:
    """The table as HTML.

    Args:
        verdicts: number of results by the level of their verdict.
        records: how many results' records were found.
    """
    groups = tables.groups()
    rows = [
        ("Congruence", "Are the synthetic data distributed as measured ones?",
         _by_group(groups, lambda group: _congruence(tables, group)), "features of whole images (FID and the like)"),
        ("Coverage", "Do they vary as much as measured ones?",
         _by_group(groups, lambda group: _coverage(tables, group)), "rare findings; people unlike these"),
        ("Constraint", "Do they keep to what anatomy and physics allow?",
         _constraint(tables), "anatomical plausibility, but for the pictures above"),
        ("Completeness", "Is what was asked for there?", _completeness(tables), "whether the cohort is a fair sample"),
        ("Compliance", "Do they keep to privacy, licences and standards?",
         "people have the codes of the tables here, and no header is copied; names of files are taken out of reasons "
         "of failures, but for such as do not look like one",
         "whether the codes tell who somebody is; consent, licences of the cohort's data, whether training people "
         "can be recognised"),
        ("Comprehension", "Is it told how they were made?",
         f"records (synthetic_pet.json) of {records} of {len(tables.results())} results; relapet models show --card",
         "whether readers understand it"),
        ("Consistency", "Are they as good in every group, and from run to run?",
         _by_group(groups, lambda group: _consistency(tables, group)) + f"; verdicts: {_counted(verdicts)}",
         "groups that these tables do not tell of" if tables.people else
         "groups of sex, age, site or scanner: these tables do not tell of any, those of relapet evaluate "
         "do where it is told of some"),
    ]  # fmt: skip
    return (
        '<section id="scorecard"><h2>Scorecard</h2>'
        f'<p class="small">{web.text(NOTE)}</p>{web.table(HEAD, rows, "criteria", numbers=False)}</section>'
    )


def _counted(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{level} {count}" for level, count in sorted(verdicts.items())) or "none"


def _by_group(groups: list[Group], words) -> str:
    lines = [f"{group.tracer}, {group.model}: {words(group)}" for group in groups]
    return "; ".join(lines) or NOT_COVERED


def _congruence(tables: Tables, group: Group) -> str:
    biases = [one.bias for one in agreements(tables, group) if one.bias is not None]
    psnr = [row["psnr"] for row in figures_of(tables, group).values() if row["psnr"] is not None]
    found = [f"median PSNR in the brain {np.median(psnr):.1f} dB (n = {len(psnr)})"] if psnr else []
    if biases:
        found.append(f"regional bias {min(biases):+.3f} to {max(biases):+.3f}")
    return ", ".join(found) or NOT_COVERED


def _coverage(tables: Tables, group: Group) -> str:
    """SD over results of the synthetic regional values as a share of the measured ones'."""
    ratios = []
    for rows in by_region(tables, group).values():
        both = [(r["synthetic"], r["measured"]) for r in rows if None not in (r["synthetic"], r["measured"])]
        if len(both) < 3:
            continue
        made, measured = np.std(np.array(both, float), axis=0, ddof=1)
        if measured > 0:
            ratios.append(float(made / measured))
    if not ratios:
        return f"{NOT_COVERED} (fewer than 3 results with a measured PET)"
    return f"SD over people, synthetic over measured: {min(ratios):.2f} to {max(ratios):.2f} by region"


def _constraint(tables: Tables) -> str:
    values = [row["synthetic"] for row in tables.regions if row["synthetic"] is not None]
    if not values:
        return NOT_COVERED
    return f"{sum(value < 0 for value in values)} of {len(values)} regional values below 0"


def _completeness(tables: Tables) -> str:
    results, failed = len(tables.results()), len(tables.failures)
    empty = sum(row["synthetic"] is None for row in tables.regions)
    return f"{results} results, {failed} rows of failures, {empty} of {len(tables.regions)} regional values missing"


def _consistency(tables: Tables, group: Group) -> str:
    sds = [one.sd for one in agreements(tables, group) if one.sd]  # 0 in a region that both were divided by
    found = [f"SD of regional differences {min(sds):.3f} to {max(sds):.3f}"] if sds else []
    own = [row for row in tables.people if (row["tracer"], row["model"], row["region"]) == (*group, "brain")]
    for covariate in dict.fromkeys(row["covariate"] for row in own):
        told = [
            f"{row['group']} {row['psnr_mean']:.1f} (n = {row['people']:.0f})"
            for row in own
            if row["covariate"] == covariate and None not in (row["psnr_mean"], row["people"])
        ]
        found += [f"mean PSNR in the brain, dB, by {covariate}: {', '.join(told)}"] if told else []
    return "; ".join(found) or NOT_COVERED
