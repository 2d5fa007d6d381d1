"""Whose a volume is and when it was made, as far as the scene knows; and whether volumes are of one person."""

import datetime
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .attributes import KIND, MRI_ROLE, RUN, SYNTHETIC
from .library import library

#: Accepts, in ``Request.accepted``, inputs whose headers name two people.
TWO_PEOPLE = "two people"

#: DICOM tags that are read, by keyword.
_TAGS = {
    "PatientID": "0010,0020",
    "PatientName": "0010,0010",
    "PatientBirthDate": "0010,0030",
    "StudyInstanceUID": "0020,000D",
    "StudyDate": "0008,0020",
    "Modality": "0008,0060",
    "ImageType": "0008,0008",
    "SeriesDescription": "0008,103E",
    "ProtocolName": "0018,1030",
    "ContrastBolusAgent": "0018,0010",
    "PatientAge": "0010,1010",
    "PatientSex": "0010,0040",
    "Units": "0054,1001",
    "SyntheticData": "0008,001C",
}
_LEVELS = {
    "PatientID": "Patient",
    "PatientName": "Patient",
    "PatientBirthDate": "Patient",
    "PatientSex": "Patient",
    "StudyInstanceUID": "Study",
    "StudyDate": "Study",
}
#: What Slicer writes where a tag is empty.
_EMPTY = {"", "no name", "unknown", "none", "anonymous", "anonymized", "anonymised", "anon"}
_BIDS = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Origin:
    """Person and study of a volume; empty strings where nothing is known.

    identifier, name, birth: of the person, as DICOM has them; item: a patient made by hand in the subject hierarchy.
    subject, session: labels of BIDS in the volume's or its file's name.
    study: the study's UID; date: its day, YYYYMMDD.
    """

    identifier: str = ""
    name: str = ""
    birth: str = ""
    item: str = ""
    subject: str = ""
    session: str = ""
    study: str = ""
    date: str = ""

    @property
    def day(self):
        """The study's date, or None."""
        try:
            return datetime.datetime.strptime(re.sub(r"\D", "", self.date)[:8], "%Y%m%d").date()
        except ValueError:
            return None

    @property
    def person(self):
        """The person in words, e.g. ``John Doe (1234)``; empty where nothing is known."""
        name = " ".join(reversed([part for part in self.name.split("^")[:2] if part])) or self.item
        if not name and self.subject:
            name = f"sub-{self.subject}"
        return f"{name} ({self.identifier})" if name and self.identifier else name or self.identifier

    @property
    def words(self):
        """Person and study date in words; empty where nothing is known."""
        when = f"ses-{self.session}" if self.session else ""
        when = _("study of {day}").format(day=self.day.isoformat()) if self.day else when
        return ", ".join(filter(None, (self.person, when)))


def tagsOf(volume):
    """What is known of a volume's DICOM tags, by keyword: from the node, the subject hierarchy, Slicer's database."""
    found = {}
    for name in volume.GetAttributeNames() or ():
        keyword = _keyword(name)
        if keyword:
            found.setdefault(keyword, volume.GetAttribute(name) or "")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    uids = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if item:
        for keyword in _TAGS:
            level = _LEVELS.get(keyword)
            owner = hierarchy.GetItemAncestorAtLevel(item, level) if level else item
            value = hierarchy.GetItemAttribute(owner, f"DICOM.{keyword}") if owner else ""
            if not value and level and owner and keyword in ("PatientID", "StudyInstanceUID"):
                value = hierarchy.GetItemUID(owner, "DICOM")
            if value:
                found[keyword] = value
        uids = uids or (hierarchy.GetItemUID(item, "DICOMInstanceUID") or "").split()
    if uids:
        found = {**databaseTags(uids[0]), **found}
    return {keyword: value for keyword, value in found.items() if value.strip()}


@functools.lru_cache(maxsize=1000)
def databaseTags(uid):
    """Tags of one instance in Slicer's DICOM database, which is asked once: the panel looks at every change."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not hasattr(database, "instanceValue"):
        return {}
    return {keyword: str(database.instanceValue(uid, tag) or "") for keyword, tag in _TAGS.items()}


def _keyword(attribute):
    """DICOM keyword of a node attribute such as ``DICOM.PatientID``, ``patient_id`` or ``Patient ID``, or None."""
    plain = re.sub(r"[^a-z]", "", attribute.rsplit(".", 1)[-1].lower())
    return next((keyword for keyword in _TAGS if keyword.lower() == plain), None)


def unitOf(volume):
    """Unit of a PET as its DICOM header writes it, e.g. ``BQML``; None where nothing is known."""
    return tagsOf(volume).get("Units", "").strip() or None


def saysSynthetic(volume):
    """Whether a volume is known to be synthetic: this module's, or by its DICOM header or the file it was read from."""
    storage = volume.GetStorageNode()
    file = storage.GetFileName() if storage is not None else None
    return (
        bool(volume.GetAttribute(SYNTHETIC))
        or tagsOf(volume).get("SyntheticData", "").strip() == "YES"
        or bool(file and library("volumes").says_synthetic(Path(file)))
    )


def originOf(volume):
    """`Origin` of a volume."""
    tags = {
        keyword: "" if value.strip().lower() in _EMPTY else value.strip() for keyword, value in tagsOf(volume).items()
    }
    item = "" if tags.get("PatientID") or tags.get("PatientName") else _patientItem(volume)
    storage = volume.GetStorageNode()
    file = (storage.GetFileName() or "") if storage is not None else ""
    labels = dict(reversed(_BIDS.findall(f"{volume.GetName()} {file}".replace(os.sep, " "))))
    return Origin(
        identifier=tags.get("PatientID", ""),
        name=tags.get("PatientName", ""),
        birth=tags.get("PatientBirthDate", ""),
        item=item,
        subject=labels.get("sub", ""),
        session=labels.get("ses", ""),
        study=tags.get("StudyInstanceUID", ""),
        date=tags.get("StudyDate", ""),
    )


def clinicalOf(volume):
    """Age in years, as text, and sex ("F" or "M") of a volume's person, as far as its DICOM header is known to tell."""
    tags, found = tagsOf(volume), {}
    age = re.fullmatch(r"0*(\d{1,3})Y", tags.get("PatientAge", "").strip())
    if age:
        found["age"] = age[1]
    if tags.get("PatientSex", "").strip() in ("F", "M"):
        found["sex"] = tags["PatientSex"].strip()
    return found


def _patientItem(volume):
    """Name of the patient that a user put the volume under."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) if hierarchy is not None else 0
    owner = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    return (hierarchy.GetItemName(owner) or "") if owner else ""


def difference(one, two):
    """What says that two origins are of two people: "patient ID", "name", ..., or None where nothing does.

    An ID is believed before a name, which two systems may spell differently.
    """
    if one is None or two is None:
        return None
    for field, words in (
        ("identifier", "patient ID"),
        ("birth", "date of birth"),
        ("name", "name"),
        ("item", "patient in the subject hierarchy"),
        ("subject", "BIDS subject"),
    ):
        first, second = _plain(getattr(one, field)), _plain(getattr(two, field))
        if first and second and first != second:
            if field == "name" and one.identifier and two.identifier:
                continue  # the same ID and date of birth
            return words
    return None


def _plain(text):
    return " ".join(sorted(re.findall(r"\w+", text.casefold())))


def surelyNotTwo(one, two):
    """Whether two origins may be put together unasked: the same person, or nothing known of either."""
    return difference(one, two) is None and bool(one.person) == bool(two.person)


def surelyOne(one, two):
    """Whether two origins are known to be of one person: by an ID, a name or a study that both have."""
    if one is None or two is None or difference(one, two) is not None:
        return False
    fields = "identifier", "name", "item", "subject", "study"
    return any(getattr(one, field) and _plain(getattr(one, field)) == _plain(getattr(two, field)) for field in fields)


def sameStudy(one, two):
    """Whether two volumes are surely of one study."""
    return bool(
        one and two and ((one.study and one.study == two.study) or (one.session and one.session == two.session))
    )


def interval(one, two):
    """Words on the time between two studies of one person, or "" where they are one or nothing is known."""
    if one.study and two.study and one.study == two.study:
        return ""
    if one.day and two.day:
        days = abs((one.day - two.day).days)
        if days:
            return _("{time} apart ({one} and {two})").format(
                time=_time(days), one=one.day.isoformat(), two=two.day.isoformat()
            )
    if one.study and two.study:
        return _("from two studies")
    if one.session and two.session and one.session != two.session:
        return _("from two sessions (ses-{one} and ses-{two})").format(one=one.session, two=two.session)
    return ""


def _time(days):
    for length, unit in ((365.25, "years"), (30.44, "months"), (1, "days")):
        if days >= 2 * length or unit == "days":
            number = round(days / length)
            return f"{number} {unit if number != 1 else unit[:-1]}"


def compare(request):
    """(refusal, notes) on whether the inputs of a `logic.Request` are of one person and one study.

    refusal: one line when their headers name two people, else None; notes: lines on studies that lie apart.
    """
    roles = {"t1w": "T1w", "t2f": "T2-FLAIR", "reference": "measured PET"}
    volumes = {title: getattr(request, role) for role, title in roles.items() if getattr(request, role) is not None}
    origins = [(title, volume.GetName(), originOf(volume)) for title, volume in volumes.items()]
    notes = []
    for index, (title, name, origin) in enumerate(origins):
        for otherTitle, otherName, other in origins[index + 1 :]:
            what = difference(origin, other)
            if what:
                whose = ""
                if origin.person != other.person:
                    whose = _(": {one} and {two}").format(
                        one=origin.person or _("unnamed"), two=other.person or _("unnamed")
                    )
                words = _(
                    "{title} '{name}' and {otherTitle} '{otherName}' are of two people by their {what}{whose}; choose "
                    "volumes of one person"
                )
                return words.format(
                    title=title, name=name, otherTitle=otherTitle, otherName=otherName, what=what, whose=whose
                ), []
            apart = interval(origin, other)
            if apart:
                notes.append(_("{one} and {two} are {apart}").format(one=title, two=otherTitle, apart=apart))
    return None, notes


#: Node reference of a synthetic PET to the T1w it was made from, and an attribute when two people were accepted.
SOURCE_ROLE = "RelAPET.T1w"
#: Likewise to the T2-FLAIR.
T2F_ROLE = "RelAPET.T2F"
ACCEPTED = "RelAPET.Accepted"


def remember(pet, request, t1w):
    """Let a synthetic PET know what it was made from."""
    pet.SetNodeReferenceID(SOURCE_ROLE, t1w.GetID() if t1w is not None else None)
    t2f = request.t2f if request.t2f is not None and slicer.mrmlScene.IsNodePresent(request.t2f) else None
    pet.SetNodeReferenceID(T2F_ROLE, t2f.GetID() if t2f is not None else None)
    pet.SetAttribute(ACCEPTED, "inputs of two people" if TWO_PEOPLE in request.accepted else None)


def ownOutput(output, t1w):
    """The output when it may be written for this T1w, or None when it holds what was made from another one."""
    if output is None or output.GetAttribute(KIND) is None:
        return output
    source = output.GetNodeReference(SOURCE_ROLE) or output.GetNodeReference(MRI_ROLE)
    return output if source is t1w else None


def petsLike(pet):
    """The synthetic PETs of this one's T1w and of its run, itself among them, in the order of their coming."""
    source = pet.GetNodeReference(SOURCE_ROLE)
    if source is None:
        return petsOfRun(pet)
    return [node for node in _pets() if node.GetNodeReference(SOURCE_ROLE) is source]


def petsOfRun(pet):
    """The synthetic PETs of this one's run, itself among them.

    Not those of a scene that was loaded twice: these were made from the other copy of the T1w.
    """
    source, run = pet.GetNodeReference(SOURCE_ROLE), pet.GetAttribute(RUN)

    def belongs(node):
        same = run is not None and node.GetAttribute(RUN) == run
        return node is pet or (same and node.GetNodeReference(SOURCE_ROLE) is source)

    return [node for node in _pets() if belongs(node)]


def _pets():
    every = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in every if node.GetAttribute(KIND) == "pet"]
