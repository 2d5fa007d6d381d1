"""Results of a batch, from the disk into the scene: one person's at a time, so that the memory stays flat."""

import uuid

import slicer
from slicer.i18n import tr as _

from . import attributes, display, history, people, resultfiles, scene, tables
from .attributes import objectOf
from .logic import Request


def load(pair, folder, who):
    """Nodes of what is done of a person, by tracer; those of the person before go.

    pair: a `pairs.Pair`; folder: a `batchfolder.BatchFolder`; who: (subject, session) in it.

    Raises scene.SceneError, before anything in the scene has changed.
    """
    geometry = scene.worldMatrix(pair.t1w)
    try:
        records = folder.records(who)
        if not records:
            raise scene.SceneError(_("there is no result of {who} in {folder}").format(who=who[0], folder=folder.path))
        read = [(resultfiles.readResults(*folder.files(who, r), "t1w", geometry), r) for r in records.values()]
    except scene.PlaceError as error:
        words = _("the T1w has moved since these results were made; synthesize this person again")
        raise scene.SceneError(words) from error
    except (OSError, KeyError, ValueError, StopIteration) as error:
        if isinstance(error, scene.SceneError):
            raise
        raise scene.SceneError(_("the results could not be taken over: {why}").format(why=error)) from error
    forget()
    prints = {"t1w": history.fingerprint(pair.t1w)}
    if pair.t2f is not None:
        prints["t2f"] = history.fingerprint(pair.t2f)
    found, run = {}, uuid.uuid4().hex
    with scene.allOrNone():
        for one, record in read:
            (results,) = scene.placeResults(one, None, pair.t1w, run)
            people.remember(results.pet, Request(pair.t1w, pair.t2f, one.tracer), pair.t1w)
            history.remember(results.pet, prints, objectOf(record.options).get("quality"))
            display.prepare(results)
            results.pet.SetNodeReferenceID(attributes.FROM_BATCH, results.pet.GetID())
            found[one.tracer] = results
    return found


def forget():
    """Take what `load` brought out of the scene again; it stays on the disk. Copies stay, with all that is theirs."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetNodeReference(attributes.FROM_BATCH) is node:
            tables.forgetSegments(node)
            for kind in attributes.ROLES:
                part = node.GetNodeReference(attributes.ROLES[kind])
                if part is not None and not scene.isAnothersToo(part, node, kind):
                    _remove(part)
            _remove(node)


def _remove(node):
    """A node with what displays it, as Slicer's Data module removes it."""
    if node is None:
        return
    shown = []
    if node.IsA("vtkMRMLDisplayableNode"):
        shown = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if item:
        hierarchy.RemoveItem(item, False, False)
    for each in (node, *filter(None, shown)):
        slicer.mrmlScene.RemoveNode(each)
