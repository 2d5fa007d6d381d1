"""Small synthetic PETs with their records, and the T1w DICOM series they belong to."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from volume_files import affine_of, marked_array, nifti, rotation, write_dicom_slice

from RelAPETLib import provenance
from RelAPETLib.tracers import get_tracer
from RelAPETLib.volumes import file_sha256

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _axes(*columns):
    return np.array(columns, dtype=float).T


#: 4x4 affines to RAS mm of all ways a scan can lie.
GEOMETRIES = {
    "axial RAS": affine_of(),
    "axial LAS": affine_of(turned=np.diag([-1.0, 1, 1])),
    "axial LPS": affine_of(turned=np.diag([-1.0, -1, 1])),
    "upside down": affine_of(turned=np.diag([1.0, 1, -1])),
    "sagittal": affine_of(turned=_axes([0, -1, 0], [0, 0, -1], [1, 0, 0])),
    "sagittal mirrored": affine_of(turned=_axes([0, 1, 0], [0, 0, 1], [1, 0, 0])),
    "coronal": affine_of(turned=_axes([1, 0, 0], [0, 0, 1], [0, 1, 0])),
    "permuted": affine_of(turned=_axes([0, 0, 1], [1, 0, 0], [0, 1, 0])),
    "oblique": affine_of(spacing=(4 / 3, 1.7, 2.9), turned=rotation(12, -20, 31)),
    "oblique sagittal": affine_of(turned=rotation(-14, 8, 25) @ _axes([0, -1, 0], [0, 0, 1], [-1, 0, 0])),
}


def marked_pet(shape=(7, 6, 5)) -> np.ndarray:
    """Float32 [X, Y, Z] between 0 and 3, no two voxels alike."""
    array = marked_array(shape)
    return (array / array.max() * np.float32(2.7)).astype(np.float32)


def write_synthetic_pet(
    folder: Path, affine, array=None, tracer="TAU", output="suvr", uncertainty=None, space="T1w", t1w_sha256="0" * 64
) -> Path:
    """`synthetic_pet.nii.gz` with its record, as a synthesis leaves them; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    suvr = output == "suvr"
    record = provenance.build_provenance(
        model={
            "name": "tiny",
            "version": "0.0.1",
            "method": "rela",
            "weights_sha256": "ab" * 32,
            "metadata_sha256": None,
            "source": None,
            "licence": None,
            "trained_on_simulated_data": True,
            "training_data": "none",
            "intended_use": None,
            "limitations": [],
        },
        tracer={
            "name": tracer,
            "radiopharmaceutical": get_tracer(tracer).radiopharmaceutical,
            "output": output,
            "window": [0, 3] if suvr else None,
            "reference_region": "cerebellar_grey" if suvr else None,
        },
        inputs={"t1w": t1w_sha256, "t2f": "1" * 64},
        sampling={"sampler": "dpmpp", "steps": 2, "samples": 2, "seed": 0, "device": "cpu", "batch": 1},
        preprocessing={"method": "demons", "skull_stripped": False, "preprocessed": False, "quality": {}},
        outputs={},
        created="2026-01-02T03:04:05+01:00",
    )
    content, units = record["pet"]["content"], record["pet"]["units"]
    record["outputs"] = {
        "synthetic_pet.nii.gz": {"content": content, "space": space, "units": units},
        "difference.nii.gz": {"content": provenance.DIFFERENCE_MEANING, "space": space, "units": units},
    }
    array = marked_pet() if array is None else array
    if uncertainty is not None:
        content = provenance.UNCERTAINTY_MEANING
        record["outputs"]["uncertainty.nii.gz"] = {"content": content, "space": space, "units": units}
        nib.save(nifti(uncertainty, affine), folder / "uncertainty.nii.gz")
    for name in ("synthetic_pet.nii.gz", "difference.nii.gz"):
        nib.save(nifti(array, affine), folder / name)
    for name, output in record["outputs"].items():
        output["sha256"] = file_sha256(folder / name)
    provenance.check_provenance(record)
    (folder / "synthetic_pet.json").write_text(json.dumps(record), encoding="utf-8")
    return folder / "synthetic_pet.nii.gz"


def write_t1w_series(folder: Path, affine, shape=(7, 6, 5), **attributes) -> list[str]:
    """MR slices on a grid of (columns, rows, slices), files in another order; returns their SOP instance UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = _TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    voxels = marked_array(shape).astype(np.uint16)
    uids = [generate_uid() for _ in range(shape[2])]
    for index, uid in enumerate(uids):
        about = {
            "PatientName": "Müller^Zoë",
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientSex": "F",
            "StudyDate": "20250203",
            "StudyID": "S7",
            "FrameOfReferenceUID": "1.2.826.0.1.77",
            "ImageOrientationPatient": [
                float(f"{v:.9f}") for v in (*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1])
            ],
            "PixelSpacing": [float(spacing[1]), float(spacing[0])],
            "SOPInstanceUID": uid,
        } | attributes
        about = {name: value for name, value in about.items() if value is not None}
        position = [float(f"{v:.9f}") for v in lps[:3, 3] + index * lps[:3, 2]]
        write_dicom_slice(folder / f"IM{(index * 3 + 1) % shape[2]:03d}", voxels[:, :, index].T, position, **about)
    return uids


# Enhanced multi-frame images


def write_enhanced(
    path: Path,
    stored,
    affine,
    slope=1.0,
    intercept=0.0,
    order=None,
    shared=("measures", "plane"),
    frame=None,
    **attributes,
) -> None:
    """An enhanced MR file of stored numbers [X, Y, Z] on a 4x4 affine to RAS mm, by hand.

    Args:
        slope, intercept: one number, or one a slice.
        order: the slices in the order of the frames (default: as they lie; repeated ones make frames at one place).
        shared: functional groups that all frames share; the rest stands in each frame.
        frame: called as frame(number, item) for each frame's functional groups, to add to them.
        attributes: elements of the file that replace the usual ones; None leaves one out.
    """
    lps = _TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    count = stored.shape[2]
    order = list(range(count)) if order is None else [int(index) for index in order]
    slopes, intercepts = np.broadcast_to(slope, count), np.broadcast_to(intercept, count)
    groups = []
    for number, index in enumerate(order):
        measures = item_of(
            PixelSpacing=_decimals(spacing[[1, 0]]), SliceThickness=_decimals(spacing[2:])[0],
            SpacingBetweenSlices=_decimals(spacing[2:])[0],
        )  # fmt: skip
        plane = item_of(ImageOrientationPatient=_decimals([*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1]]))
        item = item_of(
            PlanePositionSequence=[item_of(ImagePositionPatient=_decimals(lps[:3, 3] + index * lps[:3, 2]))],
            FrameContentSequence=[
                item_of(StackID="1", InStackPositionNumber=index + 1, DimensionIndexValues=[1, index + 1])
            ],
            PixelValueTransformationSequence=[
                item_of(
                    RescaleSlope=_decimals([slopes[index]])[0],
                    RescaleIntercept=_decimals([intercepts[index]])[0],
                    RescaleType="US",
                )  # fmt: skip
            ],
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[plane],
        )
        if frame is not None:
            frame(number, item)
        groups.append(item)
    names = {"measures": "PixelMeasuresSequence", "plane": "PlaneOrientationSequence"}
    common = item_of(**{names[name]: groups[0][names[name]].value for name in shared})
    for name in shared:
        for item in groups:
            del item[names[name]]
    about = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1",
        "NumberOfFrames": len(order),
        "SharedFunctionalGroupsSequence": [common],
        "PerFrameFunctionalGroupsSequence": groups,
        "DimensionIndexSequence": [
            item_of(DimensionIndexPointer=tag_for_keyword(keyword)) for keyword in ("StackID", "InStackPositionNumber")
        ],
        "Rows": stored.shape[1],
        "Columns": stored.shape[0],
        "PixelSpacing": None,
        "SliceThickness": None,
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
    }
    pixels = np.concatenate([stored[:, :, index].T for index in order])
    write_dicom_slice(path, pixels.astype(np.uint16), (0, 0, 0), **about | attributes)


def item_of(**elements) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _decimals(values) -> list[str]:
    """DICOM's decimal strings, of at most sixteen characters."""
    return [f"{value:.9f}"[:16] for value in values]


def write_compressed_series(folder: Path, compressor: str, count=4) -> np.ndarray:
    """An MR series compressed by GDCM (``JPEG``: lossless, ``JPEG2000``, ``RLE``); its voxels [X, Y, Z]."""
    import SimpleITK as sitk

    folder.mkdir(parents=True, exist_ok=True)
    columns, rows = np.meshgrid(np.arange(32), np.arange(24), indexing="ij")
    voxels = np.stack([(columns * 7 + rows * 13 + 50 * index) % 900 for index in range(count)], -1).astype(np.uint16)
    for index in range(count):
        picture = sitk.GetImageFromArray(voxels[None, :, :, index].transpose(0, 2, 1))
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
        writer.SetFileName(str(folder / "one.dcm"))
        writer.Execute(picture)
        made = pydicom.dcmread(folder / "one.dcm")
        path = folder / f"IM{index:03d}"
        write_dicom_slice(path, voxels[:, :, index].T, (-10.0, -20.0, 5.0 + 2.0 * index))
        data = pydicom.dcmread(path)
        data.PixelData = made.PixelData
        data["PixelData"].is_undefined_length = True
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
        data.BitsStored, data.HighBit = made.BitsStored, made.HighBit
        pydicom.dcmwrite(path, data)
        (folder / "one.dcm").unlink()
    return voxels
