"""What a simulated person is beside the factors that the MRI shows: clinical values, and levels that only a PET shows.

With z the four factors, p_k(z) unit-variance mixes of them (`MIXES`), F = 1/2 for women and -1/2 for men, and every e
an independent standard normal number:

    age       = 72 + 17 tanh(a / 2.27) years,                a = b.z + s e_age
    amyloid A = 1 where R p_amyloid + V e_age + sqrt(1 - R^2 - V^2) e_A > T
    Centiloid = 70 + 40 tanh(u_C / 2) where A = 1,           u_C = .3 p_centiloid + sqrt(1 - .3^2) e_C
              = 2 + 7 e_C             where A = 0
    tau       = softplus(1.6 u_T - .2), a tenth where A = 0,  u_T = .7 p_tau + .25 F + .3 e_C + s_T e_T
    memory    = m.z + .3 F + A (-.5 - .35 u_T) + .7 e_M
    TSPO g_k  = sqrt(s_k) p_k + sqrt(1 - s_k) e_k,            k = 1, 2, 3

Given amyloid status and sex everything is Gaussian, so that draws given the factors, with or without the clinical
values, are exact (`draw_hidden`) and means are exact up to a quadrature (`mean_levels`). Sources stand in `law2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from .factors import FACTOR_CORRELATION

#: Quadrature for means over a standard normal number.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _unit(*weights: float) -> np.ndarray:
    """Weights of the factors, scaled so that their mix has unit variance."""
    return np.array(weights) / np.sqrt(np.array(weights) @ FACTOR_CORRELATION @ np.array(weights))


#: Mixes of the factors: mesial atrophy, cortical atrophy, ventricles, white-matter disease.
MIXES = {
    "amyloid": _unit(0.6, 0.6, 0.3, 0.25),
    "centiloid": _unit(0.3, 0.9, 0.0, 0.0),
    "tau": _unit(0.6, 0.8, 0.2, 0.0),
    "tau_pattern": _unit(1.0, -1.0, 0.0, 0.0),
    "tspo_global": _unit(0.0, 0.3, 0.1, 0.9),
    "tspo_cortex": _unit(0.4, 0.9, 0.0, 0.0),
    "atrophy": _unit(0.5, 0.8, 0.2, 0.0),
}
#: Amyloid: R, V and T of the module's equations.
AMYLOID_MRI, AMYLOID_AGE, AMYLOID_THRESHOLD = 0.48, 0.12, 0.36
POSITIVE_CENTILOID, POSITIVE_RANGE, NEGATIVE_CENTILOID, NEGATIVE_SD, CENTILOID_MRI = 70.0, 40.0, 2.0, 7.0, 0.3
TAU_MRI, TAU_SEX, TAU_CENTILOID, TAU_NEGATIVE_SCALE, TAU_PATTERN_MRI = 0.7, 0.25, 0.3, 0.1, 0.6
AGE_FACTORS, MEAN_AGE, AGE_RANGE, AGE_STEEPNESS = np.array([0.15, 0.2, 0.3, 0.25]), 72.0, 17.0, 2.27
MEMORY_FACTORS = np.array([-0.4, -0.2, 0.0, -0.1])
MEMORY_SEX, MEMORY_AMYLOID, MEMORY_TAU, MEMORY_SD = 0.3, -0.5, -0.35, 0.7
#: Share of each TSPO level's variance that the MRI shows.
TSPO_MRI = {"tspo_global": 0.6, "tspo_cortex": 0.35, "tspo_deep": 0.0}
#: How often a clinical value was not recorded.
MISSING = {"age": 0.03, "female": 0.02, "memory": 0.12}

_AGE_SD = float(np.sqrt(1 - AGE_FACTORS @ FACTOR_CORRELATION @ AGE_FACTORS))
_CENTILOID_SD = float(np.sqrt(1 - CENTILOID_MRI**2))
_TAU_SD = float(np.sqrt(1 - TAU_MRI**2 - (TAU_SEX / 2) ** 2 - TAU_CENTILOID**2))
#: Status and sex of the four groups within which all is Gaussian.
_POSITIVE, _FEMALE = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])


@dataclass(frozen=True)
class Clinical:
    """Clinical values as recorded; arrays [n], or numbers for one person. NaN where one was not recorded.

    Attributes:
        age: years, 55 to 89.
        female: 1 or 0.
        memory: composite memory score, about 0 +- 1; higher is better.
    """

    age: np.ndarray | float
    female: np.ndarray | float
    memory: np.ndarray | float

    def of(self, number: int) -> Clinical:
        """One person's values, as numbers."""
        return Clinical(*(float(getattr(self, field.name)[number]) for field in fields(self)))


@dataclass(frozen=True)
class Hidden:
    """What no MRI shows; arrays [n], or numbers for one person.

    Attributes:
        positive: amyloid status.
        centiloid: amyloid level, Centiloid.
        tau: tau level, 0 to about 5.
        tau_pattern: above 0 more limbic, below 0 more neocortical; about 0 +- 1.
        tau_off_target, white_matter_binding: TAU's and PIB's uptake that is not their target's; about 0 +- 1.
        tspo_global, tspo_cortex, tspo_deep: TSPO levels; about 0 +- 1.
        atrophy: mix of the factors; not hidden, for tracers without a law of their own.
    """

    positive: np.ndarray
    centiloid: np.ndarray
    tau: np.ndarray
    tau_pattern: np.ndarray
    tau_off_target: np.ndarray
    white_matter_binding: np.ndarray
    tspo_global: np.ndarray
    tspo_cortex: np.ndarray
    tspo_deep: np.ndarray
    atrophy: np.ndarray

    def of(self, number: int) -> Hidden:
        """One person's values, as numbers."""
        return Hidden(*(getattr(self, field.name)[number].item() for field in fields(self)))

    def levels(self) -> dict[str, np.ndarray]:
        """What uptake is linear in: amyloid in 100 Centiloid, tau's pattern times its level, and the rest."""
        rest = {field.name: getattr(self, field.name) for field in fields(self)[4:]}
        return {"amyloid": self.centiloid / 100, "tau": self.tau, "tau_pattern": self.tau * self.tau_pattern, **rest}


def draw_people(factors: np.ndarray, rng: np.random.Generator) -> tuple[Clinical, Hidden]:
    """Clinical values, some of them missing, and hidden levels of people with these factors [n, 4]."""
    n = len(factors)
    latent = factors @ AGE_FACTORS + _AGE_SD * rng.standard_normal(n)
    age = MEAN_AGE + AGE_RANGE * np.tanh(latent / AGE_STEEPNESS)
    female = rng.integers(0, 2, n).astype(float)
    hidden, tau_score = _draw(factors, rng, Clinical(age, female, np.full(n, np.nan)))
    memory = _memory_mean(factors, hidden.positive, female, tau_score) + MEMORY_SD * rng.standard_normal(n)
    values = {"age": age, "female": female, "memory": memory}
    recorded = {name: np.where(rng.random(n) < MISSING[name], np.nan, value) for name, value in values.items()}
    return Clinical(**recorded), hidden


def draw_hidden(factors: np.ndarray, rng: np.random.Generator, clinical: Clinical | None = None) -> Hidden:
    """One exact draw for each row of the factors [n, 4] given them, and given the clinical values where recorded."""
    return _draw(factors, rng, clinical)[0]


def probability_positive(factors: np.ndarray, clinical: Clinical | None = None) -> np.ndarray:
    """Probability [n] of amyloid positivity given the factors [n, 4] and the clinical values that are recorded."""
    return _groups(factors, _filled(clinical, len(factors)))[0][:, 2:].sum(1)


def mean_levels(factors: np.ndarray, clinical: Clinical | None = None) -> dict[str, np.ndarray]:
    """Means [n] of `Hidden.levels` given the factors [n, 4] and the clinical values that are recorded."""
    shares, surprise, variance = _groups(factors, _filled(clinical, len(factors)))
    along = _memory_along_noise(_POSITIVE)  # [4, 2]: how memory depends on e_C and e_T in each group
    known = ~np.isnan(surprise)
    surprise = np.where(known, surprise, 0)
    toward = np.array([TAU_CENTILOID, _TAU_SD])

    def conditional(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD [n, 4] of direction . (e_C, e_T) given memory."""
        pull = along @ direction
        return pull * surprise / variance, np.sqrt(direction @ direction - known * pull**2 / variance)

    mean, sd = conditional(np.array([1.0, 0.0]))
    score = (CENTILOID_MRI * (factors @ MIXES["centiloid"]))[:, None] + _CENTILOID_SD * mean
    positive = _expectation(lambda u: POSITIVE_CENTILOID + POSITIVE_RANGE * np.tanh(u / 2), score, _CENTILOID_SD * sd)
    centiloid = np.where(_POSITIVE == 1, positive, NEGATIVE_CENTILOID)
    mean, sd = conditional(toward)
    tau = _expectation(_softplus, _tau_mean(factors[:, None], _FEMALE) + mean, sd)
    tau = (shares * tau * np.where(_POSITIVE == 1, 1, TAU_NEGATIVE_SCALE)).sum(1)
    nothing = np.zeros(len(factors))
    return {
        "amyloid": (shares * centiloid).sum(1) / 100,
        "tau": tau,
        "tau_pattern": tau * TAU_PATTERN_MRI * (factors @ MIXES["tau_pattern"]),
        "tau_off_target": nothing,
        "white_matter_binding": nothing,
        **{name: np.sqrt(share) * (factors @ MIXES[name]) if share else nothing for name, share in TSPO_MRI.items()},
        "atrophy": factors @ MIXES["atrophy"],
    }


def _draw(factors: np.ndarray, rng: np.random.Generator, clinical: Clinical | None) -> tuple[Hidden, np.ndarray]:
    """`draw_hidden`, and u_T."""
    n = len(factors)
    clinical = _filled(clinical, n)
    shares, surprise, variance = _groups(factors, clinical)
    group = np.minimum((shares.cumsum(1) < rng.random((n, 1))).sum(1), 3)
    positive, female = _POSITIVE[group], _FEMALE[group]
    noise = rng.standard_normal((n, 3))  # e_C, e_T, e_M
    # A draw of e_C and e_T with a memory score of its own, moved to where the recorded score is (Matheron's rule).
    along = _memory_along_noise(positive)
    off = surprise[np.arange(n), group] - (along * noise[:, :2]).sum(1) - MEMORY_SD * noise[:, 2]
    off = np.where(np.isnan(off), 0, off) / variance[group]
    e_c, e_t = (noise[:, :2] + along * off[:, None]).T
    score = CENTILOID_MRI * (factors @ MIXES["centiloid"]) + _CENTILOID_SD * e_c
    tau_score = _tau_mean(factors, female) + TAU_CENTILOID * e_c + _TAU_SD * e_t
    own = rng.standard_normal((6, n))
    pattern = TAU_PATTERN_MRI * (factors @ MIXES["tau_pattern"]) + np.sqrt(1 - TAU_PATTERN_MRI**2) * own[0]
    tspo = {
        name: (np.sqrt(share) * (factors @ MIXES[name]) if share else 0) + np.sqrt(1 - share) * e
        for (name, share), e in zip(TSPO_MRI.items(), own[1:4], strict=True)
    }
    hidden = Hidden(
        positive=positive.astype(bool),
        centiloid=np.where(
            positive == 1,
            POSITIVE_CENTILOID + POSITIVE_RANGE * np.tanh(score / 2),
            NEGATIVE_CENTILOID + NEGATIVE_SD * e_c,
        ),
        tau=_softplus(tau_score) * np.where(positive == 1, 1, TAU_NEGATIVE_SCALE),
        tau_pattern=pattern,
        tau_off_target=own[4],
        white_matter_binding=own[5],
        **tspo,
        atrophy=factors @ MIXES["atrophy"],
    )
    return hidden, tau_score


def _groups(factors: np.ndarray, clinical: Clinical) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Status and sex given what is known.

    Returns:
        Probability [n, 4] of each group; the memory score minus its mean there [n, 4], NaN where it was not recorded;
        its variance there [4].
    """
    shown = AMYLOID_MRI * (factors @ MIXES["amyloid"]) - AMYLOID_THRESHOLD
    latent = AGE_STEEPNESS * np.arctanh((clinical.age - MEAN_AGE) / AGE_RANGE)
    from_age = AMYLOID_AGE * (latent - factors @ AGE_FACTORS) / _AGE_SD
    with_age = (shown + from_age) / np.sqrt(1 - AMYLOID_MRI**2 - AMYLOID_AGE**2)
    liability = np.where(np.isnan(clinical.age), shown / np.sqrt(1 - AMYLOID_MRI**2), with_age)
    of_status = np.stack([_cdf(-liability), _cdf(liability)], 1)
    of_sex = np.stack([1 - clinical.female, clinical.female], 1)
    of_sex = np.where(np.isnan(of_sex), 0.5, of_sex)
    mean = _memory_mean(factors[:, None], _POSITIVE, _FEMALE, _tau_mean(factors[:, None], _FEMALE))
    surprise = np.asarray(clinical.memory)[:, None] - mean
    variance = MEMORY_SD**2 + (_memory_along_noise(_POSITIVE) ** 2).sum(-1)
    likelihood = np.where(np.isnan(surprise), 1, np.exp(-(surprise**2) / variance / 2) / np.sqrt(variance))
    shares = of_status[:, _POSITIVE] * of_sex[:, _FEMALE] * likelihood
    return shares / shares.sum(1, keepdims=True), surprise, variance


def _tau_mean(factors: np.ndarray, female: np.ndarray) -> np.ndarray:
    """Mean of u_T given factors [..., 4] and sex."""
    return TAU_MRI * (factors @ MIXES["tau"]) + TAU_SEX * (female - 0.5)


def _memory_mean(factors: np.ndarray, positive: np.ndarray, female: np.ndarray, tau_score: np.ndarray) -> np.ndarray:
    """The memory score without its own noise."""
    by_status = positive * (MEMORY_AMYLOID + MEMORY_TAU * tau_score)
    return factors @ MEMORY_FACTORS + MEMORY_SEX * (female - 0.5) + by_status


def _memory_along_noise(positive: np.ndarray) -> np.ndarray:
    """Change [..., 2] of the memory score with e_C and e_T."""
    return np.multiply.outer(positive * MEMORY_TAU, [TAU_CENTILOID, _TAU_SD])


def _filled(clinical: Clinical | None, n: int) -> Clinical:
    """Clinical values as arrays [n]; all missing for None."""
    if clinical is None:
        return Clinical(*np.full((3, n), np.nan))
    return Clinical(*(np.broadcast_to(np.asarray(getattr(clinical, f.name), float), n) for f in fields(clinical)))


def _softplus(u: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, 1.6 * u - 0.2)


def _expectation(function, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Mean of function(u) for u ~ N(mean, sd)."""
    return function(mean[..., None] + np.asarray(sd)[..., None] * _NODES) @ _WEIGHTS


def _cdf(x: np.ndarray) -> np.ndarray:
    """Standard normal distribution function."""
    return 0.5 * (1 + np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(float))
