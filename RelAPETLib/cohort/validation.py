"""The BIDS validator, where it is installed: what is wrong with a whole data set is refused, one person's is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import InputError
from ..notices import warn

PROGRAM = "bids-validator-deno"
#: How many findings to name.
_NAMED = 3
SKIP = "mend it, or use --skip-bids-validation"


def validate(folder: Path) -> list[dict]:
    """Errors that the validator finds, each with ``code`` and ``location``; a warning where it is not installed.

    Raises:
        InputError: the data set itself is wrong; what is wrong with single people's files is a warning.
    """
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if program is None:
        warn(f"the data set was not validated: {PROGRAM} is not installed (pip install {PROGRAM})")
        return []
    done = subprocess.run(
        [program, str(folder), "--format", "json", "--ignoreWarnings"], capture_output=True, text=True
    )
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        warn(f"the data set was not validated: {PROGRAM} gave no answer ({' '.join(done.stderr.split())[-200:]})")
        return []
    errors = [issue for issue in issues if issue.get("severity") == "error"]
    people = [issue for issue in errors if str(issue.get("location", "")).startswith("/sub-")]
    if whole := [issue for issue in errors if issue not in people]:
        raise InputError(f"{folder}: {PROGRAM} finds {_named(whole)}; {SKIP}")
    if people:
        warn(f"{PROGRAM} finds in the files of single people {_named(people)}; they are tried all the same")
    return errors


def _named(issues: list[dict]) -> str:
    words = [f"{issue.get('code')} at {issue.get('location', 'the data set')}" for issue in issues[:_NAMED]]
    more = f" and {len(issues) - _NAMED} more" if len(issues) > _NAMED else ""
    return ", ".join(words) + more
