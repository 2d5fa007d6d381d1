"""The catalogue of models (`Resources/models.json`) and the folder where fetched ones are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..diffusion.names import QUALITIES
from ..errors import ModelError
from ..methods import method_class
from ..notices import warn
from ..outputs import reserve
from ..resources import resource, resources_dir, user_folder
from .bundle import METADATA_FILE, VerifiedBundle
from .metadata import check_metadata, check_schema, load_json, method_of

#: Catalogue name of the authors' published model.
RELEASE_NAME = "rela-diffusion"


def home() -> Path:
    """Folder of fetched models (in ``models``) and other data of this user.

    ``$RELAPET_HOME``, else the platform's place for an application's data: ``%LOCALAPPDATA%\\\\relapet``,
    ``~/Library/Application Support/relapet``, or ``$XDG_DATA_HOME/relapet`` (``~/.local/share/relapet``).

    Raises:
        ModelError: the system knows no home of this user, and ``$RELAPET_HOME`` names none.
    """
    try:
        return user_folder()
    except RuntimeError as error:
        raise ModelError("no home folder is known for this user; set RELAPET_HOME to a folder of yours") from error


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
    """Every catalogue entry and every model of the user's own folder, as `show` gives them."""
    entries = load_catalogue(catalogue)
    return [_with_place(entry) for entry in entries.values()] + list(own_models(entries).values())


def own_models(catalogued: Iterable[str] = ()) -> dict[str, dict]:
    """Models in ``models`` of `home()` that are not in the catalogue, by the name of their folder.

    Only their metadata are read here; a folder whose metadata cannot be used is told of by a `RelAPETWarning`.
    """
    found = {}
    for path in _own_folders():
        if path.name in catalogued or path.name.startswith(".") or not (path / METADATA_FILE).is_file():
            continue
        try:
            metadata = load_json(path / METADATA_FILE, "model metadata")
            check_metadata(metadata, f"model metadata {path / METADATA_FILE}")
        except ModelError as error:
            warn(str(error))
            continue
        found[path.name] = _own_entry(path, metadata)
    return found


def _own_folders() -> list[Path]:
    try:
        folder = home() / "models"
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except ModelError:  # without a home there are none
        return []
    except OSError as error:
        warn(f"cannot look for models in {folder}: {error.strerror or error}")
        return []


def _own_entry(path: Path, metadata: dict) -> dict:
    """A catalogue entry's facts, from a bundle's own metadata."""
    name, settings = method_of(metadata)
    same = ("title", "description", "grid", "licence", "intended_use")
    outputs = sorted({facts["output"] for facts in metadata["tracers"].values()})
    return {
        "name": path.name,
        **{key: metadata[key] for key in same},
        "method": name,
        "steps": method_class(name).default_steps(settings),
        "shipped": False,
        "source": None,
        "weights_sha256": metadata["weights"]["sha256"],
        "tracers": list(metadata["tracers"]),
        "optional_inputs": metadata.get("optional_inputs", []),
        "draw": _draw_of(metadata),
        "output": outputs[0] if len(outputs) == 1 else "mixed",
        "training_data": metadata["training_data"]["description"],
        "simulated": metadata["training_data"]["simulated"],
        "path": str(path),
        "installed": True,
        "catalogued": False,
    }


def _draw_of(metadata: dict) -> dict:
    """What a draw takes and may be told, as JSON: see `methods.base.Defaults`."""
    name, settings = method_of(metadata)
    defaults = method_class(name).defaults_of(settings)
    return {
        "inputs": list(defaults.inputs),
        "samplers": dict(defaults.samplers),
        "longest": defaults.longest,
        "samples": defaults.samples,
        "slow_on_cpu": defaults.slow_on_cpu,
        "deterministic": defaults.deterministic,
        "quality": {name: metadata["quality"][name] for name in QUALITIES} if "quality" in metadata else None,
    }


def _installed_facts(folder: Path) -> dict:
    """What a catalogued model's own metadata say beyond its entry; None for ``draw`` where they cannot be used."""
    try:
        metadata = load_json(folder / METADATA_FILE, "model metadata")
        check_metadata(metadata, f"model metadata {folder / METADATA_FILE}")
    except ModelError as error:
        warn(str(error))
        return {"draw": None}
    return {"draw": _draw_of(metadata), "optional_inputs": metadata.get("optional_inputs", [])}


def show(name: str, catalogue: Path | None = None) -> dict:
    """A catalogue entry, with ``path`` (where it is or would be), ``installed``, ``catalogued`` and ``draw`` added.

    ``draw`` says what the model takes and may be told (``inputs``, ``samplers`` with their network calls,
    ``longest``, ``samples``, ``slow_on_cpu``, ``deterministic``, ``quality``: steps by name, or None); None for a model
    that is not on this machine.

    Raises:
        ModelError: no such model.
    """
    own = _own_model(name, catalogue)
    return own or _with_place(get_entry(name, catalogue))


def _own_model(name: str, catalogue: Path | None) -> dict | None:
    entries = load_catalogue(catalogue)
    return None if name in entries else own_models(entries).get(name)


def _with_place(entry: dict) -> dict:
    try:
        folder = installed_folder(entry)
    except ModelError:  # without a home there is no place for it
        return {**entry, "path": None, "installed": False, "catalogued": True, "draw": None}
    facts = _installed_facts(folder) if folder.is_dir() else {"draw": None}
    return {**entry, **facts, "path": str(folder), "installed": folder.is_dir(), "catalogued": True}


def model_path(name: str, catalogue: Path | None = None) -> Path:
    """Folder of a model of the catalogue that is on this machine.

    Raises:
        ModelError: no such model, or not on this machine.
    """
    own = _own_model(name, catalogue)
    if own:
        return Path(own["path"])
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
    if show(name, catalogue)["shipped"]:
        raise ModelError(f"model '{name}' comes with relapet and cannot be removed")
    folder = model_path(name, catalogue)
    if folder.is_symlink() or folder.resolve().parent != (home() / "models").resolve():
        raise ModelError(f"{folder} is a link to another place; nothing was removed, remove it by hand")
    with reserve(folder.parent, entry=folder.name) as place:
        try:  # renamed first: a removal that is cut short must not leave half a model
            os.rename(folder, place.staging / "removed")
        except OSError as error:
            raise ModelError(f"cannot remove {folder}: {error.strerror or error}") from error
    return folder
