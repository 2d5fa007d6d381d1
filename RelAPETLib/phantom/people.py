"""Simulated people: who they are (factors, uptake, scans) and what their anatomy looks like.

A person of one seed and index has the same anatomy under every law; what the tracers show differs.

A person's brain is the template's tissue maps after three changes made in template space (loss of cortical grey
matter to CSF, white-matter lesions, a periventricular halo) and one smooth diffeomorphic deformation. Everything
follows from (seed, index), so person 7 of seed 3 is the same whatever else is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..grid import MNI_GRID, ModelGrid, image_to_array
from ..resources import resource
from . import law1, law2
from .factors import REGIONS, Uptake, draw_factors
from .law import LATEST, check_law, law_tracers
from .law2 import Clinical, Hidden

#: Lattice on which deformations are made, 4 mm, wider than any head.
FIELD_GRID = ModelGrid(shape=(60, 68, 60), spacing=(4.0, 4.0, 4.0), origin=(-118.0, -152.0, -112.0))

#: How factors become loss of cortical grey matter: weights on (mesial, cortical) atrophy by region.
ATROPHY = {
    "mesial_temporal": (1.0, 0.0),
    "lateral_temporal": (0.5, 0.7),
    "parietal": (0.0, 1.0),
    "precuneus_posterior_cingulate": (0.1, 0.95),
    "frontal": (0.0, 0.6),
    "occipital": (0.0, 0.4),
}
MEAN_LOSS, LOSS_PER_SD, LOSS_SCATTER_SD, MAX_LOSS = 0.14, 0.09, 0.25, 0.45


@dataclass(frozen=True)
class Person:
    """One simulated person.

    Attributes:
        seed, index: what the person follows from.
        factors: standard-normal factors in the order of `law.FACTORS`.
        uptake: true uptake of every tracer, scanned or not.
        scanned: tracers that this person was scanned with, at least one.
        law: version of the law that the uptake follows.
        clinical: age, sex and memory score as recorded; None under law 1.
        hidden: what no scan shows but the PET: amyloid status, tau and TSPO levels; None under law 1.
    """

    seed: int
    index: int
    factors: np.ndarray
    uptake: dict[str, Uptake]
    scanned: tuple[str, ...]
    law: int = 1
    clinical: Clinical | None = None
    hidden: Hidden | None = None

    def rng(self, stream: str) -> np.random.Generator:
        """Random numbers for one purpose, independent of those for any other."""
        return np.random.default_rng([self.seed, self.index, *stream.encode()])


@dataclass(frozen=True)
class Maps:
    """A person's brain sampled on a grid; float32 arrays [X, Y, Z].

    Attributes:
        grid: where the arrays lie, in the person's own space (the template's space before deformation).
        grey, white: tissue fractions, 0 to 1, lesions included in white.
        brain: 1 inside the brain (CSF included), 0 outside.
        lesion, halo: fractions of lesion and of periventricular halo, 0 to 1.
        activity: SUVR before blurring of every tracer, as the person's true uptake has it.
        expected_activity: the same for the law without its noise.
    """

    grid: ModelGrid
    grey: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    halo: np.ndarray
    activity: dict[str, np.ndarray] = field(default_factory=dict)
    expected_activity: dict[str, np.ndarray] = field(default_factory=dict)


def make_person(seed: int, index: int, law: int = LATEST) -> Person:
    """Person `index` of the cohort with this seed; about one in five lacks a given tracer.

    Args:
        law: version of the law of uptake, one of `law.VERSIONS`; the anatomy is the same under each.

    Raises:
        InputError: no such law.
    """
    check_law(law)
    rng = np.random.default_rng([seed, index, 0])
    factors = draw_factors(rng)
    clinical = hidden = None
    if law == 1:
        uptake = {tracer: law1.draw_uptake(tracer, factors, rng) for tracer in law1.LAWS}
    else:
        clinical, hidden, uptake = law2.draw_person(factors, rng)
        rng = np.random.default_rng([seed, index, 1])  # a new tracer comes last and leaves the others' draws
    tracers = law_tracers(law)
    scanned = tuple(tracer for tracer in tracers if rng.random() > 0.2)
    scanned = scanned or (tracers[rng.integers(len(tracers))],)
    return Person(seed, index, factors, uptake, scanned, law, clinical, hidden)


@lru_cache(maxsize=2)
def template_maps(spacing: int = 1) -> dict[str, np.ndarray]:
    """Template maps [X, Y, Z] on the model grid at 1 mm, or at 2 mm by averaging blocks of 2x2x2 voxels.

    Keys: grey, white, brain, ventricles (fractions, float32), region (index into `law.REGIONS` of the nearest region,
    uint8; at 2 mm of every second voxel, as models were trained on it) and periventricular (exp(-distance to the
    ventricles / 8 mm)).
    """
    import SimpleITK as sitk

    read = {
        name: image_to_array(sitk.ReadImage(str(resource("template", f"{file}.nii.gz")))).astype(np.float32)
        for name, file in (("grey", "grey_matter"), ("white", "white_matter"), ("brain", "brain_mask"))
    }
    grey, white, brain = read["grey"] / 255, read["white"] / 255, read["brain"]
    total = np.maximum(grey + white, 1)
    grey, white = grey / total * brain, white / total * brain
    x, y, z = grid_points(MNI_GRID)
    deep = (np.abs(x) < 38) & (y > -50) & (y < 38) & (z > -16) & (z < 34) & (np.abs(y - 5) + z < 62)
    ventricles = ((1 - grey - white) > 0.5) & deep & (brain > 0)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(ventricles.astype(np.uint8)))) == 1
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(largest, squaredDistance=False))
    ventricles = sitk.GetArrayFromImage(largest).astype(np.float32)
    maps = {
        "grey": grey, "white": white, "brain": brain, "ventricles": ventricles,
        "periventricular": np.exp(-np.maximum(distance, 0) / 8).astype(np.float32),
        "region": _nearest_region(),
    }  # fmt: skip
    if spacing == 1:
        return maps
    if spacing != 2:
        raise ValueError("template maps are made at 1 or 2 mm")
    return {name: array[::2, ::2, ::2] if name == "region" else _average_blocks(array) for name, array in maps.items()}


def _average_blocks(array: np.ndarray) -> np.ndarray:
    x, y, z = (n // 2 for n in array.shape)
    return array.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5)).astype(np.float32)


@lru_cache(maxsize=1)
def _nearest_region() -> np.ndarray:
    """Index into `law.REGIONS` of the nearest labelled voxel that is not white matter, for every voxel [X, Y, Z].

    It takes two seconds, and raw scans need the maps at 1 and at 2 mm.
    """
    import SimpleITK as sitk

    from ..regions import load_regions

    labels, regions = load_regions()
    lookup = np.full(256, 255, np.uint8)
    for region in regions:
        lookup[region.label] = REGIONS.index(region.name)
    indices = lookup[image_to_array(labels)]
    grey = ~np.isin(indices, (REGIONS.index("white_matter"), REGIONS.index("cerebellar_white"), 255))
    seeds = np.where(grey, indices.astype(np.int32) + 1, 0).astype(np.uint32)
    voronoi = sitk.DanielssonDistanceMapImageFilter()
    voronoi.SetInputIsBinary(False)
    voronoi.Execute(sitk.GetImageFromArray(seeds))
    return (sitk.GetArrayFromImage(voronoi.GetVoronoiMap()) - 1).astype(np.uint8)


def smooth(array: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of an array, sigma in voxels."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, sigma))


def _random_field(rng: np.random.Generator, sigma_mm: float, sd_mm: float) -> np.ndarray:
    """Smooth random vectors [3, X, Y, Z] on `FIELD_GRID` with the given SD in mm."""
    field = np.stack([smooth(rng.standard_normal(FIELD_GRID.shape), sigma_mm / 4) for _ in range(3)])
    return field * (sd_mm / field.std())


def _ventricle_field(amount_mm: float) -> np.ndarray:
    """Vectors that widen the ventricles by about `amount_mm` on every side (they point inwards: a pull-back)."""
    at_4mm = sample(template_maps(2)["ventricles"][None], grid_points(FIELD_GRID), model_grid_at(2))[0]
    gradient = np.stack(np.gradient(smooth(at_4mm, 1.5)))
    return gradient * (amount_mm / np.linalg.norm(gradient, axis=0).max())


def displacement(person: Person, kind: str, view: int = 0) -> np.ndarray:
    """Displacement [3, X, Y, Z] in mm (R, A, S) on `FIELD_GRID`: person's point -> template's point minus itself.

    ``full`` is the person's whole anatomy, a stationary velocity field integrated by six squarings, so that it folds
    nowhere; ``residual`` is what an imperfect registration to the template would leave of it, another draw for each
    `view`.
    """
    rng = person.rng(f"anatomy-{kind}-{view}")
    ventricles = 2.0 + 1.3 * person.factors[2]
    if kind == "full":
        velocity = _random_field(rng, 30, 3.0) + _random_field(rng, 12, 1.3) + _ventricle_field(ventricles)
        linear = np.diag(rng.normal(0, 0.035, 3)) + rng.normal(0, 0.015, (3, 3))
        velocity = velocity + np.einsum("ij,jxyz->ixyz", linear, grid_points(FIELD_GRID))
    elif kind == "residual":
        velocity = _random_field(rng, 6, 0.7) + _random_field(rng, 15, 0.5) + _ventricle_field(0.3 * ventricles)
    else:
        raise ValueError(f"kind '{kind}' is neither full nor residual")
    points = grid_points(FIELD_GRID)
    step = velocity / 2**6
    for _ in range(6):
        step = step + sample(step, points + step, FIELD_GRID, edge=True)
    return step.astype(np.float32)


def grid_points(grid: ModelGrid) -> np.ndarray:
    """RAS coordinates [3, X, Y, Z] in mm of a grid's voxels."""
    geometry = zip(grid.origin, grid.spacing, grid.shape, strict=True)
    axes = [o + s * np.arange(n, dtype=np.float32) for o, s, n in geometry]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def sample(arrays: np.ndarray, points: np.ndarray, grid: ModelGrid, edge: bool = False) -> np.ndarray:
    """Trilinear samples of arrays [C, X, Y, Z] on `grid` at RAS points [3, ...]; 0 or the edge's value outside."""
    import torch

    shape = points.shape[1:]
    unit = np.stack(
        [(points[d] - grid.origin[d]) / grid.spacing[d] * (2 / (grid.shape[d] - 1)) - 1 for d in (2, 1, 0)], axis=-1
    )
    out = torch.nn.functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(arrays, np.float32))[None],
        torch.from_numpy(unit.astype(np.float32).reshape(1, *shape[:1], *shape[1:], 3)),
        align_corners=True,
        padding_mode="border" if edge else "zeros",
    )
    return out[0].numpy()


def model_grid_at(spacing: int) -> ModelGrid:
    """The model grid at 1 or 2 mm (a 2 mm voxel covers 2x2x2 of 1 mm)."""
    shift = (spacing - 1) / 2
    return ModelGrid(
        shape=tuple(n // spacing for n in MNI_GRID.shape),
        spacing=(float(spacing),) * 3,
        origin=tuple(o + shift for o in MNI_GRID.origin),
    )


def _grey_loss(person: Person, region: np.ndarray, spacing: int) -> np.ndarray:
    """Fraction of cortical grey matter lost to CSF at every voxel, smooth over 6 mm."""
    scatter = person.rng("loss").normal(0, LOSS_SCATTER_SD, len(REGIONS))
    loss = np.zeros(len(REGIONS), np.float32)
    for name, weights in ATROPHY.items():
        i = REGIONS.index(name)
        z = np.dot(weights, person.factors[:2]) + scatter[i]
        loss[i] = np.clip(MEAN_LOSS + LOSS_PER_SD * z, 0, MAX_LOSS)
    return smooth(loss[region], 3 / spacing)


def _lesions(person: Person, spacing: int) -> np.ndarray:
    """White-matter lesions as soft blobs, more and larger with white-matter disease, mostly near the ventricles."""
    maps, rng = template_maps(spacing), person.rng("lesions")
    disease = person.factors[3]
    cerebral = maps["region"] != REGIONS.index("cerebellar_grey")
    weight = (maps["white"] ** 2 * (0.05 + maps["periventricular"] ** 1.5) * cerebral).ravel()
    centres = rng.choice(weight.size, size=rng.poisson(9 * np.exp(0.7 * disease)), p=weight / weight.sum())
    lesion = np.zeros(maps["white"].shape, np.float32)
    for centre in np.stack(np.unravel_index(centres, lesion.shape), axis=1):
        radii = rng.gamma(4, 0.75, 3) * np.exp(0.12 * disease) / spacing
        reach = np.ceil(radii + 2).astype(int)
        box = tuple(
            slice(max(c - r, 0), min(c + r + 1, n)) for c, r, n in zip(centre, reach, lesion.shape, strict=True)
        )
        offsets = np.ogrid[box]
        distance = np.sqrt(sum(((o - c) / r) ** 2 for o, c, r in zip(offsets, centre, radii, strict=True)))
        lesion[box] = np.maximum(lesion[box], np.clip((1.15 - distance) / 0.3, 0, 1))
    return lesion * maps["white"]


def person_maps(
    person: Person,
    grid: ModelGrid,
    *,
    kind: str = "full",
    spacing: int = 1,
    view: int = 0,
    tracers=None,
    expected: bool = True,
) -> Maps:
    """The person's brain sampled on `grid` through the `full` or `residual` deformation.

    Args:
        grid: where to sample, in the person's own space; it may be larger than the model grid.
        spacing: resolution in mm of the template maps that are sampled, 1 or 2.
        view: which draw of the residual deformation.
        tracers: names of the tracers whose activity is wanted; all by default.
        expected: also make `Maps.expected_activity`.
    """
    template = template_maps(spacing)
    tissue = tissue_maps(person, spacing)
    channels = {
        **tissue,
        "brain": template["brain"],
        "halo": template["periventricular"] * template["white"],
    }
    for tracer in person.uptake if tracers is None else tracers:
        uptake = person.uptake[tracer]
        channels[f"activity {tracer}"] = activity(template, tissue, uptake.vector())
        if expected:
            channels[f"expected {tracer}"] = activity(template, tissue, uptake.vector(expected=True))
    warped = warp_to(person, grid, channels, kind=kind, spacing=spacing, view=view)
    return Maps(
        grid=grid,
        activity={k.split()[1]: v for k, v in warped.items() if k.startswith("activity ")},
        expected_activity={k.split()[1]: v for k, v in warped.items() if k.startswith("expected ")},
        **{k: warped[k] for k in ("grey", "white", "brain", "lesion", "halo")},
    )


def tissue_maps(person: Person, spacing: int) -> dict[str, np.ndarray]:
    """The person's ``grey``, ``white`` (with lesions) and ``lesion`` fractions in template space, [X, Y, Z] float32."""
    template = template_maps(spacing)
    lesion = _lesions(person, spacing)
    grey = template["grey"] * (1 - _grey_loss(person, template["region"], spacing)) * (1 - lesion)
    return {"grey": grey, "white": template["white"] * (1 - lesion) + lesion, "lesion": lesion}


def warp_to(
    person: Person, grid: ModelGrid, maps: dict[str, np.ndarray], *, kind: str, spacing: int, view: int = 0
) -> dict[str, np.ndarray]:
    """Maps of template space [X, Y, Z] at `spacing` mm, sampled on `grid` through the person's deformation."""
    stacked = np.stack(list(maps.values()))
    return dict(zip(maps, warp_stack(person, grid, stacked, kind=kind, spacing=spacing, view=view), strict=True))


def warp_stack(
    person: Person, grid: ModelGrid, maps: np.ndarray, *, kind: str, spacing: int, view: int = 0
) -> np.ndarray:
    """The same of maps in one array [C, X, Y, Z], which is not copied."""
    points, template = grid_points(grid), model_grid_at(spacing)
    points = points + sample(displacement(person, kind, view), points, FIELD_GRID, edge=True)
    inside = np.ones(grid.shape, bool)  # elsewhere every sample is 0
    for along, origin, step, n in zip(points, template.origin, template.spacing, template.shape, strict=True):
        inside &= (along > origin - step) & (along < origin + n * step)
    box = (slice(None), *bounding_box(inside))
    warped = np.zeros((len(maps), *grid.shape), np.float32)
    warped[box] = sample(maps, points[box], template)
    return warped


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Slices that hold all of a mask [X, Y, Z], and a voxel more on every side where there is one."""
    found = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(max(f[0] - 1, 0), f[-1] + 2) if len(f) else slice(1) for f in found)


def activity(template: dict[str, np.ndarray], tissue: dict[str, np.ndarray], uptake: np.ndarray) -> np.ndarray:
    """SUVR before blurring, in template space: each tissue's share times its uptake.

    Args:
        template: from `template_maps`.
        tissue: from `tissue_maps`.
        uptake: [15] in the order of `factors.COMPONENTS`; the result is linear in it.
    """
    *regional, in_lesions, in_csf, in_choroid = uptake.tolist()
    by_name = dict(zip(REGIONS, regional, strict=True))
    by_region = np.array(regional, np.float32)[template["region"]]
    cerebellar = template["region"] == REGIONS.index("cerebellar_grey")
    brainstem = template["region"] == REGIONS.index("brainstem")
    in_white = np.where(cerebellar, by_name["cerebellar_white"], by_name["white_matter"])
    in_white = np.where(brainstem, by_name["brainstem"], in_white) + in_lesions * tissue["lesion"]
    fluid = np.where(template["ventricles"] > 0.5, in_choroid, in_csf)
    csf = np.clip(template["brain"] - tissue["grey"] - tissue["white"], 0, 1)
    return (tissue["grey"] * by_region + tissue["white"] * in_white + csf * fluid).astype(np.float32)
