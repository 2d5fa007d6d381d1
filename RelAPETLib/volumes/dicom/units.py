"""The unit of a DICOM PET: Units (PS3.3, C.8.9.1.1.3) or, in an enhanced image, its real world value mapping."""

from __future__ import annotations

from ...notices import printable
from .header import Header


def read_units(header: Header, groups: list[Header]) -> str | None:
    """The unit as the header writes it, ``BQML`` or ``Bq/ml``, at most 60 characters; None where it is silent.

    Args:
        header: of the file.
        groups: the functional groups of an enhanced image's first frame, the frame's own before the shared ones.
    """
    if text := header.text("Units"):
        return printable(text, 60)
    for group in groups:
        for kept in ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence"):
            for item in group.items(kept):  # what a classic image said before it was converted
                if text := item.text("Units"):
                    return printable(text, 60)
    for group in groups:
        for mapping in group.items("RealWorldValueMappingSequence"):
            for code in mapping.items("MeasurementUnitsCodeSequence"):
                if text := code.text("CodeValue"):
                    return printable(text, 60)
    return None
