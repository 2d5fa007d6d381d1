"""What an evaluation writes: tables of volumes, regions, agreement and tests, a summary, and Markdown for people."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import InputError
from ..jsonfiles import read_json_object
from ..outputs import Reserved, write_set
from . import agreement, retest, significance
from .baselines import is_baseline
from .figures import ALL_METRICS, RISING, Row
from .groups import partition
from .pairs import Pair
from .parts import FIGURE, PART_NAMES, Parts
from .regional_tables import AS_EVALUATED, agreement_tables, measured_tables, retest_table
from .resampling import LEAST_PEOPLE
from .run import Measured, RegionValue
from .settings import Settings
from .summary import by_method, summarize, tracer_order
from .tables import LAYOUTS, TIMED, markdown
from .tsv import FAILURE_COLUMNS, REGION_COLUMNS, VOLUME_COLUMNS, as_tsv

AGREEMENT_COLUMNS = (
    "tracer", "model", "atlas", "region", "what", "reference", "covariate", "group", "people", "volumes",
    *agreement.FIGURES, *(f"{name}_{end}" for name in agreement.WITH_INTERVAL for end in ("low", "high")), "note",
)  # fmt: skip
IMAGE_COLUMNS = (
    "tracer", "model", "region", "covariate", "group", "people", "volumes",
    *(f"{name}_{end}" for name in ALL_METRICS for end in ("mean", "sd", "low", "high")), "note",
)  # fmt: skip
#: Every file, in the order in which they are written.
OUTPUT_NAMES = (
    "volumes.tsv", "regions.tsv", "images.tsv", "agreement.tsv", "statistics.tsv", "retest.tsv", "failures.tsv",
    "summary.json", "tables.md",
)  # fmt: skip
STATEMENT = "A synthetic PET is a model's guess, not a measurement. Research software; not for diagnosis."
DEFINITIONS = {
    "images": "3-D, on the synthetic PET's grid, both scaled to [0, 1] by data_range (each by its own minimum and "
    "maximum where the synthetic one is not in SUVR), 0 outside the brain; whole_grid counts all voxels, brain those "
    "in the brain that the measured PET shows",
    "brain": "one for all models of a person, also where a model's PET is 0; brain_from of each pair says what tells "
    "it: the mask of the person, else the template's brain in MNI space, and in the person's own the label image, else "
    "the template's brain by the transform to MNI, else where any model's PET is not 0, holes filled",
    "psnr": "-10 log10 of the mean squared error, dB; n/a for identical volumes",
    "ssim": "Gaussian window of 11 voxels, sigma 1.5, K1 0.01, K2 0.03",
    "nrmse": "root mean square error over the measured PET's root mean square",
    "regions": "means on the label image's own grid over the voxels of the brain that lie in the fields of view of "
    "both PET, SUVR; n/a where that is less than half of the region, what a T1w cuts off of it included; of the "
    "regions of the model grid the synthetic one is n/a, too, where regions.tsv of the result says that its MRI show "
    "less than half",
    "reference_region": "each PET, and what a result tells of its spread, interval and samples, is divided by the own "
    "mean of that PET in it, for images and tables alike",
    "interpolation, fwhm": "linear, and a Gaussian, among a PET's voxels in the brain alone: what lies outside weighs "
    "nothing, be it 0 or the head",
    "asymmetry": "200 (left - right) / (left + right), %; regions parted at x = 0 without the voxels there",
    "mae, bias": "mean of |synthetic - measured| and of synthetic - measured over volumes",
    "loa": "Bland-Altman limits of agreement, bias -+ 1.96 SD of the differences",
    "icc": "ICC(A,1) of McGraw and Wong 1996",
    "ccc": "concordance correlation of Lin 1989",
    "slope, intercept": "least squares of synthetic on measured",
    "low, high": "95 % percentile bootstrap over people, each with all sessions",
    "mean, sd": "over volumes; SD over n - 1",
    "seconds_per_volume": "that all samples of a PET took to draw, as far as the results' own records tell, on the "
    "machine that made them; mean over volumes without each model's first; no reading and no registration",
    "tests": "two-sided, paired over people (mean over the sessions that both models have); Holm over all tests of one "
    "tracer, kind and metric; effect_dz is the mean difference over the differences' SD",
}


def write_evaluation(
    found: Measured,
    settings: Settings,
    out: Path | str | os.PathLike | Reserved,
    *,
    overwrite: bool = False,
    failures: Sequence[dict] = (),
    notes: Sequence[str] = (),
    facts: dict | None = None,
    parts: Parts | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Path]:
    """Write all tables into a folder, all of them or none.

    Args:
        found: from `run.measure_all`.
        failures: further rows of ``failures.tsv``, of what could not even be paired.
        notes: lines for the summary, such as warnings.
        facts: further entries of ``summary.json``.
        parts: what else was asked for.
        progress: called with a line now and then.

    Returns:
        Paths by file name.

    Raises:
        InputError: the model to test against is not there.
        OutputError: a file exists and `overwrite` is False, or the folder cannot be written to.
    """
    tests = test_rows(found, settings)
    images = image_rows(found, settings)
    regions = [value.row() for value in found.regions if value.what == "suvr" and not value.reference]
    agreements = agreement_rows(found, settings)
    repeated = retest.retest_rows(row for row in regions if not is_baseline(row["model"]))
    lost = [{**pair.key, "reason": reason} for pair, reason in found.failures] + list(failures)
    more, told = {}, []
    if parts is not None:
        more = parts.writers([] if settings.measured_only else regions, seed=settings.seed, progress=progress)
        told = parts.notes
    facts = {**(facts or {}), "files": [*OUTPUT_NAMES, *more]}
    summary = _summary(found, settings, agreements, len(lost), [*notes, *told], facts)
    text = _markdown(found, settings, agreements, repeated, len(lost), told) + (parts.tables if parts else "")
    contents = {
        "volumes.tsv": as_tsv(map(_volume, found.images), VOLUME_COLUMNS),
        "regions.tsv": as_tsv(regions, REGION_COLUMNS),
        "images.tsv": as_tsv(images, IMAGE_COLUMNS),
        "agreement.tsv": as_tsv(agreements, AGREEMENT_COLUMNS),
        "statistics.tsv": as_tsv(tests, significance.COLUMNS),
        "retest.tsv": as_tsv(repeated, retest.COLUMNS),
        "failures.tsv": as_tsv(lost, FAILURE_COLUMNS),
        "summary.json": (json.dumps(_finite(summary), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "tables.md": text.encode(),
    }
    writers = {name: _writer(content) for name, content in contents.items()} | more
    owned = [*OUTPUT_NAMES, *earlier_names(Path(out))] if overwrite else OUTPUT_NAMES
    paths = write_set(out, writers, owned=owned, overwrite=overwrite)
    return {path.name: path for path in paths}


def earlier_names(folder: Path) -> list[str]:
    """Files that an earlier evaluation wrote into a folder, by its summary: names of ours, and nothing else."""
    try:
        names = read_json_object(folder / "summary.json").get("files")
    except (InputError, OSError):
        return []
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [name for name in names if name in PART_NAMES or FIGURE.fullmatch(name)]


def _writer(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _volume(row: Row) -> dict:
    return {
        "participant_id": row.subject,
        "session": row.session,
        "tracer": row.tracer,
        "model": row.method,
        "region": row.region,
        **{name: getattr(row, name) for name in ALL_METRICS},
    }


def agreement_rows(found: Measured, settings: Settings) -> list[dict]:
    """Rows of ``agreement.tsv``: everybody, then each group of people; other reference regions for everybody only."""
    cells: dict[tuple, list[RegionValue]] = defaultdict(list)
    for value in found.regions:
        key = (value.pair.tracer, value.pair.model, value.atlas, value.region, value.what, value.reference)
        cells[key].append(value)
    rows = []
    for key, values in cells.items():
        groups = partition([value.pair for value in values])
        for (covariate, group), members in groups.items():
            if key[-1] and covariate != "all":
                continue
            own = [values[number] for number in members]
            figures = agreement.describe(
                np.array([value.synthetic for value in own]),
                np.array([value.measured for value in own]),
                [value.pair.participant for value in own],
                settings.resamples,
                settings.seed,
            )
            tracer, model, atlas, region, what, reference = key
            rows.append({
                "tracer": tracer, "model": model, "atlas": atlas, "region": region, "what": what,
                "reference": reference or AS_EVALUATED, "covariate": covariate, "group": group, **figures,
            })  # fmt: skip
    return rows


def image_rows(found: Measured, settings: Settings) -> list[dict]:
    """Rows of ``images.tsv``: mean, SD and interval of each figure of images, for everybody and by group."""
    pairs = {(pair.participant, pair.session, pair.tracer, pair.model): pair for pair in found.pairs}
    cells: dict[tuple, list[Row]] = defaultdict(list)
    for row in found.images:
        cells[row.tracer, row.method, row.region].append(row)
    rows = []
    for (tracer, model, region), own in cells.items():
        whose = [pairs[row.subject, row.session, tracer, model] for row in own]
        for (covariate, group), members in partition(whose).items():
            rows.append({
                "tracer": tracer, "model": model, "region": region, "covariate": covariate, "group": group,
                **_figures([own[number] for number in members], settings),
            })  # fmt: skip
    return rows


def _figures(rows: Sequence[Row], settings: Settings) -> dict:
    people = [row.subject for row in rows]
    found: dict = {"people": len(set(people)), "volumes": len(rows), "note": ""}
    notes = [agreement.few_people(found["people"])] if found["people"] < LEAST_PEOPLE else []
    for metric in ALL_METRICS:
        values = np.array([getattr(row, metric) for row in rows])
        known = values[np.isfinite(values)]
        if len(known) < len(values):
            notes.append(f"{metric}: {len(values) - len(known)} without (identical volumes)")
        found[f"{metric}_mean"] = float(known.mean()) if known.size else None
        found[f"{metric}_sd"] = float(known.std(ddof=1)) if known.size > 1 else None
        ends = agreement.mean_interval(values, people, settings.resamples, settings.seed)
        found |= dict(zip((f"{metric}_low", f"{metric}_high"), ends, strict=True))
    return {**found, "note": "; ".join(notes)}


def test_rows(found: Measured, settings: Settings) -> list[dict]:
    """Rows of ``statistics.tsv``; none where there is one model only."""
    models = found.models
    against = settings.against or next(model for model in reversed(models) if not is_baseline(model))
    if against not in models:
        raise InputError(f"--against {against}: no such model; there are {', '.join(models)}")
    values: dict[tuple, dict[str, dict[str, dict[str, float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for row in found.images:
        for metric in ALL_METRICS:
            key = (row.tracer, "image", "", row.region, metric)
            values[key][row.method][row.subject][row.session] = getattr(row, metric)
    for value in found.regions:
        if value.what == "suvr" and not value.reference:
            key = (value.pair.tracer, "region", value.atlas, value.region, "absolute_error")
            error = abs(value.synthetic - value.measured)
            values[key][value.pair.model][value.pair.participant][value.pair.session] = error
    return significance.compare_models(values, models, against, RISING)


def _summary(
    found: Measured, settings: Settings, agreements: list[dict], lost: int, notes: Sequence[str], facts: dict
) -> dict:
    people = {pair.participant for pair in found.pairs}
    return {
        "relapet": __version__,
        "statement": STATEMENT,
        "settings": _settings(settings),
        "people": len(people),
        "measured": len(found.own_facts),
        "failed": lost,
        "models": found.models if not settings.measured_only else [],
        "tracers": tracer_order(pair.tracer for pair in found.pairs),
        "data_range": {} if settings.measured_only else _ranges(found.pairs, settings),
        "atlases": found.atlases,
        "definitions": DEFINITIONS,
        "notes": [*dict.fromkeys(notes), *_said(found, settings)],
        "images": by_method(summarize(found.images, found.models, ALL_METRICS)),
        "regions": [row for row in agreements if row["covariate"] == "all"],
        "pairs": found.facts,
        **facts,
    }


def _settings(settings: Settings) -> dict:
    return {
        key: {name: str(window) for name, window in settings.frames.items()} if key == "frames" else value
        for key, value in asdict(settings).items()
    }


def _ranges(pairs: Iterable[Pair], settings: Settings) -> dict:
    return {pair.tracer: list(settings.window(pair.tracer)) for pair in pairs}


def _said(found: Measured, settings: Settings) -> list[str]:
    notes = []
    people = len({pair.participant for pair in found.pairs})
    if people == 1:
        notes.append("one person: no interval, no agreement over people, no test")
    if not settings.measured_only and len(found.models) == 1:
        notes.append("one model: nothing to test it against")
    return notes


def _finite(value):
    """The same with numbers that JSON lacks as null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _markdown(found: Measured, settings: Settings, agreements, repeated, lost: int, told: Sequence[str]) -> str:
    notes = [f"people: {len({pair.participant for pair in found.pairs})}"]
    notes += [f"{lost} could not be measured; failures.tsv says why"] if lost else []
    notes += [*_said(found, settings), *told]
    if settings.measured_only:
        head = "\n".join(["# Measured PET", "", *(f"- {note}" for note in notes)]) + "\n"
        return head + measured_tables(agreements) + retest_table(repeated)
    notes.insert(0, STATEMENT)
    models = found.models
    baselines = [model for model in models if is_baseline(model)]
    order = baselines + [model for model in models if model not in baselines]
    if settings.against in order:  # the tables test against the last
        order = [model for model in order if model != settings.against] + [settings.against]
    order = [model for model in order if any(row.method == model for row in found.images)]
    summary = summarize(found.images, order, ALL_METRICS)
    layouts = list(LAYOUTS)
    if all(line["seconds_per_volume"] is None for line in summary):
        layouts.remove(TIMED)
        notes.append(f"no result tells how long it took to draw: no layout of {TIMED}")
    else:
        notes.append(f"inference time: {DEFINITIONS['seconds_per_volume']}")
    text = markdown(found.images, summary, order, notes, layouts)
    return text + agreement_tables(agreements) + retest_table(repeated)
