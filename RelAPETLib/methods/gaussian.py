"""What methods on a Gaussian noise schedule share: ``schedule`` and ``sampler`` in their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..diffusion.names import SAMPLERS

#: Network calls of samplers that are not the model's own.
DEFAULT_STEPS = 20


def check_gaussian(settings: Mapping[str, Any], first: int = 0) -> None:
    """See `Method.check`: of schedule and sampler, for networks that know the timesteps from `first` on."""
    schedule, sampler = settings["schedule"], settings["sampler"]
    if schedule["beta_start"] > schedule["beta_end"]:
        raise ValueError("schedule: beta_start is larger than beta_end")
    if sampler["steps"] > schedule["num_timesteps"] - first:
        raise ValueError("sampler.steps: more than schedule.num_timesteps" + (f" from {first} on" if first else ""))
    if sampler["clip"] is not None and sampler["clip"][0] >= sampler["clip"][1]:
        raise ValueError(f"sampler.clip: {sampler['clip']} is empty")


def gaussian_defaults(settings: Mapping[str, Any], names: Sequence[str] = SAMPLERS, first: int = 0) -> dict[str, Any]:
    """Arguments of `Defaults` that the settings say: the model's own sampler first, then the others of `names`."""
    own, longest = settings["sampler"], settings["schedule"]["num_timesteps"] - first
    others = {name: min(DEFAULT_STEPS, longest) for name in names if name != own["name"]}
    return {
        "samplers": MappingProxyType({own["name"]: own["steps"], **others}),
        "longest": longest,
        "samples": own["samples"],
        "clip": tuple(own["clip"]) if own["clip"] else None,
    }
