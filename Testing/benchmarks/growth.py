"""How a synthesis grows: seconds and memory against voxels, samples, tracers, people and workers, with the demo model.

``python Testing/benchmarks/growth.py WORK`` simulates a person, makes every point of the curves by a command of its own
with one thread, and writes ``results/growth.md`` and ``growth.png``. What is measured is kept in ``WORK/*.json``: the
same command goes on where it stopped, and the page has the curves that are whole (``--curves``: only these are made).
Seconds and peak come from the system's account of the command and the processes that it waited for; the peak is that of
the largest of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT)]

from cohorts import many_cases  # noqa: E402

RESULTS = Path(__file__).parent / "results"
RELAPET = (sys.executable, "-m", "RelAPETLib")
QUIET = ("--progress", "none", "--device", "cpu", "--no-report")
TRACERS = ("TAU", "TAU,PIB", "TAU,PIB,PBR")
TITLE = """# How a synthesis grows

Made by `python Testing/benchmarks/growth.py WORK`: the demo model, a simulated person, one command a point with one
thread (of each worker), no report. Processor seconds tell on a busy machine, those by the clock do not. The peak is
that of the largest process. What a line begins with is needed once: imports, the model, and registration where scans
are given.

![growth.png](growth.png)
"""


@dataclass(frozen=True)
class Curve:
    """One thing that grows.

    Attributes:
        what: the horizontal axis, for people.
        unit: of one more, for the sentence on the slope.
        points: its values.
        command: words behind ``relapet`` that make a point's results in a folder.
    """

    what: str
    unit: str
    points: tuple[float, ...]
    command: Callable[[Path, Path, float], list[str]]


def _from_case(work: Path, out: Path, *more: str) -> list[str]:
    return ["synthesize", "--case", str(work / "case"), "--out", str(out), *QUIET, *more]


def _scan(work: Path, out: Path, scale: float) -> list[str]:
    scans = [str(work / f"{name}_{scale:g}.nii.gz") for name in ("T1w", "FLAIR")]
    return ["synthesize", "--t1w", scans[0], "--t2f", scans[1], "--tracer", "TAU", "--out", str(out), *QUIET]


def _people(work: Path, out: Path, people: float, jobs: float = 1) -> list[str]:
    cases = work / f"cases_{people:g}"
    words = ["bids", str(cases), str(out), "participant", "--cases", str(cases), "--tracer", "TAU", *QUIET]
    return [*words, "--jobs", f"{jobs:g}"]


#: Sides of the voxels of a scan against the simulated ones, smallest volume first.
SCALES = (1.8, 1.25, 1.0)
COHORTS, WORKERS, TEAM = (1, 2, 4), (1, 2, 4), 4
CURVES = {
    "samples": Curve("samples", "sample", (1, 4, 8),
                     lambda work, out, n: _from_case(work, out, "--tracer", "TAU", "--samples", f"{n:g}")),
    "tracers": Curve("tracers", "tracer", (1, 2, 3),
                     lambda work, out, n: _from_case(work, out, "--tracer", TRACERS[int(n) - 1])),
    "volume": Curve("million voxels of T1w and FLAIR", "million voxels", SCALES, _scan),
    "people": Curve("people, prepared before", "person", COHORTS, _people),
    "workers": Curve(f"workers for {TEAM} people", "worker", WORKERS,
                     lambda work, out, n: _people(work, out, TEAM, n)),
}  # fmt: skip


def measured(words: list[str], log: Path) -> dict[str, float]:
    """Processor seconds, seconds by the clock and peak bytes of a command. Raises SystemExit where it fails."""
    began = time.monotonic()
    with log.open("ab") as told:
        process = subprocess.Popen(
            [*RELAPET, *words], stdout=told, stderr=told, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"relapet {' '.join(words)} ended with {process.returncode}; see {log}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return {
        "processor": usage.ru_utime + usage.ru_stime,
        "wall": time.monotonic() - began,
        "peak": usage.ru_maxrss * unit,
    }


def prepare(work: Path) -> None:
    """The simulated person's raw scans, the same in other voxels, the saved case and cohorts of it."""
    import SimpleITK as sitk

    log = work / "log.txt"
    if not (work / "raw").exists():
        measured(["phantom", "--subjects", "1", "--seed", "5", "--out", str(work / "raw"), "--progress", "none"], log)
    scans = {name: next((work / "raw").glob(f"sub-*/anat/*_{name}.nii.gz")) for name in ("T1w", "FLAIR")}
    if not (work / "case" / "case.json").exists():
        words = ["synthesize", "--t1w", str(scans["T1w"]), "--t2f", str(scans["FLAIR"]), "--tracer", "TAU", *QUIET]
        measured([*words, "--out", str(work / "first"), "--save-case", str(work / "case")], log)
    for name, path in scans.items():
        image = sitk.ReadImage(str(path))
        for scale in SCALES:
            target = work / f"{name}_{scale:g}.nii.gz"
            if not target.exists():
                sitk.WriteImage(resized(image, scale), str(target))
    for people in {*COHORTS, TEAM}:
        folder = work / f"cases_{people}"
        if not folder.exists():
            many_cases(folder, work / "case", [f"sub-{number:02d}" for number in range(1, people + 1)])


def resized(image, scale: float):
    """A scan in voxels so many times as large on each side, over the same space."""
    import SimpleITK as sitk

    spacing = [scale * side for side in image.GetSpacing()]
    size = [max(int(n / scale), 1) for n in image.GetSize()]
    return sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing,
                         image.GetDirection(), 0.0, image.GetPixelID())  # fmt: skip


def megavoxels(work: Path, scale: float) -> float:
    """Voxels of both scans, in millions."""
    import SimpleITK as sitk

    total = 0
    for name in ("T1w", "FLAIR"):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(work / f"{name}_{scale:g}.nii.gz"))
        reader.ReadImageInformation()
        total += int(np.prod(reader.GetSize()))
    return round(total / 1e6, 2)


def measure(work: Path, name: str, new: bool) -> list[dict[str, float]] | None:
    """The points of a curve, those that are kept among them; None where some are missing that are not to be made."""
    curve, file = CURVES[name], work / f"{name}.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for value in curve.points:
        key = f"{value:g}"
        if key not in kept and new:
            out = work / "out" / f"{name}_{key}"
            words = curve.command(work, out, value)
            at = megavoxels(work, value) if name == "volume" else value
            again = ["--overwrite"] if words[0] == "synthesize" else ["--redo"]
            kept[key] = {"at": at, **measured([*words, *again], work / "log.txt")}
            file.write_text(json.dumps(kept, indent=1))
            print(name, key, kept[key], flush=True)
    points = [kept.get(f"{value:g}") for value in curve.points]
    return points if all(points) else None


def page(found: dict[str, list[dict[str, float]]]) -> str:
    """The tables, each with what one more costs by a straight line through its points."""
    lines = [TITLE, f"{date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f} over the last 15 minutes."]
    for name, points in found.items():
        curve = CURVES[name]
        lines += [
            "",
            f"## {curve.what}",
            "",
            f"| {curve.what} | processor s | s by the clock | peak GB |",
            "|---|---|---|---|",
        ]
        lines += [f"| {p['at']:g} | {p['processor']:.1f} | {p['wall']:.1f} | {p['peak'] / 1e9:.2f} |" for p in points]
        at = [p["at"] for p in points]
        seconds, peak = (np.polyfit(at, [p[column] for p in points], 1) for column in ("processor", "peak"))
        lines += [
            "",
            f"One {curve.unit} more: {seconds[0]:.2f} processor seconds and {peak[0] / 1e6:.0f} MB, by a straight line "
            f"that begins at {seconds[1]:.1f} s and {peak[1] / 1e9:.2f} GB.",
        ]
    if missing := [curve.what for name, curve in CURVES.items() if name not in found]:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    return "\n".join(lines) + "\n"


def picture(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """A column a curve: processor seconds above, peak below; all axes begin at 0."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(found), figsize=(3 * len(found), 5), layout="constrained", squeeze=False)
    for column, (name, points) in enumerate(found.items()):
        at = [p["at"] for p in points]
        above, below = axes[:, column]
        for axis, values in ((above, [p["processor"] for p in points]), (below, [p["peak"] / 1e9 for p in points])):
            axis.plot(at, values, "o-")
            axis.set_xlim(0, 1.1 * max(at))
            axis.set_ylim(0, 1.1 * max(values))
            axis.grid(alpha=0.3)
        below.set_xlabel(CURVES[name].what)
    axes[0, 0].set_ylabel("processor seconds")
    axes[1, 0].set_ylabel("peak, GB")
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, metavar="WORK", help="folder for scans, results and what was measured")
    parser.add_argument("--curves", nargs="*", choices=[*CURVES], default=[*CURVES], help="to be measured now (all)")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    prepare(work)
    found = {}
    for name in CURVES:
        if points := measure(work, name, name in options.curves):
            found[name] = points
    if found:
        (RESULTS / "growth.md").write_text(page(found))
        picture(found, RESULTS / "growth.png")


if __name__ == "__main__":
    main()
