"""Spaces by the ``space-`` entity of a file's name (BIDS): MNI in any variant, the person's T1w, or another one."""

from __future__ import annotations

from pathlib import Path

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
