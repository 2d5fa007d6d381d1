"""The panel's choice of model and device, and getting, importing and removing models."""

import qt
import slicer
from slicer.i18n import tr as _

from . import models
from .library import library
from .parameters import ALL, samplerOf
from .words import escaped, textColor

#: Where the model that the user chose last is kept.
_SETTING = "RelAPET/Model"


class ModelPanel:
    """Model, quality, sampler and device are plain strings in the parameter node; their lists are made here."""

    def __init__(self, panel):
        self._panel, self._entries, self._filling, self._looked = panel, {}, False, False
        self._unfolded, self._offered, self._qualities = False, None, None
        ui = panel.ui
        self._tips = [(widget, widget.toolTip) for widget in (ui.samplerSelector, ui.stepsSpinBox)]
        for label, value in ((_("automatic"), "auto"), (_("CPU"), "cpu")):
            ui.deviceSelector.addItem(label, value)
        ui.modelSelector.connect("currentIndexChanged(int)", self.onModelChosen)
        ui.deviceSelector.connect("currentIndexChanged(int)", self.onDeviceChosen)
        ui.qualitySelector.connect("currentIndexChanged(int)", self.onQualityChosen)
        ui.samplerSelector.connect("currentIndexChanged(int)", self.onSamplerChosen)
        ui.modelLabel.connect("linkActivated(QString)", self.onFold)
        for button, slot in (
            (ui.modelInstallButton, self.onInstall),
            (ui.modelImportButton, self.onImport),
            (ui.modelRemoveButton, self.onRemove),
            (ui.modelFolderButton, self.onFolder),
        ):
            button.connect("clicked(bool)", slot)

    # Models

    def update(self):
        """Read the catalogue and the user's folder again, and look for devices the first time."""
        entries, notes = models.listModels()
        for note in notes:
            self._panel.log(note)
        self._entries = {entry["name"]: entry for entry in entries}
        selector = self._panel.ui.modelSelector
        self._filling = True
        selector.clear()
        for name, entry in self._entries.items():
            state = "" if entry["installed"] else _(" (not installed)")
            selector.addItem(f"{entry['title']}{state}", name)
        self._filling = False
        self.showChoice()
        if not self._looked and not self._panel.install.problems() and self._panel.parent.isEntered:
            self.lookForDevices()

    def choose(self, name):
        """The user's own choice, which scenes to come begin with."""
        self._panel.parameters.model = name
        slicer.app.userSettings().setValue(_SETTING, name)

    @staticmethod
    def recall(node):
        """Let a new parameter node have the model that the user chose last, where it is still here."""
        name = slicer.app.userSettings().value(_SETTING)
        if any(entry["name"] == name and entry["installed"] for entry in models.listModels()[0]):
            node.model = name

    @property
    def entries(self):
        """The library's list of models, as it was read last."""
        return list(self._entries.values())

    @property
    def entry(self):
        """The library's facts of the chosen model, or None when it is not on this computer."""
        node = self._panel.parameters
        return self._entries.get(node.model) if node is not None else None

    def showChoice(self):
        """Selectors and facts as the parameter node has them."""
        node = self._panel.parameters
        if node is None:
            return
        ui, entry = self._panel.ui, self.entry
        self._filling = True
        self._offerQualities(entry, node.quality)
        self._offerSamplers(entry, node.quality)
        for selector, value in (
            (ui.modelSelector, node.model),
            (ui.deviceSelector, node.device),
            (ui.qualitySelector, node.quality),
            (ui.samplerSelector, samplerOf(node.sampler)),
        ):
            index = selector.findData(value)
            if index < 0:  # e.g. a model or GPU of the computer that the scene was saved on
                selector.addItem(_("{value} (not here)").format(value=value), value)
                index = selector.findData(value)
            selector.currentIndex = index
        self._filling = False
        self._showFacts(entry)
        busy = self._panel.busy
        ui.modelInstallButton.enabled = bool(entry) and not entry["installed"] and not busy
        ui.modelRemoveButton.enabled = bool(entry) and entry.get("place") == "user" and not busy
        ui.modelImportButton.enabled = not busy and not self._panel.install.problems()

    def _offerQualities(self, entry, chosen):
        """The qualities that the model was measured for. One that it lacks can be let go of, so the list is enabled."""
        selector, offered = self._panel.ui.qualitySelector, models.qualities(entry)
        foreign = chosen if chosen not in offered else ""
        if (offered, foreign) != self._qualities:
            self._qualities = offered, foreign
            selector.clear()
            selector.addItem(_("the model's own"), "")
            for name, steps in offered.items():
                selector.addItem(models.qualityTitle(name, steps), name)
        atOnce = bool(entry and entry.get("draw")) and not models.samplers(entry)
        selector.enabled = not atOnce and bool(offered or foreign)
        selector.toolTip = models.qualityTip(entry)

    def _offerSamplers(self, entry, quality):
        """The model's own samplers, and what else of drawing it may be told; a quality stands for sampler and steps."""
        ui, draw = self._panel.ui, entry.get("draw") if entry else None
        offered = models.samplers(entry)
        if offered != self._offered:
            self._offered = offered
            ui.samplerSelector.clear()
            own = _("the model's own: {name}").format(name=offered[0]) if offered else _("the model's own")
            ui.samplerSelector.addItem(own, "")
            for name in offered:
                ui.samplerSelector.addItem(models.samplerTitle(name), name)
        atOnce = bool(draw) and not offered
        for widget, tip in self._tips:
            widget.enabled = not (atOnce or quality)
            widget.toolTip = _("The quality above chooses sampler and steps.") if quality and not atOnce else tip
        ui.samplesSpinBox.enabled = not (draw and draw["deterministic"])

    def _showFacts(self, entry):
        """One line, and the rest behind its link; open where the user must do something about the model."""
        ui = self._panel.ui
        missing = entry is None or not entry["installed"]
        words = models.line(entry) if entry else _("This model is not on this computer.")
        link = _("less") if self._unfolded or missing else _("more about this model")
        ui.modelLabel.text = f"{escaped(words)} <a href='facts' style='color:{textColor(ui.modelLabel)}'>{link}</a>"
        ui.modelFactsLabel.text = models.facts(entry) if entry else ""
        ui.modelFactsLabel.visible = entry is not None
        ui.modelFacts.visible = self._unfolded or missing

    def onFold(self, link=""):
        self._unfolded = not self._unfolded
        self.showChoice()

    def problems(self, node):
        """Why the chosen model cannot be used, in words."""
        entry = self._entries.get(node.model)
        if entry is None:
            return [_("model '{name}' is not here; choose another one").format(name=node.model)]
        if not entry["installed"]:
            return [_("model '{name}' is not installed; press Download or Import").format(name=node.model)]
        if node.tracer.value not in (*entry["tracers"], ALL):
            return [_("model '{name}' has no {tracer}").format(name=node.model, tracer=node.tracer.value)]
        return self._drawingProblems(node, entry.get("draw"))

    def _drawingProblems(self, node, draw):
        """Why a model cannot draw so; one that is not here, or draws at once, is told nothing of it."""
        if not draw or not draw["samplers"]:
            return []
        if node.quality:  # sampler and steps are not sent
            if node.quality in models.qualities(self._entries.get(node.model)):
                return []
            words = _("model '{name}' has no quality '{quality}'; choose its own under Settings")
            return [words.format(name=node.model, quality=node.quality[:40])]
        sampler = samplerOf(node.sampler)
        if sampler and sampler not in draw["samplers"]:
            return [_("model '{name}' has no sampler {sampler}").format(name=node.model, sampler=sampler)]
        if node.steps > draw["longest"]:
            return [_("model '{name}' takes at most {n} steps").format(name=node.model, n=draw["longest"])]
        return []

    def options(self, node):
        """How to draw, and clinical values, as a request has them: None where they are not this model's."""
        entry = self.entry
        draw = (entry.get("draw") if entry else None) or {"samplers": None, "deterministic": False}
        steps = draw["samplers"] is None or bool(draw["samplers"])
        quality = (node.quality or None) if steps else None
        chosen = {
            "quality": quality,
            "sampler": (samplerOf(node.sampler) or None) if steps and not quality else None,
            "steps": (node.steps or None) if steps and not quality else None,
            "samples": None if draw["deterministic"] else node.samples or None,
        }
        return chosen | (self._panel.clinical.values() if models.usesClinical(entry) else {})

    def onModelChosen(self, index):
        if not self._filling and index >= 0 and self._panel.parameters is not None:
            self.choose(self._panel.ui.modelSelector.itemData(index))

    def onQualityChosen(self, index):
        if not self._filling and index >= 0 and self._panel.parameters is not None:
            self._panel.parameters.quality = self._panel.ui.qualitySelector.itemData(index)

    def onSamplerChosen(self, index):
        if not self._filling and index >= 0 and self._panel.parameters is not None:
            self._panel.parameters.sampler = self._panel.ui.samplerSelector.itemData(index)

    def _changed(self):
        """A model has come or gone, also in the list of all models where that is open."""
        self.update()
        self._panel.manager.update()

    def onInstall(self, checked=False):
        name = self._panel.parameters.model
        self._panel.tasks.start(_("Download"), ["models", "fetch", name], lambda ending: self._changed())

    def onImport(self, checked=False):
        kinds = _("Models (*.pt *.pth *.zip)")
        file = qt.QFileDialog.getOpenFileName(self._panel.parent, _("Checkpoint or zipped model"), "", kinds)
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self.importFile(file)

    def importFile(self, file):
        """Put a model file into the user's folder and choose it."""

        def ended(ending):
            self._changed()
            if ending.ok and self._panel.parameters is not None:  # the scene may have been closed meanwhile
                self.choose(ending.result["model"])

        self._panel.tasks.start(_("Import"), ["models", "import", str(file)], ended)

    def onRemove(self, checked=False):
        name = self._panel.parameters.model
        question = _("Delete the model '{name}' from your folder? It can be had back only from its file.")
        if not slicer.util.confirmOkCancelDisplay(question.format(name=name)):
            return
        self._panel.tasks.start(_("Removal"), ["models", "remove", name], lambda ending: self._changed())

    def onFolder(self, checked=False):
        try:
            folder = library("models.catalogue").home() / "models"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, library("errors").RelAPETError) as error:
            why = getattr(error, "strerror", None) or error
            self._panel.say(_("there is no folder of your models: {why}").format(why=why))
            return
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    # Devices

    def lookForDevices(self):
        """Ask the library, in the background, what can compute here."""
        self._looked = self._panel.tasks.start(_("Looking for GPUs"), ["doctor"], self._devicesFound, quiet=True)

    def _devicesFound(self, ending):
        selector = self._panel.ui.deviceSelector
        devices = ending.result.get("devices", [])
        if not devices:
            return
        self._filling = True
        selector.clear()
        selector.addItem(_("automatic"), "auto")
        for device in devices:
            words = f"{device['device']}: {device['name']}"
            if device.get("total_gib"):
                words += _(", {free:.0f} of {total:.0f} GB free").format(
                    free=device["free_gib"], total=device["total_gib"]
                )
            selector.addItem(words, device["device"])
        self._filling = False
        self.showChoice()

    def onDeviceChosen(self, index):
        if not self._filling and index >= 0 and self._panel.parameters is not None:
            self._panel.parameters.device = self._panel.ui.deviceSelector.itemData(index)
