"""The scene's volumes to files for the library, and its results back to nodes; no numerics but geometry's checks."""

import contextlib
import json
import os
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from . import grids, tables
from .attributes import (
    FROM_BATCH,
    KIND,
    MRI_ROLE,
    PROVENANCE,
    ROLES,
    ROWS,
    RUN,
    SIDECAR,
    SPACE,
    SYNTHETIC,
    TRACER,
    UNITS,
    objectOf,
    readDict,
    setQuantity,
)
from .library import library
from .people import petsOfRun, saysSynthetic

TITLES = {"pet": "PET", "uncertainty": "spread of samples (not the error)", "difference": "minus reference"}
TITLES["departure"] = "departure (not a disease map)"
#: Name of the MRI that results in MNI space lie over.
TEMPLATE = "MNI template T1 (ICBM 152 2009a)"
#: Ending of the names of files in the model's space.
MNI = "_space-MNI"
FILES = {"pet": "synthetic_pet", "measured": "reference"}
FILES |= {kind: kind for kind in ("uncertainty", "difference", "departure")} | {"zscore": "reference_z"}
#: What is measured, by kind, in words; all else is synthetic.
MEASURED = {"measured": "measured {tracer} PET", "zscore": "z-score of the measured {tracer} PET"}


class SceneError(ValueError):
    """A volume that cannot be used as it is; the message says why and what to do."""


class PlaceError(SceneError):
    """A result that does not lie where its T1w does."""


def notWritten():
    return _("'{name}' could not be written to {folder}; is the disk full?")


def worldMatrix(volume):
    """vtkMatrix4x4 from voxel indices to RAS in the world, parent transforms included.

    Raises SceneError when there is none: no image, several components, a non-linear or shearing transform.
    """
    name = volume.GetName()
    image = volume.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise SceneError(_("'{name}' holds no image; load it again or choose another volume").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        words = _("'{name}' has several values a voxel (colour or a time series); choose a single 3-D volume")
        raise SceneError(words.format(name=name))
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    transform = volume.GetParentTransformNode()
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            words = _(
                "'{name}' is under the non-linear transform '{transform}'; harden it (Data module, right click on the "
                "volume's transform) or take the volume out of it"
            )
            raise SceneError(words.format(name=name, transform=transform.GetName()))
        toWorld = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(toWorld)
        vtk.vtkMatrix4x4.Multiply4x4(toWorld, matrix, matrix)
    _checkAxes(matrix, name)
    return matrix


def _checkAxes(matrix, name):
    columns = [[matrix.GetElement(row, column) for row in range(3)] for column in range(3)]
    lengths = [vtk.vtkMath.Norm(column) for column in columns]
    if min(lengths) <= 0:
        raise SceneError(_("'{name}' has a voxel spacing of 0; correct it in the Volumes module").format(name=name))
    for one, two in ((0, 1), (0, 2), (1, 2)):
        if abs(vtk.vtkMath.Dot(columns[one], columns[two])) > 1e-3 * lengths[one] * lengths[two]:
            words = _(
                "'{name}' is sheared by its geometry or transform; resample it onto straight axes first (Resample "
                "Scalar/Vector/DWI Volume module)"
            )
            raise SceneError(words.format(name=name))


def writeVolume(volume, path, matrix=None):
    """Write a volume as NRRD where it is in the world, or where a matrix puts it; its node stays. Raises SceneError."""
    world = worldMatrix(volume)
    copy = slicer.vtkMRMLScalarVolumeNode()
    copy.SetAndObserveImageData(volume.GetImageData())
    copy.SetIJKToRASMatrix(world if matrix is None else matrix)
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)  # read once by the next process on this machine, so speed counts
    if not storage.WriteData(copy) or not os.path.isfile(path):
        raise SceneError(notWritten().format(name=volume.GetName(), folder=Path(path).parent))


def writeSidecar(volume, path, unit=None):
    """Write what a volume's BIDS sidecar says, or a PET's unit, as the sidecar of its file, and return its path.

    The library refuses all units of a PET but SUVR, asks about a synthetic PET as the measured one, and shows intervals
    of a simulated person's scans alone.

    unit: what else is known of the unit, where neither sidecar nor volume tells.
    """
    sidecar = readDict(volume, SIDECAR)
    units = volume.GetVoxelValueUnits()
    coded = (units.GetCodeValue() if units is not None else None) or unit
    unit = volume.GetAttribute(UNITS) or coded  # the code of a result's is that of a plain number, SUVR or not
    if "Units" not in sidecar and unit:
        sidecar = {**sidecar, "Units": unit}
    if saysSynthetic(volume):
        sidecar = {**sidecar, "Synthetic": True}
    written = Path(path).with_suffix(".json")
    if sidecar:
        written.write_text(json.dumps(sidecar), encoding="utf-8")
    return written


def readVolume(path, volume, geometryOf=None):
    """Read a result's file into a node of the scene, in place, and leave no link to the file.

    geometryOf: matrix of the T1w whose grid the result has; taken over exactly, since NIfTI rounds.
    """
    loaded = slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(1)
    if not storage.ReadData(loaded) or loaded.GetImageData() is None:
        raise SceneError(_("the result {file} could not be read").format(file=Path(path).name))
    matrix, image = vtk.vtkMatrix4x4(), loaded.GetImageData()
    loaded.GetIJKToRASMatrix(matrix)
    if geometryOf is not None:
        image, matrix = grids.handedAs(geometryOf, image, matrix)
        _checkSame(matrix, geometryOf, image.GetDimensions())
        matrix = geometryOf
    volume.SetAndObserveTransformNodeID(None)  # results lie in the world
    volume.SetAndObserveImageData(image)
    volume.SetIJKToRASMatrix(matrix)


def _checkSame(matrix, wanted, dimensions):
    if not grids.samePlace(matrix, grids.straight(wanted), dimensions):
        raise PlaceError(_("the result does not lie where the T1w does; please report this with the log"))


class Results:
    """Nodes of one tracer's synthesis; those that were not made are None."""

    def __init__(self, pet=None):
        self.pet = pet
        for name, role in ROLES.items():
            setattr(self, name, pet.GetNodeReference(role) if pet else None)
        self.mri = pet.GetNodeReference(MRI_ROLE) if pet else None

    @property
    def volumes(self):
        """By kind, those that are there."""
        kinds = {kind: self.pet if kind == "pet" else getattr(self, kind) for kind in FILES}
        return {kind: node for kind, node in kinds.items() if node is not None}


def outputsFor(output, tracers, wanted="T1w"):
    """By tracer, the volume that its PET replaces; None where a new one is made.

    A volume that the user made takes the first tracer. A synthetic PET is replaced by one of its own tracer and space
    alone, since its name tells both, and the others of its run, in the same space, by those of theirs.

    wanted: the space of the new PETs, "T1w" or "MNI".
    """
    if output is None or output.GetAttribute(KIND) is None:
        return {tracer: output if tracer == tracers[0] else None for tracer in tracers}
    if (output.GetAttribute(SPACE) or "T1w") != wanted:
        return dict.fromkeys(tracers)
    together = [node for node in petsOfRun(output) if node.GetAttribute(SPACE) == output.GetAttribute(SPACE)]
    # Of a PET and its copies in the scene the first is replaced.
    earlier = {node.GetAttribute(TRACER): node for node in (*reversed(together), output)}
    return {tracer: earlier.get(tracer) for tracer in tracers}


def placeResults(read, output, t1w, run):
    """Nodes of one tracer, a PET with its maps for each space.

    Args:
        read: `resultfiles.ResultFiles`.
        output: the volume to write the first PET to, or None for a new one.
        t1w: the T1w's node, or None when it has been deleted meanwhile.
        run: a word that the PETs of one run have in common.

    Returns:
        List of `Results`: in the T1w's space, in MNI space, or both in this order.
    """
    endings = list(read.maps)
    slicer.mrmlScene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        found = []
        for ending, maps in read.maps.items():
            name = (t1w.GetName() if t1w else "MRI") + (", MNI space" if ending else "")
            pet = _placeMaps(maps, read.facts, output if ending == endings[0] else None, read.tracer, name)
            pet.SetAttribute(RUN, run)
            pet.SetNodeReferenceID(FROM_BATCH, None)  # it may take the place of one
            pet.SetAttribute(PROVENANCE, json.dumps(read.record, ensure_ascii=False))
            pet.SetAttribute(SPACE, "MNI" if ending else "T1w")
            background = _template() if ending else t1w
            pet.SetNodeReferenceID(MRI_ROLE, background.GetID() if background else None)
            if ending == endings[0]:
                _placeTables(pet, read, name)
            placeInHierarchy([*Results(pet).volumes.values(), *_tablesOf(pet)], t1w)
            found.append(Results(pet))
    finally:
        slicer.mrmlScene.EndState(slicer.vtkMRMLScene.BatchProcessState)
    return found


@contextlib.contextmanager
def allOrNone():
    """Context whose new nodes go again when it fails."""
    before = _nodes()
    try:
        yield
    except BaseException:
        for node in set(_nodes()) - set(before):
            slicer.mrmlScene.RemoveNode(node)
        raise


def _nodes():
    return [slicer.mrmlScene.GetNthNode(number) for number in range(slicer.mrmlScene.GetNumberOfNodes())]


def titleOf(kind, tracer):
    """What a volume of a result is, in words."""
    return MEASURED[kind].format(tracer=tracer) if kind in MEASURED else f"SYNTHETIC {tracer} {TITLES[kind]}"


def _placeMaps(maps, facts, output, tracer, name):
    """Nodes of the scene with what was read; returns the PET's, which knows the others."""
    pet = _output(output, f"SYNTHETIC {tracer} PET ({name})")
    for kind, loaded in maps.items():
        node = pet if kind == "pet" else _partOf(pet, kind, f"{titleOf(kind, tracer)} ({name})")
        node.SetAndObserveTransformNodeID(None)
        node.CopyOrientation(loaded)
        node.SetAndObserveImageData(loaded.GetImageData())
        _describe(node, facts[kind])
    for kind in set(FILES) - set(maps):
        _forget(pet, kind)
    return pet


def _output(chosen, name):
    if chosen is None:
        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    if chosen.GetAttribute(KIND) is None:
        _leaveOrigin(chosen)
    if "SYNTHETIC" not in chosen.GetName():
        chosen.SetName(f"SYNTHETIC {chosen.GetName()}")
    return chosen


def _leaveOrigin(volume):
    """A volume of the user's own becomes a result: it is no more what a file, a DICOM series or a sidecar holds.

    Else saving the scene would write the synthetic PET over the file that the volume was loaded from.
    """
    for number in reversed(range(volume.GetNumberOfStorageNodes())):
        slicer.mrmlScene.RemoveNode(volume.GetNthStorageNode(number))
    for name in [name for name in volume.GetAttributeNames() if name.startswith("DICOM.") or name == SIDECAR]:
        volume.RemoveAttribute(name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    if item:
        for name in [name for name in hierarchy.GetItemAttributeNames(item) if name.startswith("DICOM.")]:
            hierarchy.RemoveItemAttribute(item, name)
        for name in ("DICOM", "DICOMInstanceUID"):
            if hierarchy.GetItemUID(item, name):
                hierarchy.SetItemUID(item, name, "")


def _partOf(pet, kind, name, nodeClass="vtkMRMLScalarVolumeNode"):
    """The node of a kind that belongs to a PET: that of its earlier run, or a new one."""
    node = pet.GetNodeReference(ROLES[kind])
    if node is None or isAnothersToo(node, pet, kind):
        node = slicer.mrmlScene.AddNewNodeByClass(nodeClass, slicer.mrmlScene.GenerateUniqueName(name))
        pet.SetNodeReferenceID(ROLES[kind], node.GetID())
    return node


def _forget(pet, kind):
    """Remove what an earlier run left and this one did not make."""
    node = pet.GetNodeReference(ROLES[kind])
    pet.SetNodeReferenceID(ROLES[kind], None)
    if node is not None and not isAnothersToo(node, pet, kind):
        slicer.mrmlScene.RemoveNode(node)


def isAnothersToo(node, pet, kind):
    """Whether a part of a PET is one of a copy too, which somebody made of the PET to keep it."""
    every = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return any(other is not pet and other.GetNodeReference(ROLES[kind]) is node for other in every)


def _describe(node, facts):
    """Attributes, units and quantity of a result."""
    for name, value in facts.items():
        node.SetAttribute(name, value)
    setQuantity(node, facts[UNITS], SYNTHETIC in facts)


def _template():
    """The MRI that results in MNI space lie over, loaded once."""
    present = slicer.mrmlScene.GetFirstNodeByName(TEMPLATE)
    if present is not None:
        return present
    node = slicer.vtkMRMLScalarVolumeNode()
    readVolume(library("resources").resource("template", "t1.nii.gz"), node)
    node.SetName(TEMPLATE)
    node = slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def _placeTables(pet, read, name):
    tables.forgetSegments(pet)
    regions = _partOf(pet, "regions", f"SYNTHETIC {read.tracer} regional means ({name})", "vtkMRMLTableNode")
    tables.fillRegions(regions, read.rows, read.record["pet"]["units"], objectOf(read.record.get("summary")))
    regions.SetAttribute(ROWS, json.dumps(read.rows, ensure_ascii=False))
    metrics = (read.record.get("reference") or {}).get("metrics")
    if metrics:
        node = _partOf(pet, "metrics", f"SYNTHETIC {read.tracer} against reference ({name})", "vtkMRMLTableNode")
        tables.fillMetrics(node, metrics)
    else:
        _forget(pet, "metrics")
    for node in _tablesOf(pet):
        tables.copyMarks(pet, node)


def _tablesOf(pet):
    nodes = (pet.GetNodeReference(ROLES[kind]) for kind in ("metrics", "regions"))
    return [node for node in nodes if node is not None]


def placeInHierarchy(nodes, t1w):
    """Put results where the T1w is in the subject hierarchy: in its study, or its folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or t1w is None:
        return
    item = hierarchy.GetItemByDataNode(t1w)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    for node in nodes:
        own = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
        hierarchy.SetItemParent(own, parent)
