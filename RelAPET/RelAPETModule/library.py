"""Where RelAPETLib and Slicer's Python are, so that child processes and this module find the same ones."""

import importlib
import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
#: Name of Slicer's program that starts its Python: it sets up the environment, runs Python below it and waits.
LAUNCHER = "PythonSlicer"


def libraryParent():
    """Folder that holds RelAPETLib: beside RelAPET.py once installed, one above it in a checkout.

    Raises ModuleNotFoundError when neither has it.
    """
    for folder in (_HERE.parent, _HERE.parent.parent):
        if (folder / "RelAPETLib" / "__init__.py").is_file():
            return folder
    raise ModuleNotFoundError(f"RelAPETLib is missing beside {_HERE.parent}; reinstall the RelAPET extension")


def library(name):
    """A module of RelAPETLib by its name, e.g. ``library("tracers")``.

    Its names and schemas need the standard library alone; what needs more is imported where it is used.
    """
    parent = str(libraryParent())
    if parent not in sys.path:
        sys.path.append(parent)
    return importlib.import_module(f"RelAPETLib.{name}")


def pythonExecutable():
    """Slicer's own Python."""
    return shutil.which(LAUNCHER) or sys.executable
