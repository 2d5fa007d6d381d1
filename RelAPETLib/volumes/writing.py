"""Writing a volume so that it is there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..absent import why_missing
from ..errors import InputError, OutputError
from ..grid import MNI_GRID
from ..whole_files import write_whole
from .geometry import image_affine

if TYPE_CHECKING:
    import SimpleITK as sitk

_SCANNER, _MNI = 1, 4  # NIFTI_XFORM_SCANNER_ANAT, NIFTI_XFORM_MNI_152
#: Metadata of an image that is synthetic (`synthetic.mark_synthetic`), and what NIfTI's ``descrip`` begins with then.
MARK, DESCRIBED = "RelAPET.Synthetic", "SYNTHETIC by RelAPET: a model's guess, not a measurement"


def write_volume(image: sitk.Image, path: str | os.PathLike, overwrite: bool = False) -> None:
    """Write a 3-D image as NIfTI (.nii, .nii.gz) or NRRD (.nrrd, compressed), keeping its type and geometry.

    The file is written beside its place under a temporary name, synced to disk, then renamed: whoever looks finds the
    whole file or none, also after an error or Ctrl-C. NIfTI gets sform and qform alike, code 4 (MNI) on the model
    grid and 1 (scanner) elsewhere, its voxel values unscaled, and ``descrip`` where the image is marked as synthetic
    (`synthetic.mark_synthetic`); NRRD gets all of the image's metadata. The same image gives the same bytes:
    ``.nii.gz`` says no time and no name.

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
        raise InputError(f"cannot read {path}: {why_missing(path, error.strerror or str(error))}") from error


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_nifti(image: sitk.Image, path: Path) -> None:
    import nibabel as nib
    import SimpleITK as sitk

    # The image's own memory, in the order of the file; a copy would be turned back.
    array = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
    affine = image_affine(image)
    nifti = nib.Nifti1Image(array, affine, dtype=array.dtype)
    code = _MNI if MNI_GRID.matches(image) else _SCANNER
    nifti.set_qform(affine, code)
    nifti.set_sform(affine, code)
    nifti.header.set_xyzt_units("mm")
    if image.HasMetaDataKey(MARK):
        nifti.header["descrip"] = DESCRIBED
    with path.open("wb") as file:
        if path.suffix.lower() != ".gz":
            nifti.to_stream(file)
            return
        with _Deflated(file, repeats=array.dtype.kind == "f") as stream:
            nifti.to_stream(stream)


class _Deflated(io.RawIOBase):
    """What is written to it, gzipped into an open file, which stays open when this is closed.

    Args:
        repeats: look for repeated bytes alone, not for longer matches. The mantissas of real numbers have none to be
            found: the search costs most of the time and makes the file larger. Integers repeat, labels above all.
    """

    def __init__(self, file: BinaryIO, repeats: bool):
        super().__init__()
        strategy = zlib.Z_RLE if repeats else zlib.Z_DEFAULT_STRATEGY
        # 15 bits of window + 16: gzip's header, with time 0 and no name, and its check sum.
        self._file, self._deflate = file, zlib.compressobj(1, zlib.DEFLATED, 31, zlib.DEF_MEM_LEVEL, strategy)
        self._count = 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._file.write(self._deflate.compress(data))
        count = memoryview(data).nbytes
        self._count += count
        return count

    def tell(self) -> int:
        return self._count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._count:
            raise io.UnsupportedOperation("what is written cannot be returned to")
        self.write(bytes(offset - self._count))
        return self._count

    def close(self) -> None:
        if not self.closed:
            self._file.write(self._deflate.flush())
        super().close()


def _write_nrrd(image: sitk.Image, path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path), useCompression=True)


_WRITERS = {".nii.gz": _write_nifti, ".nii": _write_nifti, ".nrrd": _write_nrrd}
