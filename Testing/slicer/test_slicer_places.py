"""Folders that a computer does not have, or that cannot be written to: the panel opens, and says so in one line."""

import pytest
from slicer_module import MODULE, load_part

NOBODY = "~no-such-user-of-relapet"


@pytest.fixture
def open_panel(harness, monkeypatch):
    """Opens the panel where an environment variable has a value."""
    monkeypatch.setattr(load_part("modelpanel").ModelPanel, "lookForDevices", lambda self: None)

    def make(name, value):
        monkeypatch.setenv(name, value)
        return harness.load_module(str(MODULE / "RelAPET.py"))

    return make


def test_a_models_folder_that_cannot_be(open_panel, tmp_path, monkeypatch):
    """An administrator's slip of the pen leaves nobody without a panel."""
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path))
    widget = open_panel("RELAPET_MODELS", NOBODY)
    assert widget.models.entry["name"] == "demo" and "no user of this name" in widget.ui.logText.toPlainText()
    widget.ui.modelManagerButton.click()
    assert widget.manager.ui.modelTable.rowCount > 0
    assert "no user of this name" in widget.manager.ui.managerStatusLabel.text


def test_a_home_that_is_not_known(open_panel, harness):
    widget = open_panel("RELAPET_HOME", f"{NOBODY}/relapet")
    assert widget.models.entry["name"] == "demo"
    widget.ui.modelFolderButton.click()
    assert "no folder of your models: RELAPET_HOME" in widget.ui.statusLabel.text and not harness.recorder.urls
    assert load_part("process").libraryCommand(["dicom"], load_part("install").exportFolder())[1] == "-m"
    said = []
    load_part("install").installForExport(None, print, said.append)
    assert len(said) == 1 and "no home folder is known" in said[0]


def test_a_home_that_cannot_be_made(open_panel, harness, tmp_path):
    (tmp_path / "file").touch()
    widget = open_panel("RELAPET_HOME", str(tmp_path / "file" / "relapet"))
    widget.ui.modelFolderButton.click()
    assert "no folder of your models" in widget.ui.statusLabel.text and "Errno" not in widget.ui.statusLabel.text
    assert not harness.recorder.urls


def test_the_self_tests_report_where_there_is_no_home(widget, harness, monkeypatch):
    def none():
        raise load_part("library").library("errors").ModelError("no home folder is known")

    monkeypatch.setattr(load_part("testreport"), "reportFolder", none)
    monkeypatch.setattr(load_part("tutorial").Tutorial, "STEPS", ())
    harness.popups.answer("confirmOkCancelDisplay", True)
    widget.ui.selfTestButton.click()
    assert "The report was not written: no home folder" in widget.ui.selfTestLabel.text
    assert widget.ui.selfTestButton.text == "Test RelAPET on this computer"


def test_no_room_for_pips_own_files(widget, harness, monkeypatch):
    """The panel comes free again."""
    install = load_part("install")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(install, "isMissing", lambda requirement, folder=None: "monai" in requirement)
    monkeypatch.setattr(install, "inUse", lambda names: [])  # another test of this process may have imported it
    widget.install.update()
    monkeypatch.setattr(install.tempfile, "mkdtemp", full)
    widget.ui.installButton.click()
    assert "no temporary folder could be made: No space left" in widget.ui.statusLabel.text
    assert widget.ui.installButton.enabled and not harness.recorder.pip
