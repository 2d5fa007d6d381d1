"""Our readers against ITK's and nibabel's on good files, and what only the formats' definitions decide."""

import bz2
import gzip
import warnings
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from volume_files import affine_of, marked_array, nifti, rotation

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.volumes import image_affine, image_from_array, read_volume

OBLIQUE = rotation(14, -9, 21)
ITK_TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
VALUES = np.arange(7 * 6 * 5).reshape(7, 6, 5) % 120
NRRD = (
    "NRRD0005\ntype: {type}\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\n"
    "space directions: (1.5,0,0) (0,2,0) (0,0,3)\nspace origin: (20,-12,7)\n"
    "endian: {endian}\nencoding: {encoding}\n{more}"
)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = {binary}\nElementByteOrderMSB = {big}\nCompressedData = {packed}\n"
    "{more}TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 20 -12 7\nElementSpacing = 1.5 2 3\nDimSize = 7 6 5\n"
    "ElementType = {type}\nElementDataFile = {data}\n"
)
AFFINE = np.diag([-1.0, -1, 1, 1]) @ affine_of(origin=(20.0, -12.0, 7.0))


def voxels(image):
    """Voxels [X, Y, Z]."""
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def stored(dtype="<i2", array=None):
    return (marked_array() if array is None else array).astype(dtype).tobytes(order="F")


@pytest.fixture(autouse=True)
def silent(capfd):
    """No warning of ours, and not a line on the terminal, the C++ libraries' included."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelAPETWarning)
        yield
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")


def assert_read(path, array=None, affine=AFFINE):
    image = read_volume(path)
    assert image.GetPixelID() == sitk.sitkFloat32
    assert np.array_equal(voxels(image), marked_array() if array is None else array)
    assert np.allclose(image_affine(image), affine, atol=1e-6)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii", ".nii.gz"])
def test_every_type_equals_itk(tmp_path, suffix, compress):
    for dtype in ITK_TYPES:
        array = (VALUES - (60 if dtype[0] != "u" else 0)).astype(dtype)
        image = image_from_array(array, affine_of(turned=OBLIQUE * (1, -1, 1)))
        path = tmp_path / f"{dtype}{suffix}"
        sitk.WriteImage(image, path, useCompression=compress)
        itk = sitk.ReadImage(path, sitk.sitkFloat32)
        ours = read_volume(path)
        assert np.array_equal(voxels(ours), voxels(itk)), dtype
        assert np.array_equal(voxels(ours), array.astype(np.float32)), dtype
        assert np.allclose(image_affine(ours), image_affine(itk), atol=1e-5), dtype


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair, nib.MGHImage])
def test_every_type_equals_nibabel(tmp_path, kind, endian):
    types = ["u1", "i4", "f4", "i2"] if kind is nib.MGHImage else ITK_TYPES
    suffix = {nib.MGHImage: ".mgz", nib.Nifti1Pair: ".img"}.get(kind, ".nii.gz")
    for dtype in types:
        header = None if kind is nib.MGHImage else kind.header_class(endianness=endian)
        image = kind(VALUES.astype(dtype), affine_of(turned=OBLIQUE), header)
        image.set_data_dtype(np.dtype(dtype))
        nib.save(image, tmp_path / f"{dtype}{suffix}")
        assert_read(tmp_path / f"{dtype}{suffix}", VALUES, nib.load(tmp_path / f"{dtype}{suffix}").affine)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "ascii"])
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_nrrd_encodings(tmp_path, encoding, endian, detached):
    data = stored(endian[0].replace("l", "<i2").replace("b", ">i2"))
    if encoding == "ascii":
        data = " ".join(map(str, marked_array().astype(int).ravel(order="F"))).encode() + b"\n"
    data = {"g": gzip.compress, "b": bz2.compress}.get(encoding[0], bytes)(data)
    header = NRRD.format(type="signed short", endian=endian, encoding=encoding, more="# by hand\nkey:=value: (1)\n")
    path = tmp_path / "scan.nhdr"
    if detached:
        path.write_bytes(header.encode() + b"datafile: scan.raw\n")
        (tmp_path / "scan.raw").write_bytes(data)
    else:
        path.write_bytes(header.encode() + b"\n" + data)
    assert_read(path)
    if encoding != "bzip2":  # ITK's NRRD reader has none
        assert np.array_equal(voxels(sitk.ReadImage(path, imageIO="NrrdImageIO")), marked_array())


@pytest.mark.parametrize(
    ("more", "data"),
    [
        ("byte skip: 6\n", b"abcdef" + stored()),
        ("byteskip: -1\n", b"any length" + stored()),
        ("line skip: 2\n", b"one\ntwo\n" + stored()),
        ("line skip: 1\nbyte skip: 3\n", b"one\nabc" + stored()),
    ],
)
def test_nrrd_skips(tmp_path, more, data):
    path = tmp_path / "scan.nhdr"
    path.write_text(NRRD.format(type="int16", endian="little", encoding="raw", more=more + "data file: scan.raw\n"))
    (tmp_path / "scan.raw").write_bytes(data)
    assert_read(path)
    assert np.array_equal(voxels(sitk.ReadImage(path)), marked_array())
    path.write_bytes(NRRD.format(type="int16", endian="little", encoding="raw", more=more).encode() + b"\n" + data)
    assert_read(path)


def test_nrrd_skip_is_in_the_decompressed_bytes(tmp_path):
    header = NRRD.format(type="int16", endian="little", encoding="gzip", more="line skip: 1\nbyte skip: 3\n")
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + b"\nline\n" + gzip.compress(b"abc" + stored()))
    assert_read(tmp_path / "scan.nrrd")


def test_nrrd_lines_of_other_systems_and_shouted_names(tmp_path):
    header = NRRD.format(type="Int16", endian="Little", encoding="RAW", more='Space  Units: "mm" "mm" "mm"\n')
    (tmp_path / "scan.nrrd").write_bytes((header + "\n").replace("\n", "\r\n").encode() + stored())
    assert_read(tmp_path / "scan.nrrd")


@pytest.mark.parametrize(("space", "signs"), [("left-anterior-superior", (-1, 1)), ("LAS", (-1, 1)), ("ras", (1, 1))])
def test_nrrd_spaces(tmp_path, space, signs):
    header = NRRD.format(type="short", endian="little", encoding="raw", more="").replace(
        "left-posterior-superior", space
    )
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + b"\n" + stored())
    assert_read(tmp_path / "scan.nrrd", affine=np.diag([*signs, 1, 1]) @ affine_of(origin=(20.0, -12.0, 7.0)))


def test_nrrd_axis_of_one_outside_space_comes_first(tmp_path):
    header = NRRD.format(type="short", endian="little", encoding="raw", more="kinds: list domain domain domain\n")
    header = header.replace("dimension: 3", "dimension: 4").replace("7 6 5", "1 7 6 5").replace("(1.5", "none (1.5")
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + b"\n" + stored())
    assert_read(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("form", ["binary", "compressed", "sized", "text"])
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_metaimage_forms(tmp_path, big, form, detached):
    data = stored(">i2" if big else "<i2")
    if form == "text":
        data = " ".join(map(str, marked_array().astype(int).ravel(order="F"))).encode() + b"\n"
    elif form != "binary":
        data = zlib.compress(data)
    header = META.format(
        binary=form != "text",
        big=big,
        packed=form in ("compressed", "sized"),
        more=f"CompressedDataSize = {len(data)}\n" if form == "sized" else "Comment = a: b = c\nMine = 7\nMine = 8\n",
        type="MET_SHORT",
        data="scan.raw" if detached else "LOCAL",
    )
    path = tmp_path / "scan.mhd"
    path.write_bytes(header.encode() + (b"" if detached else data))
    (tmp_path / "scan.raw").write_bytes(data)
    assert_read(path)
    # Without its size MetaIO reads zeros; it swaps the bytes of numbers that were text.
    if form != "compressed" and not (big and form == "text"):
        assert np.array_equal(voxels(sitk.ReadImage(path)), marked_array())


@pytest.mark.parametrize("skip", [4, -1])
def test_metaimage_header_size(tmp_path, skip):
    header = META.format(
        binary=True, big=False, packed=False, more=f"HeaderSize = {skip}\n", type="MET_SHORT", data="scan.raw"
    )
    (tmp_path / "scan.mhd").write_text(header)
    (tmp_path / "scan.raw").write_bytes(b"0000" + stored())
    assert_read(tmp_path / "scan.mhd")
    assert np.array_equal(voxels(sitk.ReadImage(tmp_path / "scan.mhd")), marked_array())


def test_metaimage_names_of_its_youth(tmp_path):
    header = META.format(binary=True, big=False, packed=False, more="", type="MET_SHORT", data="Local")
    header = header.replace("Offset", "Origin").replace("TransformMatrix", "Rotation").replace(" = ", ": ")
    (tmp_path / "scan.mha").write_bytes(header.replace("\n", "\r\n").encode() + stored())
    assert_read(tmp_path / "scan.mha")


def test_rows_of_a_metaimage_matrix_are_axes(tmp_path):
    header = META.format(binary=True, big=False, packed=False, more="", type="MET_SHORT", data="LOCAL")
    (tmp_path / "scan.mha").write_bytes(header.replace("1 0 0 0 1 0 0 0 1", "0 1 0 0 0 -1 1 0 0").encode() + stored())
    itk = sitk.ReadImage(tmp_path / "scan.mha")
    assert_read(tmp_path / "scan.mha", affine=image_affine(itk))


def test_gzip_of_several_members_padded_with_zeros(tmp_path):
    nib.save(nifti(), tmp_path / "scan.nii")
    content = (tmp_path / "scan.nii").read_bytes()
    packed = b"".join(gzip.compress(content[first : first + 300]) for first in range(0, len(content), 300))
    (tmp_path / "scan.nii.gz").write_bytes(packed + bytes(512))
    assert_read(tmp_path / "scan.nii.gz", affine=affine_of())


def test_volumes_longer_than_a_slab(tmp_path):
    """Slabs of planes join without a seam, also where the last one is shorter; planes longer than a slab too."""
    for shape in ((211, 173, 97), (1500, 1501, 2)):
        array = np.random.default_rng(0).integers(-3000, 3000, shape, np.int16)
        nib.save(nifti(array), tmp_path / "scan.nii")
        assert_read(tmp_path / "scan.nii", array, affine_of())


@pytest.mark.parametrize("slope", [0.0, 0.001, -2.5])
def test_scaling_is_rounded_once(tmp_path, slope):
    image = nifti(VALUES.astype(np.int16))
    nib.save(image, tmp_path / "scan.nii")
    with (tmp_path / "scan.nii").open("r+b") as stream:
        stream.seek(112)
        stream.write(np.array([slope, 7.25], "<f4").tobytes())
    scaled = VALUES * np.float64(np.float32(slope)) + 7.25 if slope else VALUES
    assert_read(tmp_path / "scan.nii", scaled.astype(np.float32), affine_of())


@pytest.mark.parametrize(
    "names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz"), ("A.HDR", "A.IMG"), ("a.hdr", "a.img.gz")]
)
@pytest.mark.parametrize("given", [0, 1])
def test_pairs_in_every_packing(tmp_path, names, given):
    nib.save(nib.Nifti1Pair(marked_array(), affine_of()), tmp_path / "plain.hdr")
    for suffix, name in zip((".hdr", ".img"), names, strict=True):
        content = (tmp_path / "plain").with_suffix(suffix).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert_read(tmp_path / names[given], affine=affine_of())


@pytest.mark.parametrize("target", ["scan.nii.gz", "scan.nii", "scan.mgh", "scan.nrrd", "scan.mha"])
@pytest.mark.parametrize("source", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd", "a.mha"])
def test_what_it_is_the_content_says(tmp_path, source, target):
    array, path = marked_array(), tmp_path / source
    if ".mg" in source:
        nib.save(nib.MGHImage(array, affine_of()), path)
    elif ".nii" in source:
        nib.save(nifti(array), path)
    else:
        sitk.WriteImage(image_from_array(array, affine_of()), path, useCompression=True)
    path.rename(tmp_path / target)
    assert_read(tmp_path / target, affine=affine_of())


def test_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    """255 kB that promise a gigabyte (nothing of it is decompressed here)."""
    import tracemalloc

    header = nifti(np.zeros((2, 2, 2), np.uint8)).header
    header.set_data_shape((640, 640, 640))
    header["scl_slope"] = header["scl_inter"] = 0
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4 + 2**28), 1))
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 10**9}))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"takes 1.\d GB of memory and 1.0 GB are free"):
        read_volume(tmp_path / "scan.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_a_short_file_that_unpacks_to_far_more_than_its_header_says(tmp_path, monkeypatch):
    monkeypatch.setattr("RelAPETLib.volumes.streams._MAX_TRAILER", 2**20)
    nib.save(nifti(), tmp_path / "scan.nii")
    content = (tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(content + bytes(2**20)))
    assert_read(tmp_path / "scan.nii.gz", affine=affine_of())
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(content + bytes(2**21)))
    with pytest.raises(InputError, match="far longer than its header says"):
        read_volume(tmp_path / "scan.nii.gz")
