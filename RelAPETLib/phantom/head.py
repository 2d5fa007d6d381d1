"""What surrounds a simulated brain: fluid, skull with marrow, scalp, neck, face, eyes.

A scan that registration and masking must cope with shows more than a brain. The shells follow the brain's outline;
face and neck are ellipsoids placed by the brain's bounding box. Only the look of a head matters here, so the maps are
made at 2 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..grid import ModelGrid
from .people import Maps, Person, grid_points, person_maps, smooth

#: Where a person is sampled: 1 mm, the person's own space, wide enough for every head.
HEAD_GRID = ModelGrid(shape=(204, 244, 228), spacing=(1.0, 1.0, 1.0), origin=(-101.5, -134.5, -126.5))
COARSE_GRID = ModelGrid(shape=(102, 122, 114), spacing=(2.0, 2.0, 2.0), origin=(-101.0, -134.0, -126.0))

#: Centre and half extent (mm) of the template brain, to which the positions below refer.
TEMPLATE_CENTRE, TEMPLATE_HALF = np.array([0.0, -16.0, 3.0]), np.array([71.0, 88.0, 75.0])

#: (centre, radii) in mm; an |x| different from 0 stands on both sides.
FACE = (((0, 42, -62), (64, 52, 62)), ((0, 96, -48), (13, 13, 20)), ((0, 60, -100), (42, 42, 28)))
NECK = (((0, -22, -115), (58, 60, 70)),)
AIRWAYS = (((0, 72, -48), (12, 20, 17)), ((24, 62, -62), (10, 14, 12)), ((0, 22, -84), (11, 8, 34)))
EYES = (((32, 66, -37), (12, 12, 12)),)
TEMPORALIS = (((72, 5, -20), (30, 50, 45)),)
SPINE = ((0, -22, -105), (16, 11, 40))


@dataclass(frozen=True)
class NonBrainTissues:
    """Fractions of what lies outside the brain on `COARSE_GRID`; float32 [X, Y, Z], 0 to 1, air the rest."""

    fluid: np.ndarray
    bone: np.ndarray
    marrow: np.ndarray
    fat: np.ndarray
    muscle: np.ndarray
    cord: np.ndarray

    def signal(self, values: dict[str, float]) -> np.ndarray:
        """Noise-free signal [X, Y, Z] for the signal of each tissue, by the names of the fields."""
        return sum(values[field.name] * getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Head:
    """A person's brain on `HEAD_GRID` with its surroundings on `COARSE_GRID`."""

    person: Person
    maps: Maps
    surroundings: NonBrainTissues


def make_head(person: Person, *, tracers=None, expected: bool = True) -> Head:
    """The whole head of a person, in the person's own space; `tracers` and `expected` are `people.person_maps`'s."""
    maps = person_maps(person, HEAD_GRID, tracers=tracers, expected=expected)
    return Head(person, maps, _surroundings(person, maps.brain))


def _step(distance: np.ndarray) -> np.ndarray:
    """1 where the distance in mm is positive, 0 where negative, linear over one coarse voxel between."""
    return np.clip(distance / 2 + 0.5, 0, 1)


def _ellipsoids(points: np.ndarray, ellipsoids) -> np.ndarray:
    """Approximate distance in mm inside (positive) the union of ellipsoids, mirrored to both sides."""
    x, y, z = np.abs(points[0]), points[1], points[2]
    depth = np.full(x.shape, -np.inf, np.float32)
    for (cx, cy, cz), (rx, ry, rz) in ellipsoids:
        radius = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        depth = np.maximum(depth, (1 - radius) * min(rx, ry, rz))
    return depth


def _outside_distance(brain: np.ndarray) -> np.ndarray:
    """Distance in mm to the brain closed by 12 mm (skulls do not follow sulci), negative inside."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray((brain > 0.5).astype(np.uint8))
    closed = sitk.BinaryMorphologicalClosing(image, [6, 6, 6])
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(closed, squaredDistance=False)) * 2.0
    return smooth(distance.astype(np.float32), 1.5)


def _texture(rng: np.random.Generator, sigma_mm: float) -> np.ndarray:
    """Smooth random map on `COARSE_GRID` of mean 0 and SD 1."""
    field = smooth(rng.standard_normal(COARSE_GRID.shape, np.float32), sigma_mm / 2)
    return (field - field.mean()) / field.std()


def _surroundings(person: Person, brain_1mm: np.ndarray) -> NonBrainTissues:
    rng = person.rng("head")
    x, y, z = (n // 2 for n in brain_1mm.shape)
    brain = brain_1mm.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))
    world = grid_points(COARSE_GRID)
    inside = brain > 0.5
    low, high = (np.array([f(world[d][inside]) for d in range(3)], np.float32) for f in (np.min, np.max))
    to_template = (world - ((low + high) / 2)[:, None, None, None]) / ((high - low) / 2)[:, None, None, None]
    points = to_template * TEMPLATE_HALF[:, None, None, None] + TEMPLATE_CENTRE[:, None, None, None]
    points = points.astype(np.float32)

    distance = _outside_distance(brain)
    thick = _texture(rng, 25)
    fluid_end = rng.uniform(1.0, 2.5)
    bone_end = fluid_end + rng.uniform(5, 8) * np.exp(0.2 * thick)
    skin = bone_end + rng.uniform(4, 9) * np.exp(0.2 * _texture(rng, 25))
    face = np.maximum(_ellipsoids(points, FACE), _ellipsoids(points, NECK))
    head = np.maximum(_step(skin - distance), _step(face))
    air = _step(_ellipsoids(points, AIRWAYS)) * _step(distance - bone_end)
    solid = head * (1 - air)

    fluid = _step(fluid_end - distance)
    skull = solid * _step(bone_end - distance) * (1 - fluid)
    middle = (distance - fluid_end) / np.maximum(bone_end - fluid_end, 1)
    marrow = skull * np.clip(6 * (0.33 - np.abs(middle - 0.5)), 0, 1) * np.clip(0.6 + 0.5 * thick, 0, 1)

    soft = solid * (1 - _step(bone_end - distance))
    texture = _texture(rng, 6)
    deep = _step(face - 5) * np.clip(0.75 + 0.8 * texture, 0, 1)
    temporal = _step(skin - 2.5 - distance) * np.clip(_ellipsoids(points, TEMPORALIS) / 8, 0, 1)
    muscle = soft * np.maximum(deep, temporal)
    fat = soft - muscle
    eye = soft * _step(_ellipsoids(points, EYES)) * _step(distance - bone_end)
    fat, muscle = fat * (1 - eye), muscle * (1 - eye)
    tissue = {"fluid": fluid + eye, "bone": skull - marrow, "marrow": marrow, "fat": fat, "muscle": muscle}
    return _with_spine(points, brain, tissue)


def _with_spine(points: np.ndarray, brain: np.ndarray, tissue: dict[str, np.ndarray]) -> NonBrainTissues:
    """Continue the brainstem, which the template cuts off, as a cord in its fluid, in front of it vertebrae."""
    lowest = np.nonzero((brain > 0.5).sum((0, 1)) > 12)[0][0]
    stem = brain[:, :, lowest] > 0.5
    x0, y0 = points[0][:, :, lowest][stem].mean(), points[1][:, :, lowest][stem].mean()
    below = np.arange(brain.shape[2]) <= lowest + 1
    radius = np.hypot(points[0] - x0, points[1] - y0)
    cord = _step(7 - radius) * below
    canal = _step(11 - radius) * below * (1 - cord)
    vertebra = _step(_ellipsoids(points, (SPINE,))) * below * (1 - canal) * (1 - cord)
    left = (1 - cord) * (1 - canal) * (1 - vertebra)
    fluid = tissue["fluid"] * left + canal
    marrow, bone = tissue["marrow"] * left + 0.8 * vertebra, tissue["bone"] * left + 0.2 * vertebra
    return NonBrainTissues(fluid, bone, marrow, tissue["fat"] * left, tissue["muscle"] * left, cord.astype(np.float32))
