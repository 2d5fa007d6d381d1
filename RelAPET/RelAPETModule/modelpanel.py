"""The panel's choice of model and device, and getting, importing and removing models."""

import warnings

import qt
from slicer.i18n import tr as _

from .library import library
from .parameters import ALL
from .words import escaped


def listModels():
    """(entries, warnings): every model of the catalogue and of the user's folder.

    Before the install step the shipped catalogue alone: the library cannot check the user's models yet.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return library("models.catalogue").list_models(), [str(w.message) for w in caught]
    except ImportError:
        metadata, resources = library("models.metadata"), library("resources")
        content = metadata.load_json(resources.resource("models.json"), "model catalogue")
        entries = [
            {**entry, "installed": entry["shipped"], "path": "", "catalogued": True} for entry in content["models"]
        ]
        return entries, []


class ModelPanel:
    """Model and device are plain strings in the parameter node; their lists are made here."""

    def __init__(self, panel):
        self._panel, self._entries, self._filling, self._looked = panel, {}, False, False
        ui = panel.ui
        for label, value in ((_("automatic"), "auto"), (_("CPU"), "cpu")):
            ui.deviceSelector.addItem(label, value)
        ui.modelSelector.connect("currentIndexChanged(int)", self.onModelChosen)
        ui.deviceSelector.connect("currentIndexChanged(int)", self.onDeviceChosen)
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
        entries, notes = listModels()
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

    def showChoice(self):
        """Selectors and facts as the parameter node has them."""
        node = self._panel.parameters
        if node is None:
            return
        ui = self._panel.ui
        self._filling = True
        for selector, value in ((ui.modelSelector, node.model), (ui.deviceSelector, node.device)):
            index = selector.findData(value)
            if index < 0:  # e.g. a model or GPU of the computer that the scene was saved on
                selector.addItem(_("{value} (not here)").format(value=value), value)
                index = selector.findData(value)
            selector.currentIndex = index
        self._filling = False
        entry = self._entries.get(node.model)
        ui.modelLabel.text = _facts(entry) if entry else _("This model is not on this computer.")
        busy = self._panel.tasks.running or self._panel.logic.running
        ui.modelInstallButton.enabled = bool(entry) and not entry["installed"] and not busy
        ui.modelRemoveButton.enabled = bool(entry) and entry["installed"] and not entry["shipped"] and not busy
        ui.modelImportButton.enabled = not busy and not self._panel.install.problems()

    def problems(self, node):
        """Why the chosen model cannot be used, in words."""
        entry = self._entries.get(node.model)
        if entry is None:
            return [_("model '{name}' is not here; choose another one").format(name=node.model)]
        if not entry["installed"]:
            return [_("model '{name}' is not installed; press Download or Import").format(name=node.model)]
        if node.tracer.value not in (*entry["tracers"], ALL):
            return [_("model '{name}' has no {tracer}").format(name=node.model, tracer=node.tracer.value)]
        return []

    def onModelChosen(self, index):
        if not self._filling and index >= 0 and self._panel.parameters is not None:
            self._panel.parameters.model = self._panel.ui.modelSelector.itemData(index)

    def onInstall(self, checked=False):
        name = self._panel.parameters.model
        self._panel.tasks.start(_("Download"), ["models", "fetch", name], lambda ending: self.update())

    def onImport(self, checked=False):
        kinds = _("Models (*.pt *.pth *.zip)")
        file = qt.QFileDialog.getOpenFileName(self._panel.parent, _("Checkpoint or zipped model"), "", kinds)
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self.importFile(file)

    def importFile(self, file):
        """Put a model file into the user's folder and choose it."""

        def ended(ending):
            self.update()
            if ending.ok:
                self._panel.parameters.model = ending.result["model"]

        self._panel.tasks.start(_("Import"), ["models", "import", str(file)], ended)

    def onRemove(self, checked=False):
        name = self._panel.parameters.model
        self._panel.tasks.start(_("Removal"), ["models", "remove", name], lambda ending: self.update())

    def onFolder(self, checked=False):
        folder = library("models.catalogue").home() / "models"
        folder.mkdir(parents=True, exist_ok=True)
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


def _facts(entry):
    """What one must know before using a model, as rich text."""
    rows = [
        (_("Tracers"), ", ".join(entry["tracers"])),
        (_("Network calls a sample"), entry["steps"]),
        (_("Licence"), entry["licence"]),
        (_("Trained on"), entry["training_data"]),
        (_("Meant for"), entry["intended_use"]),
        (
            _("Output"),
            {"suvr": "SUVR", "relative": _("relative (0 to 1), not SUVR")}.get(entry["output"], entry["output"]),
        ),
    ]
    text = "<br>".join(f"<b>{name}:</b> {escaped(str(value))}" for name, value in rows)
    if entry["simulated"]:
        text = f"<b>{_('Trained on simulated people only: it says nothing about a real person.')}</b><br>{text}"
    return text
