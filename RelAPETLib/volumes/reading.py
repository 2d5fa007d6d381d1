"""Reading a volume file: NIfTI and MGH through nibabel, NRRD and MetaImage through SimpleITK, DICOM folders beside.

NIfTI does not go through ITK: ITK chooses between sform and qform by rules of its own, and reads a truncated .nii.gz
without a word.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import warn
from .dicom import read_dicom_file, read_dicom_folder
from .geometry import corner_distance, image_from_array, with_orthogonal_axes

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK as sitk

_NIBABEL = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz", ".mgh", ".mgz")
_ITK = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_NRRD_SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras")
FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha), MGH (.mgh, .mgz) or a folder with one DICOM series"

#: sform and qform of one scan may differ by rounding; more than this and one of them is stale.
FORMS_TOLERANCE_MM = 0.5
#: A billion voxels is a damaged header, not a head.
MAX_VOXELS = 2**30
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # NIfTI's xyzt_units: metres, micrometres; anything else is read as millimetres


def read_volume(path: str | os.PathLike, name: str = "volume") -> sitk.Image:
    """Read a 3-D scalar volume with its geometry.

    NIfTI's orientation is the sform if its code is above 0, else the qform if its code is; `scl_slope` is applied and
    metres or micrometres become millimetres. Trailing axes of length 1 are dropped.

    Args:
        path: a NIfTI, NRRD, MetaImage or MGH file, or a folder with the files of one DICOM series.
        name: what a warning calls the volume; warnings go into provenance, where a path has no place.

    Returns:
        Float32 image with the file's own axes and values; NaN and constants pass (`check_volume` refuses them).

    Raises:
        InputError: missing, unreadable, empty, damaged or no image; 2-D, 4-D or colour; no orientation in it; a
            singular or sheared affine; zero spacing. One line that names the path.

    Warns:
        RelAPETWarning: sform and qform are both set and differ by more than 0.5 mm at a corner of the volume.
    """
    path = Path(path)
    suffix = _suffix(path)
    try:
        if path.is_dir():
            return read_dicom_folder(path, name)
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if not path.is_file():
            raise InputError(f"{path}: not a regular file")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if suffix in _NIBABEL:
        return _read_with_nibabel(path, name)
    if suffix in _ITK:
        return _read_with_itk(path, _ITK[suffix])
    if suffix in (".dcm", ".ima"):
        return read_dicom_file(path, name)
    raise InputError(f"{path}: not a volume by its name; give {FORMATS}")


def _suffix(path: Path) -> str:
    """Ending of the name, lower case, ``.gz`` together with what stands before it."""
    parts = [part.lower() for part in path.suffixes[-2:]]
    return "".join(parts) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def _read_with_nibabel(path: Path, name: str) -> sitk.Image:
    import nibabel as nib

    try:
        with _quiet_nibabel():
            image = nib.load(path, mmap=False)
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        nib.freesurfer.mghformat.MGHError,
    ) as error:
        raise InputError(f"{path}: not a readable image of its kind; give {FORMATS}") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged or truncated, its header cannot be read; copy it again") from error
    if not isinstance(image, nib.Nifti1Pair | nib.MGHImage):
        raise InputError(f"{path}: {type(image).__name__} holds no orientation; convert it to NIfTI")
    shape = _volume_shape(image, path)
    affine = _mgh_affine(image, path) if isinstance(image, nib.MGHImage) else _nifti_affine(image, path, name)
    try:
        _check_size(image, path)
        data = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise InputError(f"{path}: damaged or truncated, its voxels cannot be read whole; copy it again") from error
    return image_from_array(data.reshape(shape, order="F"), affine, str(path))


@contextlib.contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keep what nibabel mends in a header off stderr; what matters of it is checked here, with an error of ours."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _volume_shape(image: nib.spatialimages.SpatialImage, path: Path) -> tuple[int, ...]:
    """The three dimensions of a scalar volume, trailing ones dropped."""
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise InputError(f"{path}: colour or complex voxels ({dtype}); one grey value a voxel is wanted")
    _check_dimensions(shape, path)
    return tuple(shape)


def _check_size(image: nib.spatialimages.SpatialImage, path: Path) -> None:
    """Refuse a file too short for what its header promises before memory is taken for that."""
    file = Path(image.file_map["image"].filename)
    # Deflate shrinks at most to 1/1032 (zlib's technical notes).
    most = file.stat().st_size * (1032 if file.suffix.lower() in (".gz", ".mgz") else 1)
    if most < np.prod(image.shape, dtype=float) * image.get_data_dtype().itemsize:
        raise InputError(f"{path}: damaged or truncated, its voxels cannot be read whole; copy it again")


def _check_dimensions(shape: list[int], path: Path) -> None:
    shown = "x".join(map(str, shape))
    if len(shape) > 3:
        raise InputError(f"{path}: {len(shape)}-D ({shown}); take one 3-D volume out of it")
    if len(shape) < 3 or 1 in shape:
        raise InputError(f"{path}: a 2-D image ({shown}); a 3-D volume is wanted")
    if min(shape) < 1 or np.prod(shape, dtype=float) > MAX_VOXELS:
        raise InputError(f"{path}: a volume of {shown} voxels cannot be; the header is damaged")


def _nifti_affine(image: nib.Nifti1Pair, path: Path, name: str) -> np.ndarray:
    """Voxel indices to RAS millimetres: sform if its code > 0, else qform if its code > 0."""
    _check_pixdim(image, path)
    header = image.header
    sform = header.get_sform() if header["sform_code"] > 0 else None
    qform = None
    if header["qform_code"] > 0:
        try:
            qform = header.get_qform()
        except ValueError:  # without an sform nibabel would not have loaded it
            warn(f"{name}: the qform is no rotation; the sform is used")
    if sform is None and qform is None:
        raise InputError(
            f"{path}: neither sform nor qform is set, so its orientation is unknown; export it with its orientation"
        )
    mm = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    scale = np.diag([mm, mm, mm, 1.0])
    if sform is not None and qform is not None:
        difference = corner_distance(scale @ sform, scale @ qform, image.shape)
        if difference > FORMS_TOLERANCE_MM:
            warn(f"{name}: sform and qform put a corner of the volume {difference:.1f} mm apart; the sform is used")
    return scale @ (qform if sform is None else sform)


def _check_pixdim(image: nib.Nifti1Pair, path: Path) -> None:
    """Refuse zero or non-finite spacing, which nibabel mends in silence: the header is read again as it stands."""
    holder = image.file_map.get("header") or image.file_map["image"]
    with holder.get_prepare_fileobj("rb") as stream:
        raw = type(image.header).from_fileobj(stream, check=False)
    spacing = np.asarray(raw["pixdim"][1:4], dtype=float)
    if not np.isfinite(spacing).all() or (spacing == 0).any():
        raise InputError(f"{path}: zero voxel spacing in its header (pixdim {spacing.tolist()}); export it again")


def _mgh_affine(image: nib.MGHImage, path: Path) -> np.ndarray:
    holder = image.file_map["image"]
    with holder.get_prepare_fileobj("rb") as stream:
        beginning = stream.read(30)
    if not any(beginning[28:30]):  # goodRASFlag; nibabel puts a guess in place of the missing orientation
        raise InputError(f"{path}: its header says that its orientation is unknown; export it with its orientation")
    if not (image.header["delta"] > 0).all():
        raise InputError(f"{path}: zero voxel spacing in its header; export it again")
    return image.affine


def _read_with_itk(path: Path, image_io: str) -> sitk.Image:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    metaimage = _metaimage_header(path) if image_io == "MetaImageIO" else None
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "spacing" in str(error).lower():
            raise InputError(f"{path}: zero voxel spacing in its header; export it again") from error
        raise InputError(f"{path}: not a readable image of its kind; give {FORMATS}") from error
    shape = list(reader.GetSize())
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() in (
        sitk.sitkComplexFloat32,
        sitk.sitkComplexFloat64,
    ):
        raise InputError(f"{path}: several values a voxel (colour, vector, time points); one grey value is wanted")
    _check_dimensions(shape, path)
    if 0 in reader.GetSpacing()[:3]:
        raise InputError(f"{path}: zero voxel spacing in its header; export it again")
    if image_io == "NrrdImageIO":
        _check_nrrd_space(path)
    if metaimage:
        _check_metaimage_whole(path, reader, *metaimage)
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetExtractSize([*shape, *[0] * (reader.GetDimension() - 3)])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: damaged or truncated, its voxels cannot be read whole; copy it again") from error
    return with_orthogonal_axes(image, str(path))


def _check_nrrd_space(path: Path) -> None:
    """Refuse a NRRD without a patient space, or in one that ITK takes for another.

    ITK reads any unknown space (e.g. scanner-xyz) as LPS, and before SimpleITK 2.5.5 it flips the wrong axis of
    left-anterior-superior.
    """
    with path.open("rb") as stream:
        header = stream.read(65536).split(b"\n\n")[0].replace(b"\r", b"").decode("latin-1")
    found = re.search(r"^space:\s*(\S+)", header, re.MULTILINE)
    if not found:
        raise InputError(f"{path}: no patient space in its header, so its orientation is unknown; export it with one")
    if found[1].lower() not in _NRRD_SPACES:
        raise InputError(f"{path}: its space is {found[1]}; save it as left-posterior-superior, so that it is plain")


def _metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a MetaImage's header and its length in bytes. Raises `InputError` if it has none.

    MetaIO refuses such a file and a truncated one too, but prints lines of its own.
    """
    with path.open("rb") as stream:
        text = stream.read(65536).decode("latin-1")
    head, mark, rest = text.partition("ElementDataFile")
    head += mark + rest.split("\n", 1)[0] + "\n"
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in head.splitlines())}
    complete = {"DimSize", "ElementType", "ElementDataFile"} <= fields.keys()
    if not complete or fields.get("NDims") not in ("1", "2", "3", "4"):  # other numbers crash ITK
        raise InputError(f"{path}: not a readable image of its kind; give {FORMATS}")
    return fields, len(head)


def _check_metaimage_whole(path: Path, reader: sitk.ImageFileReader, fields: dict[str, str], length: int) -> None:
    import SimpleITK as sitk

    if fields["ElementDataFile"] != "LOCAL":
        return  # the voxels are in another file
    if fields.get("CompressedData", "").lower() == "true":
        size = fields.get("CompressedDataSize", "")
        wanted = int(size) if size.isdecimal() else 0
    else:
        voxel = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        wanted = int(np.prod(reader.GetSize())) * voxel
    if path.stat().st_size < length + wanted:
        raise InputError(f"{path}: damaged or truncated, its voxels cannot be read whole; copy it again")
