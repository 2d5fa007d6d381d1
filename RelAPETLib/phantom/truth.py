"""What is true of a simulated person, and what could at best be said of it.

Rendering is linear in the uptake: `component_maps` are what one SUVR of each of `factors.COMPONENTS` looks like in a
person's anatomy, blurred like a scan, and `regional_matrix` their means in the twelve regions. A draw of the law's
posterior becomes regional SUVR by one product, so that hundreds of people need no image. To draw an image, render
`with_uptake(person, {tracer: vector})`, or sum the maps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..grid import ModelGrid, image_to_array
from ..regions import load_regions
from .factors import COMPONENTS, REGIONS, Uptake
from .hidden import probability_positive
from .law import law_tracers
from .law import posterior as law_posterior
from .law2 import posterior as joint_posterior
from .law2 import posterior_mean as joint_mean
from .people import Person, bounding_box, model_grid_at, template_maps, tissue_maps, warp_stack
from .render import blur_pet

#: How many draws of the posterior a truth table holds when nobody says.
DRAWS = 64


@dataclass(frozen=True)
class Posterior:
    """What can at best be said of a person's PET from what is known.

    Attributes:
        probability_positive: of amyloid positivity; NaN under law 1, which has no status.
        mean: regional SUVR [12] by tracer, as rendered and blurred: the mean of what is possible.
        draws: [draws, 12] by tracer: the same of draws of the law's posterior; draw i of each tracer is one person's.
    """

    probability_positive: float
    mean: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]


@dataclass(frozen=True)
class Truth:
    """The truth about one person, and the ideal answers.

    Attributes:
        person: who.
        positive, centiloid: amyloid status and level; None and NaN under law 1.
        suvr: regional SUVR [12] by tracer, in the order of `REGIONS`, as rendered and blurred, without scanner noise.
        from_mri: what can be said from the MRI alone.
        with_clinical: what can be said from the MRI and the recorded clinical values; None under law 1.
    """

    person: Person
    positive: bool | None
    centiloid: float
    suvr: dict[str, np.ndarray]
    from_mri: Posterior
    with_clinical: Posterior | None


@lru_cache(maxsize=2)
def region_weights(spacing: int) -> np.ndarray:
    """Weights [12, X, Y, Z] (float32, 0 or 1) of the voxels of each of `REGIONS` on the model grid at 1 or 2 mm.

    At 2 mm every second voxel of the label map counts, half a voxel of 1 mm aside on each axis: means differ by up to
    .02 SUVR from those at 1 mm, so compare like with like. Voxels outside the template's brain do not count.
    """
    image, regions = load_regions()
    labels = image_to_array(image)[::spacing, ::spacing, ::spacing]
    by_name = {region.name: region.label for region in regions}
    inside = template_maps(spacing)["brain"] > 0.5
    return np.stack([(labels == by_name[name]) & inside for name in REGIONS]).astype(np.float32)


def component_maps(
    person: Person, *, grid: ModelGrid | None = None, kind: str = "residual", spacing: int = 2, view: int = 0
) -> np.ndarray:
    """What one SUVR of each of `COMPONENTS` looks like in the person's anatomy; float32 [15, X, Y, Z], blurred.

    Args:
        grid: where to sample; by default the model grid at `spacing` mm.
        kind, spacing, view: as `people.person_maps` has them; the defaults are those of `render.render`.
    """
    grid = model_grid_at(spacing) if grid is None else grid
    warped = warp_stack(person, grid, unit_activity(person, spacing), kind=kind, spacing=spacing, view=view)
    return np.stack([blur_pet(array, grid.spacing[0]) for array in warped])


def unit_activity(person: Person, spacing: int) -> np.ndarray:
    """`people.activity` for one SUVR of each of `COMPONENTS`; float32 [15, X, Y, Z] in template space, before blurring.

    It is the same bit for bit; most of these maps are one region's grey matter.
    """
    template, tissue = template_maps(spacing), tissue_maps(person, spacing)
    region, fluid = template["region"], template["ventricles"] > 0.5
    maps = np.empty((len(COMPONENTS), *region.shape), np.float32)
    by_name = dict(zip(COMPONENTS, maps, strict=True))
    for index, name in enumerate(REGIONS):
        np.multiply(tissue["grey"], region == index, out=by_name[name])
    cerebellar, brainstem = (region == REGIONS.index(name) for name in ("cerebellar_grey", "brainstem"))
    by_name["cerebellar_white"] += tissue["white"] * cerebellar
    by_name["brainstem"] += tissue["white"] * brainstem
    by_name["white_matter"] += tissue["white"] * ~(cerebellar | brainstem)
    np.multiply(tissue["white"], tissue["lesion"], out=by_name["lesion"])
    csf = np.clip(template["brain"] - tissue["grey"] - tissue["white"], 0, 1)
    np.multiply(csf, ~fluid, out=by_name["csf"])
    np.multiply(csf, fluid, out=by_name["choroid"])
    return maps


def regional_matrix(person: Person, *, spacing: int = 2, view: int = 0) -> np.ndarray:
    """Matrix [12, 15] that turns uptake (`COMPONENTS`, SUVR) into regional SUVR as `render.render` shows it."""
    maps = component_maps(person, spacing=spacing, view=view).reshape(len(COMPONENTS), -1)
    return regional_means(maps, region_weights(spacing))


def own_space_matrix(person: Person, grid: ModelGrid) -> np.ndarray:
    """The same in the person's own space, where raw scans are: the regions go there by the person's deformation.

    Raw scans are made from the template's maps at 1 mm, so these are sampled here too (those at 2 mm have their regions
    half a voxel aside, and lesions fall elsewhere), if only at the grid's voxels.

    Args:
        grid: in the person's own space, wide enough for the brain, e.g. `head.COARSE_GRID`.
    """
    spacing = 1
    maps = np.concatenate([unit_activity(person, spacing), region_weights(spacing)])
    warped = warp_stack(person, grid, maps, kind="full", spacing=spacing)
    warped = warped[(slice(None), *bounding_box(warped.any(0)))]
    uptake, weights = np.split(warped, [len(COMPONENTS)])
    return regional_means(np.stack([blur_pet(array, grid.spacing[0]) for array in uptake]), weights)


def regional_means(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means [regions, maps] of maps [maps, ...] with the weights [regions, ...] of each voxel."""
    flat = weights.reshape(len(weights), -1)
    return np.stack([maps.reshape(len(maps), -1)[:, row > 0] @ row[row > 0] / row.sum() for row in flat]).astype(float)


def with_uptake(person: Person, vectors: dict[str, np.ndarray]) -> Person:
    """The same person with other uptake: vectors [15] by tracer, for `render` (its `oracle` has no scanner noise)."""
    return replace(person, uptake={**person.uptake, **{t: Uptake.from_vectors(v, v) for t, v in vectors.items()}})


def posterior_draws(
    person: Person, n: int, rng: np.random.Generator, tracers: Iterable[str] | None = None, *, clinical: bool = False
) -> dict[str, np.ndarray]:
    """Joint draws [n, 15] of a person's uptake by tracer given the MRI's factors, or the `clinical` values too."""
    tracers = law_tracers(person.law) if tracers is None else tuple(tracers)
    if person.law == 1:
        return {tracer: law_posterior(person.factors, tracer, n, rng, law=1) for tracer in tracers}
    return joint_posterior(person.factors, tracers, n, rng, clinical=person.clinical if clinical else None)


def truth_of(person: Person, matrix: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Truth:
    """The truth about one person.

    Args:
        matrix: the person's `regional_matrix` (or another linear rendering of `COMPONENTS`, [regions, 15]).
        draws: how many draws of the posterior, 0 for none.
        seed: of the draws; the person's seed and index count too.
    """
    tracers = law_tracers(person.law)
    suvr = {tracer: matrix @ person.uptake[tracer].vector() for tracer in tracers}
    hidden = person.hidden
    return Truth(
        person=person,
        positive=None if hidden is None else bool(hidden.positive),
        centiloid=float("nan") if hidden is None else float(hidden.centiloid),
        suvr=suvr,
        from_mri=_posterior(person, matrix, draws, seed, clinical=False),
        with_clinical=None if hidden is None else _posterior(person, matrix, draws, seed, clinical=True),
    )


def _posterior(person: Person, matrix: np.ndarray, draws: int, seed: int, *, clinical: bool) -> Posterior:
    rng = person.rng(f"ideal-{seed}-{clinical}")
    vectors = posterior_draws(person, draws, rng, clinical=clinical)
    if person.law == 1:
        probability = float("nan")
        means = {tracer: person.uptake[tracer].vector(expected=True) for tracer in vectors}
    else:
        factors, values = person.factors[None], person.clinical if clinical else None
        probability = float(probability_positive(factors, values)[0])
        means = {tracer: mean[0] for tracer, mean in joint_mean(factors, tuple(vectors), values).items()}
    return Posterior(
        probability_positive=probability,
        mean={tracer: matrix @ mean for tracer, mean in means.items()},
        draws={tracer: array @ matrix.T for tracer, array in vectors.items()},
    )
