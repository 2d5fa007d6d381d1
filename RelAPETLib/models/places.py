"""Where models are looked for: the user's own folder, and a models folder that is only read.

A hospital without internet keeps bundles in one folder of its network and names it once on each computer: by
``$RELAPET_MODELS``, or by `set_models_folder`. Nothing is ever written there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, ModelError, OutputError
from ..homes import given_place
from ..jsonfiles import read_json_object
from ..notices import printable, warn
from ..resources import user_folder
from ..whole_files import write_whole
from .bundle import METADATA_FILE, WEIGHTS_FILE, check_files
from .metadata import MAX_JSON_BYTES, check_metadata, load_json

#: Names the models folder, before the setting does.
VARIABLE = "RELAPET_MODELS"
_SETTING = "settings.json"
_KEY = "models_folder"
_PLAIN_NAME = re.compile(r"\w[\w .+-]{0,79}")


def home() -> Path:
    """Folder of fetched models (in ``models``) and other data of this user.

    ``$RELAPET_HOME``, else the platform's place for an application's data: ``%LOCALAPPDATA%\\\\relapet``,
    ``~/Library/Application Support/relapet``, or ``$XDG_DATA_HOME/relapet`` (``~/.local/share/relapet``).

    Raises:
        ModelError: the system knows no home of this user, and ``$RELAPET_HOME`` names none.
        InputError: ``$RELAPET_HOME`` names the home of a user who is not known.
    """
    try:
        return user_folder()
    except RuntimeError as error:
        raise ModelError("no home folder is known for this user; set RELAPET_HOME to a folder of yours") from error


def models_folder() -> Path | None:
    """The folder of models that is only read, or None; it need not be there now, as a network's may not.

    Raises:
        ModelError: ``$RELAPET_MODELS`` names a home that the system does not know, such as ``~nobody``.
    """
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return given_place(named).absolute()
        except InputError as error:
            raise ModelError(f"{VARIABLE}: {error}") from error
    named = _settings().get(_KEY)
    return Path(named) if isinstance(named, str) and os.path.isabs(named) else None


def is_set_by_environment() -> bool:
    """Whether ``$RELAPET_MODELS`` names the models folder, so that the setting does not count."""
    return bool(os.environ.get(VARIABLE))


def set_models_folder(folder: Path | str | None) -> Path | None:
    """Name the models folder in this user's settings; None for no such folder.

    Returns:
        The folder, absolute.

    Raises:
        InputError: there is no such folder, it is the one of the user's own models, its name is no UTF-8, or it
            lies in a home that is not known.
        OutputError: the setting cannot be written.
    """
    if folder is not None:
        folder = given_place(str(folder)).absolute()
        try:
            str(folder).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{printable(folder)}: its name is not UTF-8; rename it, or name another") from error
        if not folder.is_dir():
            raise InputError(f"no folder at {folder}; name a folder with a model's folder in it for each model")
        if (folder / METADATA_FILE).is_file():
            raise InputError(f"{folder} is a model itself; name the folder that it lies in")
        if folder.resolve() == (home() / "models").resolve():
            raise InputError(f"{folder} is the folder of your own models, which is looked into anyway")
    settings = {key: value for key, value in _read_settings().items() if key != _KEY}  # a damaged file is not replaced
    if folder is not None:
        settings[_KEY] = str(folder)
    try:
        home().mkdir(parents=True, exist_ok=True)
        write_whole(home() / _SETTING, (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise OutputError(f"cannot write {home() / _SETTING}: {error.strerror or error}") from error
    return folder


def _settings() -> dict:
    try:
        home()
    except ModelError:  # without a home there are none
        return {}
    try:
        return _read_settings()
    except InputError as error:
        warn(f"{error}; it does not count")
        return {}


def _read_settings() -> dict:
    """What the settings file holds; empty where there is none. Raises `InputError` where it is damaged."""
    path = home() / _SETTING
    if not os.path.lexists(path):
        return {}
    return read_json_object(path, "settings", advice="mend or delete it", limit=MAX_JSON_BYTES)


@dataclass(frozen=True)
class Found:
    """A folder among models.

    Attributes:
        folder: where it is; its name is the model's.
        place: ``"user"`` or ``"folder"``, for the models folder.
        metadata: valid ones of a bundle; None where it cannot be used.
        problem: why it cannot be used, in one line; None where nothing spoke against it so far.
    """

    folder: Path
    place: str
    metadata: dict | None
    problem: str | None


def found_models() -> Iterator[Found]:
    """Every bundle, sound by its metadata or not, of the user's folder and then of the models folder.

    Weights are not looked into here. A folder that cannot be read is told of by a `RelAPETWarning`.
    """
    try:
        yield from _found_in(home() / "models", "user")
    except ModelError:  # without a home there are none
        pass
    shared = models_folder()
    if shared is not None:
        yield from _found_in(shared, "folder")


def _found_in(folder: Path, place: str) -> Iterator[Found]:
    try:
        if place == "folder" and not folder.is_dir():
            warn(f"the models folder {folder} is not there now; is the network drive connected?")
            return
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        warn(f"cannot look for models in {folder}: {error.strerror or error}")
        return
    for path in paths:
        if path.name.startswith(".") or not _looks_like_one(path, place):
            continue
        try:
            yield Found(path, place, _checked_metadata(path, place), None)
        except ModelError as error:
            yield Found(path, place, None, " ".join(str(error).split()))


def _looks_like_one(path: Path, place: str) -> bool:
    try:
        if (path / METADATA_FILE).is_file():
            return True
        # In a folder that others fill, what lacks its metadata or is packed is told of; in one's own it never was.
        return place == "folder" and (os.path.lexists(path / WEIGHTS_FILE) or path.suffix.lower() == ".zip")
    except OSError:
        return False


def _checked_metadata(path: Path, place: str) -> dict:
    if place == "folder":
        if path.suffix.lower() == ".zip" and path.is_file():
            raise ModelError(f"{path} is packed; unpack it there, or install it with 'relapet models import'")
        if path.is_symlink():
            raise ModelError(f"{path} is a link to another place; refused")
        if not _PLAIN_NAME.fullmatch(path.name) or path.name.endswith("."):
            raise ModelError(f"{path.name[:80]!a} cannot be a model's name; rename the folder")
        check_files(path)
        if not (path / METADATA_FILE).is_file():
            raise ModelError(f"{path} is not a model: it has no {METADATA_FILE}")
    metadata = load_json(path / METADATA_FILE, "model metadata")
    check_metadata(metadata, f"model metadata {path / METADATA_FILE}")
    return metadata
