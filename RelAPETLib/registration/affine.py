"""Affine registration of a T1w to the template: many starts, then rigid, then affine, by mutual information.

The search is meant for raw scans whose header may lie: rotations up to about 30 degrees about each axis, any offset.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from .beside import Start, at_once, own, shared
from .brain_extraction import Brain
from .coverage import face_areas
from .mutual_information import (
    evaluate,
    fov_share,
    mask_points,
    mutual_information,
    on_grid,
    refine,
)
from .scans import Scan, centroid
from .template import Template

#: Start rotations about each axis, degrees, and start distances, mm, from the head's centroid up to the brain's:
#: the neck pulls a head's centroid down by as much as the field of view shows of it.
START_ANGLES = (-30.0, 0.0, 30.0)
START_OFFSETS = (-20.0, 0.0, 20.0, 40.0)
#: The ICBM 152 template is about a tenth longer than a person's brain in each direction. A rigid search with it as it
#: is fits the brain's border to the scalp; with a template of a person's size the right basin is far the deepest.
PERSON_SIZE = 0.9
KEEP_RIGID = 8
KEEP_AFFINE = 3
#: The same where the brain's own centroid is known: all starts are near.
KEEP_RIGID_BRAIN = 3
KEEP_AFFINE_BRAIN = 1
#: Intracranial volumes (ml) between which a mask is taken for a whole brain's, where it touches the scan's border with
#: less than `CUT_MM2` on each side: a cap that is cut off with that area is some 10 mm high, and moves the centroid by
#: 1 mm.
WHOLE_ML = (900.0, 2200.0)
CUT_MM2 = 4000.0
#: The search ends with steps of so many voxels of 2 mm. The rigid one goes on to 1e-4, since no deformation follows it;
#: here that took half as long again and moved the brain by .07 to .17 mm on three real scans.
LAST_STEP = 2e-3


def _scaled(image: sitk.Image, centre: np.ndarray, factor: float) -> sitk.Image:
    """The same voxels, smaller by a factor about a point."""
    scaled = sitk.Image(image)
    scaled.SetSpacing([s * factor for s in image.GetSpacing()])
    scaled.SetOrigin((centre + factor * (np.asarray(image.GetOrigin()) - centre)).tolist())
    return scaled


def _starts(template_centre: np.ndarray, centre: np.ndarray, offsets=START_OFFSETS) -> Iterator[sitk.Euler3DTransform]:
    """Rigid transforms from template points to scan points: all start rotations times all offsets from `centre`."""
    for angles in itertools.product(START_ANGLES, repeat=3):
        rotation = sitk.Euler3DTransform()
        rotation.SetCenter(template_centre.tolist())
        rotation.SetRotation(*np.radians(angles).tolist())
        up = np.asarray(rotation.GetMatrix()).reshape(3, 3)[:, 2]
        for offset in offsets:
            start = sitk.Euler3DTransform(rotation)
            start.SetTranslation((centre - template_centre + offset * up).tolist())
            yield start


def _with_scale(rigid: sitk.Euler3DTransform, factor: float) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([m * factor for m in rigid.GetMatrix()])
    affine.SetTranslation(rigid.GetTranslation())
    affine.SetCenter(rigid.GetCenter())
    return affine


def _whole(brain: Brain) -> bool:
    """Whether an extracted brain has a brain's volume and at most a little of it is cut off by the scan's border."""
    return WHOLE_ML[0] < brain.volume_ml < WHOLE_ML[1] and float(face_areas(brain.mask).max()) < CUT_MM2


def _size_of(brain: Brain, fixed: sitk.Image, mask: sitk.Image) -> float:
    """A person's size as a share of the template's, each way, by volume; at the most a tenth from `PERSON_SIZE`."""
    template_ml = float(np.prod(fixed.GetSpacing())) * len(mask_points(mask)) / 1000
    return float(np.clip(np.cbrt(brain.volume_ml / template_ml), PERSON_SIZE - 0.1, PERSON_SIZE + 0.1))


def _search(
    fixed: sitk.Image, mask: sitk.Image, t1w: Scan, brain: Brain | None, aside: Start
) -> list[sitk.AffineTransform]:
    """The best rigid candidates at the coarse level, best first, with a person's size.

    Starts do not know of one another, so every second one is looked at aside.
    """
    moving, centre = t1w.coarse, mask_points(mask).mean(axis=0)
    size, offsets, keep = PERSON_SIZE, START_OFFSETS, (KEEP_RIGID, KEEP_AFFINE)
    aim = centroid(t1w.head if brain is None else brain.mask)
    if brain is not None:
        size = _size_of(brain, fixed, mask)
        offsets, keep = (0.0,), (KEEP_RIGID_BRAIN, KEEP_AFFINE_BRAIN)
    small, small_mask = _scaled(fixed, centre, size), _scaled(mask, centre, size)
    points = mask_points(small_mask)
    starts = [s for s in _starts(centre, aim, offsets) if fov_share(points, s, moving) >= 0.5]

    def evaluation() -> Callable:
        method, images = mutual_information(own(small_mask)), (own(small), own(moving))
        return lambda start: evaluate(method, *images, start)

    def refinement() -> Callable:
        method, images = mutual_information(own(small_mask)), (own(small), own(moving))
        return lambda start: refine(method, *images, start, step=4.0, iterations=60)

    scored = sorted((value, n) for n, value in enumerate(shared(aside, evaluation, starts)))
    rigid = shared(aside, refinement, [starts[n] for _, n in scored[: keep[0]]])
    rigid = sorted((r for r in rigid if r is not None), key=lambda r: r[1])[: keep[1]]
    return [_with_scale(r, size) for r, _ in rigid]


def _affine(fixed: sitk.Image, mask: sitk.Image, moving: sitk.Image, starts: list[sitk.AffineTransform]) -> list:
    """Affine candidates at the coarse level with their metric, best first."""
    method = mutual_information(mask)
    # Small steps: from a good rigid start, a first step of a voxel threw the affine away on two of five scans.
    found = [refine(method, fixed, moving, start, step=0.2, iterations=200) for start in starts]
    found = [a for a in found if a is not None and fov_share(mask_points(mask), a[0], moving) >= 0.3]
    return sorted(found, key=lambda a: a[1])


def register_affine(t1w: Scan, template: Template, brain: Brain | None = None) -> sitk.AffineTransform:
    """Affine transform from template points to points of a T1w (LPS, mm); see `begin_affine`.

    Raises:
        InputError: nothing in the T1w overlaps the template's brain.
    """
    return begin_affine(t1w, template, brain)()


def begin_affine(
    t1w: Scan, template: Template, brain: Brain | None = None, aside: Start = at_once
) -> Callable[[], sitk.AffineTransform]:
    """The search for where a brain lies in a T1w; what is returned goes on to the affine from there, in one thread.

    Args:
        t1w: from `scans.prepare`.
        template: from `load_template`.
        brain: of the T1w, whose centroid and size spare most of the search where it is whole; see `_whole`.
        aside: starts half of the search; see `beside`.

    Returns:
        Gives the transform from template points to points of the T1w, LPS mm. Raises `InputError` where nothing in the
        T1w overlaps the template's brain.
    """
    brain = brain if brain is not None and _whole(brain) else None
    fixed, coarse = template.fine, template.coarse
    mask = on_grid(template.rim, coarse)
    starts = _search(coarse, mask, t1w, brain, aside)

    def finish() -> sitk.AffineTransform:
        candidates, found = _affine(coarse, mask, t1w.coarse, starts), None
        if candidates:
            method = mutual_information(on_grid(template.rim, fixed), sampling=0.3)
            found = refine(method, fixed, t1w.fine, candidates[0][0], step=0.5, iterations=150, last_step=LAST_STEP)
        if found is None:
            raise InputError("the T1w could not be laid over the template; check that it shows a whole brain")
        return found[0]

    return finish
