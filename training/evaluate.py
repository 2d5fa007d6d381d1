"""Figures of synthetic PET against the measured: per volume, per method, and in the layout of the paper's tables.

All figures are three-dimensional with data range 1 (`RelAPETLib.comparison`), over the whole grid, as the paper has
them, and inside the brain mask. The mean PET of the training part of the same cache stands beside as a baseline:
whoever was trained on that part and does not beat it has learned nothing about the person.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.figures import REGIONS, Row, figures_of
from RelAPETLib.evaluation.summary import as_csv, by_method, summarize
from RelAPETLib.evaluation.tables import markdown
from RelAPETLib.jsonfiles import read_json_object

from .data.cache import Cache, sweep, write_whole
from .data.dataset import population_mean
from .data.split import Split
from .sample import DATA, read_record

BASELINE = "population mean"
SUMMARY = "summary.json"


def evaluate_folders(
    folders: dict[str, Path],
    cache: Cache,
    split: Split,
    out: Path | str,
    *,
    metrics: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> str:
    """Measure what `sample` wrote and write ``volumes.csv``, ``summary.csv``, ``summary.json`` and ``tables.md``.

    Args:
        folders: by name of the method, ours last (significance is against it).
        cache, split: those that the volumes were drawn with.
        metrics: ``both``, ``full_grid`` or ``release``, as `preset.metrics`; None: as the last model was trained with.
        progress: called with a line for every volume.

    Returns:
        The tables as Markdown.

    Raises:
        InputError: a folder without volumes, of another cache or split, a missing volume, or a cache of blocks.
    """
    cache.check_whole()
    regions = REGIONS[metrics or read_record(list(folders.values())[-1]).get("metrics", "both")]
    rows, notes, means, models = [], [_baseline_note(cache, split)], {}, {}
    for method, folder in folders.items():
        record = read_record(folder)
        _check_record(record, cache, split, folder)
        notes += [_note(method, record), *_trained_elsewhere(method, record)]
        models[method] = {key: record["model"][key] for key in ("name", "version")}
        models[method]["source_sha256"] = record.get("source_sha256")
        rows += _measure(method, folder, record, cache, regions, progress)
    baselines = {}
    for folder in folders.values():
        record = read_record(folder)
        for volume in record["volumes"]:
            baselines[volume["case"], volume["tracer"], _window(record, volume["tracer"])] = volume
    names = {window is None for _, _, window in baselines}
    for (case, tracer, window), volume in baselines.items():
        if tracer not in means:
            known = cache.items(split.train, [tracer])
            means[tracer] = population_mean(cache, split.train, tracer) if known else None
            notes += [] if known else [f"{BASELINE}: nobody of the training part was scanned with {tracer}"]
        if means[tracer] is None:
            continue
        method = BASELINE if len(names) == 1 else f"{BASELINE} ({'min-max' if window is None else 'SUVR window'})"
        rows += _rows(method, volume["subject"], case, tracer, means[tracer], window, cache, regions, float("nan"))
    methods = list(dict.fromkeys([row.method for row in rows if row.method.startswith(BASELINE)])) + list(folders)
    summary = summarize(rows, methods)
    text = markdown(rows, summary, methods, notes)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    sweep(out, progress)
    write_whole(out / "volumes.csv", as_csv([asdict(row) for row in rows]))
    write_whole(out / "summary.csv", as_csv(summary))
    content = {"models": models, "figures": by_method(summary)}
    write_whole(out / SUMMARY, json.dumps(content, indent=1).encode())
    write_whole(out / "tables.md", text.encode())
    return text


def read_summary(path: Path) -> tuple[dict, dict[str, str | None]]:
    """Figures by method, tracer and region of a ``summary.json``, and what its models' sources hash to, by method.

    Of volumes that an earlier version drew that is not known, None. Files of earlier versions and of other programs
    are figures alone: the second is empty then.

    Raises:
        InputError: a file that cannot be read, or is damaged.
    """
    content = read_json_object(path)
    if content.keys() != {"models", "figures"}:
        return content, {}
    models, figures = content["models"], content["figures"]
    whole = isinstance(figures, dict) and isinstance(models, dict) and models.keys() <= figures.keys()
    if not whole or not all(isinstance(model, dict) for model in models.values()):
        raise InputError(f"{path}: not what 'python -m training evaluate' writes; evaluate again")
    return figures, {method: model.get("source_sha256") for method, model in models.items()}


def _check_record(record: dict, cache: Cache, split: Split, folder: Path) -> None:
    if not record["volumes"]:
        raise InputError(f"{folder}: no volumes; sample again")
    for key, now in zip(DATA, (cache.sha256, split.sha256), strict=True):
        if record[key] != now:
            raise InputError(f"{folder}: drawn with another {key.removesuffix('_sha256')} than this; sample again")


def _note(method: str, record: dict) -> str:
    model = record["model"]
    how = f"{record['sampler']} {record['steps']} steps" if record["sampler"] else "drawn at once"
    return (
        f"{method}: {model['name']} {model['version']}, {how}, "
        f"mean of {record['samples']} sample(s), {record['part']} subjects, {record['device_name']}"
    )


def _baseline_note(cache: Cache, split: Split) -> str:
    return f"{BASELINE}: of the training part of this cache ({cache.index['source']}), {len(split.train)} subject(s)"


def _trained_elsewhere(method: str, record: dict) -> list[str]:
    """A line where a bundle does not name the data whose mean is the baseline; folders of earlier versions cannot."""
    here = {key: record[key] for key in DATA}
    if record.get("trained_on", here) == here:
        return []
    doubt = f"{BASELINE} need not be that of its training people"
    return [f"{method}: not trained on this cache and split, as far as its bundle says; {doubt}"]


def _window(record: dict, tracer: str) -> tuple[float, float] | None:
    """SUVR window of a method's tracer; None for relative output, where both volumes are min-max scaled."""
    return tuple(record["windows"][tracer]) if record["output"][tracer] == "suvr" else None


def _measure(method: str, folder: Path, record: dict, cache: Cache, regions, progress) -> list[Row]:
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.volumes import read_volume

    rows = []
    for number, volume in enumerate(record["volumes"], start=1):
        made = image_to_array(read_volume(folder / volume["file"]))
        window = _window(record, volume["tracer"])
        rows += _rows(
            method, volume["subject"], volume["case"], volume["tracer"], made, window, cache, regions, volume["seconds"]
        )
        progress(f"{method}: {number} of {len(record['volumes'])} measured")
    return rows


def _rows(method, subject, case, tracer, made: np.ndarray, window, cache: Cache, regions, seconds: float) -> list[Row]:
    """Figures of one volume [160, 180, 160] in all regions."""
    measured = cache.array(case, f"pet_{tracer}").astype(np.float32)
    # What a relative model made is in [0, 1] already; the baseline is in SUVR whatever the models give.
    relative = window is None and not method.startswith(BASELINE)
    figures = figures_of(made, measured, cache.mask(), window, regions, relative=relative)
    return [Row(method, subject, case, tracer, region, seconds=seconds, **figures[region]) for region in regions]
