"""Where the files of a cohort's results lie: folders of `relapet synthesize`, or BIDS derivatives of `relapet bids`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..jsonfiles import read_json_object
from ..notices import warn
from ..tracers import get_tracer
from .cohort_tables import MISSING, Key

_RECORD = "synthetic_pet.json"
_BIDS_RECORD = re.compile(r"(?P<stem>sub-.+)_desc-synthetic_provenance\.json$")
_VOLUMES = {"pet": "synthetic_pet", "difference": "difference", "uncertainty": "uncertainty"}
_BIDS_DESC = {"pet": "synthetic", "difference": "difference", "uncertainty": "spread"}


@dataclass(frozen=True)
class ResultFiles:
    """Files of one result.

    Attributes:
        volumes: of ``pet``, ``difference``, ``uncertainty``, ``reference`` those that are there, on one grid.
        record: what `synthetic_pet.json` holds; empty where there is none.
        page: `report.html` or `report.png` of this person, or None.
    """

    volumes: dict[str, Path]
    record: dict = field(default_factory=dict, repr=False)
    page: Path | None = None


def find_results(folder: str | os.PathLike, keys: Iterable[Key]) -> dict[Key, ResultFiles]:
    """Files of results below a folder; those that are not found are left out.

    A result is known by its record: by the tracer and model in it, and by the folders above it, the first of which that
    has a person's name tells whose it is; the next one, where the person has sessions, tells which. Damaged records are
    told of by a `RelAPETWarning`, and so are results that are there twice, of which the first by its place is taken.
    """
    wanted, found, twice = {}, {}, {}
    for key in keys:
        wanted.setdefault(key.participant_id.removeprefix("sub-"), []).append(key)
    for path in sorted(_records(Path(folder))):
        try:
            record = read_json_object(path)
            tracer = get_tracer(record["tracer"]["name"]).name
            model = record["model"]
            names = {model["name"], f"{model['name']} {model['version']}"}
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
            warn(f"{path.name} of {path.parent.name} is no record of a synthetic PET and was left out")
            continue
        parts = [part.removeprefix("sub-") for part in path.relative_to(folder).parts[:-1]]
        place = next((n for n, part in enumerate(parts) if part in wanted), None)
        if place is None:
            continue
        session = (*parts[place + 1 :], "")[0]
        for key in wanted[parts[place]]:
            if key.tracer == tracer and key.model in (*names, MISSING) and _is_session(key.session, session):
                twice |= {key: path} if key in found else {}
                found.setdefault(key, _files(path, record))
    if twice:
        named = " ".join(part for part in next(iter(twice)) if part != MISSING)
        warn(
            f"results are there more than once, {len(twice)} of them, such as that of {named}; pictures and verdicts "
            "are of the first by its folder's name: give the folder of one run (--results)"
        )
    return found


def _records(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in names if name == _RECORD or _BIDS_RECORD.match(name))


def _is_session(session: str, folder: str) -> bool:
    """Whether the folder below a person's is a session's; without sessions, whether it is no session's."""
    if session == MISSING:
        return not folder.startswith("ses-")
    return folder.removeprefix("ses-") == session.removeprefix("ses-")


def _files(path: Path, record: dict) -> ResultFiles:
    bids = _BIDS_RECORD.match(path.name)
    volumes: dict[str, Path] = {}
    for space, label in (("", "T1w"), ("_space-MNI", "MNI152NLin2009aSym")):  # all of one grid
        for role, name in _VOLUMES.items():
            if bids:
                file = path.with_name(f"{bids['stem']}_space-{label}_desc-{_BIDS_DESC[role]}_pet.nii.gz")
            else:
                files = [path.with_name(f"{name}{space}{end}") for end in (".nii.gz", ".nii")]
                file = next((each for each in files if each.is_file()), files[0])
            if file.is_file():
                volumes[role] = file
        if "pet" in volumes:
            break
    stem = f"{bids['stem']}_desc-synthetic_" if bids else ""
    pages = [path.with_name(f"{stem}report.{ending}") for ending in ("html", "png")]
    return ResultFiles(volumes, record, next((page for page in pages if page.is_file()), None))
