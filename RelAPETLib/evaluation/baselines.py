"""Guesses that need no MRI, fitted on training people alone. Whoever does not beat them has learned little.

- the mean of the training people: of their regional SUVR, and of their images where all lie on one grid; each person
  counts once, and in each voxel those whose PET shows something there;
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


class MeanImage:
    """Mean over people of images on one grid, in each voxel of those who show something there.

    Several images of a person count as their mean, as regions do. They come one after the other, so that memory does
    not grow with people.
    """

    def __init__(self, grid: sitk.Image):
        self.grid = grid
        shape = grid.GetSize()[::-1]
        self._sum, self._people = np.zeros(shape), np.zeros(shape, np.uint16)
        self._own, self._scans = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
        self._person, self._done = "", set()

    def add(self, person: str, image: sitk.Image, seen: sitk.Image) -> None:
        """Take one image in.

        Args:
            person: whose.
            image: on the grid.
            seen: not 0 where the image shows something, such as its field of view.

        Raises:
            ValueError: another person's image came between two of this one's.
        """
        import SimpleITK as sitk

        if person != self._person:
            if person in self._done:
                raise ValueError("images of one person have to come one after the other")
            self._close()
            self._person = person
            self._done.add(person)
        inside = sitk.GetArrayViewFromImage(seen) != 0
        self._own += np.where(inside, sitk.GetArrayViewFromImage(image), 0)
        self._scans += inside

    def _close(self) -> None:
        """Take in what the last person's images come to."""
        inside = self._scans > 0
        self._sum[inside] += self._own[inside] / self._scans[inside]
        self._people += inside
        self._own[:], self._scans[:] = 0, 0

    def mean(self) -> sitk.Image:
        """The mean, float32; 0 where nobody shows anything."""
        import SimpleITK as sitk

        self._close()
        image = sitk.GetImageFromArray((self._sum / np.maximum(self._people, 1)).astype(np.float32))
        image.CopyInformation(self.grid)
        return image


@dataclass
class Training:
    """What was measured of training people, by tracer.

    Attributes:
        values: by tracer and (atlas, region): by person, SUVR of each of their PET.
        clinical: age and sex (1 female, 0 male) by person; NaN where not known.
        images: by tracer: the mean of images, or None once two lay on different grids.
    """

    values: dict[str, dict[tuple[str, str], dict[str, list[float]]]] = field(default_factory=dict)
    clinical: dict[str, tuple[float, float]] = field(default_factory=dict)
    images: dict[str, MeanImage | None] = field(default_factory=dict)

    def add(self, pair: Pair, regions: Mapping[tuple[str, str], float], image: sitk.Image, seen: sitk.Image) -> None:
        """Take one PET in: its regional SUVR, its image in SUVR and where that shows something (`MeanImage.add`)."""
        own = self.values.setdefault(pair.tracer, defaultdict(lambda: defaultdict(list)))
        for region, value in regions.items():
            if np.isfinite(value):
                own[region][pair.participant].append(value)
        self.clinical[pair.participant] = age_and_sex(pair)
        if pair.tracer not in self.images:
            self.images[pair.tracer] = MeanImage(image)
        known = self.images[pair.tracer]
        if known is not None and not same_grid(known.grid, image):
            self.images[pair.tracer] = None
        elif known is not None:
            known.add(pair.participant, image, seen)

    def mean_image(self, tracer: str) -> sitk.Image | None:
        """Mean of a tracer's images; None where they lie on several grids, or nobody had the tracer."""
        known = self.images.get(tracer)
        return None if known is None else known.mean()

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
