"""Reads and writes nodes and scenes by slicer-core's own storage nodes, behind qSlicerCoreIOManager's Python face."""

from pathlib import Path

import slicer

# File type -> class of node that it becomes; volumes and scenes have ways of their own.
NODE_CLASSES = {
    "TableFile": "vtkMRMLTableNode",
    "TransformFile": "vtkMRMLTransformNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TextFile": "vtkMRMLTextNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
    "ModelFile": "vtkMRMLModelNode",
    "MarkupsFile": "vtkMRMLMarkupsNode",
}
EXTENSIONS = {
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".txt": "TextFile",
    ".json": "TextFile",
    ".ctbl": "ColorTableFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
}


class IOManager:
    def fileType(self, filename):
        name = str(filename).lower()
        if name.endswith((".seg.nrrd", ".seg.nhdr")):
            return "SegmentationFile"
        return EXTENSIONS.get(Path(name).suffix, "VolumeFile")

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def loadNodes(self, filetype, properties, collection=None, messages=None):
        path = str(properties["fileName"])
        if not Path(path).exists():
            return _fail(messages, f"{path} does not exist")
        if filetype == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        if filetype == "VolumeFile":
            node = self._load_volume(path, properties)
        elif filetype in NODE_CLASSES:
            node = self._load_node(path, NODE_CLASSES[filetype], properties)
        else:
            raise NotImplementedError(f"the harness reads no {filetype}")
        if node is None:
            return _fail(messages, f"cannot read {path} as {filetype}")
        if collection is not None:
            collection.AddItem(node)
        return True

    @staticmethod
    def _load_volume(path, properties):
        name = properties.get("name") or Path(path).name.split(".")[0]
        logic = slicer.app.moduleLogic("Volumes")
        node = logic.AddArchetypeVolume(path, name, 1 if properties.get("labelmap") else 0)
        if node and properties.get("show", True):
            selection = slicer.app.applicationLogic().GetSelectionNode()
            selection.SetReferenceActiveVolumeID(node.GetID())
            slicer.app.applicationLogic().PropagateVolumeSelection()
        return node

    @staticmethod
    def _load_node(path, class_name, properties):
        name = properties.get("name") or Path(path).name.split(".")[0]
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, slicer.mrmlScene.GenerateUniqueName(name))
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None

    @staticmethod
    def _load_scene(path, clear):
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, filetype, properties, messages=None):
        path = str(properties["fileName"])
        if filetype == "SceneFile":
            return self._save_scene(path)
        return self._write(slicer.mrmlScene.GetNodeByID(properties["nodeID"]), path, properties, messages)

    @staticmethod
    def _save_scene(path):
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).parent))
            return bool(scene.Commit(path))
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None))

    @staticmethod
    def _write(node, path, properties, messages):
        if not node.GetStorageNode():
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node)) or _fail(messages, f"cannot write {path}")

    def fileWriterExtensions(self, node):
        storage = _storage_of(node)
        types = storage.GetSupportedWriteFileTypes()
        return [types.GetValue(index) for index in range(types.GetNumberOfValues())]

    def extractKnownExtension(self, filename, node):
        return _storage_of(node).GetSupportedFileExtension(str(filename), False, True)

    def exportNodes(self, node_ids, filenames, properties, harden, messages=None):
        """Writes through a storage node that is not the node's own, which stays as it was."""
        if harden:
            raise NotImplementedError("the harness exports no hardened transforms")
        for node_id, filename in zip(node_ids, filenames, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetFileName(str(filename))
            if not storage.WriteData(node):
                return _fail(messages, f"cannot write {filename}")
        return True


def _storage_of(node):
    storage = node.GetStorageNode()
    if storage is None:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
    return storage


def _fail(messages, text):
    if messages is not None:
        messages.AddMessage(slicer.vtkCommand.ErrorEvent if hasattr(slicer, "vtkCommand") else 30, text)
    return False
