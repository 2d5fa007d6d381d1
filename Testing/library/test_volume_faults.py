"""Files that went wrong with real users or a fuzzer: each is read rightly, or refused with a line that says why.

Numbers such as "nibabel #626" are public bug reports.
"""

import bz2
import gzip
import os
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from volume_files import affine_of, marked_array, nifti, rotation

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.volumes import count_frames, image_affine, image_from_array, read_frames, read_volume

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import robustness_volumes

NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "7 6 5",
    "space directions": "(1.5,0,0) (0,2,0) (0,0,3)",
    "space origin": "(20,-12,7)",
    "endian": "little",
    "encoding": "raw",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "20 -12 7",
    "ElementSpacing": "1.5 2 3",
    "DimSize": "7 6 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
DATA = marked_array().astype("<i2").tobytes(order="F")
NOISE = np.random.default_rng(0).integers(-500, 500, (20, 20, 20)).astype(np.int16)


def voxels(image):
    """Voxels [X, Y, Z]."""
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def write_nrrd(path, data=DATA, **changed):
    """Fields given with `_` for a space; None leaves one out."""
    fields = {**NRRD, **{key.replace("_", " "): value for key, value in changed.items()}}
    lines = [f"{key}: {value}\n" for key, value in fields.items() if value is not None]
    path.write_bytes("".join(["NRRD0004\n", *lines, "\n"]).encode() + data)
    return path


def write_meta(path, data=DATA, **changed):
    fields = {**META, **changed}
    last = {"ElementDataFile": fields.pop("ElementDataFile")}
    lines = [f"{key} = {value}\n" for key, value in {**fields, **last}.items() if value is not None]
    path.write_bytes("".join(lines).encode() + data)
    return path


def write_nifti(path, image=None, patches=(), pixdim=None):
    """A plain NIfTI whose header's bytes are then replaced: pairs of offset and array."""
    nib.save(nifti() if image is None else image, path)
    with path.open("r+b") as stream:
        for offset, values in patches:
            stream.seek(offset)
            stream.write(values.tobytes())
    return path


@pytest.fixture(autouse=True)
def silent(capfd):
    """Not a line on the terminal, the C++ libraries' included; a warning that is not expected is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")


def refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        read_volume(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def packed_files(folder):
    """(file, first byte of its compressed stream) of every compressed form."""
    affine = affine_of()
    for name, image in (
        ("a.nii.gz", nifti(NOISE)),
        ("a.mgz", nib.MGHImage(NOISE, affine)),
        ("p.img.gz", nib.Nifti1Pair(NOISE, affine)),
    ):
        nib.save(image, folder / name)
        yield folder / name, 0
    yield folder / "p.hdr.gz", 0
    data, head = NOISE.tobytes(order="F"), {"sizes": "20 20 20"}
    for name, packed in (("gzip", gzip.compress(data)), ("bzip2", bz2.compress(data))):
        path = write_nrrd(folder / f"{name}.nrrd", packed, encoding=name, **head)
        yield path, path.stat().st_size - len(packed)
    packed = zlib.compress(data)
    for name, size in (("sized", str(len(packed))), ("unsized", None)):
        path = write_meta(
            folder / f"{name}.mha", packed, CompressedData="True", CompressedDataSize=size, DimSize="20 20 20"
        )
        yield path, path.stat().st_size - len(packed)
    (folder / "d.zraw").write_bytes(packed)
    write_meta(folder / "d.mhd", b"", CompressedData="True", DimSize="20 20 20", ElementDataFile="d.zraw")
    yield folder / "d.zraw", 0


def test_no_damage_of_a_compressed_stream_is_read(tmp_path):
    """40 flipped bits, a block of zeros and a cut, anywhere: refused, or the very same volume (a spare bit of gzip's
    header)."""
    rng = np.random.default_rng(1)
    for path, first in packed_files(tmp_path):
        given = {"d.zraw": tmp_path / "d.mhd", "p.hdr.gz": tmp_path / "p.img.gz"}.get(path.name, path)
        whole, content = read_volume(given), path.read_bytes()
        assert np.array_equal(voxels(whole), NOISE), path
        spoilt = []
        for _ in range(40):
            new, at = bytearray(content), rng.integers(first, len(content))
            new[at] ^= 1 << rng.integers(8)
            spoilt.append(bytes(new))
        at = int(rng.integers(first, max(first + 1, len(content) - 4096)))
        spoilt += [
            content[:at] + bytes(min(4096, len(content) - at)) + content[at + 4096 :],
            content[: (first + at) // 2],
        ]
        accepted = 0
        for new in spoilt:
            path.write_bytes(new)
            try:
                image = read_volume(given)
            except InputError as error:
                assert "copy it again" in str(error) or path.name == "p.hdr.gz"
            else:
                accepted += 1
                assert np.array_equal(voxels(image), NOISE)
                assert image_affine(image).tolist() == image_affine(whole).tolist()
        assert accepted <= 8, f"{path}: only spare bits may pass"
        path.write_bytes(content)


def test_quaternion_of_rounded_digits(tmp_path):
    """nibabel #626, nilearn #1505, fmriprep #845: 6 digits make its norm 1.0000003."""
    image = nifti(affine=affine_of(turned=rotation(180, 14, 3)), sform_code=0)
    quaternion = np.array([image.header[f"quatern_{part}"] for part in "bcd"], float)
    rounded = (np.ceil(np.abs(quaternion) * 1e4) / 1e4 * np.sign(quaternion)).astype("<f4")
    path = write_nifti(tmp_path / "a.nii", image, [(256, rounded)])
    assert np.sum(rounded.astype(float) ** 2) > 1.00005
    ours = read_volume(path)
    assert np.array_equal(voxels(ours), marked_array())
    assert np.allclose(image_affine(ours), image_affine(sitk.ReadImage(path)), atol=1e-4)
    assert np.allclose(image_affine(ours), image.affine, atol=0.03)


@pytest.mark.parametrize("qfac", [1, -1, 0, np.nan])
def test_qfac(tmp_path, qfac):
    image = nifti(affine=affine_of() @ np.diag([1, 1, -1 if qfac == -1 else 1, 1]), sform_code=0)
    path = write_nifti(tmp_path / "a.nii", image, [(76, np.array([qfac], "<f4"))])
    assert np.allclose(image_affine(read_volume(path)), image.affine, atol=1e-5)


def test_vox_offset_of_nothing(tmp_path):
    """nibabel #105, #136: 0 in a single file means right behind the header."""
    path = write_nifti(tmp_path / "a.nii", patches=[(108, np.zeros(1, "<f4"))])
    assert np.array_equal(voxels(read_volume(path)), marked_array())


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, -16, 16, 351, 400.5, 1e30, 2e6])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_vox_offset_of_nonsense(tmp_path, offset, suffix):
    path = write_nifti(tmp_path / "a.nii", patches=[(108, np.array([offset], "<f4"))])
    if suffix == ".nii.gz":
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    refused(tmp_path / f"a{suffix}", "vox_offset|voxels cannot begin after|it ends early")


def test_vox_offset_leaves_room_for_extensions(tmp_path):
    image = nifti()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello " * 20))
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(voxels(read_volume(tmp_path / "a.nii.gz")), marked_array())


def forms(sform, qform, pixdim=(1.5, 2, 3)):
    """NIfTI with these matrices (None: not set) and pixdim."""
    image = nifti()
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    image.header["pixdim"][1:4] = pixdim
    return image


def test_sform_of_a_library_that_knows_no_better(tmp_path):
    """ITK #3514: the unit matrix against voxels of 5 mm."""
    unit, placed = np.eye(4), np.eye(4)
    placed[:3, 3] = -10, 20, 30
    for sform in (unit, placed):
        nib.save(forms(sform, None, (5, 5, 5)), tmp_path / "a.nii")
        refused(tmp_path / "a.nii", "unit matrix, but its voxels are 1 x 1 x 1 mm by the sform, 5 x 5 x 5 mm by pixdim")
        nib.save(forms(sform, affine_of()), tmp_path / "a.nii")
        with pytest.warns(RelAPETWarning, match=r"unit matrix against pixdim; the qform is used \(1.5 x 2 x 3 mm\)"):
            assert np.allclose(image_affine(read_volume(tmp_path / "a.nii")), affine_of(), atol=1e-5)
        nib.save(forms(sform, None, (1, 1, 1)), tmp_path / "a.nii")  # nothing contradicts it here
        assert np.allclose(image_affine(read_volume(tmp_path / "a.nii")), sform)


def test_sform_against_pixdim(tmp_path):
    nib.save(forms(affine_of(), None, (1.5, 2, 4)), tmp_path / "a.nii")
    with pytest.warns(RelAPETWarning, match="T1w: voxels of 1.5 x 2 x 3 mm by the sform, 1.5 x 2 x 4 mm by pixdim"):
        assert np.allclose(image_affine(read_volume(tmp_path / "a.nii", "T1w")), affine_of())


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_sform_of_nothing(tmp_path, value):
    rows = (280, np.full(12, value, "<f4"))
    path = write_nifti(tmp_path / "a.nii", patches=[rows])
    with pytest.warns(RelAPETWarning, match="the sform is zero, singular or not finite; the qform is used"):
        assert np.allclose(image_affine(read_volume(path)), affine_of(), atol=1e-5)
    write_nifti(path, nifti(qform_code=0), [rows])
    refused(path, "zero voxel spacing|NaN or infinite")


def test_negative_pixdim_is_no_qform(tmp_path):
    """The NIfTI library of ITK takes 1 mm for it."""
    patch = (84, np.array([-2], "<f4"))
    refused(write_nifti(tmp_path / "a.nii", nifti(sform_code=0), [patch]), "pixdim is negative")
    write_nifti(tmp_path / "a.nii", patches=[patch])
    with pytest.warns(RelAPETWarning, match="pixdim is negative; the sform is used"):
        assert np.allclose(image_affine(read_volume(tmp_path / "a.nii")), affine_of())


@pytest.mark.parametrize(
    ("slope", "inter", "match"),
    [(2, np.nan, "scl_inter is nan"), (np.inf, 0, "scl_slope is inf"), (np.nan, 3, "scl_slope is nan")],
)
def test_scaling_that_is_no_number_is_named(tmp_path, slope, inter, match):
    refused(write_nifti(tmp_path / "a.nii", patches=[(112, np.array([slope, inter], "<f4"))]), match)


@pytest.mark.parametrize("inter", [0, np.nan])
def test_slope_that_is_not_set(tmp_path, inter):
    path = write_nifti(tmp_path / "a.nii", patches=[(112, np.array([np.nan, inter], "<f4"))])
    with pytest.warns(RelAPETWarning, match="scl_slope is no number"):
        assert np.array_equal(voxels(read_volume(path)), marked_array())


@pytest.mark.parametrize("dims", [[4, 7, 6, 5, 0], [5, 7, 6, 5, 0, 0], [4, 7, 6, 5, 1], [7, 7, 6, 5, 1, 0, 1, 0]])
def test_further_axes_of_zero(tmp_path, dims):
    path = write_nifti(tmp_path / "a.nii", patches=[(40, np.array(dims, "<i2"))])
    assert np.array_equal(voxels(read_volume(path)), marked_array())
    assert sitk.ReadImage(path).GetSize()[:3] == (7, 6, 5)


@pytest.mark.parametrize(
    ("offset", "value", "match"),
    [
        (70, np.array([1536], "<i2"), "datatype 1536"),
        (70, np.array([0], "<i2"), "datatype 0"),
        (42, np.array([-7], "<i2"), "cannot be; the header is damaged"),
        (42, np.array([0], "<i2"), "cannot be; the header is damaged"),
        (40, np.array([0], "<i2"), r"dim\[0\] is 0"),
        (40, np.array([4, 7, 6, 5, 3], "<i2"), "4-D"),
        (344, np.frombuffer(b"ni1\0", "u1"), "its other file, a.img, is not there"),
        (344, np.frombuffer(b"abcd", "u1"), "Analyze"),
    ],
)
def test_nifti_fields(tmp_path, offset, value, match):
    refused(write_nifti(tmp_path / "a.nii", patches=[(offset, value)]), match)


def test_bits_against_datatype(tmp_path):
    path = write_nifti(tmp_path / "a.nii", patches=[(72, np.array([16], "<i2"))])
    with pytest.warns(RelAPETWarning, match="16 bits a voxel by bitpix, 32 by datatype"):
        assert np.array_equal(voxels(read_volume(path)), marked_array())


@pytest.mark.parametrize("order", ["<", ">"])
def test_wrong_size_of_header_harms_nobody(tmp_path, order):
    nib.save(nib.Nifti1Image(marked_array(), affine_of(), nib.Nifti1Header(endianness=order)), tmp_path / "a.nii")
    write_nifti_bytes = bytearray((tmp_path / "a.nii").read_bytes())
    write_nifti_bytes[:4] = bytes(4)
    (tmp_path / "a.nii").write_bytes(write_nifti_bytes)
    assert np.array_equal(voxels(read_volume(tmp_path / "a.nii")), marked_array())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
def test_frames_of_a_dynamic_scan(tmp_path, suffix):
    frames = np.stack([marked_array() * k for k in (1, 10, -3, 7)], axis=-1).astype(np.int16)
    image = nib.Nifti1Image(frames, affine_of()) if suffix != ".img" else nib.Nifti1Pair(frames, affine_of())
    nib.save(image, tmp_path / f"a{suffix}")
    assert count_frames(tmp_path / f"a{suffix}") == 4
    mean = read_frames(tmp_path / f"a{suffix}", {1: 0.25, 2: 0.75})
    assert np.array_equal(voxels(mean), marked_array() * np.float32(0.25))
    assert np.allclose(image_affine(mean), affine_of())
    content = bytearray((tmp_path / f"a{suffix}").read_bytes())
    (tmp_path / f"a{suffix}").write_bytes(content[:-40])
    refused(tmp_path / f"a{suffix}", "4-D")
    with pytest.raises(InputError, match="damaged or truncated"):
        read_frames(tmp_path / f"a{suffix}", {1: 1.0})
    if suffix == ".nii.gz":
        content[len(content) * 3 // 4] ^= 1  # in a frame that is not wanted
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(InputError, match="damaged or truncated"):
            read_frames(tmp_path / f"a{suffix}", {0: 1.0})


def test_what_is_not_dynamic_has_one_frame(tmp_path):
    nib.save(nifti(), tmp_path / "a.nii.gz")
    assert count_frames(tmp_path / "a.nii.gz") == count_frames(write_nrrd(tmp_path / "a.nrrd")) == 1
    assert count_frames(tmp_path) == 1


BAD_NRRD = {
    "a long type": ({"type": "A" * 2000}, "type in its header is 'AAA"),
    "a block": ({"type": "block"}, "type in its header"),
    "no type": ({"type": None}, "no field 'type'"),
    "no space": ({"space": None}, "orientation is unknown"),
    "spacings alone": ({"space_directions": None, "spacings": "1.5 2 3"}, "no space directions in its header"),
    "no directions": ({"space_directions": None}, "no space directions in its header, so its orientation is unknown"),
    "no origin": ({"space_origin": None}, "no space origin in its header, so its place is unknown"),
    "origin of NaN": ({"space_origin": "(nan,nan,nan)"}, "NaN"),
    "origin of two": ({"space_origin": "(1,2)"}, "3 numbers are wanted"),
    "direction none": ({"space_directions": "(1,0,0) (0,1,0) none"}, "three vectors are wanted"),
    "direction of NaN": ({"space_directions": "(1,0,0) (0,1,0) (nan,nan,nan)"}, "three vectors are wanted"),
    "direction half NaN": ({"space_directions": "(1,0,0) (0,1,0) (0,0,nan)"}, "NaN"),
    "direction infinite": ({"space_directions": "(1,0,0) (0,1,0) (0,0,inf)"}, "finite numbers"),
    "two directions": ({"space_directions": "(1,0,0) (0,1,0)"}, "3 vectors are wanted"),
    "huge direction": ({"space_directions": "(1e300,0,0) (0,1e300,0) (0,0,1)"}, "its header is damaged"),
    "tiny direction": ({"space_directions": "(1e-310,0,0) (0,1,0) (0,0,1)"}, "zero voxel spacing"),
    "centimetres": ({"space_units": '"cm" "cm" "cm"'}, "space units .* save it in mm"),
    "no endian": ({"endian": None}, "no endian"),
    "hex": ({"encoding": "hex"}, "encoding in its header is 'hex'"),
    "no encoding": ({"encoding": None}, "no field 'encoding'"),
    "huge sizes": ({"sizes": "99999 99999 99999"}, "cannot be; the header is damaged"),
    "sizes beyond all": ({"sizes": "9" * 5000 + " 6 5"}, "whole number"),
    "sizes of other digits": ({"sizes": "７ 6 5"}, "whole number"),
    "four sizes": ({"sizes": "7 6 5 1"}, "3 whole numbers"),
    "longer than the file": ({"sizes": "7 6 500"}, "too short for the voxels"),
    "an unknown field": ({"spaec": "RAS"}, "is no field of NRRD"),
    "a field twice": ({"byteskip": "0", "byte_skip": "0"}, "two fields 'byte skip'"),
    "a skip into nowhere": ({"byte_skip": "999999999999"}, "cannot begin after"),
    "a negative skip": ({"byte_skip": "-2"}, "byte skip"),
    "colour": ({"dimension": "4", "sizes": "3 7 6 5", "space_directions": "none (1,0,0) (0,1,0) (0,0,1)"}, "colour"),
    "time": ({"dimension": "4", "sizes": "7 6 5 3", "space_directions": "(1,0,0) (0,1,0) (0,0,1) none"}, "4-D"),
    "several files": ({"data_file": "LIST"}, "LIST is not there"),
    "numbered files": ({"data_file": "slice_%03d.raw 1 9 1"}, "plain name of one file"),
    "a file elsewhere": ({"data_file": "../scan.raw"}, "plain name of one file"),
    "an absolute file": ({"data_file": "/etc/passwd"}, "plain name of one file"),
    "a missing file": ({"data_file": "nothere.raw"}, "its data file nothere.raw is not there"),
    "a folder": ({"data_file": "folder"}, "not a regular file"),
    "a pipe": ({"data_file": "pipe"}, "not a regular file"),
    "an endless file": ({"data_file": "zero"}, "not a regular file"),
    "text that is no number": ({"encoding": "ascii"}, "not all are numbers|voxels are written as text"),
}


@pytest.mark.parametrize("case", BAD_NRRD)
def test_bad_nrrd(tmp_path, case):
    changed, match = BAD_NRRD[case]
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(write_nrrd(tmp_path / "a.nrrd", **changed), match)


def test_spacings_against_directions(tmp_path):
    with pytest.warns(RelAPETWarning, match=r"spacings of \[1.5, 2.0, 4.0\] mm but space directions of"):
        image = read_volume(write_nrrd(tmp_path / "a.nrrd", spacings="1.5 2 4"))
    assert image.GetSpacing() == (1.5, 2, 3)
    read_volume(write_nrrd(tmp_path / "a.nrrd", spacings="nan nan nan"))


@pytest.mark.parametrize("letters", ["LPI", "RAS", "ARI"])
def test_orientation_letters_against_the_matrix(tmp_path, letters):
    path = write_meta(tmp_path / "a.mha", AnatomicalOrientation=letters)
    with pytest.warns(RelAPETWarning, match=f"AnatomicalOrientation is {letters}, which its TransformMatrix"):
        image = read_volume(path)
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize("turned", [rotation(30, -9, 21), rotation(0, 0, 180), rotation(90, 0, 90) * (1, -1, 1)])
def test_orientation_letters_that_itk_writes_agree(tmp_path, turned):
    image = image_from_array(marked_array(), affine_of(turned=turned))
    sitk.WriteImage(image, tmp_path / "a.mha")
    assert np.allclose(image_affine(read_volume(tmp_path / "a.mha")), image_affine(image), atol=1e-5)


BAD_META = {
    "a format string": ({"ElementDataFile": "%s%n%s"}, "plain name of one file"),
    "numbered files": ({"ElementDataFile": "slice_%03d.raw 1 9 1"}, "plain name of one file"),
    "several files": ({"ElementDataFile": "LIST"}, "one file with all voxels is wanted"),
    "a file elsewhere": ({"ElementDataFile": "../scan.raw"}, "plain name of one file"),
    "no file": ({"ElementDataFile": ""}, "plain name of one file"),
    "a NUL": ({"ElementDataFile": "a\0b"}, "plain name of one file"),
    "a missing file": ({"ElementDataFile": "nothere.raw"}, "its data file nothere.raw is not there"),
    "a pipe": ({"ElementDataFile": "pipe"}, "not a regular file"),
    "an endless file": ({"ElementDataFile": "zero"}, "not a regular file"),
    "no spacing": ({"ElementSpacing": None}, "no ElementSpacing in its header, so the size of its voxels is unknown"),
    "size for spacing": ({"ElementSpacing": None, "ElementSize": "1 1 1"}, "no ElementSpacing in its header"),
    "no matrix": ({"TransformMatrix": None}, "no TransformMatrix in its header, so its orientation is unknown"),
    "no offset": ({"Offset": None}, "no Offset in its header, so its place is unknown"),
    "offset of NaN": ({"Offset": "nan 0 0"}, "NaN"),
    "matrix of NaN": ({"TransformMatrix": "1 0 0 0 nan 0 0 0 1"}, "TransformMatrix"),
    "stretching matrix": ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, "rows must have length 1"),
    "two offsets": ({"Position": "1 2 3"}, "two values of Offset"),
    "centimetres": ({"DistanceUnits": "cm"}, "DistanceUnits .* save it in mm"),
    "a slope": ({"ElementToIntensityFunctionSlope": "2"}, "with the slope 1"),
    "a type of two sizes": ({"ElementType": "MET_LONG"}, "known number of bytes"),
    "channels": ({"ElementNumberOfChannels": "3"}, "several values a voxel"),
    "no dimensions": ({"NDims": None, "ObjectType": "Image"}, "no NDims"),
    "another object": ({"ObjectType": "Mesh"}, "an Image is wanted"),
    "9 dimensions of 3": ({"NDims": "9"}, "9 whole numbers"),
    "huge": ({"DimSize": "99999 99999 99999"}, "cannot be; the header is damaged"),
    "longer than the file": ({"DimSize": "7 6 500"}, "too short for the voxels"),
    "compressed, but not": ({"CompressedData": "True"}, "compressed data are broken"),
    "shorter than it says": ({"CompressedData": "True", "CompressedDataSize": "99999"}, "shorter than the 99999 bytes"),
    "no flag": ({"BinaryDataByteOrderMSB": "perhaps"}, "True or False is wanted"),
}


@pytest.mark.parametrize("case", BAD_META)
def test_bad_metaimage(tmp_path, case):
    changed, match = BAD_META[case]
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refused(write_meta(tmp_path / "a.mha", **changed), match)


def test_compressed_metaimage_without_its_size(tmp_path):
    """MetaIO #142: read as zeros, or as whatever the memory held."""
    path = write_meta(tmp_path / "a.mha", zlib.compress(DATA), CompressedData="True")
    assert np.array_equal(voxels(read_volume(path)), marked_array())
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "its compressed data end early")


def test_mgh_fields(tmp_path):
    nib.save(nib.MGHImage(marked_array(), affine_of()), tmp_path / "a.mgh")
    content = (tmp_path / "a.mgh").read_bytes()
    for offset, value, match in (
        (28, np.zeros(1, ">i2"), "goodRASFlag"),
        (30, np.array([0], ">f4"), "zero voxel spacing"),
        (30, np.array([-1], ">f4"), "zero voxel spacing"),
        (42, np.array([np.nan], ">f4"), "NaN"),
        (78, np.array([np.inf], ">f4"), "NaN or infinite"),
        (20, np.array([2], ">i4"), "not a readable image"),
        (4, np.array([500], ">i4"), "too short"),
        (16, np.array([3], ">i4"), "4-D"),
    ):
        (tmp_path / "a.mgh").write_bytes(content[:offset] + value.tobytes() + content[offset + value.nbytes :])
        refused(tmp_path / "a.mgh", match)


@pytest.mark.parametrize("name", ["scan", "scan.nii.gz.part"])
def test_a_volume_under_another_ending_is_told(tmp_path, name):
    """Beside such a name no sidecar is looked for, so it is not read; but what it is can be said."""
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / name)
    refused(tmp_path / name, "not a volume by its name, though it is NIfTI by its content; name it so; give NIfTI")
    (tmp_path / name).write_bytes(b"/annex/objects/MD5E-s1--0.nii.gz\n")
    refused(tmp_path / name, "git annex get")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "git annex get"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"\0" * 128 + b"DICM" + b"\0" * 300, "give the folder that holds its series"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_strangers_under_a_volume_name(tmp_path, content, match, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    refused(tmp_path / f"a{suffix}", match)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a\0b.nii", "no such file"),
        ("a\udcff.nii", "no such file"),
        ("a\ud800.nii", "no such file"),
        ("a\nb\x1b[2J.nii", "no such file"),
        ("a" * 5000 + ".nii", "cannot be read|no such file"),
        ("/dev/zero", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("zero.nii", "not a regular file"),
        ("pipe.mha", "not a regular file"),
        ("loop.nii", "cannot be read|no such file"),
        ("a.nii/b.nii", "no such file"),
        ("file.nii/b.nii", "no such file|Not a directory"),
        ("", "."),
    ],
)
def test_paths(tmp_path, name, match):
    os.mkfifo(tmp_path / "pipe.mha")
    (tmp_path / "file.nii").write_text("a file")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    refused(os.path.join(tmp_path, name), match)


def test_a_path_of_odd_characters_is_read(tmp_path):
    for name in ("a\udcff.nii", "b\nc.nii", "d\x1b[2J.nii.gz"):
        nib.save(nifti(), tmp_path / "plain.nii")
        (tmp_path / "plain.nii").rename(tmp_path / name)
        assert np.array_equal(voxels(read_volume(tmp_path / name)), marked_array())


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
def test_memory_of_a_volume_is_one_copy(tmp_path):
    """200^3 of int16, compressed: 32 MB as float32, and a slab of some MB."""
    nib.save(nifti(np.zeros((200, 200, 200), np.int16)), tmp_path / "a.nii.gz")
    nib.save(nifti(), tmp_path / "small.nii.gz")
    program = (
        "import resource, sys; from RelAPETLib.volumes import read_volume; read_volume(sys.argv[1]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; image = read_volume(sys.argv[2]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program, tmp_path / "small.nii.gz", tmp_path / "a.nii.gz"]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    mb = grown / (2**20 if sys.platform == "darwin" else 1024)
    assert mb < 1.5 * 4 * 200**3 / 2**20 + 16


def test_a_slice_of_the_fuzz():
    """Some of the mutated files of Testing/benchmarks/robustness_volumes.py."""
    results, _ = robustness_volumes.run(200, seed=1)
    assert not [result for result in results if result.what in robustness_volumes.BAD]
    assert {result.what for result in results} == set(robustness_volumes.GOOD)
