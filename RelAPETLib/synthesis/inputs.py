"""Reading the inputs of a synthesis: files or images, their hashes, and the same file given twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DoubtfulInputError, InputError
from ..notices import warn
from ..unnamed import without_files
from ..volumes.synthetic import SYNTHETIC

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What messages call each input. Warnings end up in the record beside the PET, where no path may stand.
TITLES = {"t1w": "T1w", "t2f": "T2-FLAIR"}
REFERENCE = "reference PET"
_REFERENCE = "reference_"


def reference_role(tracer: str) -> str:
    """Role of a measured PET of a tracer."""
    return f"{_REFERENCE}{tracer}"


def title(role: str) -> str:
    """What messages call the input of a role."""
    return TITLES.get(role, REFERENCE)


@dataclass(frozen=True)
class Inputs:
    """What was given.

    Attributes:
        images: by role (``t1w``, ``t2f``, perhaps ``reference_TAU`` ...), float32, on their own grids.
        sha256: of each file's bytes (a folder's files together), or of an image's voxels and geometry.
        second_sha256: of the other file, by role, where a volume lies in two (`volumes.second_file`).
        names: how an error message calls each: role, and the path when there is one.
        paths: by role, those that came as files.
        doubted: what spoke against the MRI and was accepted by force, a line each.
        pet_doubted: the same of measured PET, by tracer.
        synthetic_pets: tracers whose measured PET says that it is a synthetic one (`says_synthetic`), and was accepted.
        simulated: every MRI came as a file that says it is a simulated person's (`volumes.sidecar.is_simulated`).
        beside: of each MRI that came as a file, by role, what `told_beside` found; of a silent one no entry.
    """

    images: dict[str, sitk.Image]
    sha256: dict[str, str]
    second_sha256: dict[str, str]
    names: dict[str, str]
    paths: dict[str, Path]
    doubted: tuple[str, ...] = ()
    simulated: bool = False
    pet_doubted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    synthetic_pets: tuple[str, ...] = ()
    beside: dict[str, dict] = field(default_factory=dict)


def told_beside(path: Path) -> dict:
    """What an MRI's name and its sidecar say that a case is judged by; no hash of the file tells of it.

    Returns:
        ``simulated``: True for a simulated person's (`volumes.sidecar.is_simulated`); ``contrast``: which of name and
        sidecar says that an agent was given (`volumes.contrast.who_says_contrast`). Each only where it is said.
    """
    from ..volumes.contrast import who_says_contrast
    from ..volumes.sidecar import is_simulated, readable_content

    content = readable_content(path)
    contrast = who_says_contrast(path, content)
    return ({"simulated": True} if is_simulated(content) else {}) | ({"contrast": contrast} if contrast else {})


def told_beside_all(paths: Mapping[str, Path | None]) -> dict[str, dict]:
    """`told_beside` of those MRI, by role, of which anything is said."""
    return {role: told for role, path in paths.items() if path is not None and (told := told_beside(path))}


def read_inputs(volumes: dict[str, object], progress: Callable[[float, str], None], force: bool = False) -> Inputs:
    """Read and check the inputs.

    Args:
        volumes: by role a path or a `SimpleITK.Image`; None entries are left out.
        progress: called as progress(fraction, message).
        force: take scans of two people, as their DICOM headers say, and a measured PET of another tracer, as its name
            or sidecar says, with a warning.

    Raises:
        InputError: a volume cannot be read or used, or two of them are the same.
        DoubtfulInputError: two of them are of two people, a measured PET is of another tracer or a synthetic one, and
            `force` is False. Those of PET are told before any volume is read.
    """
    from ..volumes import check_volume, file_sha256, read_volume, second_file

    volumes = {role: volume for role, volume in volumes.items() if volume is not None}
    doubted = _doubt_tracers(volumes, force)
    synthetic = _doubt_synthetic(volumes, force)
    images, hashes, seconds, names, paths = {}, {}, {}, {}, {}
    for number, (role, volume) in enumerate(volumes.items()):
        progress(number / len(volumes), f"reading the {title(role)}")
        if isinstance(volume, (str, os.PathLike)):
            paths[role] = Path(volume)
            names[role] = f"{title(role)} {paths[role]}"
            images[role] = read_volume(paths[role], name=title(role))
            hashes[role] = file_sha256(paths[role])
            if other := second_file(paths[role]):
                seconds[role] = file_sha256(other)
        else:
            names[role] = title(role)
            images[role] = _as_float(volume, role)
            hashes[role] = _image_sha256(images[role])
        check_volume(images[role], names[role])
    _refuse_twins(images, {role: (hashes[role], seconds.get(role)) for role in hashes}, names)
    doubted += [*_doubt_two_people(paths, names, force), *synthetic]
    mri = [role for role in images if role in TITLES]
    beside = told_beside_all({role: paths.get(role) for role in mri})
    simulated = bool(mri) and all(beside.get(role, {}).get("simulated", False) for role in mri)
    of_mri = tuple(line for role, line in doubted if role in TITLES)
    of_pet: dict[str, tuple[str, ...]] = {}
    for role, line in doubted:
        if role not in TITLES:
            tracer = role.removeprefix(_REFERENCE)
            of_pet[tracer] = (*of_pet.get(tracer, ()), line)
    made = tuple(role.removeprefix(_REFERENCE) for role, _ in synthetic)
    return Inputs(images, hashes, seconds, names, paths, of_mri, simulated, of_pet, made, beside)


def _as_float(volume, role: str) -> sitk.Image:
    import SimpleITK as sitk

    from ..volumes import check_kind

    if not isinstance(volume, sitk.Image):
        raise InputError(f"{title(role)}: a path or a SimpleITK image is wanted, not {type(volume).__name__}")
    check_kind(volume, title(role))
    return sitk.Cast(volume, sitk.sitkFloat32)


def _image_sha256(image: sitk.Image) -> str:
    import SimpleITK as sitk

    digest = hashlib.sha256()
    for numbers in (image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()):
        digest.update(np.asarray(numbers, dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray(sitk.GetArrayViewFromImage(image), dtype="<f4").tobytes())
    return digest.hexdigest()


def _refuse_twins(images: dict[str, sitk.Image], hashes: dict[str, tuple], names: dict[str, str]) -> None:
    """The same file, or the same voxels in another file, in two roles."""
    import SimpleITK as sitk

    roles = list(images)
    for number, first in enumerate(roles):
        for second in roles[number + 1 :]:
            same_size = images[first].GetSize() == images[second].GetSize()
            if hashes[first] == hashes[second] or (
                same_size and np.array_equal(*(sitk.GetArrayViewFromImage(images[role]) for role in (first, second)))
            ):
                raise InputError(
                    f"{names[second]} is the same volume as {names[first]}; two different scans are wanted"
                )


def _doubt_tracers(volumes: dict[str, object], force: bool) -> list[tuple[str, str]]:
    """Measured PET that say they are of another tracer; what was accepted by force, by role."""
    from ..volumes.named_tracer import other_tracer

    accepted = []
    for role, volume in volumes.items():
        if not (role.startswith(_REFERENCE) and isinstance(volume, (str, os.PathLike))):
            continue
        if why := other_tracer(Path(volume), role.removeprefix(_REFERENCE)):
            if not force:
                advice = "give the tracer's own PET, or use --force to compare with it all the same"
                raise DoubtfulInputError(f"{REFERENCE} {volume}: {why}", advice)
            warn(f"accepted by force: {REFERENCE}: {why}")
            accepted.append((role, f"{REFERENCE}: {why}"))
    return accepted


def _doubt_two_people(paths: dict[str, Path], names: dict[str, str], force: bool) -> list[tuple[str, str]]:
    """Scans whose DICOM headers name two people, or an MRI pair of two studies; what was accepted by force, by role."""
    from ..volumes import origin_of, same_person, same_study

    origins, accepted = {role: origin for role, path in paths.items() if (origin := origin_of(path))}, []
    for role in [role for role in origins if role != "t1w" and "t1w" in origins]:
        if not same_person(origins["t1w"], origins[role]):
            why = "two people, as PatientID or PatientBirthDate in them differ"
            if not force:
                advice = "check the files, or use --force to go on all the same"
                raise DoubtfulInputError(f"{names['t1w']} and {names[role]}: {why}", advice)
            words = f"{title('t1w')} and {title(role)}: {why}"
            warn(f"accepted by force: {words}")
            accepted.append((role, words))
        elif role == "t2f" and not same_study(origins["t1w"], origins[role]):
            warn("T1w and T2-FLAIR were taken on two days, as their DICOM headers say; one visit's pair is wanted")
    return accepted


def _doubt_synthetic(volumes: dict[str, object], force: bool) -> list[tuple[str, str]]:
    """Measured PET that say that they are synthetic ones; what was accepted by force, by role."""
    from ..volumes import says_synthetic

    accepted = []
    for role in [role for role, volume in volumes.items() if role not in TITLES and says_synthetic(volume)]:
        if not force:
            path = f" {volumes[role]}" if isinstance(volumes[role], (str, os.PathLike)) else ""
            raise DoubtfulInputError(
                f"{title(role)}{path}: {SYNTHETIC}",
                "give a measured PET, or use --force to compare with it all the same",
            )
        words = f"{title(role)}: {SYNTHETIC}"
        warn(f"accepted by force: {words}")
        accepted.append((role, words))
    return accepted


def without_paths(messages: list[str], paths: dict[str, Path]) -> list[str]:
    """Messages on one line, with every input's path and file name replaced by what the input is (`without_files`)."""
    return without_files(messages, {path: title(role) for role, path in paths.items()})
