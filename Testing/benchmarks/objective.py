"""What makes RelA-Diffusion work: parametrisation, weighting, mean PET and adversarial part, beside plain controls.

``python Testing/benchmarks/objective.py --cache CACHE --test CACHE2 --seed S --people N --out DIR [--only NAME ...]``
trains small networks on blocks of 10 mm by the package's own ``train`` and measures them on people that no run saw::

    python -m training prepare --rendered 1060 --rendered-seed 1 --factor 10 --fractions 0.943396,0.056604,0 --out CACHE
    python -m training prepare --rendered 300 --rendered-seed 2 --factor 10 --fractions 0.003333,0,0.996667 --out CACHE2

`S` is the seed of the test people, of whom the law's posterior is drawn too: what could at best be said from the MRI.
Every figure is of a person first, then a mean over people with its standard error. The same command goes on where it
stopped; ``--table`` writes ``results/objective.md`` from what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import objective_figures as tell

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from RelAPETLib.evaluation.scores import crps  # noqa: E402
from RelAPETLib.evaluation.scores import energy_distance as distance  # noqa: E402
from training.bench.controls import mri_features  # noqa: E402
from training.bench.figures import Drawer  # noqa: E402
from training.bench.people import IDEAL_DRAWS, ideal_answers, pooled, regional  # noqa: E402
from training.bench.settings import UNET  # noqa: E402

RESULTS = Path(__file__).parent / "results"
FACTOR, SHAPE = 10, (16, 18, 16)
TRACERS = ("TAU", "PIB", "PBR")
#: Network calls of a sample.
SAMPLER_STEPS = 10
COMMON = [
    f"network.factor={FACTOR}",
    *UNET,
    "preset.global_batch=16",
    "preset.ema_decay=0.995",
    "run.clip_gradients=1",
    "run.learning_rate=cosine",
    "run.warmup_steps=100",
    "run.weight_decay=0.01",
    "run.validation_volumes=12",
    "hardware.accelerator=cpu",
    "hardware.precision=bf16",
    "hardware.micro_batch=16",
    "data.workers=0",
]
_DIFFUSION = ["preset.generator_learning_rate=2e-3"]
_UNET = ["preset.learning_rate=2e-3"]
_GAN = ["method=rela", f"preset.penalty_gamma={6.25e-6 * FACTOR**3:g}", "preset.discriminator_learning_rate=2e-4"]
#: By name, the words that make a run; `seed` is added.
RUNS = {
    "unet_l1": ["method=unet_l1", *_UNET],
    "unet_l2": ["method=unet_l2", *_UNET],
    "unet_l2 residual": ["method=unet_l2", "preset.mean_pet=residual", *_UNET],
    "noise": ["method=ficd", "preset.prediction=noise", *_DIFFUSION],
    "v": ["method=ficd", "preset.prediction=v", *_DIFFUSION],
    "x0": ["method=ficd", "preset.prediction=x0", *_DIFFUSION],
    "edm": ["method=ficd", "preset.prediction=edm", *_DIFFUSION],
    "v residual": ["method=ficd", "preset.prediction=v", "preset.mean_pet=residual", *_DIFFUSION],
    "edm residual": ["method=ficd", "preset.prediction=edm", "preset.mean_pet=residual", *_DIFFUSION],
    "x0 residual": ["method=ficd", "preset.prediction=x0", "preset.mean_pet=residual", *_DIFFUSION],
    "unet_l2 regression": ["method=unet_l2", "preset.mean_pet=regression", *_UNET],
    "v regression": ["method=ficd", "preset.prediction=v", "preset.mean_pet=regression", *_DIFFUSION],
    "edm regression": ["method=ficd", "preset.prediction=edm", "preset.mean_pet=regression", *_DIFFUSION],
    "x0 regression": ["method=ficd", "preset.prediction=x0", "preset.mean_pet=regression", *_DIFFUSION],
}
for _name in ("v residual", "edm residual", "v regression", "edm regression"):
    RUNS[f"{_name}, min-SNR"] = [*RUNS[_name], "preset.loss_weighting=min_snr"]
    RUNS[f"{_name}, zero SNR"] = [*RUNS[_name], "preset.zero_terminal_snr=true"]
    RUNS[f"{_name}, no L_I"] = [*RUNS[_name], "method.image_weight=0"]
    for _weight in (0.01, 0.1):
        RUNS[f"{_name}, adversarial {_weight:g}"] = [
            *[word for word in RUNS[_name] if not word.startswith("method=")],
            *_GAN,
            f"preset.adversarial_weight={_weight}",
        ]
    RUNS[f"{_name}, half as wide"] = [*RUNS[_name], "network.channels=[8,16]", "network.norm_num_groups=4"]
    RUNS[f"{_name}, twice as wide"] = [*RUNS[_name], "network.channels=[32,64]"]


def overrides(name: str, cache: Path, out: Path, steps: int, items: int, seed: int) -> list[str]:
    """Words of a run of ``training train``; D joins after a third of it."""
    start = [f"preset.adversarial_start_epoch={max(1, round(steps / 3 * 16 / items))}"] if _GAN[0] in RUNS[name] else []
    told = {word.split("=", 1)[0] for word in RUNS[name]}
    common = [word for word in COMMON if word.split("=", 1)[0] not in told]
    return [
        *common, *RUNS[name], *start, f"run.steps={steps}", f"run.validate_every={max(1, steps // 3)}",
        f"run.checkpoint_every={max(1, steps // 6)}", f"seed={seed}", f"data.cache={cache}", f"out={out}",
    ]  # fmt: skip


def region_weights() -> np.ndarray:
    """Weights [12, X, Y, Z] of the blocks of each region: how much of it a block holds."""
    from RelAPETLib.phantom.truth import region_weights as fine

    return pooled(fine(2), FACTOR // 2)


def truth_of(seed: int, index: int, mask: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The ideal answers about a test person: posterior mean in blocks, and draws of regional SUVR, by tracer.

    Args:
        mask: [X, Y, Z] of the brain at 2 mm, outside which a cache's PET is 0.
        weights: of `region_weights`.
    """
    from RelAPETLib.phantom.people import make_person

    return ideal_answers(make_person(seed, index), "objective benchmark", mask, weights)


def drawn(checkpoint: Path, test, items: list, samples: int, seed: int) -> np.ndarray:
    """SUVR blocks [items, samples, X, Y, Z] float16 of a run, with its averaged weights."""
    import torch

    drawer = Drawer(checkpoint, SAMPLER_STEPS)
    count = 1 if drawer.objective.config.method.name.startswith("unet") else samples
    found = np.empty((len(items), count, *SHAPE), np.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for row, place in enumerate(items):
            found[row] = drawer.draw(test[place], count, seed + place)
    return found


def decibels(error: np.ndarray, inside: np.ndarray) -> float:
    """PSNR inside the brain, data range 3 SUVR (the window)."""
    return float(-10 * np.log10(np.square(error[inside] / 3).mean()))


def covered(predictive: np.ndarray, measured: np.ndarray) -> float:
    """Share of the regions whose measured SUVR [12] lies in the 80 % interval of a distribution [draws, 12].

    Between order statistics (n + 1) / 10 and 9 (n + 1) / 10, so that few draws are not too narrow by themselves;
    interpolation between two of 16 draws adds 1 %.
    """
    low, high = np.quantile(predictive, [0.1, 0.9], axis=0, method="weibull")
    return float(((low <= measured) & (measured <= high)).mean())


def figures(blocks: np.ndarray, residuals: np.ndarray | None, measured, truth, tracer, inside, weights) -> dict:
    """Figures of one person and tracer.

    Args:
        blocks: SUVR [samples, X, Y, Z].
        residuals: regional errors [n, 12] of validation people, which make a control's one guess a distribution.
        measured: SUVR [X, Y, Z].
    """
    blocks = blocks.astype(np.float32)
    regions = regional(blocks, weights)
    predictive = regions if residuals is None else regions[:1] + residuals
    measured_regions = regional(measured, weights)
    return {
        "one": decibels(blocks[0] - measured, inside),
        "mean": decibels(blocks.mean(0) - measured, inside),
        "crps": crps(predictive, measured_regions),
        "distance": distance(predictive, truth[f"draws_{tracer}"]),
        "covered": covered(predictive, measured_regions),
        "spread": float(predictive[:, :6].mean(1).std(ddof=1)),
        "ideal_spread": float(truth[f"draws_{tracer}"][:, :6].mean(1).std(ddof=1)),
    }


def people_truth(out: Path, seed: int, cases: list[str], mask: np.ndarray, weights: np.ndarray) -> dict[str, dict]:
    """`truth_of` every test person, kept in a file of their own each."""
    folder, found = out / "truth", {}
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        path = folder / f"{case}.npz"
        if not path.exists():
            part = path.with_suffix(".part.npz")
            np.savez(part, **truth_of(seed, int(case.split("-")[1]), mask, weights))
            part.replace(path)
        with np.load(path) as file:
            found[case] = dict(file)
    return found


class Bench:
    """Training and test people, and what is known of them."""

    def __init__(self, options):
        from training.data.cache import open_cache
        from training.data.dataset import PetDataset
        from training.data.split import FILE, load_split

        self.options = options
        cache, test = open_cache(options.cache), open_cache(options.test)
        split = load_split(options.cache / FILE, cache)
        self.items = 3 * min(options.people, len(split.train))
        how = {"factor": FACTOR}
        self.validation = PetDataset(cache, split.validation, **how)
        tested = load_split(options.test / FILE, test).test[: options.test_people]
        self.test = PetDataset(test, tested, **how)
        self.places = list(range(len(self.test)))
        self.weights = region_weights()
        from RelAPETLib.phantom.people import template_maps

        mask = template_maps(2)["brain"] > 0.5
        self.inside = pooled(mask.astype(np.float32), FACTOR // 2) > 0.5
        self.truth = people_truth(
            options.out, options.seed, list(dict.fromkeys(i.case for i in self.test.items)), mask, self.weights
        )

    def measured(self, dataset, place: int) -> tuple[str, str, np.ndarray]:
        """Case, tracer and SUVR blocks of an item."""
        from RelAPETLib.tracers import TRACERS as FACTS

        item = dataset[place]
        low, high = FACTS[item["tracer"]].suvr_window
        return item["case"], item["tracer"], low + (item["pet"][0].numpy() + 1) / 2 * (high - low)

    def run(self, name: str, seed: int) -> None:
        """Train, draw and measure one run, unless its figures are there."""
        import torch

        from training import checkpoints
        from training.__main__ import main as training

        options = self.options
        out = (
            options.out / "runs" / f"{name.replace(' ', '_').replace(',', '')}-{options.people}-{options.steps}-{seed}"
        )
        result = out / "figures.json"
        if result.exists():
            return
        torch.set_num_threads(1)
        begin = time.process_time()
        words = overrides(name, options.cache, out, options.steps, self.items, seed)
        words += [f"data.split={self.subset()}"]
        if training(["train", *words]):
            raise SystemExit(f"{name}: the training failed")
        trained = time.process_time() - begin
        checkpoint = checkpoints.saved(out)[-1]
        residuals = None
        if RUNS[name][0].startswith("method=unet"):
            residuals = {tracer: [] for tracer in TRACERS}
            places = list(range(len(self.validation)))
            for place, blocks in zip(places, drawn(checkpoint, self.validation, places, 1, seed), strict=True):
                _, tracer, measured = self.measured(self.validation, place)
                residuals[tracer].append(regional(measured - blocks[0].astype(np.float32), self.weights))
            residuals = {tracer: np.stack(rows) for tracer, rows in residuals.items()}
        rows = []
        for place, blocks in zip(
            self.places, drawn(checkpoint, self.test, self.places, options.samples, seed), strict=True
        ):
            case, tracer, measured = self.measured(self.test, place)
            spread = None if residuals is None else residuals[tracer]
            found = figures(blocks, spread, measured, self.truth[case], tracer, self.inside, self.weights)
            rows.append({"case": case, "tracer": tracer, **found})
        result.write_text(json.dumps({"name": name, "seed": seed, "people": options.people, "steps": options.steps,
                                      "seconds": trained, "rows": rows}))  # fmt: skip

    def subset(self) -> Path:
        """Split file with the first `people` training subjects."""
        from training.data.cache import open_cache
        from training.data.split import FILE, load_split

        whole = load_split(self.options.cache / FILE, open_cache(self.options.cache))
        path = self.options.out / f"split-{self.options.people}.json"
        if not path.exists():
            train = tuple(whole.train)
            kept, rest = train[: self.options.people], train[self.options.people :]
            replace(whole, train=kept, unused=(*whole.unused, *rest)).save(path)
        return path

    def ridge_heads(self, train, volumes: dict[str, list], means: dict) -> dict[str, tuple[dict, np.ndarray]]:
        """By tracer: what a ridge regression on the MRI says of the test items, by place, and its regional errors.

        It predicts the PET's first 24 principal components; its errors are those of each training person left out.
        """
        from RelAPETLib.evaluation.ridge import ridge

        features = mri_features(train, list(range(len(train))), self.inside)
        centre, scale = features.mean(0), features.std(0).clip(0.02)
        features = ((features - centre) / scale).clip(-6, 6)
        seen = ((mri_features(self.test, self.places, self.inside) - centre) / scale).clip(-6, 6)
        tracers = np.array([item.tracer for item in train.items])
        found = {}
        for tracer, own in volumes.items():
            rest = (np.stack(own) - means[tracer]).reshape(len(own), -1).astype(np.float64)
            basis = np.linalg.svd(rest, full_matrices=False)[2][:24]
            rows = features[tracers == tracer].astype(np.float64)
            weights, left_out, _ = ridge(rows - rows.mean(0), rest @ basis.T)
            guesses = {
                place: means[tracer] + ((seen[place] - rows.mean(0)) @ weights.T @ basis).reshape(SHAPE)
                for place, item in enumerate(self.test.items)
                if item.tracer == tracer
            }
            errors = regional((rest - left_out @ basis).reshape(-1, *SHAPE), self.weights)
            found[tracer] = guesses, errors[:IDEAL_DRAWS]
        return found

    def baselines(self) -> list[dict]:
        """Rows of the population mean (with the training people's own spread), of a ridge regression and the ideal."""
        from training.data.cache import open_cache
        from training.data.dataset import PetDataset
        from training.data.split import load_split

        cache = open_cache(self.options.cache)
        train = PetDataset(cache, load_split(self.subset(), cache).train, factor=FACTOR)
        by_tracer: dict[str, list] = {tracer: [] for tracer in TRACERS}
        for place in range(len(train)):
            _, tracer, measured = self.measured(train, place)
            by_tracer[tracer].append(measured)
        means = {tracer: np.mean(volumes, 0) for tracer, volumes in by_tracer.items()}
        spread = {
            t: regional(np.stack(volumes) - means[t], self.weights)[:IDEAL_DRAWS] for t, volumes in by_tracer.items()
        }
        heads = self.ridge_heads(train, by_tracer, means)
        found = {"population mean": [], "ridge_head": [], "ideal": []}
        for place in self.places:
            case, tracer, measured = self.measured(self.test, place)
            truth = self.truth[case]
            rest = (measured, truth, tracer, self.inside, self.weights)
            row = figures(means[tracer][None], spread[tracer], *rest)
            found["population mean"].append({"case": case, "tracer": tracer, **row})
            guess, errors = heads[tracer]
            row = figures(guess[place][None], errors, *rest)
            found["ridge_head"].append({"case": case, "tracer": tracer, **row})
            half = IDEAL_DRAWS // 2
            draws = truth[f"draws_{tracer}"]
            own_spread = float(draws[:, :6].mean(1).std(ddof=1))
            row = {
                "one": float("nan"),
                "mean": decibels(truth[f"mean_{tracer}"] - measured, self.inside),
                "crps": crps(draws, regional(measured, self.weights)),
                "distance": distance(draws[:half], draws[half:]),
                "covered": covered(draws, regional(measured, self.weights)),
                "spread": own_spread,
                "ideal_spread": own_spread,
            }
            found["ideal"].append({"case": case, "tracer": tracer, **row})
        return [{"name": name, "seed": "", "people": self.options.people, "steps": "", "seconds": 0, "rows": rows}
                for name, rows in found.items()]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cache", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--seed", type=int, default=2, help="of the test people")
    add("--out", type=Path, required=True)
    add("--people", type=int, default=1000)
    add("--test-people", type=int, default=100)
    add("--samples", type=int, default=16, help="of a test person and tracer")
    add("--steps", type=int, default=1000)
    add("--seeds", type=int, nargs="+", default=[0])
    add("--only", nargs="+", choices=list(RUNS))
    add("--table", action="store_true", help="write results/objective.md from the figures that are there")
    options = parser.parse_args()
    bench = Bench(options)
    if options.table:
        kept = [json.loads(path.read_text()) for path in sorted((options.out / "runs").glob("*/figures.json"))]
        head = f"{date.today()}, CPU, one thread. {options.test_people} unseen people, {options.samples} samples each."
        text = "\n".join(["# Objective", "", head, "", *tell.table(bench.baselines(), kept, list(RUNS))])
        (RESULTS / "objective.md").write_text(text + "\n", encoding="utf-8")
        print(text)
        return
    for seed in options.seeds:
        for name in options.only or RUNS:
            bench.run(name, seed)


if __name__ == "__main__":
    main()
