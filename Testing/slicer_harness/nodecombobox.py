"""Stand-in of qMRMLNodeComboBox: the nodes of a real vtkMRMLScene, of given classes and attributes."""

import shiboken6
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QWidget

from .stored import stored


class qMRMLNodeComboBox(QWidget):
    """Follows the scene. As Slicer's, it is disabled until it has one, and takes the first node that comes when None is
    not offered. A node renamed later shows its old name here until the next node comes or goes."""

    cpp_signals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeAboutToBeEdited(vtkMRMLNode*)",
        "currentNodeRenamed(QString)",
    )
    cpp_conversions = {"currentNodeChanged(bool)": bool}
    cpp_slots = (
        "setMRMLScene(vtkMRMLScene*)",
        "setCurrentNode(vtkMRMLNode*)",
        "setCurrentNode(QString)",
        "setCurrentNodeID(QString)",
        "setCurrentNodeIndex(int)",
        "addNode()",
    )
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)

    nodeTypes = stored("QStringList", "nodeTypes", [], "_refresh")
    showHidden = stored(bool, "showHidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, "_refresh")
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], "_refresh")
    baseName = stored(str, "baseName", "")
    noneEnabled = stored(bool, "noneEnabled", False, "_refresh")
    addEnabled = stored(bool, "addEnabled", True, "_refresh")
    removeEnabled = stored(bool, "removeEnabled", True, "_refresh")
    editEnabled = stored(bool, "editEnabled", False, "_refresh")
    renameEnabled = stored(bool, "renameEnabled", False, "_refresh")
    interactionNodeSingletonTag = stored(str, "interactionNodeSingletonTag", "")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    noneDisplay = stored(str, "noneDisplay", "None", "_refresh")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._observations = None, []
        self._attributes, self._labels = {}, {}
        self._current, self._requested = "", None
        self._cleared = False  # by setCurrentNode(None): then no node is taken by itself
        self._combo = QComboBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._activated)
        self.setEnabled(False)

    # -- the scene ---------------------------------------------------------------------------------------------------

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._scene, self._observations = scene, []
        if scene:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._observations.append(scene.AddObserver(event, self._on_scene))
        self._refresh()
        if scene and self._requested is not None:
            self.setCurrentNodeID(self._requested)
        self.setEnabled(scene is not None)

    def _on_scene(self, scene, event):
        """During a batch (a scene loaded or closed) Slicer's model waits for its end, and so do we."""
        if not shiboken6.isValid(self):  # its panel is gone
            for tag in self.__dict__["_observations"]:
                scene.RemoveObserver(tag)
        elif not scene.IsBatchProcessing():
            self._refresh()

    def _accepts(self, node):
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        for kind in self.nodeTypes:
            fits = node.IsA(kind) if self.showChildNodeTypes else node.GetClassName() == kind
            if fits and all(_has(node, name, value) for name, value in self._attributes.get(kind, {}).items()):
                return True
        return False

    def _nodes(self):
        if not self._scene:
            return []
        every = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if self._accepts(node)]

    def nodeCount(self):
        return len(self._nodes())

    def nodeFromIndex(self, index):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, nodeType, attributeName, attributeValue=None):
        self._attributes.setdefault(nodeType, {})[attributeName] = attributeValue
        self._refresh()

    def removeAttribute(self, nodeType, attributeName):
        self._attributes.get(nodeType, {}).pop(attributeName, None)
        self._refresh()

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self._refresh()

    def nodeTypeLabel(self, nodeType):
        return self._labels.get(nodeType, nodeType.removeprefix("vtkMRML").removesuffix("Node"))

    # -- the choice --------------------------------------------------------------------------------------------------

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node):
        if node is None or isinstance(node, str):
            self.setCurrentNodeID(node)
        else:
            self.setCurrentNodeID(node.GetID())

    def setCurrentNodeID(self, nodeID):
        if not self._scene:
            self._requested = nodeID
            return
        node = self._scene.GetNodeByID(nodeID) if nodeID else None
        self._cleared = node is None
        self._select(nodeID if node and self._accepts(node) else "")
        self._fill()

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, nodeType=None):
        kind = nodeType or (self.nodeTypes[0] if self.nodeTypes else None)
        if kind not in self.nodeTypes:
            return None
        name = self._scene.GenerateUniqueName(self.baseName or self.nodeTypeLabel(kind))
        node = self._scene.AddNewNodeByClass(kind, name)
        for attribute, value in self._attributes.get(kind, {}).items():
            node.SetAttribute(attribute, "" if value is None else str(value))
        self.nodeAdded.emit(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _refresh(self):
        known = [node.GetID() for node in self._nodes()]
        if self._current not in known:
            self._select("" if self.noneEnabled or self._cleared or not known else known[0])
        self._fill()

    def _fill(self):
        self._combo.blockSignals(True)
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in self._nodes():
            self._combo.addItem(node.GetName(), node.GetID())
        if self.addEnabled:
            for kind in self.nodeTypes:
                self._combo.addItem(f"Create new {self.nodeTypeLabel(kind)}", "+" + kind)
        if self.removeEnabled and self._current:
            self._combo.addItem("Delete current node", "-")
        self._combo.setCurrentIndex(self._combo.findData(self._current))
        self._combo.blockSignals(False)

    def _select(self, nodeID):
        nodeID = nodeID or ""
        if nodeID != self._current:
            self._current = nodeID
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(nodeID)

    def _activated(self, index):
        """What a user picks: a node, None, or one of the actions below the nodes."""
        choice = self._combo.itemData(index)
        if choice.startswith("+"):
            self.addNode(choice[1:])
        elif choice == "-":
            self.nodeAboutToBeRemoved.emit(self.currentNode())
            self._scene.RemoveNode(self.currentNode())
        else:
            self._select(choice)
            self.nodeActivated.emit(self.currentNode())

    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID)


def _has(node, name, value):
    present = node.GetAttribute(name)
    return present is not None and (value is None or present == str(value))
