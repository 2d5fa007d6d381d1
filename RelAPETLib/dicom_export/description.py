"""What every exported object says of itself: that it is synthetic, what made it, and what its numbers are."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from ..provenance import SUVR_UNITS, UNCERTAINTY_MEANING
from ..tracers import get_tracer

if TYPE_CHECKING:
    from pydicom import Dataset

SCHEME = "99RELAPET"
_RADIOPHARMACEUTICAL = ("349358000", "SCT", "Radiopharmaceutical agent")
#: PS3.3 C.12.1.1 (Synthetic Data) names this code for what made synthetic data.
_SYNTHESIZING = ("109100", "DCM", "Synthesizing Equipment")
_TEXT_MAX, _NAME_MAX = 1024, 64  # ST, LO
#: What a new object keeps of the image that it is made for.
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def is_suvr(record: dict) -> bool:
    return record["pet"]["units"] == SUVR_UNITS


def display_window(record: dict) -> tuple[float, float]:
    """Lowest and highest value of the grey scale, in the PET's units."""
    return get_tracer(record["tracer"]["name"]).display_window if is_suvr(record) else (0.0, 1.0)


def quantity(record: dict) -> str:
    """``"SUVR"`` or ``"relative units"``."""
    return "SUVR" if is_suvr(record) else "relative units"


def short(text: str, most: int = _NAME_MAX) -> str:
    """One line of at most that many characters, without DICOM's separator."""
    text = " ".join(text.replace("\\", "/").split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def series_description(record: dict, what: str) -> str:
    return short(f"SYNTHETIC PET {record['tracer']['name']} {what}, research only")


def derivation(record: dict, uncertainty: bool = False) -> str:
    """DerivationDescription, at most 1024 characters: statement, model, weights."""
    model, sampling, tracer = record["model"], record["sampling"], record["tracer"]
    content = UNCERTAINTY_MEANING if uncertainty else record["pet"]["content"]
    unit = "SUVR" if is_suvr(record) else "relative units from 0 to 1, not SUVR"
    mri = "T1-weighted and T2-FLAIR MRI" if record["inputs"]["t2f"] else "T1-weighted MRI alone, without T2-FLAIR,"
    return short(
        f"{record['statement']} {tracer['radiopharmaceutical']} in {unit}: {content}. From {mri} "
        f"by RelAPET {record['versions']['relapet']}, model {short(model['name'])} {short(model['version'], 20)}, "
        f"weights SHA-256 {model['weights_sha256']}; {_how(sampling)}, "
        f"{sampling['samples']} sample(s), seed {sampling['seed']}.",
        _TEXT_MAX,
    )


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def software_versions(record: dict) -> list[str]:
    import highdicom

    return [f"RelAPET {short(record['versions']['relapet'], 40)}", f"highdicom {highdicom.__version__}"]


def new_object(storage: str, first: Dataset, record: dict, now: datetime) -> Dataset:
    """An object of a storage class and a UID of its own, made now by a model for patient and study of another image."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    copy_present(dataset, first, *_PATIENT_AND_STUDY)
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, generate_uid(prefix=None)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.InstanceCreationDate = dataset.ContentDate = dataset.SeriesDate = date
    dataset.InstanceCreationTime = dataset.ContentTime = dataset.SeriesTime = time
    dataset.Manufacturer = "RelAPET"
    dataset.ManufacturerModelName = model_name(record)
    dataset.SoftwareVersions = software_versions(record)
    return dataset


def copy_present(dataset: Dataset, source: Dataset, *keywords: str) -> None:
    """Copy those of the named elements that the source has."""
    for keyword in keywords:
        if keyword in source:
            dataset.add(source[keyword])


def stamp(dataset: Dataset, record: dict, uncertainty: bool = False) -> None:
    """Mark an image as synthetic and say what made it."""
    dataset.ContentQualification = "RESEARCH"
    dataset.BodyPartExamined = "BRAIN"
    dataset.DerivationDescription = derivation(record, uncertainty)
    dataset.ImageComments = short(record["statement"], _TEXT_MAX)
    stamp_document(dataset, record)


def stamp_document(dataset: Dataset, record: dict) -> None:
    """Mark any object as synthetic and say what made it."""
    from pydicom import Dataset

    dataset.SyntheticData = "YES"
    maker = Dataset()
    maker.Manufacturer = "RelAPET"
    maker.ManufacturerModelName = model_name(record)
    maker.SoftwareVersions = software_versions(record)
    maker.ContributionDateTime = _dicom_time(record["created"])
    maker.ContributionDescription = f"made a SYNTHETIC image; weights SHA-256 {record['model']['weights_sha256']}"
    maker.PurposeOfReferenceCodeSequence = [code(*_SYNTHESIZING)]
    dataset.ContributingEquipmentSequence = [maker]


def scheme() -> Dataset:
    """Item that says whose codes `SCHEME` has."""
    from pydicom import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "RelAPET: quantities of synthetic images"
    return item


def model_name(record: dict) -> str:
    return short(f"model {record['model']['name']} {record['model']['version']}")


def tracer_item(record: dict) -> Dataset:
    """Content item (PS3.3 10.2) that says whose uptake is imitated: coded where a code exists, else text."""
    from pydicom import Dataset

    item = Dataset()
    item.ConceptNameCodeSequence = [code(*_RADIOPHARMACEUTICAL)]
    known = get_tracer(record["tracer"]["name"]).dicom_code
    if known is not None:
        item.ValueType = "CODE"
        item.ConceptCodeSequence = [code(*known)]
    else:
        item.ValueType = "TEXT"
        item.TextValue = record["tracer"]["radiopharmaceutical"]
    return item


def _dicom_time(iso: str) -> str:
    """2026-01-02T03:04:05+01:00 as 20260102030405+0100."""
    zone = iso[19:].split(".")[-1].lstrip("0123456789").replace("Z", "+0000").replace(":", "")
    return re.sub(r"\D", "", iso[:19]) + zone


def _how(sampling: dict) -> str:
    return f"{sampling['sampler']}, {sampling['steps']} steps" if sampling["sampler"] else "drawn at once"
