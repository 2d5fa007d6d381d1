"""Label images that a user keeps: masks that may not be shipped, such as Centiloid's, by a name.

``regions/NAME`` in the user's folder (`resources.user_folder`) holds ``labels.nii.gz``, ``regions.tsv`` (``index``,
``name``) and ``atlas.json`` with the hashes of both, which are compared at each reading. Nothing in it is executed.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..jsonfiles import read_json_object
from ..notices import printable, warn
from ..outputs import write_set
from ..resources import resource, user_folder
from .atlas import NATIVE, SHIPPED, Atlas, read_atlas, shipped_atlas

IMAGE, TABLE, RECORD = "labels.nii.gz", "regions.tsv", "atlas.json"
#: Labels of which less than this share lies in the template's brain are hardly in MNI space.
LEAST_IN_BRAIN = 0.5
#: Below this share they are refused: they lie beside it.
LEAST_OVER_TEMPLATE = 0.1
#: More labels than this without a table of their names are refused: a scan has thousands, or, of bytes, up to 255.
MOST_NAMELESS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def folder_of_regions() -> Path:
    """Where they are kept. Raises `InputError` where the system knows no home of this user."""
    try:
        return user_folder() / "regions"
    except RuntimeError as error:
        raise InputError("no home folder is known for this user; set RELAPET_HOME to a folder of yours") from error


def _check_name(name: str) -> str:
    if name in (SHIPPED, NATIVE):
        raise InputError(f"the name '{name}' is taken; choose another")
    if not _NAME.fullmatch(name):
        raise InputError(f"'{printable(name)}' cannot be a name: up to 64 letters, digits and . _ - are wanted")
    return name


def add(name: str, path: Path | str, lookup: Path | str | None = None, *, overwrite: bool = False) -> Atlas:
    """Keep a label image in MNI space under a name.

    Args:
        name: up to 64 letters, digits and ``. _ -``.
        path, lookup: as for `read_atlas`.
        overwrite: replace one of that name.

    Raises:
        InputError: the name cannot be used or the files not be read; more than `MOST_NAMELESS` labels without a table,
            as a scan has; or an image that does not lie over the template.
        OutputError: there is one of that name, or the folder cannot be written to.

    Warns:
        RelAPETWarning: most of the labels lie outside the template's brain.
    """
    from ..volumes import file_sha256, write_volume

    target = folder_of_regions() / _check_name(name)
    atlas = read_atlas(path, name, "MNI", lookup)
    shown = f"label image {printable(Path(path))}"
    if len(atlas.labels) > MOST_NAMELESS and "lookup_sha256" not in atlas.facts:
        raise InputError(
            f"{shown}: {len(atlas.labels)} different values, as in a scan rather than a label image; if they are "
            "labels, name them by a table (--lut)"
        )
    share = share_in_brain(atlas)
    if share < LEAST_OVER_TEMPLATE:
        raise InputError(
            f"{shown}: {100 * share:.0f} % of its labels lie in the template's brain; they have to lie over it, in MNI "
            "space"
        )
    if share < LEAST_IN_BRAIN:
        warn(
            f"only {100 * share:.0f} % of the labels of '{name}' lie in the template's brain; "
            "they have to be in MNI space, which these hardly are"
        )

    def table(target: Path) -> None:
        with open(target, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(("index", "name"))
            writer.writerows((label, region) for region, labels in atlas.labels.items() for label in labels)

    def record(target: Path) -> None:
        content = {
            "name": name,
            "space": "MNI",
            "source": dict(atlas.facts),
            "files": {file: file_sha256(target.parent / file) for file in (IMAGE, TABLE)},
        }
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    write_set(
        target,
        {
            IMAGE: lambda target: write_volume(atlas.image, target),
            TABLE: table,
            RECORD: record,
        },
        overwrite=overwrite,
    )
    return load(name)


def share_in_brain(atlas: Atlas) -> float:
    """Share of an atlas's labelled voxels that lie in the template's brain, 0 to 1."""
    import SimpleITK as sitk

    brain = sitk.ReadImage(str(resource("template", "brain_mask.nii.gz")), sitk.sitkUInt8)
    there = sitk.GetArrayFromImage(sitk.Resample(brain, atlas.image, sitk.Transform(), sitk.sitkNearestNeighbor))
    return float(np.mean(there[sitk.GetArrayViewFromImage(atlas.image) > 0] > 0))


def load(name: str) -> Atlas:
    """An atlas by its name: the shipped one or one that was kept.

    Raises:
        InputError: there is none of that name, or its files are not what they were when it was added.
    """
    from ..volumes import file_sha256

    if name == SHIPPED:
        return shipped_atlas()
    folder = folder_of_regions() / _check_name(name)
    if not folder.is_dir():
        raise InputError(f"no regions '{name}'; there are {', '.join(names())}; 'relapet regions add' keeps others")
    advice = f"add it again: 'relapet regions add {name} FILE --overwrite'"
    record = read_json_object(folder / RECORD, "record", advice=advice)
    files = record.get("files")
    for file in (IMAGE, TABLE):
        known = files.get(file) if isinstance(files, dict) else None
        if not (folder / file).is_file() or file_sha256(folder / file) != known:
            raise InputError(f"{folder / file}: not the file that was added; {advice}")
    atlas = read_atlas(folder / IMAGE, name, "MNI", folder / TABLE)
    source = record.get("source")
    facts = {f"source_{key}": str(value) for key, value in source.items()} if isinstance(source, dict) else {}
    return Atlas(name, atlas.image, atlas.labels, "MNI", {**atlas.facts, **facts})


def names() -> list[str]:
    """Names of all, the shipped one first; some that were kept may be damaged (`load`)."""
    folder = folder_of_regions()
    found = sorted(path.name for path in folder.iterdir() if (path / RECORD).is_file()) if folder.is_dir() else []
    return [SHIPPED, *filter(_NAME.fullmatch, found)]


def remove(name: str) -> Path:
    """Delete one that was kept; returns its folder. Raises `InputError` where there is none."""
    folder = folder_of_regions() / _check_name(name)
    if folder.is_symlink() or not (folder / RECORD).is_file():
        raise InputError(f"no regions '{name}' to remove; there are {', '.join(names()[1:]) or 'none'}")
    shutil.rmtree(folder)
    return folder
