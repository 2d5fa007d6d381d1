"""Gzip of the volumes that a synthesis writes: how the bytes are packed, and whole files by `write_volume`.

``python Testing/benchmarks/gzip_volumes.py --demo DIR [--out FILE]``, DIR being what ``relapet demo --out DIR`` wrote.
Besides its volumes there are the library's regions brought to the T1w's voxels (uint8) and their numbers as int16.
Of each way of packing: the processor's seconds, best of `REPEATS` in turns, and the file's size, beside nibabel's own
(zlib, level 1), which was used before. ISA-L is measured where the package ``isal`` is installed; RelAPET needs none.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from RelAPETLib.resources import resource
from RelAPETLib.volumes import image_affine, read_volume, write_volume
from RelAPETLib.whole_files import write_whole

REPEATS = 5
#: Bytes that are packed at once.
BLOCK = 1 << 18
BEFORE = "zlib 1"


def ways() -> dict[str, Callable]:
    """By name, what makes a packer with ``compress`` and ``flush``."""

    def plain(level: int, strategy: int = zlib.Z_DEFAULT_STRATEGY, memory: int = zlib.DEF_MEM_LEVEL) -> Callable:
        return lambda: zlib.compressobj(level, zlib.DEFLATED, 31, memory, strategy)

    found = {
        BEFORE: plain(1),
        "zlib 3": plain(3),
        "zlib 6": plain(6),
        "RLE": plain(1, zlib.Z_RLE),
        "RLE, memory 9": plain(1, zlib.Z_RLE, 9),
        "Huffman alone": plain(1, zlib.Z_HUFFMAN_ONLY),
    }
    if find_spec("isal"):
        from isal import isal_zlib

        found["ISA-L 1"] = lambda: isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        found["ISA-L 3"] = lambda: isal_zlib.compressobj(3, isal_zlib.DEFLATED, 31)
    return found


def volumes(demo: Path) -> Iterator[tuple[str, sitk.Image]]:
    """Name and image of each volume."""
    scan = read_volume(demo / "input" / "T1w.nii.gz")
    for path in [*sorted(demo.glob("*/*.nii.gz"))]:
        yield f"{path.parent.name}/{path.name.removesuffix('.nii.gz')}", sitk.ReadImage(str(path))
    regions = read_volume(resource("regions", "regions.nii.gz"))
    # By their centres: where they lie does not matter here, that they are resampled does.
    place = sitk.CenteredTransformInitializer(scan, sitk.Cast(regions, scan.GetPixelID()), sitk.Euler3DTransform())
    labels = sitk.Resample(regions, scan, place, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    yield "regions, uint8", labels
    yield "regions, int16", sitk.Cast(labels, sitk.sitkInt16)


def packed(data: bytes, way: Callable) -> tuple[float, int]:
    """Seconds of the processor and bytes."""
    began, packer = time.process_time(), way()
    size = sum(len(packer.compress(data[first : first + BLOCK])) for first in range(0, len(data), BLOCK))
    size += len(packer.flush())
    return time.process_time() - began, size


def before(image: sitk.Image, path: Path) -> None:
    """A file as `write_volume` wrote it by nibabel's own gzip."""
    array = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0))
    nifti = nib.Nifti1Image(array, image_affine(image), dtype=array.dtype)
    write_whole(path, lambda part: nib.save(nifti, part), suffix=".nii.gz")


def files(image: sitk.Image, folder: Path) -> dict[str, tuple[float, int]]:
    """Seconds of the processor and bytes of a whole file by nibabel and by `write_volume`."""
    found = {}
    for name, write in (("before", before), ("now", write_volume)):
        path = folder / f"{name}.nii.gz"
        path.unlink(missing_ok=True)
        began = time.process_time()
        write(image, path)
        found[name] = time.process_time() - began, path.stat().st_size
    return found


def best(turns: list[dict[str, tuple[float, int]]]) -> dict[str, tuple[float, int]]:
    """The smallest seconds of each name over the turns."""
    return {name: (min(turn[name][0] for turn in turns), turns[0][name][1]) for name in turns[0]}


def table(title: str, first: str, found: dict[str, dict[str, tuple[float, int]]]) -> list[str]:
    """A row a volume and one for all: seconds, and size against that of `first`."""
    names = list(next(iter(found.values())))
    total = {name: tuple(sum(row[name][k] for row in found.values()) for k in (0, 1)) for name in names}
    lines = [f"| {title} | {first} MB | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for volume, row in {**found, "**all**": total}.items():
        cells = [f"{seconds:.3f} s, {size / row[first][1]:.2f}" for seconds, size in (row[name] for name in names)]
        lines.append(f"| {volume} | {row[first][1] / 1e6:.2f} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, help="folder that 'relapet demo' wrote")
    parser.add_argument("--out", type=Path, help="write the tables to this file, below what stands above its first ##")
    options = parser.parse_args()
    packing, whole = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, image in volumes(options.demo):
            data = sitk.GetArrayViewFromImage(image).tobytes()
            made = ways()
            packing[name] = best([{way: packed(data, made[way]) for way in made} for _ in range(REPEATS)])
            whole[name] = best([files(image, Path(folder)) for _ in range(REPEATS)])
            print(name, packing[name], whole[name], flush=True)
    text = "\n".join([
        f"## {date.today()}, zlib {zlib.ZLIB_RUNTIME_VERSION}, {os.cpu_count()} cores",
        "",
        f"Seconds of the processor (best of {REPEATS}), size against `{BEFORE}`.",
        "",
        *table("packing", BEFORE, packing),
        "",
        "Whole files, `before` packed by nibabel, `now` by `write_volume`; both are synced to the disk and renamed.",
        "",
        *table("file", "before", whole),
        "",
    ])  # fmt: skip
    print(text)
    if options.out:
        head = options.out.read_text().partition("## ")[0] if options.out.exists() else ""
        options.out.write_text(head + text)


if __name__ == "__main__":
    main()
