"""The quality figures of brains and of nonsense, and whether ``Resources/quality_thresholds.json`` parts them.

cd Testing/benchmarks; python quality_thresholds.py --cache DIR [--phantoms 40] > results/quality_thresholds.md

Brains are the real pair (RELAPET_SHARED or ../shared), and simulated people through raw files. Nonsense is made of the
real pair and of one simulated person. Figures are kept in DIR, one JSON file a case, so the run can be continued; they
are also written to results/quality_figures.json, against which a test holds the thresholds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.errors import InputError  # noqa: E402
from RelAPETLib.preprocessing import doubts, preprocess  # noqa: E402
from RelAPETLib.volumes import canonical, check_volume, read_volume, write_volume  # noqa: E402

SEED = 2000
Pair = tuple[sitk.Image, sitk.Image]


def phantom_pair(index: int, cache: Path) -> Pair:
    """A simulated person's T1w and FLAIR, through raw files."""
    from RelAPETLib.phantom.head import make_head
    from RelAPETLib.phantom.people import make_person
    from RelAPETLib.phantom.scanner import scan_mri

    paths = [cache / f"phantom-{index:02d}-{name}.nii.gz" for name in ("T1w", "FLAIR")]
    if not all(path.exists() for path in paths):
        head = make_head(make_person(SEED, index))
        for path, sequence in zip(paths, ("T1w", "FLAIR"), strict=True):
            write_volume(scan_mri(head, sequence).image, path, overwrite=True)
    return read_volume(paths[0]), read_volume(paths[1])


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(array.astype(np.float32))
    made.CopyInformation(image)
    return made


def _noise(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    return _like(np.abs(rng.normal(100, 30, image.GetSize()[::-1])), image)


def _sphere(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    points = [np.linspace(-1, 1, n) * n * s for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    z, y, x = np.meshgrid(*points[::-1], indexing="ij")
    inside = np.sqrt(x**2 + y**2 + z**2) / 2 < 75
    return _like(inside * 200 + rng.normal(0, 5, inside.shape), image)


def _random_field(image: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    smooth = sitk.SmoothingRecursiveGaussian(_like(rng.normal(size=image.GetSize()[::-1]), image), 8.0)
    array = sitk.GetArrayFromImage(smooth)
    ball = sitk.GetArrayFromImage(_sphere(image, rng)) > 100
    return _like((100 + 60 * array / array.std()).clip(5) * ball + np.abs(rng.normal(0, 3, ball.shape)), image)


def _inverted(image: sitk.Image) -> sitk.Image:
    """Bright where the head was dark, but for the air."""
    array = sitk.GetArrayFromImage(image)
    head = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1, 200)) > 0
    return _like(np.where(head, np.percentile(array[head], 99.9) - array, array).clip(0), image)


def _upside_down(image: sitk.Image) -> sitk.Image:
    """The voxels of a head standing on its vertex, under a header that says it stands upright."""
    upright = canonical(image)
    return _like(sitk.GetArrayFromImage(upright)[::-1, ::-1], upright)


def _half(image: sitk.Image) -> sitk.Image:
    """The upper or lower part of the head only: 85 mm along the body's axis, from the lower end."""
    image = canonical(image)
    slices = max(10, int(np.ceil(85 / image.GetSpacing()[2])))
    return image[:, :, :slices]


def _right_half(image: sitk.Image) -> sitk.Image:
    image = canonical(image)
    return image[: max(10, int(np.ceil(0.42 * image.GetSize()[0]))), :, :]


def _scaled(image: sitk.Image) -> sitk.Image:
    return sitk.Cast(image, sitk.sitkFloat32) * 0.5 + 3.0


def nonsense(pair: Pair, other: Pair, rng: np.random.Generator) -> dict[str, Callable[[], Pair]]:
    """By name, pairs that must be doubted, made of a good pair and another person's."""
    t1w, t2f = pair
    return {
        "both noise": lambda: (_noise(t1w, rng), _noise(t2f, rng)),
        "T2F noise": lambda: (t1w, _noise(t2f, rng)),
        "both a sphere": lambda: (_sphere(t1w, rng), _sphere(t2f, rng)),
        "smooth random fields": lambda: (_random_field(t1w, rng), _random_field(t2f, rng)),
        "swapped": lambda: (t2f, t1w),
        "same scan twice, rescaled": lambda: (t1w, _scaled(t1w)),
        "two FLAIRs": lambda: (t2f, _scaled(t2f)),
        "another person's FLAIR": lambda: (t1w, other[1]),
        "upside down": lambda: (_upside_down(t1w), _upside_down(t2f)),
        "lower half": lambda: (_half(t1w), _half(t2f)),
        "right half": lambda: (_right_half(t1w), _right_half(t2f)),
        "inverted contrast": lambda: (_inverted(t1w), t2f),
    }


def examine(name: str, make: Callable[[], Pair], cache: Path) -> dict:
    """Figures of a pair, or the refusal, kept in the cache."""
    path = cache / f"{name.replace(' ', '_').replace(',', '').replace(chr(39), '')}.json"
    if not path.exists():
        try:
            t1w, t2f = make()
            for image, role in ((t1w, "T1w"), (t2f, "T2F")):
                check_volume(image, role)
            ready = preprocess(t1w, t2f)
            result = {"method": ready.method, "quality": ready.quality}
        except InputError as error:
            result = {"refused": str(error)}
        path.write_text(json.dumps(result), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def collect(cache: Path, phantoms: int, shared: Path) -> tuple[dict[str, dict], dict[str, dict]]:
    """Figures of brains and of nonsense, by name."""
    folder = shared / "data" / "open_ms"
    real = tuple(read_volume(folder / f"patient01_study1_{n}.nii.gz") for n in ("T1W", "FLAIR"))
    brains = {"real pair": examine("real pair", lambda: real, cache)}
    for index in range(phantoms):
        name = f"phantom {index:02d}"
        brains[name] = examine(name, lambda index=index: phantom_pair(index, cache), cache)
        print(name, brains[name].get("refused", ""), file=sys.stderr, flush=True)
    bases = {"real": (real, phantom_pair(1, cache)), "phantom": (phantom_pair(0, cache), phantom_pair(1, cache))}
    wrong = {}
    for base, (pair, other) in bases.items():
        for kind, make in nonsense(pair, other, np.random.default_rng(SEED)).items():
            name = f"{kind} ({base})"
            wrong[name] = examine(name, make, cache)
            print(name, wrong[name].get("refused", ""), file=sys.stderr, flush=True)
    return brains, wrong


def report(brains: dict[str, dict], wrong: dict[str, dict]) -> None:
    figures = sorted({f for case in brains.values() for f in case.get("quality", {})})
    print("# Quality figures of brains and of nonsense\n")
    print(f"{len(brains)} brains (the real pair and simulated people), {len(wrong)} pairs of nonsense.\n")
    print("| figure | real pair | phantoms: least | median | most |\n|---|---|---|---|---|")
    for figure in figures:
        values = [
            c["quality"][figure] for n, c in brains.items() if n != "real pair" and figure in c.get("quality", {})
        ]
        own = brains["real pair"]["quality"].get(figure, float("nan"))
        print(f"| {figure} | {own:.3f} | {min(values):.3f} | {np.median(values):.3f} | {max(values):.3f} |")
    lost = {name: doubts(case["quality"]) for name, case in brains.items() if "quality" in case}
    print(f"\nBrains doubted: {[name for name, lines in lost.items() if lines] or 'none'}. ")
    print(f"Brains refused: {[name for name, case in brains.items() if 'refused' in case] or 'none'}.\n")
    shown = [f for f in figures if f not in ("grey_dice", "white_dice", "folds_percent", "sd_log_jacobian")]
    print(f"| nonsense | {' | '.join(shown)} | doubted for |\n|---|{'---|' * len(shown)}---|")
    for name, case in wrong.items():
        if "refused" in case:
            print(f"| {name} |{' |' * len(shown)} refused: {case['refused']} |")
            continue
        values = " | ".join(f"{case['quality'].get(f, float('nan')):.3f}" for f in shown)
        found = "; ".join(line.split("(")[-1].split(" ")[0] for line in doubts(case["quality"])) or "**nothing**"
        print(f"| {name} | {values} | {found} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--phantoms", type=int, default=40)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("RELAPET_SHARED", ROOT.parent / "shared")))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    brains, wrong = collect(options.cache, options.phantoms, options.shared)
    out = Path(__file__).with_name("results") / "quality_figures.json"
    rounded = {
        kind: {
            name: {"refused": case["refused"]}
            if "refused" in case
            else {figure: round(value, 4) for figure, value in case["quality"].items()}
            for name, case in cases.items()
        }
        for kind, cases in (("brains", brains), ("nonsense", wrong))
    }
    out.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    report(brains, wrong)


if __name__ == "__main__":
    main()
