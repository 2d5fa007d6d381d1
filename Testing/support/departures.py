"""Norms of departure for tiny models, whose maps are then known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from RelAPETLib.grid import image_to_array
from RelAPETLib.models.additions import write_departures
from RelAPETLib.models.departure import SHAPE
from RelAPETLib.registration.template import load_template
from RelAPETLib.synthesis.departure import LEAST_BRAIN, Blocks


def template_blocks() -> Blocks:
    """Of the template's brain."""
    return Blocks.of(image_to_array(load_template().mask) > 0)


def inside_blocks() -> np.ndarray:
    """Blocks that have norms, bool [40, 45, 40]."""
    return template_blocks().share >= LEAST_BRAIN


def facts(tracers=("TAU",), *, people: int = 50, kind: str = "grid", noise: float = 1.0, **more) -> dict:
    """``departure`` of a bundle's metadata without file and hash; `noise` is the people's share of a pair's chance."""
    own = {"floor": 0.01, "floored": 0.0, "median_sd": 0.1, "single_to_pair": 3.0} | more
    return {
        "spacing_mm": 4,
        "population": {
            "description": f"{people} people of a test",
            "simulated": True,
            "kind": kind,
            "people": people,
            "cache_sha256": "a" * 64,
        },
        "sampling": {"sampler": "ddim", "steps": 2},
        "noise": {"people": 20, "share": noise},
        "tracers": {name: dict(own) for name in tracers},
    }


def arrays(tracers=("TAU",), mean=1.0, sd=0.1, noise=0.0) -> dict[str, np.ndarray]:
    """Arrays of these values inside the brain, numbers or [40, 45, 40]."""
    inside = inside_blocks()
    values = {"mean": mean, "sd": sd, "noise": noise}
    return {
        f"{kind}_{tracer}": np.where(inside, np.broadcast_to(value, SHAPE), 0).astype(np.float32)
        for tracer in tracers
        for kind, value in values.items()
    }


def write_tiny_with_norms(bundle: Path, out: Path, **how) -> Path:
    """A copy of a tiny bundle with flat norms of TAU."""
    write_departures(bundle, out, facts(), arrays(**how), version="0.0.3")
    return out
