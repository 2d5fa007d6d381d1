"""Whose scan a DICOM file holds, of which study, and whether it was taken with a contrast agent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..contrast import names_agent
from .header import Header


@dataclass(frozen=True)
class Origin:
    """Whose scan and of which study, as hashes that can be compared and say nothing; empty where a header is silent.

    Attributes:
        patient, birth, study, date: of PatientID, PatientBirthDate, StudyInstanceUID, StudyDate.
        contrast: whether the header says that a contrast agent was given.
    """

    patient: str = ""
    birth: str = ""
    study: str = ""
    date: str = ""
    contrast: bool = False


def same_person(one: Origin, other: Origin) -> bool:
    """False if two headers say that their scans are of two people; True if they agree or do not say."""
    pairs = ((one.patient, other.patient), (one.birth, other.birth))
    return not any(first and second and first != second for first, second in pairs)


def same_study(one: Origin, other: Origin) -> bool:
    """False if two headers say that their scans were taken in two studies, on two days; else True."""
    pairs = ((one.study, other.study), (one.date, other.date))
    return not all(first and second and first != second for first, second in pairs)


def read_origin(header: Header, groups: list[Header]) -> Origin:
    """What a header says of it; `groups` are the functional groups of an enhanced image's first frame."""

    def hashed(keyword: str) -> str:
        text = header.text(keyword)
        return hashlib.sha256(f"{keyword}:{text}".encode()).hexdigest() if text else ""

    return Origin(
        patient=hashed("PatientID"),
        birth=hashed("PatientBirthDate"),
        study=hashed("StudyInstanceUID"),
        date=hashed("StudyDate"),
        contrast=_has_contrast(header, groups),
    )


def _has_contrast(header: Header, groups: list[Header]) -> bool:
    """Whether the header says that a contrast agent was given; a mere word like NONE says that it was not."""
    usages = [item for group in groups for item in group.items("ContrastBolusUsageSequence")]
    if usages:
        return any(
            item.text(keyword) == "YES"
            for item in usages
            for keyword in ("ContrastBolusAgentAdministered", "ContrastBolusAgentDetected")
        )
    return names_agent(header.text("ContrastBolusAgent")) or bool(header.items("ContrastBolusAgentSequence"))
