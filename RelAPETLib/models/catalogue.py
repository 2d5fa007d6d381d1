"""The catalogue of models (`Resources/models.json`) and the folder where fetched ones are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..diffusion.names import QUALITIES
from ..errors import ModelError
from ..methods import method_class
from ..notices import warn
from ..outputs import reserve
from ..resources import resource, resources_dir
from .bundle import BUNDLE_FILES, METADATA_FILE, VerifiedBundle
from .metadata import check_metadata, check_schema, load_json, method_of
from .places import Found, found_models, home, models_folder

#: Catalogue name of the authors' published model.
RELEASE_NAME = "rela-diffusion"


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
    """Where the bundle of a catalogue entry is written, or would be."""
    if entry["shipped"]:
        return resources_dir() / "models" / entry["name"]
    return home() / "models" / entry["name"]


def used_folder(entry: dict) -> Path:
    """Where the bundle of a catalogue entry is read: the models folder where the user's own has none of the name."""
    folder, shared = installed_folder(entry), models_folder()
    if entry["shipped"] or folder.is_dir() or shared is None:
        return folder
    there = shared / entry["name"]
    try:
        return there if there.is_dir() and not there.is_symlink() else folder
    except OSError:  # a share that does not answer: `own_models` says so
        return folder


def list_models(catalogue: Path | None = None) -> list[dict]:
    """Every catalogue entry and every model of the user's and the models folder, as `show` gives them."""
    entries = load_catalogue(catalogue)
    return [_with_place(entry) for entry in entries.values()] + list(own_models(entries).values())


def own_models(catalogued: Iterable[str] = ()) -> dict[str, dict]:
    """Models of `home()` and of the models folder that are not in the catalogue, by the name of their folder.

    Only their metadata are read here; a folder of the user's whose metadata cannot be used is told of by a
    `RelAPETWarning`, one of the models folder by `survey`. Of two with one name it is the user's.
    """
    found, taken = {}, set(catalogued)
    for each in found_models():
        name = each.folder.name
        if name in taken:
            continue
        taken.add(name)  # by a damaged model, too: another one of its name is not put in its place
        if each.metadata is not None:
            found[name] = _own_entry(each)
        elif each.place == "user":
            warn(str(each.problem))
    return found


def _own_entry(found: Found) -> dict:
    """A catalogue entry's facts, from a bundle's own metadata."""
    path, metadata = found.folder, found.metadata
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
        "place": found.place,
        "bytes": size_of(path),
        "installed": True,
        "catalogued": False,
    }


def size_of(folder: Path) -> int:
    """Bytes of a bundle's files; 0 for what cannot be looked at."""
    size = 0
    for name in BUNDLE_FILES:
        with contextlib.suppress(OSError):
            size += (folder / name).lstat().st_size
    return size


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
        "positivity": {
            tracer: facts["positivity"].get("cutoff")
            for tracer, facts in metadata["tracers"].items()
            if facts.get("positivity")
        },
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
    """A catalogue entry, and what is known of it here.

    Added are ``path`` (where it is or would be), ``installed``, ``catalogued``, ``place``, ``bytes`` and ``draw``.

    ``place`` is ``"shipped"``, ``"user"`` (the user's folder), ``"folder"`` (the models folder) or None; ``bytes`` is
    the size of its files. ``draw`` says what the model takes and may be told (``inputs``, ``samplers`` with their
    network calls, ``longest``, ``samples``, ``slow_on_cpu``, ``deterministic``, ``quality``: steps by name, or
    None, ``positivity``: the own cut-off, or None, by each tracer whose share of draws is a probability); None for a
    model that is not here.

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
        folder = used_folder(entry)
    except ModelError:  # without a home there is no place for it
        nowhere = {"path": None, "place": None, "bytes": None, "installed": False}
        return {**entry, **nowhere, "catalogued": True, "draw": None}
    there = folder.is_dir()
    facts = _installed_facts(folder) if there else {"draw": None}
    place = None
    if there:
        own = "shipped" if entry["shipped"] else "user"
        place = own if folder == installed_folder(entry) else "folder"
    size = size_of(folder) if there else None
    return {
        **entry, **facts, "path": str(folder), "place": place, "bytes": size, "installed": there, "catalogued": True
    }  # fmt: skip


def model_path(name: str, catalogue: Path | None = None) -> Path:
    """Folder of a model of the catalogue that is on this machine.

    Raises:
        ModelError: no such model, or not on this machine.
    """
    own = _own_model(name, catalogue)
    if own:
        return Path(own["path"])
    entry = get_entry(name, catalogue)
    folder = used_folder(entry)
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
    entry = show(name, catalogue)
    if entry["shipped"]:
        raise ModelError(f"model '{name}' comes with relapet and cannot be removed")
    if entry["place"] == "folder":
        raise ModelError(f"model '{name}' is in the models folder {models_folder()}, which relapet only reads")
    folder = model_path(name, catalogue)
    if folder.is_symlink() or folder.resolve().parent != (home() / "models").resolve():
        raise ModelError(f"{folder} is a link to another place; nothing was removed, remove it by hand")
    with reserve(folder.parent, entry=folder.name) as place:
        try:  # renamed first: a removal that is cut short must not leave half a model
            os.rename(folder, place.staging / "removed")
        except OSError as error:
            raise ModelError(f"cannot remove {folder}: {error.strerror or error}") from error
    return folder
