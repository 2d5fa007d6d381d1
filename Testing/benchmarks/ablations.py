"""The methods and ablations of the paper's tables, trained, sampled and measured by the package's own commands.

``python Testing/benchmarks/ablations.py --cache CACHE --whole CACHE1 --test CACHE2 --out DIR [--only NAME]`` makes
seven small networks that differ in `RUNS` alone, by the package's ``train``, ``export`` and ``sample``, and writes
``results/ablations.md`` and ``results/ablations_volumes.csv``. CACHE has those who are learned from, in blocks, CACHE1
the same people on the whole grid (for their mean), CACHE2 others in the test part of its split::

    python -m training prepare --rendered 64 --rendered-seed 3 --fractions 0.9375,0.0625,0 --factor 5 --out CACHE
    python -m training prepare --rendered 64 --rendered-seed 3 --fractions 0.9375,0.0625,0 --out CACHE1
    python -m training prepare --rendered 13 --rendered-seed 4 --fractions 0.076923,0,0.923077 --out CACHE2

The same command goes on where it stopped; ``--only`` does one run without the tables.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from RelAPETLib.comparison import ssim_map, window_to_unit  # noqa: E402
from RelAPETLib.evaluation.figures import METRICS  # noqa: E402
from RelAPETLib.tracers import TRACERS, paper_order  # noqa: E402
from training.data.cache import Cache, open_cache, write_whole  # noqa: E402
from training.data.split import FILE, Split, load_split  # noqa: E402
from training.sample import RECORD, read_record  # noqa: E402

#: What the runs differ in; ours last.
RUNS = {
    "ddpm": ["method=ddpm"],
    "ficd": ["method=ficd"],
    "wo_ra": ["method=rela", "ablation=wo_ra"],
    "wo_gp": ["method=rela", "ablation=wo_gp"],
    "wo_t2f": ["method=rela", "ablation=wo_t2f"],
    "wo_t1w": ["method=rela", "ablation=wo_t1w"],
    "rela": ["method=rela"],
}
FACTOR = 5
#: gamma of the 1 mm grid times 5 ** 3: what stays the same is gamma times the voxels whose gradients the penalty sums.
GAMMA = 6.25e-6 * FACTOR**3
COMMON = [
    f"network.factor={FACTOR}",
    "network.channels=[8,16,32]",
    "network.attention_levels=[false,false,true]",
    "network.num_head_channels=32",
    "network.num_res_blocks=1",
    "network.cross_attention_dim=32",
    "network.norm_num_groups=8",
    f"preset.penalty_gamma={GAMMA:g}",
    "preset.global_batch=3",
    "preset.generator_learning_rate=1e-3",
    "preset.discriminator_learning_rate=1e-4",
    "preset.ema_decay=0.99",
    "run.clip_gradients=1",
    "run.learning_rate=cosine",
    "run.validation_volumes=2",
    "hardware.accelerator=cpu",
    "hardware.precision=bf16",
    "hardware.micro_batch=3",
    "data.workers=0",
]
#: Samples that are averaged to a volume, by the name of their folder.
DRAWS = {"one": 1, "four": 4}
SAMPLER_STEPS = 10
REGIONS = {"brain": "inside the brain", "whole_grid": "whole grid"}
MEAN, BLOCK_MEAN, CEILING = "population mean", "population mean, 5 mm", "measured PET, 5 mm"
BASELINES = (MEAN, BLOCK_MEAN, CEILING)
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """Figures of one volume in one region; PSNR in dB, data range 1 = the SUVR window."""

    method: str
    draw: str
    case: str
    tracer: str
    region: str
    psnr: float
    ssim: float
    mae: float
    seconds: float


def items_of(cache: Cache, split: Split) -> int:
    """How many PET an epoch shows."""
    return len(cache.items(split.train))


def overrides(words: Iterable[str], cache: Path, out: Path, steps: int, items: int, seed: int = 0) -> list[str]:
    """The words of ``training train`` of a run of `steps` steps over `items` PET; D joins after a third of it."""
    start = max(1, round(steps / 3 * 3 / items))
    return [
        *COMMON,
        *words,
        f"preset.adversarial_start_epoch={start}",
        f"run.steps={steps}",
        f"run.validate_every={max(1, steps // 2)}",
        f"run.checkpoint_every={max(1, steps // 4)}",
        f"seed={seed}",
        f"data.cache={cache}",
        f"out={out}",
    ]


def command(*words: str | Path) -> None:
    """``python -m training WORDS`` in this process, which saves loading everything anew; ends the program if it fails.

    The network computes in bfloat16, as it is trained: small volumes one at a time are four times faster by it.
    """
    import torch

    from training.__main__ import main as training

    torch.set_num_threads(1)
    if words[0] == "train":  # autocasts by itself
        code = training([*map(str, words)])
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            code = training([*map(str, words)])
    if code:
        raise SystemExit(code)


def train(words: list[str], out: Path, steps: int) -> Path:
    """Train or go on; the last checkpoint. ``OUT/config.json`` and ``OUT/seconds.json`` stand beside it."""
    from training.checkpoints import path_of
    from training.config import flatten, load_config

    last = path_of(out, steps)
    if not last.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "config.json", (json.dumps(flatten(load_config(words)), indent=1) + "\n").encode())
        began = time.perf_counter()
        command("train", *words)
        times = out / "seconds.json"
        before = json.loads(times.read_text())["train"] if times.exists() else 0
        write_whole(times, json.dumps({"train": before + time.perf_counter() - began}).encode())
    return last


def export_and_sample(name: str, checkpoint: Path, out: Path, test: Path, volumes: int, draws: dict[str, int]) -> None:
    """A bundle of the checkpoint, and its samples of the first `volumes` test volumes of a cache."""
    bundle = out / "bundle"
    if not (bundle / "configs" / "metadata.json").exists():
        command("export", "--checkpoint", checkpoint, "--out", bundle, "--name", name, "--overwrite")
    for draw, samples in draws.items():
        folder = out / draw
        if (folder / RECORD).exists() and len(read_record(folder)["volumes"]) >= volumes:
            continue
        command(
            "sample", "--bundle", bundle, "--cache", test, "--out", folder, "--device", "cpu", "--samples", samples,
            "--steps", SAMPLER_STEPS, "--limit", volumes,
        )  # fmt: skip


def figures(made: np.ndarray, measured: np.ndarray, inside: np.ndarray, tracer: str) -> dict[str, dict[str, float]]:
    """PSNR, SSIM and MAE of two volumes in SUVR [160, 180, 160] by region, as `RelAPETLib.comparison.compare`."""
    window = TRACERS[tracer].suvr_window
    made, measured = window_to_unit(made, window), window_to_unit(measured, window)
    similarity, error = ssim_map(made, measured), np.abs(made - measured)
    found = {}
    for region, where in (("brain", inside), ("whole_grid", ...)):
        values = error[where]
        found[region] = {
            "psnr": float(-10 * np.log10(np.mean(values * values, dtype=np.float64))),
            "ssim": float(np.mean(similarity[where], dtype=np.float64)),
            "mae": float(np.mean(values, dtype=np.float64)),
        }
    return found


def through_blocks(pet: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A PET as this grid could at best give it: averaged over blocks and interpolated as the model's output is."""
    import torch
    from torch.nn import functional

    blocks = functional.avg_pool3d(torch.from_numpy(pet.astype(np.float32))[None, None], FACTOR)
    whole = functional.interpolate(blocks, size=pet.shape, mode="trilinear", align_corners=False)[0, 0].numpy()
    return np.where(inside, whole, 0)


def measure(method: str, draw: str, folder: Path, cache: Cache) -> list[Figure]:
    """Figures of what ``sample`` wrote; kept in ``FOLDER/figures.csv``."""
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.volumes import read_volume

    record, kept = read_record(folder), folder / "figures.csv"
    if kept.exists():
        known = read_csv(kept)
        if len(known) == len(REGIONS) * len(record["volumes"]):
            return known
    inside, rows = cache.mask(), []
    for volume in record["volumes"]:
        made = image_to_array(read_volume(folder / volume["file"]))
        measured = cache.array(volume["case"], f"pet_{volume['tracer']}").astype(np.float32)
        for region, values in figures(made, measured, inside, volume["tracer"]).items():
            rows.append(
                Figure(method, draw, volume["case"], volume["tracer"], region, **values, seconds=volume["seconds"])
            )
    write_whole(kept, to_csv(rows))
    return rows


def measure_baselines(cache: Cache, volumes: list[dict], trained_on: Cache, split: Split, kept: Path) -> list[Figure]:
    """Figures of `BASELINES` for the volumes of a record; kept in a file."""
    from training.data.dataset import population_mean

    if kept.exists():
        known = read_csv(kept)
        if len(known) == len(REGIONS) * len(BASELINES) * len(volumes):
            return known
    inside, rows = cache.mask(), []
    windows = {tracer: TRACERS[tracer].suvr_window for tracer in TRACERS}
    means = {tracer: population_mean(trained_on, split.train, tracer) for tracer in TRACERS}
    for volume in volumes:
        case, tracer = volume["case"], volume["tracer"]
        measured = cache.array(case, f"pet_{tracer}").astype(np.float32)
        estimates = {
            MEAN: means[tracer],
            BLOCK_MEAN: through_blocks(means[tracer], inside),
            CEILING: through_blocks(measured.clip(*windows[tracer]), inside),
        }
        for name, estimate in estimates.items():
            for region, values in figures(estimate, measured, inside, tracer).items():
                rows.append(Figure(name, "", case, tracer, region, **values, seconds=float("nan")))
    write_whole(kept, to_csv(rows))
    return rows


def to_csv(rows: list[Figure]) -> bytes:
    """A line a volume and region."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(Figure.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})
    return stream.getvalue().encode()


def read_csv(path: Path) -> list[Figure]:
    """What `to_csv` wrote."""
    with open(path, newline="", encoding="utf-8") as stream:
        numbers = ("psnr", "ssim", "mae", "seconds")
        return [
            Figure(**{k: float(v) if k in numbers else v for k, v in row.items()}) for row in csv.DictReader(stream)
        ]


def table(rows: list[Figure], methods: list[str], draw: str, region: str) -> list[str]:
    """Mean ± SD over volumes by method and tracer; baselines belong to every draw."""
    chosen = [row for row in rows if row.region == region and row.draw in (draw, "")]
    header = ["method", *(f"{tracer} {title}" for tracer in paper_order() for title in METRICS.values())]
    lines = [header, ["---"] * len(header)]
    for method in methods:
        cells = [method]
        for tracer in paper_order():
            own = [row for row in chosen if (row.method, row.tracer) == (method, tracer)]
            for metric in METRICS:
                values = np.array([getattr(row, metric) for row in own])
                digits = 2 if metric == "psnr" else 4
                sd = values.std(ddof=1) if len(values) > 1 else np.nan
                cells.append(f"{values.mean():.{digits}f} ± {sd:.{digits}f}" if len(values) else "")
        lines.append(cells)
    return [f"| {' | '.join(line)} |" for line in lines]


def paired(rows: list[Figure], method: str, draw: str, region: str, metric: str, ours: str = "rela") -> tuple:
    """(mean, standard error, n) of a method's figures minus ours over the volumes that both have."""
    by_volume: dict[str, dict] = {method: {}, ours: {}}
    for row in rows:
        if row.method in by_volume and row.region == region and row.draw in (draw, ""):
            by_volume[row.method][row.case, row.tracer] = getattr(row, metric)
    shared = sorted(by_volume[method].keys() & by_volume[ours].keys())
    differences = np.array([by_volume[method][key] - by_volume[ours][key] for key in shared])
    if len(differences) < 2:
        return float("nan"), float("nan"), len(differences)
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences))), len(differences)


def paired_table(rows: list[Figure], methods: list[str], region: str, ours: str = "rela") -> list[str]:
    """Differences to ours over all volumes of all tracers, mean ± standard error; * beyond two standard errors."""
    header = ["method minus rela", *(f"{DRAWS[d]} sample(s): {title}" for d in DRAWS for title in METRICS.values())]
    lines = [header, ["---"] * len(header)]
    for method in methods:
        if method == ours:
            continue
        cells = [method]
        for draw in DRAWS:
            for metric in METRICS:
                mean, error, _ = paired(rows, method, draw, region, metric, ours)
                digits = 2 if metric == "psnr" else 4
                cells.append(f"{mean:+.{digits}f} ± {error:.{digits}f}{' *' if abs(mean) > 2 * error else ''}")
        lines.append(cells)
    return [f"| {' | '.join(line)} |" for line in lines]


def report(rows: list[Figure], settings: list[str], seconds: dict[str, dict[str, float]]) -> str:
    """The results file without what a person says about it.

    Args:
        settings: lines on what was run.
        seconds: by run, ``train`` (whole run) and ``one``, ``four`` (a volume).
    """
    methods = [*BASELINES, *(name for name in RUNS if any(row.method == name for row in rows))]
    counts = {t: len({row.case for row in rows if row.tracer == t}) for t in paper_order()}
    lines = ["# Methods and ablations at 5 mm", "", *(f"- {line}" for line in settings)]
    lines += [f"- held-out volumes: {', '.join(f'{t} {n}' for t, n in counts.items())}"]
    lines += ["- PSNR in dB; PSNR, SSIM and MAE in 3-D on the 1 mm grid, data range 1 = the SUVR window; mean ± SD"]
    for draw, samples in DRAWS.items():
        for region, title in REGIONS.items():
            lines += ["", f"## {'One sample' if samples == 1 else f'Mean of {samples} samples'}, {title}", ""]
            lines += table(rows, methods, draw, region)
    for region, title in REGIONS.items():
        lines += ["", f"## Differences to rela over all volumes, {title}", ""]
        lines += ["Mean ± standard error of paired differences; * beyond two standard errors.", ""]
        lines += paired_table(rows, methods, region)
    lines += ["", "## Time on one CPU thread of a shared machine", ""]
    lines += ["| run | training, min | one sample, s | four samples, s |", "|---|---|---|---|"]
    for name, times in seconds.items():
        lines.append(f"| {name} | {times['train'] / 60:.1f} | {times['one']:.2f} | {times['four']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="who is learned from, in blocks")
    parser.add_argument("--whole", type=Path, help="the same people on the whole grid; not needed with --only")
    parser.add_argument("--test", type=Path, required=True, help="cache of others, the test part of its split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--volumes", type=int, default=24, help="test volumes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.whole or options.only):
        parser.error("--whole is needed for the tables")
    cache_folder, test_folder, out = options.cache.resolve(), options.test.resolve(), options.out.resolve()
    cache = open_cache(cache_folder)
    split = load_split(cache_folder / FILE, cache)
    items = items_of(cache, split)
    rows, seconds = [], {}
    for name in [options.only] if options.only else RUNS:
        folder = out / name
        words = overrides(RUNS[name], cache_folder, folder, options.steps, items, options.seed)
        checkpoint = train(words, folder, options.steps)
        export_and_sample(name, checkpoint, folder, test_folder, options.volumes, DRAWS)
        test = open_cache(test_folder)
        own = [row for draw in DRAWS for row in measure(name, draw, folder / draw, test)]
        rows += own
        seconds[name] = json.loads((folder / "seconds.json").read_text()) | {
            draw: float(np.median([row.seconds for row in own if row.draw == draw])) for draw in DRAWS
        }
        print(f"{name}: done", flush=True)
    if options.only:
        return
    volumes = read_record(out / "rela" / "one")["volumes"]
    whole = open_cache(options.whole.resolve())
    if load_split(options.whole.resolve() / FILE, whole).train != split.train:
        parser.error(f"{options.whole} has other training subjects than {options.cache}")
    rows = [*measure_baselines(test, volumes, whole, split, out / "baselines.csv"), *rows]
    settings = [
        f"made by `python Testing/benchmarks/ablations.py --steps {options.steps} --volumes {options.volumes}` on "
        f"{date.today()}, one CPU thread, bf16",
        f"{options.steps} steps of batch 3 for all, seed {options.seed}, {items} PET of {len(split.train)} rendered "
        "people to train on; moving average 0.99; the adversarial part begins at about a third",
        f"generator of 8, 16, 32 channels on blocks of {FACTOR} mm (32 x 36 x 32); learning rates from 1e-3 and 1e-4 "
        f"to 0 by a cosine; gradients clipped at 1; sampled by dpmpp in {SAMPLER_STEPS} steps, the clean estimate "
        "clipped to [-1, 1]",
        f"gamma {GAMMA:.3g}: that of the 1 mm grid times {FACTOR}^3, as the penalty sums squared gradients over so "
        "many fewer voxels",
    ]
    RESULTS.mkdir(exist_ok=True)
    write_whole(RESULTS / "ablations.md", report(rows, settings, seconds).encode())
    write_whole(RESULTS / "ablations_volumes.csv", to_csv(rows))


if __name__ == "__main__":
    main()
