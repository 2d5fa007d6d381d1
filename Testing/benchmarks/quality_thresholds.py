"""The quality figures of brains, of two people's scans and of nonsense, and how well the limits part them.

cd Testing/benchmarks; python quality_thresholds.py --real DIR --cache DIR [--part 0/1] > results/quality_thresholds.md

DIR of the real scans holds PERSON_STUDY_T1W.nii.gz and PERSON_STUDY_FLAIR.nii.gz (muschellij2/open_ms_data, CC-BY:
longitudinal/raw/patientPP/studyS_* as pPP_sS_*). They are used as they are and degraded (see `DEGRADE`); simulated
people are made here. Pairs of two people and nonsense are made of both. The figures of each pair are kept in the cache,
one JSON file each, so the run can be continued and split over processes (--part 0/3, 1/3, 2/3, which print no table).

Half of the people calibrate, the other half tests; the rule stands in `half`. Pairs with one person of each half are
shown apart. Figures go to results/quality_figures.json, against which a test holds the limits.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.errors import InputError  # noqa: E402
from RelAPETLib.preprocessing import doubts, preprocess  # noqa: E402
from RelAPETLib.registration.brain_extraction import extract_brain  # noqa: E402
from RelAPETLib.volumes import canonical, check_volume, read_volume, write_volume  # noqa: E402

SEED = 2000
PHANTOMS = 16
RESULTS = Path(__file__).with_name("results")
#: A pair's name is "T1 scan=T2 scan". A scan's is "person_study", "person_study+degradation", "...!nonsense", or
#: "...~T1w" / "...~T2F" for the other role's scan.
Key = tuple[str, str]


def _rng(key: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(key.encode()))


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(array.astype(np.float32))
    made.CopyInformation(image)
    return made


# Degradations: image, generator, role -> image.


def _half_the_slices(image, rng, role):
    steps = [slice(None)] * 3
    steps[int(np.argmax(image.GetSpacing()))] = slice(None, None, 2)
    return image[tuple(steps)]


def _coarse(image: sitk.Image, spacing: tuple[float, float, float]) -> sitk.Image:
    """A scan on larger voxels, each about the mean of what it covers."""
    image = canonical(sitk.Cast(image, sitk.sitkFloat32))
    old = np.asarray(image.GetSpacing())
    new = np.maximum(spacing, old * 0.999)
    for axis in range(3):
        variance = (0.5 * new[axis]) ** 2 - (0.5 * old[axis]) ** 2
        if variance > 1e-6:
            image = sitk.RecursiveGaussian(image, float(np.sqrt(variance)), direction=axis)
    size = [int(max(4, np.floor(n * o / m))) for n, o, m in zip(image.GetSize(), old, new, strict=True)]
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), new.tolist(), image.GetDirection(), 0.0,
        sitk.sitkFloat32,
    )  # fmt: skip


def _noisy(image: sitk.Image, rng: np.random.Generator, share: float) -> sitk.Image:
    """Rician noise whose SD is a share of the 99th percentile."""
    array = sitk.GetArrayFromImage(image)
    sd = share * np.percentile(array, 99)
    return _like(np.hypot(array + rng.normal(0, sd, array.shape), rng.normal(0, sd, array.shape)), image)


def _thick(image, rng, role):
    return _noisy(_coarse(image, (1.6, 1.6, 5.0)), rng, 0.03)


def _stripped(image, rng, role):
    return sitk.Cast(image, sitk.sitkFloat32) * sitk.Cast(extract_brain(image).mask, sitk.sitkFloat32)


def _contrast(image, rng, role):
    array = sitk.GetArrayFromImage(image).astype(float)
    scaled = np.clip(array, 0, None) / np.percentile(array, 99.8)
    return _like(1000 * scaled ** (1.6 if role == "T1w" else 0.6), image)


def _low_field(image, rng, role):
    """Larger voxels, blur, less contrast, shading, noise."""
    image = sitk.SmoothingRecursiveGaussian(_coarse(image, (2.0, 2.0, 5.0)), 0.8)
    array = sitk.GetArrayFromImage(image).astype(float)
    array = (np.clip(array, 0, None) / np.percentile(array, 99.5)) ** 0.7
    shading = np.exp(0.4 * np.linspace(-1, 1, array.shape[1]))[None, :, None]
    return _noisy(_like(1000 * array * shading, image), rng, 0.06)


DEGRADE = {
    "half": _half_the_slices, "thick": _thick, "stripped": _stripped, "contrast": _contrast, "low": _low_field,
}  # fmt: skip

# Nonsense: image, generator -> image.


def _noise(image, rng):
    return _like(np.abs(rng.normal(100, 30, image.GetSize()[::-1])), image)


def _sphere(image, rng):
    points = [np.linspace(-1, 1, n) * n * s for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    z, y, x = np.meshgrid(*points[::-1], indexing="ij")
    inside = np.sqrt(x**2 + y**2 + z**2) / 2 < 75
    return _like(inside * 200 + rng.normal(0, 5, inside.shape), image)


def _random_field(image, rng):
    smooth = sitk.SmoothingRecursiveGaussian(_like(rng.normal(size=image.GetSize()[::-1]), image), 8.0)
    array = sitk.GetArrayFromImage(smooth)
    ball = sitk.GetArrayFromImage(_sphere(image, rng)) > 100
    return _like((100 + 60 * array / array.std()).clip(5) * ball + np.abs(rng.normal(0, 3, ball.shape)), image)


def _inverted(image, rng):
    """Bright where the head was dark, but for the air."""
    array = sitk.GetArrayFromImage(image)
    head = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1, 200)) > 0
    return _like(np.where(head, np.percentile(array[head], 99.9) - array, array).clip(0), image)


def _upside_down(image, rng):
    """The voxels of a head standing on its vertex, under a header that says it stands upright."""
    upright_image = canonical(image)
    return _like(sitk.GetArrayFromImage(upright_image)[::-1, ::-1], upright_image)


def _lower_part(image, rng):
    """85 mm along the body's axis, from the lower end."""
    image = canonical(image)
    return image[:, :, : max(10, int(np.ceil(85 / image.GetSpacing()[2])))]


def _right_part(image, rng):
    image = canonical(image)
    return image[: max(10, int(np.ceil(0.42 * image.GetSize()[0]))), :, :]


def _rescaled(image, rng):
    return sitk.Cast(image, sitk.sitkFloat32) * 0.5 + 3.0


WRONG = {
    "noise": _noise, "sphere": _sphere, "field": _random_field, "inv": _inverted, "up": _upside_down,
    "lower": _lower_part, "right": _right_part, "scaled": _rescaled,
}  # fmt: skip


class Scans:
    """Volumes by name; simulated ones are made at the first call and kept in the cache."""

    def __init__(self, real: Path, cache: Path):
        self.real, self.cache = real, cache

    def __call__(self, name: str, role: str) -> sitk.Image:
        base, _, wrong = name.partition("!")
        who, _, other = base.partition("~")
        study, _, how = who.partition("+")
        image = self._source(study, other or role)
        if how:
            image = DEGRADE[how](image, _rng(name + (other or role)), other or role)
        return WRONG[wrong](image, _rng(name + role)) if wrong else image

    def _source(self, study: str, role: str) -> sitk.Image:
        if not study.startswith("ph"):
            return read_volume(self.real / f"{study}_{'T1W' if role == 'T1w' else 'FLAIR'}.nii.gz")
        sequence = "T1w" if role == "T1w" else "FLAIR"
        path = self.cache / f"phantom-{study[2:]}-{sequence}.nii.gz"
        if not path.exists():
            from RelAPETLib.phantom.head import make_head
            from RelAPETLib.phantom.people import make_person
            from RelAPETLib.phantom.scanner import scan_mri

            write_volume(scan_mri(make_head(make_person(SEED, int(study[2:]))), sequence).image, path, overwrite=True)
        return read_volume(path)


def person(scan: str) -> str:
    """Who is in a scan: studies and degradations of one person have one name."""
    return scan.partition("!")[0].partition("~")[0].partition("+")[0].partition("_")[0]


def kind(pair: Key) -> str:
    if any(mark in scan for scan in pair for mark in "!~"):
        return "nonsense"
    return "one person" if person(pair[0]) == person(pair[1]) else "two people"


def half(pair: Key, people: list[str]) -> str:
    """Which half a pair belongs to: every second person in sorted order calibrates, real and simulated apart."""
    real = sorted(p for p in people if not p.startswith("ph"))
    made = sorted(p for p in people if p.startswith("ph"))
    calibrate = {*real[::2], *made[::2]}
    sides = {person(scan) in calibrate for scan in pair}
    return "mixed" if len(sides) == 2 else "calibration" if sides == {True} else "test"


def pairs(studies: list[str]) -> list[Key]:
    """All pairs, the most telling first, so that a run cut short has some of each."""
    rng = random.Random(7)
    first = list({person(study): study for study in reversed(studies)}.values())[::-1]
    made = [f"ph{i:02d}" for i in range(PHANTOMS)]
    hows = ["thick", "low", "half", "stripped", "contrast"]
    two = [(a, b) for a in studies for b in first if person(a) != person(b)]
    degraded = [(f"{w}+{hows[(i + j) % 5]}",) * 2 for i in range(5) for j, w in enumerate(first)]
    two_degraded = [(f"{a}+{h}", f"{b}+{h}") for h in hows for a in first for b in first if a != b]
    two_made = [(made[i], made[(i + k) % PHANTOMS]) for k in (1, 5) for i in range(PHANTOMS)]
    for group in (two, two_degraded, two_made):
        rng.shuffle(group)
    groups = [
        degraded,
        [(m, m) for m in made],
        nonsense(studies[0]) + nonsense(made[0]),
        two[12:],
        two_degraded,
        two_made,
    ]
    mixed = [group[i] for i in range(max(map(len, groups))) for group in groups if i < len(group)]
    return [*((s, s) for s in studies), *two[:12], *mixed]


def nonsense(study: str) -> list[Key]:
    """Pairs that must be doubted, made of one good pair."""
    both = [(f"{study}!{wrong}",) * 2 for wrong in ("noise", "sphere", "field", "up", "lower", "right")]
    return [
        *both,
        (study, f"{study}!noise"),
        (f"{study}~T2F", f"{study}~T1w"),
        (study, f"{study}~T1w!scaled"),
        (f"{study}~T2F", f"{study}!scaled"),
        (f"{study}!inv", study),
    ]


class Measure:
    """Figures of pairs by the product's own steps."""

    def __init__(self, scans: Scans):
        self.scans = scans

    def __call__(self, pair: Key) -> dict:
        images = [self.scans(name, role) for name, role in zip(pair, ("T1w", "T2F"), strict=True)]
        try:
            for image, role in zip(images, ("T1w", "T2F"), strict=True):
                check_volume(image, role)
            ready = preprocess(*images)
        except InputError as error:
            return {"refused": str(error)}
        return {"method": ready.method, "quality": ready.quality}


def interval(hits: int, count: int) -> str:
    """Share with its Wilson interval of 95 %."""
    if not count:
        return "-"
    z = 1.96
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    low, high = 100 * max(0.0, middle - width), 100 * min(1.0, middle + width)
    return f"{hits} of {count}, {100 * share:.0f} % ({low:.0f} to {high:.0f})"


def doubted(case: dict) -> bool:
    return "refused" in case or bool(doubts(case["quality"]))


def report(found: dict[Key, dict], people: list[str]) -> None:
    groups: dict[tuple[str, str], list[Key]] = {}
    for pair in found:
        groups.setdefault((kind(pair), half(pair, people)), []).append(pair)
    print("# Quality figures of brains, of two people's scans and of nonsense\n")
    print(f"Made by `python quality_thresholds.py` on {date.today()}. Pairs doubted (95 % Wilson interval):\n")
    print("| pairs | half | doubted |\n|---|---|---|")
    for (what, side), members in sorted(groups.items()):
        print(f"| {what} | {side} | {interval(sum(doubted(found[p]) for p in members), len(members))} |")
    same = [p for p in found if kind(p) == "one person" and "quality" in found[p]]
    names = sorted({name for p in same for name in found[p]["quality"]})
    print("\n| figure | real pairs: least | median | most | degraded: least | most | simulated: least | most |")
    print("|---|---|---|---|---|---|---|---|")
    sets = (
        [p for p in same if "+" not in p[0] and not p[0].startswith("ph")],
        [p for p in same if "+" in p[0]],
        [p for p in same if p[0].startswith("ph")],
    )
    for name in names:
        cells = []
        for number, members in enumerate(sets):
            values = [found[p]["quality"][name] for p in members if name in found[p]["quality"]]
            marks = [min(values), np.median(values), max(values)] if values else [float("nan")] * 3
            cells += [f"{m:.3f}" for m in (marks if number == 0 else marks[::2])]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| pair | pair_sharpness | pair_mutual_information | doubted for |\n|---|---|---|---|")
    for what in ("one person", "two people", "nonsense"):
        for pair in sorted(p for p in found if kind(p) == what):
            case = found[pair]
            if "refused" in case:
                print(f"| {'='.join(pair)} | | | refused: {case['refused']} |")
                continue
            lines = ", ".join(line.split("(")[-1].split(" ")[0] for line in doubts(case["quality"])) or "-"
            values = [case["quality"].get(n, float("nan")) for n in ("pair_sharpness", "pair_mutual_information")]
            print(f"| {'='.join(pair)} | {values[0]:.2f} | {values[1]:.3f} | {lines} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--part", default="0/1", help="this process's share, e.g. 1/3; prints no table unless 0/1")
    parser.add_argument("--kept", action="store_true", help="only what the cache has already")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, options.part.split("/"))
    studies = sorted(p.name.removesuffix("_T1W.nii.gz") for p in options.real.glob("*_T1W.nii.gz"))
    people = [*{person(s) for s in studies}, *(f"ph{i:02d}" for i in range(PHANTOMS))]
    measure, found = Measure(Scans(options.real, options.cache)), {}
    wanted = pairs(studies)
    if options.kept:
        wanted = [
            tuple(p.name.removesuffix(".figures.json").split("="))
            for p in sorted(options.cache.glob("*=*.figures.json"))
        ]
    for pair in wanted:
        path = options.cache / f"{'='.join(pair)}.figures.json"
        if not path.exists():
            if zlib.crc32(pair[0].encode()) % parts != part:
                continue
            path.write_text(json.dumps(measure(pair)), encoding="utf-8")
            print("=".join(pair), file=sys.stderr, flush=True)
        found[pair] = json.loads(path.read_text(encoding="utf-8"))
    if parts > 1:
        return
    rounded = {
        "=".join(pair): {"kind": kind(pair), "half": half(pair, people)}
        | (
            {"refused": c["refused"]}
            if "refused" in c
            else {"quality": {n: round(v, 4) for n, v in c["quality"].items()}}
        )
        for pair, c in sorted(found.items())
    }
    (RESULTS / "quality_figures.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    report(found, people)


if __name__ == "__main__":
    main()
