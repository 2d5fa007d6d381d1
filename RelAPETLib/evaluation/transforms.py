"""Transforms to MNI space as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..absent import why_missing
from ..errors import InputError
from ..notices import printable

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Name of the transform in a saved case.
OF_CASE = "t1w_to_grid.h5"
_FIELDS = (".nii", ".nii.gz", ".nrrd", ".mha")


def read_transform(path: Path) -> sitk.Transform:
    """A transform of points from a person's space to MNI: ITK's file, a field of displacements, or a saved case.

    Raises:
        InputError: it cannot be read.
    """
    import SimpleITK as sitk

    from ..registration.fields import as_transform

    file = path / OF_CASE if path.is_dir() else path
    try:
        if file.name.endswith(_FIELDS):
            field = sitk.ReadImage(str(file))
            if field.GetNumberOfComponentsPerPixel() == field.GetDimension() == 3:
                return as_transform(field)
        else:
            return sitk.ReadTransform(str(file))
    except RuntimeError as error:
        raise _unreadable(file) from error
    raise _unreadable(file)


def _unreadable(path: Path) -> InputError:
    words = "no ITK transform that can be read; give a .h5, .tfm or .txt, or a field of displacements as .nii.gz"
    words = words if path.exists() else why_missing(path)
    return InputError(f"{printable(path)}: {words}")
