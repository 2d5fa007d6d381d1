"""The window of all models: what each is, how it does here, its card, and installing, removing, checking them."""

import qt
import slicer
from slicer.i18n import tr as _

from . import expected, models
from .library import library
from .words import ALARM, escaped, tone


class Drops(qt.QObject):
    """Hands over what files and folders are dropped onto a widget."""

    def __init__(self, onPaths):
        qt.QObject.__init__(self)
        self._onPaths = onPaths

    def eventFilter(self, watched, event):
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if not paths:
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            self._onPaths(paths)
        return True


class ManagerPanel:
    """A window of its own, made when it is first asked for; its work is done by the library, in a child process."""

    def __init__(self, panel):
        self._panel, self._dialog, self._drops, self.ui = panel, None, None, None
        self._rows, self._waiting, self._said, self._installing = [], [], [], False
        panel.ui.modelManagerButton.connect("clicked(bool)", self.open)

    def open(self, checked=False):
        if self._dialog is None:
            self._make()
        self.update()
        self._dialog.show()
        self._dialog.raise_()

    def cleanUp(self):
        """The module goes, and its window with it."""
        if self._dialog is not None:
            self._dialog.removeEventFilter(self._drops)
            self._dialog.close()
            self._dialog.deleteLater()
            self._dialog = self._drops = self.ui = None

    def _make(self):
        self._dialog = slicer.util.loadUI(self._panel.resourcePath("UI/ModelManager.ui"))
        main = slicer.util.mainWindow()
        if main is not None:
            self._dialog.setParent(main, self._dialog.windowFlags())
        self.ui = slicer.util.childWidgetVariables(self._dialog)
        self._drops = Drops(self.install)
        self._dialog.installEventFilter(self._drops)
        table, titles = self.ui.modelTable, [title for title, _cell in columns()]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.verticalHeader().visible = False
        table.horizontalHeader().stretchLastSection = True
        table.connect("itemSelectionChanged()", self.onChosen)
        for button, slot in (
            (self.ui.useButton, self.onUse),
            (self.ui.cardButton, self.onCard),
            (self.ui.installFileButton, self.onInstallFile),
            (self.ui.installFolderButton, self.onInstallFolder),
            (self.ui.removeButton, self.onRemove),
            (self.ui.checkButton, self.onCheck),
            (self.ui.folderButton, self.onFolder),
            (self.ui.noFolderButton, lambda checked=False: self._setFolder(None)),
            (self.ui.closeButton, lambda checked=False: self._dialog.close()),
        ):
            button.connect("clicked(bool)", slot)

    # The list

    def update(self, found=None):
        """Fill the list anew: with what `models.survey` gives, or with `found`, the like of it from a whole check."""
        if self._dialog is None:
            return
        known, refused, notes = found or models.survey()
        for note in notes:
            self._panel.log(note)
        chosen = self._chosen and self._chosen["name"]
        device = self._panel.parameters.device if self._panel.parameters is not None else "auto"
        self._rows = [*known, *({**each, "refused": True} for each in refused)]
        table, alarm = self.ui.modelTable, qt.QColor(tone(self.ui.modelTable, ALARM))
        table.blockSignals(True)
        table.clearContents()
        table.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            for place, (_title, cell) in enumerate(columns(device)):
                words = "" if row.get("refused") and place not in (0, len(columns()) - 1) else cell(row)
                item = qt.QTableWidgetItem(words)
                item.setToolTip(escaped(words))
                if row.get("problem"):
                    item.setForeground(qt.QBrush(alarm))
                table.setItem(number, place, item)
        table.resizeColumnsToContents()
        table.setColumnWidth(0, min(table.columnWidth(0), 260))
        table.blockSignals(False)
        names = [row["name"] for row in self._rows]
        table.selectRow(names.index(chosen) if chosen in names else 0)
        self.onChosen()
        self._showFolder()

    @property
    def _chosen(self):
        row = self.ui.modelTable.currentRow() if self.ui is not None else -1
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def enable(self):
        """Only what can be done can be pressed."""
        row = self._chosen
        if row is None:
            return
        ui, busy = self.ui, self._panel.busy
        usable = not row.get("refused") and row["installed"] and not row["problem"]
        ui.useButton.enabled = usable and not self._panel.batch.running and not self._panel.logic.running
        ui.cardButton.enabled = not row.get("refused") and not (row["installed"] and row["problem"]) and not busy
        ui.removeButton.enabled = row.get("place") == "user" and not busy
        ready = not busy and not self._panel.install.problems()
        ui.installFileButton.enabled = ui.installFolderButton.enabled = ui.checkButton.enabled = ready

    def onChosen(self):
        row, ui = self._chosen, self.ui
        if row is None:
            return
        self.enable()
        words = "" if row.get("refused") else models.facts(row)
        if row.get("problem"):
            why = escaped(_("Not loaded: {why}").format(why=row["problem"]))
            words = f"<b style='color:{tone(ui.cardText, ALARM)}'>{why}</b><br>{words}"
        where = f"<br><b>{_('Where')}:</b> {escaped(row['path'])}" if row.get("path") else ""
        ui.cardText.setHtml(words + where)

    def _say(self, words, alarm=False):
        """The window's own line; a refusal stays until the next piece of work."""
        label = self.ui.managerStatusLabel
        color = f" style='color:{tone(label, ALARM)}'" if alarm else ""
        label.text = f"<span{color}>{escaped(words)}</span>"

    def _start(self, title, arguments, onEnd):
        """Have the library do something; `onEnd` hears of an end while the window is still there."""

        def ended(ending):
            self._panel.models.update()
            if self._dialog is not None:
                onEnd(ending)

        using = self._panel.logic.running or self._panel.batch.running
        if using or not self._panel.tasks.start(title, arguments, ended):
            what = self._panel.tasks.title if self._panel.tasks.running else _("a synthesis")
            self._say(_("Wait until this is done: {task}").format(task=what), alarm=True)
            return False
        self._say(_("{task}...").format(task=title))
        self.onChosen()
        return True

    # One model

    def onUse(self, checked=False):
        row = self._chosen
        if row is not None and self._panel.parameters is not None:
            self._panel.models.choose(row["name"])
            self._say(_("Chosen: {name}").format(name=row["title"]))

    def onCard(self, checked=False):
        row = self._chosen

        def ended(ending):
            self.onChosen()
            if not ending.ok:
                self._say(ending.message, alarm=True)
                return
            self._say("")
            show = getattr(self.ui.cardText, "setMarkdown", self.ui.cardText.setPlainText)  # Qt 5.14 and later
            show(ending.result["card"])

        self._start(_("Reading the card"), ["models", "show", row["name"], "--card"], ended)

    def onRemove(self, checked=False):
        row = self._chosen
        question = _("Delete the model '{name}' from your folder? It can be had back only from its file.")
        if not slicer.util.confirmOkCancelDisplay(question.format(name=row["name"])):
            return

        def ended(ending):
            self.update()
            removed = _("Removed: {name}").format(name=row["name"])
            self._say(removed if ending.ok else ending.message, alarm=not ending.ok)

        self._start(_("Removal"), ["models", "remove", row["name"]], ended)

    # Installing

    def onInstallFile(self, checked=False):
        kinds = _("Models (*.zip *.pt *.pth)")
        file = qt.QFileDialog.getOpenFileName(self._dialog, _("Checkpoint or zipped model"), "", kinds)
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self.install([file])

    def onInstallFolder(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self._dialog, _("A model's folder"))
        if folder:
            self.install([folder])

    def install(self, paths):
        """Install files and folders, one after the other; each refusal is one line."""
        if self._panel.install.problems():
            self._say("; ".join(self._panel.install.problems()), alarm=True)
            return
        self._waiting += [str(path) for path in paths]
        if not self._installing:
            self._said = []
            self._installNext()

    def _installNext(self):
        path = self._waiting.pop(0)

        def ended(ending):
            self.update()
            name = str(ending.result.get("model", "")) if ending.ok else ""
            words = _("Installed: {name}").format(name=name) if ending.ok else ending.problem or ending.message
            self._said.append((words, ending.ok))
            self._say("\n".join(line for line, _ok in self._said), alarm=not all(ok for _line, ok in self._said))
            self._installing = bool(self._waiting)
            if self._installing:
                qt.QTimer.singleShot(0, self._continue)  # the task that has just ended is still being put away

        self._installing = self._start(_("Installing"), ["models", "import", path], ended)
        if not self._installing:
            self._waiting = []

    def _continue(self):
        if self._dialog is not None:
            self._installNext()

    # Checking, and the folder

    def onCheck(self, checked=False):
        """Read every model whole, in the child process, since it can take long."""

        def ended(ending):
            if not ending.ok:
                self._say(ending.message, alarm=True)
                return
            known, refused = ending.result["models"], ending.result["refused"]
            self.update((known, refused, []))
            bad = [row["name"] for row in (*known, *refused) if row["problem"]]
            whole = _("All are whole.")
            self._say(_("Not loaded: {names}").format(names=", ".join(bad)) if bad else whole, alarm=bool(bad))

        self._start(_("Checking all models"), ["models", "list", "--check"], ended)

    def _showFolder(self):
        places, ui = library("models.places"), self.ui
        forced = places.is_set_by_environment()
        try:
            folder = places.models_folder()
        except library("errors").RelAPETError as error:  # a variable names no folder
            folder = None
            self._say(str(error), alarm=True)
        ui.folderEdit.text = str(folder) if folder is not None else ""
        ui.folderButton.enabled = not forced
        ui.noFolderButton.enabled = folder is not None and not forced
        if forced:
            ui.folderButton.toolTip = _("The environment variable RELAPET_MODELS names the folder.")

    def onFolder(self, checked=False):
        folder = qt.QFileDialog.getExistingDirectory(self._dialog, _("Folder of models that is only read"))
        if folder:
            self._setFolder(folder)

    def _setFolder(self, folder):
        try:
            library("models.places").set_models_folder(folder)
        except library("errors").RelAPETError as error:
            self._say(str(error), alarm=True)
            return
        self._panel.models.update()
        self.update()
        self._say("" if folder is None else _("Models of this folder are used now, too."))


def columns(device="auto"):
    """(title, function that gives a model's words) of each column; `device` is where it would run."""
    return [
        (_("Model"), models.titleOf),
        (_("Method"), lambda row: str(row.get("method_title") or row["method"])),
        (_("Tracers"), lambda row: ", ".join(row["tracers"])),
        (_("Resolution"), models.resolution),
        (_("Steps"), lambda row: str(row["steps"])),
        (_("Last run here"), lambda row: expected.lastTime(row["name"], device)),
        (_("Licence"), lambda row: row["licence"]),
        (_("Trained on"), lambda row: _("simulated people only") if row["simulated"] else _("real people")),
        (_("Size"), lambda row: _("{n:.0f} MB").format(n=row["bytes"] / 1e6) if row.get("bytes") else ""),
        (_("State"), models.state),
    ]
