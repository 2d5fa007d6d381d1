"""Whether another solver draws the demo model's PET in fewer steps, and what bfloat16 does to it: biases as `training
steps` takes them.

``python Testing/benchmarks/demo_solvers.py CACHE [--people 4] [--samples 4]``, CACHE as ``python -m training prepare
--rendered 4 --out CACHE`` makes it. Everybody is drawn with the same noise by 100 steps of dpmpp and by fewer of each
solver, at the timesteps of `select_timesteps`; dpmpp and unipc are ours, the other is diffusers'. Figures are those of
`training.few_steps`, in standard deviations over people, each of the tracer and region that has most; `error` is the
largest of their standard errors.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support")]

import torch  # noqa: E402
from samplers import scheduler_of  # noqa: E402

from RelAPETLib import diffusion  # noqa: E402
from RelAPETLib.models import load_model  # noqa: E402
from training import few_steps  # noqa: E402
from training.data.cache import open_cache  # noqa: E402

OURS, REFERENCE = "dpmpp", 100
#: Solver, precision and numbers of steps, the last of which stands for a reference where it is not `OURS` in full.
TRIED = {
    OURS: (OURS, "fp32", (8, 12, 16, 20, REFERENCE)),
    f"{OURS}, bf16": (OURS, "bf16", (16, 20)),
    "unipc": ("unipc", "fp32", (8, 12, 16)),
    "DPM-Solver++ 3M": ("DPM-Solver++ 3M", "fp32", (8, 12, 16)),
}


def solved(solver: str):
    """`diffusion.sample` by a solver of diffusers, for a model that gives noise or the clean estimate."""

    def sample(predict, shape, schedule, *, gives, steps, noise, device, clip=None, **more):
        assert clip is None
        timesteps = diffusion.select_timesteps(schedule, steps, "logsnr")
        scheduler = scheduler_of(solver, schedule, timesteps)
        x_t = noise(0, shape).to(device)
        for t in timesteps:
            output = predict(x_t, torch.full((shape[0],), t, device=device)).to(x_t)
            alpha, sigma = schedule.rates(t)
            eps = output if gives == "noise" else (x_t - alpha * output) / sigma
            x_t = scheduler.step(eps, t, x_t, return_dict=False)[0]
        return x_t

    return sample


def with_sampler(sample, name: str, *arguments, **more):
    """`diffusion.sample` by a sampler of ours other than the model's."""
    return sample(*arguments, **more | {"sampler": name})


def drawn(model, people, cases: list[str], samples: int) -> dict[str, dict]:
    """Arrays of `few_steps.draw_person` by case, named by row of `TRIED` and steps, and by `REFERENCE`."""
    found, own = {case: {} for case in cases}, diffusion.sample
    for row, (solver, precision, steps) in TRIED.items():
        choices = few_steps.Choices(len(cases), samples, steps[:-1], steps[-1])
        diffusion.sample = partial(with_sampler, own, solver) if solver in diffusion.SAMPLERS else solved(solver)
        try:
            for case in cases:
                for name, array in few_steps.draw_person(model, people, case, choices, precision).items():
                    tracer, number, kind = name.split("_")
                    number = number if number == str(REFERENCE) else f"{row}, {number}"
                    found[case][f"{tracer}_{number}_{kind}"] = array
        finally:
            diffusion.sample = own
        print(row, "drawn", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, metavar="CACHE")
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--samples", type=int, default=4)
    options = parser.parse_args()
    model, people = load_model("demo", device="cpu"), open_cache(options.cache)
    cases = sorted(people.cases)[: options.people]
    found = drawn(model, people, cases, options.samples)
    print(
        f"{date.today()}, demo {model.metadata['version']}, {len(cases)} simulated people, {options.samples} samples.\n"
    )
    print("| solver | steps | mean | spread | regional | error |\n|---|---|---|---|---|---|")
    for name, (*_, tried) in TRIED.items():
        for steps in tried:
            if steps != REFERENCE:
                row = few_steps.figures(found, f"{name}, {steps}", REFERENCE)
                print(f"| {name} | {steps} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
