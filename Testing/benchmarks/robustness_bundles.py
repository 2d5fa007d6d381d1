"""Mutated bundles, zip archives and checkpoints: each is taken or refused in one line, and nothing else happens.

OMP_NUM_THREADS=1 .venv/bin/python Testing/benchmarks/robustness_bundles.py > robustness_bundles.md

Half of the bundles are forged so that their hashes fit again, as somebody would who knows how they are made. Every case
goes through importing, verifying and listing in a process of its own, which may take 5 s of processor time and 4 GiB of
memory more than it begins with.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing" / "support"), str(ROOT / "Testing"), str(ROOT)]

CPU_SECONDS, WALL_SECONDS, MEMORY = 5, 120, 4 * 1024**3
FILES = ("configs/metadata.json", "configs/inference.json", "model.safetensors", "LICENSE")
#: Values that stand anywhere in forged metadata; the last ones as raw JSON text, which json.dumps would not write.
VALUES = [
    None, True, -1, 0, 1, 7, 10**9, 2**62, 1e308, -0.5, "", "x", "$x", "x" * 20_000, "\u202e\x1b[2J", "\ud800", [], {},
    [8, 16, 32], [0, 0, 0], [-8, 8, 8], [10**6] * 3, [1] * 64, {"a": {"b": 1}},
]  # fmt: skip
RAW = ["1e999", "-1e999", "NaN", "1" + "0" * 5000, "1" + "0" * 300, "[" * 100_000 + "]" * 100_000, '{"a":' * 500 + "1"]


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """A few bits, a stretch or an end of a file changed."""
    data = bytearray(content)
    at = draw.randrange(len(data)) if data else 0
    how = draw.randrange(6)
    if how == 0:
        for _ in range(draw.choice((1, 1, 3, 20))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif how == 1:
        del data[at:]
    elif how == 2:
        data[at : at + draw.choice((4, 64, 4096))] = bytes(draw.choice((4, 64, 4096)))
    elif how == 3:
        data[at:at] = draw.randbytes(draw.choice((1, 16, 1000)))
    elif how == 4:
        data[at : at + 8] = struct.pack("<Q", draw.choice((0, 1, 2**31, 2**63, 2**64 - 1)))
    else:
        del data[at : at + draw.choice((1, 8, 500))]
    return bytes(data)


def mutate_metadata(metadata: dict, draw: random.Random) -> str:
    """JSON text of metadata in which one or two values are others, or are gone."""
    changed, raw = copy.deepcopy(metadata), None
    for _ in range(draw.choice((1, 1, 2))):
        holder = changed["method"]["settings"]["network"]["arguments"] if draw.random() < 0.4 else changed
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(holder[key], (dict, list)) and holder[key] and draw.random() < 0.7:
                holder = holder[key]
                continue
            if draw.random() < 0.15:
                del holder[key]
            elif draw.random() < 0.2:
                raw, holder[key] = draw.choice(RAW), "<raw>"
            else:
                holder[key] = copy.deepcopy(draw.choice(VALUES))
            break
    return json.dumps(changed).replace('"<raw>"', raw or "0")


def forge_folder(folder: Path, draw: random.Random) -> None:
    """Metadata changed, and every hash made to fit where the text is JSON that can be hashed."""
    from RelAPETLib.models.metadata import fingerprint
    from RelAPETLib.volumes import file_sha256

    path, weights = folder / FILES[0], folder / FILES[2]
    text = mutate_metadata(json.loads(path.read_text(encoding="utf-8")), draw)
    try:
        metadata = json.loads(text)
        length = struct.unpack("<Q", weights.read_bytes()[:8])[0]
        content = weights.read_bytes()
        header = json.loads(content[8 : 8 + length])
        header["__metadata__"]["metadata_sha256"] = fingerprint(metadata)
        packed = json.dumps(header).encode()
        weights.write_bytes(struct.pack("<Q", len(packed)) + packed + content[8 + length :])
        old, new = metadata["weights"]["sha256"], file_sha256(weights)
        text = text.replace(old, new)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # as it is: it must be refused before hashes count
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


def forge_weights(folder: Path, draw: random.Random) -> None:
    """Weights damaged, and their hash in the metadata made to fit."""
    from RelAPETLib.volumes import file_sha256

    path, weights = folder / FILES[0], folder / FILES[2]
    content = weights.read_bytes()
    start = draw.choice((64, 2000, len(content)))
    weights.write_bytes(mutate_bytes(content[:start], draw) + content[start:])
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["weights"]["sha256"] = file_sha256(weights)
    path.write_text(json.dumps(metadata), encoding="utf-8")


def odd_files(folder: Path, draw: random.Random) -> None:
    """One file of the bundle replaced by something that is no plain file of its size."""
    path = folder / draw.choice((*FILES, "LICENSE", "configs"))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    how = draw.randrange(6)
    if how == 0:
        path.symlink_to("/etc/hostname")
    elif how == 1:
        path.symlink_to(path)
    elif how == 2:
        os.mkfifo(path)
    elif how == 3:
        path.mkdir()
    elif how == 4:
        with open(path, "wb") as stream:
            stream.truncate(2**31 + 1)
    # else it is missing


def pack(folder: Path, file: Path, draw: random.Random) -> None:
    with zipfile.ZipFile(file, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name in FILES:
            if (folder / name).is_file():
                archive.write(folder / name, name)


def odd_zip(file: Path, draw: random.Random) -> None:
    """An archive whose headers or bytes are changed."""
    content = bytearray(file.read_bytes())
    how, central = draw.randrange(5), content.rfind(b"PK\x01\x02")
    if how == 0:
        content[central + 6 : central + 8] = struct.pack("<H", draw.choice((101, 63, 255, 65535)))  # version needed
    elif how == 1:
        content[central + 8] |= draw.choice((1, 0x20, 0x40))  # encrypted, patched
    elif how == 2:
        content[central + 10 : central + 12] = struct.pack("<H", draw.choice((1, 9, 12, 14, 98, 99)))  # compression
    elif how == 3:
        content[central + 20 : central + 28] = draw.randbytes(8)  # sizes
    else:
        content = bytearray(mutate_bytes(bytes(content), draw))
    file.write_bytes(content)


def odd_checkpoint(file: Path, draw: random.Random) -> None:
    """A PyTorch file that is damaged, or holds what a checkpoint does not."""
    import torch

    contents = [
        {"model_state_dict": {"a": torch.zeros(1).expand(2**40)}, "epoch": 1},
        {"model_state_dict": {str(i): torch.zeros(2**20).view(2**10, 2**10) for i in range(2)}, "epoch": 1},
        {"model_state_dict": {"a": torch.zeros(2, 2).to_sparse()}, "epoch": 1},
        {"model_state_dict": {"a": torch.zeros(2, device="meta")}, "epoch": 1},
        {"model_state_dict": {1: torch.zeros(2)}, "epoch": 1},
        {"model_state_dict": {"a\x1b[2J\n": torch.full((2,), float("nan"))}, "epoch": 1},
        {"model_state_dict": {"module.a": torch.zeros(2)}, "epoch": 1},
        {"model_state_dict": [], "epoch": True},
        {"model_state_dict": {}, "epoch": 10**5000},
        {"a": torch.zeros(3)},
        torch.zeros(3),
        [[[[]]]],
    ]
    stream = io.BytesIO()
    torch.save(draw.choice(contents), stream, _use_new_zipfile_serialization=draw.random() < 0.7)
    content = stream.getvalue()
    if draw.random() < 0.6:
        content = mutate_bytes(content, draw)
    elif draw.random() < 0.1:
        content = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    file.write_bytes(content)


def make_case(bundle: Path, folder: Path, draw: random.Random) -> tuple[str, Path]:
    """One mutated model: its kind, and its file or folder."""
    kind = draw.choice(("forged metadata", "forged weights", "damaged bundle", "odd files", "zip", "forged zip", "pt"))
    path = folder / "model"
    if kind == "pt":
        odd_checkpoint(folder / "model.pt", draw)
        return kind, folder / "model.pt"
    shutil.copytree(bundle, path)
    (path / "LICENSE").write_text("words")
    if kind in ("forged metadata", "forged zip"):
        forge_folder(path, draw)
    elif kind == "forged weights":
        forge_weights(path, draw)
    elif kind == "damaged bundle":
        victim = path / draw.choice(FILES)
        victim.write_bytes(mutate_bytes(victim.read_bytes(), draw))
    elif kind == "odd files":
        odd_files(path, draw)
    if kind.endswith("zip"):
        pack(path, folder / "model.zip", draw)
        if kind == "zip":
            odd_zip(folder / "model.zip", draw)
        return kind, folder / "model.zip"
    return kind, path


def use(path: Path, folder: Path) -> str:
    """Import, verify and list one model; "taken", "refused", or what went wrong."""
    from RelAPETLib.errors import RelAPETError
    from RelAPETLib.models import import_model, list_models, verify
    from RelAPETLib.notices import listening

    ends = []
    for work in (lambda: import_model(path, folder / "out"), lambda: verify(path), lambda: list_models()):
        try:
            with listening(lambda message: None):
                work()
            ends.append("taken")
        except RelAPETError as error:
            ends.append("refused")
            if "\n" in str(error) or len(str(error)) > 1000 or ".relapet/" in str(error):
                return f"message: {str(error)[:300]!r}"
        except BaseException as error:
            return f"unexpected {type(error).__name__}: {str(error)[:200]!r}"
    left = [name for name in os.listdir(folder) if name.endswith((".relapet", ".part"))]
    return f"left behind {left}" if left else ends[0]


def in_child(path: Path, folder: Path) -> str:
    """`use` in a forked process with limits."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            os.write(writer, use(path, folder).encode("utf-8", "backslashreplace"))
        finally:
            os._exit(0)
    os.close(writer)
    end = time.monotonic() + WALL_SECONDS
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return "hang"
        time.sleep(0.002)
    with open(reader, "rb") as stream:
        told = stream.read().decode()
    code = os.waitstatus_to_exitcode(done[1])
    return told or f"died with {code}"


def fuzz(bundle: Path, folder: Path, cases: int, seed: int, minutes: float = 1e6) -> tuple[Counter, list[str]]:
    """Counts by kind and end, and a line for each case that went wrong; ends early when the time is over."""
    end = time.monotonic() + 60 * minutes
    import torch

    torch.set_num_threads(1)
    counts, wrong = Counter(), []
    for number in range(cases):
        if time.monotonic() > end:
            break
        draw = random.Random(f"{seed} {number}")
        place = folder / str(number)
        place.mkdir()
        kind, path = make_case(bundle, place, draw)
        (place / "home").mkdir()
        os.environ["RELAPET_HOME"] = str(place / "home")
        if path.is_dir():
            (place / "home" / "models").mkdir()
            (place / "home" / "models" / "mine").symlink_to(path, target_is_directory=True)
        came = in_child(path, place)
        counts[kind, came if came in ("taken", "refused") else "WRONG"] += 1
        if came not in ("taken", "refused"):
            wrong.append(f"case {number} ({kind}): {came}")
        shutil.rmtree(place)
    return counts, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the import, verification and listing of models.")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after this time")
    arguments = parser.parse_args()
    from cases import write_tiny_latent

    with tempfile.TemporaryDirectory() as name:
        bundle = write_tiny_latent(Path(name) / "bundle")
        counts, wrong = fuzz(bundle, Path(name), arguments.cases, arguments.seed, arguments.minutes)
    print("# Mutated models\n\n" + " ".join((__doc__ or "").split("\n\n", 2)[2].split()))
    print(
        f"\n{sum(counts.values())} cases, seed {arguments.seed}.\n\n| kind | refused | taken | wrong |\n"
        "|---|---|---|---|"
    )
    for kind in sorted({kind for kind, _ in counts}):
        print(f"| {kind} | {counts[kind, 'refused']} | {counts[kind, 'taken']} | {counts[kind, 'WRONG']} |")
    print("\nWrong: " + ("none." if not wrong else ""))
    print("\n".join(f"- {line}" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
