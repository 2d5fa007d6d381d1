"""z-scores of a *measured* PET against norms that the user has: mean and SD of other people's PET in MNI space.

A folder with ``norms.json``, or that file::

    {"tracer": "PIB", "mean": "mean.nii.gz", "sd": "sd.nii.gz", "fwhm_mm": 8, "reference_region": "cerebellar_grey"}

``fwhm_mm`` is the resolution of the PET that the norms were made of, ``reference_region`` the region of
`RelAPETLib.regions` whose mean is 1 in them; ``people`` and ``description`` may be added. The measured PET is brought
to that resolution, where its own is told, and to the norms' mean in that region. A synthetic PET gets no z-score: it is
what a model expects, and would look normal where nobody knows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..absent import why_missing
from ..errors import InputError
from ..grid import MNI_GRID, array_to_image, image_to_array
from ..homes import path_beside
from ..jsonfiles import read_json_object
from ..notices import warn
from ..tracers import get_tracer
from ..volumes.synthetic import SYNTHETIC

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .case import Case
    from .options import Options

NORMS_FILE = "norms.json"
#: Needed entries, and what each is.
_NEEDED = {
    "tracer": "the tracer of its images",
    "mean": "the file of the mean image",
    "sd": "the file of the SD image",
    "fwhm_mm": "the resolution of the PET they were made of, in mm",
    "reference_region": "the region whose mean is 1 in them",
}
#: Share of the template's brain that norms must cover.
LEAST_COVERED = 0.8
#: What the mean image's mean in the reference region may be: SUVR relative to another region is off by more.
LEVELS = (0.7, 1.3)
WIDEST_FWHM = 30.0


@dataclass(frozen=True)
class Norms:
    """Norms of one tracer on the model grid.

    Attributes:
        tracer: short name.
        mean, sd: float32 [160, 180, 160], SUVR; `sd` is 0 where they say nothing.
        fwhm: mm.
        region: reference region.
        level: mean of `mean` in that region.
        own_fwhm: resolution of the PET to be scored, mm; None where it is not known.
        people, description: as stated; None where they are not.
        sha256: of the two files, ``mean`` and ``sd``.
    """

    tracer: str
    mean: np.ndarray
    sd: np.ndarray
    fwhm: float
    region: str
    level: float
    own_fwhm: float | None
    people: int | None
    description: str | None
    sha256: dict[str, str]


def norms_of(options: Options, measured: Collection[str]) -> Norms | None:
    """The norms that options ask for; None where they ask for none.

    Args:
        measured: tracers of which a measured PET was given.

    Raises:
        InputError: as `read_norms`, or no measured PET is of their tracer.
    """
    if options.norms is None:
        return None
    norms = read_norms(options.norms, options.reference_fwhm)
    if norms.tracer not in measured:
        given = f"the measured PET is of {' and '.join(measured)}" if measured else "no measured PET was given"
        raise InputError(f"{options.norms}: norms of {norms.tracer}, but {given}; z-scores are of measured PET alone")
    return norms


def read_norms(path: Path | str, own_fwhm: float | None = None) -> Norms:
    """Norms from a folder, or from their JSON file.

    Args:
        path: folder with ``norms.json``, or such a file.
        own_fwhm: resolution of the measured PET, mm.

    Raises:
        InputError: something is missing, unknown or impossible, or the images do not cover the brain in MNI space.
    """
    from ..volumes import file_sha256

    path = Path(path)
    path = path / NORMS_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"no norms at {path} ({why_missing(path)}); a folder with {NORMS_FILE} is wanted, or such a file"
        )
    facts = read_json_object(path)
    for name, what in _NEEDED.items():
        if facts.get(name) in (None, ""):
            raise InputError(f"{path}: states no {name}, {what}; add it")
    tracer, region, fwhm = get_tracer(str(facts["tracer"])).name, _region(facts, path), _fwhm(facts, path)
    if own_fwhm is not None and not 0 < own_fwhm <= fwhm:
        words = f"--reference-fwhm {own_fwhm:g}: above 0 and at most the norms' {fwhm:g} mm is wanted"
        raise InputError(f"{words}, since a PET can only be made blurrier")
    files = {kind: path_beside(path, str(facts[kind])) for kind in ("mean", "sd")}
    mean, sd = _on_grid(files, path)
    level = _level(mean, sd, region, files["mean"])
    people, words = facts.get("people"), facts.get("description")
    return Norms(
        tracer=tracer, mean=mean, sd=sd, fwhm=fwhm, region=region, level=level, own_fwhm=own_fwhm,
        people=people if type(people) is int and people > 0 else None,
        description=" ".join(words.split())[:500] if isinstance(words, str) else None,
        sha256={kind: file_sha256(file) for kind, file in files.items()},
    )  # fmt: skip


def _region(facts: dict, path: Path) -> str:
    from ..regions import region_names

    names = region_names()
    if facts["reference_region"] not in names:
        raise InputError(
            f"{path}: unknown reference_region '{facts['reference_region']}'; use one of {', '.join(names)}"
        )
    return facts["reference_region"]


def _fwhm(facts: dict, path: Path) -> float:
    value = facts["fwhm_mm"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= WIDEST_FWHM:
        raise InputError(f"{path}: fwhm_mm {value!r} is no resolution; a number of mm up to {WIDEST_FWHM:g} is wanted")
    return float(value)


def _on_grid(files: dict[str, Path], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD on the model grid, interpolated linearly; SD 0 where a voxel that counts is missing in either.

    NaN and 0, which programs write outside the brain, count as missing. An SD may be the same everywhere.
    """
    import SimpleITK as sitk

    from ..registration.template import load_template
    from ..volumes import check_volume, read_volume

    images = {}
    for kind, file in files.items():
        image = read_volume(file, name=f"{kind} of the norms")
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(f"{file}: a 3-D image with one value a voxel is wanted")
        array = np.nan_to_num(sitk.GetArrayFromImage(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        images[kind] = sitk.GetImageFromArray(array)
        images[kind].CopyInformation(image)
    mean, sd = images["mean"], images["sd"]
    check_volume(mean, str(files["mean"]))
    if mean.GetSize() != sd.GetSize() or not _same_place(mean, sd):
        raise InputError(f"{path}: mean and sd are on different grids; resample one onto the other")
    if float(sitk.GetArrayViewFromImage(sd).min()) < 0:
        raise InputError(f"{files['sd']}: holds negative values, which are no SD")

    def there(image: sitk.Image) -> np.ndarray:
        moved = sitk.Resample(image, MNI_GRID.reference_image(), sitk.Transform(), sitk.sitkLinear, 0.0)
        return image_to_array(moved)

    known = there(sitk.Cast(sitk.And(sd > 0, mean != 0), sitk.sitkFloat32)) > 0.999
    brain = image_to_array(load_template().mask) > 0
    covered = float(known[brain].mean())
    if covered < LEAST_COVERED:
        raise InputError(
            f"{path}: its images cover {100 * covered:.0f} % of the brain in MNI space, at least "
            f"{100 * LEAST_COVERED:.0f} % are wanted; give norms in MNI space (mm, LPS or RAS as the header says)"
        )
    return there(mean), np.where(known, there(sd), 0).astype(np.float32)


def _same_place(one: sitk.Image, two: sitk.Image) -> bool:
    from ..volumes import image_affine

    return bool(np.allclose(image_affine(one), image_affine(two), atol=0.01))


def _level(mean: np.ndarray, sd: np.ndarray, region: str, file: Path) -> float:
    from ..regions import regional_means

    known = array_to_image((sd > 0).astype(np.uint8))
    level = regional_means(array_to_image(mean), [region], mask=known)[region]
    if not LEVELS[0] <= level <= LEVELS[1]:
        raise InputError(f"{file}: its mean in {region} is {level:.3g}, not about 1: no SUVR relative to that region")
    return float(level)


def check_measured(norms: Norms | None, synthetic: Iterable[str]) -> None:
    """Raise `InputError` where the tracer's PET is among those that are `synthetic`, which force does not accept."""
    if norms is not None and norms.tracer in synthetic:
        raise InputError(f"the reference PET is {SYNTHETIC}; z-scores are of measured PET alone")


def z_map(case: Case, norms: Norms) -> tuple[sitk.Image, dict]:
    """z-scores of a case's measured PET on the model grid, float32, and what the record says of them.

    0 outside the brain, outside the PET's field of view, where it is exactly 0 (as programs write what they masked) and
    where the norms say nothing. Nothing of that counts in a mean or in what is smoothed.

    Raises:
        InputError: the PET's mean in the norms' reference region is not positive, or the PET is a synthetic one.
    """
    from ..regions import regional_means
    from ..registration.uptake import seen_brain

    check_measured(norms, case.synthetic_pets)
    inside = image_to_array(seen_brain(case.ready.mask, case.ready.pet_views.get(norms.tracer))) > 0
    pet = image_to_array(case.ready.pets[norms.tracer]).astype(np.float32)
    inside &= pet != 0
    smoothed = norms.own_fwhm is not None
    if smoothed:
        pet = _smoothed(pet, inside, math.sqrt(norms.fwhm**2 - norms.own_fwhm**2))
    else:
        warn("the measured PET's own resolution is not stated (--reference-fwhm): its z-scores are of it as it is, "
             f"though the norms have {norms.fwhm:g} mm")  # fmt: skip
    mean = regional_means(array_to_image(pet), [norms.region], mask=array_to_image(inside.astype(np.uint8)))[
        norms.region
    ]
    if not (math.isfinite(mean) and mean > 0):
        raise InputError(f"the measured PET's mean in {norms.region} is {mean:.4g}, which gives no SUVR for the norms")
    known = inside & (norms.sd > 0)
    z = np.where(known, (pet * (norms.level / mean) - norms.mean) / np.where(known, norms.sd, 1), 0)
    return array_to_image(z.astype(np.float32)), _record(case, norms, known)


def _smoothed(pet: np.ndarray, inside: np.ndarray, fwhm: float) -> np.ndarray:
    """A PET inside the brain, blurred by so many mm; what lies outside, which is not known, weighs nothing."""
    from ..volumes.masked import smoothed

    if fwhm == 0:
        return pet
    found = smoothed(array_to_image(pet), array_to_image(inside.astype(np.uint8)), fwhm)
    return np.where(inside, image_to_array(found), 0).astype(np.float32)


def _record(case: Case, norms: Norms, known: np.ndarray) -> dict:
    brain = image_to_array(case.ready.mask) > 0
    who = f" of {norms.people} people" if norms.people else ""
    how = (
        f"brought from {norms.own_fwhm:g} to {norms.fwhm:g} mm" if norms.own_fwhm else "at its own, unknown resolution"
    )
    return {
        "tracer": norms.tracer,
        "fwhm_mm": norms.fwhm,
        "reference_region": norms.region,
        "own_fwhm_mm": norms.own_fwhm,
        "people": norms.people,
        "description": norms.description,
        "norms_sha256": norms.sha256,
        "share_of_brain": round(float(known[brain].mean()), 4),
        "says": f"z-scores of the measured PET, {how}, relative to {norms.region.replace('_', ' ')}, against the norms"
        f"{who} that were given; nothing checks who they are.",
    }
