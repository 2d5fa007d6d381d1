"""Small volume files for tests, made by libraries other than ours."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid


def marked_array(shape=(7, 6, 5)) -> np.ndarray:
    """Float32 array [X, Y, Z] in which no two voxels are alike, so that any permutation or flip shows."""
    return (np.arange(np.prod(shape), dtype=np.float32) + 1).reshape(shape)


def rotation(degrees_x: float, degrees_y: float, degrees_z: float) -> np.ndarray:
    """3x3 rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, degrees in enumerate((degrees_x, degrees_y, degrees_z)):
        angle = np.deg2rad(degrees)
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        result = turn @ result
    return result


def affine_of(spacing=(1.5, 2.0, 3.0), origin=(-20.0, 12.0, 7.0), turned=None) -> np.ndarray:
    """4x4 affine to RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turned is None else turned) * spacing
    affine[:3, 3] = origin
    return affine


def nifti(array=None, affine=None, sform_code=1, qform_code=1) -> nib.Nifti1Image:
    """NIfTI image in memory with both forms set alike; a code of 0 unsets one."""
    array = marked_array() if array is None else array
    affine = affine_of() if affine is None else affine
    image = nib.Nifti1Image(array, affine, dtype=np.asarray(array).dtype)
    image.set_qform(affine, qform_code)
    image.set_sform(affine, sform_code)
    return image


def write_dicom_slice(path: Path, pixels: np.ndarray, position, **attributes) -> None:
    """One single-frame MR image: pixels [rows, columns] uint16, position in LPS mm. `attributes` replace elements."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate = "Secret^Name", "SECRET-ID", "19500101"
    data.Modality, data.SeriesNumber, data.SeriesDescription = "MR", 3, "Secret description"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.0.1.1", "1.2.826.0.1.1.3"
    data.Rows, data.Columns = pixels.shape[:2]
    data.PixelSpacing, data.SliceThickness = [1.5, 1.25], 2.0
    data.ImagePositionPatient, data.ImageOrientationPatient = list(position), [1, 0, 0, 0, 1, 0]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    syntax = attributes.pop("compress", None)
    for name, value in attributes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    if syntax is not None:
        data.compress(UID(syntax))
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def write_dicom_series(folder: Path, count=6, shape=(20, 24), step=2.0, **attributes) -> np.ndarray:
    """Series of axial slices under shuffled file names; returns its voxels [X, Y, Z] (columns, rows, slices)."""
    folder.mkdir(exist_ok=True)
    voxels = marked_array((shape[1], shape[0], count)).astype(np.uint16)
    for index in range(count):
        name = f"IM{(index * 5 + 3) % count:03d}"
        write_dicom_slice(folder / name, voxels[:, :, index].T, (-10.0, -20.0, 5.0 + step * index), **attributes)
    return voxels
