"""The panel's fixtures and what its tests do again and again; the child process is stood in for by `FakeProcess`.

The files it "writes" are real results of a small model.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from slicer_module import MODULE, FakeProcess, load_part, load_volume


@pytest.fixture(scope="session")
def saved(tiny_latent, grid_case, tmp_path_factory):
    """Folder of a real synthesis by a small model, with a reference and in both spaces."""
    from RelAPETLib import synthesize

    folder = tmp_path_factory.mktemp("saved")
    synthesize(
        grid_case["t1w"], grid_case["t2f"], "TAU", model=tiny_latent, reference=grid_case["pet"], steps=1, samples=2,
        preprocessed=True, device="cpu", space="both",
    ).save(folder, report=False)  # fmt: skip
    return folder


@pytest.fixture
def widget(harness, monkeypatch, tmp_path):
    """The module's panel, entered, in an empty scene; every child process is a `FakeProcess`."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    FakeProcess.made.clear()
    load_part("tasks")
    monkeypatch.setattr(load_part("tasks"), "ChildProcess", FakeProcess)
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    monkeypatch.setattr(load_part("widget"), "DOUBLE_CLICK", 0.0)  # tests are quicker than a hand
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    widget.logic.makeProcess = widget.tasks.makeProcess = FakeProcess
    yield widget


@pytest.fixture
def pair(widget, grid_case):
    """T1w and T2-FLAIR in the scene, and chosen."""
    t1w, t2f = load_volume(grid_case["t1w"], "patient T1w"), load_volume(grid_case["t2f"], "patient FLAIR")
    widget.parameters.t1w, widget.parameters.t2f = t1w, t2f
    return t1w, t2f


def finish(process, saved, keep=lambda name: True):
    """The child process ends well, having written the files of `saved`."""
    out = Path(process.option("--out"))
    out.mkdir()
    files = {}
    for path in saved.iterdir():
        if keep(path.name):
            files[path.name] = shutil.copy(path, out)
    process.end("done", "done", result={"folder": str(out), "files": files})


def run(widget, saved, **how):
    widget.ui.synthesizeButton.click()
    finish(FakeProcess.made[-1], saved, **how)
    return widget.results.found


def nodes_of(slicer):
    return [slicer.mrmlScene.GetNthNode(i).GetID() for i in range(slicer.mrmlScene.GetNumberOfNodes())]


def matrix_of(volume):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def corner_texts(slicer):
    manager = slicer.app.layoutManager()
    return {
        manager.sliceWidget(name).sliceView().cornerAnnotation().GetText(7) or "" for name in manager.sliceViewNames()
    }
