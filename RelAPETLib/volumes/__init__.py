"""Volumes: reading, checking and writing.

In memory a volume is a 3-D scalar `SimpleITK.Image`, which carries its geometry (LPS coordinates, as ITK's). Geometry
in is geometry out: reading takes the file's own orientation, and nothing here resamples.
"""

from .checking import check_volume
from .geometry import canonical, image_affine, image_from_array
from .reading import read_volume
from .writing import file_sha256, write_volume

__all__ = [
    "canonical",
    "check_volume",
    "file_sha256",
    "image_affine",
    "image_from_array",
    "read_volume",
    "write_volume",
]
