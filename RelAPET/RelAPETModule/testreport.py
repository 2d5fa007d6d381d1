"""One file that says how RelAPET did on a computer: steps, errors, versions, pictures; no patient data, no names.

It is written by the self-test, which works on a simulated person in an emptied scene.
"""

import getpass
import importlib
import importlib.metadata
import json
import os
import platform
import re
import tempfile
import time
import traceback
import unittest
import zipfile
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .library import library, libraryParent

#: Where a report is sent to.
ISSUES = "https://github.com/RelAPET/SlicerRelAPET/issues"
PACKAGES = ("torch", "monai", "numpy", "SimpleITK", "nibabel", "safetensors", "psutil", "pydicom", "highdicom")
PASSED, FAILED, SKIPPED, NOT_RUN = "passed", "failed", "skipped", "not run"


class Stopped(Exception):
    """The person who runs the test ended it."""


class Report:
    """What came of each step, and the pictures that the application gave."""

    def __init__(self):
        self.steps, self.pictures, self._folder = [], [], Path(tempfile.mkdtemp(prefix="RelAPET-report-"))
        self._begun = time.strftime("%Y-%m-%d %H:%M")

    def run(self, name, title, function, needs=()):
        """Do one step unless one that it needs has not passed; only `Stopped` goes on to the caller."""
        step = {"name": name, "title": title, "outcome": NOT_RUN, "seconds": 0.0, "error": "", "details": ""}
        self.steps.append(step)
        lacking = [each["name"] for each in self.steps if each["name"] in needs and each["outcome"] != PASSED]
        if lacking:
            step["error"] = f"needs {', '.join(lacking)}"
            return step
        begun = time.monotonic()
        try:
            function()
            step["outcome"] = PASSED
        except unittest.SkipTest as reason:
            step.update(outcome=SKIPPED, error=anonymous(reason))
        except Stopped:
            step["error"] = "stopped"
            raise
        except Exception as error:  # whatever a step meets belongs into the report
            details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            words = " ".join(str(error).split()) or type(error).__name__
            step.update(outcome=FAILED, error=anonymous(words), details=anonymous(details))
        finally:
            step["seconds"] = round(time.monotonic() - begun, 1)
        return step

    def picture(self, name, take):
        """Keep a picture that `take(path)` writes; an application that gives none is noted."""
        path, problem = self._folder / f"{name}.png", ""
        try:
            take(str(path))
            if not path.is_file():
                problem = "nothing was written"
        except Exception as error:  # a test does not end for want of a picture
            problem = anonymous(f"{type(error).__name__}: {error}")
        self.pictures.append({"name": name, "file": path.name if not problem else None, "problem": problem})

    @property
    def failed(self):
        return [step for step in self.steps if step["outcome"] == FAILED]

    def count(self, outcome):
        return sum(step["outcome"] == outcome for step in self.steps)

    def summary(self):
        """One line."""
        counts = {what: self.count(what) for what in (PASSED, FAILED, SKIPPED, NOT_RUN)}
        return ", ".join(f"{n} {what}" for what, n in counts.items() if n)

    def facts(self, devices=()):
        """All of it, as JSON."""
        return {
            "what": "Self-test of RelAPET in 3D Slicer, on a simulated person",
            "begun": self._begun,
            "summary": self.summary(),
            "computer": computer(devices),
            "steps": self.steps,
            "pictures": self.pictures,
        }

    def write(self, folder, log="", devices=()):
        """Write the one file; its path. Raises OSError."""
        facts = self.facts(devices)
        path = Path(folder) / f"RelAPET-test-{time.strftime('%Y%m%d-%H%M%S')}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)

        def fill(part):
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("report.txt", asText(facts))
                archive.writestr("report.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
                archive.writestr("log.txt", anonymous(log) + "\n")
                for picture in self.pictures:
                    if picture["file"]:
                        archive.write(self._folder / picture["file"], picture["file"])

        library("whole_files").write_whole(path, fill)
        return path

    def clean(self):
        """Remove the pictures' temporary folder."""
        import shutil

        shutil.rmtree(self._folder, ignore_errors=True)


def asText(facts):
    """The report as its reader has it: in English, like the library's messages, since developers read it."""
    lines = [facts["what"], f"{facts['begun']}: {facts['summary']}", ""]
    lines += [f"{name}: {value}" for name, value in facts["computer"].items()] + [""]
    for step in facts["steps"]:
        lines += [f"{step['outcome'].upper():<8} {step['title']} ({step['seconds']:.0f} s)"]
        lines += [f"         {step['error']}"] if step["error"] else []
    pictures = facts["pictures"]
    lines += [f"picture {each['name']}: {each['file'] or 'none, ' + each['problem']}" for each in pictures]
    for step in facts["steps"]:
        if step["details"]:
            lines += ["", f"--- {step['title']}", step["details"]]
    return "\n".join([*lines, "", f"Read this file, then send it: {ISSUES}", ""])


def computer(devices=()):
    """Versions and the machine, without names of people, hosts or folders."""
    facts = {
        "Slicer": f"{slicer.app.applicationVersion} (revision {slicer.app.revision})",
        "RelAPET": importlib.import_module(library("errors").__package__).__version__,
        "installed": "yes" if (libraryParent() / "RelAPET.py").is_file() else "no, from a checkout",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "VTK": vtk.vtkVersion.GetVTKVersion(),
        "Qt": _qtVersion(),
        "processors": os.cpu_count(),
        "memory": _memory(),
        "main window": "yes" if slicer.util.mainWindow() is not None else "no",
        "devices": ", ".join(devices) or "none told",
    }
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _qtVersion():
    version = getattr(qt, "qVersion", None) or getattr(getattr(qt, "Qt", None), "qVersion", None)
    try:
        return str(version()) if version else "unknown"
    except Exception:  # PythonQt's way to free functions differs between versions
        return "unknown"


def _memory():
    try:
        import psutil
    except ImportError:
        return "unknown"
    return f"{psutil.virtual_memory().total / 1e9:.0f} GB"


def anonymous(text):
    """A text without the folders of the user, the user's name and the computer's."""
    text = str(text)
    folders = {str(Path.home()): "HOME", tempfile.gettempdir(): "TEMP", str(libraryParent()): "RELAPET"}
    try:
        models = library("models.places").models_folder()
    except library("errors").RelAPETError:  # a variable names no folder
        models = None
    folders |= {str(models): "MODELS"} if models is not None else {}
    folders |= {os.path.realpath(folder): word for folder, word in folders.items()}
    for folder, word in sorted(folders.items(), key=lambda pair: -len(pair[0])):
        if len(folder) > 1:
            text = text.replace(folder, word).replace(folder.replace("\\", "\\\\"), word)
    for name, word in ((_user(), "USER"), (platform.node(), "COMPUTER")):
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text, flags=re.IGNORECASE)
    return text


def _user():
    try:
        return getpass.getuser()
    except Exception:  # without a name there is none to hide
        return ""


def reportFolder():
    """Where the report goes: the user's documents, where a person finds it."""
    documents = qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation)
    return Path(documents) if documents and os.path.isdir(documents) else library("models.places").home()


def grabPanel(panel):
    """A function that writes a picture of the panel."""
    return lambda path: panel.parent.grab().save(path)


def grabViews(path):
    """Write a picture of the layout's views by Slicer's own Screen Capture module."""
    import ScreenCapture

    ScreenCapture.ScreenCaptureLogic().captureImageFromView(None, path)


def outcomeWords(report):
    """How it went, for the panel."""
    if report.failed:
        return _("{n} of {all} steps failed: {names}.").format(
            n=len(report.failed), all=len(report.steps), names="; ".join(step["title"] for step in report.failed)
        )
    return _("No step failed ({summary}).").format(summary=report.summary())
