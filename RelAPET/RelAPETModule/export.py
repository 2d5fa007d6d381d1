"""DICOM of a result: files for the library's ``dicom`` command, and the T1w's series when Slicer's database has it."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from . import scene
from .attributes import objectOf, readDict


class Export:
    """The PET and its record in a temporary folder, as the library reads them; the DICOM files go to `target`."""

    def __init__(self, results, folder):
        self._results, self._folder, self._scratch = results, Path(folder), None
        self.names = {}  # of the volumes, by the temporary files that the library reads
        tracer = results.pet.GetAttribute(scene.TRACER) if results else "PET"
        self.target = self._folder / f"SYNTHETIC_{tracer}_{time.strftime('%Y%m%d-%H%M%S')}"

    def prepare(self):
        """Write what the library needs and return its arguments. Raises scene.SceneError or OSError."""
        self._scratch = Path(tempfile.mkdtemp(prefix="RelAPET-"))
        text = self._results.pet.GetAttribute(scene.PROVENANCE)
        if not text:
            raise scene.SceneError(_("this PET carries no record of how it was made, so it is not exported"))
        record = readDict(self._results.pet, scene.PROVENANCE)
        outputs = objectOf(record.get("outputs")).values()
        if "outputs" not in record or not all(isinstance(output, dict) for output in outputs):
            raise scene.SceneError(_("this PET's record of how it was made is damaged, so it is not exported"))
        for output in outputs:
            output.pop("sha256", None)  # of the files that the library wrote; those below hold the same voxels
        (self._scratch / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")
        space = scene.MNI if self._results.pet.GetAttribute(scene.SPACE) == "MNI" else ""
        for kind in ("pet", "uncertainty"):
            node = self._results.volumes.get(kind)
            if node is not None:
                path = self._scratch / f"{scene.FILES[kind]}{space}.nii.gz"
                self._writeNifti(node, path)
                self.names[path] = node.GetName()
        arguments = ["dicom", "--pet", str(self._scratch / f"synthetic_pet{space}.nii.gz"), "--out", str(self.target)]
        files = [] if space else sourceFiles(self._results.mri)
        if files:
            source = self._scratch / "source"
            source.mkdir()
            for number, file in enumerate(files):
                shutil.copyfile(file, source / f"{number:05d}.dcm")
            arguments += ["--source", str(source)]
            self.names[source] = f"DICOM series of {self._results.mri.GetName()}"
        return arguments

    @staticmethod
    def _writeNifti(node, path):
        scene.worldMatrix(node)
        storage = slicer.vtkMRMLNIfTIStorageNode() if hasattr(slicer, "vtkMRMLNIfTIStorageNode") else None
        storage = storage or slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(path))
        if not storage.WriteData(node) or not os.path.isfile(path):
            raise scene.SceneError(scene.notWritten().format(name=node.GetName(), folder=path.parent))

    def clean(self):
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


def sourceFiles(volume):
    """Files of the DICOM series that a volume was loaded from, as far as Slicer's database knows them; else none."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split() if volume is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return []
    files = [database.fileForInstance(uid) for uid in uids]
    return files if all(file and os.path.isfile(file) for file in files) else []
