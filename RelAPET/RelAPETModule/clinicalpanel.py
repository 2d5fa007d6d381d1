"""Age, sex and cognitive score: shown for models that are told them, and never carried over to another person."""

import slicer
from slicer.i18n import tr as _

from . import models, people
from .parameters import Sex

_NOTHING = "", Sex.UNKNOWN, ""


class ClinicalPanel:
    """The fields below the MRIs. What is in them belongs to the person of the T1w; with another T1w it goes."""

    def __init__(self, panel):
        self._panel, self._changing = panel, False
        self.forget()

    def forget(self):
        """What the fields hold now came from a scene, or is another scene's: nobody has typed it."""
        self._last = self._filled = None

    def values(self):
        """As a `logic.Request` has them; None for what is not known. A decimal comma is one of many languages."""
        node = self._panel.parameters
        age, score = (text.strip().replace(",", ".") or None for text in (node.age, node.score))
        return {"age": age, "sex": node.sex.value, "score": score}

    def update(self):
        """Show the fields or hide them, and see whose values they hold."""
        node, ui = self._panel.parameters, self._panel.ui
        shown = models.usesClinical(self._panel.models.entry)
        if not (self._changing or slicer.mrmlScene.IsImporting() or self._panel.logic.running):
            self._changing = True  # what is changed here comes back to here
            try:
                self._attribute(node, shown)
            finally:
                self._changing = False
        ui.clinicalRow.visible, ui.clinicalRow.enabled = shown, node.t1w is not None
        words = _("This model was trained with these values; what is not known may stay empty.")
        if self._filled is not None and self._filled == (node.age, node.sex, node.score):
            words += " " + _("They are the DICOM header's: check them.")
        ui.clinicalLabel.text = words

    def _attribute(self, node, shown):
        """Values that have changed are of this T1w's person; values of another T1w's go."""
        values = node.age, node.sex, node.score
        if self._last is not None and values != self._last and node.t1w is not None:
            node.clinicalOf = node.t1w
        elif node.clinicalOf is not node.t1w or (node.t1w is None and values != _NOTHING):
            known = people.clinicalOf(node.t1w) if shown and node.t1w is not None else {}
            node.age, node.sex, node.score = known.get("age", ""), Sex(known.get("sex")), ""
            self._filled = (node.age, node.sex, node.score) if known else None
            if shown:
                node.clinicalOf = node.t1w
        self._last = node.age, node.sex, node.score
