"""The laws that tie simulated uptake to simulated anatomy, by version: `law1` (written from memory, what demo model 2
was trained on) and `law2` (corrected against real people, the default)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..errors import InputError
from ..tracers import TRACERS
from . import law1, law2
from .factors import COMPONENTS, CORTEX, FACTORS, REGIONS, Uptake, draw_factors
from .law2 import Clinical

__all__ = [
    "COMPONENTS", "CORTEX", "FACTORS", "LATEST", "REGIONS", "VERSIONS", "Uptake", "check_law", "draw_factors",
    "law_tracers", "posterior", "posterior_mean", "predictable_share",
]  # fmt: skip

VERSIONS = (1, 2)
LATEST = 2


def check_law(version: int) -> None:
    """Raise `InputError` unless this is a version of the law."""
    if version not in VERSIONS:
        raise InputError(f"unknown law '{version}'; use one of {', '.join(map(str, VERSIONS))}")


def law_tracers(version: int = LATEST) -> tuple[str, ...]:
    """Names of the tracers that a law knows. Law 2 knows all of `TRACERS`, law 1 the first three."""
    check_law(version)
    return tuple(law1.LAWS) if version == 1 else tuple(TRACERS)


def posterior(
    factors: np.ndarray,
    tracer: str,
    n: int,
    rng: np.random.Generator,
    *,
    clinical: Clinical | None = None,
    law: int = LATEST,
) -> np.ndarray:
    """Draws of a person's uptake given what the MRI shows: all that can be known of it, no less and no more.

    Args:
        factors: [4] in the order of `FACTORS`.
        tracer: one of `law_tracers(law)`.
        n: how many draws.
        rng: where the draws come from.
        clinical: also given, where recorded (law 2 only).

    Returns:
        [n, 15] in the order of `COMPONENTS`, SUVR before blurring.
    """
    if law == 1:
        return law1.posterior(factors, tracer, n, rng)
    return law2.posterior(factors, (tracer,), n, rng, clinical=clinical)[tracer]


def posterior_mean(
    factors: np.ndarray, tracer: str, *, clinical: Clinical | None = None, law: int = LATEST
) -> np.ndarray:
    """Mean [15] of `posterior`, in closed form or by quadrature."""
    if law == 1:
        return law1.posterior_mean(factors, tracer)
    return law2.posterior_mean(np.asarray(factors)[None], (tracer,), clinical)[tracer][0]


@lru_cache(maxsize=16)
def predictable_share(tracer: str, law: int = LATEST) -> float:
    """Share of the between-subject variance of cortical SUVR that the factors explain, 0 to 1.

    Mean over the six cortical regions of var(predictable) / var(true), from 20,000 draws with a fixed seed.
    """
    if law == 1:
        return law1.predictable_share(tracer)
    rng = np.random.default_rng(20_000)
    factors = draw_factors(rng, 20_000)
    mean = law2.posterior_mean(factors, (tracer,))[tracer][:, : len(CORTEX)]
    true = law2.uptake_vectors(tracer, law2.draw_hidden(factors, rng), rng)[:, : len(CORTEX)]
    return float(np.mean(mean.var(0) / true.var(0)))
