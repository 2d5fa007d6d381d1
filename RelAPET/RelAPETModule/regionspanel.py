"""The tables of regional means: shown, copied as text, and written as a file."""

import qt
from slicer.i18n import tr as _

from . import people, tables
from .attributes import MODEL, SPACE, TRACER, UNITS
from .library import library
from .scene import TEMPLATE, Results, placeInHierarchy


class RegionsPanel:
    """Means in the shipped regions, or in the chosen segmentation, of the result that is shown."""

    def __init__(self, panel, present):
        self._panel, self._present = panel, present
        ui = panel.ui
        for button, slot in (
            (ui.regionsButton, self.onRegions),
            (ui.copyTableButton, self.onCopy),
            (ui.saveTableButton, self.onSave),
        ):
            button.connect("clicked(bool)", slot)

    def update(self):
        found, segmented = self._panel.results.found, self._panel.parameters.segmentation is not None
        ui = self._panel.ui
        for button in (ui.regionsButton, ui.copyTableButton, ui.saveTableButton):
            button.enabled = found is not None and (segmented or found.regions is not None)

    def table(self):
        """The table node, filled; None with a line in the panel where no segment meets the PET."""
        found, segmentation = self._panel.results.found, self._panel.parameters.segmentation
        if segmentation is None:
            return found.regions
        drawn = _drawnElsewhere(segmentation, found.pet)
        if drawn is not None:
            words = _("'{s}' is drawn on '{volume}', in another space than this PET; choose a PET of the same space")
            self._panel.say(words.format(s=segmentation.GetName(), volume=drawn.GetName()))
            return None
        stranger = _drawnOnAnother(segmentation, found.pet)
        if stranger is not None:
            words = _("'{s}' is drawn on '{volume}', which is of another person than this PET")
            self._panel.say(words.format(s=segmentation.GetName(), volume=stranger.GetName()))
            return None
        rows = tables.segmentRows(segmentation, found)
        if not any(row["share_in_view"] for row in rows):
            self._panel.say(_("no segment of '{s}' overlaps the PET").format(s=segmentation.GetName()))
            return None
        table = tables.segmentTable(found.pet, segmentation)
        tables.fillRegions(table, rows, found.pet.GetAttribute(UNITS))
        placeInHierarchy([table], found.mri)
        return table

    def _tell(self, words=""):
        """A line, and a caution where nothing says that the segments were drawn on this person."""
        segmentation, pet = self._panel.parameters.segmentation, self._panel.results.found.pet
        drawn = _drawnOnNobodyKnown(segmentation, pet) if segmentation is not None else None
        if drawn is not None:
            caution = _("Make sure that '{volume}', on which '{s}' is drawn, is of this person: nothing says so.")
            words = f"{words} {caution.format(volume=drawn.GetName(), s=segmentation.GetName())}".lstrip()
        if words:
            self._panel.tell(words)

    def onRegions(self, checked=False):
        table = self.table()
        if table is not None:
            self._present(table)
            self._tell()

    def onCopy(self, checked=False):
        """The table with a line on what it is, for a letter or a spreadsheet."""
        table, pet = self.table(), self._panel.results.found.pet
        if table is None:
            return
        words = _("{name}; model {model}; a model's guess, research only").format(
            name=table.GetName(), model=pet.GetAttribute(MODEL)
        )
        qt.QApplication.clipboard().setText(f"{words}\n{tables.asText(table)}")
        self._tell(_("Copied: {name}.").format(name=table.GetName()))

    def onSave(self, checked=False):
        name = f"SYNTHETIC_{self._panel.results.found.pet.GetAttribute(TRACER)}_regions.csv"
        file = qt.QFileDialog.getSaveFileName(self._panel.parent, _("Table as a file"), name, _("Tables (*.csv)"))
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self.save(file)

    def save(self, file):
        """Write the table as CSV, whole or not at all."""
        table = self.table()
        if table is None:
            return
        try:  # a byte order mark, without which Excel takes UTF-8 for another encoding
            library("whole_files").write_whole(file, tables.asText(table, ",").encode("utf-8-sig"))
        except OSError as error:
            self._panel.say(_("the table was not written: {why}").format(why=error.strerror or error))
            return
        self._tell(_("Written: {file}.").format(file=file))


def _drawnOn(segmentation):
    """The volume that segments were drawn on, where the scene has it; else None."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def _drawnOnAnother(segmentation, pet):
    """The volume that segments were drawn on, where its header names another person than that of the PET's T1w."""
    drawn, source = _drawnOn(segmentation), pet.GetNodeReference(people.SOURCE_ROLE)
    if drawn is None or source is None or not people.difference(people.originOf(drawn), people.originOf(source)):
        return None
    return drawn


def _drawnOnNobodyKnown(segmentation, pet):
    """The volume that segments were drawn on, where nothing says that it is of the PET's person; else None."""
    drawn, source = _drawnOn(segmentation), pet.GetNodeReference(people.SOURCE_ROLE)
    known = [source, pet.GetNodeReference(people.T2F_ROLE)]
    for results in map(Results, people.petsLike(pet)):
        known += [results.mri, *results.volumes.values()]
    if drawn is None or drawn in known:
        return None
    if source is not None and people.surelyOne(people.originOf(drawn), people.originOf(source)):
        return None
    return drawn


def _drawnElsewhere(segmentation, pet):
    """The volume that segments were drawn on, where it is known to lie in another space than the PET; else None.

    The head in MNI space lies about where the person's does, so that the means would look like any others.
    """
    drawn = _drawnOn(segmentation)
    if drawn is None:
        return None
    sources = [pet.GetNodeReference(role) for role in (people.SOURCE_ROLE, people.T2F_ROLE)]
    known = "MNI" if drawn.GetName() == TEMPLATE else "T1w" if drawn in sources else None
    space = drawn.GetAttribute(SPACE) or known
    return drawn if space not in (None, pet.GetAttribute(SPACE) or "T1w") else None
