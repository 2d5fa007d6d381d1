"""DICOM slices that are lacking: files that are not whole, and numbers that say so."""

import warnings

import numpy as np
import pytest
from volume_files import write_dicom_series, write_dicom_slice

from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.volumes import read_volume

POINTER = b"/annex/objects/MD5E-s123--0.dcm\n"
SPOILED = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "cut in the preamble": (lambda path: path.write_bytes(path.read_bytes()[:100]), "nothing but zeros"),
    "all zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "nothing but zeros"),
    "annex": (lambda path: path.write_bytes(POINTER), "git annex get"),
    "LFS": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "link as text": (lambda path: path.write_bytes(b"../.git/annex/objects/a/b/c"), "git annex get"),
    "dangling": (lambda path: _link(path, "nothing"), "a link to a file that is not here; copy"),
    "annex link": (lambda path: _link(path, "../.git/annex/objects/a/b/c"), "datalad get"),
}


def _link(path, target):
    path.unlink()
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no links on this disk")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Bytes of a small series' files by name; IM003 and IM004 lie at its ends."""
    folder = tmp_path_factory.mktemp("plain")
    write_dicom_series(folder, count=6, shape=(8, 7))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def _series(folder, contents, ending=""):
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f"IM{number:03d}{ending}").write_bytes(content)
    return folder


@pytest.mark.parametrize("ending", [".dcm", "", ".123"])
@pytest.mark.parametrize("how", SPOILED)
def test_a_slice_that_is_not_whole_is_refused(tmp_path, plain, how, ending):
    """At the end of the series, where the positions do not tell; whatever the slices' names end in."""
    spoil, words = SPOILED[how]
    folder = _series(tmp_path / "s", plain, ending)
    ends = [folder / f"IM00{number}{ending}" for number in (3, 4)]
    for path in ends:
        spoil(path)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(folder)
    assert str(ends[0]) in str(caught.value) and "and 1 more file" in str(caught.value)


@pytest.mark.parametrize("content", [b"\x08\0\x05\0CS", b"hello", b"\0" * 127 + b"D"])
def test_what_says_dicom_and_is_none_is_refused(tmp_path, plain, content):
    folder = _series(tmp_path / "s", plain)
    (folder / "X.Ima").write_bytes(content)
    with pytest.raises(InputError, match=r"X\.Ima: not a DICOM file, or a damaged one"):
        read_volume(folder)


def test_a_folder_of_pointers_says_so(tmp_path):
    with pytest.raises(InputError, match=r"IM000: a git-annex pointer.*and 2 more files"):
        read_volume(_series(tmp_path / "s", [POINTER] * 3))


def test_what_has_nothing_to_do_with_dicom_is_ignored(tmp_path, plain):
    folder = _series(tmp_path / "s", plain, ".dcm")
    for name in ("readme.txt", "DICOMDIR", ".DS_Store", "._IM001.dcm", "Thumbs.db", "series.json", "COMPLETE"):
        (folder / name).write_bytes(b"")
    (folder / "notes").write_text("hello")
    (folder / "inner.dcm").mkdir()
    assert read_volume(folder).GetSize() == (7, 8, 6)


# Numbers


def _numbered(folder, numbers):
    folder.mkdir()
    for index, number in enumerate(numbers):
        about = {} if number is None else {"InstanceNumber": number}
        write_dicom_slice(folder / str(index), np.full((4, 5), index, np.uint16), (0, 0, 2 * index), **about)
    return folder


ODD_THEN_EVEN = [number for pair in zip(range(1, 6), range(6, 11), strict=True) for number in pair]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (range(4, 9), "begins at 4; check whether 3 slices are missing"),
        (range(6, 1, -1), "begins at 2; check whether 1 slice is missing"),
        (range(7, 16, 2), "begins at 7; check whether 3 slices are"),
        (ODD_THEN_EVEN[:6], "has gaps, of 2 numbers"),
        (ODD_THEN_EVEN[1:], "has gaps|begins at 2"),
    ],
)
def test_numbers_that_say_slices_are_missing(tmp_path, numbers, words):
    with pytest.warns(RelAPETWarning, match=f"T1w: InstanceNumber .*({words})"):
        read_volume(_numbered(tmp_path / "s", numbers), "T1w")


@pytest.mark.parametrize(
    "numbers",
    [
        range(1, 5), range(4, 0, -1), range(4), ODD_THEN_EVEN,
        range(2, 14, 3),  # the second of three echoes, slice by slice
        range(5, 9),  # the second of several time points, block by block
        range(1001, 1005), [5] * 4, [None] * 4, [2, None, 4],
        [1, 2, 3, 5, 6],  # evenly spaced in place: number 4 is another object
        [1, 7, 2, 8, 3, 9],  # the first echo of a scan in two passes
    ],
)  # fmt: skip
def test_numbers_that_say_nothing(tmp_path, numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_volume(_numbered(tmp_path / "s", numbers), "T1w")
