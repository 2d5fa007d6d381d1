"""Several tracers of one person in the panel: one run, a result each in the scene, and which of them is shown."""

import json
import shutil

import nibabel
import numpy as np
import pytest
from cases import write_tiny_latent
from slicer_cases import add_scan, copied, done, finish_many, nodes_of, run, slice_marks, write_results
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main
from RelAPETLib.grid import image_to_array
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import read_volume


def choose_all(widget):
    widget.ui.tracerSelector.currentIndex = widget.ui.tracerSelector.count - 1
    assert widget.parameters.tracer.value == "all"


def written(folder, *tracers, seed=0):
    """Very small results of some tracers, each with values of its own."""
    made = {tracer: folder / f"{tracer}{seed}" for tracer in tracers}
    return {tracer: write_results(path, tracer=tracer, seed=seed + n) for n, (tracer, path) in enumerate(made.items())}


def run_all(widget, folders):
    """A click on Synthesize, and the results of several tracers; returns their PETs by tracer."""
    widget.ui.synthesizeButton.click()
    finish_many(FakeProcess.made[-1], folders)
    return pets(widget)


def pets(widget):
    """The PETs that the panel offers, by tracer."""
    import slicer

    selector = widget.ui.resultSelector
    nodes = [slicer.mrmlScene.GetNodeByID(selector.itemData(index)) for index in range(selector.count)]
    return {node.GetAttribute("RelAPET.Tracer"): node for node in nodes}


def values(node):
    import slicer

    return slicer.util.arrayFromVolume(node).copy()


# From the choice to the library and back


def test_all_tracers_of_a_model_with_two(widget, slicer, pair, tmp_path, capsys):
    """The panel's own command line goes to the library, and the library's own answer back to the panel."""
    write_tiny_latent(tmp_path / "home" / "models" / "two", tracers=("PBR", "TAU"))
    widget.models.update()
    widget.parameters.model = "two"
    assert "<b>Tracers:</b> <span>PBR, TAU</span>" in widget.ui.modelFactsLabel.text
    widget.ui.tracerSelector.currentIndex = 1
    assert "model 'two' has no PIB" in widget.ui.synthesizeButton.toolTip
    choose_all(widget)
    widget.parameters.samples = 2
    assert widget.ui.synthesizeButton.enabled, widget.ui.synthesizeButton.toolTip
    widget.ui.synthesizeButton.click()
    (process,) = FakeProcess.made
    assert process.option("--tracer") == "all" and process.arguments.count("synthesize") == 1
    assert main([*process.arguments, "--preprocessed", "--steps", "1", "--progress", "json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    expected = {
        content["tracer"]: image_to_array(read_volume(content["files"]["synthetic_pet.nii"]))
        for content in answer["syntheses"]
    }
    done(process, answer)
    found = pets(widget)
    assert list(found) == list(expected) == ["TAU", "PBR"]
    for tracer, pet in found.items():
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(pet).T, expected[tracer])
        results = load_part("scene").Results(pet)
        assert pet.GetName() == f"SYNTHETIC {tracer} PET (patient T1w)" and results.mri is pair[0]
        assert results.uncertainty.GetName() == f"SYNTHETIC {tracer} spread of samples (not the error) (patient T1w)"
        assert results.regions.GetName() == f"SYNTHETIC {tracer} regional means (patient T1w)"
        rows = 12 + (TRACERS[tracer].composite is not None)
        assert results.regions.GetNumberOfRows() == rows and results.metrics is None
        for node in (pet, results.uncertainty, results.regions):
            assert node.GetAttribute("RelAPET.Synthetic") == "1" and node.GetAttribute("RelAPET.Tracer") == tracer
            assert "research" in node.GetAttribute("RelAPET.Statement").lower()
        assert json.loads(pet.GetAttribute("RelAPET.Provenance"))["tracer"]["name"] == tracer
        assert pet.GetDisplayNode().GetWindowLevelMax() == {"TAU": 1.8, "PBR": 1.2}[tracer]
    assert widget.parameters.output is found["TAU"] and slice_marks(slicer) == {"SYNTHETIC TAU PET\nresearch only"}
    assert "Done: TAU, PBR. All are synthetic: a model's guesses." in widget.ui.statusLabel.text


def test_what_is_shown_is_switched(widget, slicer, scans, tmp_path):
    choose_all(widget)
    found = run_all(widget, written(tmp_path, "TAU", "PIB", "PBR"))
    selector, composites = widget.ui.resultSelector, slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert not selector.isHidden() and not widget.ui.resultLabel.isHidden() and selector.currentIndex == 0
    assert [selector.itemText(index) for index in range(3)] == [pet.GetName() for pet in found.values()]
    widget.ui.showUncertaintyButton.click()
    selector.currentIndex = 1
    results = widget.results.found
    assert widget.parameters.output is results.pet is found["PIB"] and widget.ui.showUncertaintyButton.checked
    assert {composite.GetForegroundVolumeID() for composite in composites} == {results.uncertainty.GetID()}
    assert slice_marks(slicer) == {"SYNTHETIC PIB: spread of samples\nnot the error\nresearch only"}
    assert "Spread of the PIB samples" in widget.ui.shownLabel.text
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode
    every = [node for pet in found.values() for node in load_part("scene").Results(pet).volumes.values()]
    assert [node.GetName() for node in every if legend(node).GetVisibility()] == [results.uncertainty.GetName()]
    widget.ui.showMriButton.click()
    selector.currentIndex = 2
    assert widget.ui.showMriButton.checked and slice_marks(slicer) == {""}
    widget.ui.showPetButton.click()
    assert slice_marks(slicer) == {"SYNTHETIC PBR PET\nresearch only"}
    slicer.mrmlScene.RemoveNode(load_part("scene").Results(found["TAU"]).uncertainty)
    widget.ui.showUncertaintyButton.click()
    selector.currentIndex = 0
    assert widget.ui.showPetButton.checked and slice_marks(slicer) == {"SYNTHETIC TAU PET\nresearch only"}


def test_choosing_an_output_by_hand_shows_it(widget, slicer, scans, tmp_path):
    choose_all(widget)
    found = run_all(widget, written(tmp_path, "TAU", "PIB"))
    widget.ui.outputSelector.setCurrentNode(found["PIB"])
    widget.ui.outputSelector.nodeActivated.emit(found["PIB"])
    assert slice_marks(slicer) == {"SYNTHETIC PIB PET\nresearch only"} and widget.ui.resultSelector.currentIndex == 1


def test_runs_of_single_tracers_are_offered_beside_one_another(widget, slicer, scans, tmp_path):
    first = run(widget, write_results(tmp_path / "first"))
    assert widget.ui.resultSelector.isHidden() and widget.ui.resultLabel.isHidden()
    before = values(first.pet)
    widget.ui.tracerSelector.currentIndex = 1
    second = run(widget, write_results(tmp_path / "second", tracer="PIB", seed=5))
    assert second.pet is not first.pet and second.pet.GetName() == "SYNTHETIC PIB PET (T1w)"
    np.testing.assert_array_equal(values(first.pet), before)
    assert pets(widget) == {"TAU": first.pet, "PIB": second.pet} and not widget.ui.resultSelector.isHidden()
    widget.parameters.t1w = add_scan("another T1w")
    other = run(widget, write_results(tmp_path / "third", tracer="PIB", seed=6))
    assert pets(widget) == {"PIB": other.pet} and widget.ui.resultSelector.isHidden()


# What a second run replaces


def test_a_second_run_of_all_replaces_each_by_its_own(widget, slicer, scans, tmp_path):
    choose_all(widget)
    found = run_all(widget, written(tmp_path, "TAU", "PIB", "PBR"))
    count = len(nodes_of(slicer))
    widget.ui.resultSelector.currentIndex = 1
    folders = written(tmp_path, "TAU", "PIB", "PBR", seed=7)
    assert run_all(widget, folders) == found and len(nodes_of(slicer)) == count
    for tracer, pet in found.items():
        expected = nibabel.load(folders[tracer] / "synthetic_pet.nii.gz").get_fdata(dtype=np.float32)
        np.testing.assert_array_equal(values(pet).T, expected)
    assert widget.parameters.output is found["TAU"]


def test_a_scene_that_was_loaded_twice_keeps_both_copies_apart(widget, slicer, harness, scans, tmp_path):
    """PETs of a run know one another by a word that both copies have, and each its own T1w."""
    choose_all(widget)
    first = run_all(widget, written(tmp_path, "TAU", "PIB"))
    before = {tracer: values(pet) for tracer, pet in first.items()}
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    harness.process_events()
    second = pets(widget)
    assert widget.ui.resultSelector.count == 2 and not set(second.values()) & set(first.values())
    again = run_all(widget, written(tmp_path, "TAU", "PIB", seed=7))
    assert again == second and len({pet.GetNodeReference("RelAPET.T1w") for pet in second.values()}) == 1
    for tracer, pet in first.items():
        np.testing.assert_array_equal(values(pet), before[tracer])


def test_one_tracer_after_all_replaces_that_one_alone(widget, slicer, scans, tmp_path):
    choose_all(widget)
    found = run_all(widget, written(tmp_path, "TAU", "PIB"))
    before = values(found["TAU"])
    widget.ui.tracerSelector.currentIndex = 1
    again = run(widget, write_results(tmp_path / "again", tracer="PIB", seed=9))
    assert again.pet is found["PIB"] and pets(widget) == found
    np.testing.assert_array_equal(values(found["TAU"]), before)


def test_a_copy_keeps_its_maps(widget, slicer, scans, tmp_path):
    found, Results = run(widget, write_results(tmp_path / "made")), load_part("scene").Results
    copy = copied(found.pet)
    assert Results(copy).difference is found.difference
    before = values(Results(copy).difference)
    again = run(widget, write_results(tmp_path / "again", seed=9), keep=lambda name: not name.startswith("uncertainty"))
    assert again.pet is found.pet and again.uncertainty is None
    kept = Results(copy)
    np.testing.assert_array_equal(values(kept.difference), before)
    assert kept.uncertainty is not None and kept.regions is not again.regions


def test_a_pet_of_another_space_is_not_replaced(widget, slicer, scans, tmp_path):
    """Its name tells its space."""
    shutil.copytree(write_results(tmp_path / "made"), tmp_path / "moved")
    for path in (tmp_path / "moved").glob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", "_space-MNI.nii.gz")))
    Space = load_part("parameters").Space
    found = {}
    for space in (Space.MNI, Space.T1W):
        widget.parameters.space = space
        found[space] = run(widget, tmp_path / ("moved" if space is Space.MNI else "made")).pet
    assert found[Space.MNI] is not found[Space.T1W]
    assert found[Space.MNI].GetName() == "SYNTHETIC TAU PET (T1w, MNI space)"
    assert found[Space.T1W].GetName() == "SYNTHETIC TAU PET (T1w)"
    widget.parameters.space, widget.parameters.output = Space.MNI, found[Space.MNI]
    assert run(widget, tmp_path / "moved").pet is found[Space.MNI]


def test_a_volume_of_the_users_own_takes_the_first_tracer(widget, slicer, scans, tmp_path):
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    choose_all(widget)
    widget.parameters.output = own
    found = run_all(widget, written(tmp_path, "TAU", "PIB"))
    assert found["TAU"] is own and found["PIB"].GetName() == "SYNTHETIC PIB PET (T1w)"


def test_a_loaded_volume_that_is_replaced_leaves_its_file_and_its_series(widget, slicer, harness, scans, tmp_path):
    """Saving the scene must not write the synthetic PET over the file, nor is the PET of that series or person."""
    own, people, file = add_scan("CT"), load_part("people"), tmp_path / "ct.nrrd"
    slicer.util.saveNode(own, str(file))
    before, hierarchy = file.read_bytes(), slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(own) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), own)
    hierarchy.SetItemUID(item, "DICOM", "1.2")
    hierarchy.SetItemUID(item, "DICOMInstanceUID", "1.2.3")
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    for name, value in (("DICOM.instanceUIDs", "1.2.3"), ("DICOM.PatientID", "7"), ("RelAPET.Sidecar", "{}")):
        own.SetAttribute(name, value)
    assert people.originOf(own).identifier == "7"
    widget.parameters.output = own
    assert run(widget, write_results(tmp_path / "results")).pet is own and own.GetName() == "SYNTHETIC CT"
    assert people.originOf(own) == people.Origin() and "Modality" not in people.tagsOf(own)
    assert own.GetAttribute("RelAPET.Sidecar") is None
    assert not any(hierarchy.GetItemUID(item, name) for name in ("DICOM", "DICOMInstanceUID"))
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", ["volume", "record", "missing"])
def test_one_damaged_result_leaves_all_as_it_was(widget, slicer, scans, tmp_path, damage):
    choose_all(widget)
    found = run_all(widget, written(tmp_path, "TAU", "PIB"))
    before, kept = nodes_of(slicer), {tracer: values(pet) for tracer, pet in found.items()}
    folders = written(tmp_path, "TAU", "PIB", seed=3)
    if damage == "volume":
        (folders["PIB"] / "synthetic_pet.nii.gz").write_bytes(b"no NIfTI")
    elif damage == "record":
        (folders["PIB"] / "synthetic_pet.json").write_text('{"tracer": {"name": "PIB"}}')
    else:
        (folders["PIB"] / "regions.tsv").unlink()
    run_all(widget, folders)
    assert "could not be taken over" in widget.ui.statusLabel.text and nodes_of(slicer) == before
    for tracer, pet in found.items():
        np.testing.assert_array_equal(values(pet), kept[tracer])


# A measured PET is of one tracer


def test_a_measured_pet_goes_with_one_tracer_only(widget, scans):
    widget.parameters.reference = add_scan("measured")
    assert widget.ui.synthesizeButton.enabled and widget.ui.inputsNoteLabel.isHidden()
    choose_all(widget)
    words = "the measured PET can be compared with its own tracer only; choose that tracer, or no measured PET"
    assert not widget.ui.synthesizeButton.enabled and words in widget.ui.synthesizeButton.toolTip
    assert not widget.ui.inputsNoteLabel.isHidden() and words[1:] in widget.ui.inputsNoteLabel.text
    with pytest.raises(load_part("logic").SynthesisError, match="its own tracer only"):
        widget.logic.start(widget.request(), load_part("logic").Listener())
    widget.parameters.reference = None
    assert widget.ui.synthesizeButton.enabled and widget.ui.inputsNoteLabel.isHidden()


def test_a_simulated_person_comes_without_a_measured_pet_when_all_are_asked_for(slicer, harness, grid_case, tmp_path):
    from shutil import copy

    for part, name, key in (("anat", "T1w", "t1w"), ("anat", "FLAIR", "t2f"), ("pet", "trc-AV1451_pet", "pet")):
        (tmp_path / "sub-1" / part).mkdir(parents=True, exist_ok=True)
        copy(grid_case[key], tmp_path / "sub-1" / part / f"sub-1_{name}.nii.gz")
    load = load_part("sampledata").loadPerson
    assert load(tmp_path, "all")[2] is None and load(tmp_path, "TAU")[2] is not None


# Scripts and scenes


def test_a_script_gets_results_by_tracer(harness, slicer, tmp_path):
    module = load_part("logic")
    FakeProcess.made.clear()

    class Process(FakeProcess):
        def start(self):
            finish_many(self, written(tmp_path, "TAU", "PIB"))

    logic = module.RelAPETLogic()
    logic.makeProcess = Process
    found = logic.synthesizeMany(add_scan("T1w"), add_scan("FLAIR"), ("TAU", "PIB"), show=True)
    assert FakeProcess.made[-1].option("--tracer") == "TAU,PIB" and list(found) == ["TAU", "PIB"]
    assert found["PIB"].pet.GetAttribute("RelAPET.Tracer") == "PIB" and found["PIB"].regions.GetNumberOfRows() == 2
    assert slice_marks(slicer) == {"SYNTHETIC TAU PET\nresearch only"}


def test_the_scene_keeps_all_tracers(widget, harness, slicer, scans, tmp_path):
    choose_all(widget)
    run_all(widget, written(tmp_path, "TAU", "PIB", "PBR"))
    widget.ui.resultSelector.currentIndex = 2
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    harness.clear_scene()
    assert widget.ui.resultSelector.isHidden() and widget.parameters.tracer.value == "TAU"
    slicer.util.loadScene(path)
    harness.process_events()
    assert widget.parameters.tracer.value == "all" and list(pets(widget)) == ["TAU", "PIB", "PBR"]
    assert widget.ui.resultSelector.currentIndex == 2 and slice_marks(slicer) == {"SYNTHETIC PBR PET\nresearch only"}
    widget.ui.resultSelector.currentIndex = 1
    assert slice_marks(slicer) == {"SYNTHETIC PIB PET\nresearch only"}
    again = pets(widget)
    run_all(widget, written(tmp_path, "TAU", "PIB", "PBR", seed=4))
    assert pets(widget) == again, "the run's PETs still know one another"


def test_a_scene_of_before_there_were_several(widget, harness, slicer, scans, tmp_path):
    """One tracer, by its member's name, and a result that knows of no run."""
    found = run(widget, write_results(tmp_path / "first", tracer="PIB"))
    found.pet.RemoveAttribute("RelAPET.Run")
    widget.parameters.parameterNode.SetParameter("tracer", "PIB")
    path = str(tmp_path / "old.mrb")
    assert slicer.util.saveScene(path)
    harness.clear_scene()
    slicer.util.loadScene(path)
    harness.process_events()
    assert widget.parameters.tracer.value == "PIB" and widget.ui.tracerSelector.currentText.startswith("PIB")
    assert widget.ui.resultSelector.isHidden() and slice_marks(slicer) == {"SYNTHETIC PIB PET\nresearch only"}
    old = widget.results.found.pet
    assert run(widget, write_results(tmp_path / "second", tracer="PIB", seed=3)).pet is old
