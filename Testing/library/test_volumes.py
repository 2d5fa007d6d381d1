"""Reading and writing keep geometry and values."""

import gzip
import itertools
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt
from volume_files import affine_of, marked_array, nifti, rotation, write_dicom_series

from RelAPETLib.errors import InputError, OutputError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.volumes import (
    canonical,
    check_volume,
    file_sha256,
    image_affine,
    image_from_array,
    read_volume,
    second_file,
    write_volume,
)

OBLIQUE = rotation(14, -9, 21)
NRRD_HEADER = (
    "NRRD0004\ntype: float\ndimension: 3\nspace: right-anterior-superior\nsizes: 7 6 5\nencoding: raw\nendian: little\n"
    "space directions: (1.5,0,0) (0,2,0) (0,0,3)\nspace origin: (-20,12,7)\n\n"
)
ORIENTATIONS = [
    np.array([[axis, flip] for axis, flip in zip(axes, flips, strict=True)])
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def voxels(image):
    """Voxels [X, Y, Z]."""
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


@pytest.fixture(autouse=True)
def no_unexpected_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelAPETWarning)
        yield


@pytest.mark.parametrize("turned", [None, OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_all_48_orientations_read_alike(tmp_path, turned, suffix):
    """However its axes lie in the file, the canonical volume is the same array with the same affine."""
    array, affine = marked_array(), affine_of(turned=turned)
    assert len({orientation.tobytes() for orientation in ORIENTATIONS}) == 48
    seen = set()
    for orientation in ORIENTATIONS:
        stored = nifti(array, affine).as_reoriented(orientation)
        path = tmp_path / f"scan{suffix}"
        if suffix == ".nrrd":
            write_volume(image_from_array(np.asarray(stored.dataobj), stored.affine), path, overwrite=True)
        else:
            nib.save(stored, path)
        image = read_volume(path)
        assert np.array_equal(voxels(image), np.asarray(stored.dataobj))
        assert np.allclose(image_affine(image), stored.affine, atol=1e-5)
        seen.add(nib.aff2axcodes(image_affine(image)))
        straight = canonical(image)
        assert np.array_equal(voxels(straight), array)
        assert np.allclose(image_affine(straight), affine, atol=1e-5)
    assert len(seen) == 48


def test_canonical_agrees_with_nibabel_on_an_oblique_scan():
    image = nifti(affine=affine_of(turned=OBLIQUE)).as_reoriented(axcodes2ornt(("P", "S", "L"), None))
    ours = canonical(image_from_array(np.asarray(image.dataobj), image.affine))
    theirs = nib.as_closest_canonical(image)
    assert np.array_equal(voxels(ours), np.asarray(theirs.dataobj))
    assert np.allclose(image_affine(ours), theirs.affine)


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (4, 2)])
@pytest.mark.parametrize("turned", [None, OBLIQUE, OBLIQUE * (-1, 1, 1)], ids=["straight", "oblique", "left-handed"])
def test_nibabel_simpleitk_and_we_agree_on_nifti(tmp_path, codes, turned):
    path = tmp_path / "scan.nii.gz"
    nib.save(nifti(affine=affine_of(turned=turned), sform_code=codes[0], qform_code=codes[1]), path)
    ours, itk, theirs = read_volume(path), sitk.ReadImage(path), nib.load(path)
    assert np.allclose(image_affine(ours), theirs.affine, atol=1e-5)
    assert np.allclose(image_affine(ours), image_affine(itk), atol=1e-4)
    assert np.array_equal(voxels(ours), np.asarray(theirs.dataobj))
    assert np.array_equal(voxels(ours), voxels(itk))
    assert ours.GetPixelID() == sitk.sitkFloat32


def test_sform_wins_and_a_difference_is_told(tmp_path):
    path = tmp_path / "scan.nii"
    image = nifti()
    moved = affine_of(origin=(-20.0, 12.0, 8.0))
    image.set_sform(moved, 2)
    nib.save(image, path)
    with pytest.warns(RelAPETWarning, match="T1w: sform and qform .* 1.0 mm apart; the sform is used"):
        read = read_volume(path, "T1w")
    assert np.allclose(image_affine(read), moved)
    image.set_sform(
        affine_of(origin=(-20.0, 12.0, 7.4)), 2
    )  # within the tolerance: the fixture turns a warning into an error
    nib.save(image, path)
    read_volume(path)


def test_qform_that_is_no_rotation_beside_a_good_sform_is_told(tmp_path):
    path = tmp_path / "scan.nii"
    image = nifti()
    image.header["quatern_b"], image.header["quatern_c"] = 0.9, 0.9
    nib.save(image, path)
    with pytest.warns(RelAPETWarning, match="qform is no rotation"):
        assert np.allclose(image_affine(read_volume(path)), affine_of())


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)])
def test_units_become_millimetres(tmp_path, unit, mm):
    affine = affine_of()
    affine[:3] /= mm
    image = nifti(affine=affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "scan.nii")
    assert np.allclose(image_affine(read_volume(tmp_path / "scan.nii")), affine_of(), rtol=1e-5)


def test_slope_and_intercept_are_applied(tmp_path):
    stored = marked_array().astype(np.int16)
    image = nifti(stored)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "scan.nii.gz")
    values = np.asarray(nib.load(tmp_path / "scan.nii.gz").dataobj)
    assert values.min() != stored.min()
    assert np.allclose(voxels(read_volume(tmp_path / "scan.nii.gz")), values)


@pytest.mark.parametrize("kind", ["NIfTI 4-D", "NIfTI 5-D", "MetaImage 4-D", "NRRD 4-D"])
def test_trailing_axes_of_one_are_dropped(tmp_path, kind):
    array = marked_array()
    path = tmp_path / {"NI": "scan.nii.gz", "Me": "scan.mha", "NR": "scan.nrrd"}[kind[:2]]
    if kind.startswith("NIfTI"):
        nib.save(nifti(array.reshape(*array.shape, *([1] * (int(kind[6]) - 3)))), path)
    elif kind.startswith("Meta"):
        sitk.WriteImage(sitk.JoinSeries([image_from_array(array, affine_of())]), path)
    else:
        header = NRRD_HEADER.replace("dimension: 3", "dimension: 4").replace("7 6 5", "7 6 5 1")
        header = header.replace("(0,0,3)", "(0,0,3) none\nkinds: domain domain domain list")
        path.write_bytes(header.encode() + array.tobytes(order="F"))
    assert np.array_equal(voxels(read_volume(path)), array)
    assert np.allclose(image_affine(read_volume(path)), affine_of(), atol=1e-5)


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".NII.GZ", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".img"]
)
@pytest.mark.parametrize("turned", [None, OBLIQUE], ids=["straight", "oblique"])
def test_every_format_gives_the_same_volume(tmp_path, suffix, turned):
    array, affine = marked_array(), affine_of(turned=turned)
    path = tmp_path / f"scan{suffix}"
    if suffix in (".mgh", ".mgz"):
        nib.save(nib.MGHImage(array, affine), path)
    elif suffix == ".img":
        nib.save(nib.Nifti1Pair(array, affine), path)
    elif suffix == ".NII.GZ":
        nib.save(nifti(array, affine), tmp_path / "scan.nii.gz")
        (tmp_path / "scan.nii.gz").rename(path)
    else:
        sitk.WriteImage(image_from_array(array, affine), path, useCompression=True)
    image = read_volume(path)
    assert np.array_equal(voxels(image), array)
    assert np.allclose(image_affine(image), affine, atol=1e-4)


@pytest.mark.parametrize("space", ["right-anterior-superior", "left-posterior-superior", "LPS"])
def test_nrrd_space_is_honoured(tmp_path, space):
    header = NRRD_HEADER.replace("right-anterior-superior", space)
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + marked_array().tobytes(order="F"))
    signs = (1, 1) if space.startswith("right") else (-1, -1)
    image = read_volume(tmp_path / "scan.nrrd")
    assert np.allclose(image_affine(image), np.diag([*signs, 1, 1]) @ affine_of())
    assert np.array_equal(voxels(image), marked_array())


@pytest.mark.parametrize("compress", [None, "1.2.840.10008.1.2.5"], ids=["plain", "RLE"])
def test_dicom_series(tmp_path, compress):
    array = write_dicom_series(tmp_path / "series", RescaleSlope="0.5", RescaleIntercept="-3", compress=compress)
    (tmp_path / "series" / "readme.txt").write_text("not DICOM")
    (tmp_path / "series" / ".hidden").write_bytes(b"\0" * 128 + b"DICM")
    image = read_volume(tmp_path / "series")
    assert np.array_equal(voxels(image), array * 0.5 - 3)
    affine = np.diag([-1.25, -1.5, 2.0, 1.0])
    affine[:3, 3] = 10, 20, 5
    assert np.allclose(image_affine(image), affine)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "series"))
    assert np.allclose(image_affine(sitk.ReadImage(names)), affine)


def test_dicom_slope_of_each_slice_and_oblique_planes(tmp_path):
    """PET slices have slopes of their own; the third axis is the planes' normal, whichever way the files are named."""
    from volume_files import write_dicom_slice

    array = marked_array((24, 20, 4)).astype(np.uint16)
    direction = OBLIQUE  # columns: along a row, down a column, from slice to slice (LPS)
    for index in range(4):
        write_dicom_slice(
            tmp_path / f"{9 - index}.dcm",
            array[:, :, index].T,
            direction @ (0, 0, 2.5 * index) + (3, 4, 5),
            ImageOrientationPatient=[round(float(x), 6) for x in (*direction[:, 0], *direction[:, 1])],
            RescaleSlope=str(1 + index / 4),
            RescaleIntercept="0",
            InstanceNumber=4 - index,
        )
    image = read_volume(tmp_path)
    assert np.array_equal(voxels(image), array * (1 + np.arange(4) / 4))
    lps = np.eye(4)
    lps[:3, :3] = direction * (1.25, 1.5, 2.5)
    lps[:3, 3] = 3, 4, 5
    assert np.allclose(image_affine(image), np.diag([-1, -1, 1, 1]) @ lps, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("folder", ["plain", "with space", "Ωmega ünïcode 東京"])
def test_what_is_written_is_read(tmp_path, suffix, folder):
    image = image_from_array(marked_array(), affine_of(turned=OBLIQUE))
    path = tmp_path / folder / f"synthetic pet{suffix}"
    path.parent.mkdir()
    write_volume(image, path)
    again, itk = read_volume(path), sitk.ReadImage(path)
    for other in (again, itk):
        assert np.array_equal(voxels(other), voxels(image))
        assert np.allclose(image_affine(other), image_affine(image), atol=1e-5)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if suffix != ".nrrd":
        header = nib.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        assert header.get_xyzt_units()[0] == "mm"
        assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-5)


def test_written_type_is_kept_and_the_model_grid_is_called_mni(tmp_path):
    labels = MNI_GRID.reference_image()
    labels[3, 4, 5] = 7
    write_volume(labels, tmp_path / "labels.nii.gz")
    header = nib.load(tmp_path / "labels.nii.gz").header
    assert header.get_data_dtype() == np.uint8
    assert int(header["sform_code"]) == 4
    assert MNI_GRID.matches(read_volume(tmp_path / "labels.nii.gz"))


def test_the_same_image_gives_the_same_bytes(tmp_path):
    image = image_from_array(marked_array(), affine_of())
    write_volume(image, tmp_path / "a.nii.gz")
    write_volume(image, tmp_path / "b.nii.gz")
    assert file_sha256(tmp_path / "a.nii.gz") == file_sha256(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_what_is_packed_is_the_plain_file(tmp_path, kind):
    values = 90 + 9 * np.random.default_rng(0).standard_normal((40, 30, 20))
    values[:, :, :5] = 0  # air
    image = image_from_array(values.astype(kind), affine_of(turned=OBLIQUE))
    for name in ("a.nii", "a.nii.gz"):
        write_volume(image, tmp_path / name)
    packed, plain = ((tmp_path / name).read_bytes() for name in ("a.nii.gz", "a.nii"))
    assert gzip.decompress(packed) == plain
    assert packed[3:8] == bytes(5)  # no name, no comment, no time
    nib.save(nib.load(tmp_path / "a.nii"), tmp_path / "other.nii.gz")
    assert gzip.decompress((tmp_path / "other.nii.gz").read_bytes()) == plain
    assert len(packed) < 1.01 * (tmp_path / "other.nii.gz").stat().st_size


def test_hash_of_a_file_and_of_a_folder(tmp_path):
    import hashlib

    (tmp_path / "f").write_bytes(b"abc")
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
    write_dicom_series(tmp_path / "series")
    before = file_sha256(tmp_path / "series")
    (tmp_path / "series" / "IM000").rename(tmp_path / "series" / "renamed")
    assert file_sha256(tmp_path / "series") == before
    with (tmp_path / "series" / "renamed").open("ab") as stream:
        stream.write(b"\0")
    assert file_sha256(tmp_path / "series") != before
    with pytest.raises(InputError, match="cannot read"):
        file_sha256(tmp_path / "missing")


def test_an_existing_file_stays_unless_overwrite(tmp_path):
    path = tmp_path / "pet.nii.gz"
    image = image_from_array(marked_array(), affine_of())
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_volume(image, path)
    assert path.read_text() == "precious"
    write_volume(image, path, overwrite=True)
    assert np.array_equal(voxels(read_volume(path)), marked_array())


@pytest.mark.parametrize(
    "name", ["pet.txt", "pet", "pet.mgz", "missing/pet.nii.gz", "file/pet.nii.gz", "folder.nii.gz"]
)
def test_places_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").write_text("a file, not a folder")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(OutputError) as caught:
        write_volume(image_from_array(marked_array(), affine_of()), tmp_path / name, overwrite=True)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.nii.gz"]


def test_a_folder_without_permission(as_nobody):
    folder = as_nobody / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_volume(image_from_array(marked_array(), affine_of()), folder / "pet.nii.gz")
    assert not any(folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("existing", [False, True])
def test_interrupted_writing_leaves_things_as_they_were(tmp_path, monkeypatch, error, existing):
    """Whatever stops the work after the bytes are out but before the rename, nothing half written is left."""
    path = tmp_path / "pet.nii.gz"
    if existing:
        path.write_text("the old one")

    def fail(handle):
        assert any(file.name.endswith(".part.nii.gz") for file in tmp_path.iterdir())
        raise error

    monkeypatch.setattr("RelAPETLib.volumes.writing.os.fsync", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError):
        write_volume(image_from_array(marked_array(), affine_of()), path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == (["pet.nii.gz"] if existing else [])
    if existing:
        assert path.read_text() == "the old one"


def test_slightly_skewed_axes_are_made_orthogonal():
    affine = affine_of()
    affine[0, 1] = 0.01  # moves a far corner by some hundredths of a millimetre
    image = image_from_array(marked_array(), affine)
    direction = np.reshape(image.GetDirection(), (3, 3))
    assert np.allclose(direction @ direction.T, np.eye(3), atol=1e-12)
    assert np.abs(image_affine(image) - affine).max() < 0.02


def test_the_real_pair(real_pair):
    for path in real_pair:
        image = read_volume(path)
        check_volume(image, path.name)
        theirs = nib.load(path)
        assert np.allclose(image_affine(image), theirs.affine, atol=1e-5)
        assert np.array_equal(voxels(image), theirs.get_fdata(dtype=np.float32))
        assert np.allclose(image_affine(image), image_affine(sitk.ReadImage(path)), atol=1e-3)


def write_in_two(folder, suffix: str, array: np.ndarray) -> None:
    """A volume named scan whose voxels have a file of their own."""
    image = image_from_array(array, affine_of())
    if suffix == ".hdr":
        nib.save(nib.Nifti1Pair(array, affine_of()), folder / "scan.hdr")
    else:
        sitk.WriteImage(image, str(folder / f"scan{suffix}"))


@pytest.mark.parametrize(("suffix", "other"), [(".hdr", ".img"), (".mhd", ".raw"), (".nhdr", ".raw")])
def test_the_other_file_of_a_volume_in_two(tmp_path, suffix, other):
    write_in_two(tmp_path, suffix, marked_array())
    assert second_file(tmp_path / f"scan{suffix}") == tmp_path / f"scan{other}"
    if suffix == ".hdr":
        assert second_file(tmp_path / "scan.img") == tmp_path / "scan.hdr"
    (tmp_path / f"scan{other}").unlink()
    with pytest.raises(InputError, match=rf"scan\{other}\b.* is not there"):
        second_file(tmp_path / f"scan{suffix}")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_a_volume_in_one_file_has_no_other(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    image = image_from_array(marked_array(), affine_of())
    if suffix == ".mgz":
        nib.save(nib.MGHImage(marked_array().astype(np.float32), affine_of()), path)
    else:
        sitk.WriteImage(image, str(path))
    assert second_file(path) is None and second_file(tmp_path) is None
