"""Where the data files that come with the library are, and where a user's own are kept."""

import os
import sys
from pathlib import Path

from .errors import InputError, RelAPETError
from .homes import given_place


def resources_dir() -> Path:
    """Folder of the shipped data: ``$RELAPET_RESOURCES``, else the wheel's ``_resources``, else ``../Resources``.

    Raises:
        RelAPETError: none of the three exists.
        InputError: ``$RELAPET_RESOURCES`` names the home of a user who is not known.
    """
    named = _named("RELAPET_RESOURCES")
    package = Path(__file__).resolve().parent
    candidates = [named] if named else [package / "_resources", package.parent / "Resources"]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise RelAPETError(
        f"data files not found at {' or '.join(map(str, candidates))}; reinstall relapet or correct RELAPET_RESOURCES"
    )


def resource(*parts: str) -> Path:
    """Path of one shipped file or folder, e.g. ``resource("template", "t1.nii.gz")``.

    Raises:
        RelAPETError: it is missing.
    """
    path = resources_dir().joinpath(*parts)
    if not path.exists():
        raise RelAPETError(f"data file missing: {path}; reinstall relapet")
    return path


def user_folder() -> Path:
    """Folder of this user's data; see `models.places.home`.

    Raises:
        RuntimeError: the system knows no home of this user, and ``$RELAPET_HOME`` names no folder.
        InputError: ``$RELAPET_HOME`` names the home of a user who is not known, such as ``~nobody/x``.
    """
    if named := _named("RELAPET_HOME"):
        return named.absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "relapet"


def _named(variable: str) -> Path | None:
    """The folder that a variable of the environment names, if it does. Raises `InputError` for an unknown home."""
    text = os.environ.get(variable)
    try:
        return given_place(text) if text else None
    except InputError as error:
        raise InputError(f"{variable}: {error}") from error
