"""How good the demo model is on unseen simulated people read from raw files, beside baselines and a ceiling.

python Testing/benchmarks/quality.py --cache DIR [--people 20] [--model demo] > Testing/benchmarks/results/quality.md

Everything is measured on the model grid inside the brain mask, data range 1 = the tracer's SUVR window, so that the
registration of raw scans is included. Rows, from the least to the most that could be had:

- raw mean: the training people's mean PET; fair mean: of the *other* unseen people, over voxels inside their own brain;
- regression: regional SUVR from the mean T1w and T2F signal of twelve regions (ridge, trained on rendered people),
  added to the raw mean region by region;
- head: the model's regression head alone, decoded; one sample, mean of samples: the diffusion;
- oracle: the law without its noise and without scanner noise, rendered with the person's true anatomy.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from phantom_cases import LAW, Case, load_case  # noqa: E402

from RelAPETLib.comparison import mae, psnr, ssim, window_to_unit  # noqa: E402
from RelAPETLib.diffusion import sample, seeded_noise  # noqa: E402
from RelAPETLib.grid import MNI_GRID, image_to_array  # noqa: E402
from RelAPETLib.models import load_model  # noqa: E402
from RelAPETLib.phantom.factors import CORTEX  # noqa: E402
from RelAPETLib.phantom.law1 import LAWS  # noqa: E402
from RelAPETLib.phantom.people import make_person, template_maps  # noqa: E402
from RelAPETLib.phantom.render import render  # noqa: E402
from RelAPETLib.regions import load_regions  # noqa: E402
from RelAPETLib.tracers import TRACERS  # noqa: E402

REGRESSION_PEOPLE, REGRESSION_SEED = 150, 1
ROWS = ("raw mean", "fair mean", "regression", "head", "one sample", "mean of samples", "oracle")


class Regions:
    """Means over the regions of the shipped map, at 1 or 2 mm."""

    def __init__(self):
        labels, regions = load_regions()
        self.labels = {1: image_to_array(labels), 2: image_to_array(labels)[::2, ::2, ::2]}
        self.names = [region.name for region in regions]
        self.values = [region.label for region in regions]

    def means(self, array: np.ndarray) -> np.ndarray:
        """Mean of every region, in the order of `names`."""
        labels = self.labels[MNI_GRID.shape[0] // array.shape[0]]
        return np.array([array[labels == value].mean() for value in self.values])

    def painted(self, values: np.ndarray) -> np.ndarray:
        """An array on the grid with each region's value, 0 elsewhere."""
        out = np.zeros(MNI_GRID.shape, np.float32)
        for value, label in zip(values, self.values, strict=True):
            out[self.labels[1] == label] = value
        return out


def mri_predictors(t1w: np.ndarray, t2f: np.ndarray, mask: np.ndarray, regions: Regions) -> np.ndarray:
    """Regional means of both MRIs, each scaled by its own median and 10-to-90 % range inside the brain."""
    rows = []
    for mri in (t1w, t2f):
        low, middle, high = np.quantile(mri[mask], (0.1, 0.5, 0.9))
        rows.append(regions.means((mri - middle) / (high - low)))
    return np.concatenate(rows)


class Regression:
    """Ridge regression from regional MRI means to regional SUVR, trained on people rendered on the grid."""

    def __init__(self, regions: Regions):
        mask = template_maps(2)["brain"] > 0.5
        people = [render(make_person(REGRESSION_SEED, i, LAW)) for i in range(REGRESSION_PEOPLE)]
        x = np.stack([mri_predictors(p.t1w, p.t2f, mask, regions) for p in people])
        y = np.stack([np.concatenate([regions.means(p.pet[t]) for t in TRACERS]) for p in people])
        self.regions, self.x_mean, self.y_mean = regions, x.mean(0), y.mean(0)
        x = x - self.x_mean
        penalty = 0.01 * np.trace(x.T @ x) / x.shape[1]
        self.weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - self.y_mean))

    def predict(self, case: Case, mask: np.ndarray) -> dict[str, np.ndarray]:
        """Change of every region's SUVR against the mean, painted on the grid, by tracer."""
        x = mri_predictors(case.t1w, case.t2f, mask, self.regions) - self.x_mean
        changes = (x @ self.weights).reshape(len(TRACERS), -1)
        return {t: self.regions.painted(c) for t, c in zip(TRACERS, changes, strict=True)}


@torch.no_grad()
def synthesize(model, t1w: np.ndarray, t2f: np.ndarray, tracer: str, samples: int, steps: int, seed: int):
    """(samples [K, X, Y, Z], head [X, Y, Z]) in SUVR, 0 outside the brain, from volumes on the grid."""
    mask = template_maps(1)["brain"] > 0
    condition = torch.from_numpy(np.stack([t1w, t2f]))[None]
    encoded = model.method.encode(condition)
    labels = torch.full((samples,), TRACERS[tracer].label)
    repeated = encoded.expand(samples, *encoded.shape[1:])
    drawn = sample(
        lambda x, t: model.method.predict_noise(x, repeated, t, labels),
        (samples, *model.method.diffusion_shape),
        model.method.schedule,
        steps=steps,
        noise=seeded_noise(seed, mirrored=True),
    )
    latents = torch.cat([drawn, model.method.network.head_latent(encoded, labels[:1])])
    low, high = TRACERS[tracer].suvr_window
    volumes = []
    for latent in latents:
        decoded = model.method.decode(latent[None], labels[:1])[0, 0].numpy()
        volumes.append(np.where(mask, low + (decoded + 1) / 2 * (high - low), 0).astype(np.float32))
    return np.stack(volumes[:-1]), volumes[-1]


def fair_means(cases: list[Case]) -> list[dict[str, np.ndarray]]:
    """For every case the mean PET of all others over voxels inside their own brain."""
    inside = [case.brain > 0.5 for case in cases]
    count = np.sum(inside, axis=0)
    result: list[dict[str, np.ndarray]] = [{} for _ in cases]
    for tracer in TRACERS:
        total = np.sum([np.where(i, c.pet[tracer], 0) for i, c in zip(inside, cases, strict=True)], axis=0)
        for number, case in enumerate(cases):
            others = np.maximum(count - inside[number], 1)
            result[number][tracer] = (total - np.where(inside[number], case.pet[tracer], 0)) / others
    return result


def regional_correlation(estimates: np.ndarray, truths: np.ndarray, names: list[str]) -> float:
    """Mean over the cortical regions of Pearson's r across people; [people, regions] each."""
    if np.allclose(estimates.std(0), 0):
        return float("nan")
    columns = [names.index(region) for region in CORTEX]
    return float(np.mean([np.corrcoef(estimates[:, c], truths[:, c])[0, 1] for c in columns]))


def measure(cases: list[Case], model, samples: int, steps: int) -> dict:
    """Figures by tracer and row, and the spread's figures by tracer."""
    regions, mask = Regions(), template_maps(1)["brain"] > 0
    regression, fair = Regression(regions), fair_means(cases)
    network = model.method.network
    # Filled outside the brain as the model's own decoder does it, or the baseline would lose 1 dB.
    filled = network.filled(network.volume(network.pet_mean)[:, None])
    raw = torch.nn.functional.interpolate(filled, scale_factor=2, mode="trilinear")[:, 0].numpy()
    figures: dict = {}
    for tracer in LAWS:
        window = TRACERS[tracer].suvr_window
        scores = {row: [] for row in ROWS}
        regional: dict[str, list] = {row: [] for row in (*ROWS, "truth")}
        spread = []
        for number, case in enumerate(cases):
            truth = case.pet[tracer]
            drawn, head = synthesize(model, case.t1w, case.t2f, tracer, samples, steps, seed=number)
            mean = np.where(mask, raw[TRACERS[tracer].label] * (window[1] - window[0]) + window[0], 0)
            estimates = {
                "raw mean": mean,
                "fair mean": fair[number][tracer],
                "regression": np.where(mask, mean + regression.predict(case, mask)[tracer], 0),
                "head": head,
                "one sample": drawn[0],
                "mean of samples": drawn.mean(0),
                "oracle": case.oracle[tracer],
            }
            unit_truth = window_to_unit(truth, window)
            for row, estimate in estimates.items():
                unit = window_to_unit(estimate, window)
                scores[row].append(
                    (psnr(unit, unit_truth, mask), ssim(unit, unit_truth, mask), mae(unit, unit_truth, mask))
                )
                regional[row].append(regions.means(estimate))
            regional["truth"].append(regions.means(truth))
            spread.append(spread_figures(drawn, truth, mask))
        truths = np.stack(regional["truth"])
        figures[tracer] = {
            row: [*np.mean(scores[row], axis=0), regional_correlation(np.stack(regional[row]), truths, regions.names)]
            for row in ROWS
        }
        figures[tracer]["spread"] = np.mean(spread, axis=0).tolist()
    return figures


def spread_figures(drawn: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """Correlation of SD with absolute error over voxels; root mean square of the mean's error, and as the SD says.

    The samples are mirrored pairs, an even number, so their mean has no sampling error of its own.
    """
    sd, error = drawn.std(0)[mask], (drawn.mean(0) - truth)[mask]
    return (
        float(np.corrcoef(sd, np.abs(error))[0, 1]),
        float(np.sqrt(np.mean(error**2))),
        float(np.sqrt(np.mean(sd**2))),
    )


def interventions(cases: list[Case], model, cache: Path, lesion_people: int) -> list[str]:
    """What changing one input alone does, against what the law says."""
    regions = Regions()
    lines = []
    first = cases[0]
    outputs = {t: regions.means(synthesize(model, first.t1w, first.t2f, t, 4, 20, 0)[0].mean(0)) for t in LAWS}
    laws = {t: regions.means(first.oracle[t]) for t in LAWS}
    for one, two in (("TAU", "PIB"), ("PIB", "PBR"), ("PBR", "TAU")):
        r = np.corrcoef(outputs[two] - outputs[one], laws[two] - laws[one])[0, 1]
        lines.append(f"| tracer {one} to {two}, twelve regions of one person | {r:.2f} |")
    made, wanted = [], []
    cortex = [regions.names.index(region) for region in CORTEX]
    for case, donor in zip(cases, cases[1:] + cases[:1], strict=True):
        own = synthesize(model, case.t1w, case.t2f, "TAU", 4, 20, 0)[0].mean(0)
        swapped = synthesize(model, donor.t1w, case.t2f, "TAU", 4, 20, 0)[0].mean(0)
        made.append((regions.means(swapped) - regions.means(own))[cortex].mean())
        wanted.append((regions.means(donor.oracle["TAU"]) - regions.means(case.oracle["TAU"]))[cortex].mean())
    lines.append(f"| another person's T1w, TAU cortex, {len(cases)} people | {np.corrcoef(made, wanted)[0, 1]:.2f} |")
    white = regions.names.index("white_matter")
    falls = []
    for number in range(lesion_people):
        case, without = cases[number], load_case(number, cache, lesions=False)
        own = regions.means(synthesize(model, case.t1w, case.t2f, "PBR", 4, 20, 0)[0].mean(0))[white]
        rest = regions.means(synthesize(model, case.t1w, without.t2f, "PBR", 4, 20, 0)[0].mean(0))[white]
        falls.append(rest - own)
    if falls:
        text = ", ".join(f"{fall:+.3f}" for fall in falls)
        lines.append(f"| FLAIR without lesions and halo, PBR white matter, change in SUVR by person | {text} |")
    return lines


def report(figures: dict, people: int, samples: int, steps: int) -> list[str]:
    """The table as Markdown."""
    lines = [
        f"{people} unseen simulated people from raw files, registration included; dpmpp, {steps} steps,",
        f"{samples} samples.",
        "PSNR (dB), SSIM and MAE inside the brain, data range 1 = the SUVR window; r: Pearson over people, mean of six",
        "cortical regions (none for the means, which are one volume for everybody but for whoever is left out).",
        "",
        "| tracer | estimate | PSNR | SSIM | MAE | r |",
        "|---|---|---|---|---|---|",
    ]
    for tracer, rows in figures.items():
        for row in ROWS:
            level, structure, error, r = rows[row]
            correlation = f"{r:.2f}" if np.isfinite(r) and row != "fair mean" else "-"
            lines.append(f"| {tracer} | {row} | {level:.2f} | {structure:.3f} | {error:.4f} | {correlation} |")
    lines += [
        "",
        "| tracer | r(SD, absolute error) over voxels | error of the mean (SUVR) | as the SD says (SUVR) |",
        "|---|---|---|---|",
    ]
    for tracer, rows in figures.items():
        r, error, expected = rows["spread"]
        lines.append(f"| {tracer} | {r:.2f} | {error:.3f} | {expected:.3f} |")
    return lines


def named(figures: dict, people: int) -> dict:
    """The figures as a bundle's metadata have them."""

    def rounded(names: tuple[str, ...], values) -> dict:
        return {n: round(v, 4) if np.isfinite(v) else None for n, v in zip(names, values, strict=True)}

    return {
        "what": f"{people} unseen simulated people from raw files; inside the brain, data range 1 (Testing/benchmarks)",
        **{
            tracer: {
                **{row: rounded(("psnr", "ssim", "mae", "r"), values[row]) for row in ROWS},
                "spread": rounded(("r_sd_error", "error_rms_suvr", "spread_rms_suvr"), values["spread"]),
            }
            for tracer, values in figures.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--lesion-people", type=int, default=4)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the figures here, for 'training export --metrics'")
    options = parser.parse_args()
    model = load_model(options.model)
    cases = [load_case(number, options.cache) for number in range(options.people)]
    print(f"# Quality of {model.name} {model.version} on simulated people\n")
    print(f"Made by `python Testing/benchmarks/quality.py` on {date.today()}, {model.device}.\n")
    figures = measure(cases, model, options.samples, options.steps)
    print("\n".join(report(figures, options.people, options.samples, options.steps)), flush=True)
    if options.json:
        options.json.write_text(json.dumps(named(figures, options.people), indent=1))
    print("\n| change of one input | correlation with the law's change |\n|---|---|")
    print("\n".join(interventions(cases, model, options.cache, options.lesion_people)))


if __name__ == "__main__":
    main()
