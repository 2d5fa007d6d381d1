"""Writing a volume so that it is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, OutputError
from ..grid import MNI_GRID
from ..whole_files import write_whole
from .geometry import image_affine

if TYPE_CHECKING:
    import SimpleITK as sitk

_SCANNER, _MNI = 1, 4  # NIFTI_XFORM_SCANNER_ANAT, NIFTI_XFORM_MNI_152


def write_volume(image: sitk.Image, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Write a 3-D image as NIfTI (.nii, .nii.gz) or NRRD (.nrrd, compressed), keeping its type and geometry.

    The file is written beside its place under a temporary name, synced to disk, then renamed: whoever looks finds the
    whole file or none, also after an error or Ctrl-C. NIfTI gets sform and qform alike, code 4 (MNI) on the model
    grid and 1 (scanner) elsewhere, and its voxel values unscaled.

    Raises:
        OutputError: the name's ending is none of these, the file exists and `overwrite` is false, or it cannot be
            written.
        InputError: the image is not 3-D.
    """
    path = Path(path)
    suffix = next((s for s in _WRITERS if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise OutputError(f"cannot write {path}: its name must end in {', '.join(_WRITERS)}")
    if image.GetDimension() != 3:
        raise InputError(f"cannot write {path}: the image is {image.GetDimension()}-D, not 3-D")
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; --overwrite (overwrite=True) replaces it")
        write_whole(path, partial(_WRITERS[suffix], image), suffix=suffix)
    except (OSError, RuntimeError) as error:  # RuntimeError is SimpleITK's
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the image writer failed"
        raise OutputError(f"cannot write {path}: {reason}") from error


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (64 hexadecimal digits) of a file's bytes.

    Of a folder (a DICOM series): of the sorted SHA-256 of the files in it, hidden ones left out, so that file names
    have no part in it.

    Raises:
        InputError: it is not there or cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
            return hashlib.sha256("".join(sorted(map(_digest, files))).encode("ascii")).hexdigest()
        return _digest(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_nifti(image: sitk.Image, path: Path) -> None:
    import nibabel as nib
    import SimpleITK as sitk

    array = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0))
    affine = image_affine(image)
    nifti = nib.Nifti1Image(array, affine, dtype=array.dtype)
    code = _MNI if MNI_GRID.matches(image) else _SCANNER
    nifti.set_qform(affine, code)
    nifti.set_sform(affine, code)
    nifti.header.set_xyzt_units("mm")
    nib.save(nifti, path)


def _write_nrrd(image: sitk.Image, path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), useCompression=True)


_WRITERS = {".nii.gz": _write_nifti, ".nii": _write_nifti, ".nrrd": _write_nrrd}
