"""What a trained method draws of the test people, and the figures of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.comparison import mae, psnr, ssim, window_to_unit
from RelAPETLib.evaluation.scores import crps, energy_distance
from RelAPETLib.tracers import TRACERS as FACTS
from RelAPETLib.whole_files import write_whole

from .. import checkpoints
from .people import COMPOSITE, CORTEX, Cohort, Scan, to_suvr

if TYPE_CHECKING:
    from ..methods.base import Objective


def trained_objective(checkpoint: Path) -> Objective:
    """What a run learned, with its averaged weights, on the CPU."""
    from lightning_fabric import Fabric

    from .. import methods
    from ..config import typed

    state = checkpoints.load(checkpoint)
    objective = methods.objective(typed(state["config"]))
    objective.load_state(state["objective"])
    modules = {name: player.module.eval() for name, player in objective.build().items()}
    for name, weights in checkpoints.exported_weights(state).items():
        modules[name].load_state_dict(weights)
    objective.bind(Fabric(accelerator="cpu", devices=1), modules)
    return objective


class Drawer:
    """A trained objective with its averaged weights, which draws on the CPU.

    Args:
        checkpoint: of the run.
        calls: network calls of a draw.
        sampler: of `Objective.sampler`; empty: the method's quick one.

    Attributes:
        parameters: of the networks that draw, in all.
    """

    def __init__(self, checkpoint: Path, calls: int, sampler: str = ""):
        self.objective = trained_objective(checkpoint)
        self.objective.config.run.validation_steps = calls
        self.objective.sampler = sampler
        weights = {name: module.state_dict() for name, module in self.objective.modules.items()}
        network = self.objective.bundle(weights, "", 1).network
        self.parameters = sum(p.numel() for p in network.parameters())

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


def measured(drawn: Drawer, cohort: Cohort, samples: int, seed: int) -> tuple[list[dict], float]:
    """Figures of every test scan, and seconds of the processor a draw."""
    residuals = None
    if samples == 1:
        residuals = residuals_of(cohort, {
            scan.place: drawn.draw(cohort.validation[scan.place], 1, seed)[0]
            for scan in cohort.scans(cohort.validation)
        })  # fmt: skip
    rows, seconds = [], 0.0
    for scan in cohort.scans(cohort.test):
        begin = time.process_time()
        made = drawn.draw(cohort.test[scan.place], samples, noise_seed(seed, scan.place))
        seconds += time.process_time() - begin
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
