"""Where a person's brain is: one for all models, whatever their PET show, so that all are measured in the same voxels.

Were a model measured where its own PET is not 0, what it leaves out would cost it nothing. In this order:

1. the brain mask that is given or lies beside the PET;
2. in MNI space the shipped template's brain;
3. in a person's own space the label image (every label), else the template's brain through the transform to MNI, else
   all voxels in which any of the models' PET is not 0, holes filled. Of the last, a model that stands alone decides
   itself; where nothing is synthetic, nothing says where the brain is.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..grid import MNI_GRID
from ..notices import printable, warn
from ..volumes.masked import interpolated, weights_on
from .pairs import Pair
from .transforms import read_transform

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What says where the brain is, in words for the record.
MASK, DSEG, TEMPLATE = "mask", "dseg", "the template's brain"
WARPED, UNION = "the template's brain by the transform to MNI", "where any model's PET is not 0, holes filled"


#: Images that a brain keeps of what it was asked for.
MOST_KEPT = 8


@dataclass(frozen=True)
class Brain:
    """A brain, on any grid.

    Attributes:
        images: above 0 in it, each on a grid of its own; it is where any of them is.
        source: what says so, one of the words above.
        to_images: points of the person's space (LPS mm) to that of the images; None: they are one.
        name: what messages call it.
    """

    images: tuple[sitk.Image, ...]
    source: str
    to_images: sitk.Transform | None = None
    name: str = ""
    _known: dict[tuple, sitk.Image] = field(default_factory=dict, repr=False, compare=False)

    def on(self, grid: sitk.Image) -> sitk.Image:
        """The brain on a grid in the person's space, uint8: 1 where its linear interpolation is .5 or more, else 0."""
        import SimpleITK as sitk

        def made() -> sitk.Image:
            found = None
            for image in self.images:
                there = weights_on(image, grid, self.to_images) >= 0.5
                found = there if found is None else found | there
            return sitk.BinaryFillhole(found) if self.source == UNION else found

        return self._kept(_place(grid), made)

    def shared(self, grid: sitk.Image) -> sitk.Image:
        """The same, where it is made of several models' PET, without what only some of them show."""
        if len(self.images) == 1:
            return self.on(grid)

        def made() -> sitk.Image:
            own = [Brain((image,), self.source, self.to_images).on(grid) for image in self.images]
            return functools.reduce(lambda one, other: one & other, own)

        return self._kept(("shared", *_place(grid)), made)

    def brought(self, image: sitk.Image, grid: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
        """A PET on another grid by linear interpolation among its voxels in the brain.

        What stands outside, 0 in a PET that was masked, does not pull the brain's rim down.

        Returns:
            Values, float32, and their weights, 0 to 1: how much of each interpolation lay in the brain
            (`volumes.masked`); 0 where none did.
        """
        import SimpleITK as sitk

        inside = self.on(image)
        if _place(image) == _place(grid):
            return sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), inside), sitk.Cast(inside, sitk.sitkFloat32)
        weights = self._kept((*_place(image), *_place(grid)), lambda: weights_on(inside, grid))
        return interpolated(image, inside, weights), weights

    def _kept(self, key: tuple, made: Callable[[], sitk.Image]) -> sitk.Image:
        """An image that was made for a key, made where it was not; the last few are kept."""
        if key not in self._known:
            while len(self._known) >= MOST_KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = made()
        return self._known[key]


def _place(grid: sitk.Image) -> tuple:
    return grid.GetSize(), grid.GetSpacing(), grid.GetOrigin(), grid.GetDirection()


class Brains:
    """The brains of all people of an evaluation.

    Those of the last one are kept: who asks for pairs one person after the other has each made once.

    Args:
        pairs: all of them; those of one participant, session, tracer and space share a brain.
    """

    def __init__(self, pairs: Sequence[Pair] = ()):
        from ..registration.template import load_template

        self._template = Brain((load_template().mask,), TEMPLATE, name="measured PET")
        self._pairs: dict[tuple, list[Pair]] = defaultdict(list)
        for pair in pairs:
            self._pairs[whose(pair)].append(pair)
        self._last: tuple[tuple, dict[tuple[str, bool], Brain | None]] = ((), {})

    def of(self, pair: Pair, space: str, *, synthetic: bool = True) -> Brain | None:
        """The brain of a pair's person; None where nothing says where it is.

        Args:
            space: of the pair, ``MNI`` or ``T1w``.
            synthetic: whether synthetic PET may tell.

        Raises:
            InputError: a mask, label image or transform that cannot be read.

        Warns:
            RelAPETWarning: the models have different masks of one person; the first one is taken for all.
        """
        person = whose(pair)
        if self._last[0] != person:
            self._last = person, {}
        known, key = self._last[1], (space, synthetic)
        if key not in known:
            own = self._pairs.get(person) or [pair]
            own = [other for other in own if (other.space or space) == space]
            known[key] = _brain(own, space, synthetic, self._template)
        return known[key]


def space_of_pair(pair: Pair, image: sitk.Image) -> str:
    """The space of a pair: as the data set says, else MNI on the model's own grid, else the person's own."""
    return pair.space or ("MNI" if MNI_GRID.matches(image) else "T1w")


def whose(pair: Pair) -> tuple[str, str, str]:
    """What pairs have in common that have the same brain in a space: participant, session and tracer."""
    return pair.participant, pair.session, pair.tracer


def _brain(pairs: Sequence[Pair], space: str, synthetic: bool, template: Brain) -> Brain | None:
    """The brain of one person's pairs, all in one space."""
    if found := _file([pair.mask for pair in pairs], MASK, pairs[0].name):
        return found
    if space == "MNI":
        return template
    if found := _file([pair.dseg for pair in pairs], DSEG, pairs[0].name):
        return found
    if path := next((pair.to_mni for pair in pairs if pair.to_mni is not None), None):
        return Brain(template.images, WARPED, read_transform(path), f"transform {printable(path)}")
    shown = _shown(pairs, space) if synthetic else []
    return Brain(tuple(shown), UNION, name="synthetic PET") if shown else None


def _file(paths: Sequence[Path | None], words: str, name: str) -> Brain | None:
    """The brain of the first file that is there."""
    from ..volumes import file_sha256, read_volume

    known = list(dict.fromkeys(path for path in paths if path is not None))
    if not known:
        return None
    image = read_volume(known[0], name=words)
    if len(known) > 1 and len({file_sha256(path) for path in known}) > 1:
        warn(f"{name}: its models have different files as {words}; {printable(known[0])} serves all, as one brain")
    return Brain((image,), words, name=f"{words} {printable(known[0])}")


def _shown(pairs: Sequence[Pair], space: str) -> list[sitk.Image]:
    """Where each model's PET is not 0; those that are 0 nowhere tell nothing, unless there are no others."""
    import SimpleITK as sitk

    from ..volumes import read_volume

    found = []
    for path in dict.fromkeys(pair.synthetic for pair in pairs if pair.synthetic is not None):
        try:
            image = read_volume(path, name="synthetic PET")
        except InputError:
            continue  # it is told of as a pair that cannot be measured
        if next(space_of_pair(pair, image) for pair in pairs if pair.synthetic == path) == space:
            found.append(image != 0)
    return [image for image in found if not sitk.GetArrayViewFromImage(image).all()] or found
