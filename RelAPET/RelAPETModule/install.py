"""Python packages for the library in Slicer's own Python: what is missing, and installing it when asked to."""

import inspect
import subprocess
from importlib import metadata
from pathlib import Path

import slicer

TORCH = "torch>=2.8"
#: What the user should expect to be downloaded.
TORCH_SIZE = "0.2 GB for a computer without GPU, up to 3 GB with CUDA"
REST_SIZE = "about 40 MB"
LAST_LINES = 12


class InstallError(RuntimeError):
    """An installation that failed; the message ends with pip's last lines."""


def requirements():
    """Requirement strings of ``Resources/requirements.txt``."""
    path = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def isMissing(requirement):
    """Whether no installed version satisfies a requirement."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return True
    return not wanted.specifier.contains(version, prereleases=True)


def missing():
    """Requirements that Slicer's Python lacks, torch first."""
    return [requirement for requirement in (TORCH, *requirements()) if isMissing(requirement)]


def torchVersion():
    """Installed version of torch, or None."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


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
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH.removeprefix("torch")}
    known = inspect.signature(logic.installTorch).parameters
    try:
        torch = logic.installTorch(**{name: value for name, value in wanted.items() if name in known})
    except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
        raise InstallError(f"the PyTorch extension could not install torch: {error}") from error
    if torch is None:
        raise InstallError("the PyTorch extension did not install torch; its own panel says more")


def pipArguments(names, wheels=None):
    """Arguments of ``pip install``; from a folder of wheels alone when one is given."""
    offline = ["--no-index", "--find-links", str(wheels)] if wheels else []
    return [*offline, *names]


def pipInstall(names, wheels, onLine, onEnd):
    """Install with Slicer's own means, on the main thread; onEnd(None) or onEnd(message) is called when it has ended.

    Slicer 5.12 and later go on in the background; earlier ones block until pip is done.
    """
    lines = []

    def line(text):
        lines.append(str(text).rstrip())
        onLine(lines[-1])

    def ended(code):
        tail = "\n".join([text for text in lines if text][-LAST_LINES:])
        onEnd(None if code == 0 else f"pip ended with code {code}. Its last lines:\n{tail or 'none'}")

    arguments = pipArguments(names, wheels)
    try:
        from slicer import packaging
    except ImportError:
        packaging = None
    if packaging is not None and "completedCallback" in inspect.signature(packaging.pip_install).parameters:
        try:
            packaging.pip_install(
                arguments, blocking=False, show_progress=False, logCallback=line, completedCallback=ended
            )
        except (RuntimeError, OSError) as error:
            line(str(error))
            ended(1)
        return
    try:
        slicer.util.pip_install(arguments)
    except subprocess.CalledProcessError as error:
        for text in str(error.output or "the Python console (Ctrl+3) shows what pip said").splitlines():
            line(text)
        ended(error.returncode)
    else:
        ended(0)
