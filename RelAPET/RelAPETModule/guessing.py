"""Which volumes of a scene are a T1w and a T2-FLAIR, by their names and DICOM descriptions."""

import re

from .scene import SYNTHETIC

_FLAIR = re.compile(r"flair|(?<![a-z0-9])t2[ _-]?f(?![a-z0-9])|dark[ _-]?fluid", re.IGNORECASE)
_T1 = re.compile(r"(?<![a-z0-9])t1(?![0-9])|mp2?rage|bravo|spgr|(?<![a-z])tfl(?![a-z])", re.IGNORECASE)
_CONTRAST = re.compile(r"gad|(?<![a-z])(gd|post|contrast|ce|km)(?![a-z])|t1[ _-]?c(?![a-z])", re.IGNORECASE)


def describe(volume):
    """What is known of a volume in words: its name, and its series' DICOM description."""
    words = [volume.GetName() or ""]
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    if item:
        words.append(hierarchy.GetItemName(item))
        words += [hierarchy.GetItemAttribute(item, name) for name in ("DICOM.SeriesDescription", "DICOM.ProtocolName")]
    words += [volume.GetAttribute(name) or "" for name in ("DICOM.SeriesDescription", "DICOM.ProtocolName")]
    return " | ".join(filter(None, words))


def guessInputs(mrmlScene, t1w=None, t2f=None):
    """(T1w, T2-FLAIR), each None when no volume says so; given ones are kept, and the newest of several is taken.

    Synthetic volumes and label maps are never taken; a T1w without contrast agent comes before one with it.
    """
    volumes = []
    for number in range(mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        volume = mrmlScene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode")
        plain = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not volume.GetAttribute(SYNTHETIC)
        if plain and volume.GetImageData() is not None:
            volumes.append((volume, describe(volume)))
    if t2f is None:
        flairs = [volume for volume, words in volumes if _FLAIR.search(words) and volume is not t1w]
        t2f = flairs[-1] if flairs else None
    if t1w is None:
        found = [
            (not _CONTRAST.search(words), number, volume)
            for number, (volume, words) in enumerate(volumes)
            if _T1.search(words) and not _FLAIR.search(words) and volume is not t2f
        ]
        t1w = max(found, key=lambda row: row[:2])[2] if found else None
    return t1w, t2f
