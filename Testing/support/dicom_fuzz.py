"""A child that damages DICOM folders and reads them: a volume or one `InputError` each time, else it says what was.

    python Testing/support/dicom_fuzz.py FOLDER_OF_FOLDERS FIRST_SEED COUNT

Prints JSON: how many were read, refused, and what went otherwise, and the most memory taken. A crash or a hang
ends it with another code; the seed that it was at stands in FOLDER_OF_FOLDERS/seed.
"""

import collections
import faulthandler
import json
import random
import resource
import shutil
import struct
import sys
import warnings
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.notices import listening
from RelAPETLib.volumes import image_affine, read_volume

SECONDS = 60  # compressed folders start a process
MEMORY_BYTES = 4 * 2**30
_TAGS = (
    (0x0002, 0x0010), (0x0008, 0x0008), (0x0008, 0x0016), (0x0020, 0x000E), (0x0020, 0x0032), (0x0020, 0x0037),
    (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0030),
    (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x1052), (0x0028, 0x1053),
    (0x0018, 0x0088), (0x5200, 0x9229), (0x5200, 0x9230), (0x0020, 0x9113), (0x7FE0, 0x0010), (0x0018, 0x0010),
)  # fmt: skip
_NASTY = (
    b"", b"nan", b"inf", b"-1", b"0", b"1e999", b"abc", b"\\\\\\", b"1\\2", b"%s%n%s", b"\x1b[31m", b"9" * 40, b"1,5",
    b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x01\0", b"\xff\x7f",
)  # fmt: skip


def _flip(data, dice):
    span = len(data) if dice.random() < 0.3 else min(len(data), 1500)
    for _ in range(dice.randint(1, 12)):
        data[dice.randrange(span)] ^= 1 << dice.randrange(8)


def _cut(data, dice):
    del data[dice.randrange(len(data)) :]


def _insert(data, dice):
    place = dice.randrange(min(len(data), 3000))
    data[place:place] = dice.randbytes(dice.randint(1, 40))


def _erase(data, dice):
    place = dice.randrange(len(data))
    length = dice.randint(1, 500)
    data[place : place + length] = bytes(len(data[place : place + length]))


def _find(data, dice):
    """Where an element of interest begins, in either byte order; -1 if it is not there."""
    tag = dice.choice(_TAGS)
    return max(data.find(struct.pack("<HH", *tag), 128), data.find(struct.pack(">HH", *tag), 128))


def _value(data, dice):
    place = _find(data, dice)
    if place >= 0:
        value = dice.choice(_NASTY)
        data[place + 8 : place + 8 + len(value)] = value


def _length(data, dice):
    place = _find(data, dice)
    if place >= 0:
        start = place + dice.choice((4, 6, 8))
        lengths = (b"\xff\xff\xff\xff", b"\xfe\xff\xff\x7f", bytes(4), dice.randbytes(4))
        data[start : start + 4] = dice.choice(lengths)


def _exchange(data, dice):
    """An element with a well-formed length and another value."""
    place = _find(data, dice)
    if place >= 0 and data[place + 4 : place + 6].isalpha():
        old = int.from_bytes(data[place + 6 : place + 8], "little")
        value = dice.choice(_NASTY)
        value += b" " * (len(value) % 2)
        data[place + 6 : place + 8 + old] = struct.pack("<H", len(value)) + value


_WAYS = (_flip, _flip, _cut, _insert, _erase, _value, _length, _exchange, _exchange)


def damage(folder: Path, dice: random.Random) -> None:
    """One or all files of a folder, in one to three ways."""
    files = sorted(folder.iterdir())
    same = dice.randrange(2**32)
    for file in files if dice.random() < 0.3 else [dice.choice(files)]:
        data = bytearray(file.read_bytes())
        ways = random.Random(same)
        for _ in range(ways.randint(1, 3)):
            if data:
                ways.choice(_WAYS)(data, ways)
        file.write_bytes(data)


def _read(target: Path) -> str:
    try:
        image = read_volume(target, "T1w")
    except InputError as error:
        message = str(error)
        if not message.isprintable() or len(message) > 600:
            return f"message: {message!r}"
        return "refused"
    assert image.GetDimension() == 3 and abs(image_affine(image)).max() < 1e30
    return "read"


def main(root: Path, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    bases = sorted(path for path in root.iterdir() if path.is_dir())
    found, wrong = collections.Counter(), []
    for seed in range(first, first + count):
        (root / "seed").write_text(str(seed))
        dice = random.Random(seed)
        base = dice.choice(bases)
        folder = root.parent / "damaged"
        shutil.copytree(base, folder)
        damage(folder, dice)
        files = sorted(folder.iterdir())
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with listening(lambda message: found.update(["warnings"])):
            try:
                outcome = _read(files[0] if len(files) == 1 else folder)
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        if outcome in ("read", "refused"):
            found[outcome] += 1
        else:
            wrong.append([seed, base.name, outcome])
        shutil.rmtree(folder)
    print(json.dumps({**found, "peak_mb": peak_mb(), "wrong": wrong}))


def peak_mb() -> int:
    """Most memory that this program took; `ru_maxrss` begins with that of the process which started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


if __name__ == "__main__":
    faulthandler.enable()
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
