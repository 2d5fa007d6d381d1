"""The panel for people who use a keyboard or a screen reader, and for translators."""

import ast
from pathlib import Path

import pytest
from slicer_module import MODULE

CONTROLS = (
    "QPushButton", "QComboBox", "QSpinBox", "QDoubleSpinBox", "QLineEdit", "QCheckBox", "QPlainTextEdit",
    "ctkSliderWidget", "ctkRangeWidget", "qMRMLNodeComboBox",
)  # fmt: skip


def controls(widget):
    import qt

    named = [child for child in widget.parent.findChildren(qt.QWidget) if child.objectName]
    return [child for child in named if type(child).__name__ in CONTROLS and not child.objectName.startswith("qt_")]


def test_every_control_says_what_it_is_for(widget):
    found = controls(widget)
    assert len(found) > 30
    assert [child.objectName for child in found if not child.toolTip] == []


def test_every_field_has_a_label_that_a_screen_reader_finds(widget):
    """A button says itself what it is; a field is named by the label whose buddy it is."""
    import qt

    named = {label.buddy().objectName for label in widget.parent.findChildren(qt.QLabel) if label.buddy() is not None}
    fields = [c.objectName for c in controls(widget) if type(c).__name__ not in ("QPushButton", "QCheckBox")]
    assert set(fields) - named == {"logText"}, "the log is the only one in its section"


def test_the_tab_key_goes_from_top_to_bottom(widget, harness):
    import qt

    widget.parent.resize(480, 1400)
    ui = widget.ui
    ui.tracerSelector.currentIndex = ui.tracerSelector.count - 1  # all, so that every field of a cut-off is there
    for section in (ui.regionsSection, ui.advancedSection, ui.logSection):
        section.collapsed = False
    harness.process_events()
    top, chain, each = widget.parent, [], widget.parent.nextInFocusChain()
    while each is not top:
        if each.visible and each.objectName and type(each).__name__ in CONTROLS:
            chain.append(each)
        each = each.nextInFocusChain()
    places = [(p.y(), p.x()) for p in (each.mapTo(top, qt.QPoint(0, 0)) for each in chain)]
    assert len(places) > 20 and places == sorted(places)
    assert set(widget.cutoffs.fields.values()) <= set(chain)


def test_no_two_keys_are_the_same(widget):
    keys = [child.shortcut.toString() for child in controls(widget) if type(child).__name__ == "QPushButton"]
    keys = [key for key in keys if key]
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.parametrize("file", sorted((MODULE / "RelAPETModule").glob("*.py")), ids=lambda file: file.stem)
def test_sentences_for_the_user_go_through_the_translator(file: Path):
    """Refusals and problems are literals inside `_()`, never bare ones or f-strings, which nobody can translate."""
    told = {"SceneError": 0, "Ending": 1, "say": 0, "tell": 0, "append": 0}
    bare = []
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", None))
        place = told.get(name)
        if place is None or len(call.args) <= place:
            continue
        argument = call.args[place]
        text = argument.value if isinstance(argument, ast.Constant) else argument
        if isinstance(argument, ast.JoinedStr) or (isinstance(text, str) and " " in text):
            bare.append(f"{file.name}:{call.lineno}")
    assert bare == []
