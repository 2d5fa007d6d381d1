"""Single-frame Secondary Capture images (PS3.3 A.8.1) for any viewer, one an axial plane.

The Image Plane and Frame of Reference modules, which A.8.1 allows, let viewers order the pictures and place them.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from . import burned_in, description
from .planes import Planes
from .source import Source

_SERIES_NUMBER = 9003
_SOURCE_PURPOSE = ("121322", "DCM", "Source Image for Image Processing Operation")


class SecondaryCapture:
    """The series; `save` writes one picture of it.

    Args:
        planes: from `axial_planes`, in the PET's units.
        record: contents of `synthetic_pet.json`.
        source: series whose patient, study and frame of reference are kept.
    """

    def __init__(self, planes: Planes, record: dict, source: Source):
        from pydicom.uid import generate_uid

        self._planes, self._record, self._source = planes, record, source
        self._frame = burned_in.frame_of(planes)
        self._series_uid, self._now = generate_uid(prefix=None), datetime.now()
        self._sources = self._references() if source.is_real else None

    def __len__(self) -> int:
        return len(self._planes.pixels)

    def save(self, index: int, path: Path) -> None:
        """Write plane `index` (0 is the lowest) as a DICOM file."""
        dataset = self._common()
        self._place(dataset, index)
        self._fill(dataset, burned_in.picture(self._planes.pixels[index], self._frame, self._record))
        dataset.save_as(path, enforce_file_format=True)

    def _common(self):
        """What all pictures share."""
        from pydicom.uid import SecondaryCaptureImageStorage

        first = self._source.images[0]
        dataset = description.new_object(SecondaryCaptureImageStorage, first, self._record, self._now)
        description.copy_present(dataset, first, "FrameOfReferenceUID", "PositionReferenceIndicator")
        dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.Modality = self._series_uid, _SERIES_NUMBER, "OT"
        low, high = description.display_window(self._record)
        unit = description.quantity(self._record)
        dataset.SeriesDescription = description.series_description(
            self._record, f"pictures, {unit} {low:g} to {high:g}"
        )
        dataset.ConversionType = "WSD"
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.BurnedInAnnotation, dataset.RecognizableVisualFeatures = "YES", "NO"
        dataset.LossyImageCompression = "00"
        lossy = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
        description.copy_present(dataset, first, *lossy)
        description.stamp(dataset, self._record)
        if self._sources is not None:
            dataset.SourceImageSequence = self._sources
        return dataset

    def _place(self, dataset, index: int) -> None:
        from pydicom.valuerep import DSfloat

        def decimal(values):
            return [DSfloat(float(value), auto_format=True) for value in values]

        placed = Planes(np.empty((len(self), 1, 1)), self._frame.affine)
        dataset.InstanceNumber = index + 1
        dataset.PatientOrientation = ["L", "P"]
        dataset.ImagePositionPatient = decimal(placed.position(index))
        dataset.ImageOrientationPatient = decimal(placed.orientation)
        dataset.PixelSpacing = decimal(placed.pixel_spacing)
        dataset.SliceThickness = dataset.SpacingBetweenSlices = decimal([placed.spacing[2]])[0]

    def _fill(self, dataset, pixels: np.ndarray) -> None:
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.WindowCenter, dataset.WindowWidth = 128, 256
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OB"

    def _references(self) -> list:
        from pydicom import Dataset

        items = []
        for image in self._source.images:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
            item.PurposeOfReferenceCodeSequence = [description.code(*_SOURCE_PURPOSE)]
            items.append(item)
        return items
