"""Damaged tables and sidecars through ``prepare``: ``python Testing/benchmarks/robustness_tables.py [--count N]``.

Each is a table or BIDS folder with one person whose CSV or JSON was changed: bytes flipped, cut, doubled, put in, or a
value replaced by one that JSON or CSV allow and nobody expects. A process of its own reads the source, its unit, its
frames and its digest, and runs ``prepare`` on it. Right is: exit code 0 or 2, one line on stderr with 2, no traceback,
no crash, at most 5 seconds of processor time. The volumes are of 6 voxels a side, so no case can be prepared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel as nib
import numpy as np

from RelAPETLib.cohort.bids import read_bids
from RelAPETLib.cohort.table import read_table
from RelAPETLib.errors import RelAPETError
from RelAPETLib.synthesis.reference import reference_units
from RelAPETLib.volumes.frames import parse_frames, read_pet
from training.__main__ import main as training
from training.data.pet import pet_units
from training.data.prepare import Options, digest

LIMIT_SECONDS = 5
FRAMES = 3
SIDECAR = {
    "TracerName": "PiB",
    "Units": "unitless",
    "ImageDecayCorrected": True,
    "InjectionStart": 0,
    "FrameTimesStart": [0, 300, 600],
    "FrameDuration": [300, 300, 300],
    "InjectedMass": 5.0,
}
#: JSON that is put in place of a value.
VALUES = (
    "1e999", "-1e999", "NaN", "1" + "0" * 5000, "1" + "0" * 400, "-1", "0", "true", "null", '""', '"\\ud800"',
    '"\\u0000"', "[]", "{}", "[[1,2],[3]]", "[" * 60 + "]" * 60, "[" * 2000 + "]" * 2000, "[" * 100_000,
    '{"a":' * 100_000, '"' + "x" * 100_000 + '"', '["a", 1, null]', "[1, 2, NaN]", "[1e308, 1e308, 1e308]",
    '"SUVR\\n\\u001b[2J"', '{"Units": 1}',
)  # fmt: skip
#: Bytes that are put in anywhere.
TOKENS = (
    b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"'", b",", b";", b"\n", b"\r", b"\r\n", b"\t", b"\x1b[2J", b"../",
    b"/dev/zero", b"{", b"}", b"[", b"\\", b"\xef\xbb\xbf", "\u202e".encode(), "\U0001f9e0".encode(), b"a" * 5000,
    b"," * 1000, b"a" * 200_000,
)  # fmt: skip


def changed(content: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        what = rng.randrange(5)
        if what == 0 and data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        elif what == 1:
            del data[place : place + rng.randint(1, 40)]
        elif what == 2:
            data[place:place] = data[place : place + rng.randint(1, 80)]
        elif what == 3:
            data[place:place] = rng.choice(TOKENS)
        else:
            data = data[:place]
    return bytes(data)


def other_value(rng: random.Random) -> bytes:
    """The sidecar with one value replaced, or the whole of it."""
    value, key = rng.choice(VALUES), rng.choice([*SIDECAR, None])
    if key is None:
        return value.encode()
    mark = "@@@"
    return json.dumps(SIDECAR | {key: mark}).replace(f'"{mark}"', value).encode()


def write_source(folder: Path, kind: str, rng: random.Random) -> Path:
    """A damaged source of a kind; what ``--source`` names."""
    names = {"T1w": "anat/sub-1_T1w.nii", "FLAIR": "anat/sub-1_FLAIR.nii", "pet": "pet/sub-1_trc-PIB_pet.nii"}
    for suffix, name in names.items():
        path = folder / "sub-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (6, 6, 6, FRAMES) if suffix == "pet" else (6, 6, 6)
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + len(suffix)
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    description, sidecar = b'{"Name": "some", "BIDSVersion": "1.9.0"}', json.dumps(SIDECAR).encode()
    table = b"subject,session,t1w,t2f,pet,tracer\n" + b"".join(
        f"p{n},,sub-1/{names['T1w']},sub-1/{names['FLAIR']},sub-1/{names['pet']},PIB\n".encode() for n in range(3)
    )
    if kind == "table":
        table = changed(table, rng)
    elif kind == "sidecar's bytes":
        sidecar = changed(sidecar, rng)
    elif kind == "sidecar's values":
        sidecar = other_value(rng)
    else:
        description = changed(description, rng)
    (folder / "dataset_description.json").write_bytes(description)
    inherited = folder / rng.choice(("pet.json", "sub-1/sub-1_pet.json", "sub-1/pet/sub-1_trc-PIB_pet.json"))
    inherited.write_bytes(sidecar)
    (folder / "t.csv").write_bytes(table)
    return folder / "t.csv" if kind == "table" or rng.random() < 0.3 else folder


def read_everything(source: Path) -> None:
    """All that `prepare` and `synthesize` read of tables and sidecars; errors that a user can mend are right."""
    with contextlib.suppress(RelAPETError):
        found = read_table(source) if source.is_file() else read_bids(source)
        for case in found.cases:
            for scan in case.pets.values():
                for step in (
                    lambda case=case: digest(case, Options()),
                    lambda scan=scan: pet_units(scan, None, "suvr"),
                    lambda scan=scan: read_pet(scan, parse_frames(["0-10"])),
                    lambda scan=scan: reference_units(scan.path, None, relative=False),
                ):
                    with contextlib.suppress(RelAPETError):
                        step()


def judged(folder: Path, source: Path) -> str:
    """``refused``, ``prepared``, or what went wrong, in a process of its own."""
    report = folder / "report.txt"
    pid = os.fork()
    if not pid:
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + LIMIT_SECONDS + 1,) * 2)
        verdict = "no verdict"
        try:
            read_everything(source)
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                words = ["prepare", "--source", str(source), "--out", str(folder / "cache"), "--preprocessed"]
                code = training([*words, "--workers", "1", "--frames", "all"])
            told = said.getvalue()
            bugs = [path.read_text() for path in (folder / "cache" / "errors").glob("*")]
            if bugs:
                verdict = f"internal error: {bugs[0]}"
            elif code == 2:
                verdict = "refused" if told.count("\n") == 1 and told[:-1].isprintable() else f"said {told!r}"
            else:
                verdict = "prepared" if code == 0 else f"exit code {code}: {told}"
        except BaseException:
            verdict = traceback.format_exc()
        finally:
            report.write_text(verdict, encoding="utf-8", errors="backslashreplace")
            os._exit(0)
    until = time.monotonic() + 120
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "a hang without work"
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(ended[1])
    if code == -signal.SIGXCPU or code == -signal.SIGKILL:
        return f"more than {LIMIT_SECONDS} seconds of processor time"
    return report.read_text(encoding="utf-8") if code == 0 else f"crash: {code}"


def fuzz(count: int, seed: int = 0) -> tuple[Counter, list[dict]]:
    """Counts of (kind, verdict), and what went wrong."""
    rng = random.Random(seed)
    kinds = ("table", "sidecar's bytes", "sidecar's values", "description")
    seen: Counter = Counter()
    wrong = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        folder = Path(tempfile.mkdtemp())
        try:
            verdict = judged(folder, write_source(folder, kind, rng))
        finally:
            shutil.rmtree(folder)
        right = verdict in ("refused", "prepared")
        seen[kind, verdict if right else "wrong"] += 1
        if not right:
            wrong.append({"number": number, "kind": kind, "verdict": verdict[-1500:]})
    return seen, wrong


def main() -> int:
    """All of them; 1 when something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    seen, wrong = fuzz(options.count, options.seed)
    lines = [f"| {kind} | {verdict} | {count} |" for (kind, verdict), count in sorted(seen.items())]
    text = "\n".join(["| what was changed | outcome | files |", "|---|---|---|", *lines])
    print(text)
    for entry in wrong:
        print(json.dumps(entry))
    if options.results:
        call = f"`Testing/benchmarks/robustness_tables.py --count {options.count} --seed {options.seed}`"
        head = f"# Damaged tables and sidecars\n\nBy {call}, whose head says what is right.\n\n"
        options.results.write_text(f"{head}{text}\n\nWrong: {len(wrong)}.\n", encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
