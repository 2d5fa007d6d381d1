"""A stand-in of ``PythonSlicer``, Slicer's program that starts its Python (CTK's AppLauncher).

True to what counts for child processes: it puts Slicer's own folders before whatever PYTHONPATH has, runs Python as a
child of its own, hands input and output on, ends with Python's exit code, or with 1 and a line where Python crashed,
and asked to terminate ends at once and leaves Python behind.
"""

import os
import sys
from pathlib import Path

_SCRIPT = """#!{python} -IS
import os, subprocess, sys
paths = [path for path in ({site!r}, os.environ.get("PYTHONPATH")) if path]
environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
code = subprocess.run([{python!r}, *sys.argv[1:]], env=environment).returncode
if code < 0:
    print("error: [python-real] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(1 if code < 0 else code)
"""


def install_launcher(monkeypatch, folder):
    """Put the launcher on PATH for one test; returns the folder that stands for Slicer's own packages."""
    site, place = Path(folder) / "site-packages", Path(folder) / "bin"
    site.mkdir()
    place.mkdir()
    program = place / "PythonSlicer"
    program.write_text(_SCRIPT.format(python=sys.executable, site=str(site)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    return site
