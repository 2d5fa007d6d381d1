"""The first law that ties simulated uptake to simulated anatomy: demo model 2 and all before it were trained on it.

It was written down before any model was trained on it, and stays as it was; `law2` is the corrected one.

A simulated person has four standard-normal *factors* that show in the MRI (`FACTORS`). Each tracer has one amplitude

    a = sqrt(s) * p + sqrt(1 - s) * e,        A = clip(1 + 0.7 a, 0, 3.2)

where p is a unit-variance mix of the factors, e an independent standard normal number that no MRI can show, and s the
law's predictable weight. A region's uptake is

    SUVR = base + gain * A * genotype + n,    n ~ N(0, 0.04)

with base and gain below and n independent for every region. For PBR111 `genotype` is a TSPO-binding factor (mixed- or
high-affinity binder, Guo 2012) that MRI cannot show; for the other tracers it is 1. Cerebellar grey matter is the
reference region and is 1 by definition. `predictable_share` states what part of the between-subject regional variance
is left to be found in the MRI.

The figures are round numbers of our own, chosen for a plausible picture. They were written from memory and compared
with no paper's tables; they are no measurements, ours or anyone's. What stands behind the patterns:

- AV1451: cortex, most of all temporal (Johnson 2016); off-target binding in caudate, putamen, pallidum, thalamus and
  choroid plexus (Baker 2017), substantia nigra and choroid plexus (Lowe 2016). Schwarz 2016 (Brain), for the order of
  the cortical regions: not verified.
- PiB: cortex, posterior cingulate with it, over the cerebellum (Klunk 2004, Price 2005: existence and subject
  verified). Striatum and non-specific white matter: common knowledge of the tracer, not verified in these.
- PBR111: thalamus, brainstem, white matter and MS lesions (Colasanti 2014, J Nucl Med): not verified. Raised binding of
  another TSPO tracer in the thalamus and normal-appearing white matter of progressive MS is verified (PMC5840890).
- Genotype: that high- and mixed-affinity binders differ (Guo 2012) is verified; factors and frequencies are ours. Their
  ratio is 1.37; 1.2 was measured for the volume of distribution of 11C-PBR28 (Paul 2019, J Cereb Blood Flow Metab). In
  a real SUVR the reference region has the genotype too and takes part of it away, which this law leaves out.

Full references of those that are not given here stand in `RelAPETLib.tracers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .factors import COMPONENTS, CORTEX, FACTOR_CORRELATION, REGIONS, Uptake, draw_factors

AMPLITUDE_SLOPE = 0.7
AMPLITUDE_RANGE = (0.0, 3.2)
REGIONAL_NOISE_SUVR = 0.04

#: Quadrature for means over a standard normal number.
_HERMITE_NODES, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_HERMITE_WEIGHTS = _HERMITE_WEIGHTS / _HERMITE_WEIGHTS.sum()


@dataclass(frozen=True)
class TracerLaw:
    """How one tracer's uptake follows from the factors.

    Attributes:
        weights: mix of `FACTORS` before scaling to unit variance.
        predictable_weight: s of the module's equation, 0 to 1.
        base, gain: SUVR of each of `REGIONS` at A = 0 and its change per unit of A.
        genotypes: (value, probability) pairs of the multiplier that MRI cannot show.
        csf, choroid: SUVR of cerebrospinal fluid and of the ventricles' lining.
        lesion: SUVR added inside white-matter lesions per unit of A.
    """

    weights: tuple[float, ...]
    predictable_weight: float
    base: tuple[float, ...]
    gain: tuple[float, ...]
    genotypes: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    csf: float = 0.4
    choroid: float = 0.4
    lesion: float = 0.0

    @property
    def mix(self) -> np.ndarray:
        """Weights scaled so that the mix of factors has unit variance."""
        weights = np.asarray(self.weights)
        return weights / np.sqrt(weights @ FACTOR_CORRELATION @ weights)

    def amplitude(self, predictable: np.ndarray, unpredictable: np.ndarray) -> np.ndarray:
        """A of the module's equation."""
        s = self.predictable_weight
        a = np.sqrt(s) * predictable + np.sqrt(1 - s) * unpredictable
        return np.clip(1 + AMPLITUDE_SLOPE * a, *AMPLITUDE_RANGE)

    def expected_amplitude(self, predictable: np.ndarray) -> np.ndarray:
        """Mean of A * genotype given the factors alone: the best any reader of the MRI could do."""
        amplitudes = self.amplitude(np.asarray(predictable)[..., None], _HERMITE_NODES)
        return amplitudes @ _HERMITE_WEIGHTS * sum(value * p for value, p in self.genotypes)


#                fron  pari  ltem  occ   mtl   prec  stri  thal  stem  cgm   wm    cwm
LAWS = {
    "TAU": TracerLaw(
        weights=(0.7, 0.7, 0.0, 0.0),
        predictable_weight=0.8,
        base=(1.02, 1.05, 1.08, 1.03, 1.08, 1.05, 1.40, 1.25, 1.15, 1.0, 0.95, 0.90),
        gain=(0.30, 0.45, 0.60, 0.30, 0.50, 0.50, 0.10, 0.05, 0.03, 0.0, 0.10, 0.0),
        choroid=1.2,
    ),
    "PIB": TracerLaw(
        weights=(0.3, 0.9, 0.0, 0.2),
        predictable_weight=0.72,
        base=(1.12, 1.10, 1.08, 1.06, 1.06, 1.15, 1.15, 1.25, 1.45, 1.0, 1.60, 1.35),
        gain=(0.55, 0.50, 0.45, 0.25, 0.15, 0.65, 0.50, 0.20, 0.02, 0.0, 0.06, 0.0),
    ),
    "PBR": TracerLaw(
        weights=(0.0, 0.25, 0.0, 0.9),
        predictable_weight=0.75,
        base=(0.95, 0.95, 0.97, 0.95, 1.00, 0.97, 0.97, 1.20, 1.15, 1.0, 0.80, 0.85),
        gain=(0.25, 0.25, 0.28, 0.22, 0.30, 0.27, 0.25, 0.45, 0.40, 0.0, 0.32, 0.12),
        genotypes=((1.12, 0.6), (0.82, 0.4)),
        lesion=0.15,
    ),
}


def draw_uptake(tracer: str, factors: np.ndarray, rng: np.random.Generator) -> Uptake:
    """Uptake of one tracer for given factors, by the module's equations."""
    law = LAWS[tracer]
    predictable = float(law.mix @ factors)
    values, probabilities = zip(*law.genotypes, strict=True)
    genotype = float(rng.choice(values, p=probabilities))
    amplitude = float(law.amplitude(predictable, rng.standard_normal())) * genotype
    expected = float(law.expected_amplitude(predictable))
    noise = rng.standard_normal(len(REGIONS)) * REGIONAL_NOISE_SUVR
    noise[REGIONS.index("cerebellar_grey")] = 0
    base, gain = np.asarray(law.base), np.asarray(law.gain)
    true, mean = base + gain * amplitude + noise, base + gain * expected
    return Uptake(
        regional=dict(zip(REGIONS, map(float, true), strict=True)),
        predictable=dict(zip(REGIONS, map(float, mean), strict=True)),
        amplitude=amplitude,
        expected_amplitude=expected,
        lesion=law.lesion * amplitude,
        expected_lesion=law.lesion * expected,
        csf=law.csf,
        choroid=law.choroid,
    )


def posterior(factors: np.ndarray, tracer: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws [n, 15] of a person's uptake given the factors, in the order of `COMPONENTS`: the law itself."""
    law = LAWS[tracer]
    values, probabilities = zip(*law.genotypes, strict=True)
    amplitude = law.amplitude(float(law.mix @ factors), rng.standard_normal(n)) * rng.choice(values, n, p=probabilities)
    draws = np.zeros((n, len(COMPONENTS)))
    draws[:, : len(REGIONS)] = np.asarray(law.base) + np.outer(amplitude, law.gain)
    noise = rng.standard_normal((n, len(REGIONS))) * REGIONAL_NOISE_SUVR
    noise[:, REGIONS.index("cerebellar_grey")] = 0
    draws[:, : len(REGIONS)] += noise
    draws[:, len(REGIONS) :] = np.stack([law.lesion * amplitude, np.full(n, law.csf), np.full(n, law.choroid)], 1)
    return draws


def posterior_mean(factors: np.ndarray, tracer: str) -> np.ndarray:
    """Mean [15] of `posterior`."""
    law = LAWS[tracer]
    expected = float(law.expected_amplitude(float(law.mix @ factors)))
    return np.array(
        [*(np.asarray(law.base) + np.asarray(law.gain) * expected), law.lesion * expected, law.csf, law.choroid]
    )


@lru_cache(maxsize=8)
def predictable_share(tracer: str) -> float:
    """Share of the between-subject variance of cortical SUVR that the factors explain, 0 to 1.

    Mean over the six cortical regions of var(predictable) / var(true), from 20,000 draws with a fixed seed.
    """
    law, rng, people = LAWS[tracer], np.random.default_rng(20_000), 20_000
    predictable = draw_factors(rng, people) @ law.mix
    values, probabilities = zip(*law.genotypes, strict=True)
    amplitude = law.amplitude(predictable, rng.standard_normal(people)) * rng.choice(values, people, p=probabilities)
    gain = np.asarray(law.gain[: len(CORTEX)])
    explained = gain**2 * np.var(law.expected_amplitude(predictable))
    return float(np.mean(explained / (gain**2 * np.var(amplitude) + REGIONAL_NOISE_SUVR**2)))
