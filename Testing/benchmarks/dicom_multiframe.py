"""Real scanners' enhanced multi-frame DICOM through our reader, against the NIfTI that dcm2niix made of it.

``python Testing/benchmarks/dicom_multiframe.py REPOSITORY [REPOSITORY ...]`` prints a row a file. A repository is a
clone of one of neurolabusc's ``dcm_qa_*`` (``In/`` with DICOM, ``Ref/`` with NIfTI), unpacked where gzipped.
A file with several volumes, which the reader refuses, is read once more from a copy that holds the first picture at
each place. Nothing of it is kept in this repository; the table is in ``results/dicom_multiframe.md``.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from RelAPETLib.errors import InputError
from RelAPETLib.volumes import corner_distance, image_affine, read_volume


def enhanced_files(root: Path):
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.suffix in (".gz", ".nii", ".json", ".txt"):
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if "PerFrameFunctionalGroupsSequence" in header:
            yield path, header


def first_volume(path: Path, folder: Path) -> Path:
    """A copy with the first frame at each position."""
    data, seen, kept = pydicom.dcmread(path), set(), []
    for number, item in enumerate(data.PerFrameFunctionalGroupsSequence):
        place = tuple(item.PlanePositionSequence[0].ImagePositionPatient)
        if place not in seen:
            seen.add(place)
            kept.append(number)
    size = len(data.PixelData) // int(data.NumberOfFrames)
    data.PixelData = b"".join(data.PixelData[number * size : (number + 1) * size] for number in kept)
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[number] for number in kept]
    data.NumberOfFrames = len(kept)
    data.save_as(folder / "first.dcm")
    return folder / "first.dcm"


def references(root: Path) -> list[nib.Nifti1Image]:
    """Every volume of the reference NIfTI, turned to the canonical axes."""
    volumes = []
    for path in sorted(root.glob("Ref/*.nii*")):
        image = nib.load(path)
        if image.get_data_dtype().fields:  # colour
            continue
        array = image.get_fdata(dtype=np.float32).reshape(*image.shape[:3], -1)
        volumes += [
            nib.as_closest_canonical(nib.Nifti1Image(array[..., index], image.affine))
            for index in range(array.shape[3])
        ]
    return volumes


def nearest(image: sitk.Image, volumes: list[nib.Nifti1Image]) -> str:
    """The reference volume with the nearest voxels, and how far it is."""
    ours = nib.Nifti1Image(sitk.GetArrayFromImage(image).transpose(2, 1, 0), image_affine(image))
    ours = nib.as_closest_canonical(ours)
    array, found = np.asarray(ours.dataobj), []
    for volume in volumes:
        if volume.shape == ours.shape:
            other = np.asarray(volume.dataobj)
            factor = float((array * other).sum(dtype=float) / ((other * other).sum(dtype=float) or 1))
            factor = 1.0 if abs(factor - 1) < 1e-3 else factor
            apart = corner_distance(ours.affine, volume.affine, ours.shape)
            found.append((float(np.abs(array - factor * other).max()), apart, factor))
    if not found:
        return "no reference of this size"
    difference, apart, factor = min(found)
    if difference > 0.01 * np.abs(array).max():
        return "no reference of it among them"
    scaled = "" if factor == 1 else f", reference times {factor:.5g}"
    return f"{difference:.2g} of {np.abs(array).max():.4g}{scaled}; {apart:.1g} mm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, nargs="+")
    warnings.simplefilter("ignore")
    print("| repository | scanner, software | file | frames | what came out | largest difference: voxel; corner |")
    print("|---|---|---|---|---|---|")
    for root in parser.parse_args().repository:
        volumes = references(root)
        for path, header in enhanced_files(root):
            words = header.get("SoftwareVersions") or ""
            scanner = f"{header.Manufacturer} {words if isinstance(words, str) else words[0]}"
            with tempfile.TemporaryDirectory() as folder:
                try:
                    image, outcome = read_volume(path, "T1w"), "read"
                except InputError as error:
                    image, outcome = None, str(error).removeprefix(f"{path}: ").split("; ")[0]
                    if "lie where another" in outcome:
                        image = read_volume(first_volume(path, Path(folder)), "T1w")
                        outcome = f"refused ({outcome.split('(')[1].rstrip(')')}); first volume read"
                    else:
                        outcome = f"refused ({outcome})"
            name = "/".join(path.relative_to(root / "In").parts)
            name = name if len(name) < 50 else f"{name[:40]}..."
            compared = "" if image is None else nearest(image, volumes)
            print(
                f"| {root.name} | {scanner} | {name} | {header.NumberOfFrames} | {outcome} | {compared} |", flush=True
            )


if __name__ == "__main__":
    main()
