"""Whose T1w and T2-FLAIR a scene holds: one pair for each study, and why one is doubtful or missing."""

from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from . import people
from .attributes import KIND, SYNTHETIC
from .guessing import T1W, T2F, THICK, kindOf

TITLES = {T1W: "T1w", T2F: "T2-FLAIR"}
#: Names that a line tells at most.
MOST_NAMES = 3


@dataclass(frozen=True)
class Scan:
    """A volume of a study, with what tells whether it is an input.

    volume, name: the node and what it is called; kind: a `guessing.Kind`; origin: a `people.Origin`.
    person, study: what tells one person, and one study of a person, from another; person is "" where nothing does.
    title, day: of both, in words.
    thick: of a 2-D scan; number: in the order of their coming.
    """

    volume: object
    name: str
    kind: object
    origin: people.Origin
    person: str
    study: str
    title: str = ""
    day: str = ""
    thick: bool = False
    number: int = 0

    @property
    def worth(self):
        """Of several the highest is taken; those that are alike differ in `number` alone."""
        return not self.kind.contrast, not self.kind.reformat, not self.thick


@dataclass(frozen=True)
class Pair:
    """The MRIs of one study.

    person, study: as `Scan` has them; title, day: in words.
    t1w, t2f: nodes, None where there is none.
    problem: why it cannot be synthesized; doubt: why somebody should look first. One line, or "".
    """

    person: str
    study: str
    title: str
    day: str
    t1w: object = None
    t2f: object = None
    problem: str = ""
    doubt: str = ""

    @property
    def sure(self):
        """Whether it may be ticked unasked."""
        return not self.problem and not self.doubt

    @property
    def words(self):
        return ", ".join(filter(None, (self.title, self.day))) or _("person not known")


def findPairs(mrmlScene, needsT2f=True, below=0):
    """`Pair` of every study of the scene that holds scans, in the order of their persons.

    needsT2f: whether the model cannot do without a T2-FLAIR.
    below: an item of the subject hierarchy; what does not lie in it is left out. 0 takes all.
    """
    return pairsOf(scansOf(mrmlScene, below), needsT2f)


# From the scene


def scansOf(mrmlScene, below=0):
    """`Scan` of every volume that a scanner may have made: no label maps, no results of this module."""
    found = []
    for number in range(mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        volume = mrmlScene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode")
        plain = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not (
            volume.GetAttribute(SYNTHETIC) or volume.GetAttribute(KIND)
        )
        if plain and volume.GetImageData() is not None and _liesBelow(volume, below):
            found.append(_scan(volume, number))
    return found


def _scan(volume, number):
    origin = people.originOf(volume)
    person, study, title, day = _place(volume, origin)
    return Scan(
        volume, volume.GetName(), kindOf(volume), origin, person, study, title, day,
        max(volume.GetSpacing()) > THICK, number,
    )  # fmt: skip


def _place(volume, origin):
    """(person, study, their words): by the subject hierarchy, else by headers and names, else by the folder."""
    hierarchy, item = hierarchyOf(volume)
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    study = hierarchy.GetItemAncestorAtLevel(item, "Study") if item else 0
    words = origin.person or (hierarchy.GetItemName(patient) if patient else "")
    day = origin.day.isoformat() if origin.day else f"ses-{origin.session}" if origin.session else ""
    known = origin.identifier or origin.name or (origin.subject and f"sub-{origin.subject}")
    person = f"item {patient}" if patient else known and f"person {known}"
    if study:
        return person or f"study {study}", f"item {study}", words, day or hierarchy.GetItemName(study)
    folder = hierarchy.GetItemParent(item) if item else 0
    if not person and folder and folder != hierarchy.GetSceneItemID():
        return f"folder {folder}", f"folder {folder}", hierarchy.GetItemName(folder), day
    return person or "", f"{person} {origin.study or origin.session or origin.date}", words, day


def hierarchyOf(volume):
    """(subject hierarchy, item of a volume); the item is 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy, hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0


def _liesBelow(volume, below):
    hierarchy, item = hierarchyOf(volume)
    while below and item and item != below:
        item = hierarchy.GetItemParent(item)
    return not below or item == below


# What goes together: no scene is needed below


def pairsOf(scans, needsT2f=True):
    """`Pair` of each study in the order of the persons' coming."""
    studies, order = {}, {}
    for scan in scans:
        order.setdefault(scan.person, len(order))
        studies.setdefault((scan.person, scan.study), []).append(scan)
    ordered = sorted(studies.items(), key=lambda entry: order[entry[0][0]])  # a person's studies one below the other
    return [_pairOf(found, scans, needsT2f) for _key, found in ordered]


def _pairOf(study, everybody, needsT2f):
    first = study[0]
    of = {role: [scan for scan in study if scan.kind.role == role] for role in (T1W, T2F)}
    taken = {role: max(found, key=lambda s: (s.worth, s.number)) for role, found in of.items() if found}
    problem = _missing(study, taken, everybody, needsT2f) or _apart(taken)
    doubt = "" if problem else "; ".join(_doubts(of, taken))
    title = next((scan.title for scan in study if scan.title), "")
    volumes = {role: scan.volume for role, scan in taken.items()}
    return Pair(
        first.person, first.study, title, first.day, volumes.get(T1W), volumes.get(T2F), problem, doubt
    )  # fmt: skip


def _missing(study, taken, everybody, needsT2f):
    """Which input there is none of, and what may be the reason."""
    wanted = (T1W, T2F) if needsT2f else (T1W,)
    missing = [role for role in wanted if role not in taken]
    if not missing:
        return ""
    words = _("no {what}").format(what=_(" and no ").join(TITLES[role] for role in missing))
    others = [s for s in everybody if s.person and s.person == study[0].person and s.kind.role in missing]
    if others:
        words += _("; {names} of this person belongs to another study").format(names=_names(others))
    unknown = [scan for scan in study if scan.kind.role is None]
    if unknown:
        words += _("; neither name nor header says what {names} is").format(names=_names(unknown))
    return words


def _apart(taken):
    """What says that both are of two people, although they stand in one study."""
    if len(taken) < 2:
        return ""
    what = people.difference(taken[T1W].origin, taken[T2F].origin)
    return _("T1w and T2-FLAIR are of two people by their {what}").format(what=what) if what else ""


def _doubts(of, taken):
    for role, found in of.items():
        alike = [scan for scan in found if scan.worth == taken[role].worth]
        if len(alike) > 1:
            yield _("{n} {what} serve alike ({names}), the last is taken").format(
                n=len(alike), what=TITLES[role], names=_names(alike)
            )
    if T2F not in taken:
        yield _("no T2-FLAIR: the model would draw from the T1w alone")
    if taken[T1W].kind.contrast:
        yield _("the T1w is with contrast agent; the models know T1w without it")
    if len(taken) == 2:
        apart = people.interval(taken[T1W].origin, taken[T2F].origin)
        if apart:
            yield _("T1w and T2-FLAIR are {apart}").format(apart=apart)
        if not taken[T1W].person:
            yield _("whose these are is not known")


def _names(scans):
    names = ", ".join(f"'{scan.name}'" for scan in scans[:MOST_NAMES])
    return names + (_(" and {n} more").format(n=len(scans) - MOST_NAMES) if len(scans) > MOST_NAMES else "")
