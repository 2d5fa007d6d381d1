"""The panel's install step: asked for once, saying what and how large; nothing is installed without a click."""

import qt
import slicer
from slicer.i18n import tr as _

from . import install
from .words import escaped


class InstallPanel:
    """A frame that is seen only while packages are missing."""

    def __init__(self, panel):
        self._panel, self._missing, self._busy = panel, [], False
        ui = panel.ui
        ui.installButton.connect("clicked(bool)", lambda checked=False: self.install())
        ui.installOfflineButton.connect("clicked(bool)", lambda checked=False: self.onOffline())
        self.update()

    def update(self):
        """Look again at what is installed."""
        self._missing = install.missing()
        ui = self._panel.ui
        ui.installFrame.visible = bool(self._missing)
        ui.installButton.enabled = ui.installOfflineButton.enabled = not self._busy
        ui.installLabel.text = self._words() if self._missing else ""

    def problems(self):
        if self._busy:
            return [_("packages are being installed")]
        return [_("Python packages are missing; press Install")] if self._missing else []

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
        return escaped("\n".join(lines))

    def onOffline(self):
        folder = qt.QFileDialog.getExistingDirectory(self._panel.parent, _("Folder with wheels (*.whl)"))
        if folder:
            self.install(folder)

    def install(self, wheels=None):
        """Install what is missing: torch by its extension, the rest by pip, or all of it from a folder of wheels."""
        if self._busy or not self._missing:
            return
        names = list(self._missing)
        self._busy = True
        self._panel.updatePanel()
        self.update()
        self._say(_("Installing; this can take minutes."))
        slicer.app.processEvents()
        if not wheels and install.TORCH in names:
            logic = install.torchExtension()
            try:
                if logic is None:
                    raise install.InstallError(
                        _("the PyTorch extension is not installed; get it in the Extensions Manager")
                    )
                install.installTorch(logic)
            except install.InstallError as error:
                self._ended(str(error))
                return
            names.remove(install.TORCH)
        if not names:
            self._ended(None)
            return
        install.pipInstall(names, wheels, self._panel.log, self._ended)

    def _ended(self, problem):
        self._busy = False
        self.update()
        if problem:
            first, *rest = problem.splitlines()
            self._panel.say(_("Installation failed: {why}").format(why=first))
            self._panel.log("\n".join(rest))
            self._panel.ui.installLabel.text += "<br><br>" + escaped(problem)
        elif self._missing:
            self._panel.say(_("Still missing after the installation: {names}").format(names=", ".join(self._missing)))
        else:
            self._say(_("Installed."))
            self._panel.models.lookForDevices()
        self._panel.updatePanel()

    def _say(self, words):
        self._panel.ui.statusLabel.text = words
