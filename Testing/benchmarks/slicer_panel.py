"""How long the Slicer panel stands still during a synthesis: the largest gaps between ticks of a Qt timer.

.venv/bin/python Testing/benchmarks/slicer_panel.py > Testing/benchmarks/results/slicer_panel.md

The module's real panel and child process over the test harness (stand-in widgets, not Slicer), a simulated person, the
demo model on the CPU. Beside it, as baseline, the same synthesis called in the panel's own process.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT / "Testing"), str(ROOT)]

INTERVAL = 0.01


class Ticks:
    """Gaps between the ticks of a 10 ms timer, each with what the panel said when it ended."""

    def __init__(self, say):
        import qt

        self._say, self._last, self.gaps = say, None, []
        self._timer = qt.QTimer()
        self._timer.setInterval(int(1000 * INTERVAL))
        self._timer.connect("timeout()", self._tick)

    def __enter__(self):
        self._last, self._words = time.perf_counter(), self._say()
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._tick()
        self._timer.stop()

    def _tick(self):
        now = time.perf_counter()
        self.gaps.append((now - self._last, self._words))
        self._last, self._words = now, self._say()


def main() -> None:
    import slicer_harness as harness

    import RelAPETLib

    harness.boot()
    widget = harness.load_module(str(ROOT / "RelAPET" / "RelAPET.py"))
    harness.process_events(lambda: not widget.tasks.running, 300)
    widget.ui.phantomButton.click()
    harness.process_events(lambda: not widget.tasks.running, 900)
    begin = time.perf_counter()
    with Ticks(lambda: widget.ui.statusLabel.text) as ticks:
        widget.ui.synthesizeButton.click()
        harness.process_events(lambda: not widget.logic.running, 1800)
    whole = time.perf_counter() - begin
    scans = {}
    from slicer_module import load_part

    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    for role in ("t1w", "t2f", "reference"):
        scans[role] = folder / f"slicer_panel_{role}.nrrd"
        load_part("scene").writeVolume(getattr(widget.parameters, role), scans[role])
    with Ticks(lambda: "in the panel's own process") as inside:
        RelAPETLib.synthesize(scans["t1w"], scans["t2f"], "TAU", reference=scans["reference"], device="cpu")
        harness.process_events()
    for path in scans.values():
        path.unlink()
    print("# How long the Slicer panel stands still\n")
    print(f"Made by `python Testing/benchmarks/slicer_panel.py` on {datetime.date.today()}, {os.cpu_count()} cores,")
    print(f"CPU, over the test harness; the load before was {os.getloadavg()[2]:.1f}. The run took {whole:.0f} s.\n")
    print("| where | largest gap between ticks (s) | the panel said before it |\n|---|---|---|")
    for number, (gap, words) in enumerate(sorted(ticks.gaps, reverse=True)[:5]):
        print(f"| child process, gap {number + 1} | {gap:.2f} | {words} |")
    print(
        f"| baseline: the library in the panel's process | {max(inside.gaps)[0]:.2f} | (stands still all the while) |"
    )


if __name__ == "__main__":
    main()
