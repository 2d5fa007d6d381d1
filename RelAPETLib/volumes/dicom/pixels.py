"""Pixels of DICOM files as stored numbers: plain ones by numpy, compressed ones by GDCM as SimpleITK carries it.

GDCM never sees a file of the user's, since a damaged header makes it guess, print or crash: it gets a small one made
here, with the compressed bytes and nothing else, and in a process of its own (`decompress`).
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import InputError, RelAPETError
from ...notices import printable
from .frames import NATIVE, PixelFormat
from .header import BIG_ENDIAN, damaged, quiet_pydicom, read_header

#: RLE, JPEG (baseline, extended, lossless), JPEG-LS and JPEG 2000.
_COMPRESSED = tuple(
    f"1.2.840.10008.1.2.{ending}" for ending in ("5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
)
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
#: Seconds that decompressing may take: to start with, and by byte that comes out.
_START_SECONDS, _SECONDS_PER_BYTE = 120, 1e-6


def stored_numbers(layouts: dict[Path, PixelFormat]) -> Iterator[tuple[Path, np.ndarray]]:
    """Each file with its stored numbers [frames, rows, columns], whole numbers as its bits say, not rescaled.

    Raises:
        InputError: no pixels, fewer or more than the header says, damaged, or compressed in a way that is not known.
    """
    packed = {path: layout for path, layout in layouts.items() if layout.syntax not in NATIVE}
    for path, layout in packed.items():
        if layout.syntax not in _COMPRESSED:
            raise InputError(f"{printable(path)}: its DICOM pixels' compression is not known; decompress the series")
    for path, layout in layouts.items():
        if path not in packed:
            yield path, _plain(_pixel_data(path), layout, path)
    if packed:
        try:
            with tempfile.TemporaryDirectory(prefix="relapet-") as folder:
                yield from _decompressed(packed, Path(folder))
        except OSError as error:
            raise InputError(
                f"{printable(next(iter(packed)))}: cannot be decompressed by way of the temporary folder: "
                f"{error.strerror or error}"
            ) from error


def _pixel_data(path: Path) -> bytes:
    with quiet_pydicom():
        header = read_header(path, ["PixelData"], pixels=True)
        value = header.raw("PixelData") if header else None
    if not value:
        raise InputError(f"{printable(path)}: a DICOM image without PixelData; copy the series again")
    return value


def _plain(value: bytes, layout: PixelFormat, path: Path) -> np.ndarray:
    if len(value) < layout.size:
        raise InputError(f"{printable(path)}: its DICOM pixels are damaged (the file ends early); copy it again")
    if len(value) > layout.size + 1:  # one byte may make the length even
        raise InputError(
            f"{printable(path)}: its PixelData has {len(value)} bytes where Rows, Columns and NumberOfFrames want "
            f"{layout.size}; its DICOM header is damaged, export the series again"
        )
    if layout.syntax == BIG_ENDIAN and layout.allocated == 8:
        raise InputError(f"{printable(path)}: big-endian pixels of 8 bits; convert the series to little-endian")
    order = ">" if layout.syntax == BIG_ENDIAN else "<"
    kind = "i" if layout.signed else "u"
    numbers = np.frombuffer(value[: layout.size], f"{order}{kind}{layout.allocated // 8}")
    numbers = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    above = layout.allocated - 1 - layout.high_bit
    below = layout.high_bit + 1 - layout.stored
    if above or below:  # bits beside the number may hold an overlay; shifting right keeps the sign
        numbers = (numbers << above) >> (above + below)
    return numbers.reshape(layout.frames, layout.rows, layout.columns)


def _decompressed(layouts: dict[Path, PixelFormat], folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    for number, (path, layout) in enumerate(layouts.items()):
        value = _pixel_data(path)
        if _fragments(value) < layout.frames:
            raise damaged(path)
        (folder / f"{number:06d}.dcm").write_bytes(_bare_file(value, layout))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *filter(None, sys.path)])
    }
    command = [sys.executable, "-m", "RelAPETLib.volumes.dicom.decompress", str(folder)]
    seconds = _START_SECONDS + _SECONDS_PER_BYTE * sum(layout.size for layout in layouts.values())
    try:
        subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pass  # then some of the files are not there
    if not (folder / "000000.txt").exists():
        raise RelAPETError(f"{printable(sys.executable)}: this Python cannot be started to decompress DICOM")
    for number, (path, layout) in enumerate(layouts.items()):
        made, told = folder / f"{number:06d}.npy", folder / f"{number:06d}.txt"
        # "Corrupt JPEG data", "Premature end of JPEG file": the rest of the picture is made up.
        if not made.exists() or b"JPEG" in told.read_bytes():
            raise InputError(f"{printable(path)}: its compressed DICOM pixels are damaged; copy it again")
        found = np.load(made)
        made.unlink()
        if found.size != layout.frames * layout.rows * layout.columns:
            raise damaged(path)
        yield path, found.reshape(layout.frames, layout.rows, layout.columns)


def _fragments(value: bytes) -> int:
    """Pieces of encapsulated pixel data after the offset table; 0 if they do not fill it exactly."""
    place, count = 0, -1
    while value[place : place + 4] == _ITEM and place + 8 <= len(value):
        place += 8 + int.from_bytes(value[place + 4 : place + 8], "little")
        count += 1
    return count if place == len(value) else 0


def _bare_file(value: bytes, layout: PixelFormat) -> bytes:
    """A DICOM file of these pixels alone, explicit VR little endian."""

    def element(group: int, number: int, vr: str, content: bytes) -> bytes:
        content += (b"\0" if vr in ("UI", "OB") else b" ") * (len(content) % 2)
        length = struct.pack("<2xI" if vr == "OB" else "<H", len(content))
        return struct.pack("<HH", group, number) + vr.encode() + length + content

    def number(value: int) -> bytes:
        return struct.pack("<H", value)

    meta = (
        element(2, 0x01, "OB", b"\0\1")
        + element(2, 0x02, "UI", _MR_IMAGE.encode())
        + element(2, 0x03, "UI", b"1.2.3")
        + element(2, 0x10, "UI", layout.syntax.encode())
    )
    return b"".join(
        (
            bytes(128) + b"DICM",
            element(2, 0x00, "UL", struct.pack("<I", len(meta))),
            meta,
            element(8, 0x16, "UI", _MR_IMAGE.encode()),
            element(8, 0x18, "UI", b"1.2.3"),
            element(0x28, 0x02, "US", number(1)),
            element(0x28, 0x04, "CS", b"MONOCHROME2"),
            element(0x28, 0x08, "IS", str(layout.frames).encode()),
            element(0x28, 0x10, "US", number(layout.rows)),
            element(0x28, 0x11, "US", number(layout.columns)),
            element(0x28, 0x100, "US", number(layout.allocated)),
            element(0x28, 0x101, "US", number(layout.stored)),
            element(0x28, 0x102, "US", number(layout.high_bit)),
            element(0x28, 0x103, "US", number(int(layout.signed))),
            b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff",
            value,
            _END + bytes(4),
        )
    )
