"""Guesses that need no MRI, fitted on training people alone. Whoever does not beat them has learned little.

- the mean of the training people: of their regional SUVR, and of their images where all lie on one grid;
- a linear regression of regional SUVR on age and sex (scikit-learn), for people of whom both are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..clinical import from_row
from .pairs import Pair

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What the names of all baselines begin with, and their names.
BASELINE = "baseline: "
MEAN, REGRESSION = f"{BASELINE}training people's mean", f"{BASELINE}age and sex"
#: Fewer people than this fit no regression on two values.
LEAST_PEOPLE = 5


@dataclass
class Training:
    """What was measured of training people, by tracer.

    Attributes:
        values: by tracer and (atlas, region): by person, SUVR of each of their PET.
        clinical: age and sex (1 female, 0 male) by person; NaN where not known.
        sums: by tracer: sum of images, or None once two lay on different grids.
        counts: how many images.
    """

    values: dict[str, dict[tuple[str, str], dict[str, list[float]]]] = field(default_factory=dict)
    clinical: dict[str, tuple[float, float]] = field(default_factory=dict)
    sums: dict[str, sitk.Image | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, pair: Pair, regions: Mapping[tuple[str, str], float], image: sitk.Image) -> None:
        """Take one PET in: its regional SUVR and its image in SUVR."""
        own = self.values.setdefault(pair.tracer, defaultdict(lambda: defaultdict(list)))
        for region, value in regions.items():
            if np.isfinite(value):
                own[region][pair.participant].append(value)
        self.clinical[pair.participant] = age_and_sex(pair)
        self.counts[pair.tracer] = self.counts.get(pair.tracer, 0) + 1
        if pair.tracer not in self.sums:
            self.sums[pair.tracer] = image
        elif (before := self.sums[pair.tracer]) is not None:
            self.sums[pair.tracer] = before + image if same_grid(before, image) else None

    def mean_image(self, tracer: str) -> sitk.Image | None:
        """Mean of a tracer's images; None where they lie on several grids, or nobody had the tracer."""
        image = self.sums.get(tracer)
        return None if image is None else image / self.counts[tracer]

    def predictions(self, pair: Pair) -> dict[str, dict[tuple[str, str], float]]:
        """Guesses at a person's regional SUVR, by baseline and (atlas, region); those that there are."""
        found: dict[str, dict[tuple[str, str], float]] = {MEAN: {}, REGRESSION: {}}
        age, sex = age_and_sex(pair)
        for region, people in self.values.get(pair.tracer, {}).items():
            means = {person: float(np.mean(values)) for person, values in people.items()}
            found[MEAN][region] = float(np.mean(list(means.values())))
            guess = _regression(means, self.clinical, age, sex)
            if guess is not None:
                found[REGRESSION][region] = guess
        return {name: guesses for name, guesses in found.items() if guesses}


def _regression(
    means: Mapping[str, float], clinical: Mapping[str, tuple[float, float]], age: float, sex: float
) -> float | None:
    from sklearn.linear_model import LinearRegression

    known = {person: clinical[person] for person in means if np.isfinite(clinical[person]).all()}
    if len(known) < LEAST_PEOPLE or not np.isfinite([age, sex]).all():
        return None
    fitted = LinearRegression().fit(list(known.values()), [means[person] for person in known])
    return float(fitted.predict([[age, sex]])[0])


def is_baseline(model: str) -> bool:
    """Whether a model's name is a baseline's."""
    return model.startswith(BASELINE)


def age_and_sex(pair: Pair) -> tuple[float, float]:
    """Years, and 1 for female and 0 for male; NaN where not known."""
    values, _ = from_row({name: pair.covariates.get(name, "") for name in ("age", "sex")})
    return tuple(values.numbers()[:2])


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Whether two images have the same voxels in the same places, to a hundredth of a millimetre."""
    from ..volumes import corner_distance, image_affine

    return a.GetSize() == b.GetSize() and corner_distance(image_affine(a), image_affine(b), a.GetSize()) < 0.01
