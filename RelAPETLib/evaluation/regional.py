"""Regional SUVR of a pair: means on the label image's own grid, and how a measured PET becomes SUVR.

Labels are never resampled: each PET is brought to their grid by one linear interpolation among its voxels in the brain,
so that a masked PET, which is 0 outside, and one with surroundings read the same at the brain's rim. Only a person's
deformation (`Pair.to_mni`) brings labels of MNI space to a person's PET, by nearest neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..regions import LEAST_IN_VIEW
from ..regions.atlas import NATIVE, Atlas, cropped, read_atlas, with_sides
from ..suvr import ReferenceUnits, check_suvr, stated_units
from ..volumes.masked import LEAST_WEIGHT
from .pairs import Pair
from .reading import Loaded, field_of_view
from .settings import Settings
from .transforms import read_transform

if TYPE_CHECKING:
    import SimpleITK as sitk


@dataclass(frozen=True)
class Means:
    """Means of a pair in the regions of one atlas, each [regions], in the order of `names`.

    Attributes:
        atlas: its name.
        names: of the regions.
        synthetic: SUVR; NaN where there is no synthetic PET, or its MRI show less than `regions.LEAST_IN_VIEW`.
        measured: in the PET's own unit until `scaled`; NaN where less than `regions.LEAST_IN_VIEW` is in the field.
        volume_ml: of the region, as far as the label image's grid holds it.
        in_field: share of it that lies in the brain and in the fields of view of both PET, and of the MRI where the
            result tells it, 0 to 1.
        voxels: of it that do; 0 where it has no value.
        sides: means of synthetic and measured PET in the left and in the right region of each pair, by its name.
    """

    atlas: str
    names: tuple[str, ...]
    synthetic: np.ndarray
    measured: np.ndarray
    volume_ml: np.ndarray
    in_field: np.ndarray
    voxels: np.ndarray
    sides: dict[str, tuple[tuple[float, float], tuple[float, float]]] = field(default_factory=dict)

    def mean(self, region: str, which: str) -> float | None:
        """Mean in a region, or in several joined by ``+`` (weighted by voxels); None where one is unknown."""
        numbers = [self.names.index(name) for name in region.split("+") if name in self.names]
        if len(numbers) != len(region.split("+")):
            return None
        values, weights = getattr(self, which)[numbers], self.voxels[numbers]
        return float(np.average(values, weights=weights)) if weights.all() else math.nan

    def over(self, synthetic: float, measured: float) -> Means:
        """The same with each PET divided by a number."""
        return replace(self, synthetic=self.synthetic / synthetic, measured=self.measured / measured)


def measure(
    pair: Pair, loaded: Loaded, names: Sequence[str], common: Mapping[str, Atlas], *, needed: bool = True
) -> list[Means]:
    """Means of a pair in the regions of all atlases that are asked for.

    Args:
        names: of atlases; ``dseg`` for the pair's own labels.
        common: atlases of all people, by name.
        needed: refuse labels in MNI space for a PET that is not there and has no transform; else they are left out.

    Raises:
        InputError: an atlas that cannot be used for this pair: people's own labels where it has none, or one that is
            `needed`.
    """
    usable = [name for name in names if needed or not unplaced(pair, loaded, name)]
    return [_means(loaded, *_atlas(pair, loaded, name, common)) for name in usable]


def unplaced(pair: Pair, loaded: Loaded, name: str) -> bool:
    """Whether an atlas cannot be laid over a pair, since nothing tells where the PET lies in MNI space."""
    return name != NATIVE and loaded.space != "MNI" and pair.to_mni is None


def _atlas(
    pair: Pair, loaded: Loaded, name: str, common: Mapping[str, Atlas]
) -> tuple[Atlas, tuple[Atlas, sitk.Image] | None]:
    """A label image in a pair's own space; where a transform brought it there, the whole one and the stretch to it."""
    import SimpleITK as sitk

    from ..registration.fields import stretch

    if name == NATIVE:
        if pair.dseg is None:
            raise InputError(f"{pair.name}: no label image of its own (dseg), as --atlas {NATIVE} asks for")
        return with_sides(cropped(read_atlas(pair.dseg, NATIVE, "T1w", pair.lookup))), None
    atlas = common[name]
    if loaded.space == "MNI":
        return atlas, None
    if unplaced(pair, loaded, name):
        raise InputError(
            f"{pair.name}: regions '{name}' are in MNI space and the PET is not; use --atlas {NATIVE} with labels of "
            "its own, give PET in MNI space, or name its transform: --cases DIR, or a column to_mni of the table"
        )
    to_mni = read_transform(pair.to_mni)
    warped = sitk.Resample(atlas.image, loaded.on_grid, to_mni, sitk.sitkNearestNeighbor, 0)
    return replace(atlas, image=warped, space="T1w"), (atlas, stretch(to_mni, loaded.on_grid))


def _means(loaded: Loaded, atlas: Atlas, brought: tuple[Atlas, sitk.Image] | None = None) -> Means:
    """Means in the regions of an atlas.

    Args:
        brought: the atlas before a transform brought it to the PET's grid, which may cut regions off, and how many
            times their volume parts of that grid have in its space (`registration.fields.stretch`); None: it lies where
            it always did.
    """
    import SimpleITK as sitk

    everywhere = sitk.GetArrayViewFromImage(atlas.image).ravel()
    both = chain.from_iterable(atlas.sides.values())
    known = np.unique(np.concatenate([*atlas.labels.values(), *both]).astype(everywhere.dtype))
    where = np.flatnonzero(np.isin(everywhere, known))
    labels = np.searchsorted(known, everywhere[where])  # counted by their places, however large they are
    top = len(known)

    def there(image: sitk.Image, how: int) -> np.ndarray:
        """An image's values in the voxels of all labels."""
        moved = sitk.Resample(image, atlas.image, sitk.Transform(), how, 0.0)
        return sitk.GetArrayViewFromImage(moved).ravel()[where]

    seen = np.ones(len(where), bool)
    for image in (loaded.measured, loaded.on_grid):
        seen &= sitk.GetArrayFromImage(field_of_view(image, atlas.image)).ravel()[where] > 0
    pet = [image for image in (loaded.synthetic, loaded.measured) if image is not None]
    if loaded.where is None:
        values = [there(image, sitk.sitkLinear) for image in pet]
        if loaded.brain is not None:
            seen &= there(loaded.brain, sitk.sitkNearestNeighbor) > 0
    else:
        seen &= sitk.GetArrayFromImage(loaded.where.on(atlas.image)).ravel()[where] > 0
        values = []
        for image in pet:
            brought_there, weights = loaded.where.brought(image, atlas.image)
            values.append(sitk.GetArrayFromImage(brought_there).ravel()[where])
            seen &= sitk.GetArrayFromImage(weights).ravel()[where] >= LEAST_WEIGHT
    voxels = np.bincount(labels, weights=seen, minlength=top)
    held = np.bincount(labels, minlength=top).astype(float)
    known_of, shown = held, voxels
    if brought is not None:
        everything, stretched = brought
        whole = sitk.GetArrayViewFromImage(everything.image).ravel()
        whole = whole[np.isin(whole, known)]
        known_of = np.bincount(np.searchsorted(known, whole), minlength=top) * _voxel(everything)
        shown = np.bincount(labels, weights=there(stretched, sitk.sitkLinear) * seen, minlength=top) * _voxel(atlas)
    sums = [np.bincount(labels, weights=array * seen, minlength=top) for array in values]
    if loaded.synthetic is None:
        sums.insert(0, np.full(top, np.nan))

    def region(numbers: Sequence[int]) -> tuple[float, float, float, float, float]:
        """Mean of synthetic and measured PET, voxels, share in the field and voxels that count."""
        kept = np.searchsorted(known, numbers)
        there, whole = voxels[kept].sum(), known_of[kept].sum()
        share = min(shown[kept].sum() / whole, 1.0) if whole else 0.0
        if share < LEAST_IN_VIEW:
            return math.nan, math.nan, held[kept].sum(), share, 0.0
        return sums[0][kept].sum() / there, sums[1][kept].sum() / there, held[kept].sum(), share, there

    synthetic, measured, total, share, counted = map(np.array, zip(*map(region, atlas.labels.values()), strict=True))
    volume = total * _voxel(atlas) / 1000
    sides = {name: tuple(region(side)[:2] for side in both) for name, both in atlas.sides.items()}
    return Means(atlas.name, tuple(atlas.labels), synthetic, measured, volume, share, counted, sides)


def in_view_of_mri(means: Means, shares: Mapping[str, float]) -> Means:
    """The same without values of a synthetic PET in regions that its MRI hardly show: nothing founds what stands there.

    Args:
        shares: of regions in the MRI's field of view, 0 to 1, by name (`told.Told.in_view`); 1 of those not named.
    """
    share = np.array([shares.get(name, 1.0) for name in means.names])
    unseen = {name for name in means.names if shares.get(name, 1.0) < LEAST_IN_VIEW}
    sides = {
        name: tuple((math.nan, measured) for _, measured in both) if name in unseen else both
        for name, both in means.sides.items()
    }
    return replace(
        means,
        synthetic=np.where(share < LEAST_IN_VIEW, math.nan, means.synthetic),
        in_field=np.minimum(means.in_field, share),
        sides=sides,
    )


def _voxel(atlas: Atlas) -> float:
    """Volume of a voxel of its labels, mm^3."""
    return float(np.prod(atlas.image.GetSpacing()))


def has_region(found: Sequence[Means], region: str) -> bool:
    """Whether `reference_means` finds a region, in the field of view or not."""
    atlas, _, wanted = region.rpartition(":")
    return any(means.mean(wanted, "measured") is not None for means in found if atlas in ("", means.atlas))


def reference_means(found: Sequence[Means], region: str, name: str) -> tuple[float, float]:
    """Means of the synthetic and the measured PET in a reference region; NaN for no synthetic PET.

    Args:
        found: means in the regions of all atlases, in whose order the region is looked for.
        region: its name, several joined by ``+``, perhaps with ``ATLAS:`` before it.
        name: what messages call the pair.

    Raises:
        InputError: no atlas has it, it is out of the field of view, or a mean is not above 0.
    """
    atlas, _, wanted = region.rpartition(":")
    for means in found:
        if atlas and means.atlas != atlas:
            continue
        measured = means.mean(wanted, "measured")
        if measured is None:
            continue
        synthetic = means.mean(wanted, "synthetic")
        if not measured > 0 or (not np.isnan(means.synthetic).all() and not synthetic > 0):
            raise InputError(
                f"{name}: the mean in the reference region {region} is {measured:.4g} (measured) and {synthetic:.4g} "
                "(synthetic; nan: none, or out of the field of view); choose another"
            )
        return synthetic, measured
    known = [f"{means.atlas}: {', '.join(means.names[:15])}{' ...' * (len(means.names) > 15)}" for means in found]
    raise InputError(f"{name}: no region '{region}' to refer to; there are {'; '.join(known)}")


def asymmetries(means: Means) -> dict[str, tuple[float, float]]:
    """Asymmetry index of synthetic and measured PET, 200 (L - R) / (L + R) in %, by pair of regions."""

    def index(left: float, right: float) -> float:
        return 200 * (left - right) / (left + right) if left + right > 0 else math.nan

    return {name: tuple(map(index, left, right)) for name, (left, right) in means.sides.items()}


def to_suvr(
    pair: Pair, loaded: Loaded, found: Sequence[Means], settings: Settings
) -> tuple[float, float, ReferenceUnits]:
    """What to divide the synthetic and the measured PET by so that both are SUVR on one scale, and how that is known.

    With a reference region each is divided by its own mean there, so that the measured PET, and who is positive by it,
    is the same whatever model it is compared with. Otherwise both have to be SUVR already.

    Raises:
        InputError: the region is unknown or empty, or the unit is not SUVR.
        DoubtfulInputError: SUVR by its sidecar, but not by its values, and `settings.force` is False.
    """
    import SimpleITK as sitk

    region = settings.reference(pair.tracer)
    if region is not None:
        synthetic, measured = reference_means(found, region, pair.name)
        known = ReferenceUnits(f"divided by its mean in {region}", region)
        return (1.0 if loaded.synthetic is None else synthetic), measured, known
    if loaded.relative:
        raise InputError(f"{pair.name}: the synthetic PET is not in SUVR; name a --reference-region")
    units = stated_units(pair.measured)
    array = sitk.GetArrayViewFromImage(loaded.on_grid)
    inside = sitk.GetArrayViewFromImage(loaded.in_field) > 0
    inside &= array > array.mean() if loaded.brain is None else sitk.GetArrayViewFromImage(loaded.brain) > 0
    mean = float(array[inside].mean()) if inside.any() else 0.0
    check_suvr(mean, units, f"measured PET {pair.name}", settings.force, tell=False)
    return 1.0, 1.0, units
