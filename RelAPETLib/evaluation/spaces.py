"""Spaces by the ``space-`` entity of a file's name (BIDS): MNI in any variant, the person's T1w, or another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..notices import printable, warn
from ..volumes.sidecar import parse_name


def space_entity(path: Path | None) -> str:
    """What stands after ``space-`` in a name; empty without one, and without a path."""
    return "" if path is None else parse_name(path).entities.get("space", "")


def space_of(path: Path | None) -> str:
    """``MNI`` or ``T1w`` by a name; empty where it says nothing, or another space."""
    entity = space_entity(path)
    return "MNI" if entity.startswith("MNI") else "T1w" if entity == "T1w" else ""


def other_space(path: Path | None) -> str:
    """The space that a name says where it is neither MNI nor T1w, such as ``orig`` or ``PET``; else empty."""
    return "" if space_of(path) else space_entity(path)


def agreed_space(names: Mapping[str, Path | None], **said: str) -> str:
    """The space that several files of one pair lie in by their names; empty where none says one of the two.

    Args:
        names: by what messages call them.
        said: what else says a space, by what messages call it; empty where it says nothing.

    Raises:
        InputError: one says MNI and another one T1w.
    """
    known = {title: space for title, space in said.items() if space}
    known |= {title: space for title, path in names.items() if (space := space_of(path))}
    if len(set(known.values())) > 1:
        words = ", ".join(f"{title} {space}" for title, space in known.items())
        raise InputError(f"names contradict each other: {words}; give files of one space")
    return next(iter(known.values()), "")


def warn_of_variants(names: Mapping[str, Path | None]) -> None:
    """Tell of files of one pair in several variants of MNI space, which lie apart by some millimetres.

    Args:
        names: by what messages call them.
    """
    variants = {title: space_entity(path) for title, path in names.items() if space_of(path) == "MNI"}
    if len({variant for variant in variants.values() if variant != "MNI"}) > 1:
        words = ", ".join(f"{title} {printable(variant, 40)}" for title, variant in variants.items())
        shown = next(path.name for path in names.values() if path)
        warn(f"{printable(shown)}: compared across variants of MNI space, which lie apart by millimetres: {words}")
