"""From which SUVR on a tracer's composite counts as positive: a field for each tracer that has one."""

import qt
from slicer.i18n import tr as _

from . import models
from .attributes import PROVENANCE, TRACER, objectOf, readDict
from .parameters import ALL, CUTOFF_DECIMALS, MOST_CUTOFF, TRACERS, cutoffsOf, cutoffsText
from .words import escaped


class CutoffPanel:
    """The fields below the line that tells the composite; each is there while its tracer is asked for."""

    def __init__(self, panel):
        self._panel, self._filling = panel, False
        row, before = panel.ui.cutoffsRow, panel.ui.showMriButton
        self.labels, self.fields = {}, {}
        for name, tracer in TRACERS.items():
            if tracer.composite is None:
                continue
            label, field = qt.QLabel(row), qt.QDoubleSpinBox(row)
            label.objectName, field.objectName = f"cutoffLabel{name}", f"cutoffSpinBox{name}"
            label.setBuddy(field)
            field.decimals, field.maximum, field.singleStep = CUTOFF_DECIMALS, MOST_CUTOFF, 0.05
            field.connect("valueChanged(double)", self.onChanged)
            row.layout().addRow(label, field)
            qt.QWidget.setTabOrder(before, field)  # what is made here would come after all that the .ui file has
            self.labels[name], self.fields[name], before = label, field, field

    @property
    def asked(self):
        """The tracers whose composite the next run tells: relative PET has none."""
        node, entry = self._panel.parameters, self._panel.models.entry
        if node is None or (entry is not None and entry["output"] == "relative"):
            return []
        wanted = [node.tracer.value] if node.tracer.value != ALL else list(self.fields)
        return [name for name in wanted if name in self.fields and (entry is None or name in entry["tracers"])]

    def values(self):
        """The user's cut-offs as a request has them, of the tracers that are asked for; None without any."""
        known = cutoffsOf(self._panel.parameters.cutoffs)
        return {name: known[name] for name in self.asked if name in known} or None

    def onChanged(self, value):
        node = self._panel.parameters
        if self._filling or node is None:
            return
        known = cutoffsOf(node.cutoffs) | {name: self.fields[name].value for name in self.asked}
        node.cutoffs = cutoffsText({name: number for name, number in known.items() if number > 0})

    def update(self):
        """Show the fields of the tracers that are asked for, with what holds where they are left alone."""
        panel, asked, entry = self._panel, self.asked, self._panel.models.entry
        known, own = cutoffsOf(panel.parameters.cutoffs), models.positivity(entry)
        self._filling = True
        for name, field in self.fields.items():
            label, cutoff = self.labels[name], own.get(name)
            label.text = _("Positivity cut-off, {tracer}:").format(tracer=name)
            field.toolTip = escaped(_tip(name, entry, own))
            words = _("the model's own: {n:g} SUVR").format(n=cutoff) if cutoff else _("none")
            shown = {"specialValueText": words, "suffix": _(" SUVR"), "value": known.get(name, 0.0)}
            for what, value in shown.items():
                if getattr(field, what) != value:  # setting the same again would rewrite what somebody is typing
                    setattr(field, what, value)
            label.visible = field.visible = name in asked
        self._filling = False
        words, note = self._differs(asked, known, own), panel.ui.cutoffNoteLabel
        note.text, note.visible = words, bool(words)
        panel.ui.cutoffsRow.visible = bool(asked)
        panel.ui.cutoffsRow.enabled = not panel.logic.running and not panel.batch.running

    def _differs(self, asked, known, own):
        """That the shown PET was counted at another cut-off than the field has, or ""."""
        found = self._panel.results.found
        name = found.pet.GetAttribute(TRACER) if found else None
        told = objectOf(readDict(found.pet, PROVENANCE).get("summary")) if found else {}
        if name not in asked or not told:
            return ""
        before, now = objectOf(told.get("positivity")).get("cutoff"), known.get(name) or own.get(name)
        return "" if before == now else _("The shown result is of another cut-off; press Synthesize for this one.")


def _tip(name, entry, own):
    """What a field is for, and whether the model tells anything by it."""
    words = _(
        "SUVR from which on the {composite} of {tracer} counts as positive, for the next synthesis; 0 leaves it to the "
        "model."
    ).format(composite=TRACERS[name].composite.name, tracer=name)
    if entry is None or not entry.get("draw"):
        return words
    if name not in own:
        none = _("Model '{name}' does not say that the share of its samples is a probability, so it tells none.")
        return f"{words} {none.format(name=entry['name'])}"
    words += " " + _("How many samples reach it is told as the model's guess of a probability.")
    if own[name]:
        words += " " + _("What that is worth was measured at the model's own cut-off alone.")
    if entry["simulated"]:
        words += " " + _("This model tells it for simulated scans alone.")
    return words
