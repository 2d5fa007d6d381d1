"""The T1w DICOM series a PET belongs to: the patient, study and frame of reference that the export keeps.

Only the elements named here are read. Messages never quote one of them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..volumes import file_sha256, find_series

if TYPE_CHECKING:
    from pydicom import Dataset

    from .planes import Planes

INVENTED_NAME, INVENTED_ID = "SYNTHETIC^RelAPET", "SYNTHETIC-RELAPET"
_MR = "1.2.840.10008.5.1.4.1.1.4"  # MR Image Storage
#: Elements of type 2: there, but empty where the source has none.
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
_WHERE_PRESENT = (
    "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "StudyDescription",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
#: Elements of a code that are kept; a sequence of such items is all that is kept of sequences.
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")


@dataclass(frozen=True)
class Source:
    """What the DICOM files are made against.

    Attributes:
        images: headers of the slices in order, no pixels; a single made-up one without a source series.
        affine: 4x4 from (column, row, slice) to RAS mm; None for a made-up one.
        shape: columns, rows, slices; None for a made-up one.
        left_out: keywords of elements that do not follow the standard and were left empty.
        sha256: of the folder's contents, as provenance has it; None for a made-up one.
        series: SeriesInstanceUID of each image where they have several (`volumes.find_series` takes slices that have
            one each for one scan); else empty. All of `images` have the first then, as highdicom wants it.
    """

    images: list[Dataset]
    affine: np.ndarray | None = None
    shape: tuple[int, int, int] | None = None
    left_out: tuple[str, ...] = ()
    sha256: str | None = None
    series: tuple[str, ...] = ()

    @property
    def is_real(self) -> bool:
        return self.affine is not None


def read_source(folder: Path) -> Source:
    """The headers of the one T1w series in a folder.

    Raises:
        InputError: no folder, no series or several, one that is no volume, no MR images, no study or frame of
            reference, slices of several patients, studies or frames of reference, or several slices of one UID.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --source is the folder of the T1w DICOM series")
    try:
        series = find_series(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if len(set(series.files)) < len(series.files):
        raise InputError(f"{folder}: an enhanced multi-frame image; --source takes a series of single-frame slices")
    left_out: set[str] = set()
    images = [_header(path, left_out) for path in series.files]
    for image in images:  # highdicom wants it, though ours is used; the scanner's may be empty
        image.SliceThickness = round(float(np.linalg.norm(series.affine[:3, 2])), 6)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        if len({str(image[keyword].value) for image in images}) > 1:
            raise InputError(f"{folder}: its DICOM images differ in {keyword}; give one series of one person")
    if len({image.SOPInstanceUID for image in images}) < len(images):
        raise InputError(
            f"{folder}: several of its DICOM images have the same SOPInstanceUID, so that nothing can refer to one of "
            "them; get the series again from where it was exported or made anonymous"
        )
    own = tuple(image.SeriesInstanceUID for image in images)
    own = own if len(set(own)) > 1 else ()
    for image in images:
        image.SeriesInstanceUID = images[0].SeriesInstanceUID
    return Source(images, series.affine, series.shape, tuple(sorted(left_out)), file_sha256(folder), own)


def invented_source(planes: Planes) -> Source:
    """A study of its own for a patient who does not exist, with the geometry of the PET's first plane."""
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    now, image = datetime.now(), Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _PATIENT_AND_STUDY:
        setattr(image, keyword, "")
    image.PatientName, image.PatientID = INVENTED_NAME, INVENTED_ID
    image.StudyDate, image.StudyTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    image.StudyID, image.StudyDescription = "SYNTHETIC", "SYNTHETIC images, no patient's study"
    for keyword in _UIDS[1:]:
        setattr(image, keyword, generate_uid(prefix=None))
    image.SOPClassUID = _MR
    image.Rows, image.Columns = planes.pixels.shape[1:]
    image.PixelSpacing = [round(value, 6) for value in planes.pixel_spacing]
    image.ImagePositionPatient = [round(value, 6) for value in planes.position(0)]
    image.ImageOrientationPatient = [round(value, 9) for value in planes.orientation]
    image.SliceThickness = round(planes.spacing[2], 6)
    return Source([image])


def _header(path: Path, left_out: set[str]) -> Dataset:
    """The named elements of one slice, texts in UTF-8."""
    import pydicom

    wanted = [*_UIDS, *_GEOMETRY, *_PATIENT_AND_STUDY, *_WHERE_PRESENT]
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=wanted)
        values = {keyword: read[keyword].value for keyword in wanted if keyword in read}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError, EOFError) as error:
        raise InputError(f"{path}: its DICOM header cannot be read; copy it again") from error
    if values.get("SOPClassUID") != _MR:
        raise InputError(f"{path}: not an MR image; --source is the folder of the T1w DICOM series")
    image = pydicom.Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*_UIDS, *_GEOMETRY):
        if not _set(image, keyword, values.get(keyword)):
            raise InputError(f"{path}: its {keyword} is missing or not valid DICOM; the PET cannot be tied to it")
    for keyword in (*_PATIENT_AND_STUDY, *_WHERE_PRESENT):
        if values.get(keyword) in (None, ""):
            valid = True
        else:
            valid = _set(image, keyword, values[keyword])
        if not valid:
            left_out.add(keyword)
        if keyword in _PATIENT_AND_STUDY and keyword not in image:
            setattr(image, keyword, "")
    return image


def _set(image: Dataset, keyword: str, value) -> bool:
    """Set an element if its value is one the standard allows."""
    from pydicom import DataElement, config
    from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
    from pydicom.valuerep import DSfloat

    vr = dictionary_VR(keyword)
    if value is None or value == "" or (keyword == "PatientSex" and value not in ("M", "F", "O")):
        return False
    if _several(value) and dictionary_VM(keyword) == "1":
        return False
    try:
        if vr == "SQ":
            value = [_code(item) for item in value]
        if vr == "DS":  # scanners write more digits than the standard's sixteen characters
            numbers = value if _several(value) else [value]
            value = [DSfloat(float(number), auto_format=True) for number in numbers]
        if vr in ("PN", "DA", "TM", "UI", "LO", "SH") and not _several(value):
            value = str(value)
            if not all(map(_is_letter, value)):
                return False
        image.add(DataElement(tag_for_keyword(keyword), vr, value, validation_mode=config.RAISE))
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _is_letter(letter: str) -> bool:
    """Whether a character may stand in a text; in one of another character set than the header says some may not."""
    return letter != "\ufffd" and unicodedata.category(letter) != "Cc"


def _code(item: Dataset) -> Dataset:
    """An item of a code sequence with nothing but its code. Raises `ValueError` where the standard allows no such."""
    from pydicom import Dataset

    kept = Dataset()
    present = [keyword for keyword in _CODE if item.get(keyword)]
    if not {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"} <= {*present}:
        raise ValueError("no code")
    if not all(_set(kept, keyword, item[keyword].value) for keyword in present):
        raise ValueError("no valid code")
    return kept


def _several(value) -> bool:
    from pydicom.multival import MultiValue

    return isinstance(value, MultiValue)
