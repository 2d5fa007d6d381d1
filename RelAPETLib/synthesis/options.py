"""Options of a synthesis: checked against what is possible, completed from the model's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from ..tracers import Tracer, get_tracer

if TYPE_CHECKING:
    from ..models import Model

SPACES = ("t1w", "mni", "both")
MAX_SAMPLES = 64
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        tracer: the tracer asked for.
        label: the model's class label of it.
        output: "suvr" or "relative".
        window: SUVR range that the model's [-1, 1] stands for; None for a relative model.
        reference_region: region whose mean is 1 in the model's SUVR, or None.
        sampler, steps, samples, seed, clip: as `sampling.draw_samples` takes them.
        space: "t1w", "mni" or "both".
    """

    tracer: Tracer
    label: int
    output: str
    window: tuple[float, float] | None
    reference_region: str | None
    sampler: str
    steps: int
    samples: int
    seed: int
    clip: tuple[float, float] | None
    space: str


def check_options(
    tracer: str, sampler: str | None, steps: int | None, samples: int | None, seed: int, space: str
) -> None:
    """Refuse what no model could do, before anything is read or loaded.

    Raises:
        InputError: unknown tracer, sampler or space, or a number out of range.
    """
    get_tracer(tracer)
    if space not in SPACES:
        raise InputError(f"unknown space '{space}'; use one of {', '.join(SPACES)}")
    _check_number("steps", steps, 1, None)
    _check_number("samples", samples, 1, MAX_SAMPLES)
    _check_number("seed", seed, 0, MAX_SEED)
    _check_sampler(sampler)


def _check_sampler(sampler: str | None) -> None:
    if sampler is not None:
        from ..diffusion import SAMPLERS

        if sampler not in SAMPLERS:
            raise InputError(f"unknown sampler '{sampler}'; use one of {', '.join(SAMPLERS)}")


def _check_number(name: str, value: int | None, lowest: int, highest: int | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if value < lowest or (highest is not None and value > highest):
        limits = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise InputError(f"{name} {value} is out of range; use {limits}")


def choose_steps(model: Model, sampler: str | None, steps: int | None) -> tuple[str, int]:
    """Sampler and network calls of a synthesis, here for `synthesize` and for training's `sample`.

    What is not given comes from the model's method.

    Raises:
        InputError: an unknown sampler, or steps that the model's timesteps do not allow.
    """
    _check_sampler(sampler)
    _check_number("steps", steps, 1, None)
    defaults = model.method.defaults
    longest, sampler = defaults.longest, sampler or defaults.sampler
    steps = steps or defaults.samplers.get(sampler, 1)
    if steps > longest:
        raise InputError(
            f"steps {steps} is out of range; model {model.name} has {longest} timesteps, use 1 to {longest}"
        )
    return sampler, steps


def make_plan(
    model: Model,
    tracer: str,
    sampler: str | None,
    steps: int | None,
    samples: int | None,
    seed: int,
    space: str,
) -> Plan:
    """Complete the options from the model's metadata.

    Raises:
        InputError: the model lacks the tracer, or has fewer timesteps than steps asked for.
    """
    wanted = get_tracer(tracer)
    entry = model.metadata["tracers"].get(wanted.name)
    if entry is None:
        has = ", ".join(model.metadata["tracers"])
        raise InputError(
            f"model {model.name} has no tracer {wanted.name}; it has {has}: choose one, or another --model"
        )
    defaults = model.method.defaults
    sampler, steps = choose_steps(model, sampler, steps)
    window = entry["window"] if entry["output"] == "suvr" else None
    return Plan(
        tracer=wanted,
        label=entry["label"],
        output=entry["output"],
        window=tuple(window) if window else None,
        reference_region=entry.get("reference_region"),
        sampler=sampler,
        steps=steps,
        samples=samples or defaults.samples,
        seed=seed,
        clip=defaults.clip,
        space=space,
    )
