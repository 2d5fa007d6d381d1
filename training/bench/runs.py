"""One method on the bench: a training in a process of its own, then its draws of the test people and their figures."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from RelAPETLib.comparison import mae, psnr, ssim, window_to_unit
from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.scores import crps, energy_distance
from RelAPETLib.tracers import TRACERS as FACTS
from RelAPETLib.whole_files import write_whole

from .. import checkpoints
from ..data.cache import canonical_json
from ..errors import DivergedError
from .people import COMPOSITE, CORTEX, Cohort, Scan, to_suvr
from .settings import SETTINGS, Setting, overrides, steps_of

#: What a run keeps.
COST, FIGURES = "cost.json", "figures.json"


@dataclass(frozen=True)
class Run:
    """One training of the bench.

    Attributes:
        name: choice of ``method=``.
        seed: of weights, order and noise.
        minutes: CPU minutes that its number of steps stands for.
    """

    name: str
    seed: int
    minutes: float

    def folder(self, out: Path) -> Path:
        """Its folder in that of the bench."""
        return out / "runs" / f"{self.name}-{self.minutes:g}min-{self.seed}"


def carry_out(run: Run, cohort: Cohort, out: Path) -> dict:
    """Train, draw and measure, unless that is done; goes on where an earlier call stopped.

    Returns:
        The content of ``figures.json``: ``name``, ``seed``, ``minutes``, ``steps``, ``diverged``, ``cost``,
        ``parameters``, and ``rows``, figures of test scans (`figures_of`).

    Raises:
        InputError: the folder holds figures of other people or settings.
        SystemExit: the training ended otherwise than by success or divergence; it has said why.
    """
    folder = run.folder(out)
    path = folder / FIGURES
    steps = steps_of(run.name, run.minutes)
    words = overrides(run.name, cohort.cache, cohort.split, folder, steps, run.seed)
    key = key_of(words, SETTINGS[run.name], cohort)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] != key:
            raise InputError(
                f"{path}: of other people, steps or settings than these; use another --out, or remove {folder}"
            )
        return found
    code = _train(words, folder)
    if code not in (0, DivergedError.exit_code):
        raise SystemExit(code)
    found = {
        "key": key,
        "name": run.name,
        "seed": run.seed,
        "minutes": run.minutes,
        "steps": steps,
        "diverged": bool(code),
        "cost": json.loads((folder / COST).read_text(encoding="utf-8")),
        "rows": [],
    }
    if not code:
        drawn = Drawer(checkpoints.saved(folder)[-1], SETTINGS[run.name].calls)
        found["parameters"] = drawn.parameters
        found["rows"], found["seconds"] = _measured(drawn, cohort, SETTINGS[run.name].samples, run.seed)
        drawn.pictures(cohort, run.seed, folder / "pictures.npz")
    write_whole(path, json.dumps(found).encode())
    return found


def key_of(words: list[str], setting: Setting, cohort: Cohort) -> str:
    """Hash of all that a run's figures depend on, but for where its folders are."""
    plain = [word for word in words if not word.startswith(("data.cache=", "data.split=", "out="))]
    parts = (cohort.train, cohort.validation, cohort.test)
    people = [[item.case, item.tracer] for data in parts for item in data.items]
    caches = [data.cache.sha256 for data in parts]
    content = {"words": plain, "draws": [setting.calls, setting.samples], "people": people, "caches": caches}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _train(words: list[str], folder: Path) -> int:
    """``train`` in a process of one thread; adds its CPU seconds and peak memory to the run's ``cost.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "training", "train", *words], environment)
    _, status, usage = os.wait4(pid, 0)
    path = folder / COST
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cpu_s": 0.0, "peak_mb": 0.0}
    scale = 2**20 if sys.platform == "darwin" else 2**10
    spent = usage.ru_utime + usage.ru_stime
    cost = {"cpu_s": before["cpu_s"] + spent, "peak_mb": max(before["peak_mb"], usage.ru_maxrss / scale)}
    write_whole(path, json.dumps(cost).encode())
    return os.waitstatus_to_exitcode(status)


def pace(name: str, cohort: Cohort, out: Path) -> float:
    """Optimiser steps of a method in a minute of CPU time of one thread, from runs of 2 and of 10 steps."""
    spent = []
    with tempfile.TemporaryDirectory(dir=out) as folder:
        for steps in (2, 10):
            here = Path(folder) / str(steps)
            words = overrides(name, cohort.cache, cohort.split, here, steps, 0)
            if _train([*words, "run.checkpoint_every=9999"], here):
                raise SystemExit(f"{name}: the training failed")
            spent.append(json.loads((here / COST).read_text(encoding="utf-8"))["cpu_s"])
    return 8 * 60 / max(spent[1] - spent[0], 1e-3)


class Drawer:
    """A trained objective with its averaged weights, which draws on the CPU.

    Args:
        checkpoint: of the run.
        calls: network calls of a draw.

    Attributes:
        parameters: of the networks that draw, in all.
    """

    def __init__(self, checkpoint: Path, calls: int):
        from lightning_fabric import Fabric

        from .. import methods
        from ..config import typed

        state = checkpoints.load(checkpoint)
        self.objective = methods.objective(typed(state["config"]))
        self.objective.config.run.validation_steps = calls
        self.objective.load_state(state["objective"])
        players = self.objective.build()
        modules = {name: player.module.eval() for name, player in players.items()}
        for name, weights in checkpoints.exported_weights(state).items():
            modules[name].load_state_dict(weights)
        self.objective.bind(Fabric(accelerator="cpu", devices=1), modules)
        first = next(iter(modules.values()))
        self.parameters = sum(p.numel() for p in first.parameters())

    def draw(self, item: dict, samples: int, seed: int) -> np.ndarray:
        """SUVR [samples, X, Y, Z] of an item of a data set, independent draws."""
        import torch

        from RelAPETLib.diffusion import seeded_noise

        batch = {n: v[None].expand(samples, *v.shape) for n, v in item.items() if isinstance(v, torch.Tensor)}
        batch |= {n: [v] * samples for n, v in item.items() if isinstance(v, str)}
        batch["label"] = torch.full((samples,), item["label"])
        with torch.inference_mode():
            pet = self.objective.draw(batch, seeded_noise(seed, first=0)).float().clamp(-1, 1).numpy()[:, 0]
        return to_suvr(pet, item["tracer"])

    def pictures(self, cohort: Cohort, seed: int, path: Path, people: int = 3) -> None:
        """One draw of the first test people with each tracer, for the page of pictures."""
        kept: dict[str, np.ndarray] = {}
        for tracer in FACTS:
            places = [place for place, item in enumerate(cohort.test.items) if item.tracer == tracer][:people]
            if places:
                kept[tracer] = np.stack([self.draw(cohort.test[n], 1, noise_seed(seed, n))[0] for n in places])
        write_whole(path, lambda part: np.savez(part, **kept), suffix=".npz")


def noise_seed(seed: int, place: int) -> int:
    """Seed of a test scan's draws: another for every scan and run."""
    return 100_000 * (seed + 1) + 100 * place


def _measured(drawn: Drawer, cohort: Cohort, samples: int, seed: int) -> tuple[list[dict], float]:
    """Figures of every test scan, and seconds a draw."""
    residuals = None
    if samples == 1:
        residuals = residuals_of(cohort, {
            scan.place: drawn.draw(cohort.validation[scan.place], 1, seed)[0]
            for scan in cohort.scans(cohort.validation)
        })  # fmt: skip
    rows, seconds = [], 0.0
    for scan in cohort.scans(cohort.test):
        begin = time.perf_counter()
        made = drawn.draw(cohort.test[scan.place], samples, noise_seed(seed, scan.place))
        seconds += time.perf_counter() - begin
        rows.append(figures_of(scan, made, None if residuals is None else residuals[scan.tracer], cohort))
    return rows, seconds / (len(rows) * samples)


def residuals_of(cohort: Cohort, guesses: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Regional errors [n, 12] by tracer of guesses at validation scans, by place: a spread for methods without one."""
    errors: dict[str, list] = {}
    for scan in cohort.scans(cohort.validation):
        errors.setdefault(scan.tracer, []).append(cohort.regions(scan.suvr - guesses[scan.place]))
    return {tracer: np.stack(rows) for tracer, rows in errors.items()}


def figures_of(scan: Scan, made: np.ndarray, residuals: np.ndarray | None, cohort: Cohort) -> dict:
    """Figures of one test scan.

    PSNR, SSIM and MAE are of one sample (``one``) and of the samples' mean, inside the brain, in three dimensions, data
    range 1 for the tracer's window. Distributions are of regional SUVR.

    Args:
        made: SUVR [samples, X, Y, Z].
        residuals: [n, 12], errors of held-out people around one guess; None for samples of a distribution.
    """
    window, truth = FACTS[scan.tracer].suvr_window, cohort.truth[scan.case]
    regions, measured = cohort.regions(made), cohort.regions(scan.suvr)
    mean = regions.mean(0)
    spread = regions if residuals is None else mean + residuals - residuals.mean(0)
    draws = truth[f"draws_{scan.tracer}"]
    ours, theirs = (window_to_unit(volume, window).astype(np.float32) for volume in (made.mean(0), scan.suvr))
    one = window_to_unit(made[0], window).astype(np.float32)
    return {
        "case": scan.case,
        "tracer": scan.tracer,
        "one": psnr(one, theirs, cohort.inside),
        "psnr": psnr(ours, theirs, cohort.inside),
        "ssim": ssim(ours, theirs, cohort.inside),
        "mae": mae(ours, theirs, cohort.inside),
        "regional_error": float(np.abs(mean - measured).mean()),
        "regions": [round(float(value), 5) for value in mean],
        "measured": [round(float(value), 5) for value in measured],
        "crps": crps(spread, measured),
        "distance": energy_distance(spread, draws),
        "spread": float(spread[:, CORTEX].mean(1).std(ddof=1)),
        "ideal_spread": float(draws[:, CORTEX].mean(1).std(ddof=1)),
        "composite": float(mean[COMPOSITE].mean()),
        "positive": bool(truth["positive"]),
    }
