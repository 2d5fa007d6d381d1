"""Where the data files that come with the library are, and where a user's own are kept."""

import os
import sys
from pathlib import Path

from .errors import RelAPETError


def resources_dir() -> Path:
    """Folder of the shipped data: ``$RELAPET_RESOURCES``, else the wheel's ``_resources``, else ``../Resources``.

    Raises:
        RelAPETError: none of the three exists.
    """
    named = os.environ.get("RELAPET_RESOURCES")
    package = Path(__file__).resolve().parent
    candidates = [Path(named)] if named else [package / "_resources", package.parent / "Resources"]
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
    """Folder of this user's data; see `models.catalogue.home`. Raises `RuntimeError` where the system knows no home."""
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
