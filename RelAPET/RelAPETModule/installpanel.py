"""The panel's install steps: asked for once, saying what and how large; nothing is installed without a click."""

import sys

import qt
import slicer
from slicer.i18n import tr as _

from . import install
from .words import escaped


class InstallPanel:
    """Two steps, each seen only while packages are missing: of the library, and of reports and DICOM export."""

    def __init__(self, panel):
        self._panel, self._missing, self._export, self._busy = panel, [], [], False
        self._problem = self._exportProblem = ""
        ui = panel.ui
        ui.installButton.connect("clicked(bool)", lambda checked=False: self.install())
        ui.installOfflineButton.connect("clicked(bool)", lambda checked=False: self._fromFolder(self.install))
        ui.exportInstallButton.connect("clicked(bool)", lambda checked=False: self.installForExport())
        ui.exportOfflineButton.connect("clicked(bool)", lambda checked=False: self._fromFolder(self.installForExport))
        self.update()

    def update(self):
        """Look again at what is installed."""
        self._missing = install.missing()
        # The export comes second: where its packages go is known to the library alone.
        self._export = [] if self._missing else install.missingForExport()
        ui = self._panel.ui
        ui.installFrame.visible = bool(self._missing)
        ui.exportLabel.visible = ui.exportRow.visible = bool(self._export)
        for button in (ui.installButton, ui.installOfflineButton, ui.exportInstallButton, ui.exportOfflineButton):
            button.enabled = not self._busy
        for label, words, problem in (
            (ui.installLabel, self._words() if self._missing else "", self._problem),
            (ui.exportLabel, self._exportWords() if self._export else "", self._exportProblem),
        ):
            label.text = escaped("\n\n".join(filter(None, (words, problem))) if words else "")

    def problems(self):
        if self._busy:
            return [_("packages are being installed")]
        return [_("Python packages are missing; press Install")] if self._missing else []

    @property
    def canExport(self):
        """Whether reports and DICOM export have their packages."""
        return not self._busy and not self._missing and not self._export

    def _words(self):
        rest = [name for name in self._missing if name != install.TORCH]
        lines = [
            _("RelAPET needs Python packages in Slicer's own Python. Nothing is installed before you press Install.")
        ]
        if install.TORCH in self._missing:
            version = install.torchVersion()
            if version is not None:
                lines.append(
                    _("torch {v} is here and too old; uninstall it in the PyTorch extension first.").format(v=version)
                )
            elif install.torchExtension() is None:
                lines.append(
                    _(
                        "torch ({size}): install the PyTorch extension with the Extensions Manager and restart Slicer, "
                    ).format(size=install.TORCH_SIZE)
                    + _("or install from a folder of wheels.")
                )
            else:
                lines.append(_("torch: {size}, by the PyTorch extension.").format(size=install.TORCH_SIZE))
        if rest:
            lines.append(_("{names}: {size}, by pip.").format(names=", ".join(rest), size=install.REST_SIZE))
        old = [f"{name} ({install.versionOf(name)})" for name in rest if install.versionOf(name)]
        if old:
            lines.append(
                _("Older ones are here and would be replaced: {names}. Other packages stay as they are.").format(
                    names=", ".join(old)
                )
            )
        return "\n".join([*lines, _offline(self._missing)])

    def _exportWords(self):
        old = [f"{name.split('>')[0]} {install.versionOf(name)}" for name in self._export if install.versionOf(name)]
        lines = [
            _(
                "Reports and DICOM export need {names}: {size}, into a folder of RelAPET's own that they alone use."
            ).format(names=", ".join(self._export), size=install.EXPORT_SIZE)
        ]
        if old:
            lines.append(
                _("Slicer's own {names} is too old for it and stays as it is; no restart is needed.").format(
                    names=", ".join(old)
                )
            )
        # All of them: pip takes nothing from elsewhere into a folder of its own.
        return "\n".join(
            [*lines, _offline(install.requirements("requirements-export.txt") + install.pinnedForExport())]
        )

    def _fromFolder(self, start):
        folder = qt.QFileDialog.getExistingDirectory(self._panel.parent, _("Folder with wheels (*.whl)"))
        if folder:
            start(folder)

    def install(self, wheels=None):
        """Install what is missing: torch by its extension, the rest by pip, or all of it from a folder of wheels."""
        if self._busy or not self._missing:
            return
        names = list(self._missing)
        self._panel.logic.server.stop()  # it has the packages that are replaced loaded
        self._begin()
        try:
            install.checkFolder()
            if not wheels and install.TORCH in names:
                self._installTorch()
                names.remove(install.TORCH)
        except install.InstallError as error:
            self._ended(str(error))
            return
        if not names:
            self._ended(None)
            return
        install.pipInstall(names, wheels, self._panel.log, self._ended)

    @staticmethod
    def _installTorch():
        logic = install.torchExtension()
        if logic is None:
            raise install.InstallError(_("the PyTorch extension is not installed; get it in the Extensions Manager"))
        install.installTorch(logic)

    def installForExport(self, wheels=None):
        """Install the packages of reports and DICOM export into their own folder."""
        if self._busy or not self._export or self._panel.tasks.running:
            return
        self._begin()
        install.installForExport(wheels, self._panel.log, self._exportEnded)

    def _begin(self):
        self._busy, self._problem, self._exportProblem = True, "", ""
        self.update()
        self._panel.updatePanel()
        self._panel.tell(_("Installing; this can take minutes."))
        slicer.app.processEvents()

    def _ended(self, problem):
        self._problem = problem or ""
        self._over(problem, lambda: self._missing)
        if not self._missing:
            self._panel.models.lookForDevices()
        self._panel.updatePanel()

    def _exportEnded(self, problem):
        self._exportProblem = problem or ""
        self._over(problem, lambda: self._export)
        self._panel.updatePanel()

    def _over(self, problem, missing):
        """The panel is free again, and says how it went."""
        self._busy = False
        self.update()
        if problem:
            first, *rest = problem.splitlines()
            self._panel.say(_("Installation failed: {why}").format(why=first))
            self._panel.log("\n".join(rest))
        elif missing():
            self._panel.say(_("Still missing after the installation: {names}").format(names=", ".join(missing())))
        else:
            self._panel.tell(_("Installed."))


def _offline(requirements):
    """The way without internet, in words."""
    words = _(
        "Without internet: on another computer with the same system and Python {v}, {command}; bring that folder here."
    )
    version = ".".join(map(str, sys.version_info[:2]))
    return words.format(command=install.download(requirements), v=version)
