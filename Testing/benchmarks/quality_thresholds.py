"""Where the limits of doubtful input come from: figures of good pairs and of nonsense, beside the limits in force.

python Testing/benchmarks/quality_thresholds.py --cache DIR [--pair T1W FLAIR] > .../results/quality_thresholds.md

Good pairs are 40 simulated people's raw scans and, with --pair, a real one. Nonsense is made of one person's scans.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from phantom_cases import UNSEEN_SEED  # noqa: E402

from RelAPETLib.errors import InputError  # noqa: E402
from RelAPETLib.phantom.head import make_head  # noqa: E402
from RelAPETLib.phantom.people import make_person, smooth  # noqa: E402
from RelAPETLib.phantom.scanner import scan_mri  # noqa: E402
from RelAPETLib.preprocessing import doubts, preprocess  # noqa: E402
from RelAPETLib.volumes import read_volume  # noqa: E402

PEOPLE = 40


def pair_of(index: int) -> tuple[sitk.Image, sitk.Image]:
    """Raw T1w and FLAIR of one simulated person, float32."""
    head = make_head(make_person(UNSEEN_SEED, index))
    return tuple(sitk.Cast(scan_mri(head, name).image, sitk.sitkFloat32) for name in ("T1w", "FLAIR"))


def filled(image: sitk.Image, array: np.ndarray) -> sitk.Image:
    """An image with this geometry and an array [z, y, x]."""
    out = sitk.GetImageFromArray(array.astype(np.float32))
    out.CopyInformation(image)
    return out


def sphere(image: sitk.Image) -> np.ndarray:
    shape = sitk.GetArrayViewFromImage(image).shape
    spacing = image.GetSpacing()[::-1]
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return np.where(z**2 + y**2 + x**2 < 75**2, 500.0, 0.0)


def nonsense(name: str) -> tuple[sitk.Image, sitk.Image]:
    """A pair that is not one person's T1w and FLAIR."""
    t1w, t2f = pair_of(0)
    rng = np.random.default_rng(0)
    arrays = [sitk.GetArrayFromImage(image) for image in (t1w, t2f)]
    if name == "noise":
        return tuple(filled(i, np.abs(rng.normal(0, 100, a.shape))) for i, a in zip((t1w, t2f), arrays, strict=True))
    if name == "spheres":
        return tuple(
            filled(image, sphere(image) + rng.normal(0, 5, a.shape))
            for image, a in zip((t1w, t2f), arrays, strict=True)
        )
    if name == "smooth random fields":
        return tuple(
            filled(i, 200 + 100 * smooth(rng.standard_normal(a.shape), 6) / 0.02)
            for i, a in zip((t1w, t2f), arrays, strict=True)
        )
    if name == "swapped T1w and FLAIR":
        return t2f, t1w
    if name == "another person's FLAIR":
        return t1w, pair_of(1)[1]
    if name == "the T1w twice":
        return t1w, t1w
    if name == "upside down, header unchanged":
        slab = int(np.argmax(np.abs(np.reshape(t1w.GetDirection(), (3, 3))[2])))
        return filled(t1w, np.flip(arrays[0], 2 - slab)), t2f
    if name == "a slab of 40 mm of the T1w":
        slab = int(np.argmax(np.abs(np.reshape(t1w.GetDirection(), (3, 3))[2])))
        n, keep = t1w.GetSize()[slab], int(40 / t1w.GetSpacing()[slab])
        window = [slice(None)] * 3
        window[slab] = slice(n // 2 - keep // 2, n // 2 + keep // 2)
        return t1w[tuple(window)], t2f
    if name == "inverted contrast":
        return filled(t1w, np.where(arrays[0] > 0, arrays[0].max() - arrays[0], 0)), t2f
    raise ValueError(name)


NONSENSE = (
    "noise",
    "spheres",
    "smooth random fields",
    "swapped T1w and FLAIR",
    "another person's FLAIR",
    "the T1w twice",
    "upside down, header unchanged",
    "a slab of 40 mm of the T1w",
    "inverted contrast",
)


def figures_of(arguments: tuple[str, Path, tuple[str, str] | None]) -> dict:
    """Quality figures of one pair, or why it was refused outright; kept in the cache."""
    name, cache, files = arguments
    path = cache / f"quality-{name.replace(' ', '-').replace(',', '').replace(chr(39), '')}.json"
    if path.exists():
        return json.loads(path.read_text())
    try:
        if files:
            pair = tuple(map(read_volume, files))
        elif name.startswith("person "):
            pair = pair_of(int(name.split()[1]))
        else:
            pair = nonsense(name)
        result = preprocess(*pair).quality
    except InputError as error:
        result = {"refused": str(error)}
    path.write_text(json.dumps(result))
    return result


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pair", nargs=2, metavar=("T1W", "FLAIR"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    names = [f"person {i}" for i in range(PEOPLE)] + list(NONSENSE)
    jobs = [(name, options.cache, None) for name in names]
    if options.pair:
        jobs.append(("real pair", options.cache, tuple(options.pair)))
    with ProcessPoolExecutor(2, initializer=one_thread) as pool:
        found = dict(zip([job[0] for job in jobs], pool.map(figures_of, jobs), strict=True))
    people = [found[f"person {i}"] for i in range(PEOPLE)]
    print(f"# Figures of {PEOPLE} simulated people's raw scans, a real pair and nonsense\n")
    print("| figure | people: least | median | most | real pair |\n|---|---|---|---|---|")
    for figure in sorted(people[0]):
        values = [p[figure] for p in people if figure in p]
        real = found.get("real pair", {}).get(figure)
        print(
            f"| {figure} | {min(values):.3f} | {np.median(values):.3f} | {max(values):.3f} | "
            f"{'' if real is None else f'{real:.3f}'} |"
        )
    print("\n| input | verdict | figures |\n|---|---|---|")
    wrongly = sum(bool(doubts(p)) for p in people)
    print(f"| {PEOPLE} people | {wrongly} doubted | |")
    for name in [*NONSENSE, *(["real pair"] if options.pair else [])]:
        result = found[name]
        if "refused" in result:
            print(f"| {name} | refused: {result['refused']} | |")
            continue
        verdict = "; ".join(doubts(result)) or "accepted"
        print(f"| {name} | {verdict} | {', '.join(f'{k} {v:.2f}' for k, v in sorted(result.items()))} |")


if __name__ == "__main__":
    main()
