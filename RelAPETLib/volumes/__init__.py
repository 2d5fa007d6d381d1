"""Volumes: reading, checking and writing.

In memory a volume is a 3-D scalar `SimpleITK.Image`, which carries its geometry (LPS coordinates, as ITK's). Geometry
in is geometry out: reading takes the file's own orientation, and nothing here resamples.
"""

from .checking import check_kind, check_volume
from .dicom import Origin, Series, find_series, origin_of, same_person, same_study
from .geometry import canonical, corner_distance, image_affine, image_from_array
from .reading import count_frames, header_units, read_frames, read_volume, second_file
from .synthetic import mark_synthetic, says_synthetic
from .writing import file_sha256, write_volume

__all__ = [
    "Origin",
    "Series",
    "canonical",
    "check_kind",
    "check_volume",
    "corner_distance",
    "count_frames",
    "file_sha256",
    "find_series",
    "header_units",
    "image_affine",
    "image_from_array",
    "mark_synthetic",
    "origin_of",
    "read_frames",
    "read_volume",
    "same_person",
    "same_study",
    "says_synthetic",
    "second_file",
    "write_volume",
]
