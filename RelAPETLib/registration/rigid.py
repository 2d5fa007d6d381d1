"""Rigid registration of a second scan (T2F, PET) to the T1w of the same person, by mutual information."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
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

#: Start rotations about each axis, degrees, tried beside the header's own position.
START_ANGLES = (-25.0, 0.0, 25.0)
KEEP = 2
#: A refined start has found the brain where the metric is so many times the median of all starts, most of which lie
#: far beside it. Right fits of 19 simulated PET and FLAIR had 4.3 to 9.2, of a real FLAIR 3.7, and astray ones of a
#: PET 1.2 to 2.1.
TELLING = 2.5
#: Share of the brain's 2 mm voxels that the last refinement compares.
SAMPLING = 0.3
#: It ends with steps of so many voxels of 2 mm.
LAST_STEP = 1e-4


def _starts(centre: np.ndarray, shift: np.ndarray) -> Iterator[sitk.Euler3DTransform]:
    """Rigid starts: the header's position, then all rotations about the brain's centre with centroids met."""
    header = sitk.Euler3DTransform()
    header.SetCenter(centre.tolist())
    yield header
    for angles in itertools.product(START_ANGLES, repeat=3):
        start = sitk.Euler3DTransform(header)
        start.SetRotation(*np.radians(angles).tolist())
        start.SetTranslation(shift.tolist())
        yield start


def register_rigid(t1w: Scan, brain: sitk.Image, scan: Scan, name: str) -> sitk.Euler3DTransform:
    """Rigid transform from points of a T1w to points of another scan of the same person (LPS, mm).

    Args:
        t1w, scan: from `scans.prepare`.
        brain: mask (> 0) of the brain in the T1w's space, on any grid; only there the scans are compared, so a moved
            neck, jaw or scalp does not count.
        name: what an error calls `scan`.

    Raises:
        InputError: the scans cannot be made to overlap.
    """
    centre = mask_points(brain).mean(axis=0)
    fixed, moving, coarse, coarse_moving = t1w.fine, scan.fine, t1w.coarse, scan.coarse
    mask = on_grid(brain, coarse)
    points = mask_points(mask)
    method = mutual_information(mask)
    starts = [
        s for s in _starts(centre, centroid(scan.head) - centroid(t1w.head)) if fov_share(points, s, moving) >= 0.3
    ]
    values = [evaluate(method, coarse, coarse_moving, start) for start in starts]
    found = _coarse_fits(method, coarse, coarse_moving, starts, values)
    if found:
        method = mutual_information(on_grid(brain, fixed), sampling=SAMPLING)
        found = [refine(method, fixed, moving, found[0][0], step=0.5, iterations=150, last_step=LAST_STEP)]
    if not found or found[0] is None or fov_share(points, found[0][0], scan.image) < 0.3:
        raise InputError(f"the {name} could not be laid over the T1w; check that both show the same person's head")
    return found[0][0]


def _coarse_fits(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    starts: list[sitk.Euler3DTransform],
    values: list[float],
) -> list[tuple[sitk.Euler3DTransform, float]]:
    """Refined starts and their metric, the best first: the best `KEEP`, and others until one is `TELLING`.

    Args:
        starts: of `_starts`, the header's position first where it is among them.
        values: the metric at each; lower is better.
    """
    order = sorted(range(len(starts)), key=lambda n: (values[n], n))
    order = order[:KEEP] + sorted(order[KEEP:], key=lambda n: n > 0)  # the header's position before the others
    enough = TELLING * float(np.median(values)) if values else 0.0
    found = []
    for tried, n in enumerate(order):
        if tried >= KEEP and found and min(fit[1] for fit in found) <= enough:
            break
        fit = refine(method, fixed, moving, starts[n], step=1.0, iterations=100)
        found += [fit] if fit is not None else []
    return sorted(found, key=lambda fit: fit[1])


def rigid_to_t1w(
    scans: Mapping[str, Scan], affine: sitk.Transform, template: Template
) -> Callable[[], dict[str, sitk.Transform]]:
    """What finds the rigid transforms from T1w points to points of every other scan, by name, beside other work.

    What both would read is made here, now; see `beside.own`.

    Args:
        scans: ``t1w``, and others by what messages call them, but for ``t2f``.
        affine: template points to T1w points.
        template: from `load_template`.
    """
    t1w = scans["t1w"]
    brain = on_grid(template.wide, t1w.made().fine, affine.GetInverse())
    rest = {name: scan for name, scan in scans.items() if name != "t1w"}
    called = {name: "T2F" if name == "t2f" else name for name in rest}
    return lambda: {name: register_rigid(t1w, brain, scan, called[name]) for name, scan in rest.items()}
