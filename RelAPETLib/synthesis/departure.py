"""Departure: how far the mean of somebody's samples lies from that of the training people's synthetic PET, in SD.

It shows what this MRI changed in what the model draws, and how little that may be. Both sides are synthetic: it is no
z-score of a measurement, and no map of a disease.

Means over 4 mm blocks of the brain are compared, where the norms are kept (`models.departure`), and the result is
interpolated linearly to the model grid among the blocks that have norms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..devices import MEASURED_PRECISION
from ..grid import MNI_GRID, array_to_image, block_grid, block_means, image_to_array
from ..models.departure import FACTOR
from ..provenance import DEPARTURE_MEANING
from ..scaling import to_units
from .withheld import OTHER_KIND, why_doubted

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .case import Case
    from .sampling import Draw

#: Share of a block that must be brain for it to have norms.
LEAST_BRAIN = 0.5


@dataclass(frozen=True)
class Blocks:
    """Means over the blocks of the norms' grid, of voxels inside a brain.

    Attributes:
        inside: the brain, bool [160, 180, 160].
        share: of each block that is brain, [40, 45, 40].
    """

    inside: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, inside: np.ndarray) -> Blocks:
        """Of a brain, bool [160, 180, 160]."""
        return cls(inside, block_means(inside.astype(np.float32), FACTOR))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean of the brain's voxels in each block, float32 [40, 45, 40]; 0 where less than half of it is brain."""
        sums = block_means(np.where(self.inside, values, 0).astype(np.float32), FACTOR)
        return np.where(self.share >= LEAST_BRAIN, sums / np.maximum(self.share, LEAST_BRAIN), 0).astype(np.float32)


def departure_map(case: Case, draw: Draw) -> sitk.Image | None:
    """(mean of the samples - M) / S on the model grid, float32, no unit; 0 outside the brain and the field of view.

    None where the model has no norms of the tracer.
    """
    norms, tracer = draw.model.departures, draw.plan.tracer.name
    if norms is None or tracer not in norms.tracers:
        return None
    inside = image_to_array(case.ready.mask) > 0
    if case.ready.in_view is not None:
        inside &= image_to_array(case.ready.in_view) > 0
    blocks = Blocks.of(inside)
    sd = norms.sd_of_means(tracer, draw.plan.samples)
    known = (sd > 0) & (blocks.share >= LEAST_BRAIN)
    own = blocks.means(to_units(draw.mean, draw.plan.window))
    coarse = np.where(known, (own - norms.mean(tracer)) / np.where(known, sd, 1), 0)
    return array_to_image(np.where(inside, _on_model_grid(coarse, known), 0).astype(np.float32))


def _on_model_grid(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values of known blocks, interpolated linearly to the model grid; 0 where none is near.

    What lies outside does not pull values at the brain's edge towards 0: weights are renormalised.
    """
    weights, sums = (_resampled(array) for array in (known, np.where(known, values, 0)))
    return np.where(weights > 1e-3, sums / np.maximum(weights, 1e-3), 0)


def _resampled(array: np.ndarray) -> np.ndarray:
    """Linear interpolation [40, 45, 40] to [160, 180, 160]; the outermost blocks reach to the grid's edge."""
    import SimpleITK as sitk

    image = array_to_image(array.astype(np.float32), block_grid(FACTOR))
    fine = sitk.Resample(image, MNI_GRID.reference_image(), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return image_to_array(fine)


def departure_record(case: Case, draw: Draw) -> dict:
    """``departure`` of `synthetic_pet.json`: what the norms are, or why there are none."""
    norms, tracer, model = draw.model.departures, draw.plan.tracer.name, draw.model.name
    if norms is None or tracer not in norms.tracers:
        of_tracer = "" if norms is None else f" of {tracer}"
        why = f"not in this model: {model} has no norms of departure{of_tracer}"
        return {"withheld": why, "people": None, "population": None, "noise_share": None, "floor": None,
                "meaning": None, "says": f"No departure map: {why}."}  # fmt: skip
    facts, population = norms.facts["tracers"][tracer], norms.facts["population"]
    return {
        "withheld": None,
        "people": population["people"],
        "population": population["description"],
        "noise_share": noise_share(norms, tracer, draw.plan.samples),
        "floor": facts["floor"],
        "meaning": DEPARTURE_MEANING,
        "says": _words(case, draw),
    }


def noise_share(norms, tracer: str, samples: int) -> float:
    """Share of S^2 of means of so many samples that is chance between draws, mean over the brain, 0 to 1."""
    sd, people = (norms.sd_of_means(tracer, n).astype(np.float64) for n in (samples, 10**6))
    inside = sd > 0
    return round(float(max(0.0, 1 - (people[inside] ** 2).mean() / (sd[inside] ** 2).mean())), 3)


def _words(case: Case, draw: Draw) -> str:
    """One line on what the norms are and where they do not fit this synthesis."""
    norms, plan = draw.model.departures, draw.plan
    facts, population, sampling = norms.facts, norms.facts["population"], norms.facts["sampling"]
    tracer = plan.tracer.name
    who = "simulated training people" if population["simulated"] else "training people"
    words = f"Departure: what this MRI changed, in SD of the synthetic PET of {population['people']} {who}; not a "
    words += f"disease map; {100 * noise_share(norms, tracer, plan.samples):.0f} % of the variance behind that SD is "
    words += f"chance between means of {plan.samples} sample(s)"
    if (plan.sampler, plan.steps) != (sampling["sampler"], sampling["steps"]):
        how = f"{sampling['steps']} step(s) of {sampling['sampler'] or 'its own draw'}"
        words += f"; their PET were drawn by {how}, not as this one"
    if plan.precision != MEASURED_PRECISION:
        words += f"; theirs were drawn in {MEASURED_PRECISION}, this one in {plan.precision}"
    if draw.told:
        words += f"; the model was told {' and '.join(draw.told)} of this person, and no clinical value of theirs"
    if "t2f" not in case.sequences:
        words += "; they had a T2-FLAIR"
    if unlike := case.unlike(population):
        words += f"; {OTHER_KIND[unlike].partition(':')[0]}"
    if doubt := why_doubted(draw):
        words += f"; {doubt}"
    floored = facts["tracers"][tracer]["floored"]
    if floored >= 0.005:
        words += f"; SD raised to {facts['tracers'][tracer]['floor']:.3g} in {100 * floored:.0f} % of the brain"
    return " ".join(words.split()) + "."
