"""Tables of regional means in the panel: what they hold, of the shipped regions and of segments, and their copies."""

import csv
import io
import json

import numpy as np
import pytest
import vtk
from slicer_cases import add_scan, run, write_results
from slicer_module import load_part

SHAPE = (8, 7, 6)  # of arrays: K, J, I


@pytest.fixture
def found(widget, tmp_path):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    return run(widget, write_results(tmp_path / "made"))


def add_segments(slicer, found, *boxes, shape=SHAPE):
    """A segmentation with a segment for each box of slices, on the PET's grid or one that goes on beyond it."""
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(found.pet)
    for box in boxes:
        label = slicer.util.addVolumeFromArray(_boxed(box, shape), nodeClassName="vtkMRMLLabelMapVolumeNode")
        label.CopyOrientation(found.pet)
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label, segmentation)
        slicer.mrmlScene.RemoveNode(label)
    return segmentation


def cells(table):
    """Rows as dictionaries by column."""
    names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    return [
        {name: table.GetCellText(row, column) for column, name in enumerate(names)}
        for row in range(table.GetNumberOfRows())
    ]


def test_segments_have_all_maps(widget, slicer, found):
    box = np.s_[2:5, 2:4, 1:4]
    widget.parameters.segmentation = add_segments(slicer, found, box)
    widget.ui.regionsButton.click()
    (row,) = cells(slicer.util.getNode("SYNTHETIC TAU means in mine"))
    for column, kind in (
        ("SYNTHETIC (SUVR)", "pet"),
        ("Measured (SUVR)", "measured"),
        ("SYNTHETIC minus measured (SUVR)", "difference"),
        ("Spread of samples, mean of voxels (SUVR)", "uncertainty"),
    ):
        expected = slicer.util.arrayFromVolume(found.volumes[kind])[box].mean()
        assert float(row[column]) == pytest.approx(expected, rel=1e-5), kind
    assert row["Flags"] == "" and float(row["SD of voxels (SUVR)"]) > 0


def test_a_segment_that_leaves_the_field_of_view_says_so(widget, slicer, found):
    """Of three segments one is inside, one to three quarters, one to a quarter; a fourth is elsewhere."""
    large = (8, 7, 24)
    boxes = [np.s_[:, :, 0:6], np.s_[:, :, 3:7], np.s_[:, :, 5:9], np.s_[:, :, 12:20]]
    widget.parameters.segmentation = add_segments(slicer, found, *boxes, shape=large)
    rows = load_part("tables").segmentRows(widget.parameters.segmentation, found)
    assert [row["share_in_view"] for row in rows] == pytest.approx([1.0, 0.75, 0.25, 0.0])
    widget.ui.regionsButton.click()
    table = cells(slicer.util.getNode("SYNTHETIC TAU means in mine"))
    flags = [row["Flags"] for row in table]
    assert flags.count("") == 1 and "only 75 % in the field of view" in flags
    assert "25 % in the field of view, too little for a mean" in flags
    assert [row["SYNTHETIC (SUVR)"] for row in table if row["Flags"].endswith("mean")] == ["nan", "nan"]


@pytest.mark.parametrize("whose", ["segments", "PET"])
def test_segments_under_a_transform_that_scales(widget, slicer, found, whose):
    """Such as an atlas that an affine registration laid over the brain: what is inside as a whole has no flag."""
    box = np.s_[2:6, 1:5, 1:5]
    transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkMatrix4x4()
    for axis in range(3):
        matrix.SetElement(axis, axis, 0.5 if whose == "segments" else 2.0)
    transform.SetMatrixTransformToParent(matrix)
    segmentation = add_segments(slicer, found, box)
    if whose == "segments":  # drawn at twice the size
        twice = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(matrix, twice)
        label = slicer.util.addVolumeFromArray(_boxed(box), nodeClassName="vtkMRMLLabelMapVolumeNode")
        label.SetIJKToRASMatrix(twice)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label, segmentation)
    else:
        found.pet.SetAndObserveTransformNodeID(transform.GetID())
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    (row,) = load_part("tables").segmentRows(segmentation, found)
    assert row["share_in_view"] == 1.0
    expected = slicer.util.arrayFromVolume(found.pet)[box].mean()
    assert row["synthetic_pet"] == pytest.approx(expected, rel=1e-5)


def _boxed(box, shape=SHAPE):
    labels = np.zeros(shape, np.uint8)
    labels[box] = 1
    return labels


def test_outside_the_brain_there_is_no_pet(widget, slicer, found):
    """The PET is 0 there, which is no uptake of 0."""
    values = slicer.util.arrayFromVolume(found.pet)
    values[0:2] = 0
    segmentation = add_segments(slicer, found, np.s_[0:8, :, :])
    (row,) = load_part("tables").segmentRows(segmentation, found)
    assert row["share_in_view"] == pytest.approx(0.75)
    assert row["synthetic_pet"] == pytest.approx(values[2:].mean(), rel=1e-6)


def test_outside_its_field_of_view_a_measured_pet_has_no_value(widget, slicer, found):
    """It is 0 there, which is no uptake of 0, and the difference to it is none."""
    measured, difference = (slicer.util.arrayFromVolume(found.volumes[kind]) for kind in ("measured", "difference"))
    measured[0:3] = difference[0:3] = 0
    boxes = [np.s_[0:8, :, :], np.s_[0:4, :, :]]
    half, few = load_part("tables").segmentRows(add_segments(slicer, found, *boxes), found)
    assert half["reference"] == pytest.approx(measured[3:8].mean(), rel=1e-6)
    assert half["difference"] == pytest.approx(difference[3:8].mean(), rel=1e-6)
    assert half["share_in_view"] == 1 and half["synthetic_pet"] == pytest.approx(
        slicer.util.arrayFromVolume(found.pet)[0:8].mean(), rel=1e-6
    )
    assert np.isnan([few["reference"], few["difference"]]).all() and few["synthetic_pet"] > 0
    flag = load_part("tables").flag
    assert [flag(row) for row in (half, few)] == [f"{n} % in the measured PET's field of view" for n in (62, 25)]
    assert flag({"share_in_view": "1", "share_measured": "0.637", "synthetic_pet": "1"}).startswith("63 % in the meas")
    partly = {"share_in_view": "0.75", "share_measured": "0.637", "synthetic_pet": "1"}
    assert flag(partly) == "only 75 % in the field of view; 63 % in the measured PET's field of view"
    assert flag(partly | {"share_measured": "0.75"}) == "only 75 % in the field of view"


def test_segments_of_another_space_are_not_measured(widget, slicer, found):
    """The shipped template's head lies about where a person's does: the means would look like any others."""
    segmentation = add_segments(slicer, found, np.s_[2:5, 2:4, 1:4])
    template = add_scan(load_part("scene").TEMPLATE)
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    widget.parameters.segmentation = segmentation
    for drawn, space, measured in (
        (widget.parameters.t1w, "MNI", False),
        (widget.parameters.t2f, "MNI", False),
        (template, "MNI", True),
        (template, "T1w", False),
        (add_scan("CT"), "MNI", True),
        (widget.parameters.t1w, "T1w", True),
    ):
        segmentation.SetNodeReferenceID(role, drawn.GetID())
        found.pet.SetAttribute("RelAPET.Space", space)
        assert (widget.results.regions.table() is not None) == measured, (drawn.GetName(), space)
        if not measured:
            assert "in another space than this PET" in widget.ui.statusLabel.text
            assert f"'{drawn.GetName()}'" in widget.ui.statusLabel.text


def test_segments_of_another_person_are_not_measured(widget, slicer, found):
    """A segmentation stays chosen when the T1w is another one; where no header tells whose it is, it is measured."""
    widget.parameters.segmentation = add_segments(slicer, found, np.s_[2:5, 2:4, 1:4])
    role = widget.parameters.segmentation.GetReferenceImageGeometryReferenceRole()
    widget.parameters.t1w.SetAttribute("DICOM.PatientID", "A")
    for whose, measured in (("B", False), ("A", True), (None, True)):
        drawn = add_scan(f"CT of {whose}")
        drawn.SetAttribute("DICOM.PatientID", whose)
        widget.parameters.segmentation.SetNodeReferenceID(role, drawn.GetID())
        assert (widget.results.regions.table() is not None) == measured, whose
        said = "'CT of B', which is of another person" in widget.ui.statusLabel.text
        assert said or measured


def test_it_is_said_where_nothing_tells_that_segments_are_of_this_person(widget, slicer, found, tmp_path):
    widget.parameters.segmentation = add_segments(slicer, found, np.s_[2:5, 2:4, 1:4])
    role = widget.parameters.segmentation.GetReferenceImageGeometryReferenceRole()
    stranger, own = add_scan("CT"), add_scan("CT of the same")
    for scan in (own, widget.parameters.t1w):
        scan.SetAttribute("DICOM.PatientID", "A")
    ways = {
        "shown": widget.ui.regionsButton.click,
        "copied": widget.ui.copyTableButton.click,
        "written": lambda: widget.results.regions.save(tmp_path / "table.csv"),
    }
    others = [each for each in (found.difference, found.uncertainty) if each is not None]
    for drawn in (stranger, own, widget.parameters.t1w, widget.parameters.t2f, found.pet, *others):
        widget.parameters.segmentation.SetNodeReferenceID(role, drawn.GetID())
        for what, way in ways.items():
            widget.tell("")
            way()
            said = "Make sure that 'CT', on which 'mine' is drawn, is of this person" in widget.ui.statusLabel.text
            assert said == (drawn is stranger), (drawn.GetName(), what)


def test_segments_of_surfaces_alone(widget, slicer, found):
    """As an STL file or a radiotherapy structure has them: voxels are made of them."""
    import vtk

    ball, segmentation = vtk.vtkSphereSource(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "ball")
    ball.SetCenter(3, 3, 4)
    ball.SetRadius(1.9)
    ball.Update()
    segmentation.SetSourceRepresentationToClosedSurface()
    segmentation.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1, 0, 0])
    widget.parameters.segmentation = segmentation
    widget.ui.regionsButton.click()
    (row,) = cells(slicer.util.getNode("SYNTHETIC TAU means in ball"))
    assert row["Region"] == "ball" and 0.5 < float(row["SYNTHETIC (SUVR)"]) < 2


@pytest.mark.parametrize("copied", [False, True])
def test_a_new_run_leaves_no_means_of_the_run_before(widget, slicer, found, tmp_path, copied):
    """Neither its numbers nor its model's name; a copy of the PET that somebody keeps, keeps its table."""
    box = np.s_[2:5, 2:4, 1:4]
    pet, means = found.pet, slicer.util.arrayFromVolume(found.pet)[box].mean()
    widget.parameters.segmentation = add_segments(slicer, found, box)
    widget.ui.regionsButton.click()
    if copied:
        slicer.mrmlScene.AddNode(slicer.modules.volumes.logic().CloneVolume(pet, "kept"))
    folder = write_results(tmp_path / "again", seed=1)
    record = json.loads((folder / "synthetic_pet.json").read_text())
    (folder / "synthetic_pet.json").write_text(json.dumps(record | {"model": {"name": "other", "version": "9"}}))
    assert run(widget, folder).pet is pet and pet.GetAttribute("RelAPET.Model") == "other 9"
    assert len(slicer.util.getNodes("SYNTHETIC TAU means in mine*")) == copied
    widget.ui.regionsButton.click()
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    made = {node.GetAttribute("RelAPET.Model"): node for node in tables if " means in mine" in node.GetName()}
    assert list(made) == (["toy 1", "other 9"] if copied else ["other 9"])
    now = slicer.util.arrayFromVolume(pet)[box].mean()
    assert float(cells(made["other 9"])[0]["SYNTHETIC (SUVR)"]) == pytest.approx(now, rel=1e-5)
    if copied:
        assert float(cells(made["toy 1"])[0]["SYNTHETIC (SUVR)"]) == pytest.approx(means, rel=1e-5)


def test_no_segment_over_the_pet(widget, slicer, found):
    widget.parameters.segmentation = add_segments(slicer, found, np.s_[:, :, 12:20], shape=(8, 7, 24))
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    for button in (widget.ui.regionsButton, widget.ui.copyTableButton):
        button.click()
        assert "no segment of 'mine' overlaps the PET" in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == before


def test_the_shipped_regions_say_what_is_outside(widget, slicer):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "regions")
    rows = [
        {"title": "in", "synthetic_pet": "2", "share_in_view": "1"},
        {"title": "partly", "synthetic_pet": "1.5", "share_in_view": "0.999"},
        {"title": "out", "synthetic_pet": "n/a", "share_in_view": "0.2"},
    ]
    load_part("tables").fillRegions(table, rows, "SUVR")
    assert [row["Flags"] for row in cells(table)] == [
        "", "only 99 % in the field of view", "20 % in the field of view, too little for a mean",
    ]  # fmt: skip


def test_copying_the_table(widget, found):
    import qt

    widget.ui.copyTableButton.click()
    first, *lines = qt.QApplication.clipboard().text().splitlines()
    assert first == "SYNTHETIC TAU regional means (T1w); model toy 1; a model's guess, research only"
    rows = [line.split("\t") for line in lines]
    assert rows == [
        ["Region", "SYNTHETIC (SUVR)", "Measured (SUVR)"], ["A & B", "1.5", "1.25"], ["Pons", "0.5", "0.75"],
    ]  # fmt: skip


def test_the_table_as_a_file(widget, found, tmp_path, monkeypatch):
    panel = widget.results.regions
    file = tmp_path / "Tabelle für Ω.csv"
    panel.save(file)
    content = file.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "Excel takes it for UTF-8"
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0] == ["Region", "SYNTHETIC (SUVR)", "Measured (SUVR)"] and rows[2] == ["Pons", "0.5", "0.75"]
    panel.save(tmp_path / "no folder" / "x.csv")
    assert "the table was not written" in widget.ui.statusLabel.text
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [file.name]


def test_without_a_result_there_is_nothing_to_take(widget):
    assert not widget.ui.copyTableButton.enabled and not widget.ui.saveTableButton.enabled
