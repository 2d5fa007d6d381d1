"""What places the pictures of DICOM files: one a file, or the frames of an enhanced multi-frame image.

The geometry comes from ImagePositionPatient, ImageOrientationPatient and PixelSpacing (DICOM PS3.3, C.7.6.2), in an
enhanced image from its functional groups (C.7.6.16), never from a default.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...notices import printable
from .header import BIG_ENDIAN, DEFLATED, Header, damaged, quiet_pydicom, read_header
from .origin import Origin, read_origin
from .units import read_units

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN, DEFLATED)

#: Of classic slices at one place: what may tell why.
_KINDS = (
    "EchoTime", "InversionTime", "RepetitionTime", "FlipAngle", "TemporalPositionIdentifier", "AcquisitionNumber",
    "ImageType", "ComplexImageComponent", "DiffusionBValue", "TriggerTime",
)  # fmt: skip
#: The same of enhanced frames, by the functional group that holds it.
_GROUP_KINDS = {
    "FrameContentSequence": ("StackID", "TemporalPositionIndex"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRImageFrameTypeSequence": ("FrameType", "ComplexImageComponent"),
    "MRDiffusionSequence": ("DiffusionBValue", "DiffusionDirectionality"),
    "MRModifierSequence": ("InversionTimes",),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime",),
}
_WANTED = [
    "SOPClassUID", "ImageType", "Modality", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "StudyInstanceUID",
    "StudyDate", "PatientID", "PatientBirthDate", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing",
    "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "DimensionIndexSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "Units", *_KINDS,
]  # fmt: skip
#: Classes of scans: one of these without Rows is damaged, anything else without Rows is no image.
_SCANS = tuple(
    f"1.2.840.10008.5.1.4.1.1.{ending}"
    for ending in ("2", "2.1", "2.2", "4", "4.1", "4.4", "7", "20", "128", "128.1", "130")
)
#: Objects that go with a scan: registrations, segmentations, raw data and the like; some have Rows.
_BESIDE_SCANS = ("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.11.")
#: Images without BitsStored hold floating point numbers, by their bits, in these elements (PS3.3, C.7.6.24 and 25).
_FLOATS = {32: "FloatPixelData", 64: "DoubleFloatPixelData"}

#: Direction cosines may be written with few digits: lengths and right angles are wrong only beyond this.
_UNIT_TOLERANCE = 0.01


@dataclass(frozen=True)
class PixelFormat:
    """How stored numbers lie in a file's pixel data."""

    columns: int
    rows: int
    frames: int
    allocated: int  # bits
    stored: int
    high_bit: int
    signed: bool
    syntax: str

    @property
    def size(self) -> int:
        """Bytes of the uncompressed pixels."""
        return self.columns * self.rows * self.frames * self.allocated // 8


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a file and where it lies."""

    path: Path
    index: int  # among the file's frames
    instance: int | None  # InstanceNumber of the file
    format: PixelFormat
    series: str
    number: int | None
    modality: str
    origin: Origin
    units: str | None  # of the values, as the header writes it
    spacing: tuple[float, float]  # mm between columns, between rows
    between: float | None  # what SpacingBetweenSlices says, mm
    position: np.ndarray  # LPS mm of the centre of the first pixel
    row: np.ndarray  # unit LPS direction along which the column index grows
    column: np.ndarray  # unit LPS direction along which the row index grows
    slope: float
    intercept: float
    kinds: dict[str, object]  # raw values that may differ between pictures at one place

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row, self.column)

    @property
    def size(self) -> tuple[int, int]:
        return self.format.columns, self.format.rows


@quiet_pydicom()
def read_frames(path: Path) -> list[Frame] | None:
    """The pictures of a file; none if it is a DICOM object without a picture, None if it is no DICOM.

    Raises:
        InputError: a picture that cannot be placed or is no plain grey one; a mosaic; a damaged file.
    """
    header = read_header(path, _WANTED)
    if header is None:
        return None
    kind = header.text("SOPClassUID")
    if not kind and not header.raw("Rows"):
        if header.preamble:
            raise damaged(path)
        return None
    if kind.startswith(_BESIDE_SCANS) or (kind not in _SCANS and not header.raw("Rows")):
        return []
    per_frame = header.items("PerFrameFunctionalGroupsSequence")
    count = header.integer("NumberOfFrames", default=1)
    if "MOSAIC" in header.text("ImageType").upper() or (count > 1 and not per_frame):
        raise InputError(
            f"{printable(path)}: a mosaic or a multi-frame DICOM file without a place for each frame; convert the "
            "series to NIfTI, e.g. with dcm2niix"
        )
    if per_frame and count != len(per_frame):
        raise header.error("NumberOfFrames", f"is {count}, but it describes {len(per_frame)} frames")
    about = {
        "format": _pixel_format(header, count),
        "series": header.text("SeriesInstanceUID"),
        "number": _help_for_the_eye(header, "SeriesNumber"),
        "instance": _help_for_the_eye(header, "InstanceNumber"),
        "modality": modality if (modality := header.text("Modality")).isalpha() and modality.isascii() else "?",
        "path": path,
    }
    if not per_frame:
        where = functools.partial(_of_file, header)
        kinds = {keyword: header.raw(keyword) for keyword in _KINDS}
        about |= {"origin": read_origin(header, []), "units": read_units(header, [])}
        return [Frame(index=0, **about, **_placed(where), kinds=kinds)]
    shared = header.items("SharedFunctionalGroupsSequence")[:1]
    dimensions = [_pointer(item) for item in header.items("DimensionIndexSequence")]
    about["origin"] = read_origin(header, [*shared, per_frame[0]])
    about["units"] = read_units(header, [per_frame[0], *shared])
    return [
        Frame(
            index=index,
            **about,
            **_placed(functools.partial(_of_groups, (own, *shared), header)),
            kinds=_frame_kinds((own, *shared), dimensions),
        )
        for index, own in enumerate(per_frame)
    ]


def _of_file(header: Header, sequence: str) -> Header:
    return header


def _of_groups(groups: tuple[Header, ...], header: Header, sequence: str) -> Header:
    """The first item of a functional group, the frame's own before the shared one; else one without elements."""
    found = next((items[0] for group in groups if (items := group.items(sequence))), None)
    return found or header.without_elements()


def _placed(where) -> dict[str, object]:
    """Geometry and rescaling; `where(sequence)` is the header that holds what an enhanced image has in a sequence."""
    measures, values = where("PixelMeasuresSequence"), where("PixelValueTransformationSequence")
    spacing = measures.numbers("PixelSpacing", 2)
    position = where("PlanePositionSequence").numbers("ImagePositionPatient", 3)
    plane = where("PlaneOrientationSequence")
    orientation = plane.numbers("ImageOrientationPatient", 6)
    for header, keyword, found in (
        (measures, "PixelSpacing", spacing),
        (measures, "ImagePositionPatient", position),
        (measures, "ImageOrientationPatient", orientation),
    ):
        if found is None:
            raise header.error(keyword, "is missing or empty, so the image's place and size are unknown")
    if min(spacing) <= 0:
        raise measures.error("PixelSpacing", "is zero or negative")
    directions = np.reshape(orientation, (2, 3))
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
        raise plane.error("ImageOrientationPatient", "is not made of two unit vectors")
    row, column = directions / lengths[:, None]
    if abs(row @ column) > _UNIT_TOLERANCE:
        raise plane.error("ImageOrientationPatient", "is not made of two vectors at right angles")
    slope = values.number("RescaleSlope", 1.0)
    if slope == 0:
        raise values.error("RescaleSlope", "is zero")
    try:
        between = abs(measures.number("SpacingBetweenSlices", 0.0)) or None
    except InputError:  # the positions are what counts
        between = None
    return {
        "spacing": (spacing[1], spacing[0]),
        "between": between,
        "position": np.array(position),
        "row": row,
        "column": column,
        "slope": slope,
        "intercept": values.number("RescaleIntercept", 0.0),
    }


def _frame_kinds(groups: tuple[Header, ...], dimensions: list[str]) -> dict[str, object]:
    kinds: dict[str, object] = {}
    for sequence, keywords in _GROUP_KINDS.items():
        items = next((items for group in groups if (items := group.items(sequence))), [])
        kinds |= {keyword: items[0].raw(keyword) for keyword in keywords if items}
        if items and sequence == "FrameContentSequence":
            values = items[0].raw("DimensionIndexValues") or b""
            each = [values[start : start + 4] for start in range(0, len(values), 4)]
            for name, value in itertools.zip_longest(dimensions, each):
                if name:
                    kinds[name] = (kinds.get(name), value)
    return kinds


def _pointer(item: Header) -> str:
    """What a dimension of an enhanced image is called; empty for the place, which is no kind."""
    from pydicom.datadict import keyword_for_tag

    value = item.raw("DimensionIndexPointer") or b""
    if len(value) != 4:
        return ""
    order = "big" if item.syntax == BIG_ENDIAN else "little"
    group, element = (int.from_bytes(value[start : start + 2], order) for start in (0, 2))
    keyword = keyword_for_tag((group << 16) + element) or "a private dimension"
    return "" if keyword in ("InStackPositionNumber", "ImagePositionPatient") else keyword


def _pixel_format(header: Header, frames: int) -> PixelFormat:
    if header.integer("BitsAllocated", default=0) in _FLOATS and not header.raw("BitsStored"):
        raise InputError(
            f"{printable(header.path)}: its pixels are {_FLOATS[header.integer('BitsAllocated')]}, floating point "
            "numbers as in a parametric map, which are not read; give the NIfTI file that it was made from, or convert "
            "it to NIfTI"
        )
    samples = header.integer("SamplesPerPixel", default=1)
    if samples != 1 or header.text("PhotometricInterpretation") not in ("MONOCHROME2", ""):
        raise InputError(
            f"{printable(header.path)}: not a plain grey DICOM image; one grey value a voxel is wanted (MONOCHROME2)"
        )
    found = PixelFormat(
        columns=header.integer("Columns"),
        rows=header.integer("Rows"),
        frames=frames,
        allocated=header.integer("BitsAllocated"),
        stored=header.integer("BitsStored"),
        high_bit=header.integer("HighBit", default=header.integer("BitsStored") - 1),
        signed=bool(header.integer("PixelRepresentation")),
        syntax=header.syntax,
    )
    for keyword, value in (("Columns", found.columns), ("Rows", found.rows), ("NumberOfFrames", frames)):
        if value < 1:
            raise header.error(keyword, "is zero or negative")
    if found.allocated not in (8, 16, 32):
        raise header.error("BitsAllocated", f"is {found.allocated}, not 8, 16 or 32")
    if not 1 <= found.stored <= found.allocated or not found.stored - 1 <= found.high_bit < found.allocated:
        raise header.error("BitsStored", "and HighBit do not fit into BitsAllocated")
    if header.syntax in NATIVE and header.syntax != DEFLATED and header.path.stat().st_size < found.size:
        raise InputError(f"{printable(header.path)}: its DICOM pixels are damaged (the file ends early); copy it again")
    return found


def _help_for_the_eye(header: Header, keyword: str) -> int | None:
    """A number that no volume depends on; None where it is missing or none."""
    try:
        return header.integer(keyword, default=-1) if header.raw(keyword) else None
    except InputError:
        return None
