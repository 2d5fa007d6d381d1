"""Figures of synthetic PET against the measured: per volume, per method, and in the layout of the paper's tables.

All figures are three-dimensional with data range 1 (`RelAPETLib.comparison`), over the whole grid, as the paper has
them, and inside the brain mask. The mean PET of the training subjects stands beside as a baseline: whoever does not
beat it has learned nothing about the person.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.scaling import to_network

from .data.cache import Cache, sweep, write_whole
from .data.dataset import population_mean
from .data.split import Split
from .sample import read_record
from .tables import METRICS, REGIONS, TABLE_TRACERS, markdown

BASELINE = "population mean"


@dataclass(frozen=True)
class Row:
    """Figures of one volume in one region.

    Attributes:
        method: whose volume.
        subject, case, tracer: which one.
        region: ``whole_grid``, ``brain``, or ``release`` for the published implementation's way.
        psnr: dB; NaN where the two are identical.
        ssim, mae: as in `RelAPETLib.comparison`.
        seconds: it took to draw; NaN for the baseline.
    """

    method: str
    subject: str
    case: str
    tracer: str
    region: str
    psnr: float
    ssim: float
    mae: float
    seconds: float


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
    rows, notes, means = [], [], {}
    for method, folder in folders.items():
        record = read_record(folder)
        _check_record(record, cache, split, folder)
        notes.append(_note(method, record))
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
    write_whole(out / "volumes.csv", _csv([asdict(row) for row in rows]))
    write_whole(out / "summary.csv", _csv(summary))
    write_whole(out / "summary.json", json.dumps(_by_method(summary), indent=1).encode())
    write_whole(out / "tables.md", text.encode())
    return text


def _check_record(record: dict, cache: Cache, split: Split, folder: Path) -> None:
    if not record["volumes"]:
        raise InputError(f"{folder}: no volumes; sample again")
    for key, now in (("cache_sha256", cache.sha256), ("split_sha256", split.sha256)):
        if record[key] != now:
            raise InputError(f"{folder}: drawn with another {key.removesuffix('_sha256')} than this; sample again")


def _note(method: str, record: dict) -> str:
    model = record["model"]
    how = f"{record['sampler']} {record['steps']} steps" if record["sampler"] else "drawn at once"
    return (
        f"{method}: {model['name']} {model['version']}, {how}, "
        f"mean of {record['samples']} sample(s), {record['part']} subjects, {record['device_name']}"
    )


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
    if regions == REGIONS["release"]:
        # What a relative model made is in [0, 1] already; the baseline is in SUVR whatever the models give.
        relative = window is None and not method.startswith(BASELINE)
        ours = made * 2 - 1 if relative else to_network(made, window)
        figures = {"release": release_figures(ours, to_network(measured, window))}
    else:
        from RelAPETLib.comparison import compare
        from RelAPETLib.grid import array_to_image

        mask = array_to_image(cache.mask().astype(np.uint8))
        _, figures = compare(array_to_image(made.astype(np.float32)), array_to_image(measured), mask, window=window)
    return [
        Row(
            method, subject, case, tracer, region,
            float("nan") if figures[region]["psnr"] is None else figures[region]["psnr"],
            figures[region]["ssim"], figures[region]["mae"], seconds,
        )
        for region in regions
    ]  # fmt: skip


def release_figures(made: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """PSNR, SSIM and MAE as the published implementation has them (torchmetrics 1.2.0 without a data range).

    SSIM is two-dimensional with the slices of x as channels. PSNR's data range is that of the measured volume, SSIM's
    the larger of both volumes' ranges. Neither volume is scaled or clipped.

    Args:
        made, measured: [X, Y, Z] in [-1, 1].
    """
    import torch
    from monai.metrics.regression import compute_ssim_and_cs

    x, y = (torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)) for volume in (made, measured))
    reach, widest = float(np.ptp(measured)), max(float(np.ptp(made)), float(np.ptp(measured)))
    error = float((x.double() - y.double()).square().mean())
    ssim, _ = compute_ssim_and_cs(
        x[None], y[None], spatial_dims=2, kernel_size=[11, 11], kernel_sigma=[1.5, 1.5], data_range=widest
    )
    psnr = 20 * np.log10(reach) - 10 * np.log10(error) if error else None
    return {"psnr": psnr, "ssim": float(ssim.mean()), "mae": float((x - y).abs().mean())}


def summarize(rows: list[Row], methods: list[str]) -> list[dict]:
    """Mean and SD (n - 1) by method, tracer and region; the seconds leave out each method's first volume (warm-up)."""
    summary = []
    for method in methods:
        own = [row for row in rows if row.method == method]
        regions = list(dict.fromkeys(row.region for row in own))
        seconds = [row.seconds for row in own if row.region == regions[0]]
        seconds = seconds[1:] or seconds
        for tracer in TABLE_TRACERS:
            for region in regions:
                kept = [row for row in own if row.tracer == tracer and row.region == region]
                if not kept:
                    continue
                line = {"method": method, "tracer": tracer, "region": region, "volumes": len(kept)}
                for metric in METRICS:
                    values = np.array([getattr(row, metric) for row in kept])
                    values = values[np.isfinite(values)]
                    line[f"{metric}_mean"] = float(values.mean()) if values.size else None
                    line[f"{metric}_sd"] = float(values.std(ddof=1)) if values.size > 1 else None
                mean = float(np.mean(seconds))
                summary.append({**line, "seconds_per_volume": mean if np.isfinite(mean) else None})
    return summary


def _by_method(summary: list[dict]) -> dict:
    """``{method: {tracer: {region: figures}}}``, rounded, for a bundle's metadata."""
    nested: dict = {}
    for line in summary:
        figures = {k: v for k, v in line.items() if k not in ("method", "tracer", "region")}
        figures = {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}
        nested.setdefault(line["method"], {}).setdefault(line["tracer"], {})[line["region"]] = figures
    return nested


def _csv(rows: list[dict]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {k: "" if v is None or v != v else round(v, 6) if isinstance(v, float) else v for k, v in row.items()}
        writer.writerow(values)
    return stream.getvalue().encode()
