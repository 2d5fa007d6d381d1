"""*Synthesize PET* in the menu of a right click on a patient or study. Slicer reads this file by its path."""

import qt
from slicer.i18n import tr as _

try:
    from AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin
except ImportError:  # where Slicer has it as a package alone
    from SubjectHierarchyPlugins.AbstractScriptedSubjectHierarchyPlugin import AbstractScriptedSubjectHierarchyPlugin

from RelAPETModule import hierarchymenu


class RelAPETSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """Owns no items: it adds one action to those of others."""

    filePath = __file__  # Slicer's convention

    def __init__(self, scriptedPlugin):
        scriptedPlugin.name = hierarchymenu.NAME
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self._item = 0
        self.action = qt.QAction(_("Synthesize PET"), scriptedPlugin)
        self.action.objectName = "RelAPETSynthesizeAction"
        self.action.toolTip = _("Open RelAPET with the T1w and T2-FLAIR of this study, or list those of this patient.")
        self.action.connect("triggered()", self.onSynthesize)

    def canAddNodeToSubjectHierarchy(self, node, parentItemID):
        return 0.0

    def canOwnSubjectHierarchyItem(self, itemID):
        return 0.0

    def roleForPlugin(self):
        return "N/A"

    def itemContextMenuActions(self):
        return [self.action]

    def sceneContextMenuActions(self):
        return []

    def showContextMenuActionsForItem(self, itemID):
        """Slicer has hidden all actions before it calls this."""
        self._item = itemID
        self.action.visible = hierarchymenu.offers(itemID)

    def onSynthesize(self):
        hierarchymenu.openFor(self._item)
