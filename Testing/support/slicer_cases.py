"""The panel's fixtures and what its tests do again and again; the child process is stood in for by `FakeProcess`.

The files it "writes" are real results of a small model.
"""

import json
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from slicer_module import MODULE, FakeProcess, load_part, load_volume

#: Methods of models in the panel: one that is told age, sex and score; one with other samplers; one that draws at once.
TOLD = {
    "name": "resdm",
    "settings": {
        "arguments": {"factor": 20, "channels": [4, 8], "norm_num_groups": 1, "num_class_embeds": 4},
        "process": {"steps": 15, "first": 0.04, "last": 0.999, "kappa": 0.1},
        "samples": 1,
    },
}
FLOW = {
    "name": "flows",
    "settings": {
        "arguments": TOLD["settings"]["arguments"] | {"clinical": True},
        "path": {"kind": "rectified_flow", "shift": 1.0},
        "steps": 7,
        "samples": 4,
    },
}
AT_ONCE = {"name": "unet", "settings": {"arguments": {"factor": 20, "channels": [4, 8], "norm_num_groups": 1}}}


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


@pytest.fixture(scope="session")
def departed(tiny_latent, grid_case, tmp_path_factory):
    """Folder of a real synthesis by a small model that has norms of departure."""
    from departures import write_tiny_with_norms

    from RelAPETLib import synthesize

    folder = tmp_path_factory.mktemp("departed")
    model = write_tiny_with_norms(tiny_latent, folder / "model", mean=1.2, sd=0.25)
    synthesize(
        grid_case["t1w"], grid_case["t2f"], "TAU", model=model, steps=1, samples=2, preprocessed=True, device="cpu"
    ).save(folder / "results", report=False)
    return folder / "results"


@pytest.fixture
def widget(harness, monkeypatch, tmp_path):
    """The module's panel, entered, in an empty scene; every child process is a `FakeProcess`."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    FakeProcess.made.clear()
    load_part("tasks")
    monkeypatch.setattr(load_part("tasks"), "ChildProcess", FakeProcess)
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)
    monkeypatch.setattr(load_part("widget").RelAPETWidget, "doubleClick", 0.0)  # tests are quicker than a hand
    widget = harness.load_module(str(MODULE / "RelAPET.py"))
    widget.logic.makeProcess = widget.tasks.makeProcess = FakeProcess
    yield widget


@pytest.fixture
def pair(widget, grid_case):
    """T1w and T2-FLAIR in the scene, and chosen."""
    t1w, t2f = load_volume(grid_case["t1w"], "patient T1w"), load_volume(grid_case["t2f"], "patient FLAIR")
    widget.parameters.t1w, widget.parameters.t2f = t1w, t2f
    return t1w, t2f


@pytest.fixture
def scans(widget):
    """Two small volumes in the scene, chosen as the T1w and the T2F."""
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    return widget.parameters.t1w, widget.parameters.t2f


@pytest.fixture(scope="session")
def tiny_metadata(tiny_latent):
    """Metadata of a small model, with the hash of its weights."""
    return json.loads((tiny_latent / "configs" / "metadata.json").read_text(encoding="utf-8"))


@pytest.fixture
def put(widget, tmp_path, tiny_metadata):
    """Puts the metadata of a model of one's own where the panel looks, and chooses it."""

    def make(name, method, **more):
        folder = tmp_path / "home" / "models" / name / "configs"
        folder.mkdir(parents=True)
        (folder / "metadata.json").write_text(json.dumps(tiny_metadata | {"name": name, "method": method} | more))
        widget.models.update()
        widget.parameters.model = name
        return name

    return make


def arguments(widget):
    """The command line of a click on Synthesize."""
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    process.end("cancelled", "x")
    return process


def finish(process, saved, keep=lambda name: True):
    """The child process ends well, having written the files of `saved`."""
    out = Path(process.option("--out"))
    out.mkdir()
    files = {}
    for path in saved.iterdir():
        if keep(path.name):
            files[path.name] = shutil.copy(path, out)
    done(process, {"folder": str(out), "files": files})


def done(process, result):
    """The child process ends well, and all turns of taking its result over pass."""
    import slicer_harness

    process.end("done", "done", result=result)
    slicer_harness.process_events(lambda: process.owner.ended, 60)


def finish_many(process, results):
    """The child process ends well, having written the files of several folders, by tracer."""
    out, contents = Path(process.option("--out")), []
    for tracer, folder in results.items():
        shutil.copytree(folder, out / tracer)
        files = {path.name: str(path) for path in (out / tracer).iterdir()}
        contents.append({"tracer": tracer, "folder": str(out / tracer), "files": files})
    done(process, {"folder": str(out), "syntheses": contents})


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


def marks(slicer):
    """What every view says of synthetic volumes, by the view's name (3-D views: their number); "" where nothing."""
    from slicer_harness.views import texts_of

    manager = slicer.app.layoutManager()
    views = {name: manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()}
    views |= {index: manager.threeDWidget(index).threeDView() for index in range(manager.threeDViewCount)}
    return {
        name: "".join(text for text in texts_of(view) if text.startswith("SYNTHETIC")) for name, view in views.items()
    }


def slice_marks(slicer):
    """The texts of all slice views, each once."""
    return {text for name, text in marks(slicer).items() if isinstance(name, str)}


def write_results(folder, shape=(6, 7, 8), tracer="TAU", seed=0):
    """What the library writes of a synthesis, very small; every map lies in a volume of `add_scan`'s geometry."""
    import nibabel

    folder.mkdir(exist_ok=True)
    values = np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(np.float32)
    for name in ("synthetic_pet", "uncertainty", "difference", "reference"):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{name}.nii.gz")
    record = {
        "pet": {"units": "SUVR"},
        "tracer": {"name": tracer, "window": [0.0, 3.0]},
        "model": {"name": "toy", "version": "1"},
        "statement": "a model's guess",
        "uncertainty": "spread of samples, not the error",
        "reference": {"metrics": {"brain": {"psnr": 30.0, "ssim": 0.9, "mae": 0.1}}},
    }
    (folder / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")
    rows = "region\ttitle\tsynthetic_pet\treference\nb\tPons\t0.5\t0.75\na\tA & B\t1.5\t1.25\n"
    (folder / "regions.tsv").write_text(rows, encoding="utf-8")
    return folder


def add_scan(name, shape=(6, 7, 8)):
    """A volume node for which `write_results` writes results."""
    import slicer

    values = np.random.default_rng(1).uniform(0, 100, shape[::-1]).astype(np.float32)
    return slicer.util.addVolumeFromArray(values, name=name)


def write_derived(out, who, results, tracer="TAU", verdict=None, options=None):
    """The files of `write_results` as a cohort's run leaves them of (subject, session), with their record."""
    from RelAPETLib.cohort.derivatives import derived_names
    from RelAPETLib.cohort.records import Record, record_name, stem
    from RelAPETLib.cohort.visits import Visit

    visit, model = Visit(*who), {"name": "toy", "version": "1"}
    folder = Path(out) / visit.folder
    folder.mkdir(parents=True, exist_ok=True)
    names = derived_names(stem(visit, tracer), [path.name for path in Path(results).iterdir()])
    for old, new in names.items():
        shutil.copyfile(Path(results) / old, folder / new)
    outputs = {name: {"sha256": "0", "bytes": (folder / name).stat().st_size} for name in names.values()}
    record = Record(*who, tracer, model, "done", "", "0", {}, options or {}, outputs, verdict=verdict)
    (folder / record_name(visit, tracer, model)).write_text(record.text(), encoding="utf-8")


def copied(volume):
    """A copy in the scene, as Slicer's Data module makes it: with all attributes and references of the volume."""
    import slicer

    copy = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    copy.UnRegister(None)
    copy.Copy(volume)
    return slicer.mrmlScene.AddNode(copy)


def add_patient(name, days, *, contents=("T1w", "FLAIR"), shape=(6, 7, 8)):
    """A patient of the subject hierarchy with a study for each day, each with its scans.

    Voxels differ from scan to scan. Returns the patient's item, and the volumes by day and content.
    """
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", f"id of {name}")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientName", name)
    made = {}
    for day in days:
        study = hierarchy.CreateStudyItem(patient, day)
        hierarchy.SetItemAttribute(study, "DICOM.StudyDate", day)
        for number, content in enumerate(contents):
            volume = add_scan(content, shape)
            slicer.util.arrayFromVolume(volume)[0, 0, :2] = zlib.crc32(f"{name} {day}".encode()) % 2**24, number
            slicer.util.arrayFromVolumeModified(volume)
            hierarchy.CreateItem(study, volume)
            made[day, content] = volume
    return patient, made


#: A child process that "writes" the results of a folder: python -c CHILD results synthesize ... --out folder ...
CHILD = """
import json, os, shutil, sys
results, out = sys.argv[1], sys.argv[sys.argv.index("--out") + 1]
shutil.copytree(results, out)
print(json.dumps({"type": "progress", "fraction": 0.5, "message": "working"}))
print(json.dumps({"type": "result", "folder": out, "files": {name: name for name in os.listdir(out)}}))
"""


def real_child(results, script=CHILD):
    """Makes real child processes that are quick: Qt's QProcess, Python, and no library."""
    ChildProcess = load_part("process").ChildProcess

    def make(arguments, **how):
        return ChildProcess(
            arguments, command=[sys.executable, "-S", "-c", script, str(results), *map(str, arguments)], **how
        )

    return make


def reopened(slicer, harness, folder):
    """Save the scene, close it, open it."""
    slicer.util.saveScene(str(folder / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    harness.process_events()
    slicer.util.loadScene(str(folder / "scene.mrb"))
    harness.process_events()
