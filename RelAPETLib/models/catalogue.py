"""The catalogue of models (`Resources/models.json`) and the folder where fetched ones are kept."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from ..errors import ModelError
from ..resources import resource, resources_dir
from .bundle import VerifiedBundle
from .metadata import check_schema, load_json

#: Catalogue name of the authors' published model.
RELEASE_NAME = "rela-diffusion"


def home() -> Path:
    """Folder of fetched models (in ``models``) and other data of this user.

    ``$RELAPET_HOME``, else the platform's place for an application's data: ``%LOCALAPPDATA%\\\\relapet``,
    ``~/Library/Application Support/relapet``, or ``$XDG_DATA_HOME/relapet`` (``~/.local/share/relapet``).
    """
    named = os.environ.get("RELAPET_HOME")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "relapet"


def load_catalogue(path: Path | None = None) -> dict[str, dict]:
    """Catalogue entries by name.

    Args:
        path: another catalogue than the shipped one.

    Raises:
        ModelError: the file is missing or does not fit `Resources/catalogue.schema.json`.
    """
    path = path or resource("models.json")
    content = load_json(path, "model catalogue")
    check_schema(content, "catalogue.schema.json", f"model catalogue {path}")
    return {entry["name"]: entry for entry in content["models"]}


def get_entry(name: str, catalogue: Path | None = None) -> dict:
    """One catalogue entry. Raises `ModelError` when there is none of that name."""
    entries = load_catalogue(catalogue)
    if name not in entries:
        raise ModelError(f"no model '{name}' in the catalogue; it has {', '.join(entries)}")
    return entries[name]


def installed_folder(entry: dict) -> Path:
    """Where the bundle of a catalogue entry is or would be."""
    if entry["shipped"]:
        return resources_dir() / "models" / entry["name"]
    return home() / "models" / entry["name"]


def list_models(catalogue: Path | None = None) -> list[dict]:
    """Every catalogue entry as `show` gives it."""
    return [_with_place(entry) for entry in load_catalogue(catalogue).values()]


def show(name: str, catalogue: Path | None = None) -> dict:
    """A catalogue entry, with ``"path"`` (where it is or would be) and ``"installed"`` added.

    Raises:
        ModelError: no such model.
    """
    return _with_place(get_entry(name, catalogue))


def _with_place(entry: dict) -> dict:
    folder = installed_folder(entry)
    return {**entry, "path": str(folder), "installed": folder.is_dir()}


def model_path(name: str, catalogue: Path | None = None) -> Path:
    """Folder of a model of the catalogue that is on this machine.

    Raises:
        ModelError: no such model, or not on this machine.
    """
    entry = get_entry(name, catalogue)
    folder = installed_folder(entry)
    if folder.is_dir():
        return folder
    if entry["shipped"]:
        raise ModelError(f"model '{name}' should come with relapet but is not at {folder}; reinstall relapet")
    raise ModelError(f"model '{name}' is not on this machine; run 'relapet models fetch {name}'")


def check_entry(bundle: VerifiedBundle, entry: dict) -> None:
    """Raise `ModelError` unless a bundle is the one that a catalogue entry means."""
    if bundle.metadata["name"] != entry["name"]:
        raise ModelError(f"{bundle.folder} holds model '{bundle.metadata['name']}', not '{entry['name']}'")
    if entry["weights_sha256"] not in (None, bundle.weights_sha256):
        raise ModelError(
            f"model weights {bundle.weights_path} are not those of the catalogue (SHA-256 "
            f"{bundle.weights_sha256[:12]}..., not {entry['weights_sha256'][:12]}...); get the model again"
        )
    source = entry["source"]
    if source is not None and bundle.metadata["source"].get("git_blob_id") != source["git_blob_id"]:
        raise ModelError(
            f"{bundle.folder} was not made from the file the catalogue names (git blob "
            f"{source['git_blob_id'][:12]}...); run 'relapet models fetch {entry['name']}'"
        )


def remove(name: str, catalogue: Path | None = None) -> Path:
    """Delete a fetched model.

    Returns:
        The folder that was deleted.

    Raises:
        ModelError: no such model, not on this machine, shipped with the program, or not inside `home()`.
    """
    entry = get_entry(name, catalogue)
    if entry["shipped"]:
        raise ModelError(f"model '{name}' comes with relapet and cannot be removed")
    folder = model_path(name, catalogue)
    if folder.is_symlink() or folder.resolve().parent != (home() / "models").resolve():
        raise ModelError(f"{folder} is a link to another place; nothing was removed, remove it by hand")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"cannot remove {folder}: {error.strerror or error}") from error
    return folder
