"""The sections on display and regions, and what leaves the scene from there."""

import slicer
from slicer.i18n import tr as _

from . import display, history, people
from .attributes import PROVENANCE, TRACER, UNITS, objectOf, readDict
from .exportpanel import ExportPanel
from .parameters import Shown
from .regionspanel import RegionsPanel
from .words import ALARM, escaped, tone


class DisplayPanel:
    """Which PET is shown and what of it lies over the MRI, tables, reports and DICOM, all about the chosen output."""

    def __init__(self, panel):
        self._panel, self._listed, self._filling = panel, [], False
        ui = panel.ui
        ui.resultSelector.connect("currentIndexChanged(int)", self.onResultChosen)
        ui.outputSelector.connect("nodeActivated(vtkMRMLNode*)", self.choose)
        self._buttons = {
            "pet": ui.showPetButton,
            "measured": ui.showMeasuredButton,
            "difference": ui.showDifferenceButton,
            "uncertainty": ui.showUncertaintyButton,
            "departure": ui.showDepartureButton,
            "zscore": ui.showZScoreButton,
            "mri": ui.showMriButton,
        }
        for kind, button in self._buttons.items():
            button.connect("clicked(bool)", lambda checked=False, kind=kind: self.show(kind))
        self.regions = RegionsPanel(panel, _present)
        ui.metricsButton.connect("clicked(bool)", self.onMetrics)
        self.exports = ExportPanel(panel)

    @property
    def found(self):
        """Results of the chosen output, or None."""
        node = self._panel.parameters
        return display.ofNode(node.output) if node is not None else None

    def show(self, kind, fit=False):
        if self.found is None:
            return
        self._panel.parameters.shown = Shown(kind)
        self._panel.ui.flipButton.checked = False
        display.show(self.found, kind, self._panel.parameters.opacity, fit)
        self._panel.views.onChanged()
        self.update()

    # Which PET of a person is shown

    def choose(self, pet):
        """Show another synthetic PET, and of it the same map as before where it has that."""
        wanted, node = display.ofNode(pet), self._panel.parameters
        if wanted is None:
            return
        node.output = pet
        kind = node.shown.value
        kind = kind if kind in ("mri", *wanted.volumes) else "pet"
        self.show(kind, fit=not display.liesUnder(wanted.mri))

    def onResultChosen(self, index):
        if not self._filling and index >= 0:
            self.choose(slicer.mrmlScene.GetNodeByID(self._panel.ui.resultSelector.itemData(index)))

    def _list(self, found):
        """The PETs of the chosen one's person in the selector, which is there when there are several."""
        pets = people.petsLike(found.pet) if found else []
        ui, listed = self._panel.ui, [(pet.GetName(), pet.GetID()) for pet in pets]
        self._filling = True
        if listed != self._listed:
            self._listed = listed
            ui.resultSelector.clear()
            for name, identifier in listed:
                ui.resultSelector.addItem(name, identifier)
        if found:
            ui.resultSelector.currentIndex = ui.resultSelector.findData(found.pet.GetID())
        self._filling = False
        ui.resultLabel.visible = ui.resultSelector.visible = len(listed) > 1

    def restore(self):
        """After a scene was loaded: show what it showed."""
        if self.found is not None:
            display.prepare(self.found, onlyNew=True)
            self.show(self._panel.parameters.shown.value, fit=True)

    def update(self):
        """Only what is there can be pressed, and the line below says what is seen."""
        found, ui = self.found, self._panel.ui
        self._list(found)
        there = set(found.volumes) | ({"mri"} if found.mri is not None else set()) if found else set()
        shown = self._panel.parameters.shown.value
        for kind, button in self._buttons.items():
            button.enabled = kind in there
            button.checked = kind in there and kind == shown
        self._tellDeparture(found)
        self.updateWords()
        self._tellHistory(found)
        self._panel.views.update()
        self.regions.update()
        ui.metricsButton.enabled = found is not None and found.metrics is not None
        self.exports.update(found)

    def _tellDeparture(self, found):
        """Why there is no departure to show, where there is none."""
        record = objectOf(readDict(found.pet, PROVENANCE).get("departure")) if found else {}
        says = record.get("says") if record.get("withheld") else None
        if found is not None and not record:
            says = _("No departure map: these results were made by an earlier version.")
        usual = _("What this MRI changed against the mean of synthetic PET of the training people; not a disease map.")
        self._panel.ui.showDepartureButton.toolTip = escaped(says) if isinstance(says, str) else usual

    def _tellHistory(self, found):
        """With what the shown result was made, and what is not as it was then."""
        label = self._panel.ui.historyLabel
        label.visible = found is not None
        if found is None:
            return
        changes = [*self._ofAnother(found.pet), *history.changes(found.pet, self._panel.models.entries)]
        warned = "".join(f"<br><b style='color:{tone(label, ALARM)}'>{escaped(each)}</b>" for each in changes)
        label.text = escaped(history.madeWith(found.pet)) + warned

    def _ofAnother(self, pet):
        """That the shown result, which is exported too, is not of the T1w that is chosen above."""
        source, chosen = pet.GetNodeReference(people.SOURCE_ROLE), self._panel.parameters.t1w
        if source is None or chosen is None or source is chosen:
            return []
        whose = people.originOf(source).person
        words = _("This result is of '{name}'{whose}, not of the T1w that is chosen above.")
        return [words.format(name=source.GetName(), whose=f" ({whose})" if whose else "")]

    def updateWords(self):
        """The line that says what is seen."""
        found, shown = self.found, self._panel.parameters.shown.value
        nothing = _("No synthetic PET is chosen as output yet.")
        lines = [self._words(found, shown), *_checked(found.pet, shown)] if found else [nothing]
        self._panel.ui.shownLabel.text = escaped("\n".join(lines))

    @staticmethod
    def _words(found, shown):
        node = found.volumes.get(shown)
        if node is None or not display.isColoured(node):
            return _("The MRI alone.") if found.mri is not None else _("Nothing: the MRI is not in the scene any more.")
        low, high = display.shownWindow(node)
        what = {
            "pet": _("Synthetic {tracer} PET, a model's guess"),
            "measured": _("Measured {tracer} PET, as it was compared with the synthetic one"),
            "difference": _("Synthetic minus measured {tracer} PET: red where the guess is higher, blue where lower"),
            "uncertainty": _(
                "Spread of the {tracer} samples (standard deviation): how much the guesses differ, not their error"
            ),
            "departure": _(
                "Departure: what this MRI changed against the mean of synthetic {tracer} PET of the training people "
                "(orange higher, purple lower); not a disease map"
            ),
            "zscore": _("z-score of the measured {tracer} PET against the norms that were given"),
        }[shown].format(tracer=node.GetAttribute(TRACER))
        return f"{what}; {low:g} to {high:g} {node.GetAttribute(UNITS)}."

    # Metrics

    def onMetrics(self, checked=False):
        _present(self.found.metrics)


def _checked(pet, shown):
    """What a PET's record says of input and composite, and of departure or intervals, in the library's words."""
    record = readDict(pet, PROVENANCE)
    parts = ("verdict", "departure" if shown == "departure" else "intervals", "summary")
    said = [objectOf(record.get(part)).get("says") for part in parts]
    if shown == "zscore":
        said = [objectOf(objectOf(record.get("reference")).get("z")).get("says")]
    return [words for words in said if isinstance(words, str)]


def _present(table):
    """Show a table in a layout that has room for it."""
    manager = slicer.app.layoutManager()
    if manager is None:  # no main window: the table is in the scene all the same
        return
    slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    slicer.app.applicationLogic().PropagateTableSelection()
