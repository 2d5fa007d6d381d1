"""The panel's cut-offs of positivity: a field for each tracer with a composite."""

from PySide6.QtTest import QTest
from slicer_cases import TOLD, arguments, reopened
from slicer_drawing import COMPOSITES, ONE, OTHER, WITHOUT, ask, cutoffs, field, synthesized, told
from slicer_module import load_part

from RelAPETLib.tracers import TRACERS


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
        told = f"the model's own: {own[name]:g} SUVR" if name in own else "none"
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
    reopened(slicer, harness, tmp_path)
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
