"""Between a pair's own space and MNI space: its transform, masks and baselines' PET brought to its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..grid import MNI_GRID, array_to_image
from ..notices import warn
from ..regions import LEAST_IN_VIEW
from .pairs import Pair
from .scales import Masks, scale_of
from .transforms import read_transform

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .parts import Parts
    from .reading import Loaded


def tell_parts(parts: Parts, pair: Pair, loaded: Loaded) -> None:
    """Give a pair to the parts that look at volumes, with the scales' masks on its own grid.

    Args:
        loaded: both PET in SUVR, `Loaded.synthetic` there.

    Warns:
        RelAPETWarning: an uptake that has no scale.
    """
    if not parts.masks:
        return
    on_model_grid = loaded.space == "MNI" and MNI_GRID.matches(loaded.synthetic)
    masks, known = (parts.masks, True) if on_model_grid else masks_on(parts.masks, pair, loaded)
    if not known:
        return parts.note("scales are left out of PET that lie in T1w space without a known transform to MNI")
    images = (loaded.synthetic, loaded.on_grid, loaded.brain, loaded.in_field)
    synthetic, measured, brain, seen = map(_array, images)
    inside = (brain > 0) & (seen > 0)
    try:
        parts.pair(
            pair.key, synthetic, measured, inside, relative=loaded.relative, masks=masks, model_grid=on_model_grid
        )
    except InputError as error:
        warn(f"{pair.name}: no values on a scale: {error}")


def masks_on(masks: Masks, pair: Pair, loaded: Loaded) -> tuple[Masks, bool]:
    """Masks of a tracer's scale on a pair's own grid, as bool arrays, and whether its place in MNI space is known.

    A scale of whose masks one lies outside the grid for the most part is left out, with a warning.
    """
    import SimpleITK as sitk

    transform = _to_mni(pair, loaded.space)
    if transform is None:
        return {}, False
    scale = scale_of(pair.tracer, relative=loaded.relative)
    if scale is None or scale.name not in masks:
        return {}, True
    voxel = float(np.prod(loaded.synthetic.GetSpacing()) / np.prod(MNI_GRID.spacing))
    found = {}
    for name, mask in masks[scale.name].items():
        image = array_to_image(mask.astype(np.float32))
        moved = _array(sitk.Resample(image, loaded.synthetic, transform, sitk.sitkLinear, 0.0)) >= 0.5
        if moved.sum() * voxel < LEAST_IN_VIEW * mask.sum():
            warn(f"{pair.name}: {scale.name}'s {name} lies outside the PET's grid for the most part: no values")
            return {}, True
        found[name] = moved
    return {scale.name: found}, True


def baseline_pairs(parts: Parts, pairs: Sequence[Pair], folder: Path) -> list[Pair]:
    """Pairs of the baselines that see the MRI, each PET on the grid of the first model's, in the template's brain.

    Args:
        folder: for the files, which are needed as long as the pairs are measured.

    Raises:
        InputError: as `Parts.guesses`.
    """
    if not parts.trained:
        return []
    first: dict[tuple[str, str, str], Pair] = {}
    known: list[Pair] = []
    for pair in pairs:
        key = (pair.key["participant_id"], pair.key["session"], pair.key["tracer"])
        if pair.synthetic is None or key in first:
            continue
        try:
            placed = _placed(pair)
        except InputError:
            continue  # it will be told of as a pair that cannot be measured
        first[key] = pair
        known += [pair] if placed is not None else []
    if lost := len(first) - len(known):
        parts.note(f"no baseline on the MRI for {lost} PET in T1w space: their transform to MNI is not known")
    found = []
    for row in parts.guesses([pair.key for pair in known], folder):
        pair = first[row["participant_id"], row["session"], row["tracer"]]
        _lay_over(row["synthetic"], *_placed(pair))
        found.append(replace(pair, model=row["model"], synthetic=row["synthetic"]))
    return found


def _placed(pair: Pair) -> tuple[sitk.Image, sitk.Transform] | None:
    """A pair's synthetic PET and its transform to MNI; None where the latter is not known."""
    from ..volumes import read_volume

    image = read_volume(pair.synthetic, name="synthetic PET")
    transform = _to_mni(pair, pair.space or ("MNI" if MNI_GRID.matches(image) else "T1w"))
    return None if transform is None else (image, transform)


def _lay_over(path: Path, target: sitk.Image, transform: sitk.Transform) -> None:
    """Bring a PET on the model grid to the grid of another one, in its place; 0 outside the template's brain."""
    import SimpleITK as sitk

    from ..registration.template import load_template
    from ..volumes import mark_synthetic, read_volume, write_volume
    from .brains import WARPED, Brain

    made = sitk.Resample(read_volume(path), target, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    brain = Brain((load_template().mask,), WARPED, transform)
    write_volume(mark_synthetic(sitk.Mask(made, brain.on(target))), path, overwrite=True)


def _to_mni(pair: Pair, space: str) -> sitk.Transform | None:
    """The transform of a pair in a space to MNI; None where it is not known."""
    import SimpleITK as sitk

    if space == "MNI":
        return sitk.Transform()
    return None if pair.to_mni is None else read_transform(pair.to_mni)


def _array(image: sitk.Image) -> np.ndarray:
    """Voxels [X, Y, Z]; on the model grid as `grid.image_to_array` has them."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)
