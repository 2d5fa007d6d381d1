"""DICOM in: enhanced multi-frame files, geometry that is never a default, and what lies beside a series."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_case import GEOMETRIES, write_compressed_series, write_enhanced, write_t1w_series
from volume_files import affine_of, marked_array, write_dicom_series, write_dicom_slice

from RelAPETLib.cli import main
from RelAPETLib.errors import DoubtfulInputError, InputError, RelAPETWarning
from RelAPETLib.synthesis.inputs import read_inputs
from RelAPETLib.volumes import find_series, image_affine, origin_of, read_volume, same_person

IMPLICIT, BIG_ENDIAN, DEFLATED, RLE = (f"1.2.840.10008.1.2{ending}" for ending in ("", ".2", ".1.99", ".5"))


@pytest.fixture(autouse=True)
def _strict(capfd):
    """No warning that a test does not ask for, and not a byte on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert capfd.readouterr() == ("", "")


def voxels(image):
    """Voxels [X, Y, Z]."""
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def _edit(path, change):
    data = pydicom.dcmread(path)
    change(data)
    pydicom.dcmwrite(path, data)


def _put(path, keyword, value: bytes):
    """Replace an element's bytes in an explicit little-endian file, whatever the standard says of them."""
    value += b" " * (len(value) % 2)
    content = path.read_bytes()
    tag = pydicom.datadict.tag_for_keyword(keyword)
    place = content.index((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little"), 132)
    old = int.from_bytes(content[place + 6 : place + 8], "little")
    path.write_bytes(content[: place + 6] + len(value).to_bytes(2, "little") + value + content[place + 8 + old :])


def _refused(path, match, name="T1w"):
    with pytest.raises(InputError, match=match) as caught:
        read_volume(path, name)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 500
    assert not re.search("secret|1950|1\\.2\\.826", message.replace(str(path), ""), re.IGNORECASE)
    return message


# Enhanced multi-frame


@pytest.mark.parametrize("name", GEOMETRIES)
def test_enhanced_is_its_classic_export(name, tmp_path):
    """Frames in any order, groups shared or not: voxels and affine of the classic series of the same scan."""
    affine = GEOMETRIES[name]
    write_t1w_series(tmp_path / "classic", affine)
    classic = read_volume(tmp_path / "classic")
    array, flip = marked_array(), np.diag([1.0, 1, -1, 1])
    flip[2, 3] = array.shape[2] - 1
    mirrored = np.linalg.det(np.diag([-1, -1, 1]) @ affine[:3, :3]) < 0  # slices are read along their normal
    for number, shared in enumerate((("measures", "plane"), (), ("plane",))):
        path = tmp_path / f"{number}.dcm"
        write_enhanced(path, array, affine, order=np.roll([3, 1, 0, 2, 4], number), shared=shared)
        image = read_volume(path)
        assert np.array_equal(voxels(image), voxels(classic))
        np.testing.assert_allclose(image_affine(image), image_affine(classic), atol=1e-6)
        assert np.array_equal(voxels(image), array[:, :, ::-1] if mirrored else array)
        np.testing.assert_allclose(image_affine(image), affine @ flip if mirrored else affine, atol=1e-6)


def test_enhanced_written_by_highdicom(tmp_path):
    """The legacy-converted enhanced image of a classic series, as another library writes it."""
    from highdicom.legacy import LegacyConvertedEnhancedMRImage

    affine = GEOMETRIES["oblique sagittal"]
    extra = {
        "PatientSex": "O",
        "AccessionNumber": "",
        "StudyTime": "",
        "InstanceNumber": 1,
        "PositionReferenceIndicator": "",
    }
    extra |= {
        "ReferringPhysicianName": "",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SeriesTime": "",
        "Manufacturer": "A",
    }
    extra |= {"RescaleSlope": "0.5", "RescaleIntercept": "-3", "ContentDate": "20250203", "ContentTime": "120000"}
    write_t1w_series(tmp_path / "classic", affine, **extra)
    classic = read_volume(tmp_path / "classic")
    slices = [pydicom.dcmread(path) for path in find_series(tmp_path / "classic").files]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = LegacyConvertedEnhancedMRImage(slices, "1.2.3", 4, "1.2.3.4", 5)
        (tmp_path / "folder").mkdir()
        made.save_as(tmp_path / "folder" / "enhanced")
    image = read_volume(tmp_path / "folder")
    assert np.array_equal(voxels(image), voxels(classic))
    np.testing.assert_allclose(image_affine(image), image_affine(classic), atol=1e-6)


@pytest.mark.parametrize("compress", [None, RLE], ids=["plain", "RLE"])
def test_each_frame_has_its_own_rescaling(tmp_path, compress):
    array, slopes, intercepts = marked_array((24, 20, 6)), np.arange(1, 7) / 2, np.arange(6) - 3
    path = tmp_path / "IM.dcm"
    write_enhanced(path, array, affine_of(), slopes, intercepts, order=[5, 3, 1, 0, 2, 4], compress=compress)
    assert np.array_equal(voxels(read_volume(path)), array * slopes + intercepts)
    assert np.array_equal(voxels(read_volume(tmp_path)), array * slopes + intercepts), "the folder with it"


def test_enhanced_files_of_one_frame_each(tmp_path):
    """Some scanners write every slice as an enhanced file of its own."""
    array, affine = marked_array((24, 20, 6)), GEOMETRIES["oblique"]
    for index in range(6):
        write_enhanced(tmp_path / f"{9 - index}", array, affine, order=[index])
    image = read_volume(tmp_path)
    assert np.array_equal(voxels(image), array)
    np.testing.assert_allclose(image_affine(image), affine, atol=1e-6)
    write_enhanced(tmp_path / "one.dcm", array, affine, order=[0])
    _refused(tmp_path / "one.dcm", "give the folder that holds its series")


def _echoes(number, item):
    echo = pydicom.Dataset()
    echo.EffectiveEchoTime = 10.0 + number // 6
    item.MREchoSequence = [echo]


def _times(number, item):
    item.FrameContentSequence[0].TemporalPositionIndex = 1 + number // 6


def _stacks(number, item):
    item.FrameContentSequence[0].StackID = str(number // 6)


def _private(number, item):
    item.FrameContentSequence[0].DimensionIndexValues = [1, 1 + number % 6, number // 6]


@pytest.mark.parametrize(
    ("frame", "words"),
    [(_echoes, "EffectiveEchoTime"), (_times, "TemporalPositionIndex"), (_stacks, "StackID"), (_private, "a private"),
     (None, "copies")],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_several_volumes_in_a_file(tmp_path, frame, words):
    dimensions = []
    for tag in (0x00209056, 0x00209057, 0x20051011):
        dimensions.append(pydicom.Dataset())
        dimensions[-1].DimensionIndexPointer = tag
    order = [*range(6), *range(6)]
    path = tmp_path / "IM.dcm"
    write_enhanced(
        path, marked_array((24, 20, 6)), affine_of(), order=order, frame=frame, DimensionIndexSequence=dimensions
    )
    assert words in _refused(path, "6 of 12 DICOM images lie where another one does")


@pytest.mark.parametrize(
    ("keyword", "sequence"),
    [("ImagePositionPatient", "PlanePositionSequence"), ("PixelSpacing", "PixelMeasuresSequence"),
     ("ImageOrientationPatient", "PlaneOrientationSequence")],
)  # fmt: skip
@pytest.mark.parametrize("how", ["group", "element", "empty"])
def test_frame_without_a_place(tmp_path, keyword, sequence, how):
    def spoil(number, item):
        if number == 3 and how == "group":
            del item[sequence]
        elif number == 3 and how == "element":
            del item[sequence][0][keyword]
        elif number == 3:
            item[sequence][0][keyword].value = None

    write_enhanced(tmp_path / "IM.dcm", marked_array(), affine_of(), shared=(), frame=spoil)
    _refused(tmp_path / "IM.dcm", f"{keyword} is missing or empty")


@pytest.mark.parametrize(("bits", "keyword"), [(32, "FloatPixelData"), (64, "DoubleFloatPixelData")])
def test_floating_point_pixels_are_refused_by_their_name(tmp_path, bits, keyword):
    about = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.30",
        "BitsAllocated": bits,
        keyword: bytes(24 * 20 * 6 * bits // 8),
    }
    about |= dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation", "PixelData"))
    write_enhanced(tmp_path / "map.dcm", marked_array((24, 20, 6)), affine_of(), **about)
    for path in (tmp_path / "map.dcm", tmp_path):
        message = _refused(path, f"its pixels are {keyword}, .*give the NIfTI")
        assert "BitsStored" not in message


def test_frames_that_do_not_agree_with_their_number(tmp_path):
    write_enhanced(tmp_path / "IM.dcm", marked_array(), affine_of(), NumberOfFrames=4)
    _refused(tmp_path / "IM.dcm", "NumberOfFrames is 4, but it describes 5 frames")


# Geometry and numbers, never a default


@pytest.mark.parametrize(
    "keyword",
    ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns", "BitsAllocated",
     "BitsStored", "PixelRepresentation"],
)  # fmt: skip
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "missing"])
def test_what_is_missing_is_named(tmp_path, keyword, empty):
    write_dicom_series(tmp_path / "s")
    if empty:
        _put(tmp_path / "s" / "IM002", keyword, b"")
    else:
        _edit(tmp_path / "s" / "IM002", lambda data: delattr(data, keyword))
    assert "IM002" in _refused(tmp_path / "s", f"{keyword} is missing")


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", b"0\\1", "PixelSpacing is zero"), ("PixelSpacing", b"-1\\1", "PixelSpacing is zero or neg"),
        ("PixelSpacing", b"nan\\nan", "PixelSpacing is not a number"), ("PixelSpacing", b"1,5\\1,5", "is not a number"),
        ("PixelSpacing", b"1_0\\1", "is not a number"), ("PixelSpacing", b"1.5", "has 1 values where 2"),
        ("PixelSpacing", b"1\\1\\1", "has 3 values where 2"), ("PixelSpacing", b"1e999\\1", "is not finite"),
        ("ImagePositionPatient", b"1\\2\\inf", "ImagePositionPatient is not a number"),
        ("ImagePositionPatient", b"1\\2", "has 2 values"),
        ("ImagePositionPatient", b"\x1b[31m\\1\\2", "is not a number"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\.5\\0", "two unit vectors"),
        ("ImageOrientationPatient", b"1\\0\\0\\.6\\.8\\0", "right angles"),
        ("RescaleSlope", b"1\\2", "RescaleSlope has 2 values"), ("RescaleSlope", b"0", "RescaleSlope is zero"),
        ("RescaleSlope", b"%s%n", "RescaleSlope is not a number"), ("RescaleIntercept", b"NaN", "is not a number"),
        ("RescaleSlope", b"1e300", "too large after RescaleSlope"),
        ("Rows", bytes(2), "Rows is zero"), ("Rows", b"\xff\xff", "ends early"),
        ("Columns", b"\x18\0\x18\0", "not one num"), ("NumberOfFrames", b"abc", "NumberOfFrames is not a whole"),
        ("NumberOfFrames", b"1.5", "is not a whole"), ("NumberOfFrames", b"-3", "zero or neg"),
        ("NumberOfFrames", b"9" * 40, "is not a whole"), ("BitsAllocated", bytes(2), "BitsAllocated is 0"),
        ("BitsAllocated", b"\x0c\0", "BitsAllocated is 12"), ("BitsStored", b"\x11\0", "do not fit"),
        ("HighBit", b"\x05\0", "do not fit"), ("SamplesPerPixel", b"\x03\0", "not a plain grey"),
    ],
)  # fmt: skip
def test_numbers_that_are_none(tmp_path, keyword, value, words):
    extra = {"RescaleSlope": "1", "RescaleIntercept": "0", "NumberOfFrames": 1}
    write_dicom_series(tmp_path / "s", **extra)
    _put(tmp_path / "s" / "IM002", keyword, value)
    _refused(tmp_path / "s", words)


def test_numbers_with_padding_are_read(tmp_path):
    array = write_dicom_series(tmp_path / "s", RescaleSlope="1", RescaleIntercept="0")
    for path in (tmp_path / "s").iterdir():
        _put(path, "PixelSpacing", b" 1.5 \\ +1.25e0 ")
        _put(path, "RescaleSlope", b"2\0")
        _put(path, "RescaleIntercept", b"")
    image = read_volume(tmp_path / "s")
    assert image.GetSpacing() == (1.25, 1.5, 2.0) and np.array_equal(voxels(image), array * 2)


def test_cosines_with_few_digits_are_read(tmp_path):
    turn = np.deg2rad(45)
    write_dicom_series(tmp_path / "s", ImageOrientationPatient=[".71", ".71", "0", "-.71", ".71", "0"])
    direction = np.reshape(read_volume(tmp_path / "s").GetDirection(), (3, 3))
    np.testing.assert_allclose(direction[:2, 0], [np.cos(turn), np.sin(turn)], atol=1e-9)


def test_positions_win_over_the_spacing_that_is_told(tmp_path):
    write_dicom_series(tmp_path / "s", SpacingBetweenSlices="1")
    with pytest.warns(RelAPETWarning, match="T1w: SpacingBetweenSlices says 1.00 mm, the slices' positions 2.00 mm"):
        assert read_volume(tmp_path / "s", "T1w").GetSpacing()[2] == 2.0
    write_dicom_series(tmp_path / "s", SpacingBetweenSlices="-2.05")
    assert read_volume(tmp_path / "s", "T1w").GetSpacing()[2] == 2.0


# Encodings


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_other_encodings(tmp_path, syntax):
    array = write_dicom_series(tmp_path / "s")

    def change(data):
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == BIG_ENDIAN:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()

    for path in (tmp_path / "s").iterdir():
        _edit(path, change)
    assert np.array_equal(voxels(read_volume(tmp_path / "s")), array)


def test_files_without_preamble(tmp_path):
    array = write_dicom_series(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        path.write_bytes(path.read_bytes()[132:])
    (tmp_path / "s" / "note").write_bytes(b"\x08\0 no DICOM, though it begins so")
    assert np.array_equal(voxels(read_volume(tmp_path / "s")), array)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed(tmp_path, compressor):
    array = write_compressed_series(tmp_path / "s", compressor)
    assert np.array_equal(voxels(read_volume(tmp_path / "s")), array)


def test_no_code_is_taken_from_the_working_folder(tmp_path, monkeypatch):
    array = write_dicom_series(tmp_path / "s", compress=RLE)
    for name in ("numpy.py", "SimpleITK.py", "struct.py", "RelAPETLib.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'taken')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(voxels(read_volume("s")), array)
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_damaged_compression(tmp_path, compressor):
    """Cut, or with an end in the middle of the stream, which libjpeg tells on stderr alone."""
    write_compressed_series(tmp_path / "s", compressor)
    path = tmp_path / "s" / "IM001"
    whole = path.read_bytes()
    for cut in (150, 40, 12):
        path.write_bytes(whole[:-cut])
        _refused(tmp_path / "s", "damaged")
    end = whole.rindex(b"\xff\xd9")
    path.write_bytes(whole[: end - 40] + b"\xff\xd9" + bytes(40) + whole[end + 2 :])
    _refused(tmp_path / "s", "damaged")


@pytest.mark.parametrize(("signed", "stored", "high"), [(0, 12, 11), (1, 12, 11), (0, 12, 13), (1, 16, 15), (1, 8, 7)])
def test_bits_beside_the_number_do_not_count(tmp_path, signed, stored, high):
    """As GDCM reads them: an overlay in the unused bits, a sign in the highest stored one."""
    noise = np.random.default_rng(0).integers(0, 2**16, (4, 20, 24), dtype=np.uint16)
    (tmp_path / "s").mkdir()
    bits = {"BitsStored": stored, "HighBit": high, "PixelRepresentation": signed}
    for index in range(4):
        write_dicom_slice(tmp_path / "s" / str(index), noise[index], (0, 0, 2 * index), **bits)
    numbers = (noise >> (high + 1 - stored)) & (2**stored - 1)
    wanted = np.where(signed & (numbers >> (stored - 1)), numbers.astype(int) - 2**stored, numbers)
    assert np.array_equal(voxels(read_volume(tmp_path / "s")), wanted.transpose(2, 1, 0))
    gdcm = sitk.ReadImage([str(tmp_path / "s" / str(index)) for index in range(4)])
    assert high != stored - 1 or np.array_equal(sitk.GetArrayFromImage(gdcm), wanted)


def test_a_stream_that_crashes_the_codec(tmp_path):
    """A flipped bit in the Huffman table, of which GDCM's lossless JPEG dies."""
    write_compressed_series(tmp_path / "s", "JPEG")
    path = tmp_path / "s" / "IM000"
    content = bytearray(path.read_bytes())
    table = content.index(b"\xff\xc4") + 5
    content[table : table + 16] = bytes([255] * 16)
    path.write_bytes(content)
    _refused(tmp_path / "s", "IM000: its compressed DICOM pixels are damaged")


def test_temporary_folder_that_cannot_be_written(tmp_path, monkeypatch):
    write_dicom_series(tmp_path / "s", compress=RLE)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        _refused(tmp_path / "s", "temporary folder: No such file")


def test_without_pixels(tmp_path):
    write_dicom_series(tmp_path / "s")
    write_dicom_series(tmp_path / "t", compress=RLE)
    _edit(tmp_path / "s" / "IM002", lambda data: delattr(data, "PixelData"))
    _refused(tmp_path / "s", "ends early|without PixelData")
    _edit(tmp_path / "t" / "IM002", lambda data: delattr(data, "PixelData"))
    _refused(tmp_path / "t", "without PixelData")


def test_unknown_compression(tmp_path):
    write_dicom_series(tmp_path / "s", compress=RLE)
    for path in (tmp_path / "s").iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.7\0"))
    _refused(tmp_path / "s", "compression is not known")


# What it will take


def test_memory_is_known_before_it_is_taken(tmp_path, monkeypatch):
    import psutil

    write_dicom_series(tmp_path / "rle", compress=RLE, count=3)
    for path in (tmp_path / "rle").iterdir():
        _put(path, "Rows", b"\xff\xff")
        _put(path, "Columns", b"\xff\xff")
    _refused(tmp_path / "rle", "65535x65535x3 voxels cannot be")
    write_dicom_series(tmp_path / "s")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10_000}))
    _refused(tmp_path / "s", "24x20x6 voxels needs .* GB of memory")


def test_deflated_bomb(tmp_path, monkeypatch):
    import zlib

    write_dicom_series(tmp_path / "s")
    path = tmp_path / "s" / "IM002"
    _edit(path, lambda data: setattr(data.file_meta, "TransferSyntaxUID", DEFLATED))
    content = path.read_bytes()
    meta = content[: 144 + int.from_bytes(content[140:144], "little")]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(meta + packer.compress(bytes(2**22)) + packer.flush())
    assert path.stat().st_size < 10_000
    monkeypatch.setattr("RelAPETLib.volumes.dicom.header._MAX_INFLATED_BYTES", 2**21)
    _refused(tmp_path / "s", "damaged DICOM file")


# What lies beside a series


def _presentation_state(data):
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    for keyword in ("Rows", "Columns", "PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(data, keyword)


def _report(data):
    _presentation_state(data)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"


def _key_objects(data):
    _presentation_state(data)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.59"


def _pdf(data):
    _presentation_state(data)
    data.SOPClassUID, data.EncapsulatedDocument = "1.2.840.10008.5.1.4.1.1.104.1", b"%PDF"


def _segmentation(data):
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"


def _scanner_own(data):
    _presentation_state(data)
    data.SOPClassUID = "1.3.12.2.1107.5.9.1"


@pytest.mark.parametrize("make", [_presentation_state, _report, _key_objects, _pdf, _segmentation, _scanner_own])
def test_objects_without_a_picture_are_left_out(tmp_path, make):
    array = write_dicom_series(tmp_path / "s")
    for name in ("A", "Z"):
        write_dicom_slice(
            tmp_path / "s" / name, array[:, :, 0].T, (0, 0, 0), SeriesInstanceUID=f"1.2.826.0.{ord(name)}"
        )
        _edit(tmp_path / "s" / name, make)
    with pytest.warns(RelAPETWarning, match="T1w: 2 DICOM objects without a picture .* left out"):
        assert np.array_equal(voxels(read_volume(tmp_path / "s", "T1w")), array)
    for path in (tmp_path / "s").glob("IM*"):
        path.unlink()
    _refused(tmp_path / "s", "only objects without a picture")
    _refused(tmp_path / "s" / "A", "a DICOM object without a picture")


def test_a_series_uid_a_slice(tmp_path):
    array = write_dicom_series(tmp_path / "s", count=6)
    for number, path in enumerate(sorted((tmp_path / "s").iterdir())):
        _edit(path, lambda data, number=number: setattr(data, "SeriesInstanceUID", f"1.2.826.0.7.{number}"))
    with pytest.warns(RelAPETWarning, match="T1w: every slice has a SeriesInstanceUID of its own"):
        assert np.array_equal(voxels(read_volume(tmp_path / "s", "T1w")), array)
    _edit(path, lambda data: setattr(data, "StudyInstanceUID", "1.2.826.0.9"))
    _refused(tmp_path / "s", "6 DICOM series")


def test_a_hundred_series_are_not_listed(tmp_path):
    array = marked_array((24, 20, 2)).astype(np.uint16)
    for number in range(60):
        about = {"SeriesInstanceUID": f"1.2.826.0.7.{number}", "SeriesNumber": number}
        write_dicom_slice(tmp_path / str(number), array[:, :, 0].T, (0, 0, number), **about)
    message = _refused(tmp_path, "60 DICOM series, no. 0 .*; and 56 more; put the wanted one")
    assert len(message.replace(str(tmp_path), "")) < 300


def test_several_bad_files_are_counted(tmp_path):
    write_dicom_series(tmp_path / "s", PixelSpacing=None)
    _refused(tmp_path / "s", r"IM000: .*PixelSpacing.* \(and 5 more files of this folder\)")


def test_two_people_in_a_folder(tmp_path):
    write_dicom_series(tmp_path / "s")
    _edit(tmp_path / "s" / "IM002", lambda data: setattr(data, "PatientID", "SECRET-2"))
    _refused(tmp_path / "s", "its DICOM images differ in PatientID")


def test_names_are_not_printed_raw(tmp_path):
    folder = tmp_path / "a\x1b[31mred\nline"
    write_dicom_series(folder, PixelSpacing=None)
    assert "\\x1b[31mred\\nline" in _refused(folder, "PixelSpacing")
    write_dicom_series(tmp_path / "s")
    write_dicom_slice(tmp_path / "s" / "o", np.ones((20, 24), np.uint16), (0, 0, 0), SeriesInstanceUID="1.2.826.3")
    _put(tmp_path / "s" / "o", "Modality", b"\x1b[31m")
    _put(tmp_path / "s" / "o", "SeriesNumber", b"\x1b[31m")
    _refused(tmp_path / "s", r"2 DICOM series, no. \? \(\?, 1 of 24x20 pixels\); no. 3 \(MR, 6 of")


def test_pydicom_is_asked_for(tmp_path, monkeypatch):
    from RelAPETLib.errors import RelAPETError

    write_dicom_series(tmp_path / "s")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(RelAPETError, match="pip install 'pydicom"):
        read_volume(tmp_path / "s")


# Whose scan, and how taken


@pytest.mark.parametrize(
    ("agent", "warned"),
    [("GADAVIST", True), ("Dotarem 7 ml", True), ("", False), ("NONE", False), ("none ", False), ("NO", False)],
)
def test_contrast_agent(tmp_path, agent, warned):
    write_dicom_series(tmp_path / "s", ContrastBolusAgent=agent)
    for name in ("T1w", "T2-FLAIR"):
        if warned:
            with pytest.warns(RelAPETWarning, match=f"{name}: taken with a contrast agent") as caught:
                read_volume(tmp_path / "s", name)
            assert agent not in str(caught[0].message)
        else:
            read_volume(tmp_path / "s", name)
    read_volume(tmp_path / "s", "reference PET")


@pytest.mark.parametrize("given", ["YES", "NO"])
def test_contrast_agent_in_a_functional_group(tmp_path, given):
    def frame(number, item):
        usage = pydicom.Dataset()
        usage.ContrastBolusAgentAdministered = given
        item.ContrastBolusUsageSequence = [usage]

    write_enhanced(tmp_path / "IM.dcm", marked_array(), affine_of(), frame=frame)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_volume(tmp_path / "IM.dcm", "T1w")
    assert len(caught) == (given == "YES")


def _pair(tmp_path, **flair):
    write_dicom_series(tmp_path / "t1w", StudyDate="20250101")
    about = {"SeriesInstanceUID": "1.2.826.5", "StudyDate": "20250101"} | flair
    write_dicom_series(tmp_path / "t2f", step=2.5, **about)
    for path in (tmp_path / "t2f").iterdir():
        _edit(path, lambda data: setattr(data, "PixelData", data.PixelData[::-1]))
    return {"t1w": tmp_path / "t1w", "t2f": tmp_path / "t2f"}


@pytest.fixture
def small_is_fine(monkeypatch):
    monkeypatch.setattr("RelAPETLib.volumes.check_volume", lambda image, name: None)


@pytest.mark.parametrize(
    "other", [{"PatientID": "OTHER"}, {"PatientBirthDate": "19600101"}], ids=lambda one: next(iter(one))
)
def test_two_people_are_doubted(tmp_path, small_is_fine, other):
    pair = _pair(tmp_path, **other)
    assert not same_person(origin_of(pair["t1w"]), origin_of(pair["t2f"]))
    assert "SECRET" not in repr(origin_of(pair["t1w"])) and "1950" not in repr(origin_of(pair["t1w"]))
    with pytest.raises(DoubtfulInputError, match="two people, as PatientID") as caught:
        read_inputs(pair, lambda fraction, message: None)
    assert not re.search("SECRET|OTHER|19[56]0", str(caught.value).replace(str(tmp_path), ""))
    assert all(str(path) in str(caught.value) for path in pair.values())
    words = "T1w and T2-FLAIR: two people, as PatientID or PatientBirthDate in them differ"
    with pytest.warns(RelAPETWarning, match=f"^accepted by force: {words}$"):
        assert read_inputs(pair, lambda fraction, message: None, force=True).doubted == (words,)


@pytest.mark.parametrize("other", [{}, {"PatientID": ""}, {"PatientBirthDate": ""}, {"StudyInstanceUID": "1.2.826.8"}])
def test_one_person_is_not_doubted(tmp_path, small_is_fine, other):
    read_inputs(_pair(tmp_path, **other), lambda fraction, message: None)


def test_two_visits_are_told(tmp_path, small_is_fine):
    pair = _pair(tmp_path, StudyInstanceUID="1.2.826.8", StudyDate="20260101")
    with pytest.warns(RelAPETWarning, match="taken on two days"):
        read_inputs(pair, lambda fraction, message: None)


def test_two_people_end_the_command(tmp_path, capfd):
    pixels = np.random.default_rng(0).integers(0, 900, (2, 30, 32, 32), dtype=np.uint16)
    for who, name in enumerate(("t1w", "t2f")):
        (tmp_path / name).mkdir()
        about = {"PixelSpacing": [6, 6], "PatientID": f"SECRET-{who}", "SeriesInstanceUID": f"1.2.826.{who}"}
        for index in range(30):
            write_dicom_slice(tmp_path / name / str(index), pixels[who, index], (0, 0, 6 * index), **about)
    options = [f"--t1w={tmp_path / 't1w'}", f"--t2f={tmp_path / 't2f'}", f"--out={tmp_path / 'out'}", "--tracer=TAU"]
    assert main(["synthesize", *options, "--device=cpu", "--progress=none"]) == 2
    out, error = capfd.readouterr()
    assert out == "" and error.count("\n") == 1 and "two people" in error and "--force" in error
    assert "SECRET" not in error and not (tmp_path / "out").exists()


# Damage


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on memory there")
def test_damaged_folders(tmp_path):
    """120 damaged folders of most encodings: a volume or one line each; no crash, no hang, no gigabytes."""
    root = tmp_path / "bases"
    root.mkdir()
    for name, syntax in (("explicit", None), ("implicit", IMPLICIT), ("deflated", DEFLATED), ("RLE", RLE)):
        write_dicom_series(root / name, count=4, compress=syntax if name == "RLE" else None)
        for path in (root / name).iterdir():
            if name in ("implicit", "deflated"):
                _edit(path, lambda data, syntax=syntax: setattr(data.file_meta, "TransferSyntaxUID", syntax))
    for number in range(4):
        (root / f"enhanced{number}").mkdir()
        write_enhanced(root / f"enhanced{number}" / "IM.dcm", marked_array((24, 20, 6)), GEOMETRIES["oblique"], 0.5)
    child = Path(__file__).parents[1] / "support" / "dicom_fuzz.py"
    result = subprocess.run(
        [sys.executable, child, root, "0", "120"], capture_output=True, text=True, cwd=child.parents[1]
    )
    assert result.returncode == 0, f"seed {(root / 'seed').read_text()}: {result.stderr}"
    found = json.loads(result.stdout)
    assert found["wrong"] == [] and result.stderr == ""
    assert found["read"] > 15 and found["refused"] > 60 and found["read"] + found["refused"] == 120
    assert found["peak_mb"] < 1500
