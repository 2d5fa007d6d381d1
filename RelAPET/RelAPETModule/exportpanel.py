"""What leaves the scene of the shown result: its report, as a web page or a PDF, and DICOM, to a folder or database."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import export
from .attributes import TRACER
from .parameters import DicomTarget


class ExportPanel:
    """The buttons for reports and DICOM; the library's child process does the work."""

    def __init__(self, panel):
        self._panel, self._pages = panel, []
        ui = panel.ui
        for button, slot in (
            (ui.reportPageButton, self.onPage),
            (ui.reportPdfButton, self.onPdf),
            (ui.dicomButton, self.onDicom),
        ):
            button.connect("clicked(bool)", slot)

    def update(self, found):
        """Only what can be done can be pressed."""
        ui = self._panel.ui
        ready = found is not None and self._panel.install.canExport and not self._panel.tasks.running
        for button in (ui.reportPageButton, ui.reportPdfButton, ui.dicomButton):
            button.enabled = ready
        parameters = self._panel.parameters
        inDatabase = parameters is not None and parameters.dicomTarget == DicomTarget.DATABASE
        ui.dicomButton.text = _("Export DICOM") if inDatabase else _("Export DICOM...")

    def cleanUp(self):
        """Remove the pages that were opened in a browser, which show a brain."""
        for folder in self._pages:
            shutil.rmtree(folder, ignore_errors=True)
        self._pages = []

    # Reports

    def onPage(self, checked=False):
        """Make the page in a folder that goes with the scene or with Slicer, and open it."""
        found, folder = self._panel.results.found, self._temporary("RelAPET-report-")
        if folder is None:
            return
        self._pages.append(folder)

        def done(file):
            if qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(file))):
                self._panel.tell(_("The report was opened in the web browser. It shows a model's guess."))
            else:
                self._panel.say(_("no web browser could be started; the report is {file}").format(file=file))

        self._report(export.Report(found, Path(folder) / f"SYNTHETIC_{_tracer(found)}_report.html"), done)

    def onPdf(self, checked=False):
        name = f"SYNTHETIC_{_tracer(self._panel.results.found)}_report.pdf"
        file = qt.QFileDialog.getSaveFileName(self._panel.parent, _("Report as a PDF"), name, _("PDF files (*.pdf)"))
        file = file[0] if isinstance(file, tuple) else file  # PySide gives (file, filter), PythonQt the file
        if file:
            self.savePdf(file)

    def savePdf(self, file):
        """Write the one-page report of the shown result."""

        def done(file):
            self._panel.tell(_("Report written: {file}. It shows a model's guess.").format(file=file))

        self._report(export.Report(self._panel.results.found, file, pdf=True), done)

    def _report(self, report, done):
        def ended(ending):
            if ending.ok:
                done(report.file)

        self._run(_("Report"), report, ended)

    # DICOM

    def onDicom(self, checked=False):
        if self._panel.parameters.dicomTarget == DicomTarget.DATABASE:
            self.exportToDatabase()
            return
        folder = qt.QFileDialog.getExistingDirectory(self._panel.parent, _("Folder for the DICOM files"))
        if folder:
            self.exportDicom(folder)

    def exportDicom(self, folder):
        """Write the DICOM objects of the chosen output into a new folder inside `folder`."""
        exporting = self._export(folder)

        def ended(ending):
            if ending.ok:
                words = _("DICOM written to {folder}.").format(folder=exporting.target)
                self._panel.tell(words + exporting.note)

        self._run(_("DICOM export"), exporting, ended)

    def exportToDatabase(self):
        """Put them into Slicer's own DICOM database, which keeps copies; the files made for it go again."""
        database = getattr(slicer, "dicomDatabase", None)
        if database is None or not database.isOpen:
            self._panel.say(_("Slicer's DICOM database is not open; open the DICOM module once, or choose a folder"))
            return
        folder = self._temporary("RelAPET-")
        if folder is None:
            return
        exporting = self._export(folder)

        def ended(ending):
            try:
                if ending.ok:
                    self._take(exporting.target, ending.result.get("instances") or {}, exporting.note)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

        if not self._run(_("DICOM export"), exporting, ended):
            shutil.rmtree(folder, ignore_errors=True)

    def _take(self, folder, instances, note):
        """Let the database copy the files of a folder, and look whether it has what counts.

        instances: UIDs by file name, from the library's result; note: what is told beside.
        """
        from DICOMLib import DICOMUtils

        self._panel.tell(_("Taking the DICOM files into Slicer's database..."))
        slicer.app.processEvents()  # the words are seen before the import, which blocks a moment
        taken = DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, True)
        known = slicer.dicomDatabase.fileForInstance
        missing = [name for name, uid in instances.items() if not known(uid)]
        if not taken or missing or not instances:
            what = ", ".join(missing) or _("the files")
            self._panel.say(_("Slicer's DICOM database did not take {what}; export to a folder").format(what=what))
            return
        self._panel.tell(_("In Slicer's DICOM database. To send it, use the DICOM module.") + note)

    def _temporary(self, prefix):
        """A new folder in Slicer's temporary one; None, with a line in the panel, where it cannot be made."""
        try:
            return tempfile.mkdtemp(prefix=prefix, dir=_existing(slicer.app.temporaryPath))
        except OSError as error:
            self._panel.say(_("no temporary folder could be made: {why}").format(why=error.strerror or error))
            return None

    def _export(self, folder):
        return export.Export(self._panel.results.found, folder, report=self._panel.parameters.dicomReport)

    def _run(self, title, handed, onEnd):
        """Hand a result over and start the library's command; returns False when that did not begin."""
        try:
            arguments = handed.prepare()
        except (OSError, ValueError) as error:
            handed.clean()
            self._panel.say(str(error))
            return False

        def ended(ending):
            handed.clean()
            onEnd(ending)

        started = self._panel.tasks.start(title, arguments, ended, names=handed.names, ofScene=True)
        if not started:
            handed.clean()  # another task is running
        return started


def _tracer(found):
    return found.pet.GetAttribute(TRACER)


def _existing(folder):
    with contextlib.suppress(TypeError):
        return folder if Path(folder).is_dir() else None
