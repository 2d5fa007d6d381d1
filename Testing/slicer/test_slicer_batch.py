"""The panel's section on many patients; the child process is stood in for, over stand-in widgets."""

import csv
from pathlib import Path

import pytest
from slicer_cases import TOLD, add_patient, copied, nodes_of, run, write_derived, write_results
from slicer_module import FakeProcess, load_part

WELL = {"done": 1, "skipped": 0, "failed": 0, "failures": []}
DAY = "20240102"


@pytest.fixture
def desk(widget, tmp_path):
    """The panel with a folder for results; its children are `FakeProcess`."""
    widget.batch.makeProcess = FakeProcess
    widget.ui.batchFolderEdit.text = str(tmp_path / "results ü")
    return widget


def find(desk):
    desk.ui.findPairsButton.click()
    return desk.batch.rows


def tick(desk, number, on=True):
    import qt

    item = desk.ui.batchTable.item(number, 0)
    item.setCheckState(qt.Qt.Checked if on else qt.Qt.Unchecked)


def states(desk):
    return [row.state for row in desk.batch.rows]


def text(desk, number):
    return desk.ui.batchTable.item(number, 2).text()


def end(harness, kind="done", message="done", **result):
    FakeProcess.made[-1].end(kind, message, **({"result": WELL | result} if kind == "done" else result))
    harness.process_events()


def folder(desk):
    return Path(desk.batch.folder().path)


def test_the_sure_are_ticked_and_the_others_say_why(desk, harness):
    import qt

    add_patient("Doe^John", [DAY, "20250304"])
    add_patient("Roe^Jane", [DAY], contents=("T1w", "MPRAGE", "FLAIR"))
    add_patient("Poe^Edgar", [DAY], contents=("T1w",))
    assert not desk.ui.batchStartButton.enabled and "press Find pairs" in desk.ui.batchStartButton.toolTip
    find(desk)
    assert desk.batch.ticked() == [0, 1] and text(desk, 0) == "ready"
    assert text(desk, 2).startswith("2 T1w serve alike") and text(desk, 3) == "no T2-FLAIR"
    tick(desk, 2)
    assert desk.batch.ticked() == [0, 1, 2], "who has looked may tick a doubtful one"
    assert not desk.ui.batchTable.item(3, 0).flags() & qt.Qt.ItemIsUserCheckable
    for number in range(3):
        tick(desk, number, False)
    assert not desk.ui.batchStartButton.enabled and "tick somebody" in desk.ui.batchStartButton.toolTip


def test_one_after_another_and_a_failure_stops_nobody(desk, harness, slicer):
    for name in ("Doe^John", "Roe^Jane", "Poe^Edgar"):
        add_patient(name, [DAY])
    find(desk)
    before = nodes_of(slicer)
    desk.ui.batchStartButton.click()
    (process,) = FakeProcess.made
    table = Path(process.arguments[1])
    assert process.arguments[0] == "bids" and process.option("--tracer") == "TAU" and "--unlinked" in process.arguments
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert row == {"subject": "sub-001", "session": "ses-1", "t1w": "t1w.nrrd", "t2f": "t2f.nrrd"}
    assert {path.name for path in table.parent.iterdir()} == {"table.csv", "t1w.nrrd", "t2f.nrrd"}
    assert states(desk) == ["running", "waiting", "waiting"] and desk.ui.batchStopButton.enabled
    assert not desk.ui.synthesizeButton.enabled and "batch" in desk.ui.synthesizeButton.toolTip
    process.onProgress(0.5, "laying the T2F over the T1w", None)
    assert not desk.ui.batchLabel.isHidden() and not desk.ui.batchProgressBar.isHidden()
    assert "1 of 3, John Doe (id of Doe^John), 2024-01-02: laying the T2F" in desk.ui.batchLabel.text
    assert "to go" in desk.ui.batchLabel.text and 100 < desk.ui.batchProgressBar.value < 200
    end(harness)
    assert not table.parent.exists(), "a person's scans go when they are done"
    assert "sub-002" in Path(FakeProcess.made[1].arguments[1]).read_text()
    end(
        harness,
        done=0,
        failed=1,
        failures=[{"visit": "v", "tracer": "TAU", "reason": "T1w t1w.nrrd: no brain <b> in it"}],
    )
    end(harness, "crashed", "the program ended unexpectedly")
    assert states(desk) == ["done", "failed", "failed"] and len(FakeProcess.made) == 3
    assert text(desk, 0) == "done: sub-001/ses-1" and text(desk, 1) == "T1w 'T1w': no brain <b> in it"
    failures = desk.ui.batchFailuresLabel.text
    assert "Jane Roe" in failures and "no brain &lt;b> in it" in failures and "ended unexpectedly" in failures
    assert "1 made, 0 were there, 2 failed, 0 not done" in desk.ui.batchLabel.text
    assert desk.ui.findPairsButton.enabled and not desk.batch.running
    (new,) = set(nodes_of(slicer)) - set(before)
    table = slicer.mrmlScene.GetNodeByID(new)
    whose = [table.GetCellText(row, 2).split(" (")[0] for row in range(table.GetNumberOfRows())]
    assert whose == ["John Doe", "Jane Roe", "Edgar Poe"], "the scene knows who is who"
    patient, _ = add_patient("Zoe^Anna", [DAY])
    desk.batch.find(patient)
    desk.ui.batchStartButton.click()
    end(harness)
    assert table.GetNumberOfRows() == 4 and table.GetCellText(3, 0) == "sub-004/ses-1", "earlier ones stay in it"


def test_no_name_is_written_to_the_disk(desk, harness):
    _, made = add_patient("Doe^John", [DAY])
    made[DAY, "T1w"].SetName("Doe_John_T1w")
    find(desk)
    desk.ui.batchStartButton.click()
    table = Path(FakeProcess.made[0].arguments[1])
    written = [*table.parent.rglob("*"), *folder(desk).rglob("*")]
    assert len(written) >= 5
    for path in written:
        assert "Doe" not in str(path), path
        assert path.is_dir() or b"Doe" not in path.read_bytes(), path
    assert FakeProcess.made[0].names[str(table.parent / "t1w.nrrd")] == "Doe_John_T1w", "what is said has the name"
    end(harness)


def test_stop_keeps_who_is_done_and_begins_no_other(desk, harness):
    for name in ("Doe^John", "Roe^Jane", "Poe^Edgar"):
        add_patient(name, [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    end(harness)
    desk.ui.batchStopButton.click()
    assert FakeProcess.made[1].cancelled and "Stopping" in desk.ui.batchLabel.text
    assert not desk.ui.batchStopButton.enabled
    end(harness, "cancelled", "cancelled")
    assert states(desk) == ["done", "stopped", "stopped"] and len(FakeProcess.made) == 2
    assert "stopped: 1 made, 0 were there, 0 failed, 2 not done" in desk.ui.batchLabel.text
    desk.ui.batchStartButton.click()  # again: the library finds out what is missing
    end(harness, done=0, skipped=1)
    assert states(desk)[0] == "there" and text(desk, 0) == "was there already: sub-001/ses-1"
    desk.ui.batchStopButton.click()
    end(harness, "cancelled", "cancelled")


def test_what_is_wrong_with_all_is_said_once(desk, harness):
    """A refusal is about model, folder or options: a person's own trouble comes in the result."""
    add_patient("Doe^John", [DAY]), add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    end(harness, "refused", "results: holds results of model other 1; give each model a folder of its own")
    assert states(desk) == ["failed", "stopped"] and len(FakeProcess.made) == 1
    assert "holds results of model other 1" in desk.ui.batchLabel.text


def test_scans_that_went_or_changed_since_they_were_found(desk, harness, slicer):
    import vtk

    _, doe = add_patient("Doe^John", [DAY])
    _, roe = add_patient("Roe^Jane", [DAY])
    _, poe = add_patient("Poe^Edgar", [DAY])
    find(desk)
    slicer.mrmlScene.RemoveNode(doe[DAY, "FLAIR"])
    assert desk.batch.ticked() == [1, 2] and "not in the scene" in text(desk, 0)
    assert desk.batch.rows[0].pair.t1w is None, "a row keeps no deleted scan in memory"
    shear = vtk.vtkMatrix4x4()
    shear.SetElement(0, 1, 0.5)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(shear)
    roe[DAY, "T1w"].SetAndObserveTransformNodeID(transform.GetID())
    poe[DAY, "FLAIR"].SetAttribute("DICOM.PatientBirthDate", "19600101")
    poe[DAY, "T1w"].SetAttribute("DICOM.PatientBirthDate", "19500101")
    desk.ui.batchStartButton.click()
    harness.process_events(lambda: not desk.batch.running)
    assert FakeProcess.made == [] and states(desk) == ["", "failed", "failed"]
    for number, words in ((1, "sheared"), (2, "two people by their date of birth")):
        assert words in text(desk, number)


def test_scans_that_go_while_others_are_at_work(desk, harness, slicer):
    add_patient("Doe^John", [DAY])
    _, roe = add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    slicer.mrmlScene.RemoveNode(roe[DAY, "T1w"])
    end(harness)
    assert states(desk) == ["done", "failed"] and "not in the scene" in text(desk, 1) and len(FakeProcess.made) == 1


def test_scans_that_stand_under_two_people_are_not_done_twice(desk, harness, slicer):
    _, doe = add_patient("Doe^John", [DAY])
    _, roe = add_patient("Roe^Jane", [DAY])
    for content in ("T1w", "FLAIR"):
        slicer.util.updateVolumeFromArray(roe[DAY, content], slicer.util.arrayFromVolume(doe[DAY, content]).copy())
    find(desk)
    desk.ui.batchStartButton.click()
    end(harness)
    assert states(desk) == ["done", "failed"] and len(FakeProcess.made) == 1
    assert "same scans as those of John Doe" in text(desk, 1)


def test_numbers_stay_a_persons_in_every_scene(desk, harness):
    """The folder knows scans by their voxels: another run, in another scene and order, gives them the same number."""

    def run():
        find(desk)
        desk.ui.batchStartButton.click()
        while desk.batch.running:
            end(harness)
        return {row.pair.words.split(" (")[0] + row.pair.day: row.who for row in desk.batch.rows}

    add_patient("Doe^John", [DAY]), add_patient("Roe^Jane", [DAY])
    first = run()
    assert first == {"John Doe2024-01-02": ("sub-001", "ses-1"), "Jane Roe2024-01-02": ("sub-002", "ses-1")}
    harness.clear_scene()
    assert desk.batch.rows == [] and desk.ui.batchTable.rowCount == 0
    (folder(desk) / "sub-003").mkdir()  # of somebody else's run
    add_patient("Poe^Edgar", [DAY]), add_patient("Roe^Jane", [DAY, "20250304"])
    again = run()
    assert again["Jane Roe2024-01-02"] == ("sub-002", "ses-1") and again["Jane Roe2025-03-04"] == ("sub-002", "ses-2")
    assert again["Edgar Poe2024-01-02"] == ("sub-004", "ses-1")


def two_done(desk, harness, results):
    """Two people in the scene, whose results lie on the disk."""
    for name in ("Doe^John", "Roe^Jane"):
        add_patient(name, [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    for number in (1, 2):
        write_derived(folder(desk), (f"sub-{number:03d}", "ses-1"), results)
        end(harness)


def test_results_come_one_person_at_a_time(desk, harness, slicer, tmp_path):
    two_done(desk, harness, write_results(tmp_path / "results"))
    counts = []
    for number in (0, 1, 0, 1):
        desk.ui.batchTable.selectRow(number)
        desk.ui.batchShowButton.click()
        counts.append(len(nodes_of(slicer)))
        found, pair = desk.results.found, desk.batch.rows[number].pair
        assert found.mri is pair.t1w is desk.parameters.t1w and set(found.volumes) >= {"pet", "uncertainty"}
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        item = hierarchy.GetItemByDataNode
        assert hierarchy.GetItemParent(item(found.pet)) == hierarchy.GetItemParent(item(pair.t1w))
    assert "Synthetic: a model's guess" in desk.ui.statusLabel.text
    assert counts[1] == counts[2] == counts[3], "what was shown before has to go"
    pets = [
        n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetAttribute("RelAPET.Kind") == "pet"
    ]
    assert pets == [desk.results.found.pet]


def test_a_synthesis_over_a_shown_result_stays(desk, harness, slicer, tmp_path):
    """What the panel made itself is on no disk: the next person's results do not take it away."""
    results = write_results(tmp_path / "results")
    two_done(desk, harness, results)
    desk.batch.show(0)
    pet = desk.results.found.pet
    assert run(desk, results).pet is pet, "it takes the shown one's place"
    desk.batch.show(1)
    assert slicer.mrmlScene.IsNodePresent(pet) and desk.results.found.pet is not pet


def test_another_folder_that_was_typed_is_looked_into_first(desk, harness, tmp_path):
    add_patient("Doe^John", [DAY])
    find(desk)
    desk.ui.batchFolderEdit.text = str(tmp_path / "another")
    made = len(FakeProcess.made)
    desk.ui.batchStartButton.click()
    assert len(FakeProcess.made) == made and desk.batch.rows[0].words == "ready"
    desk.ui.batchStartButton.click()
    assert len(FakeProcess.made) == made + 1 and str(tmp_path / "another") in str(folder(desk))


def test_nothing_is_changed_under_a_running_batch(desk, harness):
    add_patient("Doe^John", [DAY])
    find(desk)
    desk.ui.modelManagerButton.click()
    assert desk.manager.ui.useButton.enabled
    desk.ui.batchStartButton.click()
    assert desk.busy and not desk.ui.inputsSection.enabled and not desk.ui.advancedSection.enabled
    desk.ui.selfTestButton.click()
    assert "Wait until what runs is done" in desk.ui.selfTestLabel.text and desk.batch.running
    assert not desk.manager.ui.useButton.enabled and not desk.manager.ui.checkButton.enabled
    end(harness)
    assert not desk.busy and desk.manager.ui.useButton.enabled and desk.ui.inputsSection.enabled


def test_a_scene_that_comes_in_changes_no_running_batch(desk, harness, slicer, put, tmp_path):
    """It may bring another model: what is said of those who are done is what the batch's own folder has."""
    put("other", TOLD)
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    desk.parameters.model = "demo"
    add_patient("Doe^John", [DAY]), add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    results, says, own = write_results(tmp_path / "results"), "Caution: the registration is doubtful.", folder(desk)
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    harness.process_events()
    assert desk.parameters.model == "other" and desk.batch.running
    write_derived(own, ("sub-001", "ses-1"), results, verdict={"level": "caution", "says": says})
    end(harness)
    assert text(desk, 0) == f"done: sub-001/ses-1; {says}" and FakeProcess.made[-1].option("--model") == "demo"
    end(harness)
    assert not desk.batch.running and folder(desk) != own, "the list is of the other model now"


def test_a_result_that_is_in_doubt_says_so_in_the_table(desk, harness, tmp_path):
    add_patient("Doe^John", [DAY]), add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    results, says = write_results(tmp_path / "results"), "Caution: the registration is doubtful."
    write_derived(folder(desk), ("sub-001", "ses-1"), results, verdict={"level": "caution", "says": says})
    end(harness)
    write_derived(folder(desk), ("sub-002", "ses-1"), results, verdict={"level": "ok", "says": "No check objected."})
    end(harness)
    assert text(desk, 0) == f"done: sub-001/ses-1; {says}" and text(desk, 1) == "done: sub-002/ses-1"
    assert says in find(desk)[0].words


def test_who_is_done_is_known_in_the_next_scene(desk, harness, slicer, tmp_path):
    add_patient("Doe^John", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    write_derived(folder(desk), ("sub-001", "ses-1"), write_results(tmp_path / "results"))
    end(harness)
    harness.clear_scene()
    _, made = add_patient("Doe^John", [DAY])
    (row,) = find(desk)
    assert row.words == "done before: sub-001/ses-1 (TAU)" and desk.batch.ticked() == [0]
    desk.ui.batchTable.cellDoubleClicked.emit(0, 1)
    assert desk.results.found.mri is made[DAY, "T1w"]
    desk.parameters.model = "rela-diffusion"
    assert desk.batch.rows[0].words == "ready", "each model has a folder of its own"


def test_a_moved_scan_or_a_damaged_result_changes_nothing(desk, harness, slicer, tmp_path):
    _, made = add_patient("Doe^John", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    write_derived(folder(desk), ("sub-001", "ses-1"), write_results(tmp_path / "results"))
    end(harness)
    made[DAY, "T1w"].SetOrigin(5, 0, 0)
    before = nodes_of(slicer)
    desk.batch.show(0)
    assert "moved" in desk.ui.statusLabel.text and nodes_of(slicer) == before
    made[DAY, "T1w"].SetOrigin(0, 0, 0)
    (pet,) = folder(desk).rglob("*desc-synthetic_pet.nii.gz")
    pet.write_bytes(pet.read_bytes()[:100])
    desk.batch.show(0)
    assert "could not be read" in desk.ui.statusLabel.text and nodes_of(slicer) == before


def test_a_row_without_a_result_is_chosen_above(desk, harness):
    _, made = add_patient("Doe^John", [DAY])
    _, roe = add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.batch.show(0)
    assert desk.parameters.t1w is made[DAY, "T1w"] and desk.parameters.t2f is made[DAY, "FLAIR"]
    assert "no result yet" in desk.ui.statusLabel.text


def test_closing_the_scene_or_the_module_ends_the_child(desk, harness):
    add_patient("Doe^John", [DAY]), add_patient("Roe^Jane", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    scratch = Path(FakeProcess.made[0].arguments[1]).parent
    harness.clear_scene()
    assert FakeProcess.made[0].cancelled and FakeProcess.made[0].waited and not scratch.exists()
    assert not desk.batch.running and len(FakeProcess.made) == 1
    add_patient("Doe^John", [DAY])
    find(desk)
    desk.ui.batchStartButton.click()
    harness.unload_module(desk)
    assert FakeProcess.made[1].cancelled and not desk.batch.running


def test_a_copy_of_a_shown_result_stays(desk, harness, slicer, tmp_path):
    """Somebody made it to keep it, with all references of the PET: the next person's results do not take it away."""
    two_done(desk, harness, write_results(tmp_path / "results"))
    desk.batch.show(0)
    found = desk.results.found
    copy = copied(found.pet)
    maps = [*found.volumes.values(), found.regions, found.metrics]
    desk.batch.show(1)
    assert slicer.mrmlScene.IsNodePresent(copy) and not slicer.mrmlScene.IsNodePresent(found.pet)
    assert all(map(slicer.mrmlScene.IsNodePresent, maps[1:])) and load_part("scene").Results(copy).regions is maps[-2]
    slicer.mrmlScene.RemoveNode(copy)
