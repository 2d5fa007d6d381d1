"""Is a reference PET of this brain? Figures of simulated people's own PET, of other people's, and of nonsense.

cd Testing/benchmarks; python reference_pet.py --cache DIR [--people 8] > results/reference_pet.md

Every PET is laid over a T1w by the library's own steps. People 0, 2, 4 ... set the limits in
Resources/quality_thresholds.json, people 1, 3, 5 ... test them. Figures are kept in DIR, one JSON file a person.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from RelAPETLib.errors import InputError  # noqa: E402
from RelAPETLib.phantom.head import make_head  # noqa: E402
from RelAPETLib.phantom.people import make_person  # noqa: E402
from RelAPETLib.phantom.scanner import scan_mri, scan_pet  # noqa: E402
from RelAPETLib.preprocessing import cautions, doubts, preprocess  # noqa: E402
from RelAPETLib.tracers import TRACERS  # noqa: E402
from RelAPETLib.volumes import read_volume, write_volume  # noqa: E402

SEED = 3000


def _scan(person: int, what: str, cache: Path) -> sitk.Image:
    """A simulated person's raw scan, kept in the cache; all of a person's scans are made together."""
    path = cache / f"scan-{person}-{what}.nii.gz"
    if not path.exists():
        head = make_head(make_person(SEED, person))
        for sequence in ("T1w", "FLAIR"):
            write_volume(scan_mri(head, sequence).image, cache / f"scan-{person}-{sequence}.nii.gz", overwrite=True)
        for tracer in TRACERS:
            write_volume(scan_pet(head, tracer).image, cache / f"scan-{person}-{tracer}.nii.gz", overwrite=True)
    return read_volume(path)


def _like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    made.CopyInformation(image)
    return made


def _scans(person: int, people: int, cache: Path) -> dict[str, sitk.Image]:
    """By kind and tracer: a person's own PET, two others', and what is no PET of a brain."""
    found = {}
    for tracer in TRACERS:
        found[f"own {tracer}"] = own = _scan(person, tracer, cache)
        for step in (1, 3):
            found[f"another person's {step} {tracer}"] = _scan((person + step) % people, tracer, cache)
    array, noise = sitk.GetArrayFromImage(own), np.random.default_rng(person)
    found["nonsense noise"] = _like(np.abs(noise.normal(1, 0.3, array.shape)), own)
    found["nonsense upside down"] = _like(array[::-1, ::-1], own)
    found["nonsense upper half"] = _like(
        np.where(np.arange(len(array))[:, None, None] > len(array) // 2, array, 0), own
    )
    return found


def examine(person: int, people: int, cache: Path) -> dict[str, dict]:
    """Figures by kind of PET, kept in the cache."""
    path = cache / f"figures-{person}.json"
    if not path.exists():
        scans, found = _scans(person, people, cache), {}
        pair = _scan(person, "T1w", cache), _scan(person, "FLAIR", cache)
        try:
            found = preprocess(*pair, pets=scans).pet_quality
        except InputError:  # one of them cannot be laid over the T1w at all: find out which
            for name, scan in scans.items():
                try:
                    found |= preprocess(*pair, pets={name: scan}).pet_quality
                except InputError as error:
                    found[name] = {"refused": str(error)}
        path.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def report(figures: list[dict[str, dict]]) -> None:
    kinds = ("own", "another person's", "nonsense")
    for title, half in (("People who set the limits", figures[::2]), ("People who test them", figures[1::2])):
        print(f"\n## {title} ({len(half)})\n")
        print(
            "| PET | n | outline: least | median | most | coverage: least | refused | warned of |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        for kind in kinds:
            rows = [row for person in half for name, row in person.items() if name.startswith(kind)]
            seen = [row for row in rows if "refused" not in row]
            outline = [row["pet_outline"] for row in seen] or [float("nan")]
            least = min((row["pet_coverage"] for row in seen), default=float("nan"))
            refused = sum("refused" in row or bool(doubts(row)) for row in rows)
            warned = sum(bool(cautions(row)) for row in seen)
            print(
                f"| {kind} | {len(rows)} | {min(outline):.3f} | {np.median(outline):.3f} | {max(outline):.3f} "
                f"| {least:.3f} | {refused} | {warned} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--people", type=int, default=8)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    figures = []
    for person in range(options.people):
        figures.append(examine(person, options.people, options.cache))
        print(person, file=sys.stderr, flush=True)
    print("# Is the reference PET of this brain?\n")
    print(f"{options.people} simulated people, three tracers; three pieces of nonsense each.")
    report(figures)


if __name__ == "__main__":
    main()
