"""Whole volume files of every format, and the ways in which `robustness_volumes.py` spoils them."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from volume_files import affine_of, rotation, write_dicom_series

from RelAPETLib.volumes import image_affine, read_volume

SHAPE = (9, 8, 7)
TEXTS = (
    *("", " ", "%s%n%s", "nan", "nan nan nan", "-1", "0", "1e999", "9" * 400, "A" * 2000, "LIST", "LIST 2"),
    *("../scan.raw", "/dev/zero", "/etc/passwd", "\0", "\x1b[2J", "none", "LOCAL", "slice_%03d.raw 1 9 1"),
    *("(1,0,0)", "(0,0,0) (0,0,0) (0,0,0)", "1 0 0", "0.1 0.1 0.1", "MET_LONG", "MET_FLOAT_ARRAY", "block", "double"),
    *("True", "False", "raw", "gzip", "bzip2", "hex", "big", "9 8 7 1", "9 8 7 2", "9 8", "8 9 7", "1 1 1"),
    *("99999 99999 99999", "-9 8 7", "9.5 8 7", "１ ２ ３", "1_0 8 7"),
)


@dataclass(frozen=True)
class Base:
    """A whole volume: its files, which of them is given, and where a check sum guards its bytes."""

    name: str
    main: str
    files: dict[str, bytes]
    image: sitk.Image = field(repr=False)
    guarded: dict[str, int] = field(default_factory=dict)  # file -> first byte of its compressed stream
    header: str | None = None  # the file with the header
    layout: np.dtype | None = None  # of a binary header; a text header has none

    def same(self, image: sitk.Image) -> bool:
        """Whether an image has this volume's voxels and geometry."""
        return (
            image.GetSize() == self.image.GetSize()
            and np.array_equal(image_affine(image), image_affine(self.image))
            and np.array_equal(sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(self.image))
        )


@dataclass(frozen=True)
class Case:
    """Files to write; `checked` where the damage lies in a stream that a check sum guards."""

    main: str
    files: dict[str, bytes]
    checked: bool = False

    def write(self, folder: Path) -> Path:
        """Put the files into a new folder; returns the path to give."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.main


def _array(dtype: str) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 120, SHAPE).astype(dtype)


def _base(name: str, folder: Path, main: str, **about) -> Base:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return Base(name, main, files, read_volume(folder / main), **{"header": main, **about})


def _nifti(name: str, kind, main: str, dtype: str, order: str = "<") -> tuple[str, Callable[[Path], Base]]:
    def make(folder: Path) -> Base:
        folder = folder / name
        folder.mkdir(parents=True)
        image = kind(_array(dtype), affine_of(turned=rotation(14, -9, 21)), kind.header_class(endianness=order))
        image.set_qform(image.affine, 1)
        nib.save(image, folder / main)
        header = main.replace(".img", ".hdr")
        guarded = {path.name: 0 for path in folder.iterdir() if path.name.endswith(".gz")}
        return _base(
            name,
            folder,
            main,
            guarded=guarded,
            header=header,
            layout=kind.header_class(endianness=order).structarr.dtype,
        )

    return name, make


def _mgh(name: str) -> tuple[str, Callable[[Path], Base]]:
    def make(folder: Path) -> Base:
        folder = folder / name
        folder.mkdir(parents=True)
        nib.save(nib.MGHImage(_array("i2"), affine_of(turned=rotation(14, -9, 21))), folder / f"scan.{name}")
        layout = np.dtype([("head", ">i4", 7), ("good", ">i2"), ("geometry", ">f4", 15)])
        return _base(name, folder, f"scan.{name}", guarded={"scan.mgz": 0} if name == "mgz" else {}, layout=layout)

    return name, make


def _nrrd(name: str, main: str, encoding: str) -> tuple[str, Callable[[Path], Base]]:
    def make(folder: Path) -> Base:
        folder = folder / name
        folder.mkdir(parents=True)
        data = _array("<i2").tobytes(order="F")
        if encoding == "ascii":
            data = " ".join(map(str, _array("i2").ravel(order="F"))).encode()
        data = {"gzip": gzip.compress, "bzip2": bz2.compress}.get(encoding, bytes)(data)
        header = (
            "NRRD0004\n# made by hand\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 9 8 7\n"
            "space directions: (1.5,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nendian: little\n"
            f"encoding: {encoding}\nspace origin: (-20,12,7)\nmine:=1\n"
        )
        return _attached_or_not(
            name, folder, main, header, "data file: scan.raw\n", "\n", data, encoding in ("gzip", "bzip2")
        )

    return name, make


def _metaimage(name: str, main: str, packed: bool) -> tuple[str, Callable[[Path], Base]]:
    def make(folder: Path) -> Base:
        folder = folder / name
        folder.mkdir(parents=True)
        data = _array("<i2").tobytes(order="F")
        data = zlib.compress(data) if packed else data
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"CompressedData = {packed}\n"
            + (f"CompressedDataSize = {len(data)}\n" if packed else "")
            + "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -20 12 7\nCenterOfRotation = 0 0 0\n"
            "AnatomicalOrientation = RAI\nElementSpacing = 1.5 2 3\nDimSize = 9 8 7\nElementType = MET_SHORT\n"
        )
        return _attached_or_not(
            name, folder, main, header, "ElementDataFile = scan.raw\n", "ElementDataFile = LOCAL\n", data, packed
        )

    return name, make


def _attached_or_not(
    name: str, folder: Path, main: str, header: str, elsewhere: str, here: str, data: bytes, packed: bool
) -> Base:
    detached = main.endswith(("nhdr", "mhd"))
    head = (header + (elsewhere if detached else here)).encode()
    (folder / main).write_bytes(head + (b"" if detached else data))
    if detached:
        (folder / "scan.raw").write_bytes(data)
    guarded = {("scan.raw" if detached else main): 0 if detached else len(head)} if packed else {}
    return _base(name, folder, main, guarded=guarded)


def _dicom(name: str) -> tuple[str, Callable[[Path], Base]]:
    def make(folder: Path) -> Base:
        (folder / name).mkdir(parents=True)
        write_dicom_series(folder / name / "series", count=4, shape=(9, 8))
        return _base(name, folder / name, "series", header="series/IM000")

    return name, make


BASES: dict[str, Callable[[Path], Base]] = dict(
    [
        _nifti("nii", nib.Nifti1Image, "scan.nii", "i2"),
        _nifti("nii.gz", nib.Nifti1Image, "scan.nii.gz", "i2"),
        _nifti("nii.gz, big-endian float", nib.Nifti1Image, "scan.nii.gz", "f4", ">"),
        _nifti("NIfTI-2 nii.gz", nib.Nifti2Image, "scan.nii.gz", "f8"),
        _nifti("hdr + img", nib.Nifti1Pair, "scan.img", "i2"),
        _nifti("hdr.gz + img.gz", nib.Nifti1Pair, "scan.img.gz", "u1"),
        _mgh("mgh"),
        _mgh("mgz"),
        _nrrd("nrrd raw", "scan.nrrd", "raw"),
        _nrrd("nrrd gzip", "scan.nrrd", "gzip"),
        _nrrd("nrrd bzip2", "scan.nrrd", "bzip2"),
        _nrrd("nrrd ascii", "scan.nrrd", "ascii"),
        _nrrd("nhdr + raw", "scan.nhdr", "raw"),
        _nrrd("nhdr + gzip", "scan.nhdr", "gzip"),
        _metaimage("mha", "scan.mha", False),
        _metaimage("mha zlib", "scan.mha", True),
        _metaimage("mhd + raw", "scan.mhd", False),
        _metaimage("mhd + zlib", "scan.mhd", True),
        _dicom("DICOM"),
    ]
)


def mutated(number: int, seed: int, bases: dict[str, Base]) -> tuple[Base, str, Case]:
    """The file of a number: from which base, in which way, and what it became."""
    rng = np.random.default_rng([seed, number])
    base = list(bases.values())[number % len(bases)]
    kind = list(KINDS)[rng.integers(len(KINDS))]
    return base, kind, KINDS[kind](base, rng)


def _header_field(base: Base, rng: np.random.Generator) -> Case:
    """A field gets a value it should not have; a compressed file is compressed anew, so its check sum is right."""
    content = base.files[base.header]
    packed = content[:2] == b"\x1f\x8b"
    content = gzip.decompress(content) if packed else content
    if base.layout is not None:
        content = _binary_field(content, base.layout, rng)
    elif base.name == "DICOM":
        at = rng.integers(132, min(1000, len(content)))
        content = content[:at] + rng.bytes(2) + content[at + 2 :]
    else:
        lines = _lines(content)
        at = rng.integers(len(lines) - 1)
        separator = b"=" if b"=" in lines[at] else b":"
        value = TEXTS[rng.integers(len(TEXTS))].encode()
        if rng.random() < 0.3:
            value = lines[rng.integers(len(lines) - 1)].partition(separator)[2].strip()
        lines[at] = lines[at].partition(separator)[0] + separator + b" " + value + b"\n"
        content = b"".join(lines)
    return Case(base.main, {**base.files, base.header: gzip.compress(content, 1) if packed else content})


def _binary_field(content: bytes, layout: np.dtype, rng: np.random.Generator) -> bytes:
    header = np.frombuffer(content[: layout.itemsize], layout).copy()
    name = layout.names[rng.integers(len(layout.names))]
    values = header[name].reshape(-1)
    if values.dtype.kind == "f":
        choice = [0, -0.0, -1, 1, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, 352, 351.5, 2.0**31, 1e6, 1e-3]
    elif values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        choice = [0, 1, 2, 3, 4, 7, 8, 100, limits.max, limits.min, limits.max // 2, int(rng.integers(0, 120))]
    else:
        choice = [b"", b"n+1", b"ni1", b"n+2", b"\xff" * 4, b"%s%n"]
    with np.errstate(all="ignore"):
        values[rng.integers(values.size) if rng.random() < 0.8 else slice(None)] = choice[rng.integers(len(choice))]
    header[name] = values.reshape(header[name].shape)
    return header.tobytes() + content[layout.itemsize :]


def _lines(content: bytes) -> list[bytes]:
    """Lines of a text header, and the voxels behind it as the last."""
    end = next((content.index(mark) + len(mark) for mark in (b"LOCAL\n", b"\n\n") if mark in content), len(content))
    return [*content[:end].splitlines(keepends=True), content[end:]]


def _header_lines(base: Base, rng: np.random.Generator) -> Case:
    """A line of a text header goes, comes twice or changes places; a stretch of a binary header stands elsewhere."""
    content = base.files[base.header]
    if base.layout is not None or base.name == "DICOM":
        packed = content[:2] == b"\x1f\x8b"
        content = bytearray(gzip.decompress(content) if packed else content)
        size = 1000 if base.layout is None else base.layout.itemsize
        length, source, target = rng.integers(1, 16), *rng.integers(0, size - 16, 2)
        content[target : target + length] = content[source : source + length]
        content = gzip.compress(bytes(content), 1) if packed else bytes(content)
        return Case(base.main, {**base.files, base.header: content})
    lines = _lines(content)
    at, other = rng.integers(0, len(lines) - 1, 2)
    what = rng.integers(3)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[other])
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return Case(base.main, {**base.files, base.header: b"".join(lines)})


def _damaged(
    change: Callable[[bytearray, int, np.random.Generator], bytes],
) -> Callable[[Base, np.random.Generator], Case]:
    """Damage at a random byte of a random file of the volume."""

    def make(base: Base, rng: np.random.Generator) -> Case:
        name = list(base.files)[rng.integers(len(base.files))]
        content = base.files[name]
        at = int(rng.integers(len(content)))
        new = bytes(change(bytearray(content), at, rng))
        first = base.guarded.get(name)
        checked = first is not None and new != content and new[:first] == content[:first]
        return Case(base.main, {**base.files, name: new}, checked)

    return make


@_damaged
def _bits(content: bytearray, at: int, rng: np.random.Generator) -> bytes:
    for place in (at, *rng.integers(len(content), size=rng.integers(0, 4))):
        content[place] ^= 1 << rng.integers(8)
    return content


@_damaged
def _zeroed(content: bytearray, at: int, rng: np.random.Generator) -> bytes:
    end = min(len(content), at + int(rng.integers(1, 4097)))
    content[at:end] = bytes(end - at)
    return content


@_damaged
def _random_block(content: bytearray, at: int, rng: np.random.Generator) -> bytes:
    end = min(len(content), at + int(rng.integers(1, 257)))
    content[at:end] = rng.bytes(end - at)
    return content


@_damaged
def _truncated(content: bytearray, at: int, rng: np.random.Generator) -> bytes:
    return content[:at]


@_damaged
def _inserted(content: bytearray, at: int, rng: np.random.Generator) -> bytes:
    size = int(rng.integers(1, 65))
    return content[:at] + content[at + size :] if rng.random() < 0.5 else content[:at] + rng.bytes(size) + content[at:]


def _other_name(base: Base, rng: np.random.Generator) -> Case:
    """The same bytes under the name of another format."""
    if base.name == "DICOM":
        name = "scan" + _SUFFIXES[rng.integers(len(_SUFFIXES))]
        return Case(name, {name: base.files[base.header]})
    name = "other" + _SUFFIXES[rng.integers(len(_SUFFIXES))]
    return Case(name, {**base.files, name: base.files[base.main]})


def _no_volume(base: Base, rng: np.random.Generator) -> Case:
    """Something else under the volume's name."""
    name = list(base.files)[rng.integers(len(base.files))]
    content = rng.bytes(int(rng.integers(1, 3000)))
    if rng.random() < 0.5:
        words = [
            b"version https://git-lfs",
            b"<html>",
            b"NRRD0004",
            b"ObjectType = Image",
            b"a: b",
            b"NDims = 3",
            b"1 2 3",
            b"%s",
        ]
        content = b"\n".join(words[index] for index in rng.integers(len(words), size=rng.integers(1, 40)))
    return Case(base.main, {**base.files, name: content}, checked=False)


def _missing(base: Base, rng: np.random.Generator) -> Case:
    """A file of the volume is not there, or empty."""
    name = list(base.files)[rng.integers(len(base.files))]
    files = {key: content for key, content in base.files.items() if key != name}
    return Case(base.main, files if rng.random() < 0.5 else {**files, name: b""})


_SUFFIXES = (
    ".nii",
    ".nii.gz",
    ".hdr",
    ".img",
    ".img.gz",
    ".mgh",
    ".mgz",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".dcm",
    ".NII",
    "",
)
KINDS: dict[str, Callable[[Base, np.random.Generator], Case]] = {
    "header field": _header_field,
    "header lines": _header_lines,
    "bits": _bits,
    "zeroed block": _zeroed,
    "random block": _random_block,
    "truncated": _truncated,
    "bytes in or out": _inserted,
    "other name": _other_name,
    "no volume": _no_volume,
    "missing or empty": _missing,
}
