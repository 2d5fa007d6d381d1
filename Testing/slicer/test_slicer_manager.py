"""The window of all models: what it lists, cards, installing by dialog and by drop, removing, the models folder."""

import json
import shutil

import pytest
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main
from RelAPETLib.models import import_model
from RelAPETLib.models.catalogue import home


@pytest.fixture
def manager(widget, slicer, monkeypatch):
    monkeypatch.delenv("RELAPET_MODELS", raising=False)
    slicer.app.userSettings().remove("RelAPET/LastRuns")  # of other tests
    widget.ui.modelManagerButton.click()
    return widget.manager


@pytest.fixture
def share(tmp_path, tiny_latent):
    """A models folder with one sound model and one whose weights were changed."""
    folder = tmp_path / "share"
    for name in ("clinic-model", "bad"):
        shutil.copytree(tiny_latent, folder / name)
    weights = folder / "bad" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    return folder


def cells(manager):
    """What the table says, by its first column's model: {model: {title of a column: text}}."""
    table = manager.ui.modelTable
    titles = [table.horizontalHeaderItem(c).text() for c in range(table.columnCount)]
    rows = [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]
    return {row[0]: dict(zip(titles, row, strict=True)) for row in rows}


def choose(manager, name):
    manager.ui.modelTable.selectRow([row["name"] for row in manager._rows].index(name))


def answer(capsys, process):
    """Run what the panel asked of its child process in this one, and let the process end as it did."""
    capsys.readouterr()
    code = main([*process.arguments, "--progress", "json"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    if code == 0:
        process.end("done", "done", result=line)
    else:
        process.end("refused", line["message"], problem=line.get("problem"))


def test_every_model_is_listed_with_what_one_chooses_by(manager, widget):
    demo = cells(manager)["RelAPET demo (trained on simulated people)"]
    assert demo["Tracers"] == "TAU, PIB, PBR" and demo["Resolution"].startswith("1 mm") and demo["Steps"] == "20"
    assert (demo["Licence"], demo["Trained on"]) == ("Apache-2.0", "simulated people only")
    assert demo["Last run here"] == "not run with this device"
    assert demo["Size"] == "18 MB" and demo["State"] == "comes with RelAPET"
    assert demo["Method"] == load_part("library").library("methods").method_class("rela").title
    published = next(row for title, row in cells(manager).items() if "authors' weights" in title)
    assert published["State"] == "not on this computer" and published["Trained on"] == "real people"
    ui = manager.ui
    choose(manager, "rela-diffusion")
    assert not ui.useButton.enabled and not ui.removeButton.enabled and ui.cardButton.enabled
    assert "NFL-LONG" in ui.cardText.toPlainText()


def test_the_last_run_here_is_told(manager, widget):
    request = load_part("logic").Request(None, None, "TAU", model="demo", device=widget.parameters.device)
    load_part("expected").remember(request, 42.0, 0, 1)
    try:
        manager.update()
        assert cells(manager)["RelAPET demo (trained on simulated people)"]["Last run here"] == "42 s"
    finally:
        import slicer

        slicer.app.userSettings().remove("RelAPET/LastRuns")


def test_the_card(manager, capsys):
    choose(manager, "demo")
    manager.ui.cardButton.click()
    process = FakeProcess.made[-1]
    assert process.arguments == ["models", "show", "demo", "--card"]
    assert not manager.ui.cardButton.enabled, "one thing at a time"
    answer(capsys, process)
    text = manager.ui.cardText.toPlainText()
    assert "Model card: Demo model" in text and "not stated" in text and manager.ui.cardButton.enabled


def drop(harness, manager, *paths):
    """What Qt does when files are let go over the window."""
    from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
    from PySide6.QtGui import QDragEnterEvent, QDropEvent
    from PySide6.QtWidgets import QApplication

    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    how = (Qt.CopyAction, data, Qt.LeftButton, Qt.NoModifier)
    enter, let_go = QDragEnterEvent(QPoint(9, 9), *how), QDropEvent(QPointF(9, 9), *how)
    enter.ignore()
    QApplication.sendEvent(manager._dialog, enter)
    if enter.isAccepted():
        QApplication.sendEvent(manager._dialog, let_go)
    harness.process_events()
    return enter.isAccepted()


def test_files_and_folders_that_are_dropped_are_verified_and_installed(
    manager, widget, harness, capsys, tiny_latent, share, tmp_path
):
    packed = shutil.make_archive(str(tmp_path / "packed ü"), "zip", tiny_latent)
    bad = share / "bad"
    before = len(FakeProcess.made)
    assert drop(harness, manager, bad, packed)
    answer(capsys, FakeProcess.made[-1])
    assert "corrupt or were changed" in manager.ui.managerStatusLabel.text
    harness.process_events(lambda: len(FakeProcess.made) == before + 2)
    assert FakeProcess.made[-1].arguments == ["models", "import", packed]
    answer(capsys, FakeProcess.made[-1])
    said = manager.ui.managerStatusLabel.text
    assert "Installed: tiny-latent" in said and "corrupt" in said and said.count("<br>") == 1
    assert sorted(path.name for path in (home() / "models").iterdir() if path.name[0] != ".") == ["tiny-latent"]
    assert any(row["State"] == "in your own folder" for row in cells(manager).values())
    assert not drop(harness, manager), "nothing that is a file"


def test_the_file_dialogs(manager, harness):
    harness.popups.answer("QFileDialog.getOpenFileName", "/stick/model.zip")
    manager.ui.installFileButton.click()
    assert FakeProcess.made[-1].arguments == ["models", "import", "/stick/model.zip"]
    FakeProcess.made[-1].end("refused", "no such file: /stick/model.zip")
    assert "no such file" in manager.ui.managerStatusLabel.text
    harness.popups.answer("QFileDialog.getExistingDirectory", "/stick/model")
    manager.ui.installFolderButton.click()
    assert FakeProcess.made[-1].arguments == ["models", "import", "/stick/model"]
    FakeProcess.made[-1].end("refused", "x")


def test_the_panels_own_buttons_change_the_list_too(manager, widget, tiny_latent, tmp_path):
    widget.models.importFile("mine.zip")
    shutil.copytree(tiny_latent, tmp_path / "home" / "models" / "mine")
    FakeProcess.made[-1].end("done", "done", result={"model": "mine"})
    assert "mine" in [row["name"] for row in manager._rows]


def test_removing_asks_and_spares_what_comes_along(manager, widget, harness, capsys, tiny_latent, share):
    choose(manager, "demo")
    assert not manager.ui.removeButton.enabled
    import_model(tiny_latent)
    manager._setFolder(str(share))
    choose(manager, "clinic-model")
    assert not manager.ui.removeButton.enabled and manager.ui.useButton.enabled
    choose(manager, "tiny-latent")
    started = len(FakeProcess.made)
    harness.popups.answer("confirmOkCancelDisplay", False, containing="tiny-latent")
    manager.ui.removeButton.click()
    assert len(FakeProcess.made) == started
    harness.popups.answer("confirmOkCancelDisplay", True)
    manager.ui.removeButton.click()
    answer(capsys, FakeProcess.made[-1])
    assert not (home() / "models" / "tiny-latent").exists() and "tiny-latent" not in [r["name"] for r in manager._rows]


def test_the_models_folder(manager, widget, harness, capsys, share, monkeypatch):
    ui = manager.ui
    harness.popups.answer("QFileDialog.getExistingDirectory", str(share))
    ui.folderButton.click()
    assert ui.folderEdit.text == str(share)
    assert widget.ui.modelSelector.findData("clinic-model") >= 0, "the panel offers it at once"
    ui.checkButton.click()
    answer(capsys, FakeProcess.made[-1])
    (bad,) = [row for row in manager._rows if row["name"] == "bad"]
    choose(manager, bad["name"])
    assert not ui.useButton.enabled and not ui.cardButton.enabled
    assert "Not loaded: " in ui.cardText.toPlainText() and "corrupt or were changed" in ui.cardText.toPlainText()
    choose(manager, "clinic-model")
    ui.useButton.click()
    assert widget.parameters.model == "clinic-model"
    harness.popups.answer("QFileDialog.getExistingDirectory", str(share / "clinic-model"))
    ui.folderButton.click()
    assert "is a model itself" in ui.managerStatusLabel.text and ui.folderEdit.text == str(share)
    ui.noFolderButton.click()
    assert ui.folderEdit.text == "" and not ui.noFolderButton.enabled
    monkeypatch.setenv("RELAPET_MODELS", str(share))
    manager.update()
    assert ui.folderEdit.text == str(share) and not ui.folderButton.enabled


def test_while_something_runs_nothing_else_begins(manager, widget, tmp_path):
    widget.tasks.start("Download", ["models", "fetch", "x"], lambda ending: None)
    manager.install([tmp_path / "a.zip"])
    assert "Wait until this is done: Download" in manager.ui.managerStatusLabel.text and not manager._waiting
    started = len(FakeProcess.made)
    manager._say("")
    choose(manager, "demo")
    manager.onCard()
    assert len(FakeProcess.made) == started and "Wait until this is done" in manager.ui.managerStatusLabel.text


def test_the_window_goes_with_the_module(manager, widget, harness):
    dialog = manager._dialog
    assert dialog.visible
    harness.unload_module(widget)
    assert manager._dialog is None


def test_every_control_of_the_window_says_what_it_is_for(manager):
    import qt

    found = [each for kind in (qt.QPushButton, qt.QLineEdit) for each in manager._dialog.findChildren(kind)]
    assert len(found) > 9 and [each.objectName for each in found if not each.toolTip] == []
