"""A pair read: both PET at one resolution, the measured one also on the synthetic one's grid, and the brain.

A measured PET on another grid is resampled to where its own header puts it, and refused where that is clearly another
place than the synthetic one's. Only who asks for it gets a registration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DoubtfulInputError, InputError
from ..grid import MNI_GRID
from ..notices import printable, warn
from ..volumes.masked import LEAST_WEIGHT, smoothed
from ..volumes.synthetic import SYNTHETIC
from .brains import Brain, Brains, space_of_pair
from .pairs import Pair
from .settings import Settings
from .spaces import space_of

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Least share of the brain in the measured one's field of view.
LEAST_IN_FIELD = 0.5
#: Correlation of the two in and around the brain (`AROUND_MM`) below which they are refused, and told of. On simulated
#: people, PET of two tracers that lie 10 mm apart reach .6 to .8 and 40 mm apart .1 to .4.
LEAST_LIKENESS, GOOD_LIKENESS = 0.6, 0.85
AROUND_MM = 20.0
#: Share of the brain in which a PET that an earlier run registered, and masked by its own brain, may be 0; and how far
#: below the brain's surface (mm) such 0 counts, since masks of two programs differ in a rim.
MOST_UNSEEN, RIM_MM = 0.001, 3.0
_APART = {
    "T1w": "register the measured PET to the T1w first and give that file, or use --register",
    "MNI": "bring the measured PET to MNI space first and give that file, or give both PET in the T1w's space",
}
_APART_STILL = "--register did not bring them together; look whether T1w and PET are of one person"


@dataclass(frozen=True)
class Loaded:
    """Images of a pair.

    Attributes:
        synthetic: on its own grid, SUVR; None for a measured PET alone.
        measured: on its own grid, in its own unit.
        on_grid: the measured one on the synthetic one's grid (its own where there is none), its own unit.
        in_field: there, 1 where the measured one's field of view is.
        brain: there, 1 in the brain; None where nothing says where it is.
        brain_from: what says so.
        space: ``MNI`` or ``T1w``.
        where: the brain on any grid, the same for all models of a person; None for that of `brain`.
        relative: whether the synthetic one is not in SUVR but in units of its own.
        units_from, unit_guessed: how the measured one's unit is known, once it is, and whether by its values alone.
        divided: what the synthetic one was divided by, once it was, to be SUVR as it is compared.
        registered: the measured one is that which an earlier run registered (`Pair.registered`).
    """

    synthetic: sitk.Image | None
    measured: sitk.Image
    on_grid: sitk.Image
    in_field: sitk.Image
    brain: sitk.Image | None
    brain_from: str
    space: str
    where: Brain | None = None
    relative: bool = False
    units_from: str = ""
    unit_guessed: bool = False
    divided: float = 1.0
    registered: bool = False


def load_pair(pair: Pair, settings: Settings, brains: Brains | None = None) -> Loaded:
    """Read a pair.

    Args:
        brains: of all pairs of the evaluation; None: this one is all.

    Raises:
        InputError: a file that cannot be read or used, or two PET that lie in two places.
        DoubtfulInputError: two PET that hardly overlap, or a measured one that says it is of another tracer or a
            synthetic one, and `settings.force` is False.

    Warns:
        RelAPETWarning: two PET that overlap poorly, or a registered one that lacks a part of the brain, in whose place
            the measured PET's own file is read.
    """
    import SimpleITK as sitk

    from ..volumes import check_volume, read_volume

    _check_measured(pair, settings.force)
    measured = _measured(pair, settings)
    synthetic = None
    if pair.synthetic is not None and not settings.measured_only:
        synthetic = read_volume(pair.synthetic, name="synthetic PET")
        check_volume(synthetic, str(pair.synthetic))
    target = synthetic if synthetic is not None else measured
    space = space_of_pair(pair, target)
    where = (brains or Brains([pair])).of(pair, space, synthetic=synthetic is not None)
    brain = None if where is None else _on_grid(where, target)
    if synthetic is not None:
        if pair.registered is not None and (lacks := _unseen(measured, where)) > MOST_UNSEEN:
            warn(
                f"{printable(pair.registered)}: 0 in {100 * lacks:.1f} % of the brain and up to its surface, where the "
                "measured PET's field of view may have ended; the measured PET's own file is read in its place"
            )
            pair = replace(pair, registered=None)
            measured = _measured(pair, settings)
        if settings.register:
            measured = registered(measured, pair, brain, space)
    on_grid = sitk.Resample(measured, target, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    in_field = field_of_view(measured, target)
    relative = synthetic is not None and is_relative(pair.synthetic)
    source = "nothing" if where is None else where.source
    before = pair.registered is not None
    loaded = Loaded(synthetic, measured, on_grid, in_field, brain, source, space, where, relative, registered=before)
    if synthetic is not None:
        _check_place(pair, loaded, settings)
    return _at_one_resolution(loaded, settings)


def _check_measured(pair: Pair, force: bool) -> None:
    """Doubt a measured PET that says it is of another tracer, or a synthetic one."""
    from ..volumes import says_synthetic
    from ..volumes.named_tracer import other_tracer

    name, found = printable(pair.measured), []
    if why := other_tracer(pair.measured, pair.tracer, pair.sidecar):
        found.append((why, "name its own; --force takes it as it is"))
    if says_synthetic(pair.measured):
        found.append((SYNTHETIC, "name a measured PET; --force takes it as it is"))
    for why, advice in found:
        if not force:
            raise DoubtfulInputError(f"{name}: {why}", advice)
        warn(f"{name}: {why}")


def _at_one_resolution(loaded: Loaded, settings: Settings) -> Loaded:
    """The same with both PET smoothed in the brain to the wanted resolution, and the measured one brought over anew.

    Both are smoothed and interpolated among their voxels in the brain alone: a synthetic PET has nothing but 0 outside,
    a measured one its surroundings, and neither may weigh.
    """
    import SimpleITK as sitk

    synthetic, measured, where = loaded.synthetic, loaded.measured, loaded.where
    if settings.fwhm is not None:
        measured = _smoothed(measured, where, settings.fwhm, settings.fwhm_measured)
        if synthetic is not None:
            synthetic = _smoothed(synthetic, where, settings.fwhm, settings.fwhm_synthetic)
    on_grid = measured if synthetic is None else loaded.on_grid
    if synthetic is not None and where is not None:
        values, weights = where.brought(measured, loaded.on_grid)
        around = sitk.Resample(measured, values, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        on_grid = values + sitk.Mask(around, weights < LEAST_WEIGHT)
    return replace(loaded, synthetic=synthetic, measured=measured, on_grid=on_grid)


def _measured(pair: Pair, settings: Settings) -> sitk.Image:
    from ..volumes.frames import PetScan, read_pet

    scan = PetScan(pair.tracer, pair.registered or pair.measured, pair.sidecar, pair.sidecar_paths)
    return read_pet(scan, settings.frames)[0]


def _unseen(measured: sitk.Image, where: Brain | None) -> float:
    """Share of the brain that a registered PET does not show, since its field of view ended there: 0 to 1.

    It is exactly 0 there, up to the brain's surface and deeper than `RIM_MM` or a voxel. What is 0 within, as where
    a reconstruction gave nothing less, does not count. Of one person's models all get the same.
    """
    import SimpleITK as sitk

    if where is None:
        return 0.0
    brain = where.shared(measured)
    empty = (measured == 0) & brain
    inside, zero = sitk.GetArrayViewFromImage(brain) > 0, sitk.GetArrayViewFromImage(empty) > 0
    if zero.sum() <= MOST_UNSEEN * inside.sum():
        return 0.0
    depth = sitk.SignedMaurerDistanceMap(brain, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    surface = inside & (sitk.GetArrayFromImage(sitk.BinaryErode(brain, [1] * 3)) == 0)
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(empty))
    reached = np.isin(pieces, np.unique(pieces[surface & zero]))
    deep = sitk.GetArrayViewFromImage(depth) > max(RIM_MM, *measured.GetSpacing())
    return float((reached & zero & deep).sum() / inside.sum())


def registered(measured: sitk.Image, pair: Pair, brain: sitk.Image, space: str) -> sitk.Image:
    """A measured PET laid over the T1w by a rigid registration: its voxels are as they were, their places are not.

    Args:
        brain: 1 in the brain, in the T1w's space.
        space: of the synthetic PET, ``MNI`` or ``T1w``.

    Raises:
        InputError: the pair names no T1w, or one in another space than the synthetic PET; or the two cannot be laid
            over each other. A T1w is in MNI space where its name says so (``space-MNI...``) or on the model's grid.
    """
    import SimpleITK as sitk

    from ..registration.rigid import register_rigid
    from ..registration.scans import prepare
    from ..volumes import check_volume, read_volume

    if pair.t1w is None:
        raise InputError(f"{pair.name}: --register needs the T1w in whose space the synthetic PET is (column t1w)")
    t1w = read_volume(pair.t1w, name="T1w")
    check_volume(t1w, str(pair.t1w))
    _check_t1w_space(pair, t1w, space)
    # As in preprocessing, the brain's surroundings count too.
    radius = [max(1, round(4 / spacing)) for spacing in brain.GetSpacing()]
    wider = sitk.BinaryDilate(brain, radius, sitk.sitkBall, 0, 1, False)
    to_pet = register_rigid(prepare(t1w, "T1w"), wider, prepare(measured, "PET", bias=False), "PET")
    back = to_pet.GetInverse()
    moved = sitk.Image(measured)
    moved.SetOrigin(back.TransformPoint(measured.GetOrigin()))
    turn = np.reshape(sitk.Euler3DTransform(back).GetMatrix(), (3, 3))
    moved.SetDirection((turn @ np.reshape(measured.GetDirection(), (3, 3))).ravel().tolist())
    return moved


def _check_t1w_space(pair: Pair, t1w: sitk.Image, space: str) -> None:
    """Refuse a T1w in another space than the synthetic PET: what is laid over it lies in its space, not the PET's."""
    in_mni = space_of(pair.t1w) == "MNI" or (space == "MNI" and MNI_GRID.matches(t1w))
    if in_mni and space != "MNI":
        raise InputError(f"{pair.name}: the synthetic PET lies in T1w space and the T1w for --register in MNI space")
    if space == "MNI" and not in_mni:
        raise InputError(
            f"{pair.name}: the synthetic PET lies in MNI space, and nothing says that the T1w for --register does; "
            "give both PET in the T1w's own space, or a T1w in MNI space with space-MNI... in its name"
        )


def shown(image: sitk.Image) -> sitk.Image:
    """Where a PET shows a person: 1 where it is not 0, holes filled; other programs pad with exact 0."""
    import SimpleITK as sitk

    return sitk.BinaryFillhole(sitk.Cast(image != 0, sitk.sitkUInt8))


def is_relative(path: Path) -> bool:
    """Whether the record or sidecar beside a synthetic PET says that its unit is not SUVR; without one it is.

    Raises:
        InputError: what stands beside it cannot be read.
    """
    from ..suvr import sidecar_units
    from ..volumes.sidecar import is_suvr, read_sidecar

    content = read_sidecar(path).content
    pet = content.get("pet")  # as `relapet synthesize` writes it
    units = pet.get("units") if isinstance(pet, dict) else sidecar_units(path)
    return units is not None and not is_suvr(str(units))


def field_of_view(image: sitk.Image, target: sitk.Image) -> sitk.Image:
    """Where a grid lies in an image's field of view: 1 there, else 0."""
    import SimpleITK as sitk

    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return sitk.Resample(ones, target, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def _smoothed(image: sitk.Image, brain: Brain | None, wanted: float, own: float) -> sitk.Image:
    """An image smoothed in the brain from its own to the wanted resolution (FWHM, mm): Gaussians add up in squares."""
    if wanted == own:
        return image
    return smoothed(image, None if brain is None else brain.on(image), math.sqrt(wanted**2 - own**2))


def _on_grid(brain: Brain, grid: sitk.Image) -> sitk.Image:
    """The brain on a PET's grid. Raises `InputError` where nothing of it lies there."""
    import SimpleITK as sitk

    found = brain.on(grid)
    if not sitk.GetArrayViewFromImage(found).any():
        raise InputError(f"{brain.name}: no voxel of it lies on the PET's grid as a brain; do they lie in one space?")
    return found


def _check_place(pair: Pair, loaded: Loaded, settings: Settings) -> None:
    """Whether the two PET lie in one place: field of view, then uptake."""
    import SimpleITK as sitk

    brain = sitk.GetArrayViewFromImage(loaded.brain) > 0
    seen = sitk.GetArrayViewFromImage(loaded.in_field) > 0
    share = float(seen[brain].mean())
    advice = _APART_STILL if settings.register else _APART[loaded.space]
    if share < LEAST_IN_FIELD:
        raise InputError(
            f"{printable(pair.measured)}: its field of view has {100 * share:.0f} % of the brain, so "
            f"that the two do not lie in one space; {advice}"
        )
    likeness = place_likeness(loaded)
    words = f"{printable(pair.measured)}: hardly lies where the synthetic PET does (correlation {likeness:.2f} in and "
    words += f"{AROUND_MM:g} mm around the brain, where {GOOD_LIKENESS:g} is usual)"
    if likeness < LEAST_LIKENESS and not settings.force:
        raise DoubtfulInputError(words, f"{advice}; --force takes it as it is")
    if likeness < GOOD_LIKENESS:
        warn(words)


def place_likeness(loaded: Loaded) -> float:
    """Pearson correlation of the two PET in the brain and `AROUND_MM` around it, in the field of view: -1 to 1.

    Most of it is brain against surroundings, so that it tells place rather than how good a synthesis is.
    """
    import SimpleITK as sitk

    from ..registration.quality import correlation

    distance = sitk.SignedMaurerDistanceMap(loaded.brain, squaredDistance=False, useImageSpacing=True)
    near = (sitk.GetArrayViewFromImage(distance) <= AROUND_MM) & (sitk.GetArrayViewFromImage(loaded.in_field) > 0)
    inside = sitk.GetArrayViewFromImage(loaded.brain) > 0
    synthetic = np.where(inside, sitk.GetArrayViewFromImage(loaded.synthetic), 0.0)
    return correlation(synthetic[near], sitk.GetArrayViewFromImage(loaded.on_grid)[near])
