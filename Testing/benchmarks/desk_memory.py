"""Memory of the Slicer panel's process while it runs many patients, and while one looks at their results.

.venv/bin/python Testing/benchmarks/desk_memory.py [--people 20] > Testing/benchmarks/results/desk_memory.md

The module's real panel and child processes over the test harness (stand-in widgets, not Slicer), a small model with
random weights, one plain brain on the model grid in many brightnesses: registration is left out, which is the child's
business. Beside it, as a control, the same results all kept in the scene.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT / "Testing"), str(ROOT)]

MB = 1e6


def resident() -> float:
    """Megabytes that this process holds."""
    import psutil

    gc.collect()
    return psutil.Process().memory_info().rss / MB


def add_people(slicer, files, count: int) -> None:
    """Patients with a study each; every brain is another one's in other brightness, as int16."""
    import numpy as np
    from slicer_module import load_volume

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    plain = {}
    for role in ("t1w", "t2f"):
        node = load_volume(files[role], role)
        values = slicer.util.arrayFromVolume(node)
        plain[role] = 1000 * values / values.max(), [*node.GetOrigin()], node
    for number in range(count):
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"person {number + 1}")
        study = hierarchy.CreateStudyItem(patient, "day 1")
        for title, role in (("T1w", "t1w"), ("FLAIR", "t2f")):
            values, _, like = plain[role]
            volume = slicer.util.addVolumeFromArray((values * (1 + number / 10)).astype(np.int16), name=title)
            volume.CopyOrientation(like)
            hierarchy.CreateItem(study, volume)
    for _, _, node in plain.values():
        slicer.mrmlScene.RemoveNode(node)


def open_panel(harness, home: Path):
    """The panel with the small model, whose children take the scans for preprocessed ones."""
    from cases import write_tiny_latent
    from slicer_module import load_part

    os.environ["RELAPET_HOME"] = str(home)
    write_tiny_latent(home / "models" / "tiny-latent")
    load_part("modelpanel").ModelPanel.lookForDevices = lambda self: None
    widget = harness.load_module(str(ROOT / "RelAPET" / "RelAPET.py"))
    widget.parameters.model, widget.parameters.steps, widget.parameters.samples = "tiny-latent", 1, 2
    make = load_part("process").ChildProcess
    peaks = []

    def make_process(arguments, **how):
        peaks.append(make([*arguments, "--preprocessed"], **how))
        return peaks[-1]

    widget.batch.makeProcess = make_process
    return widget, peaks


def measure(harness, widget) -> tuple[float, list[float]]:
    """(before, after each person) of a batch, in megabytes."""
    widget.ui.findPairsButton.click()
    harness.process_events()
    before, after, seen = resident(), [], set()
    widget.ui.batchStartButton.click()

    def ended() -> bool:
        for number, row in enumerate(widget.batch.rows):
            if number not in seen and row.state in ("done", "there", "failed"):
                seen.add(number)
                after.append(resident())
                print(f"person {number + 1}: {after[-1]:.0f} MB", file=sys.stderr, flush=True)
        return not widget.batch.running

    harness.process_events(ended, 7200)
    states = {row.state for row in widget.batch.rows}
    if states != {"done"}:
        raise SystemExit(f"not all done: {[(row.state, row.words) for row in widget.batch.rows]}")
    return before, after


def look(harness, widget) -> list[float]:
    """Megabytes after each person's results were shown."""
    found = []
    for number in range(len(widget.batch.rows)):
        widget.batch.show(number)
        harness.process_events()
        found.append(resident())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=20)
    count = parser.parse_args().people
    import slicer_harness as harness

    slicer = harness.boot()
    with tempfile.TemporaryDirectory() as folder:
        from cases import write_grid_case
        from slicer_module import load_part

        (Path(folder) / "case").mkdir()
        files = write_grid_case(Path(folder) / "case")
        widget, processes = open_panel(harness, Path(folder) / "home")
        widget.ui.batchFolderEdit.text = str(Path(folder) / "results")
        add_people(slicer, files, count)
        begin = time.perf_counter()
        before, running = measure(harness, widget)
        seconds = time.perf_counter() - begin
        children = [process.peak / MB for process in processes]
        shown = look(harness, widget)
        load_part("batchresults").forget()
        load_part("batchresults").forget = lambda: None
        kept = look(harness, widget)
    report(count, seconds, before, running, shown, kept, children)


def report(count, seconds, before, running, shown, kept, children) -> None:
    print("# Memory of the Slicer panel's process over many patients\n")
    print(f"Made by `python Testing/benchmarks/desk_memory.py --people {count}` on {datetime.date.today()},")
    print(f"{os.cpu_count()} cores, over the test harness (not Slicer): a small model with random weights, scans of")
    print(
        "160 x 180 x 160 voxels (int16) on the model grid, taken as preprocessed. All scans are in the scene from the"
    )
    print(
        f"start. Resident megabytes of the panel's process; {before:.0f} before. {count} people took {seconds:.0f} s.\n"
    )
    print("| person | batch: after this one | looking: results of this one shown | control: all shown so far kept |"
          " child process, most |")  # fmt: skip
    print("|---|---|---|---|---|")
    for number, row in enumerate(zip(running, shown, kept, children, strict=True)):
        print(f"| {number + 1} | " + " | ".join(f"{value:.0f}" for value in row) + " |")
    middle = count // 2
    print("\n| from one person to the next, MB | over all | over the second half |\n|---|---|---|")
    for title, values in (("batch", running), ("looking", shown), ("control: all kept", kept)):
        whole = (values[-1] - values[0]) / max(count - 1, 1)
        half = (values[-1] - values[middle]) / max(count - 1 - middle, 1)
        print(f"| {title} | {whole:+.2f} | {half:+.2f} |")


if __name__ == "__main__":
    main()
