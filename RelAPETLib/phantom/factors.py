"""What every law of the phantom speaks of: a person's factors, the regions, and the uptake of one tracer in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Standard-normal factors of a person that show in the MRI: mesial temporal atrophy, neocortical atrophy, ventricular
#: enlargement and white-matter disease, with their correlations.
FACTORS = ("mesial_atrophy", "cortical_atrophy", "ventricles", "white_matter_disease")
FACTOR_CORRELATION = np.array(
    [[1.0, 0.45, 0.45, 0.2], [0.45, 1.0, 0.5, 0.2], [0.45, 0.5, 1.0, 0.3], [0.2, 0.2, 0.3, 1.0]]
)

REGIONS = (
    "frontal", "parietal", "lateral_temporal", "occipital", "mesial_temporal", "precuneus_posterior_cingulate",
    "striatum", "thalamus", "brainstem", "cerebellar_grey", "white_matter", "cerebellar_white",
)  # fmt: skip
CORTEX = REGIONS[:6]
#: What a rendering is linear in: the uptake of each region, what lesions add, fluid, the ventricles' lining (SUVR).
COMPONENTS = (*REGIONS, "lesion", "csf", "choroid")


@dataclass(frozen=True)
class Uptake:
    """Uptake of one tracer in one person, all in SUVR but for the amplitudes.

    Attributes:
        regional: true uptake of each of `REGIONS`.
        predictable: its mean given the factors that the MRI shows: the best any reader of the MRI could say.
        amplitude, expected_amplitude: the tracer's level (the law says in which unit), and its mean given the factors.
        lesion, expected_lesion: what white-matter lesions add, and its mean given the factors.
        csf, choroid: of cerebrospinal fluid and of the ventricles' lining.
    """

    regional: dict[str, float]
    predictable: dict[str, float]
    amplitude: float
    expected_amplitude: float
    lesion: float = 0.0
    expected_lesion: float = 0.0
    csf: float = 0.4
    choroid: float = 0.4

    def vector(self, expected: bool = False) -> np.ndarray:
        """The uptake [15] in the order of `COMPONENTS`, or its mean given the factors."""
        regional, lesion = (self.predictable, self.expected_lesion) if expected else (self.regional, self.lesion)
        return np.array([*(regional[name] for name in REGIONS), lesion, self.csf, self.choroid])

    @classmethod
    def from_vectors(
        cls, true: np.ndarray, mean: np.ndarray, amplitude: float = 0.0, expected_amplitude: float = 0.0
    ) -> Uptake:
        """Uptake from its vectors [15] in the order of `COMPONENTS`, true and expected (whose fluids must agree)."""
        regional, predictable = (dict(zip(REGIONS, map(float, v[: len(REGIONS)]), strict=True)) for v in (true, mean))
        lesion, csf, choroid = map(float, true[len(REGIONS) :])
        expected = float(mean[COMPONENTS.index("lesion")])
        return cls(regional, predictable, float(amplitude), float(expected_amplitude), lesion, expected, csf, choroid)


def draw_factors(rng: np.random.Generator, people: int | None = None) -> np.ndarray:
    """Correlated standard-normal factors in the order of `FACTORS`, cut at +-2.5: [4], or [people, 4]."""
    independent = rng.standard_normal((people or 1, len(FACTORS)))
    factors = np.clip(independent @ np.linalg.cholesky(FACTOR_CORRELATION).T, -2.5, 2.5)
    return factors[0] if people is None else factors
