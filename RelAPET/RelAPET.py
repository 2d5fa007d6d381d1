"""RelAPET for 3D Slicer: from a T1-weighted and a T2-FLAIR MRI to a synthetic PET laid over them.

Slicer finds the module by this file. It stays thin, and readable to older Pythons, so that an older Slicer can say what
it lacks; the panel, the process and everything else are in RelAPETModule/, the numerics in RelAPETLib.
"""

import sys

import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

MINIMUM_SLICER = (5, 10)
TOO_OLD = "RelAPET needs 3D Slicer {}.{} or later; this is {}.{}.".format(
    *MINIMUM_SLICER, slicer.app.majorVersion, slicer.app.minorVersion
)
SUPPORTED = (int(slicer.app.majorVersion), int(slicer.app.minorVersion)) >= MINIMUM_SLICER


class RelAPET(ScriptedLoadableModule):
    """Title, category and help of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "RelAPET"
        parent.categories = ["Image Synthesis"]
        parent.dependencies = []
        parent.contributors = ["RelAPET's authors"]
        parent.helpText = HELP if SUPPORTED else TOO_OLD
        parent.acknowledgementText = ACKNOWLEDGEMENT
        if SUPPORTED:
            from RelAPETModule import hierarchymenu
            from RelAPETModule.layouts import register
            from RelAPETModule.marks import viewMarks
            from RelAPETModule.sampledata import registerSampleData
            from RelAPETModule.selftestpanel import addMenuEntry

            slicer.app.connect("startupCompleted()", registerSampleData)
            slicer.app.connect("startupCompleted()", register)  # such a scene may have been saved side by side
            slicer.app.connect("startupCompleted()", hierarchymenu.register)
            slicer.app.connect("startupCompleted()", addMenuEntry)
            slicer.app.connect("startupCompleted()", viewMarks.start)  # a loaded scene may show a synthetic volume


HELP = (
    "Makes a synthetic PET of the chosen tracer from a T1-weighted and a T2-FLAIR brain MRI with a diffusion model. "
    "A synthetic PET is a model's guess, not a measurement. Research software: not a medical device, not for diagnosis "
    "or treatment. Nothing is sent anywhere."
)
ACKNOWLEDGEMENT = (
    "After RelA-Diffusion (arXiv 2602.21345). Template: ICBM 152 2009a, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute."
)

if SUPPORTED:
    if hasattr(slicer.modules, "RelAPETWidget"):
        # There is a panel already: this is Slicer's Reload button, and the package must be read again too.
        for _name in [name for name in sys.modules if name.split(".")[0] == "RelAPETModule"]:
            del sys.modules[_name]

    from RelAPETModule.logic import RelAPETLogic
    from RelAPETModule.selftest import RelAPETTest
    from RelAPETModule.widget import RelAPETWidget
else:

    class RelAPETWidget(ScriptedLoadableModuleWidget):
        """One line instead of the panel."""

        def setup(self):
            ScriptedLoadableModuleWidget.setup(self)
            import qt

            label = qt.QLabel(TOO_OLD)
            label.wordWrap = True
            self.layout.addWidget(label)
            self.layout.addStretch(1)

    class RelAPETLogic(ScriptedLoadableModuleLogic):
        def __init__(self):
            raise RuntimeError(TOO_OLD)

    class RelAPETTest(ScriptedLoadableModuleTest):
        def runTest(self):
            raise AssertionError(TOO_OLD)
