"""How much of a Gaussian target's mean and spread each sampler keeps, by number of steps: exact figures, no draws.

python Testing/benchmarks/samplers.py > Testing/benchmarks/results/samplers.md
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support"), str(Path(__file__).resolve().parents[2])]

from gaussian_target import sampled_mean_and_sd  # noqa: E402

from RelAPETLib.diffusion import SAMPLERS, SCHEDULES, NoiseSchedule, select_timesteps  # noqa: E402

STEPS = (5, 10, 20, 50, 1000)
TARGETS = ((0.3, 0.2), (0.3, 0.05), (0.0, 0.5))


def table(schedule: NoiseSchedule, mean: float, sd: float) -> list[str]:
    """Rows of mean / SD for every sampler and spacing at every number of steps."""
    rows = [
        f"## True mean {mean:.2f}, SD {sd:.2f}; schedule {schedule.kind}",
        "",
        "| sampler | timesteps | " + " | ".join(f"{n} steps" for n in STEPS) + " |",
        "|---|---|" + "---|" * len(STEPS),
    ]
    for sampler in SAMPLERS:
        for spacing in ("logsnr", "trailing"):
            cells = []
            for steps in STEPS:
                m, s = sampled_mean_and_sd(schedule, mean, sd, sampler, steps, spacing)
                cells.append(f"{m:.3f} / {s:.4f} ({100 * (s / sd - 1):+.1f} %)")
            rows.append(f"| {sampler} | {spacing} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def main() -> None:
    print(
        "# What few steps do to the spread\n\n"
        "Mean / SD of the samples (and the SD's error) for a Gaussian target under its ideal noise predictor, no\n"
        "clipping; exact, from the samplers' impulse responses. Made by `python Testing/benchmarks/samplers.py`.\n\n"
        "Every sampler ends by jumping from its last timestep to the clean estimate, which is a conditional mean and\n"
        "so loses spread: little from t = 0 (noise SD 0.022), much from `trailing`'s last timestep (T / steps - 1).\n"
        "What is left with `logsnr` at many steps is that jump (it matters for a true SD near 0.022) and, for `ddpm`,\n"
        "the fixed-small variance. That is why `logsnr` is the default: an uncertainty map is too small by the\n"
        "percentage shown.\n"
    )
    for kind in reversed(SCHEDULES):
        schedule = NoiseSchedule(kind=kind)
        for mean, sd in TARGETS if kind == "scaled-linear" else TARGETS[:1]:
            print("\n".join(table(schedule, mean, sd)))
    print("## Timesteps of `logsnr`, scaled-linear\n")
    for steps in STEPS[:3]:
        print(f"- {steps}: {', '.join(map(str, select_timesteps(NoiseSchedule(), steps, 'logsnr')))}")


if __name__ == "__main__":
    main()
