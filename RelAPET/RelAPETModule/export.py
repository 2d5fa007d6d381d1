"""Files of a result for the library's ``dicom`` and ``report`` commands, made of nodes in a temporary folder.

Of the T1w the DICOM series is handed over too, when Slicer's database has it.
"""

import csv
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from . import attributes, grids, scene
from .attributes import objectOf, readDict, readList
from .library import library


class HandedOver:
    """A PET with its record and maps in a temporary folder, as the library reads them; `clean` removes it."""

    def __init__(self, results):
        self._results, self._scratch, self._matrix = results, None, None
        self.names = {}  # of the volumes, by the temporary files that the library reads
        self.tracer = results.pet.GetAttribute(attributes.TRACER) if results else "PET"

    def _write(self, kinds):
        """Write the record and the maps of some kinds; returns the PET's file. Raises scene.SceneError or OSError."""
        self._scratch = Path(tempfile.mkdtemp(prefix="RelAPET-"))
        text = self._results.pet.GetAttribute(attributes.PROVENANCE)
        if not text:
            raise scene.SceneError(_("this PET carries no record of how it was made, so it is not exported"))
        record = readDict(self._results.pet, attributes.PROVENANCE)
        record["outputs"] = _asWritten(record)
        (self._scratch / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")
        self._matrix = _ownMatrix(self._results)
        for kind in kinds:
            node = self._results.volumes.get(kind)
            if node is not None:
                path = self._scratch / f"{scene.FILES[kind]}{self._space}.nii.gz"
                _writeNifti(node, path, self._matrix)
                self.names[path] = node.GetName()
        return self._scratch / f"{scene.FILES['pet']}{self._space}.nii.gz"

    @property
    def _space(self):
        return scene.MNI if self._results.pet.GetAttribute(attributes.SPACE) == "MNI" else ""

    def _writeForPage(self):
        """Write what only a page shows; returns the MRI's file. Raises scene.SceneError or OSError."""
        mri = self._results.mri
        if mri is None:
            raise scene.SceneError(_("the MRI of this PET is not in the scene, so there is nothing to show it over"))
        path = self._scratch / "t1w.nrrd"
        scene.writeVolume(mri, path, self._matrix)
        self.names[path] = mri.GetName()
        rows = readList(self._results.regions, attributes.ROWS) if self._results.regions is not None else []
        if rows and all(isinstance(row, dict) for row in rows):
            with open(self._scratch / "regions.tsv", "w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(
                    stream, list(rows[0]), delimiter="\t", lineterminator="\n", extrasaction="ignore"
                )
                writer.writeheader()
                writer.writerows(rows)
        return path

    def clean(self):
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


def _ownMatrix(results):
    """The T1w's own matrix from voxels to RAS, where a PET has the T1w's voxels; None elsewhere.

    All is written by it: a DICOM series, whose frame of reference the files get, and the program that makes the page
    know of no transform that the T1w, the PET or both are under, or were when the PET was made.
    """
    pet, mri = results.pet, results.mri
    if mri is None or mri.GetImageData() is None or pet.GetAttribute(attributes.SPACE) == "MNI":
        return None
    dimensions = pet.GetImageData().GetDimensions()
    if dimensions != mri.GetImageData().GetDimensions():
        return None
    (petOwn, petWorld), (own, world) = _matrices(pet), _matrices(mri)
    same = any(grids.samePlace(*two, dimensions) for two in ((petOwn, own), (petOwn, world), (petWorld, world)))
    return own if same else None


def _matrices(volume):
    """A volume's own matrix, and the one with its transforms where these are linear."""
    own = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(own)
    try:
        return own, scene.worldMatrix(volume)
    except scene.SceneError:
        return own, own


def _writeNifti(node, path, matrix):
    """Write a map where it is by itself, or where a matrix puts it. Raises scene.SceneError."""
    scene.worldMatrix(node)
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.SetAndObserveImageData(node.GetImageData())
    own = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(own)
    copy.SetIJKToRASMatrix(own if matrix is None else matrix)
    storage = slicer.vtkMRMLNIfTIStorageNode() if hasattr(slicer, "vtkMRMLNIfTIStorageNode") else None
    storage = storage or slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(copy) or not os.path.isfile(path):
        raise scene.SceneError(scene.notWritten().format(name=node.GetName(), folder=path.parent))


def _asWritten(record):
    """A record's outputs by the names that the files have here: the library may have written others, uncompressed ones
    or a data set's. Raises scene.SceneError for a damaged record.

    Their SHA-256 go: they are of the library's files, and those written here hold the same voxels.
    """
    meaning, found = library("provenance"), {}
    stems = {
        objectOf(record.get("pet")).get("content"): "synthetic_pet",
        meaning.UNCERTAINTY_MEANING: "uncertainty",
        meaning.DEPARTURE_MEANING: "departure",
        meaning.DIFFERENCE_MEANING: "difference",
        library("volumes.synthetic").REFERENCE_MEANING: "reference",
        meaning.Z_MEANING: "reference_z",
    }
    outputs = record.get("outputs")
    if not isinstance(outputs, dict) or not all(isinstance(output, dict) for output in outputs.values()):
        raise scene.SceneError(_("this PET's record of how it was made is damaged, so it is not exported"))
    for name, output in outputs.items():
        stem = stems.get(output.get("content"))
        end = scene.MNI if output.get("space") == "MNI" else ""
        if output.get("content") == meaning.REGIONS_MEANING:
            name = "regions.tsv"
        found[f"{stem}{end}.nii.gz" if stem else name] = {k: v for k, v in output.items() if k != "sha256"}
    return found


class Export(HandedOver):
    """DICOM files of a result in a new folder inside `folder`; with `report`, its page as a document among them."""

    def __init__(self, results, folder, report=False):
        super().__init__(results)
        self._report, self._tied = report, False
        self.target = Path(folder) / f"SYNTHETIC_{self.tracer}_{time.strftime('%Y%m%d-%H%M%S')}"

    @property
    def note(self):
        """What must be known of the files beside where they are; "" where there is nothing."""
        words = _("Their patient and study are made up, since Slicer's DICOM database has no series of this PET's T1w.")
        if self._space:
            words = _("Their patient and study are made up, since a PET in MNI space lies in no scanner's series.")
        return "" if self._tied else f" {words}"

    def prepare(self):
        """Write what the library needs and return its arguments. Raises scene.SceneError or OSError."""
        pet = self._write(scene.FILES if self._report else ("pet", "uncertainty"))
        arguments = ["dicom", "--pet", str(pet), "--out", str(self.target)]
        files = [] if self._space else sourceFiles(self._results.mri)
        self._tied = bool(files)
        if files:
            source = self._scratch / "source"
            source.mkdir()
            for number, file in enumerate(files):
                shutil.copyfile(file, source / f"{number:05d}.dcm")
            arguments += ["--source", str(source)]
            self.names[source] = f"DICOM series of {self._results.mri.GetName()}"
        if self._report:
            arguments += ["--report", "--t1w", str(self._writeForPage())]
        return arguments


class Report(HandedOver):
    """A page of a result in a file: to look through in a browser, or one to print (`pdf`)."""

    def __init__(self, results, file, pdf=False):
        super().__init__(results)
        self.file, self._pdf = Path(file), pdf

    def prepare(self):
        """Write what the library needs and return its arguments. Raises scene.SceneError or OSError."""
        self._write(scene.FILES)
        arguments = ["report", str(self._scratch), "--t1w", str(self._writeForPage())]
        self.names[self._scratch] = self._results.pet.GetName()
        return [*arguments, *(["--pdf"] if self._pdf else []), "--out", str(self.file), "--overwrite"]


def sourceFiles(volume):
    """Files of the DICOM series that a volume was loaded from, as far as Slicer's database knows them; else none."""
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split() if volume is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return []
    files = [database.fileForInstance(uid) for uid in uids]
    return files if all(file and os.path.isfile(file) for file in files) else []
