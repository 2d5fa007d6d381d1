"""Reports and DICOM from the panel: what the library is handed, where its files go, and what is left behind."""

import json
from pathlib import Path

import pydicom
import pytest
from slicer_cases import add_scan, run, write_results
from slicer_harness.dicom import install_dicom
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main
from RelAPETLib.volumes import read_volume

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@pytest.fixture
def shown(widget, pair, saved, monkeypatch, tmp_path):
    """A result in the panel, and Slicer's temporary folder in the test's own."""
    import slicer

    (tmp_path / "slicer").mkdir()
    monkeypatch.setattr(type(slicer.app), "temporaryPath", str(tmp_path / "slicer"))
    return run(widget, saved)


def work(capsys=None):
    """Let the library's own command do what the panel asked of the child process; returns that process."""
    process = FakeProcess.made[-1]
    assert main([*process.arguments, "--progress", "json"]) == 0
    lines = capsys.readouterr().out.splitlines() if capsys else []
    process.end("done", "done", result=json.loads(lines[-1]) if lines else {})
    return process


def left(tmp_path):
    return [path.name for path in (tmp_path / "slicer").iterdir()]


def test_the_page_is_opened_in_the_browser_and_goes_with_slicer(widget, shown, harness, tmp_path):
    harness.recorder.urls.clear()
    widget.ui.reportPageButton.click()
    process = work()
    assert process.arguments[0] == "report" and "--pdf" not in process.arguments
    (url,) = harness.recorder.urls
    page = Path(process.option("--out"))
    assert url == page.as_uri() and page.name == "SYNTHETIC_TAU_report.html"
    words = page.read_text(encoding="utf-8")
    assert "Synthetic minus measured" in words and "Temporal composite" in words and "Frontal lobe" in words
    assert "patient T1w" not in words, "nobody's name, and no name of a volume"
    assert not Path(process.option("--t1w")).exists(), "the temporary files stay behind"
    assert "opened in the web browser" in widget.ui.statusLabel.text and page.exists()
    widget.stopAll()
    assert left(tmp_path) == []


def test_the_pdf_is_saved_where_the_user_says(widget, shown, harness, tmp_path):
    harness.popups.answer("QFileDialog.getSaveFileName", str(tmp_path / "page.pdf"))
    widget.ui.reportPdfButton.click()
    process = work()
    assert "--pdf" in process.arguments and (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF-")
    assert str(tmp_path / "page.pdf") in widget.ui.statusLabel.text and left(tmp_path) == []
    harness.popups.answer("QFileDialog.getSaveFileName", "")
    made = len(FakeProcess.made)
    widget.ui.reportPdfButton.click()
    assert len(FakeProcess.made) == made, "cancelled"


@pytest.mark.parametrize("names", ["uncompressed", "of a data set"])
def test_results_that_were_saved_by_other_names(widget, shown, tmp_path, names):
    """The library writes uncompressed files for the panel, and a data set's for a batch; the record names those."""
    record = json.loads(shown.pet.GetAttribute("RelAPET.Provenance"))
    stem = "sub-001_trc-TAU"
    derived = {"synthetic_pet.nii.gz": f"{stem}_space-T1w_desc-synthetic_pet.nii.gz",
               "uncertainty.nii.gz": f"{stem}_space-T1w_desc-spread_pet.nii.gz",
               "regions.tsv": f"{stem}_desc-synthetic_regions.tsv"}  # fmt: skip
    plain = {name: name.replace(".nii.gz", ".nii") for name in record["outputs"]}
    others = plain if names == "uncompressed" else plain | derived
    record["outputs"] = {others[name]: output for name, output in record["outputs"].items()}
    shown.pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
    widget.results.exports.savePdf(str(tmp_path / "page.pdf"))
    work()
    assert (tmp_path / "page.pdf").exists()
    widget.results.exports.exportDicom(str(tmp_path / "out"))
    work()
    written = {path.name for path in (tmp_path / "out").rglob("*.dcm")}
    assert written >= {"synthetic_pet_map.dcm", "uncertainty_map.dcm"}


def test_a_page_of_an_mni_result_lies_over_the_template(widget, pair, saved, harness, tmp_path):
    widget.parameters.space = load_part("parameters").Space.BOTH
    run(widget, saved)
    scene = widget.results.found.pet.GetScene()
    widget.parameters.output = scene.GetFirstNodeByName("SYNTHETIC TAU PET (patient T1w, MNI space)")
    widget.results.exports.savePdf(str(tmp_path / "page.pdf"))
    work()
    assert (tmp_path / "page.pdf").exists()


def test_dicom_goes_into_slicers_database(widget, shown, monkeypatch, tmp_path, capsys):
    (tmp_path / "database").mkdir()
    database = install_dicom(monkeypatch, tmp_path / "database")
    widget.parameters.dicomTarget = load_part("parameters").DicomTarget.DATABASE
    widget.ui.dicomReportCheckBox.checked = True
    assert widget.parameters.dicomReport and widget.ui.dicomButton.text == "Export DICOM", "nothing is asked"
    capsys.readouterr()
    widget.ui.dicomButton.click()
    work(capsys)
    kept = [pydicom.dcmread(path) for path in database.instances().values()]
    assert {str(tmp_path / "database")} == {str(Path(path).parent) for path in database.instances().values()}, "copies"
    (document,) = [one for one in kept if one.SOPClassUID == ENCAPSULATED_PDF]
    assert "SYNTHETIC" in document.DocumentTitle and len(kept) > 10
    said = widget.ui.statusLabel.text
    assert "To send it, use the DICOM module" in said and "are made up" in said and left(tmp_path) == []


def test_a_database_that_takes_nothing_is_told(widget, shown, monkeypatch, tmp_path, capsys):
    import slicer

    widget.parameters.dicomTarget = load_part("parameters").DicomTarget.DATABASE
    monkeypatch.delattr(slicer, "dicomDatabase", raising=False)
    made = len(FakeProcess.made)
    widget.ui.dicomButton.click()
    assert "is not open" in widget.ui.statusLabel.text and len(FakeProcess.made) == made
    database = install_dicom(monkeypatch, tmp_path / "nowhere")  # its folder is not there
    capsys.readouterr()
    widget.ui.dicomButton.click()
    work(capsys)
    assert "did not take synthetic_pet_map.dcm" in widget.ui.statusLabel.text
    assert database.instances() == {} and left(tmp_path) == []


def test_cancelled_and_failed_exports_leave_nothing(widget, shown, monkeypatch, tmp_path):
    install_dicom(monkeypatch, tmp_path)
    widget.parameters.dicomTarget = load_part("parameters").DicomTarget.DATABASE
    for kind in ("cancelled", "failed"):
        widget.ui.dicomButton.click()
        FakeProcess.made[-1].end(kind, "why")
        assert left(tmp_path) == []
    assert "why" in widget.ui.statusLabel.text


def test_a_folder_gets_the_report_only_on_request(widget, shown, harness, tmp_path):
    for asked in (False, True):
        widget.parameters.dicomReport = asked
        harness.popups.answer("QFileDialog.getExistingDirectory", str(tmp_path))
        widget.ui.dicomButton.click()
        process = FakeProcess.made[-1]
        assert ("--report" in process.arguments) == asked == (process.option("--t1w") is not None)
        process.end("cancelled", "x")


def test_a_made_up_patient_is_told(widget, scans, monkeypatch, tmp_path):
    found = run(widget, write_results(tmp_path / "made"))
    record = json.loads(found.pet.GetAttribute("RelAPET.Provenance")) | {"outputs": {}}
    found.pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
    (tmp_path / "slice.dcm").touch()
    for space, files, words in (
        ("T1w", [], "no series of this PET's T1w"),
        ("T1w", [tmp_path / "slice.dcm"], ""),
        ("MNI", [tmp_path / "slice.dcm"], "in MNI space"),
    ):
        monkeypatch.setattr(load_part("export"), "sourceFiles", lambda mri, files=files: files)
        found.pet.SetAttribute("RelAPET.Space", space)
        widget.results.exports.exportDicom(str(tmp_path))
        FakeProcess.made[-1].end("done", "done", result={})
        said = widget.ui.statusLabel.text
        assert "DICOM written to" in said and words in said and ("made up" in said) == bool(words)


def test_files_lie_where_the_t1ws_own_header_puts_it(widget, slicer, scans, tmp_path):
    """As its DICOM series does, whatever transforms T1w and PET are under, or were when the PET was made."""
    import vtk

    found = run(widget, write_results(tmp_path / "made"))
    record = json.loads(found.pet.GetAttribute("RelAPET.Provenance")) | {"outputs": {}}
    found.pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
    moving = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "to AC and PC")
    moved, maps = vtk.vtkMatrix4x4(), list(found.volumes.values())
    moved.SetElement(0, 3, 30.0)
    moving.SetMatrixTransformToParent(moved)
    widget.parameters.dicomReport = True

    def places(under):
        for volume in (scans[0], *maps):
            volume.SetAndObserveTransformNodeID(moving.GetID() if volume in under else None)
        widget.results.exports.exportDicom(str(tmp_path))
        process = FakeProcess.made[-1]
        files = [process.option("--t1w"), *Path(process.option("--pet")).parent.glob("*.nii.gz")]
        found = {tuple(read_volume(file).GetOrigin()) for file in files}
        process.end("cancelled", "x")
        return found

    for under in ([], [scans[0]], maps, [scans[0], *maps]):
        assert places(under) == {(0, 0, 0)}
    for volume in maps:  # as of a T1w that was under the transform when the PET was made
        volume.SetIJKToRASMatrix(moved)
    assert places([scans[0]]) == {(0, 0, 0)}
    assert places([]) == {(0, 0, 0), (-30, 0, 0)}, "of which the library says that the T1w is another one"


def test_no_temporary_folder_is_one_line(widget, scans, tmp_path, monkeypatch):
    def full(*rest, **how):
        raise OSError(28, "No space left on device")

    run(widget, write_results(tmp_path / "made"))
    monkeypatch.setattr(load_part("logic").tempfile, "mkdtemp", full)
    made = len(FakeProcess.made)
    ui = widget.ui
    for button in (ui.reportPageButton, ui.phantomButton, ui.synthesizeButton):
        widget.tell("")
        button.click()
        assert "No space left" in ui.statusLabel.text and ui.progressBar.isHidden() and len(FakeProcess.made) == made
    assert not widget.logic.running and ui.synthesizeButton.text == "Synthesize"


def test_without_its_mri_there_is_no_page(widget, shown, harness, tmp_path):
    import slicer

    slicer.mrmlScene.RemoveNode(shown.mri)
    made = len(FakeProcess.made)
    widget.results.exports.savePdf(str(tmp_path / "page.pdf"))
    assert "nothing to show it over" in widget.ui.statusLabel.text and len(FakeProcess.made) == made


def test_buttons_wait_for_a_result_and_for_packages(widget, harness, tmp_path):
    ui = widget.ui
    buttons = (ui.reportPageButton, ui.reportPdfButton, ui.dicomButton)
    assert not any(button.enabled for button in buttons)
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    run(widget, write_results(tmp_path / "made"))
    assert all(button.enabled for button in buttons)
    widget.install._export = ["matplotlib>=3.7"]
    widget.updatePanel()
    assert not any(button.enabled for button in buttons)


# The composite value in the panel


def test_the_composite_stands_above_the_regions_with_its_caveat(widget, shown):
    table = shown.regions
    columns = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    record = json.loads(shown.pet.GetAttribute("RelAPET.Provenance"))["summary"]
    first = {name: table.GetCellText(0, index) for index, name in enumerate(columns)}
    assert first["Region"] == "Temporal composite (a guess, uncalibrated)"
    assert float(first["SYNTHETIC (SUVR)"]) == pytest.approx(record["value"], rel=1e-4)
    assert float(first["Measured (SUVR)"]) == pytest.approx(record["measured"], rel=1e-4)
    assert first["Flags"] == record["caveat"] and "not a CenTauRz value" in record["caveat"]
    means = [float(table.GetCellText(row, 1)) for row in range(1, table.GetNumberOfRows())]
    assert means == sorted(means, reverse=True) and len(means) == 12
    assert record["caveat"] in load_part("tables").asText(table)
    assert record["says"] in widget.ui.shownLabel.text.replace("&#x27;", "'")


def test_a_tracer_without_a_composite_has_no_such_row(widget, harness, tmp_path):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    table = run(widget, write_results(tmp_path / "made")).regions
    assert [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] == ["A & B", "Pons"]
