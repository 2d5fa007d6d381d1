"""Reading a volume file by what it holds: NIfTI, MGH, NRRD, MetaImage; DICOM folders beside.

ITK does not see the files: its parsers crash on some headers, put defaults where geometry is missing, and read a
damaged stream without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..absent import what_stands_in, why_missing
from ..errors import InputError
from ..notices import printable
from .contrast import warn_of_contrast, who_says_contrast
from .dicom import dicom_says_synthetic, dicom_units, is_dicom, read_dicom_file, read_dicom_folder
from .endings import KINDS, ending_of
from .metaimage import is_metaimage, metaimage_voxel_file, read_metaimage
from .mgh import is_mgh, read_mgh
from .nifti import count_frames as count_nifti_frames
from .nifti import description, header_file, is_nifti, nifti_voxel_file, read_nifti
from .nrrd import is_nrrd, nrrd_voxel_file, own_keys, read_nrrd
from .streams import ByteStream, open_file, open_stream
from .writing import DESCRIBED, MARK

if TYPE_CHECKING:
    import SimpleITK as sitk

FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha), MGH (.mgh, .mgz) or a folder with one DICOM series"
_NAMES = {"nifti": "NIfTI", "mgh": "MGH", "nrrd": "NRRD", "metaimage": "MetaImage"}
#: As much of a file as shows what it is.
_BEGINNING = 352


def read_volume(path: str | os.PathLike, name: str = "volume") -> sitk.Image:
    """Read a 3-D scalar volume with its geometry.

    A file needs a volume's ending; which kind it is, its content says: a plain NIfTI named .nii.gz is read. A
    compressed file is read to its end and its check sum compared. NIfTI's orientation is the sform if its code is above
    0, else the qform if its code is; `scl_slope` is applied and metres or micrometres become millimetres. Trailing axes
    of length 1 are dropped. Memory held is one float32 copy of the volume.

    Args:
        path: a NIfTI, NRRD, MetaImage or MGH file, a folder with the files of one DICOM series, or one
            enhanced multi-frame DICOM file.
        name: what a warning calls the volume; warnings go into provenance, where a path has no place.

    Returns:
        Float32 image with the file's own axes and values; NaN and constants pass (`check_volume` refuses them). Where
        the header of a NIfTI or NRRD file says that it is synthetic, the image has `writing.MARK`, too.

    Raises:
        InputError: missing, unreadable, empty, damaged or no image; 2-D, 4-D or colour; orientation, place or spacing
            not in it; a singular or sheared affine; zero spacing; more memory needed than is free. One line that names
            the path.

    Warns:
        RelAPETWarning: what a header says twice and differently (NIfTI: sform, qform and pixdim, datatype and bitpix;
            NRRD: spacings and space directions; MetaImage: AnatomicalOrientation and TransformMatrix), and which is
            used; a T1w or T2-FLAIR (by `name`) was taken with a contrast agent, as the header, name or sidecar says.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return read_dicom_folder(path, name)
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    suffix = ending_of(path)
    if suffix not in KINDS:
        open_file(path, printable(path)).close()  # a file that is not there says so first
        if suffix in (".dcm", ".ima") or is_dicom(path):
            return read_dicom_file(path, name)
    with _opened(path) as (kind, stream, header):
        if who := who_says_contrast(path):
            warn_of_contrast(name, who)
        if kind == "nifti":
            return read_nifti(stream, header, name)
        if kind == "mgh":
            return read_mgh(stream)
        if kind == "nrrd":
            return read_nrrd(stream, header, name)
        return read_metaimage(stream, header, name)


def count_frames(path: str | os.PathLike) -> int:
    """Frames of a 4-D NIfTI by its header; 1 for whatever else, which `read_volume` judges.

    Raises:
        InputError: as `read_volume` does for a file that is not there or whose header is damaged.
    """
    path = Path(path)
    if ending_of(path) not in KINDS or os.path.isdir(path):
        return 1
    with _opened(path) as (kind, stream, _):
        return count_nifti_frames(stream) if kind == "nifti" else 1


def read_frames(path: str | os.PathLike, weights: Mapping[int, float], name: str = "volume") -> sitk.Image:
    """Sum of frames of a 4-D NIfTI, each times its weight, as a float32 volume.

    Args:
        path: a NIfTI file.
        weights: of each frame that is wanted, by its number from 0.
        name: as for `read_volume`, whose errors and warnings are these too.
    """
    with _opened(Path(path)) as (kind, stream, header):
        if kind != "nifti":
            raise InputError(f"{stream.label}: no NIfTI, so its frames are not read; convert it to NIfTI")
        return read_nifti(stream, header, name, weights)


def header_units(path: str | os.PathLike) -> str | None:
    """Unit that the header of a DICOM PET gives, as `dicom_units` has it; None for any other file or none at all.

    Raises:
        InputError: a damaged DICOM file, or one that cannot be read.
    """
    path = Path(path)
    if os.path.isdir(path) or (os.path.isfile(path) and ending_of(path) not in KINDS):
        try:
            return dicom_units(path)
        except OSError as error:
            raise InputError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    return None


def header_says_synthetic(path: str | os.PathLike) -> bool:
    """Whether a volume's own header says that it is synthetic: NIfTI, NRRD (`writing.MARK`) or DICOM; others say none.

    Raises:
        InputError: as `read_volume` does for a file that is not there or whose header is damaged.
    """
    path = Path(path)
    if os.path.isdir(path) or (os.path.isfile(path) and ending_of(path) not in KINDS):
        return dicom_says_synthetic(path)
    with _opened(path) as (kind, stream, _):
        if kind == "nifti":
            return description(stream).startswith(DESCRIBED)
        return kind == "nrrd" and MARK in own_keys(stream)


def second_file(path: str | os.PathLike) -> Path | None:
    """The other file of a volume in two: the voxels of a header (.hdr, .mhd, .nhdr), or the header of an .img.

    None where one file, or a folder, is all. What it returns exists.

    Raises:
        InputError: as `read_volume` does for a file that is not there or whose header is damaged.
    """
    path = Path(path)
    if ending_of(path) not in KINDS or os.path.isdir(path):
        return None
    with _opened(path) as (kind, stream, header):
        if header != path:
            return header
        finders = {"nifti": nifti_voxel_file, "nrrd": nrrd_voxel_file, "metaimage": metaimage_voxel_file}
        other = finders[kind](stream, path) if kind in finders else None
        if other is not None and not os.path.exists(other):
            raise InputError(f"{printable(other)}: {why_missing(other)}")
        return other


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, ByteStream, Path]]:
    """What a file is, a stream at the start of its header, and the path of that."""
    label, suffix = printable(path), ending_of(path)
    kind = KINDS.get(suffix)
    if kind is None:
        with open_file(path, label) as file, np.errstate(all="ignore"):
            content = _NAMES.get(_kind(open_stream(file, label)))
        though = f", though it is {content} by its content; name it so" if content else ""
        raise InputError(f"{label}: not a volume by its name{though}; give {FORMATS}")
    if kind == "nifti" and not suffix.startswith(".nii"):
        open_file(path, label).close()
        path = header_file(path, label)
    # What a damaged header makes of the arithmetic is checked, not warned about.
    with open_file(path, label) as file, np.errstate(all="ignore"):
        stream = open_stream(file, label)
        yield _kind(stream) or kind, stream, path


def _kind(stream: ByteStream) -> str | None:
    """What the content says; None where it says nothing. Raises `InputError` for what is no volume but known."""
    beginning = stream.peek(_BEGINNING)
    if words := what_stands_in(beginning):
        raise InputError(f"{stream.label}: {words}")
    if beginning[128:132] == b"DICM":
        raise InputError(f"{stream.label}: a single DICOM file by its content; give the folder that holds its series")
    for kind, fits in (("nrrd", is_nrrd), ("metaimage", is_metaimage), ("nifti", is_nifti), ("mgh", is_mgh)):
        if fits(beginning):
            return kind
    return None
