"""How long the Slicer panel stands still while it takes one tracer's results over, before and after, in one run.

.venv/bin/python Testing/benchmarks/desk_taking_over.py > Testing/benchmarks/results/desk_taking_over.md

The module's real panel over the test harness (stand-in widgets, not Slicer), with a child process that writes four
volumes of 160 x 256 x 256 voxels at once, so that handing over and taking over are all there is. Before: compressed
files, all in one turn of the event loop, with windows that Slicer takes from histograms and that nothing uses. After:
uncompressed ones, a volume a turn, without histograms. The others tell which change does what. Seconds of this
process's CPU stand beside those of the clock, which other programs stretch.
"""

from __future__ import annotations

import datetime
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT / "Testing"), str(ROOT), str(Path(__file__).parent)]

SHAPE, RUNS = (160, 256, 256), 2
WAYS = {  # (compressed, all in one turn, histograms)
    "before: compressed, at once, histograms": (True, True, True),
    "compressed, at once": (True, True, False),
    "uncompressed, at once": (False, True, False),
    "compressed, a volume a turn": (True, False, False),
    "after: uncompressed, a volume a turn": (False, False, False),
}


def write_maps(folder: Path, compressed: bool) -> Path:
    """Results of a synthesis whose volumes have SHAPE: a head's share of smooth, noisy values, 0 around it."""
    import nibabel
    import numpy as np
    from scipy.ndimage import gaussian_filter
    from slicer_cases import write_results

    write_results(folder)
    axes = np.ogrid[tuple(slice(-1, 1, complex(n)) for n in SHAPE)]
    head = sum((axis / size) ** 2 for axis, size in zip(axes, (0.9, 0.7, 0.7), strict=True)) < 1
    random = np.random.default_rng(0)
    for path in list(folder.glob("*.nii.gz")):
        path.unlink()
        values = (1 + 8 * gaussian_filter(random.normal(size=SHAPE).astype(np.float32), 2)) * head
        name = path.name if compressed else path.name.removesuffix(".gz")
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / name)
    return folder


def at_once(takeover) -> type:
    """The taking over as it was: nothing else happens from the first volume to the end."""

    class AtOnce(takeover.TakeOver):
        def start(self):
            while self._onEnd is not None:
                self._turn()

    return AtOnce


def ticks_of(widget):
    """As `slicer_panel.Ticks`, but each gap is (seconds by the clock, words, seconds of CPU)."""
    from slicer_panel import Ticks

    class WithCpu(Ticks):
        def __enter__(self):
            self._cpu = time.process_time()
            return super().__enter__()

        def _tick(self):
            super()._tick()
            now = time.process_time()
            self.gaps[-1] = (*self.gaps[-1], now - self._cpu)
            self._cpu = now

    return WithCpu(lambda: widget.ui.statusLabel.text)


def with_histograms(node):
    """A display node as it was made before."""
    node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def one_run(harness, widget, results: Path) -> tuple[list, list]:
    """Gaps of the timer in one run from click to result: those before the child process is done, and those after."""
    from slicer_cases import real_child

    make, ended = real_child(results), []

    def noting(arguments, onEnd, **how):
        def noted(ending):
            ended.append(len(ticks.gaps))
            onEnd(ending)

        return make(arguments, onEnd=noted, **how)

    widget.logic.makeProcess = noting
    widget.parameters.output = None
    with ticks_of(widget) as ticks:
        widget.ui.synthesizeButton.click()
        harness.process_events(lambda: not widget.logic.running, 300)
    if "Done" not in widget.ui.statusLabel.text:
        raise RuntimeError(widget.ui.statusLabel.text)
    return ticks.gaps[: ended[0]], ticks.gaps[ended[0] :]


def main() -> None:
    import slicer_harness as harness
    from slicer_cases import add_scan
    from slicer_module import MODULE, load_part

    with tempfile.TemporaryDirectory() as folder:
        os.environ["RELAPET_HOME"] = folder
        harness.boot()
        load_part("modelpanel").ModelPanel.lookForDevices = lambda self: None
        widget = harness.load_module(str(MODULE / "RelAPET.py"))
        load_part("widget").RelAPETWidget.doubleClick = 0.0
        widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w", SHAPE), add_scan("FLAIR", SHAPE)
        written = {c: write_maps(Path(folder) / f"{'packed' if c else 'plain'}", c) for c in (True, False)}
        logic, turns, display = load_part("logic"), load_part("takeover").TakeOver, load_part("display")
        quick = display._displayOf
        ways, begins = {name: [] for name in WAYS}, []
        for _ in range(RUNS):
            for name, (compressed, whole, histograms) in WAYS.items():
                display._displayOf = with_histograms if histograms else quick
                logic.TakeOver = at_once(load_part("takeover")) if whole else turns
                before, after = one_run(harness, widget, written[compressed])
                begins.append(max(before))
                ways[name].append(max(after))
                import slicer

                for node in (*widget.results.found.volumes.values(), widget.results.found.regions):
                    slicer.mrmlScene.RemoveNode(node)
    print("# How long the panel stands still while it takes results over\n")
    print(
        f"Made by `python Testing/benchmarks/desk_taking_over.py` on {datetime.date.today()}, {os.cpu_count()} cores,"
    )
    print(f"over the test harness, not in Slicer; the load was {os.getloadavg()[1]:.1f}. Four volumes of")
    print(f"{' x '.join(map(str, SHAPE))} voxels, {RUNS} runs of each way, one after the other in turn.\n")
    print(
        "| way | longest stop of the event loop (s): median | lowest to highest | "
        "its CPU (s): median | what the panel said then |"
    )
    print("|---|---|---|---|---|")
    for name, worst in [*ways.items(), ("handing the MRI over (all of the runs)", begins)]:
        gaps, cpu = sorted(gap for gap, *_ in worst), statistics.median(cpu for *_, cpu in worst)
        words = re.sub("<.*?>", "", max(worst)[1]).split("%: ")[-1] or "(nothing)"
        print(f"| {name} | {statistics.median(gaps):.2f} | {gaps[0]:.2f} to {gaps[-1]:.2f} | {cpu:.2f} | {words} |")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # stand-in widgets and a scene that Python takes apart in any order may crash at its very end
