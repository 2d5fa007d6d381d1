"""What a result was made with and from, and what has changed since: for scenes that are opened again."""

import hashlib
import json

import slicer
from slicer.i18n import tr as _

from . import models, people
from .attributes import MODEL, PROVENANCE, objectOf, readDict
from .library import library
from .parameters import FINE
from .scene import SceneError, worldMatrix

#: Attribute of a PET with a fingerprint of each input, by its role.
INPUTS = "RelAPET.Inputs"
#: Attribute of a PET with the quality that was chosen for it.
QUALITY = "RelAPET.Quality"
#: Node references to the inputs by role.
ROLES = {"t1w": people.SOURCE_ROLE, "t2f": people.T2F_ROLE}
TITLES = {"t1w": "T1w", "t2f": "T2-FLAIR"}
#: Millimetres by which saving and reading may move a corner.
TOLERANCE = 0.01
_known = {}  # volume's ID: (times of its image's last changes, SHA-256 of its voxels)


def fingerprint(volume):
    """SHA-256 of a volume's voxels, and two corners in the world; None for a volume that has none of these."""
    try:
        matrix = worldMatrix(volume)
    except SceneError:
        return None
    image = volume.GetImageData()
    corners = ([0, 0, 0, 1], [n - 1 for n in image.GetDimensions()] + [1])
    place = [coordinate for corner in corners for coordinate in matrix.MultiplyPoint(corner)[:3]]
    # VTK counts all changes in one row, so that two images never have the same times; Python's id of one is not kept.
    key = image.GetMTime(), image.GetPointData().GetScalars().GetMTime()
    if _known.get(volume.GetID(), (None,))[0] != key:
        values = slicer.util.arrayFromVolume(volume)
        digest = hashlib.sha256(json.dumps([str(values.dtype), values.shape]).encode())
        digest.update(memoryview(values.ravel()).cast("B"))  # ravel: no copy of what lies in one piece
        _known[volume.GetID()] = key, digest.hexdigest()
    return {"voxels": _known[volume.GetID()][1], "corners": place}


def same(one, two):
    """Whether two fingerprints are of the same voxels at the same place."""
    if one is None or two is None or one["voxels"] != two["voxels"]:
        return one is two
    return max(abs(a - b) for a, b in zip(one["corners"], two["corners"], strict=True)) < TOLERANCE


def _isFingerprint(found):
    """Whether what a scene holds is a fingerprint, as `fingerprint` makes one."""
    corners = objectOf(found).get("corners")
    numbers = isinstance(corners, list) and len(corners) == 6 and all(isinstance(c, int | float) for c in corners)
    return numbers and isinstance(found.get("voxels"), str)


def fingerprints(request):
    """Of the MRIs of a `logic.Request` by role, when they are handed over."""
    volumes = {role: getattr(request, role) for role in ROLES}
    return {role: fingerprint(volume) for role, volume in volumes.items() if volume is not None}


def remember(pet, prints, quality=None):
    """Let a PET know what its inputs were, and which quality was chosen for it; None where none was."""
    pet.SetAttribute(INPUTS, json.dumps(prints))
    pet.SetAttribute(QUALITY, quality if isinstance(quality, str) else None)


def madeWith(pet):
    """One line on model, quality where one was chosen, day and program of a result."""
    record = readDict(pet, PROVENANCE)
    words = _("Made with model {model}").format(model=pet.GetAttribute(MODEL) or _("that it does not name"))
    words += _quality(pet, record)
    if objectOf(record.get("preprocessing")).get("method") == FINE:
        words += _(" (registered down to 1 mm)")
    if record.get("created"):
        words += _(" on {day}").format(day=str(record["created"])[:10])
    version = objectOf(record.get("versions")).get("relapet")
    return words + (_(" by RelAPET {version}.").format(version=version) if version else ".")


def _quality(pet, record):
    """The quality that a result was made with, and its steps; "" where none was chosen, or none that there is."""
    name, steps = pet.GetAttribute(QUALITY), objectOf(record.get("sampling")).get("steps")
    if name not in library("diffusion.names").QUALITIES:
        return ""
    title = models.qualityTitle(name)
    if not isinstance(steps, int):
        return _(" (quality {name})").format(name=title)
    return _(" (quality {name}, {n} steps)").format(name=title, n=steps)


def changes(pet, entries):
    """Lines on what is not as it was when a result was made.

    entries: the library's list of models, as `models.listModels` gives it.
    """
    return [*_modelChanges(objectOf(readDict(pet, PROVENANCE).get("model")), entries), *_inputChanges(pet)]


def _modelChanges(model, entries):
    name, weights = model.get("name"), model.get("weights_sha256")
    if not name or not weights:
        return []
    if any(entry["weights_sha256"] == weights for entry in entries):
        return []
    same = [entry for entry in entries if entry["name"] == name]
    if not same:
        return [_("Model '{name}', which made this, is not on this computer.").format(name=name)]
    if same[0]["weights_sha256"] is None:  # each import makes its own file of these weights
        return []
    return [_("Model '{name}' has changed since: it would give another PET now.").format(name=name)]


def _inputChanges(pet):
    found = []
    for role, before in readDict(pet, INPUTS).items():
        if before is not None and not _isFingerprint(before):
            continue
        volume, title = pet.GetNodeReference(ROLES[role]) if role in ROLES else None, TITLES.get(role, role)
        if volume is None:
            found.append(_("The {role} that this was made from is not in the scene.").format(role=title))
        elif not same(before, fingerprint(volume)):
            found.append(
                _("'{name}', the {role} that this was made from, has changed or moved since.").format(
                    name=volume.GetName(), role=title
                )
            )
    return found
