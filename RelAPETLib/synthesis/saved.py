"""A prepared case in a folder, to go on from without the raw scans.

::

    DIR/case.json           what `Resources/case.schema.json` says: hashes of the scans and of the files below, geometry
                            of the raw T1w, quality figures, warnings, versions; a fingerprint of all that
    DIR/t1w.nii.gz          on the model grid, brain only, [-1, 1]
    DIR/t2f.nii.gz          the same; absent for a T1w alone
    DIR/mask.nii.gz         1 inside the brain
    DIR/in_view.nii.gz      1 where the scans show the brain; absent where they show all of it
    DIR/grid_to_t1w.h5      ITK transform from points of the model grid to points of the raw T1w, LPS mm
    DIR/t1w_to_grid.h5      its inverse
    DIR/t1w_to_t2f.h5       rigid, from T1w points to T2F points; absent for a T1w alone

No path, name or header of a person is in it; but a brain is, so it is to be guarded as the scans are. It gives the same
PET, byte for byte, as the scans do with the same options and tracers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import InputError, OutputError
from ..grid import MNI_GRID
from ..jsonfiles import parse_json
from ..preprocessing import Preprocessed
from ..registration import AUTO
from ..resources import resource
from .case import Case

if TYPE_CHECKING:
    import SimpleITK as sitk

SCHEMA_VERSION = 1
RECORD = "case.json"
_VOLUMES = ("t1w", "t2f", "mask", "in_view")
_TRANSFORMS = ("grid_to_t1w", "t1w_to_grid", "t1w_to_t2f")
#: Every file that `save_case` may write.
CASE_NAMES = (*(f"{name}.nii.gz" for name in _VOLUMES), *(f"{name}.h5" for name in _TRANSFORMS), RECORD)
MAX_JSON_BYTES = 1_000_000
ADVICE = "prepare the case again from the scans"


def save_case(case: Case, folder: str | os.PathLike, *, overwrite: bool = False) -> dict[str, Path]:
    """Write a case into a folder, all of it or nothing. Measured PET are not kept.

    Args:
        case: from `prepare_case`.
        folder: made when missing; files of other names in it are left alone.
        overwrite: replace a case that is there.

    Returns:
        Paths by file name.

    Raises:
        InputError: the case has measured PET, of which its warnings and figures speak.
        OutputError: a file exists and `overwrite` is False, or the folder cannot be written to.
    """
    from ..outputs import write_set
    from ..volumes import write_volume

    if case.ready.pets:
        raise InputError("a case is kept without measured PET; prepare it from the MRI alone")
    volumes = {name: image for name in _VOLUMES if (image := getattr(case.ready, name)) is not None}
    writers: dict[str, Callable[[Path], None]] = {
        f"{name}.nii.gz": lambda path, image=image: write_volume(image, path) for name, image in volumes.items()
    }
    for name in _TRANSFORMS:
        if (transform := getattr(case.ready, name)) is None:
            continue
        writers[f"{name}.h5"] = lambda path, transform=transform: _write_transform(transform, path)
    names = list(writers)
    writers[RECORD] = lambda path: _write_record(case, names, path)
    paths = write_set(folder, writers, owned=CASE_NAMES, overwrite=overwrite)
    return {path.name: path for path in paths}


def _write_transform(transform: sitk.Transform, path: Path) -> None:
    import SimpleITK as sitk

    try:
        sitk.WriteTransform(transform, str(path))
    except RuntimeError as error:  # a full disk, most likely: ITK does not say
        raise OutputError(f"cannot write {path}: the transform's writer failed") from error


def _write_record(case: Case, names: list[str], path: Path) -> None:
    """The record, with the hashes of the files that were written beside it before."""
    from ..volumes import file_sha256

    ready, space = case.ready, case.t1w_space
    record = {
        "schema_version": SCHEMA_VERSION,
        "relapet": __version__,
        "inputs": {role: _hashes(case, role) for role in case.sequences},
        "files": {name: {"sha256": file_sha256(path.parent / name)} for name in names},
        "t1w_space": {
            "size": list(space.GetSize()),
            "spacing_mm": list(space.GetSpacing()),
            "origin_lps_mm": list(space.GetOrigin()),
            "direction": list(space.GetDirection()),
        },
        "preprocessed": case.preprocessed,
        "revision": case.revision,
        "method": ready.method,
        "skull_stripped": bool(ready.skull_stripped),
        "quality": {name: float(value) for name, value in ready.quality.items()},
        "warnings": list(case.warnings),
        **({"header": list(case.header)} if case.header else {}),
        **({"doubted": list(case.doubted)} if case.doubted else {}),
        **({"simulated": True} if case.simulated else {}),
        **({"beside": {role: dict(told) for role, told in case.beside.items()}} if case.beside else {}),
        **({"registration": case.registration} if case.registration != AUTO else {}),
    }
    record["quality"] = {name: value if value == value else None for name, value in record["quality"].items()}
    record["fingerprint"] = _fingerprint(record)
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _hashes(case: Case, role: str) -> dict[str, str]:
    """Hash of an input, and of its other file where it lies in two."""
    second = case.second_sha256.get(role)
    return {"sha256": case.sha256[role], **({"second_sha256": second} if second else {})}


def _fingerprint(record: dict) -> str:
    rest = {key: value for key, value in record.items() if key != "fingerprint"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load_case(folder: str | os.PathLike) -> Case:
    """A case that `save_case` has written.

    Raises:
        InputError: no case there, damaged, or of another version.
    """
    from ..volumes import read_volume

    folder = Path(folder)
    record = _read_record(folder)
    _check_files(folder, record)

    def volume(name: str) -> sitk.Image | None:
        if f"{name}.nii.gz" not in record["files"]:
            return None
        return _on_grid(read_volume(folder / f"{name}.nii.gz", name=name), folder)

    def transform(name: str) -> sitk.Transform | None:
        return _transform(folder / f"{name}.h5") if f"{name}.h5" in record["files"] else None

    in_view = volume("in_view")
    ready = Preprocessed(
        t1w=volume("t1w"),
        t2f=volume("t2f"),
        pet=None,
        mask=_as_mask(volume("mask")),
        in_view=None if in_view is None else _as_mask(in_view),
        **{name: transform(name) for name in _TRANSFORMS},
        quality={name: float("nan") if value is None else value for name, value in record["quality"].items()},
        warnings=[],
        method=record["method"],
        skull_stripped=record["skull_stripped"],
    )
    return Case(
        ready=ready,
        t1w_space=_space(record["t1w_space"], folder),
        sha256={role: facts["sha256"] for role, facts in record["inputs"].items()},
        second_sha256={
            role: facts["second_sha256"] for role, facts in record["inputs"].items() if "second_sha256" in facts
        },
        preprocessed=record["preprocessed"],
        warnings=tuple(record["warnings"]),
        header=tuple(record.get("header", ())),
        doubted=tuple(record.get("doubted", ())),
        simulated=record.get("simulated", False),
        beside=record.get("beside", {}),
        registration=record.get("registration", AUTO),
        revision=record.get("revision", 1),
    )


def _read_record(folder: Path) -> dict:
    """The record, whole and of this version."""
    import jsonschema

    path = folder / RECORD
    if not path.is_file():
        raise InputError(f"{folder}: not a prepared case, it has no {RECORD}; {ADVICE}")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path} is larger than {MAX_JSON_BYTES} bytes; {ADVICE}")
        record = parse_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged, not valid JSON; {ADVICE}") from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        raise InputError(f"{path}: a case of version {version}, this RelAPET reads version {SCHEMA_VERSION}; {ADVICE}")
    schema = json.loads(resource("case.schema.json").read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(record))
    if error is not None:
        raise InputError(f"{path}: damaged at {error.json_path}; {ADVICE}")
    if record["fingerprint"] != _fingerprint(record):
        raise InputError(f"{path}: damaged, it was changed after it was written; {ADVICE}")
    return record


def _check_files(folder: Path, record: dict) -> None:
    """Every file there, plain, and as it was written."""
    from ..volumes import file_sha256

    for name, facts in record["files"].items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{folder}: damaged, {name} is missing or no plain file; {ADVICE}")
        try:
            found = file_sha256(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        if found != facts["sha256"]:
            raise InputError(f"{path}: damaged, it was changed after it was written; {ADVICE}")


def _on_grid(image: sitk.Image, folder: Path) -> sitk.Image:
    if not MNI_GRID.matches(image):
        raise InputError(f"{folder}: its volumes do not lie on the model grid; {ADVICE}")
    from ..grid import array_to_image, image_to_array

    return array_to_image(image_to_array(image))


def _as_mask(image: sitk.Image) -> sitk.Image:
    import SimpleITK as sitk

    return sitk.Cast(image, sitk.sitkUInt8)


def _transform(path: Path) -> sitk.Transform:
    import SimpleITK as sitk

    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: damaged, not a transform; {ADVICE}") from error


def _space(facts: dict, folder: Path) -> sitk.Image:
    """An empty image of the raw T1w's geometry."""
    import SimpleITK as sitk

    try:
        image = sitk.Image(facts["size"], sitk.sitkUInt8)
        image.SetSpacing(facts["spacing_mm"])
        image.SetOrigin(facts["origin_lps_mm"])
        image.SetDirection(facts["direction"])
    except RuntimeError as error:
        raise InputError(f"{folder / RECORD}: damaged, its geometry is none; {ADVICE}") from error
    return image
