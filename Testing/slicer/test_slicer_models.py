"""What the panel asks for after the chosen model: age, sex and score, the T2-FLAIR or none, its samplers, its facts."""

import json

import pytest
from slicer_cases import AT_ONCE, FLOW, TOLD, add_scan, arguments, done
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main
from RelAPETLib.models import load_model, write_bundle


@pytest.fixture
def scans(widget):
    widget.parameters.t1w, widget.parameters.t2f = add_scan("A_T1w"), add_scan("A_FLAIR")
    return widget.parameters.t1w, widget.parameters.t2f


def test_the_model_that_the_user_chose_is_chosen_in_the_next_scene(widget, slicer, harness, put, tmp_path):
    """The next patient's PET would be the demo model's else; a scene that says which model keeps its own."""
    selector = widget.ui.modelSelector
    slicer.util.saveScene(str(tmp_path / "of_the_demo.mrb"))
    put("ours", TOLD)
    assert widget.parameters.model == "ours"
    widget.parameters.model = "demo"
    harness.clear_scene()
    assert widget.parameters.model == "demo", "nobody has chosen another one by hand"
    selector.currentIndex = selector.findData("ours")
    harness.clear_scene()
    assert widget.parameters.model == selector.itemData(selector.currentIndex) == "ours"
    widget.exit()
    widget.parent.isEntered = False
    harness.clear_scene()
    widget.parent.isEntered = True
    widget.enter()
    assert widget.parameters.model == "ours"
    slicer.util.loadScene(str(tmp_path / "of_the_demo.mrb"))
    harness.process_events()
    assert widget.parameters.model == "demo"
    slicer.app.userSettings().setValue("RelAPET/Model", "one that was removed")
    harness.clear_scene()
    assert widget.parameters.model == "demo"


# Age, sex, score


def test_fields_are_there_for_models_that_are_told_them(widget, scans, put):
    ui = widget.ui
    assert not ui.clinicalRow.visible
    put("told", TOLD)
    assert ui.clinicalRow.visible and ui.sexSelector.currentText == "not known"
    assert arguments(widget).option("--age") is None, "nothing is known"
    ui.ageEdit.text, ui.scoreEdit.text, ui.sexSelector.currentIndex = "71.5", "-0.3", 1
    process = arguments(widget)
    assert [process.option(f"--{name}") for name in ("age", "sex", "score")] == ["71.5", "F", "-0.3"]
    ui.ageEdit.text, ui.scoreEdit.text = "71,5", "-0,3"
    process = arguments(widget)
    assert [process.option(f"--{name}") for name in ("age", "score")] == ["71.5", "-0.3"], "a decimal comma"
    widget.parameters.model = "demo"
    assert not ui.clinicalRow.visible and arguments(widget).option("--age") is None, "this model uses none"


@pytest.mark.parametrize(("field", "text", "why"), [("ageEdit", "300", "age 300 is out of range; use 0 to 120"),
                                                    ("scoreEdit", "x", "score 'x' is no number"),
                                                    ("scoreEdit", "nan", "score 'nan' is no number")])  # fmt: skip
def test_values_that_cannot_be_are_missing(widget, scans, put, field, text, why):
    put("told", TOLD)
    getattr(widget.ui, field).text = text
    assert not widget.ui.synthesizeButton.enabled and why in widget.ui.synthesizeButton.toolTip
    getattr(widget.ui, field).text = ""
    assert widget.ui.synthesizeButton.enabled


def test_another_person_does_not_get_them(widget, scans, put):
    put("told", TOLD)
    widget.ui.ageEdit.text, widget.ui.sexSelector.currentIndex = "71", 2
    widget.parameters.t2f = add_scan("another FLAIR")
    assert widget.ui.ageEdit.text == "71", "the same T1w"
    widget.parameters.t1w = add_scan("B_T1w")
    assert widget.ui.ageEdit.text == "" and widget.ui.sexSelector.currentIndex == 0
    widget.ui.ageEdit.text = "5"
    widget.parameters.t1w = None
    assert widget.ui.ageEdit.text == "" and not widget.ui.clinicalRow.enabled
    widget.parameters.t1w = scans[0]
    assert widget.ui.ageEdit.text == ""


def test_they_come_back_with_the_scene(widget, slicer, harness, scans, put, tmp_path):
    put("told", TOLD)
    widget.ui.ageEdit.text, widget.ui.sexSelector.currentIndex = "71", 1
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    harness.process_events()
    assert widget.ui.ageEdit.text == ""
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    harness.process_events()
    assert widget.parameters.t1w.GetName() == "A_T1w"
    assert (widget.ui.ageEdit.text, widget.parameters.sex.value) == ("71", "F")


def test_the_dicom_header_fills_them_and_says_so(widget, put):
    put("told", TOLD)
    volume = add_scan("T1w of a scanner")
    volume.SetAttribute("DICOM.PatientAge", "068Y")
    volume.SetAttribute("DICOM.PatientSex", "M")
    widget.parameters.t1w = volume
    assert (widget.ui.ageEdit.text, widget.parameters.sex.value) == ("68", "M")
    assert "DICOM header's: check them" in widget.ui.clinicalLabel.text
    widget.ui.ageEdit.text = "69"
    assert "DICOM" not in widget.ui.clinicalLabel.text and widget.parameters.sex.value == "M"


def test_the_log_does_not_have_them(widget):
    words = load_part("process").shown(["/a/python", "synthesize", "--age", "71.5", "--sex", "F", "--seed", "3"])
    assert words == ["python", "synthesize", "--age", "...", "--sex", "...", "--seed", "3"]


def test_scripts_give_them_too(widget, slicer, scans):
    logic = load_part("logic").RelAPETLogic()
    with pytest.raises(load_part("logic").SynthesisError, match="age 300 is out of range"):
        logic.synthesize(*scans, "TAU", age=300)
    request = load_part("logic").Request(*scans, "TAU", age=71, sex="F")
    words = request.arguments({"t1w": "a", "t2f": "b"}, "out")
    assert words[words.index("--age") + 1] == "71" and words[words.index("--sex") + 1] == "F"


# The T1w alone


def test_t1w_alone_where_the_model_can(widget, put):
    ui = widget.ui
    widget.parameters.t1w = add_scan("A_T1w")
    assert "choose a T2-FLAIR volume" in ui.synthesizeButton.toolTip
    put("without", TOLD, optional_inputs=["t2f"])
    assert ui.synthesizeButton.enabled and "from the T1w alone" in ui.inputsNoteLabel.text
    assert "T1w alone will do" in ui.modelLabel.text
    process = arguments(widget)
    assert process.option("--t1w") and "--t2f" not in process.arguments
    put("with", TOLD)
    assert "choose a T2-FLAIR volume" in ui.synthesizeButton.toolTip and not ui.synthesizeButton.enabled


def test_none_can_be_chosen_where_there_is_a_flair(widget, harness, scans, put):
    """The user's own choice of none, which no guess undoes."""
    put("without", TOLD, optional_inputs=["t2f"])
    selector = widget.ui.t2fSelector
    selector.setCurrentNode(None)
    selector.nodeActivated.emit(None)
    harness.process_events()
    assert widget.parameters.t2f is None and widget.ui.synthesizeButton.enabled
    assert "--t2f" not in arguments(widget).arguments


def test_the_library_draws_from_what_the_panel_hands_over(widget, pair, tmp_path, tiny_metadata, capsys):
    """The panel's command line, with a model of real weights that is told age and sex and does without the FLAIR."""
    from RelAPETLib.methods.resdm import ResDM

    facts = {key: value for key, value in tiny_metadata.items() if key != "weights"}
    facts |= {"name": "told", "method": TOLD, "optional_inputs": ["t2f"]}
    write_bundle(tmp_path / "home" / "models" / "told", ResDM.build(TOLD["settings"]).network, facts)
    assert load_model("told").optional_inputs == ("t2f",)
    widget.models.update()
    widget.parameters.model, widget.parameters.t2f = "told", None
    widget.ui.ageEdit.text, widget.parameters.steps, widget.parameters.device = "71", 1, "cpu"
    widget.ui.synthesizeButton.click()
    (process,) = FakeProcess.made
    assert main([*process.arguments, "--preprocessed", "--progress", "json"]) == 0, capsys.readouterr().out
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    done(process, {"folder": process.option("--out"), "files": answer["files"]})
    record = json.loads(widget.results.found.pet.GetAttribute("RelAPET.Provenance"))
    assert record["inputs"]["t2f"] is None and "71" not in json.dumps(record.get("clinical", ""))


# Samplers and facts


def choices(selector):
    return [selector.itemData(index) for index in range(selector.count)]


def test_samplers_are_the_models_own(widget, scans, put):
    ui = widget.ui
    assert choices(ui.samplerSelector) == ["", "dpmpp", "unipc", "ddim", "ddpm"]
    assert ui.samplerSelector.itemText(0) == "the model's own: dpmpp"
    put("flow", FLOW)
    assert choices(ui.samplerSelector) == ["", "euler", "heun"]
    ui.samplerSelector.currentIndex = 2
    assert arguments(widget).option("--sampler") == "heun"
    widget.parameters.model = "demo"
    assert "model 'demo' has no sampler heun" in ui.synthesizeButton.toolTip
    assert ui.samplerSelector.currentText == "heun (not here)"
    ui.samplerSelector.currentIndex = 0
    assert arguments(widget).option("--sampler") is None
    widget.parameters.model, widget.parameters.steps = "flow", 1000
    assert ui.synthesizeButton.enabled
    put("told", TOLD)
    assert "takes at most 15 steps" in ui.synthesizeButton.toolTip


def test_every_sampler_has_words(widget):
    names, models = load_part("library").library("diffusion.names"), load_part("models")
    for name in names.EVERY_SAMPLER:
        assert models.samplerTitle(name) != name, name
    assert models.samplerTitle("one of tomorrow") == "one of tomorrow"


@pytest.mark.parametrize(("kept", "now"), [("MODEL", None), ("DDPM", "ddpm"), ("", None)])
def test_samplers_of_earlier_scenes(widget, scans, kept, now):
    """They hold the name of a member of an enumeration."""
    widget.parameters.sampler = kept
    assert arguments(widget).option("--sampler") == now


def test_a_method_that_draws_at_once(widget, scans, put):
    ui = widget.ui
    widget.parameters.steps = widget.parameters.samples = 5
    widget.parameters.sampler = "ddim"
    put("once", AT_ONCE)
    assert "1 network call a sample" in ui.modelLabel.text and "one sample, no spread" in ui.modelLabel.text
    assert not (ui.samplerSelector.enabled or ui.stepsSpinBox.enabled or ui.samplesSpinBox.enabled)
    process = arguments(widget)
    assert not {"--sampler", "--steps", "--samples"} & set(process.arguments)
    widget.parameters.model = "demo"
    assert ui.stepsSpinBox.enabled and "4 samples" in ui.modelLabel.text


def test_a_model_that_is_imported_while_the_scene_is_closed(widget, harness):
    widget.models.importFile("theirs.pt")
    widget.setParameterNode(None)  # as Slicer closes the scene while another module is open
    FakeProcess.made[-1].end("done", "done", result={"model": "theirs"})
    assert widget.parameters is None and not widget.tasks.running
    widget.initializeParameterNode()
    assert widget.parameters.model == "demo"


def test_the_models_facts_are_folded_behind_one_line(widget, scans):
    ui = widget.ui
    assert not ui.modelFacts.visible
    assert "rained on simulated people only; licence Apache-2.0; 20 network calls a sample" in ui.modelLabel.text
    ui.modelLabel.linkActivated.emit("facts")
    assert ui.modelFacts.visible and "says nothing about a real person" in ui.modelFactsLabel.text
    ui.modelLabel.linkActivated.emit("facts")
    assert not ui.modelFacts.visible
    widget.parameters.model = "rela-diffusion"
    assert ui.modelFacts.visible and ui.modelInstallButton.enabled, "what can be done about it is to be seen"


def test_a_home_that_cannot_be_leaves_the_shipped_models_and_is_told(widget, monkeypatch):
    models = load_part("models")
    monkeypatch.setenv("RELAPET_HOME", "~nobody-of-this-name/x")
    entries, notes = models.listModels()
    assert [entry["name"] for entry in entries if entry["installed"]] == ["demo"]
    assert len(notes) == 1 and notes[0].startswith("RELAPET_HOME: ~nobody-of-this-name/x: there is no user")
    known, refused, told = models.survey()
    assert [row["name"] for row in known] == [entry["name"] for entry in entries] and not refused and told == notes
