"""Tables, thresholds and words of results, and what becomes of them when the scene changed during the run."""

import json

import numpy as np
import pytest
from slicer_cases import add_scan, done, nodes_of, real_child, run, write_results
from slicer_module import FakeProcess, load_part

# Tables


@pytest.fixture
def found(widget, tmp_path):
    """Results of a run in the panel."""
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    return run(widget, write_results(tmp_path / "made"))


def test_tables(widget, slicer, found):
    widget.ui.regionsButton.click()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    table = found.regions
    columns = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    assert columns == ["Region", "SYNTHETIC (SUVR)", "Bar of SYNTHETIC", "Measured (SUVR)"]
    rows = [tuple(table.GetCellText(row, column) for column in (0, 1, 3)) for row in range(table.GetNumberOfRows())]
    assert rows == [("A & B", "1.5", "1.25"), ("Pons", "0.5", "0.75")]
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode"), "Slicer draws no names below its bars"
    widget.ui.metricsButton.click()
    assert found.metrics.GetCellText(0, 0) == "PSNR (dB)" and float(found.metrics.GetCellText(0, 1)) > 0


def test_the_panel_repeats_verdict_and_intervals(widget, slicer, tmp_path):
    """The library's own lines below the picture's, and the interval's columns in the table where it has numbers."""
    made = write_results(tmp_path / "made")
    says = ["Input check: caution: the header says <two> things", "90 % intervals of regional means"]
    record = json.loads((made / "synthetic_pet.json").read_text())
    record |= {"verdict": {"says": says[0]}, "intervals": {"says": says[1]}}
    (made / "synthetic_pet.json").write_text(json.dumps(record))
    header = "region\ttitle\tsynthetic_pet\tspread\tlow\thigh\n"
    (made / "regions.tsv").write_text(f"{header}b\tPons\t0.5\t0.1\t0.25\t0.75\na\tGrey\t1.5\t0.1\t1.25\tn/a\n")
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    table = run(widget, made).regions
    lines = shown(widget.ui.shownLabel).splitlines()
    assert lines[1:] == says and "a model's guess" in lines[0]
    columns = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    assert columns[3:] == ["Spread of samples' means (SUVR)", "Interval from (SUVR)", "Interval to (SUVR)"]
    assert [table.GetCellText(row, 4) for row in (0, 1)] == ["1.25", "0.25"]
    (made / "regions.tsv").write_text(f"{header}b\tPons\t0.5\t0.1\tn/a\tn/a\na\tGrey\t1.5\t0.1\tn/a\tn/a\n")
    table = run(widget, made).regions
    assert table.GetColumnName(table.GetNumberOfColumns() - 1) == "Spread of samples' means (SUVR)"


def test_that_an_mri_is_simulated_goes_with_it(widget, tmp_path):
    """The library is told by the sidecar beside the file that it reads; of a scan without one it is told nothing."""
    from pathlib import Path

    t1w, t2f = add_scan("T1w"), add_scan("FLAIR")
    t1w.SetAttribute("RelAPET.Sidecar", '{"SimulationDescription": "Simulated"}')
    widget.parameters.t1w, widget.parameters.t2f = t1w, t2f
    widget.ui.synthesizeButton.click()
    sidecars = {role: Path(FakeProcess.made[-1].option(f"--{role}")).with_suffix(".json") for role in ("t1w", "t2f")}
    assert json.loads(sidecars["t1w"].read_text()) == {"SimulationDescription": "Simulated"}
    assert not sidecars["t2f"].exists()


@pytest.fixture
def table(slicer):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "regions")


def filled(table, *means):
    rows = [{"title": f"region {number}", "synthetic_pet": mean} for number, mean in enumerate(means)]
    load_part("tables").fillRegions(table, rows, "SUVR")
    return [tuple(table.GetCellText(row, column) for column in range(3)) for row in range(table.GetNumberOfRows())]


def test_bars_are_as_long_as_their_values(table):
    rows = filled(table, "0.5", "2", "1.0")
    assert [row[0] for row in rows] == ["region 1", "region 2", "region 0"]
    assert [len(row[2]) for row in rows] == [12, 6, 3] and set("".join(row[2] for row in rows)) == {"\u2588"}
    bar = load_part("tables").bar
    widths = [8 * text.count("\u2588") + sum(0x2590 - ord(c) for c in text if c != "\u2588") for text in
              (bar(value, 96) for value in range(97))]  # fmt: skip
    assert widths == list(range(97)), "in eighths of a block"


def test_tables_of_odd_values(table):
    rows = filled(table, "nan", "-0.5", "0.25", "", None)
    assert [row[0] for row in rows][:2] == ["region 2", "region 1"] and rows[0][2] == 12 * "\u2588"
    assert [row[2] for row in rows][1:] == [""] * 4
    assert [row[1] for row in rows][2:] == ["nan"] * 3
    assert [row[2] for row in filled(table, "0", "-1")] == ["", ""]
    assert filled(table) == []


def test_one_table_for_each_segmentation(widget, slicer, found):
    for name in ("left", "right"):
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(found.pet)
        labels = np.zeros((8, 7, 6), np.uint8)
        labels[2:4, 2:4, 2:4] = 1
        label = slicer.util.addVolumeFromArray(labels, nodeClassName="vtkMRMLLabelMapVolumeNode")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label, segmentation)
        widget.parameters.segmentation = segmentation
        for _ in range(3):
            widget.ui.regionsButton.click()
    names = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLTableNode")}
    assert {name for name in names if "means in" in name} == {
        f"SYNTHETIC TAU means in {side}" for side in ("left", "right")
    }


# Display


def test_the_threshold_is_no_larger_than_the_voxels(found):
    """Slicer's Volumes module stretches its slider to whatever the thresholds are."""
    for kind in ("pet", "uncertainty"):
        display, highest = found.volumes[kind].GetDisplayNode(), found.volumes[kind].GetImageData().GetScalarRange()[1]
        assert display.GetApplyThreshold() and 0 < display.GetLowerThreshold() < 1e-3
        assert highest <= display.GetUpperThreshold() <= max(highest, display.GetWindowLevelMax())


# Words


def names(process, text):
    files = {"/tmp/RelAPET-x1/t1w.nrrd": "Head & neck", "/tmp/RelAPET-x1/t2f.nrrd": "AX\nFLAIR"}
    return process.Names(files)(text)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("/tmp/RelAPET-x1/t1w.nrrd: the file is empty", "'Head & neck': the file is empty"),
        ("cannot read '/tmp/RelAPET-x1/t2f.nrrd': x", "cannot read 'AX FLAIR': x"),
        ('t1w.nrrd and "t2f.nrrd" differ', "'Head & neck' and 'AX FLAIR' differ"),
        ("/home/me/t1w.nrrd, not_t1w.nrrd, t1w.nrrd.gz", "/home/me/t1w.nrrd, not_t1w.nrrd, t1w.nrrd.gz"),
        ("the t1w does not look like a brain.", "the t1w does not look like a brain."),
    ],
)
def test_names_stand_for_temporary_files(harness, said, shown):
    assert names(load_part("process"), said) == shown


SAYS = """
import json, sys
file = sys.argv[sys.argv.index("--t1w") + 1]
print(json.dumps({"type": "progress", "fraction": 0.1, "message": f"reading {file}"}), flush=True)
print(json.dumps({"type": "warning", "message": f"{file}: odd"}), flush=True)
print(f"noise about {file}", file=sys.stderr)
print(json.dumps({"type": "error", "message": f"{file}: no brain", "exit_code": 2, "accepted_by": "--force"}))
sys.exit(2)
"""


def test_the_panel_never_shows_temporary_files(widget, harness):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("Anna & Bert <1>"), add_scan("FLAIR")
    widget.logic.makeProcess = real_child("", SAYS)
    heard = []
    widget.onProgress = lambda fraction, message, remaining: heard.append(message)
    widget.ui.synthesizeButton.click()
    harness.process_events(lambda: not widget.logic.running, 60)
    log = widget.ui.logText.toPlainText()
    assert "reading 'Anna & Bert <1>'" in heard
    assert "warning: 'Anna & Bert <1>': odd" in log and "noise about 'Anna & Bert <1>'" in log
    assert ".nrrd" not in log.split("\n", 1)[1], "the first line is the command"
    assert (
        shown(widget.ui.questionLabel)
        == "'Anna & Bert <1>': no brain. Check the volumes first; the result may mean nothing."
    )


def shown(label):
    """What a person reads on a label, which may hold rich text."""
    from PySide6.QtGui import Qt, QTextDocument

    if not Qt.mightBeRichText(label.text):
        return label.text
    document = QTextDocument()
    document.setHtml(label.text)
    return document.toPlainText()


def test_the_status_shows_names_as_they_are(widget, tmp_path):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("A & B <b>bold</b>"), add_scan("FLAIR")
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].onProgress(0.5, "reading 'A & B <b>bold</b>'", None)
    assert shown(widget.ui.statusLabel) == "50 %: reading 'A & B <b>bold</b>'"
    end(tmp_path)
    assert shown(widget.ui.statusLabel).startswith("Done: SYNTHETIC TAU PET (A & B <b>bold</b>). ")


@pytest.mark.parametrize("text", ["A & B", "<b>no tag</b>", "a &amp; b", "two\nlines", "1 < 2 > 0"])
def test_text_of_any_origin_is_shown_as_it_is(harness, text):
    import qt

    assert shown(qt.QLabel(load_part("words").escaped(text))) == text


def test_titles_name_no_unit_that_a_model_does_not_have(widget):
    """A model may be relative: what it makes is no SUVR."""
    assert "SUVR" not in widget.ui.regionsButton.text + widget.ui.regionsButton.toolTip


def test_relative_results_say_so(widget, harness, slicer, tmp_path):
    folder = write_results(tmp_path / "results")
    record = json.loads((folder / "synthetic_pet.json").read_text())
    record["pet"]["units"] = "relative"
    (folder / "synthetic_pet.json").write_text(json.dumps(record))
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    found = run(widget, folder)
    widget.ui.regionsButton.click()
    columns = [found.regions.GetColumnName(index) for index in range(found.regions.GetNumberOfColumns())]
    legends = [node.GetTitleText() for node in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")]
    said = [*columns, *legends, widget.ui.shownLabel.text, found.regions.GetName(), found.pet.GetName()]
    assert not [text for text in said if "SUVR" in text] and "SYNTHETIC (relative)" in columns


# The scene changes during the run


@pytest.fixture
def scripted(harness, slicer, tmp_path):
    """A run without the panel, as a script has it: (logic, listener, T1w, T2-FLAIR)."""
    module = load_part("logic")
    logic, listener = module.RelAPETLogic(), module._Waiting(None)
    FakeProcess.made.clear()
    logic.makeProcess = FakeProcess
    pair = add_scan("Anna T1w"), add_scan("Anna FLAIR")
    logic.start(module.Request(*pair, "TAU"), listener)
    return logic, listener, *pair


def end(tmp_path, **changes):
    folder = write_results(tmp_path / "results")
    files = {path.name: str(path) for path in folder.iterdir() if path.name not in changes.get("without", ())}
    done(FakeProcess.made[-1], {"folder": str(folder), "files": files})


def test_the_scene_is_closed_during_a_scripts_run(scripted, harness, slicer):
    logic, listener, *_pair = scripted
    harness.clear_scene()
    before = nodes_of(slicer)
    assert FakeProcess.made[-1].cancelled and FakeProcess.made[-1].waited
    assert listener.ending.kind == "cancelled" and not logic.running and nodes_of(slicer) == before
    harness.clear_scene()  # nobody listens any more


def test_results_never_lie_over_another_volume_of_the_same_id(scripted, slicer, tmp_path):
    """IDs are given again: after the T1w is deleted the next patient's volume may have its."""
    _logic, listener, t1w, _t2f = scripted
    identifier = t1w.GetID()
    slicer.mrmlScene.RemoveNode(t1w)
    other = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    other.UnRegister(None)
    other.SetName("Bert T1w")
    slicer.mrmlScene.AddNode(other) if identifier is None else slicer.mrmlScene.InsertBeforeNode(_t2f, other)
    end(tmp_path)
    assert listener.ending.ok and listener.results[0].mri is None
    assert "Bert" not in listener.results[0].pet.GetName()


def test_inputs_are_deleted_during_the_run(scripted, slicer, tmp_path):
    _logic, listener, *pair = scripted
    for volume in pair:
        slicer.mrmlScene.RemoveNode(volume)
    end(tmp_path)
    assert listener.ending.ok and listener.results[0].mri is None
    assert listener.results[0].pet.GetImageData().GetDimensions() == (6, 7, 8)


def test_the_output_is_deleted_during_the_run(widget, slicer, tmp_path):
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    widget.parameters.t1w, widget.parameters.t2f, widget.parameters.output = add_scan("T1w"), add_scan("FLAIR"), own
    widget.ui.synthesizeButton.click()
    slicer.mrmlScene.RemoveNode(own)
    end(tmp_path)
    assert widget.results.found.pet.GetName() == "SYNTHETIC TAU PET (T1w)"


def test_parts_of_an_earlier_result_are_deleted_during_the_run(widget, slicer, tmp_path):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    first = run(widget, write_results(tmp_path / "first"))
    widget.ui.synthesizeButton.click()
    for node in (first.uncertainty, first.regions, first.pet.GetDisplayNode()):
        slicer.mrmlScene.RemoveNode(node)
    end(tmp_path)
    again = widget.results.found
    assert again.pet is first.pet and again.uncertainty is not None and again.regions.GetNumberOfRows() == 2
    assert again.pet.GetDisplayNode() is not None


@pytest.mark.parametrize("lost", ["pet", "units", "statement", "title", "metrics"])
def test_incomplete_results_leave_nothing_behind(scripted, harness, slicer, tmp_path, lost):
    _logic, listener, *_pair = scripted
    before = nodes_of(slicer)
    folder = write_results(tmp_path / "results")
    record = json.loads((folder / "synthetic_pet.json").read_text())
    files = [path.name for path in folder.iterdir()]
    if lost == "pet":
        files.remove("synthetic_pet.nii.gz")
    elif lost == "units":
        del record["pet"]["units"]
    elif lost == "statement":
        del record["statement"]
    elif lost == "metrics":
        record["reference"]["metrics"]["brain"]["psnr"] = "much"
    else:
        (folder / "regions.tsv").write_text("region\tsynthetic_pet\na\t1\n")
    (folder / "synthetic_pet.json").write_text(json.dumps(record))
    done(FakeProcess.made[-1], {"folder": str(folder), "files": {name: name for name in files}})
    assert listener.ending.kind == "failed" and "could not be taken over" in listener.ending.message
    assert nodes_of(slicer) == before


def test_a_fault_of_our_own_ends_the_run_too(scripted, harness, slicer, monkeypatch, tmp_path):
    """The listener hears of a failure, never of a success without results, and the scene is as it was."""
    logic, listener, *_pair = scripted
    before = nodes_of(slicer)

    def broken(results):
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(load_part("logic").display, "prepare", broken)
    with pytest.raises(ZeroDivisionError):
        end(tmp_path)
    assert listener.ending.kind == "failed" and listener.results is None and not logic.running
    assert nodes_of(slicer) == before


def test_export_names_the_volume_in_messages(widget, harness, tmp_path):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    found = run(widget, write_results(tmp_path / "results"))
    found.pet.SetAttribute("RelAPET.Provenance", '{"outputs": {}}')
    widget.results.exports.exportDicom(str(tmp_path))
    (name,) = [name for path, name in FakeProcess.made[-1].names.items() if path.name == "synthetic_pet.nii.gz"]
    assert name == "SYNTHETIC TAU PET (T1w)"
    FakeProcess.made[-1].end("cancelled", "x")
