"""Where the data files that come with the library are."""

import os
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
