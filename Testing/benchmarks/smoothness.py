"""How smooth MRI and PET are, and the limit that tells a PET which was given as an MRI.

cd Testing/benchmarks; python smoothness.py --real DIR --simulated DIR --pbr28 DIR > results/smoothness.md

--real: PERSON_STUDY_T1W.nii.gz and PERSON_STUDY_FLAIR.nii.gz (see quality_thresholds.py), as they are and degraded.
--simulated: a BIDS data set of `relapet phantom`, whose MRI and PET are both looked at. --pbr28: real PET of 14 people.
Besides, the MRI of `NUMBERED` and `SMOOTHEST` simulated people are made here. Every second person of each source
calibrates, and all of `SMOOTHEST`; the limit is the geometric mean of their smoothest MRI and sharpest PET. The others
test it. Figures are kept in results/smoothness.json, against which a test holds the limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "benchmarks")]

from quality_thresholds import DEGRADE, RESULTS, _rng  # noqa: E402

from RelAPETLib.phantom.head import make_head  # noqa: E402
from RelAPETLib.phantom.people import make_person  # noqa: E402
from RelAPETLib.phantom.scanner import scan_mri  # noqa: E402
from RelAPETLib.registration.brain_extraction import extract_brain  # noqa: E402
from RelAPETLib.registration.mutual_information import on_grid  # noqa: E402
from RelAPETLib.registration.quality import smoothness  # noqa: E402
from RelAPETLib.registration.scans import prepare, upright_mri  # noqa: E402
from RelAPETLib.volumes import read_volume  # noqa: E402

DEGRADED = ("half", "thick", "low")
#: Seed and number of simulated people (`make_person`); the latter were sought out among 400 by their parameters.
NUMBERED = tuple((77, number) for number in range(8))
SMOOTHEST = ((0, 327), (0, 399))


def scans(options: argparse.Namespace) -> Iterator[tuple[str, str, str, sitk.Image]]:
    """Source, person, what it is, and the image; degraded ones follow theirs."""
    for path in sorted(options.real.glob("*_T1W.nii.gz")):
        study = path.name.removesuffix("_T1W.nii.gz")
        for role, end in (("T1w", "T1W"), ("T2F", "FLAIR")):
            image = read_volume(path.with_name(f"{study}_{end}.nii.gz"))
            yield "real MRI", study, role, image
            for how in DEGRADED:
                yield "real MRI", study, f"{role}, {how}", DEGRADE[how](image, _rng(f"{study}+{how}{role}"), role)
    for folder in sorted(options.simulated.glob("sub-*")):
        for role in ("T1w", "FLAIR"):
            for path in folder.glob(f"anat/*_{role}.nii.gz"):
                yield "simulated MRI", folder.name, role, read_volume(path)
        for path in sorted(folder.glob("pet/*_pet.nii.gz")):
            yield "simulated PET", folder.name, path.name.split("_trc-")[1].split("_")[0], read_volume(path)
    for seed, number in NUMBERED + SMOOTHEST:
        head = make_head(make_person(seed, number))
        for role in ("T1w", "FLAIR"):
            yield "simulated MRI", f"seed {seed} number {number}", role, scan_mri(head, role).image
    for path in sorted(options.pbr28.glob("*.nii.gz")):
        yield "real PET", path.name.removesuffix(".nii.gz"), "PBR28", read_volume(path)


def measure(image: sitk.Image) -> float:
    """As the product does, but for the brain of a T2-FLAIR, which it takes from the T1w."""
    raw = upright_mri(image, "scan")
    found = extract_brain(raw)
    return smoothness(prepare(raw, "scan").image, on_grid(found.mask, raw)) if found.volume_ml else float("nan")


def half(source: str, person: str, people: dict[str, list[str]]) -> str:
    if person in {f"seed {seed} number {number}" for seed, number in SMOOTHEST}:
        return "calibration"
    return "test" if people[source].index(person) % 2 else "calibration"


def limit(rows: list[dict]) -> float:
    """Geometric mean of the calibration half's smoothest MRI and sharpest PET."""
    values = [(row["mm"], "PET" in row["source"]) for row in rows if row["half"] == "calibration"]
    return float(np.sqrt(max(v for v, pet in values if not pet) * min(v for v, pet in values if pet)))


def report(rows: list[dict], bound: float) -> None:
    print("# Smoothness of MRI and PET\n")
    print(f"Made by `python smoothness.py` on {date.today()}: full width at half maximum along the sharpest axis, mm.")
    print(f"Limit, from the calibration half: {bound:.2f} mm.\n")
    print("| source | what | half | scans | least | median | most | smoother than the limit |")
    print("|---|---|---|---|---|---|---|---|")
    for key in sorted({(row["source"], row["what"], row["half"]) for row in rows}):
        own = [row["mm"] for row in rows if (row["source"], row["what"], row["half"]) == key]
        marks = " | ".join(f"{value:.2f}" for value in (min(own), np.median(own), max(own)))
        print(f"| {' | '.join(key)} | {len(own)} | {marks} | {sum(value > bound for value in own)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("real", "simulated", "pbr28"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options, rows = parser.parse_args(), []
    for source, person, what, image in scans(options):
        rows.append({"source": source, "person": person.split("_")[0], "what": what, "mm": round(measure(image), 3)})
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    people = {source: sorted({row["person"] for row in rows if row["source"] == source}) for source in
              {row["source"] for row in rows}}  # fmt: skip
    for row in rows:
        row["half"] = half(row["source"], row["person"], people)
    bound = limit(rows)
    (RESULTS / "smoothness.json").write_text(json.dumps({"limit_mm": bound, "scans": rows}, indent=1) + "\n")
    report(rows, bound)


if __name__ == "__main__":
    main()
