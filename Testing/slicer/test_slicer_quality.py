"""The panel's choice of quality in place of sampler and steps, and its cut-offs of positivity."""

import json
import shutil

import pytest
from calibrated import write_tiny_conditional
from PySide6.QtTest import QTest
from slicer_cases import (
    AT_ONCE,
    FLOW,
    TOLD,
    add_patient,
    add_scan,
    arguments,
    done,
    finish,
    write_derived,
    write_results,
)
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main
from RelAPETLib.diffusion.names import QUALITIES
from RelAPETLib.models.bundle import rewrite_bundle
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY

MEASURED = {
    "people": 12,
    "samples": 8,
    "simulated": True,
    "cache_sha256": "0" * 64,
    "table": [{"steps": 2, "mean": 0.1, "spread": 0.1, "regional": 0.1, "error": 0.1}],
}
STEPS = {"fast": 1, "balanced": 2, "reference": 7}
QUALITY = {"sampler": "euler", **STEPS, "measured": MEASURED}
COMPOSITES = [name for name, tracer in TRACERS.items() if tracer.composite is not None]
ONE, OTHER = COMPOSITES
WITHOUT = next(name for name in TRACERS if name not in COMPOSITES)
DAMAGED = ("{", "[1]", "7", '{"fast": 1}', "fast,slow", "<b>", "=", "a=b=c", "\u00fc" * 5000)


@pytest.fixture(scope="module")
def meant(tmp_path_factory):
    """A model with random weights whose metadata say what the share of its draws means, and how few steps it needs."""
    folder = tmp_path_factory.mktemp("meant")
    plain = write_tiny_conditional(folder / "plain")
    metadata = json.loads((plain / "configs" / "metadata.json").read_text(encoding="utf-8"))
    own = {"positivity": {"meaning": "of a test", "cutoff": 1.25, "source": "people of a test"}}
    tracers = metadata["tracers"] | {ONE: metadata["tracers"][ONE] | own}
    changes = {"name": "meant", "tracers": tracers, "quality": QUALITY | {"sampler": "dpmpp"}}
    rewrite_bundle(plain, folder / "meant", changes, {})
    return folder / "meant"


@pytest.fixture
def chosen(widget, pair, meant, tmp_path):
    """That model in the user's folder, chosen, and two simulated MRI."""
    shutil.copytree(meant, tmp_path / "home" / "models" / "meant")
    widget.models.update()
    widget.parameters.model, widget.parameters.samples = "meant", 2
    for volume in pair:
        volume.SetAttribute("RelAPET.Sidecar", json.dumps({SIMULATION_KEY: SIMULATED}))
    return widget


def ask(widget, tracer):
    """Choose a tracer, or all."""
    kind = type(widget.parameters.tracer)
    widget.parameters.tracer = kind(tracer)


def choices(selector):
    return {selector.itemData(index): selector.itemText(index) for index in range(selector.count)}


def cutoffs(process):
    words = process.arguments
    return [words[index + 1] for index, word in enumerate(words) if word == "--cutoff"]


def field(widget, tracer):
    return widget.cutoffs.fields[tracer]


def synthesized(widget, capsys, *more):
    """Let the library do what a click asks for, and the panel take it over; the shown result."""
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    capsys.readouterr()
    assert main([*process.arguments, "--preprocessed", "--progress", "json", *more]) == 0, capsys.readouterr().out
    done(process, json.loads(capsys.readouterr().out.splitlines()[-1]))
    return widget.results.found


def told(widget):
    """What the panel says of the shown result."""
    return widget.ui.shownLabel.text


def reopen(slicer, harness, folder):
    slicer.util.saveScene(str(folder / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    harness.process_events()
    slicer.util.loadScene(str(folder / "scene.mrb"))
    harness.process_events()


# Quality


def test_the_demo_models_qualities_are_offered_with_their_steps(widget, scans):
    ui = widget.ui
    known = next(entry for entry in widget.models.entries if entry["name"] == "demo")["draw"]["quality"]
    assert choices(ui.qualitySelector) == {
        "": "the model's own", **{name: f"{name}: {known[name]} steps" for name in QUALITIES}
    }  # fmt: skip
    assert (
        ui.qualitySelector.enabled and "as few steps as this model was measured to need" in ui.qualitySelector.toolTip
    )
    assert f"fast: {known['fast']} steps; balanced" in ui.modelFactsLabel.text
    assert "--quality" not in arguments(widget).arguments


def test_it_replaces_sampler_and_steps(widget, scans):
    ui = widget.ui
    widget.parameters.sampler, widget.parameters.steps, widget.parameters.samples = "ddim", 5, 3
    ui.qualitySelector.currentIndex = ui.qualitySelector.findData("balanced")
    assert widget.parameters.quality == "balanced"
    assert not (ui.samplerSelector.enabled or ui.stepsSpinBox.enabled) and ui.samplesSpinBox.enabled
    assert "The quality above chooses" in ui.stepsSpinBox.toolTip
    process = arguments(widget)
    assert process.option("--quality") == "balanced" and process.option("--samples") == "3"
    assert not {"--sampler", "--steps"} & set(process.arguments)
    ui.qualitySelector.currentIndex = 0
    process = arguments(widget)
    assert (process.option("--sampler"), process.option("--steps")) == ("ddim", "5"), "they were not forgotten"
    assert "--quality" not in process.arguments and ui.stepsSpinBox.enabled
    assert ui.stepsSpinBox.toolTip == "Sampling steps."


def test_a_model_without_says_why(widget, scans, put):
    ui = widget.ui
    put("flow", FLOW)
    assert not ui.qualitySelector.enabled and choices(ui.qualitySelector) == {"": "the model's own"}
    assert "was not measured" in ui.qualitySelector.toolTip and ui.samplerSelector.enabled
    put("measured", FLOW, quality=QUALITY)
    assert ui.qualitySelector.enabled and ui.qualitySelector.itemText(1) == "fast: 1 step"
    ui.qualitySelector.currentIndex = 3
    assert arguments(widget).option("--quality") == "reference"
    widget.parameters.model = "flow"
    assert not ui.synthesizeButton.enabled and "model 'flow' has no quality 'reference'" in ui.synthesizeButton.toolTip
    assert ui.qualitySelector.enabled and ui.qualitySelector.currentText == "reference (not here)"
    ui.qualitySelector.currentIndex = 0
    assert ui.synthesizeButton.enabled and "--quality" not in arguments(widget).arguments
    assert not ui.qualitySelector.enabled and choices(ui.qualitySelector) == {"": "the model's own"}


def test_a_method_that_draws_at_once_is_not_told(widget, scans, put):
    widget.parameters.quality = "fast"
    put("once", AT_ONCE)
    assert not widget.ui.qualitySelector.enabled and "draws at once" in widget.ui.qualitySelector.toolTip
    assert "--quality" not in arguments(widget).arguments


def test_it_comes_back_with_the_scene(widget, slicer, harness, scans, put, tmp_path):
    put("flow", FLOW)
    widget.parameters.model, widget.parameters.quality, widget.parameters.steps = "demo", "fast", 9
    reopen(slicer, harness, tmp_path)
    ui = widget.ui
    assert ui.qualitySelector.currentText.startswith("fast: ") and not ui.stepsSpinBox.enabled
    assert arguments(widget).option("--quality") == "fast"
    widget.parameters.model = "flow"
    reopen(slicer, harness, tmp_path)
    made = len(FakeProcess.made)
    assert "model 'flow' has no quality 'fast'; choose its own under Settings" in ui.synthesizeButton.toolTip
    ui.synthesizeButton.click()
    assert len(FakeProcess.made) == made, "no call"


def test_damaged_qualities_and_cut_offs_of_a_scene(widget, scans):
    button = widget.ui.synthesizeButton

    def bring(name, text):
        widget.parameters.parameterNode.SetParameter(name, text)
        widget.initializeParameterNode()  # as after a scene was read

    for damaged in DAMAGED:
        bring("cutoffs", damaged)
        assert widget.parameters.cutoffs == damaged
        assert cutoffs(arguments(widget)) == [] and field(widget, ONE).value == 0
        bring("quality", damaged)
        assert "has no quality" in button.toolTip and "<b>" not in button.toolTip and len(button.toolTip) < 200
        widget.ui.qualitySelector.currentIndex = 0
        assert button.enabled and "--quality" not in arguments(widget).arguments


def test_the_record_of_a_run_names_it(widget, slicer, harness, scans, tmp_path):
    slicer.app.userSettings().remove("RelAPET/LastRuns")
    try:
        widget.parameters.quality = "fast"
        widget.ui.synthesizeButton.click()
        process = FakeProcess.made[-1]
        widget.parameters.quality = "balanced"  # what is chosen meanwhile is of the next run
        finish(process, write_results(tmp_path / "results"))
        pet = widget.results.found.pet
        assert load_part("expected").of(widget.request())["quality"] == "fast"
        assert "(1 tracer, quality fast), now 32 steps in place of 16" in widget.ui.expectedLabel.text
        widget.parameters.quality = "fast"
        assert "(1 tracer, quality fast); " in widget.ui.expectedLabel.text
        assert "Made with model toy 1 (quality fast)." in widget.ui.historyLabel.text
        record = json.loads(pet.GetAttribute("RelAPET.Provenance")) | {"sampling": {"steps": 16}}
        pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
        reopen(slicer, harness, tmp_path)
        assert "Made with model toy 1 (quality fast, 16 steps)." in widget.ui.historyLabel.text
        widget.parameters.quality = ""
        assert "now 20 steps in place of 16" in widget.ui.expectedLabel.text
        for damaged in ([], {}, 7, "ultra"):
            kept = {"demo on auto": {"seconds": 3, "memory": 1, "quality": damaged, "steps": damaged}}
            slicer.app.userSettings().setValue("RelAPET/LastRuns", json.dumps(kept))
            widget.updatePanel()
            assert (
                "Last time here: 3 s" in widget.ui.expectedLabel.text and "in place" not in widget.ui.expectedLabel.text
            )
    finally:
        slicer.app.userSettings().remove("RelAPET/LastRuns")


def test_a_damaged_record_of_it_is_not_told(widget, scans, tmp_path):
    widget.ui.synthesizeButton.click()
    finish(FakeProcess.made[-1], write_results(tmp_path / "results"))
    pet, made_with = widget.results.found.pet, load_part("history").madeWith
    for damaged in DAMAGED:
        pet.SetAttribute("RelAPET.Quality", damaged)
        pet.SetAttribute("RelAPET.Provenance", json.dumps({"sampling": {"steps": 3}}))
        assert made_with(pet) == "Made with model toy 1."
        pet.SetAttribute("RelAPET.Quality", "fast")
        for record in ({"sampling": damaged, "summary": damaged}, {"sampling": {"steps": damaged}}):
            pet.SetAttribute("RelAPET.Provenance", json.dumps(record))
            assert made_with(pet) == "Made with model toy 1 (quality fast)."
            widget.updatePanel()
            assert widget.ui.cutoffNoteLabel.isHidden()


def test_a_long_run_is_asked_about_and_stays_of_that_quality(widget, scans):
    widget.parameters.quality = "reference"
    widget.ui.synthesizeButton.click()
    FakeProcess.made[-1].end("refused", "too long; use --yes", problem="too long", acceptedBy="--yes")
    widget.ui.questionYesButton.click()
    process = FakeProcess.made[-1]
    assert process.option("--quality") == "reference" and "--yes" in process.arguments
    process.end("cancelled", "x")


def test_the_self_test_gives_both_back(widget, harness, monkeypatch, tmp_path):
    seen = []
    tutorial = load_part("tutorial").Tutorial
    person = tutorial._person

    def look(self):
        widget.parameters.quality, widget.parameters.cutoffs = "reference", f"{ONE}=9"
        monkeypatch.setattr(tutorial, "click", lambda self, button: seen.append(widget.parameters.quality))
        monkeypatch.setattr(tutorial, "waitForTasks", lambda self, words: seen.append(widget.parameters.cutoffs))
        person(self)

    monkeypatch.setattr(tutorial, "STEPS", (("person", "Step", ()),))
    monkeypatch.setattr(tutorial, "_person", look)
    monkeypatch.setattr(load_part("testreport"), "reportFolder", lambda: tmp_path / "reports")
    widget.parameters.quality, widget.parameters.cutoffs = "fast", f"{ONE}=1.5"
    widget.selfTest.run()
    assert seen == ["", ""], "the tutorial begins with the model's own"
    assert (widget.parameters.quality, widget.parameters.cutoffs) == ("fast", f"{ONE}=1.5")


# Cut-offs


def test_a_field_for_each_tracer_with_a_composite(widget, scans):
    ui = widget.ui
    assert list(widget.cutoffs.fields) == COMPOSITES
    for tracer in TRACERS:
        ask(widget, tracer)
        shown = [name for name in COMPOSITES if not field(widget, name).isHidden()]
        assert shown == ([tracer] if tracer in COMPOSITES else [])
        assert ui.cutoffsRow.isHidden() == (tracer not in COMPOSITES)
    ask(widget, "all")
    assert not any(field(widget, name).isHidden() for name in COMPOSITES)
    assert all(name in widget.cutoffs.labels[name].text for name in COMPOSITES)
    own = next(entry for entry in widget.models.entries if entry["name"] == "demo")["draw"]["positivity"]
    for name in COMPOSITES:
        told = f"the model's own: {own[name]:g} SUVR" if name in own else "no cut-off"
        assert field(widget, name).text == told
        assert ("does not say that the share" in field(widget, name).toolTip) == (name not in own)
        assert TRACERS[name].composite.name in field(widget, name).toolTip


def test_it_is_sent_for_the_tracers_that_are_asked_for(widget, scans):
    ask(widget, ONE)
    assert cutoffs(arguments(widget)) == []
    field(widget, ONE).value = 1.5
    assert cutoffs(arguments(widget)) == [f"{ONE}=1.5"]
    ask(widget, OTHER)
    assert cutoffs(arguments(widget)) == [], "of another tracer"
    field(widget, OTHER).value = 1.305
    ask(widget, WITHOUT)
    assert cutoffs(arguments(widget)) == []
    ask(widget, "all")
    assert sorted(cutoffs(arguments(widget))) == sorted([f"{ONE}=1.5", f"{OTHER}=1.305"])
    field(widget, ONE).value = 0
    assert cutoffs(arguments(widget)) == [f"{OTHER}=1.305"]


def test_a_model_with_fewer_tracers_or_relative_pet_is_not_told(widget, scans, put, tiny_metadata):
    widget.parameters.cutoffs = f"{ONE}=1.5,{OTHER}=1.25"
    ask(widget, "all")
    put("few", TOLD, tracers={name: tiny_metadata["tracers"][name] for name in (ONE, WITHOUT)})
    assert cutoffs(arguments(widget)) == [f"{ONE}=1.5"]
    changed = {"output": "relative", "window": [0, 1], "units": "relative", "reference_region": None}
    put("relative", TOLD, tracers={ONE: tiny_metadata["tracers"][ONE] | changed})
    ask(widget, ONE)
    assert widget.models.entry["output"] == "relative"
    assert widget.ui.cutoffsRow.isHidden() and cutoffs(arguments(widget)) == []


def test_typing_is_not_undone(widget, scans):
    """The panel looks again after each key; the text in the field stays as it was typed."""
    ask(widget, ONE)
    box = field(widget, ONE)
    box.selectAll()
    for number, key in enumerate("1.42", 1):
        QTest.keyClicks(box, key)
        assert box.cleanText == "1.42"[:number]
    assert box.value == 1.42 and widget.parameters.cutoffs == f"{ONE}=1.42"


def test_cut_offs_come_back_with_the_scene(widget, slicer, harness, scans, tmp_path):
    ask(widget, "all")
    field(widget, ONE).value, field(widget, OTHER).value = 1.5, 1.305
    reopen(slicer, harness, tmp_path)
    assert (field(widget, ONE).value, field(widget, OTHER).value) == (1.5, 1.305)
    slicer.mrmlScene.Clear(0)
    harness.process_events()
    ask(widget, "all")
    assert field(widget, ONE).value == 0


def test_what_cannot_be_a_cut_off_is_left_out(harness):
    parameters = load_part("parameters")
    for text, read in (
        ("", {}),
        (f"{ONE}=1.5", {ONE: 1.5}),
        (f" {ONE} = 1.5 , {OTHER}=2", {ONE: 1.5, OTHER: 2.0}),
        (f"{ONE}=,{OTHER}=1.2", {OTHER: 1.2}),
        *((f"{ONE}={value}", {}) for value in ("nan", "inf", "-1", "0", "1e9", "1e999", "0.0001", "x")),
        (f"{WITHOUT}=1.5,X=1", {}),
    ):
        assert parameters.cutoffsOf(text) == read, text
        assert parameters.cutoffsOf(parameters.cutoffsText(read)) == read


def test_the_result_names_the_users_cut_off(chosen, capsys):
    """The panel's own command line goes to the library, and the library's words come back."""
    ask(chosen, ONE)
    assert field(chosen, ONE).text == "the model's own: 1.25 SUVR"
    field(chosen, ONE).value = 0.5
    synthesized(chosen, capsys)
    said = told(chosen)
    assert "2 of 2 samples (100 %) reach the cut-off of 0.5 SUVR, given by the user" in said
    assert "guess of the probability of positivity" in said and chosen.ui.cutoffNoteLabel.isHidden()
    for other in (0.75, 0):
        field(chosen, ONE).value = other
        assert "is of another cut-off" in chosen.ui.cutoffNoteLabel.text and not chosen.ui.cutoffNoteLabel.isHidden()
    field(chosen, ONE).value = 0.5
    assert chosen.ui.cutoffNoteLabel.isHidden()


def test_where_none_may_be_told_the_words_stay(chosen, pair, capsys):
    """All tracers, of scans that nobody calls simulated; of one of them the model says nothing at all."""
    for volume in pair:
        volume.RemoveAttribute("RelAPET.Sidecar")
    ask(chosen, "all")
    field(chosen, ONE).value = field(chosen, OTHER).value = 0.5
    assert "for simulated scans alone" in field(chosen, ONE).toolTip
    assert "does not say that the share" in field(chosen, OTHER).toolTip
    synthesized(chosen, capsys)
    selector, said = chosen.ui.resultSelector, {}
    for index in range(selector.count):
        selector.currentIndex = index
        said[chosen.results.found.pet.GetAttribute("RelAPET.Tracer")] = told(chosen)
        assert chosen.ui.cutoffNoteLabel.isHidden()
    assert "No probability of positivity: the model knows simulated people only" in said[ONE]
    assert "No probability of positivity: model meant does not say" in said[OTHER]
    assert "positivity" not in said[WITHOUT] and set(said) == set(TRACERS)


def test_the_library_draws_at_the_chosen_quality(chosen, capsys):
    """As few steps as it says, of which its probability was not measured: that is said too."""
    chosen.parameters.quality = "balanced"
    ask(chosen, ONE)
    found = synthesized(chosen, capsys)
    record = json.loads(found.pet.GetAttribute("RelAPET.Provenance"))
    assert (record["sampling"]["sampler"], record["sampling"]["steps"]) == ("dpmpp", STEPS["balanced"])
    assert "(quality balanced, 2 steps)" in chosen.ui.historyLabel.text
    assert "another sampler or number of steps than the model's own" in told(chosen)


# Many patients, scripts


def test_many_patients_have_both(widget, harness, tmp_path):
    widget.batch.makeProcess = FakeProcess
    widget.ui.batchFolderEdit.text = str(tmp_path / "results")
    add_patient("Doe^John", ["20240102"])
    widget.parameters.quality, widget.parameters.steps = "fast", 9
    widget.parameters.cutoffs = f"{ONE}=1.5,{OTHER}=1.25"
    ask(widget, OTHER)
    widget.ui.findPairsButton.click()
    assert widget.ui.batchStartButton.enabled and not widget.ui.cutoffsRow.isHidden()
    widget.ui.batchStartButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments[0] == "bids" and process.option("--quality") == "fast"
    assert "--steps" not in process.arguments and cutoffs(process) == [f"{OTHER}=1.25"]
    assert not widget.ui.cutoffsRow.enabled
    process.end("cancelled", "x")
    harness.process_events()
    folder = widget.batch.folder()
    results = write_results(tmp_path / "made", tracer=OTHER)
    for options, said in (({"quality": "fast"}, "Made with model toy 1 (quality fast)."), ({"quality": [1]}, "toy 1.")):
        write_derived(folder.path, ("sub-001", "ses-1"), results, tracer=OTHER, options=options)
        widget.batch.show(0)
        assert said in widget.ui.historyLabel.text
    widget.parameters.quality = "ultra"
    assert "has no quality 'ultra'" in widget.ui.batchStartButton.toolTip and not widget.ui.batchStartButton.enabled


def test_scripts_give_them_too(harness):
    request = load_part("logic").Request(add_scan("T1w"), add_scan("F"), ONE, quality="fast", cutoffs={ONE: 1.5})
    words = request.arguments({"t1w": "a", "t2f": "b"}, "out")
    assert words[words.index("--quality") + 1] == "fast" and words[words.index("--cutoff") + 1] == f"{ONE}=1.5"
