"""Every file that is no usable volume is refused with one line that names it, and nothing else is printed."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_files import affine_of, marked_array, nifti, write_dicom_series, write_dicom_slice

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.synthesis.inputs import read_inputs
from RelAPETLib.volumes import check_volume, image_from_array, read_volume

NRRD = (
    "NRRD0004\ntype: float\ndimension: 3\n{space}sizes: 7 6 5\nencoding: raw\nendian: little\n"
    "space origin: (0,0,0)\n{axes}\n\n"
)
META = (
    "ObjectType = Image\nNDims = {dimensions}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = False\nTransformMatrix = {matrix}\nOffset = 0 0 0\nElementSpacing = {spacing}\nDimSize = 7 6 5\n"
    "ElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
)


def _bytes(content):
    return lambda path: path.write_bytes(content)


def _saved(image, **header):
    def make(path):
        for key, value in header.items():
            image.header[key] = value
        nib.save(image, path)

    return make


def _truncated(write, share=0.5):
    def make(path):
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def _nrrd(space="space: left-posterior-superior\n", axes="space directions: (1,0,0) (0,1,0) (0,0,1)"):
    return _bytes(NRRD.format(space=space, axes=axes).encode() + marked_array().tobytes())


def _meta(matrix="1 0 0 0 1 0 0 0 1", spacing="1 1 1", dimensions=3):
    return _bytes(
        META.format(matrix=matrix, spacing=spacing, dimensions=dimensions).encode() + marked_array().tobytes()
    )


def _itk(array=None, **options):
    """Incompressible by default, so that half of a compressed file is half of its voxels."""
    array = np.random.default_rng(0).random((20, 20, 20), np.float32) if array is None else array
    return lambda path: sitk.WriteImage(sitk.GetImageFromArray(array, **options), path, useCompression=True)


def _plain_itk(path):
    sitk.WriteImage(sitk.GetImageFromArray(marked_array()), path, useCompression=False)


def _with_forms(sform, qform=None):
    image = nifti()
    image.set_qform(qform, 0 if qform is None else 1)
    image.set_sform(sform, 0 if sform is None else 1)
    image.header["pixdim"][1:4] = 1.5, 2, 3
    return image


def _patched(image, offset, values):
    """A file whose header has `values` at `offset`, which the library that writes it would not put there."""

    def make(path):
        nib.save(image, path)
        with path.open("r+b") as stream:
            stream.seek(offset)
            stream.write(values.tobytes())

    return make


def _header_alone(path):
    nib.save(nib.Nifti1Pair(marked_array(), affine_of()), path)
    path.with_suffix(".img").unlink()


noise = np.random.default_rng(0).random((20, 20, 20), np.float32)
sheared, singular, flat = affine_of(), affine_of(), affine_of()
sheared[0, 1] = 0.4
singular[:3, 1] = singular[:3, 0]
flat[:3, 1] = 0
mgh = nib.MGHImage(marked_array(), affine_of())
rgb = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])

BAD = {
    "empty": ("a.nii.gz", _bytes(b""), "is empty"),
    "text called NIfTI": ("a.nii", _bytes(b"hello " * 100), "not a readable image"),
    "text called compressed NIfTI": ("a.nii.gz", _bytes(b"hello " * 100), "not a readable image|damaged"),
    "text called NRRD": ("a.nrrd", _bytes(b"hello " * 100), "not a readable image"),
    "text called MetaImage": ("a.mha", _bytes(b"hello " * 100), "not a readable image"),
    "text called MGH": ("a.mgh", _bytes(b"hello " * 100), "not a readable image|damaged"),
    "text called MGZ": ("a.mgz", _bytes(b"hello " * 100), "not a readable image|damaged"),
    "unknown ending": ("a.txt", _bytes(b"hello"), "not a volume by its name"),
    "no ending": ("scan", _bytes(b"hello"), "not a volume by its name"),
    "picture": ("a.png", _bytes(b"\x89PNG\r\n"), "not a volume by its name"),
    "single DICOM file": ("a.dcm", _bytes(b"\0" * 128 + b"DICM"), "damaged DICOM file"),
    "truncated gzip": ("a.nii.gz", _truncated(_saved(nifti(noise))), "truncated"),
    "gzip truncated in its header": (
        "a.nii.gz",
        _truncated(_saved(nifti(noise)), 0.004),
        "truncated|not a readable image",
    ),
    "truncated NIfTI": ("a.nii", _truncated(_saved(nifti(noise))), "truncated"),
    "truncated MGZ": ("a.mgz", _truncated(_saved(nib.MGHImage(noise, np.eye(4)))), "truncated"),
    "truncated MGH": ("a.mgh", _truncated(_saved(nib.MGHImage(noise, np.eye(4)))), "truncated"),
    "truncated NRRD": ("a.nrrd", _truncated(_itk()), "truncated"),
    "truncated MetaImage": ("a.mha", _truncated(_itk()), "truncated"),
    "truncated plain MetaImage": ("a.mha", _truncated(_plain_itk, 0.9), "truncated"),
    "damaged header size": ("a.nii", _patched(nifti(), 42, np.array([30000] * 3, "<i2")), "damaged"),
    "2-D": ("a.nii", _saved(nifti(np.ones((8, 9), np.float32))), "2-D"),
    "2-D with an axis of one": ("a.nii", _saved(nifti(np.ones((8, 9, 1), np.float32))), "2-D"),
    "2-D NRRD": ("a.nrrd", _itk(np.ones((8, 9), np.float32)), "2-D"),
    "4-D": ("a.nii.gz", _saved(nifti(np.ones((4, 5, 6, 3), np.float32))), "4-D"),
    "4-D MetaImage": ("a.mha", _itk(np.ones((3, 4, 5, 6), np.float32), isVector=False), "4-D"),
    "RGB": ("a.nii", _saved(nifti(rgb)), "colour"),
    "RGB NRRD": ("a.nrrd", _itk(np.ones((4, 5, 6, 3), np.uint8), isVector=True), "colour"),
    "complex": ("a.nii", _saved(nifti(np.ones((4, 5, 6), np.complex64))), "complex"),
    "complex MetaImage": ("a.nrrd", _itk(np.ones((4, 5, 6), np.complex64)), "colour|not a readable"),
    "no orientation": ("a.nii", _saved(_with_forms(None)), "orientation is unknown"),
    "pair without its voxels": ("a.hdr", _header_alone, "its other file, a.img, is not there"),
    "Analyze": ("a.img", lambda path: nib.save(nib.AnalyzeImage(marked_array(), np.eye(4)), path), "no orientation"),
    "NRRD without space": ("a.nrrd", _nrrd(space="", axes="spacings: 1 1 1"), "orientation is unknown"),
    "NRRD in scanner space": ("a.nrrd", _nrrd(space="space: scanner-xyz\n"), "its space is scanner-xyz"),
    "MGH without orientation": ("a.mgh", _patched(mgh, 28, np.zeros(1, ">i2")), "orientation is unknown"),
    "zero spacing": ("a.nii", _saved(nifti(), pixdim=[1, 1.5, 0, 3, 0, 0, 0, 0]), "zero voxel spacing"),
    "spacing not a number": ("a.nii", _saved(nifti(), pixdim=[1, 1.5, np.nan, 3, 0, 0, 0, 0]), "zero voxel spacing"),
    "zero spacing NRRD": ("a.nrrd", _nrrd(axes="space directions: (1,0,0) (0,0,0) (0,0,1)"), "zero voxel spacing"),
    "zero spacing MetaImage": ("a.mha", _meta(spacing="1 0 1"), "zero voxel spacing"),
    "zero spacing MGH": ("a.mgh", _patched(mgh, 30, np.array([1, 0, 1], ">f4")), "zero voxel spacing"),
    "zero column": ("a.nii", _saved(_with_forms(flat)), "zero voxel spacing"),
    "sheared": ("a.nii.gz", _saved(_with_forms(sheared)), "sheared"),
    "sheared NRRD": ("a.nrrd", _nrrd(axes="space directions: (1,0,0) (0.5,1,0) (0,0,1)"), "sheared"),
    "sheared MetaImage": ("a.mha", _meta(matrix="1 0 0 0.5 0.866 0 0 0 1"), "sheared"),
    "singular": ("a.nii.gz", _saved(_with_forms(singular)), "singular"),
    "singular MetaImage": ("a.mha", _meta(matrix="1 0 0 1 0 0 0 0 1"), "singular"),
    "a number of axes that crashes ITK": ("a.mha", _meta(dimensions=-1), "not a readable image"),
    "affine with NaN": ("a.nii", _patched(nifti(qform_code=0), 280, np.array([np.nan], "<f4")), "NaN or infinite"),
    "qform that is no rotation": (
        "a.nii",
        _patched(nifti(sform_code=0), 256, np.array([0.9, 0.9], "<f4")),
        "its qform is no rotation",
    ),
}


@pytest.fixture
def silent(capfd):
    """No line on stdout or stderr, also none of the C++ libraries, and no warning of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelAPETWarning)
        yield
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")


def _refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert not {"Secret", "SECRET", "19500101"} & set(message.replace("^", " ").split())
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("case", BAD)
def test_bad_file(tmp_path, silent, case):
    name, make, match = BAD[case]
    path = tmp_path / name
    with warnings.catch_warnings(), nib.imageglobals.LoggingOutputSuppressor():
        warnings.simplefilter("ignore")
        make(path)
    _refused(path, match)


@pytest.mark.parametrize("suffix", [".nii", ".mgh"])
@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_header_is_read_or_refused(tmp_path_factory, suffix, data):
    """Never another exception than ours, whatever the header says."""
    path = tmp_path_factory.mktemp("damaged") / f"scan{suffix}"
    nib.save(nifti() if suffix == ".nii" else mgh, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 284))
        new = data.draw(
            st.sampled_from([b"\xff\x7f", b"\x7f\xff", b"\0\0", b"\0\0\xc0\x7f", b"\x80"]) | st.binary(max_size=4)
        )
        content[at : at + len(new)] = new
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = read_volume(path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert image.GetDimension() == 3


def test_missing_file(tmp_path, silent):
    _refused(tmp_path / "no such scan.nii.gz", "no such file")
    (tmp_path / "link.nii").symlink_to(tmp_path / "gone")
    _refused(tmp_path / "link.nii", "a link to a file that is not here")
    (tmp_path / "file").write_text("not a folder")
    _refused(tmp_path / "file" / "scan.nii", "no such file|Not a directory")


def test_what_is_no_file(tmp_path, silent):
    """A pipe would make the reader wait for ever."""
    import os

    os.mkfifo(tmp_path / "pipe.nii")
    _refused(tmp_path / "pipe.nii", "not a regular file")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_unreadable(as_nobody, silent, kind):
    path = as_nobody / "scan.nii"
    path.write_bytes(b"anything") if kind == "file" else path.mkdir()
    path.chmod(0)
    try:
        _refused(path, "cannot be read: Permission denied")
    finally:
        path.chmod(0o700)


def _series(**attributes):
    return lambda folder: write_dicom_series(folder, **attributes)


def _series_and(name, **attributes):
    """A good series and one more image, 2 mm above its last slice unless told otherwise."""

    def make(folder):
        array = write_dicom_series(folder)
        position = attributes.pop("position", (-10.0, -20.0, 17.0))
        write_dicom_slice(folder / name, attributes.pop("pixels", array[:, :, 0].T), position, **attributes)

    return make


def _without(name):
    def make(folder):
        write_dicom_series(folder)
        (folder / name).unlink()

    return make


def _cut(name, size):
    def make(folder):
        write_dicom_series(folder)
        (folder / name).write_bytes((folder / name).read_bytes()[:size])

    return make


def _tilted(folder):
    folder.mkdir()
    for index in range(6):
        write_dicom_slice(
            folder / str(index), marked_array((20, 24, 1)).astype(np.uint16)[..., 0], (0, index, 2 * index)
        )


uint8 = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
BAD_FOLDERS = {
    "empty": (lambda folder: folder.mkdir(), "no DICOM images"),
    "no DICOM in it": (lambda folder: (folder.mkdir(), (folder / "a.txt").write_text("hello")), "no DICOM images"),
    "NIfTI in it": (
        lambda folder: (folder.mkdir(), [(folder / f"{n}.nii.gz").write_bytes(b"volume") for n in "dbac"]),
        "no DICOM images in this folder; give one of these files: .*series/a.nii.gz, .*b.nii.gz, .*c.nii.gz and 1 more",
    ),
    "two series": (
        _series_and("other", SeriesInstanceUID="1.2.826.0.1.1.4", SeriesNumber=4),
        r"2 DICOM series, no. 3 \(MR, 6 of 24x20 pixels\); no. 4 \(MR, 1 of",
    ),
    "one slice": (_series(count=1), "single DICOM image"),
    "slice missing": (_without("IM001"), "slices are missing"),  # the third of six: neither first nor last
    "slice twice": (_series_and("copy", position=(-10.0, -20.0, 7.0)), "1 of 7 DICOM images lie where another"),
    "other plane": (_series_and("sagittal", ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "different planes"),
    "other size": (_series_and("large", pixels=np.zeros((30, 30), np.uint16)), "differ in size"),
    "other pixel spacing": (_series_and("fine", PixelSpacing=[1.0, 1.25]), "differ in size or pixel spacing"),
    "no position": (_series(ImagePositionPatient=None), "ImagePositionPatient is missing"),
    "no orientation": (_series(ImageOrientationPatient=None), "ImageOrientationPatient is missing"),
    "zero orientation": (_series(ImageOrientationPatient=[0] * 6), "not made of two unit vectors"),
    "multi-frame": (_series(NumberOfFrames=2, Rows=10), "multi-frame"),
    "mosaic": (_series(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "mosaic"),
    "colour": (
        _series(SamplesPerPixel=3, PhotometricInterpretation="RGB", Columns=16, PlanarConfiguration=0, **uint8),
        "not a plain grey",
    ),
    "inverted grey": (_series(PhotometricInterpretation="MONOCHROME1"), "not a plain grey"),
    "damaged header": (_cut("IM003", 400), "is missing"),
    "truncated pixels": (_cut("IM003", -200), "damaged"),
    "slices that slide sideways": (_tilted, "sheared"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_dicom_folder(tmp_path, silent, case):
    make, match = BAD_FOLDERS[case]
    make(tmp_path / "series")
    _refused(tmp_path / "series", match)


def _head(array=None, spacing=(2.0, 2.0, 2.0)):
    array = marked_array((64, 80, 64)) if array is None else array
    return image_from_array(array, affine_of(spacing=spacing))


def _with(value, count=3):
    array = marked_array((64, 80, 64))
    array.flat[:count] = value
    return array


def _placed(origin, spacing=(2.0, 2.0, 2.0)):
    image = _head()
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    return image


UNFIT = {
    "constant": (_head(np.full((64, 80, 64), 7, np.float32)), "every voxel is 7"),
    "NaN": (_head(_with(np.nan)), "3 of 327680 voxels are NaN or infinite"),
    "infinite": (_head(_with(np.inf, 1)), "1 of 327680"),
    "minus infinite": (_head(_with(-np.inf, 1)), "1 of 327680"),
    "all NaN": (_head(_with(np.nan, 327680)), "327680 of 327680"),
    "small": (_head(spacing=(1.0, 1.0, 1.0)), "64 x 80 x 64 mm is too small"),
    "thin": (_head(marked_array((128, 128, 20))), "256 x 256 x 40 mm is too small"),
    "few slices": (_head(marked_array((64, 80, 9)), (2.0, 2.0, 20.0)), "fewer than 10 slices"),
    "one slice": (_head(marked_array((64, 80, 1)), (2.0, 2.0, 200.0)), "not a 3-D volume"),
    "wrong units": (_head(spacing=(20.0, 20.0, 20.0)), "too large .* millimetres"),
    "2-D": (sitk.GetImageFromArray(marked_array((64, 80, 1))[..., 0]), "not a 3-D volume"),
    "4-D": (sitk.JoinSeries([_head(), _head()]), "not a 3-D volume"),
    "colour": (sitk.GetImageFromArray(np.zeros((64, 80, 64, 3), np.float32), isVector=True), "several values"),
    "complex": (sitk.GetImageFromArray(np.zeros((64, 80, 64), np.complex64)), "several values"),
    "label map": (sitk.LabelImageToLabelMap(sitk.Image([64, 80, 64], sitk.sitkUInt8)), "a label map"),
    "no place": (_placed((np.nan, 0.0, 0.0)), "origin is .nan, 0, 0. mm"),
    "far away": (_placed((0.0, 1e30, 0.0)), "origin is"),
    "no size": (_placed((0.0, 0.0, 0.0), (2.0, np.nan, 2.0)), "spacing is"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_volume(silent, case):
    image, match = UNFIT[case]
    with pytest.raises(InputError, match=match) as caught:
        check_volume(image, "T1w of someone")
    assert str(caught.value).startswith("T1w of someone: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_image_in_memory_is_refused_too(case):
    image, match = UNFIT[case]
    with pytest.raises(InputError, match=f"T1w: .*{match}"):
        read_inputs({"t1w": image}, lambda *_: None)


def test_sheared_image_from_elsewhere_is_unfit():
    image = _head()
    image.SetDirection((1, 0.5, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(InputError, match="right angles"):
        check_volume(image, "volume")


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_a_fit_volume_passes(dtype):
    array = np.zeros((64, 80, 64), dtype)
    array[10:20] = 1
    check_volume(_head(array), "volume")
    check_volume(_head(array[:, :, :20], (2.0, 2.0, 5.0)), "thick slices")


def test_an_array_without_three_axes_is_refused():
    with pytest.raises(InputError, match="4-D array"):
        image_from_array(np.zeros((4, 4, 4, 2)), np.eye(4))
