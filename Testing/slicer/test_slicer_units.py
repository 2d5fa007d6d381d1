"""That the unit of a measured PET reaches the library, whichever way Slicer knows it; over stand-in widgets."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from slicer_cases import add_scan, run, write_results
from slicer_module import FakeProcess, load_part

from RelAPETLib.errors import InputError
from RelAPETLib.synthesis.reference import reference_units
from RelAPETLib.volumes import mark_synthetic, says_synthetic, write_volume


def volume(slicer, name):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ones((4, 4, 4), np.float32))
    return node


def by_database(slicer, pet, unit, monkeypatch):
    class Database:
        def instanceValue(self, uid, tag):
            return unit if (uid, tag.lower()) == ("1.2.3", "0054,1001") else ""

    load_part("people").databaseTags.cache_clear()
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    pet.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")


def by_attribute(slicer, pet, unit, monkeypatch):
    pet.SetAttribute("DICOM.Units", unit)


def by_the_volumes_own(slicer, pet, unit, monkeypatch):
    """As Slicer's PET plugin, which makes SUV of what the header says in another unit."""
    by_database(slicer, pet, "CNTS", monkeypatch)
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(unit, "UCUM", unit)
    pet.SetVoxelValueUnits(entry)


def by_sidecar(slicer, pet, unit, monkeypatch):
    by_the_volumes_own(slicer, pet, "CNTS", monkeypatch)
    pet.SetAttribute(load_part("attributes").SIDECAR, json.dumps({"Units": unit, "TracerName": "AV1451"}))


@pytest.mark.parametrize("how", [by_database, by_attribute, by_the_volumes_own, by_sidecar])
def test_the_unit_of_a_measured_pet_is_handed_over(widget, slicer, monkeypatch, how):
    logic = load_part("logic")
    pet = volume(slicer, "PET")
    how(slicer, pet, "BQML", monkeypatch)
    request = logic.Request(volume(slicer, "T1"), volume(slicer, "FLAIR"), "TAU", reference=pet)
    widget.logic.start(request, logic.Listener())
    (process,) = FakeProcess.made
    given = Path(process.arguments[process.arguments.index("--reference") + 1])
    with pytest.raises(InputError, match="gives the unit 'BQML', not SUVR; .* divided by its mean in a reference"):
        reference_units(given, None, relative=False)
    assert reference_units(given, "cerebellar_grey", relative=False).region == "cerebellar_grey"
    process.end("cancelled", "x")


def test_where_nothing_is_known_nothing_is_said(widget, slicer):
    logic = load_part("logic")
    pet = volume(slicer, "PET")
    request = logic.Request(volume(slicer, "T1"), volume(slicer, "FLAIR"), "TAU", reference=pet)
    widget.logic.start(request, logic.Listener())
    (process,) = FakeProcess.made
    given = Path(process.arguments[process.arguments.index("--reference") + 1])
    assert reference_units(given, None, relative=False).plausibility_only
    process.end("cancelled", "x")


@pytest.mark.parametrize("marked", [True, False])
def test_a_synthetic_pet_that_the_user_loaded_as_a_measured_one_is_handed_over_as_what_it_is(
    widget, slicer, tmp_path, marked
):
    """Its node has none of this module's attributes; the file that it came from says so by its header."""
    image = sitk.GetImageFromArray(np.ones((4, 4, 4), np.float32))
    write_volume(mark_synthetic(image) if marked else image, tmp_path / "pet.nii.gz")
    logic, pet = load_part("logic"), volume(slicer, "PET")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "pet.nii.gz"))
    pet.SetAndObserveStorageNodeID(storage.GetID())
    request = logic.Request(volume(slicer, "T1"), volume(slicer, "FLAIR"), "TAU", reference=pet)
    widget.logic.start(request, logic.Listener())
    (process,) = FakeProcess.made
    given = Path(process.arguments[process.arguments.index("--reference") + 1])
    assert says_synthetic(given) is marked
    process.end("cancelled", "x")


@pytest.mark.parametrize("how", [None, "attribute", "header"])
def test_a_synthetic_pet_is_a_question_whatever_says_so(widget, slicer, how):
    """Nothing stands in the way of the run; the library is told, and asks."""
    pet = volume(slicer, "PET")
    if how:
        pet.SetAttribute(*{"attribute": ("RelAPET.Synthetic", "1"), "header": ("DICOM.SyntheticData", "YES")}[how])
    logic = load_part("logic")
    request = logic.Request(volume(slicer, "T1"), volume(slicer, "FLAIR"), "TAU", reference=pet)
    assert request.problems() == []
    widget.logic.start(request, logic.Listener())
    (process,) = FakeProcess.made
    assert says_synthetic(Path(process.arguments[process.arguments.index("--reference") + 1])) is bool(how)
    process.end("cancelled", "x")


def test_a_relative_pet_of_a_result_is_no_suvr(widget, slicer, tmp_path):
    """The code of its unit, a plain number, is that of SUVR too, and its values, 0 to 1, could be SUVR's."""
    widget.parameters.t1w, widget.parameters.t2f = add_scan("T1w"), add_scan("FLAIR")
    folder = write_results(tmp_path / "made")
    record = json.loads((folder / "synthetic_pet.json").read_text(encoding="utf-8"))
    for units, isSuvr in (("SUVR", True), ("relative", False)):
        record["pet"]["units"] = units
        (folder / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")
        widget.parameters.reference = None
        widget.parameters.reference = run(widget, folder).measured
        widget.ui.synthesizeButton.click()
        process = FakeProcess.made[-1]
        given = Path(process.option("--reference"))
        if isSuvr:
            assert not reference_units(given, None, relative=False).plausibility_only
        else:
            with pytest.raises(InputError, match="gives the unit 'relative', not SUVR"):
                reference_units(given, None, relative=False)
        process.end("cancelled", "x")
