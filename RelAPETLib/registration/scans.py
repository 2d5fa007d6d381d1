"""Preparing a raw scan for registration: head mask, bias field, small working copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..volumes import canonical
from .copies import COARSE_MM, FINE_MM, working_copy
from .n4 import fit_bias
from .strays import image_without_strays
from .template import Template, load_template

#: Percentile of the head's intensities above which a working copy is clipped: a few bright vessels or fat voxels
#: would otherwise leave the brain only a few bins of a joint histogram.
CLIP_PERCENTILE = 99.5
#: Larger scans (a 1 mm head has 17 million voxels) are worked on at `LARGE_MM`, the model's own resolution: at theirs a
#: pair of 512^3 voxels took 5.6 GB.
LARGE_VOXELS = 24_000_000
LARGE_MM = 1.0
#: Powers of two between which a scan's highest value is left as it is. ITK's histograms and metric, and the floor of a
#: standard deviation, hold numbers of 1e-6 for none: a scan times 1e-9 was registered otherwise, and times 1e-30 its
#: head came out a third larger.
USUAL_POWERS = (-10, 40)
#: What a scan beyond them is brought to.
BROUGHT_TO = 10


def clipped(image: sitk.Image, mask: sitk.Image | None = None) -> sitk.Image:
    """Intensities clipped to [0, the `CLIP_PERCENTILE` of the mask's voxels] (of all non-zero ones without a mask)."""
    values = sitk.GetArrayViewFromImage(image)
    chosen = values[sitk.GetArrayViewFromImage(mask) > 0] if mask is not None else values[values > 0]
    top = float(np.percentile(chosen, CLIP_PERCENTILE)) if chosen.size else 1.0
    return sitk.Clamp(image, image.GetPixelID(), 0.0, top)


def head_mask(image: sitk.Image, name: str = "volume") -> sitk.Image:
    """Head (or skull-stripped brain) of a scan: above Otsu's threshold, large pieces, holes filled; uint8.

    Brain and scalp may be two pieces with the dark skull between them; specks of noise and ghosts are far smaller.

    Raises:
        InputError: nothing stands out from the background.
    """
    above = sitk.OtsuThreshold(image, 0, 1, 200)
    smallest = int(0.02 * np.count_nonzero(sitk.GetArrayViewFromImage(above)))
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(above), minimumObjectSize=smallest)
    mask = sitk.BinaryFillhole(sitk.Cast(pieces > 0, sitk.sitkUInt8))
    if not np.any(sitk.GetArrayViewFromImage(mask)):
        raise InputError(f"{name}: no head stands out from the background; check that it is a brain scan")
    return mask


def centroid(mask: sitk.Image) -> np.ndarray:
    """Centre of mass in LPS millimetres of the voxels > 0."""
    index = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0).mean(axis=0)[::-1]
    return np.asarray(mask.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def is_skull_stripped(image: sitk.Image, affine: sitk.Transform, template: Template) -> bool:
    """Whether a raw scan shows nothing where skull and scalp should be.

    Looked at are the voxels 6 to 12 mm outside the template's brain, laid over the scan by `affine` (template points to
    scan points). A head has signal or noise there; a stripped brain the very value of the volume's corners.
    """
    shell = sitk.GetArrayViewFromImage(template.shell) > 0
    values = sitk.GetArrayViewFromImage(image)
    background = float(np.median(values[:: values.shape[0] - 1, :: values.shape[1] - 1, :: values.shape[2] - 1]))
    outside = float(values.min()) - 1
    around = sitk.Resample(image, template.shell, affine, sitk.sitkNearestNeighbor, outside, sitk.sitkFloat32)
    around = sitk.GetArrayViewFromImage(around)[shell]
    seen = around[around > outside]
    return bool(seen.size) and float(np.mean(seen == np.float32(background))) > 0.8


def correct_bias(image: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """N4 bias correction (see `n4`), fitted on about 4 mm voxels inside the mask.

    The smooth field found there is evaluated on the scan's own voxels, so the scan is not interpolated. Float32.

    Args:
        image: without negative voxels, of which N4 takes logarithms.
    """
    shrink = [max(1, int(round(4.0 / s))) for s in image.GetSpacing()]
    shrink = [min(f, max(1, n // 8)) for f, n in zip(shrink, image.GetSize(), strict=True)][::-1]
    values = sitk.GetArrayFromImage(sitk.Cast(image, sitk.sitkFloat32))
    places = [np.linspace(0, 1, n) for n in values.shape]
    coarse = tuple(slice((n - 1) % f // 2, None, f) for n, f in zip(values.shape, shrink, strict=True))
    inside = sitk.GetArrayViewFromImage(mask)[coarse] > 0
    field = fit_bias(values[coarse], inside, [axis[few] for axis, few in zip(places, coarse, strict=True)])
    values /= np.exp(field.at(places))
    corrected = sitk.GetImageFromArray(values)
    corrected.CopyInformation(image)
    return corrected


@dataclass(frozen=True)
class Scan:
    """A scan made ready for registration, on its own voxels.

    Attributes:
        image: float32, bias-corrected unless it is a PET.
        head: uint8 mask of the head (of the brain, when skull-stripped).
    """

    image: sitk.Image
    head: sitk.Image

    @cached_property
    def fine(self) -> sitk.Image:
        """The working copy on `FINE_MM` voxels, clipped, in `usual_units`; made once, to be read only."""
        return clipped(working_copy(usual_units(self.image), FINE_MM))

    @cached_property
    def coarse(self) -> sitk.Image:
        """The working copy on `COARSE_MM` voxels."""
        return working_copy(self.fine, COARSE_MM)

    def made(self) -> Scan:
        """The same, with its working copies made."""
        self.coarse  # noqa: B018 (made and kept)
        return self


def upright(image: sitk.Image) -> sitk.Image:
    """A scan as float32 with its axes reordered to R, A, S; a very large one is reduced to about 1 mm voxels."""
    if np.prod(image.GetSize(), dtype=np.int64) > LARGE_VOXELS:
        image = working_copy(image, LARGE_MM)
    return canonical(sitk.Cast(image, sitk.sitkFloat32))


def usual_units(image: sitk.Image) -> sitk.Image:
    """A float32 scan whose highest value is not minute or vast: itself, or times a power of two; see `USUAL_POWERS`."""
    values = sitk.GetArrayViewFromImage(image)
    power = int(np.frexp(values.max())[1])
    if USUAL_POWERS[0] <= power <= USUAL_POWERS[1] or not values.max() > 0:
        return image
    made = sitk.GetImageFromArray(np.ldexp(values, BROUGHT_TO - power))
    made.CopyInformation(image)
    return made


def upright_mri(image: sitk.Image, name: str) -> sitk.Image:
    """An MRI `upright`, from 0 on, in `usual_units`, without padding and spikes.

    `without_strays` warns of those of `name`.
    """
    return usual_units(image_without_strays(upright(image), name))


def prepare(image: sitk.Image, name: str, *, bias: bool = True) -> Scan:
    """Make an image `upright`, find its head and, with `bias`, correct its bias field: those of an MRI, not of a PET.

    Raises:
        InputError: no head stands out from the background; `name` says whose volume it is.
    """
    image = upright_mri(image, name) if bias else upright(image)
    head = head_mask(usual_units(image), name)
    return Scan(correct_bias(image, head) if bias else image, head)


def prepare_first(t1w: sitk.Image) -> tuple[dict[str, Scan], Template]:
    """What the affine needs beside the brain: a T1w made ready, as ``t1w``, with working copies, and the template."""
    return {"t1w": prepare(t1w, "T1w").made()}, load_template().made()


def prepare_others(t2f: sitk.Image | None, uptakes: Mapping[str, sitk.Image], template: Template) -> dict[str, Scan]:
    """The scans beside the T1w made ready, working copies too: ``t2f``, where there is one, and each PET by its name.

    So is what will be read of the template when the affine, which may run meanwhile, is known.
    """
    found = {} if t2f is None else {"t2f": prepare(t2f, "T2F").made()}
    found |= {name: prepare(pet, name, bias=False).made() for name, pet in uptakes.items()}
    template.wide, template.shell  # noqa: B018 (made and kept)
    return found
