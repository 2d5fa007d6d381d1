"""Every model that can be had here, with what speaks against it: for lists that a person reads before choosing one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ModelError
from ..methods import METHODS, method_class
from .bundle import check_bundle, verify_bundle
from .catalogue import check_entry, list_models, load_catalogue, used_folder
from .metadata import load_json, method_of
from .places import found_models


def survey(catalogue: Path | None = None, *, whole: bool = False) -> tuple[list[dict], list[dict]]:
    """All models, and all folders beside them that look like models and are refused.

    Args:
        catalogue: another catalogue than the shipped one.
        whole: read the weights, too, and compare their hash; without it a bundle is checked by its metadata, the sizes
            and kinds of its files and the weights' header, which finds files that are cut short but not changed bytes.
            Loading a model always compares the hash.

    Returns:
        ``(models, refused)``. A model is what `catalogue.show` gives, and ``method_title``, ``working_mm`` (side in mm
        of the blocks that its network works on, where its settings say so, else None), ``problem`` (why it would not be
        loaded, in one line, or None) and ``checked`` (``"whole"``, ``"quickly"``, or None for what is not here).
        A refused folder has ``name``, ``path``, ``place`` and ``problem``.
    """
    entries = load_catalogue(catalogue)
    models = [_described(entry, entries.get(entry["name"]), whole) for entry in list_models(catalogue)]
    used = {model["path"] for model in models if model["installed"]}
    refused = []
    for each in found_models():
        name, path = each.folder.name, str(each.folder)
        if path in used:
            continue
        problem = each.problem or _hidden_by(name, entries)
        refused.append({"name": name, "path": path, "place": each.place, "problem": problem})
    return models, refused


def _hidden_by(name: str, entries: Mapping[str, dict]) -> str:
    """Why a sound bundle is not used."""
    if name not in entries:
        return f"a model named '{name}' in your own folder comes first"
    if entries[name]["shipped"]:
        return f"'{name}' is the name of a model that comes with relapet; rename the folder"
    return f"'{name}' is a model of the catalogue, and {used_folder(entries[name])} is used"


def _described(model: dict, entry: dict | None, whole: bool) -> dict:
    facts = {"method_title": _title(model["method"]), "working_mm": None, "problem": None, "checked": None}
    if model["installed"]:
        facts["checked"] = "whole" if whole else "quickly"
        try:
            if not whole:
                check_bundle(model["path"])
            elif entry is None:
                verify_bundle(model["path"])
            else:
                check_entry(verify_bundle(model["path"]), entry)
            facts["working_mm"] = _working_mm(Path(model["path"]))
        except ModelError as error:
            facts["problem"] = " ".join(str(error).split())
    return {**model, **facts}


def _title(method: str) -> str:
    return method_class(method).title if method in METHODS else method


def _working_mm(folder: Path) -> float | None:
    metadata = load_json(folder / "configs" / "metadata.json", "model metadata")
    _name, settings = method_of(metadata)
    arguments = settings.get("arguments")
    for part in (settings, arguments if isinstance(arguments, Mapping) else {}):
        if isinstance(part.get("factor"), int):
            return part["factor"] * metadata["grid"]["spacing_mm"][0]
    return None
