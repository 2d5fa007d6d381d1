"""Python packages for the library in Slicer's own Python: what is missing, and installing it when asked to.

Nothing that is installed already is changed behind the user's back: pip gets it all as constraints, and what Slicer has
imported is never replaced while Slicer runs.
"""

import contextlib
import inspect
import re
import shutil
import sys
import sysconfig
import tempfile
import uuid
from importlib import metadata
from pathlib import Path

import slicer

from .library import library, pythonExecutable

TORCH = "torch>=2.8"
#: What the user should expect to be downloaded.
TORCH_SIZE = "0.2 GB for a computer without GPU, up to 3 GB with CUDA"
REST_SIZE = "about 40 MB"
EXPORT_SIZE = "about 90 MB"
LAST_LINES = 12
CONSOLE = "the Python console (Ctrl+3) shows what pip said"


class InstallError(RuntimeError):
    """An installation that failed; the message ends with pip's last lines."""


# What is there


def requirements(file="requirements.txt"):
    """Requirement strings of a file in ``Resources``."""
    path = Path(__file__).resolve().parent.parent / "Resources" / file
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def versionOf(requirement, folder=None):
    """Installed version of what a requirement names, in Slicer's Python or in a folder of packages; None without."""
    from packaging.requirements import Requirement

    name = Requirement(requirement).name
    found = metadata.distributions(name=name, **({"path": [str(folder)]} if folder else {}))
    return next((distribution.version for distribution in found), None)


def isMissing(requirement, folder=None):
    """Whether no installed version satisfies a requirement."""
    from packaging.requirements import Requirement

    version = versionOf(requirement, folder)
    return version is None or not Requirement(requirement).specifier.contains(version, prereleases=True)


def missing():
    """Requirements that Slicer's Python lacks, torch first."""
    return [requirement for requirement in (TORCH, *requirements()) if isMissing(requirement)]


def exportFolder():
    """Where the own packages of reports and DICOM export are, for this version of Python.

    None where no home of this user is known, and where ``RELAPET_HOME`` names none.
    """
    try:
        home = library("models.catalogue").home()
    except library("errors").RelAPETError:
        return None
    return home / "slicer-packages" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def missingForExport():
    """Requirements of reports and DICOM export that neither its own folder nor Slicer's Python has."""
    folder = exportFolder()
    return [each for each in requirements("requirements-export.txt") if isMissing(each, folder) and isMissing(each)]


def torchVersion():
    """Installed version of torch, or None."""
    return versionOf(TORCH)


def inUse(names):
    """Requirements whose installed version is too old and imported by Slicer: these cannot be replaced now."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    old = {canonicalize_name(Requirement(name).name): name for name in names if versionOf(name) is not None}
    loaded = set()
    for module, distributions in metadata.packages_distributions().items() if old else ():
        if module in sys.modules:
            loaded.update(map(canonicalize_name, distributions))
    return [name for distribution, name in old.items() if distribution in loaded]


def constraints(names):
    """Lines for pip: every installed package stays at its version, save those that `names` asks to be newer.

    A version that is none by Python's rules is left out: pip would refuse all lines for it.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    free = {canonicalize_name(Requirement(name).name) for name in names}
    lines = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:
            with contextlib.suppress(InvalidRequirement):
                line = f"{canonicalize_name(name)}=={distribution.version}"
                lines.setdefault(Requirement(line).name, line)
    return [line for name, line in sorted(lines.items()) if name not in free]


def pinnedForExport():
    """Lines for pip of what the export shares with Slicer: its compiled packages need Slicer's version of numpy."""
    return [line for line in constraints([]) if line.startswith("numpy==")]


def download(requirements):
    """Command that fetches the wheels of requirements, on a computer with internet."""
    return " ".join(["pip download -d wheels", *(f'"{each}"' for each in requirements)])


def checkFolder():
    """Raise InstallError where this user may not put packages into Slicer's Python."""
    folder = Path(sysconfig.get_path("purelib"))
    trial = folder / f"RelAPET-{uuid.uuid4().hex}"
    try:
        trial.touch()
        trial.unlink()
    except FileNotFoundError:  # pip knows where to
        return
    except OSError as error:
        raise InstallError(
            f"you may not write into Slicer's folder of Python packages, {folder}; ask whoever installed Slicer to "
            "press Install, or install Slicer into a folder of your own"
        ) from error


# Installing


def torchExtension():
    """Logic of the PyTorch extension, or None when it is not installed."""
    try:
        import PyTorchUtils
    except ImportError:
        return None
    return PyTorchUtils.PyTorchUtilsLogic()


def installTorch(logic):
    """Let the PyTorch extension choose and install a build of torch for this computer. Raises InstallError.

    Its keyword arguments have changed with its versions; only those it has are passed.
    """
    _refuseInTesting()
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH.removeprefix("torch")}
    known = inspect.signature(logic.installTorch).parameters
    try:
        torch = logic.installTorch(**{name: value for name, value in wanted.items() if name in known})
    except Exception as error:  # another extension's code: whatever it raises, the panel must come free again
        why = CONSOLE if hasattr(error, "returncode") else error
        raise InstallError(f"the PyTorch extension could not install torch: {why}") from error
    if torch is None:
        raise InstallError("the PyTorch extension did not install torch; its own panel says more")


def _refuseInTesting():
    if slicer.app.testingEnabled():
        raise InstallError("Slicer runs its tests (--testing), so nothing is installed")


def pipInstall(names, wheels, onLine, onEnd):
    """Install into Slicer's Python; onEnd(None) or onEnd(message) is called once, when it has ended.

    wheels: a folder of wheels to install from, without internet; or None.
    """
    used = inUse(names)
    if used:
        replaced = ", ".join(f"{name} (here: {versionOf(name)})" for name in used)
        quoted = " ".join(f'"{name}"' for name in used)
        onEnd(
            f"Slicer is using an older version of {replaced}, which is not replaced while it runs; close Slicer, run "
            f"PythonSlicer -m pip install {quoted}, and start Slicer again"
        )
        return
    _pip(names, wheels, constraints(names), onLine, onEnd)


def installForExport(wheels, onLine, onEnd):
    """Install the packages of reports and DICOM export into `exportFolder`, whole or not; else as `pipInstall`."""
    folder = exportFolder()
    if folder is None:
        onEnd("no home folder is known for this user; set RELAPET_HOME to a folder of yours")
        return
    new = folder.with_name(f"{folder.name}.new")

    def ended(problem):
        try:
            if problem is None:
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
        except OSError as error:
            problem = f"the packages could not be put in their place: {error}"
        shutil.rmtree(new, ignore_errors=True)
        onEnd(problem)

    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
    except OSError as error:
        onEnd(f"no folder for the packages: {error}")
        return
    names = requirements("requirements-export.txt")
    _pip(["--target", str(new), *names], wheels, pinnedForExport(), onLine, ended)


def _pip(arguments, wheels, constrained, onLine, onEnd):
    """Run pip by Slicer's own means, on the main thread.

    Slicer 5.12 and later go on in the background; earlier ones block until pip is done.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="RelAPET-pip-"))
    except OSError as error:
        onEnd(f"no temporary folder could be made: {error.strerror or error}")
        return
    lines = []

    def line(text):
        lines.append(str(text).rstrip())
        onLine(lines[-1])

    def ended(code):
        if folder.exists():  # else it has been told already
            shutil.rmtree(folder, ignore_errors=True)
            onEnd(None if code == 0 else _failure(code, lines))

    try:
        _refuseInTesting()
        file = folder / "installed.txt"
        file.write_text("\n".join(constrained), encoding="utf-8")
        offline = ["--no-index", "--find-links", str(wheels)] if wheels else []
        _startPip([*offline, "-c", str(file), *arguments], line, ended)
    except InstallError as error:
        shutil.rmtree(folder, ignore_errors=True)
        onEnd(str(error))
    except Exception as error:  # Slicer's code: whatever it raises, the panel must come free again
        if not folder.exists():
            raise  # of what came after the end
        for text in str(CONSOLE if hasattr(error, "returncode") else error).splitlines():
            line(text)
        ended(getattr(error, "returncode", 1))


def _startPip(arguments, line, ended):
    try:
        from slicer import packaging
    except ImportError:
        packaging = None
    if packaging is not None and "completedCallback" in inspect.signature(packaging.pip_install).parameters:
        packaging.pip_install(arguments, blocking=False, show_progress=False, logCallback=line, completedCallback=ended)
    else:
        ended(_wait(arguments, line))


def _wait(arguments, line):
    """Run pip to its end, and return its exit code. Slicer's own way of then keeps what pip said to itself."""
    command = [pythonExecutable(), "-m", "pip", "install", *arguments]
    pip = slicer.util.launchConsoleProcess(command, useStartupEnvironment=False)
    pip.stdout.reconfigure(errors="replace")  # pip may write names of folders in another encoding
    for text in pip.stdout:
        line(text)
        slicer.app.processEvents()
    return pip.wait()


def _failure(code, lines):
    """What to say of a pip that failed: one line, and pip's last ones."""
    text = "\n".join(lines)
    tail = "\n".join([each for each in lines if each][-LAST_LINES:])
    first = f"pip ended with code {code}"
    if "ResolutionImpossible" in text or "conflicting dependencies" in text:
        kept = sorted(set(re.findall(r"requested \(constraint\) (\S+)", text)))
        first = (
            f"no versions of the packages fit what is installed in Slicer{': ' if kept else ''}{', '.join(kept)}; "
            "nothing was changed"
        )
    return f"{first}. Pip's last lines:\n{tail or 'none'}"
