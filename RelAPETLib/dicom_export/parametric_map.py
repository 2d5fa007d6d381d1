"""A volume as a DICOM Parametric Map (PS3.3 A.75): float32 values, one frame a plane.

Modality is OT ("other"), as highdicom writes it; the IOD does not ask for PT.
"""

from __future__ import annotations

import numpy as np

from . import description
from .planes import Planes
from .source import Source

_NUMBERS = {"pet": 9001, "uncertainty": 9002}


def parametric_map(planes: Planes, record: dict, source: Source, uncertainty: bool = False):
    """The object, ready to be saved.

    Args:
        planes: float32 values; stored as they are.
        record: contents of `synthetic_pet.json`.
        source: series the map is derived from; references to a made-up one are left out.
        uncertainty: the values are the spread of the samples.
    """
    import highdicom
    from pydicom.uid import generate_uid

    low, high = _window(planes, record, uncertainty)
    result = highdicom.pm.ParametricMap(
        source_images=source.images,
        pixel_array=planes.pixels.astype(np.float32, copy=False),
        series_instance_uid=generate_uid(prefix=None),
        series_number=_NUMBERS["uncertainty" if uncertainty else "pet"],
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer="RelAPET",
        manufacturer_model_name=description.model_name(record),
        software_versions=tuple(description.software_versions(record)),
        device_serial_number=record["model"]["weights_sha256"],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(planes, record, uncertainty)],
        voi_lut_transformations=[
            # By DICOM's default function, LINEAR, a width of 3 would end at 2, and one of 1 be a threshold.
            highdicom.VOILUTTransformation(
                window_center=(low + high) / 2, window_width=high - low, voi_lut_function="LINEAR_EXACT"
            )
        ],
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=_decimal(planes.pixel_spacing),
            slice_thickness=_decimal([planes.spacing[2]])[0],
            spacing_between_slices=_decimal([planes.spacing[2]])[0],
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", _decimal(planes.orientation)),
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", _decimal(planes.position(index)))
            for index in range(len(planes.pixels))
        ],
        content_label="SYNTHETIC_STD" if uncertainty else "SYNTHETIC_PET",
        content_description=description.series_description(record, _what(record, uncertainty)),
        content_qualification="RESEARCH",
        derived_pixel_contrast="STD_DEVIATION" if uncertainty else "QUANTITY",
        series_description=description.series_description(record, _what(record, uncertainty)),
    )
    description.stamp(result, record, uncertainty)
    result.CodingSchemeIdentificationSequence = [description.scheme()]
    if not source.is_real:
        _forget_references(result)
    elif source.series:
        result.ReferencedSeriesSequence = list(map(_in_series, source.images, source.series))
    return result


def _window(planes: Planes, record: dict, uncertainty: bool) -> tuple[float, float]:
    """What a viewer shows at first: the tracer's window, of the spread its own, as on the pages: most of it is low."""
    from ..report.pictures import round_limit

    return (0.0, round_limit(planes.pixels, 0.05)) if uncertainty else description.display_window(record)


def _what(record: dict, uncertainty: bool) -> str:
    return "spread of samples (not error)" if uncertainty else description.quantity(record)


def _decimal(values) -> list:
    """Numbers that fit into the 16 characters of a DS."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _mapping(planes: Planes, record: dict, uncertainty: bool):
    """Stored value = real-world value; UCUM has no unit for a ratio but ``1``, and no code stands for SUVR."""
    import highdicom

    suvr = description.is_suvr(record)
    name = "Standardized uptake value ratio" if suvr else "Uptake relative to the model's range, 0 to 1"
    if uncertainty:
        meaning = "Synthetic: standard deviation over samples, not error"
        quantity = ("SUVR-SPREAD" if suvr else "RELATIVE-SPREAD", description.SCHEME, meaning)
    else:
        quantity = ("SUVR-SYNTHETIC" if suvr else "RELATIVE-SYNTH", description.SCHEME, f"Synthetic: {name}")
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label="SYNTHETIC SUVR" if suvr else "SYNTH. RELATIVE",
        lut_explanation=description.short(f"SYNTHETIC {_what(record, uncertainty)}: model output, not measured"),
        unit=highdicom.sr.CodedConcept("1", "UCUM", "no units"),
        value_range=(float(planes.pixels.min()), float(planes.pixels.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=highdicom.sr.CodedConcept(*quantity),
    )
    mapping.QuantityDefinitionSequence.append(description.tracer_item(record))
    return mapping


def _in_series(image, series: str):
    """Item that refers to an image in a series of its own."""
    from pydicom import Dataset

    item, instance = Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.SeriesInstanceUID, item.ReferencedInstanceSequence = series, [instance]
    return item


def _forget_references(result) -> None:
    """Take out what points to the made-up image that highdicom was given."""
    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in result:
            delattr(result, keyword)
    for group in (*result.SharedFunctionalGroupsSequence, *result.PerFrameFunctionalGroupsSequence):
        if "DerivationImageSequence" in group:
            del group.DerivationImageSequence
