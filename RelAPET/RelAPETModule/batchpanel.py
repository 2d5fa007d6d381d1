"""The section on many patients: whose pairs there are, which are ticked, and what becomes of each."""

import os
from dataclasses import dataclass, replace

import qt
import slicer
from slicer.i18n import tr as _

from . import batch, batchresults, expected, models, tables
from .attributes import objectOf
from .batchfolder import BatchFolder, folderOf, keyOf
from .guessing import T2F
from .pairs import findPairs
from .parameters import Shown, registrationOf
from .process import ChildProcess
from .scene import SceneError
from .words import ALARM, escaped, tone

_SETTING = "RelAPET/BatchFolder"
PERSON, STUDY, STATE, T1W_NAME, T2F_NAME = range(5)
#: Their widths at most, so that a narrow panel shows why somebody is not ticked.
WIDTHS = {PERSON: 120, STUDY: 80, STATE: 190, T1W_NAME: 150, T2F_NAME: 150}
#: Where the scene keeps which number is whose.
TABLE = "RelAPET: which number is whose"
TABLE_COLUMNS = ("Number", "Folder", "Patient", "Study", "T1w")


@dataclass
class Row:
    """A pair in the table: state as `batch` has it, or "" before; words of it; who: (subject, session) or None."""

    pair: object
    state: str = ""
    words: str = ""
    who: tuple = None


class BatchPanel(batch.BatchListener):
    """Finds pairs, runs the ticked ones, and brings one person's results into the scene when asked to."""

    def __init__(self, panel, makeProcess=ChildProcess):
        self._panel, self.makeProcess = panel, makeProcess
        self.rows, self._batch = [], None
        self._last, self._filling = "", False
        self._below = self._foundFor = None
        ui = panel.ui
        ui.batchFolderEdit.text = slicer.app.userSettings().value(_SETTING) or _defaultFolder()
        ui.batchTable.setHorizontalHeaderLabels([_("Patient"), _("Study"), _("State"), _("T1w"), _("T2-FLAIR")])
        ui.batchTable.horizontalHeader().setStretchLastSection(True)
        ui.batchTable.verticalHeader().hide()
        ui.batchProgressBar.visible = False
        for button, slot in (
            (ui.findPairsButton, self.onFind),
            (ui.batchStartButton, self.onStart),
            (ui.batchStopButton, self.onStop),
            (ui.batchShowButton, self.onShow),
            (ui.batchFolderButton, self.onFolder),
        ):
            button.connect("clicked(bool)", slot)
        ui.batchFolderEdit.connect("editingFinished()", self.update)
        ui.batchTable.connect("cellDoubleClicked(int,int)", self.onDoubleClick)
        ui.batchTable.connect("itemSelectionChanged()", self.update)
        ui.batchTable.connect("itemChanged(QTableWidgetItem*)", self.onTicked)

    @property
    def running(self):
        return self._batch is not None

    def forget(self):
        """The scene is closed: nothing of its people stays in the panel."""
        self.stopNow()
        self._last = ""
        self._fill([])

    def stopNow(self):
        if self._batch is not None:
            self._batch.stopNow()

    # Finding

    def onFind(self, checked=False):
        self.find()

    def find(self, below=0):
        """List the pairs of the scene, or of what lies below an item of the subject hierarchy."""
        node = self._panel.parameters
        if self.running or node is None:
            return
        found = findPairs(slicer.mrmlScene, not models.doesWithout(node.model, T2F), below)
        rows = [Row(pair, words=pair.problem or pair.doubt or _("ready")) for pair in found]
        self._below, self._foundFor = below, self._place()
        self._recall(rows)
        self._last = "" if rows else _("No T1w and T2-FLAIR in the scene; load studies first.")
        self._fill(rows)
        self._panel.updatePanel()

    def _recall(self, rows):
        """What an earlier run, in whatever scene, has done of the same scans."""
        folder = self.folder()
        known = folder.known()
        for row in rows if known else ():
            row.who = None if row.pair.problem else known.get(keyOf(row.pair))
            tracers = folder.records(row.who) if row.who else None
            if tracers:
                row.state = batch.THERE
                words = _("done before: {who} ({tracers})").format(who="/".join(row.who), tracers=", ".join(tracers))
                row.words = "; ".join(filter(None, (row.pair.doubt, words, *_cautions(tracers))))

    def _place(self):
        """Where the results go, which depends on the model; what the rows say of earlier runs is of there."""
        return folderOf(self._panel.ui.batchFolderEdit.text.strip(), self._panel.parameters.model)

    def folder(self):
        """`BatchFolder` of the results of whom the rows are; a scene that comes in may bring another model."""
        return BatchFolder(self._foundFor or self._place())

    def _fill(self, rows):
        table, self.rows, self._filling = self._panel.ui.batchTable, rows, True
        table.clearContents()
        table.rowCount = len(rows)
        for number, row in enumerate(rows):
            pair = row.pair
            names = [volume.GetName() if volume is not None else "" for volume in (pair.t1w, pair.t2f)]
            for column, text in enumerate((pair.title or _("not known"), pair.day, row.words, *names)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(escaped(text) if text else "")
                table.setItem(number, column, item)
            first = table.item(number, PERSON)
            flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
            if not pair.problem:
                first.setFlags(flags | qt.Qt.ItemIsUserCheckable)
                first.setCheckState(qt.Qt.Checked if pair.sure else qt.Qt.Unchecked)
            else:
                first.setFlags(flags)
        table.resizeColumnsToContents()
        for column, width in WIDTHS.items():
            table.setColumnWidth(column, width if column == STATE else min(table.columnWidth(column), width))
        table.resizeRowsToContents()
        self._filling = False
        self.update()

    # Running

    def ticked(self):
        """Numbers of the ticked rows."""
        item = self._panel.ui.batchTable.item
        return [
            number for number, row in enumerate(self.rows)
            if not row.pair.problem and item(number, PERSON).checkState() == qt.Qt.Checked
        ]  # fmt: skip

    def problems(self):
        """Why the ticked cannot be run, in words; empty when they can."""
        panel, found = self._panel, []
        if panel.logic.running:
            found.append(_("wait until the synthesis is done"))
        if panel.tasks.running:
            found.append(_("wait until this is done: {task}").format(task=panel.tasks.title))
        if panel.selfTest.running:
            found.append(_("wait until the test is done"))
        if not panel.ui.batchFolderEdit.text.strip():
            found.append(_("choose a folder for the results"))
        if not self.ticked():
            found.append(_("tick somebody") if self.rows else _("press Find pairs"))
        return panel.install.problems() + panel.models.problems(panel.parameters) + found

    def choices(self):
        """What is asked for of everybody, as the panel has it now."""
        node = self._panel.parameters
        drawing = self._panel.models.options(node)
        drawing = {name: drawing[name] for name in ("sampler", "steps", "quality", "samples")}
        drawing |= {"cutoffs": self._panel.cutoffs.values(), "registration": registrationOf(node)}
        return batch.Choices(node.tracer.value, node.model, node.device, node.seed, **drawing)

    def onStart(self, checked=False):
        if self.running or self.problems():
            return
        if self._foundFor != self._place():  # another folder was typed: whose number is whose is another matter there
            self.find(self._below)
            return
        parent = self._panel.ui.batchFolderEdit.text.strip()
        slicer.app.userSettings().setValue(_SETTING, parent)
        pairs = {number: self.rows[number].pair for number in self.ticked()}
        self._last = ""
        self._panel.ui.batchProgressBar.value = 0
        everybody = [row.pair for row in self.rows]
        self._batch = batch.Batch(pairs, everybody, self.choices(), self._place(), self, self.makeProcess)
        self._panel.logic.server.stop()  # the model that it keeps would take the memory of each person's process
        self._panel.updatePanel()
        self._batch.start()

    def onStop(self, checked=False):
        if self._batch is not None:
            self._panel.ui.batchLabel.text = escaped(_("Stopping..."))
            self._batch.stop()
            self.update()

    def onNodeRemoved(self, node):
        """Scans that are deleted: no row keeps them in memory, nor can be ticked any more."""
        for number, row in enumerate(self.rows):
            if node is not None and node in (row.pair.t1w, row.pair.t2f):
                row.pair = replace(row.pair, t1w=None, t2f=None, problem=batch.gone())
                first = self._panel.ui.batchTable.item(number, PERSON)
                self._filling = True
                first.setCheckState(qt.Qt.Unchecked)
                first.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                self._filling = False
                if not self.running:
                    self._say(number, row.pair.problem)

    def _say(self, number, words):
        """Words of a row's state."""
        self.rows[number].words, table = words, self._panel.ui.batchTable
        self._filling = True
        table.item(number, STATE).setText(words)
        table.item(number, STATE).setToolTip(escaped(words) if words else "")
        self._filling = False
        table.resizeRowToContents(number)

    def onState(self, number, state, words):
        row = self.rows[number]
        row.state = state
        row.who = self._batch.who.get(number, row.who) if self._batch is not None else row.who
        cautions = _cautions(self.folder().records(row.who)) if state in (batch.DONE, batch.THERE) and row.who else ()
        self._say(number, "; ".join((words, *cautions)))
        if state in (batch.DONE, batch.THERE, batch.FAILED):
            self._writeWho()
        self._tellFailures()

    def onBatchProgress(self, fraction, words, remaining):
        self._panel.ui.batchProgressBar.value = round(1000 * fraction)
        if remaining:
            words += _(", about {time} to go").format(time=expected.duration(remaining))
        self._panel.ui.batchLabel.text = escaped(words)
        self._panel.ui.batchLabel.visible = True

    def onLog(self, line):
        self._panel.log(line)

    def onBatchEnd(self, words):
        self._batch, self._last = None, words
        self._panel.log(words)
        self._panel.updatePanel()

    def _writeWho(self):
        """Which number is whose, in the scene alone: the folder names nobody."""
        there = [row for row in self.rows if row.who and row.pair.t1w is not None]
        node = slicer.mrmlScene.GetFirstNodeByName(TABLE)
        if there and (node is None or not node.IsA("vtkMRMLTableNode")):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", TABLE)
        if there:  # those of earlier lists and of other folders stay
            numbers = [range(node.GetNumberOfRows()), range(node.GetNumberOfColumns())]
            lines = [tuple(node.GetCellText(row, column) for column in numbers[1]) for row in numbers[0]]
            kept = {line[:2]: line for line in lines if len(line) == len(TABLE_COLUMNS)}
            for row in there:
                key = "/".join(row.who), self._foundFor
                kept[key] = (*key, row.pair.title, row.pair.day, row.pair.t1w.GetName())
            columns = zip(*(kept[key] for key in sorted(kept)), strict=True)
            tables.fill(node, list(zip(TABLE_COLUMNS, columns, strict=True)))

    # Looking

    def onDoubleClick(self, row, column):
        self.show(row)

    def onShow(self, checked=False):
        self.show(self._panel.ui.batchTable.currentRow())

    def show(self, number):
        """A row's results over its T1w, in place of those that were shown before; without any, its MRI is chosen."""
        if not 0 <= number < len(self.rows) or self._panel.logic.running:
            return
        row, panel = self.rows[number], self._panel
        if row.pair.t1w is None or not slicer.mrmlScene.IsNodePresent(row.pair.t1w):
            panel.say(_("the T1w of this row is not in the scene; press Find pairs again"))
            return
        t2f = row.pair.t2f if row.pair.t2f is None or slicer.mrmlScene.IsNodePresent(row.pair.t2f) else None
        panel.inputs.choose(row.pair.t1w, t2f)
        panel.inputs.leaveReference()
        who = self.folder().known().get(keyOf(row.pair)) if not row.pair.problem else None
        if not who or not self.folder().records(who):
            slicer.util.setSliceViewerLayers(background=row.pair.t1w, foreground=None, label=None, fit=True)
            panel.tell(_("{who}: the MRI is chosen above; no result yet.").format(who=row.pair.words))
            return
        panel.tell(_("Reading the results of {who}...").format(who=row.pair.words))
        slicer.app.processEvents()
        if not slicer.mrmlScene.IsNodePresent(row.pair.t1w):  # None, or of a scene that was closed in that moment
            panel.tell("")
            return
        try:
            found = batchresults.load(row.pair, self.folder(), who)
        except SceneError as error:
            panel.say(_("{who}: {why}").format(who=row.pair.words, why=error))
            return
        panel.parameters.output = next(iter(found.values())).pet
        panel.parameters.shown = Shown.PET
        panel.results.show("pet", fit=True)
        panel.tell(
            _("{who}: {tracers}. Synthetic: a model's guess.").format(who=row.pair.words, tracers=", ".join(found))
        )

    def showBelow(self, item):
        """For *Synthesize PET* on a patient or study: one sure pair is chosen above, anything else is listed here."""
        if self.running or self._panel.logic.running:
            self._panel.tell(_("Something is running; wait until it is done."))
            return
        self.find(item)
        if len(self.rows) == 1 and self.rows[0].pair.sure and self.rows[0].state != batch.THERE:
            self.show(0)
            self._panel.tell(_("{who}: chosen. Press Synthesize.").format(who=self.rows[0].pair.words))
            return
        self._panel.ui.batchSection.collapsed = False
        first = self.rows[0] if len(self.rows) == 1 else None
        if first is not None:
            self._panel.tell(_("{who}: {why}").format(who=first.pair.words, why=first.words))
        elif self.rows:
            self._panel.tell(_("{n} studies are listed under Many patients.").format(n=len(self.rows)))
        else:
            self._panel.tell(_("No T1w and no T2-FLAIR there."))

    # State

    def onTicked(self, item=None):
        if not self._filling:
            self.update()

    def onFolder(self, checked=False):
        edit = self._panel.ui.batchFolderEdit
        folder = qt.QFileDialog.getExistingDirectory(self._panel.parent, _("Folder for the results"), edit.text)
        if folder:
            edit.text = folder
            self.update()

    def update(self):
        """Only what can be done can be pressed."""
        ui, running = self._panel.ui, self.running
        if self._panel.parameters is None or self._filling:
            return
        if self.rows and not running and self._foundFor != self._place():  # another model or folder
            self.find(self._below)
            return
        problems = [] if running else self.problems()
        ui.batchStartButton.enabled = not running and not problems
        words = _("Make the PET of all that are ticked, one after another; what is done already is not done again.")
        missing = _("Missing: {what}").format(what="; ".join(problems))
        ui.batchStartButton.toolTip = escaped(missing) if problems else words
        ui.findPairsButton.enabled = ui.batchFolderEdit.enabled = ui.batchFolderButton.enabled = not running
        ui.batchStopButton.enabled = running and not self._batch.stopping
        current = ui.batchTable.currentRow()
        ui.batchShowButton.enabled = 0 <= current < len(self.rows) and not self._panel.logic.running
        ui.batchProgressBar.visible = running
        ui.batchTable.visible = bool(self.rows)
        if not running:
            ui.batchLabel.text = escaped(self._last) if self._last else ""
        ui.batchLabel.visible = bool(ui.batchLabel.text)
        self._tellFailures()

    def _tellFailures(self):
        """Who failed and why, the library's line; the table's column is narrow."""
        label = self._panel.ui.batchFailuresLabel
        failed = [row for row in self.rows if row.state == batch.FAILED]
        lines = [f"<b style='color:{tone(label, ALARM)}'>{_('Failed:')}</b>"]
        lines += [escaped(f"{row.pair.words}: {row.words}") for row in failed]
        label.text = "<br>".join(lines) if failed else ""
        label.visible = bool(failed)


def _cautions(records):
    """What the library says of results that are not beyond doubt, each once; `records` by tracer."""
    verdicts = [objectOf(record.verdict) for record in records.values()]
    return list(dict.fromkeys(str(v["says"]) for v in verdicts if v.get("level") != "ok" and v.get("says")))


def _defaultFolder():
    return os.path.join(os.path.expanduser("~"), "RelAPET")
