"""The one-page report as a DICOM Encapsulated PDF (PS3.3 A.45.1), in the source's study.

highdicom has no class for this IOD. It is a document of its own series, refers to the scans and the map that it shows,
and is never verified: nobody has read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from . import description
from .source import Source

if TYPE_CHECKING:
    from pydicom import Dataset

_SERIES_NUMBER = 9004
#: What the document is, where no code says it (concept names of a report are a site's own to choose).
_TITLE_CODE = ("SYNTHETIC-REPORT", description.SCHEME, "Report on a synthetic image, research only")


def encapsulated_pdf(pdf: bytes, record: dict, source: Source, exported: Iterable[tuple[str, str]]) -> Dataset:
    """The object, ready to be saved.

    Args:
        pdf: the document.
        record: contents of `synthetic_pet.json`.
        source: series whose patient and study are kept; references to a made-up one are left out.
        exported: SOP class and instance UID of each map that was written of the same PET.
    """
    from pydicom.uid import EncapsulatedPDFStorage, generate_uid

    dataset = description.new_object(EncapsulatedPDFStorage, source.images[0], record, datetime.now())
    dataset.SeriesInstanceUID, dataset.SeriesNumber = generate_uid(prefix=None), _SERIES_NUMBER
    dataset.InstanceNumber, dataset.Modality, dataset.ConversionType = 1, "DOC", "WSD"
    dataset.AcquisitionDateTime = ""  # of the scans, of which there may be several
    dataset.SeriesDescription = description.series_description(record, "report")
    dataset.DocumentTitle = description.series_description(record, "report, a model's guess")
    dataset.ConceptNameCodeSequence = [description.code(*_TITLE_CODE)]
    dataset.BurnedInAnnotation, dataset.VerificationFlag = "YES", "UNVERIFIED"
    dataset.RecognizableVisualFeatures = "NO"
    description.stamp_document(dataset, record)
    dataset.CodingSchemeIdentificationSequence = [description.scheme()]
    scans = [(image.SOPClassUID, image.SOPInstanceUID) for image in source.images] if source.is_real else []
    dataset.SourceInstanceSequence = [_reference(*uids) for uids in (*scans, *exported)]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return dataset


def _reference(class_uid: str, instance_uid: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = class_uid, instance_uid
    return item
