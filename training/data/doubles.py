"""One person under two names: would be trained on and tested on as if there were two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from RelAPETLib.cohort.cases import Case, Failure, RenderedCase
from RelAPETLib.errors import InputError

_MRI = ("t1w", "t2f")


def file_hashes(case: Case | RenderedCase) -> dict[str, str]:
    """SHA-256 of the contents of a case's files by what they are: ``t1w``, ``t2f``, ``PET TAU`` ...

    Of a volume in two files (a header and its voxels) of both, one after the other: many people's headers are alike.
    A PET that is not there has none, nor has a rendered person anything.

    Raises:
        InputError: T1w or FLAIR cannot be read.
    """
    if isinstance(case, RenderedCase):
        return {}
    pets = {f"PET {tracer}": scan.path for tracer, scan in case.pets.items() if scan.path.exists()}
    return {name: _hash(path) for name, path in ({"t1w": case.t1w, "t2f": case.t2f} | pets).items()}


def _hash(path: Path) -> str:
    from RelAPETLib.volumes import file_sha256, second_file

    try:
        other = second_file(path)
    except InputError:
        other = None  # whoever reads the volume says what is wrong with it
    return " ".join(file_sha256(file) for file in (path, other) if file is not None)


def without_doubles(
    records: Iterable[Mapping], files: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[list[Mapping], list[Failure]]:
    """Cases without the scans of another subject: of an MRI the case is left out, of a PET that PET, and the case where
    it has no other.

    Args:
        records: entries of the index; of those that hold the same scan, the first subject's are kept.
        files: `file_hashes` by case. A scan is the same where its file is, or what is stored of it: one file beside the
            T1w of two names is stored in two ways, and two files may hold the same voxels.

    Returns:
        The others' entries in their order, and why each of the rest is left out.
    """
    owners: dict[tuple[str, str], str] = {}
    kept, left_out = [], []
    for record in records:
        subject, case = record["subject"], record["case"]
        marks = _marks(record, (files or {}).get(case, {}))
        found = {name: [owners[mark] for mark in own if owners.get(mark, subject) != subject] for name, own in
                 marks.items()}  # fmt: skip
        taken = {name: others[0] for name, others in found.items() if others}
        pets = {tracer: pet for tracer, pet in record["pets"].items() if f"PET {tracer}" not in taken}
        if not taken.keys().isdisjoint(_MRI) or (record["pets"] and not pets):
            left_out.append(Failure(subject, case, "", _reason(*next(iter(taken.items())))))
            continue
        left_out += [Failure(subject, case, name.removeprefix("PET "), _reason(name, o)) for name, o in taken.items()]
        owners |= {mark: subject for name, own in marks.items() if name not in taken for mark in own}
        kept.append(record | {"pets": pets} if taken else record)
    return kept, left_out


def _marks(record: Mapping, files: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """By what a scan is, what it is known again by; the MRI come first."""
    stored = {name: record[name]["sha256"] for name in _MRI if name in record}
    stored |= {f"PET {tracer}": pet["sha256"] for tracer, pet in record["pets"].items()}
    return {
        name: [(name, sha256), *([(f"{name}'s file", files[name])] if name in files else [])]
        for name, sha256 in stored.items()
    }


def _reason(name: str, owner: str) -> str:
    return (
        f"its {name} is that of {owner} too; one person under two names could be trained on and tested on, "
        "so give both one name (a session each), or take one away"
    )
