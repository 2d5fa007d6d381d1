"""The entry "Test RelAPET on this computer", in Slicer's Help menu and in the panel; it writes one report file."""

import os

import qt
import slicer
from slicer.i18n import tr as _

from . import testreport
from .library import library
from .testreport import Report, Stopped
from .tutorial import Tutorial
from .words import ALARM, escaped, textColor, tone

ACTION = "RelAPETSelfTestAction"
#: Steps after which the application is asked for pictures.
PICTURED = {"person": "panel_begin", "look": "result", "alltracers": "tracers"}
KEPT = (
    "tracer", "model", "quality", "steps", "samples", "seed", "device", "sampler", "cutoffs", "space",
    "fineRegistration", "dicomTarget", "dicomReport",
)  # fmt: skip


def addMenuEntry():
    """Put the entry into Slicer's Help menu, once; an application without one has the panel's button."""
    main = slicer.util.mainWindow()
    menus = slicer.util.findChildren(main, name="HelpMenu") if main is not None else []
    if not menus or slicer.util.findChildren(main, name=ACTION):
        return
    action = qt.QAction(_("Test RelAPET on this computer"), main)
    action.setObjectName(ACTION)
    action.connect("triggered(bool)", lambda checked=False: fromMenu())
    menus[0].addAction(action)


def fromMenu():
    """Open the module and begin."""
    slicer.util.selectModule("RelAPET")
    slicer.util.getModuleWidget("RelAPET").selfTest.onTest()


class SelfTestPanel:
    """The button, what it says meanwhile and afterwards."""

    def __init__(self, panel):
        self._panel, self._running, self._stopped, self._file = panel, False, False, None
        panel.ui.selfTestButton.connect("clicked(bool)", self.onTest)
        panel.ui.selfTestLabel.connect("linkActivated(QString)", self.onLink)

    @property
    def running(self):
        return self._running

    def stop(self):
        """End at the next chance; a report of what was done is still written."""
        self._stopped = True

    def onTest(self, checked=False):
        if self._running:
            self.stop()
            return
        panel = self._panel
        panel.ui.logSection.collapsed = False
        if panel.busy or panel.parameters is None:
            self._say(_("Wait until what runs is done, then test."), alarm=True)
            return
        question = _(
            "The test closes the scene, works some minutes on a simulated person, and writes one report file without "
            "patient data. Save what you need first. Close the scene and test now?"
        )
        if slicer.util.confirmOkCancelDisplay(question):
            self.run()

    def run(self):
        """Do all steps and write the report; the report."""
        panel, report = self._panel, Report()
        self._running, self._stopped, self._file = True, False, None
        before = {name: getattr(panel.parameters, name) for name in KEPT}  # now: closing the scene forgets them
        panel.ui.selfTestButton.text = _("Stop the test")
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        panel.initializeParameterNode()
        panel.ui.batchSection.collapsed = True  # it names a folder, and the panel is pictured
        panel.ui.logText.clear()  # what was logged before is not the test's, and may name a patient's volumes
        try:
            self._steps(report)
            self._write(report)
        finally:
            report.clean()
            self._running = False
            if panel.ui is not None and not panel.gone:
                self._leave(before)
        return report

    def _steps(self, report):
        tutorial = Tutorial(self._panel, lambda: self._stopped)
        try:
            for number, (name, title, needs) in enumerate(Tutorial.STEPS, 1):
                self._say(_("Step {n} of {all}: {title}").format(n=number, all=len(Tutorial.STEPS), title=title))
                slicer.app.processEvents()
                report.run(name, title, tutorial.step(name), needs)
                if name in PICTURED:
                    report.picture(f"{PICTURED[name]}_panel", testreport.grabPanel(self._panel))
                    report.picture(f"{PICTURED[name]}_views", testreport.grabViews)
        except Stopped:
            if not self._panel.gone:
                self._panel.logic.stopNow()
                self._panel.tasks.stopNow()
        finally:
            tutorial.clean()

    def _write(self, report):
        panel = self._panel
        if panel.gone:
            return
        selector = panel.ui.deviceSelector
        devices = [selector.itemText(index) for index in range(selector.count)]
        try:
            self._file = report.write(testreport.reportFolder(), panel.ui.logText.toPlainText(), devices)
        except (OSError, library("errors").RelAPETError) as error:
            why = getattr(error, "strerror", None) or error
            self._say(_("The report was not written: {why}").format(why=why), alarm=True)
            return
        self._tellEnd(report)

    def _tellEnd(self, report):
        label = self._panel.ui.selfTestLabel
        color = tone(label, ALARM) if report.failed else textColor(label)
        link = f"style='color:{textColor(label)}'"
        words = _("Stopped.") if self._stopped else testreport.outcomeWords(report)
        where = escaped(_("The report is {file}.").format(file=self._file))
        label.text = (
            f"<b style='color:{color}'>{escaped(words)}</b> {where} "
            f"<a href='folder' {link}>{_('Show its folder')}</a>. "
            f"{escaped(_('Please read it, then send it with a new issue:'))} "
            f"<a href='issues' {link}>{escaped(testreport.ISSUES)}</a>"
        )

    def _leave(self, before):
        """The panel as it was, in an empty scene."""
        panel = self._panel
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        panel.initializeParameterNode()
        for name, value in before.items():
            setattr(panel.parameters, name, value)
        panel.ui.selfTestButton.text = _("Test RelAPET on this computer")
        panel.updatePanel()

    def onLink(self, link):
        if link == "issues":
            qt.QDesktopServices.openUrl(qt.QUrl(testreport.ISSUES))
        elif self._file is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(os.path.dirname(self._file)))

    def _say(self, words, alarm=False):
        label = self._panel.ui.selfTestLabel
        color = f" style='color:{tone(label, ALARM)}'" if alarm else ""
        label.text = f"<span{color}>{escaped(words)}</span>"
