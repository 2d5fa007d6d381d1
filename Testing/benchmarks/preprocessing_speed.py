"""Preprocessing of real pairs and of phantoms, by this code and by an older revision, in alternation: time and fit.

git archive REVISION RelAPETLib Resources | tar -x -C FOLDER
cd Testing/benchmarks; python preprocessing_speed.py --real DIR --baseline FOLDER > results/preprocessing_speed.md

DIR of the real scans as in quality_thresholds.py; of each person one pair is taken. Every run is a process of its own
with one thread of torch, of ITK and of the linear algebra, or as many as --threads (of this code) and
--baseline-threads say. CPU seconds are of all its threads, from the two images in memory to the pair on the grid;
imports are made before. This code runs twice: its outputs must be the same bytes.

Fit is measured here, for both codes alike: NCC with the template's T1, and Dice of three k-means classes of the T1w on
the grid with the template's grey and white matter (their mean is "Dice"), inside the brain that the baseline saw. Of
phantoms, whose deformation is known, also how far places in the brain are laid from where they belong.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.registration import quality  # noqa: E402
from RelAPETLib.registration.mutual_information import mask_points  # noqa: E402
from RelAPETLib.registration.template import load_template  # noqa: E402
from RelAPETLib.volumes import write_volume  # noqa: E402

#: Set before anything was measured: a mean change of the fit that is worse than these is not taken for speed.
WORST_DICE, WORST_NCC, MOST_SECONDS = -0.001, -0.002, 15.0
#: Phantoms (law and number of `make_person`) that are scanned and preprocessed, too.
PHANTOMS = ((31, 0), (31, 1), (31, 2))
FIGURES = ("NCC", "grey", "white", "Dice")
SAME = {True: "yes", False: "NO", None: "-"}

CHILD = """
import hashlib, inspect, json, sys, time
root, t1w, t2f, out, registration = sys.argv[1:]
sys.path.insert(0, root)
import numpy as np, torch, SimpleITK as sitk
from RelAPETLib import preprocessing
from RelAPETLib.registration import affine, brain_extraction, coverage, linknet, local_ncc, rigid, template, warp
from RelAPETLib.volumes import read_volume
assert preprocessing.__file__.startswith(root), preprocessing.__file__
pair = read_volume(t1w), read_volume(t2f)
wall, cpu = time.perf_counter(), time.process_time()
ready = preprocessing.preprocess(*pair, method=registration)
spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
arrays = [sitk.GetArrayFromImage(image) for image in (ready.t1w, ready.t2f, ready.in_view)]
digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
points = np.load(out + "/points.npy").tolist()
there = [ready.grid_to_t1w.TransformPoint(p) for p in points]
across = [ready.t1w_to_t2f.TransformPoint(p) for p in there]
back = [ready.t1w_to_grid.TransformPoint(p) for p in there]
np.savez(out + "/run.npz", t1w=arrays[0], in_view=arrays[2], points=[points, there, across, back])
import resource
spent["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps(spent | {"digest": digest, "quality": ready.quality, "method": ready.method,
                          "doubts": preprocessing.doubts(ready.quality)}))
"""


def run(root: Path, pair: tuple[Path, Path], folder: Path, registration: str = "auto", threads: int = 1) -> dict:
    """Times, figures, and under ``t1w``, ``in_view`` and ``points`` the arrays of one run of one code."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", CHILD, *map(str, (root.resolve(), *pair, folder, registration))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if done.returncode:
        raise SystemExit(done.stderr)
    with np.load(folder / "run.npz") as arrays:
        return json.loads(done.stdout) | dict(arrays)


def real_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """The first pair of each person by its name."""
    found = {}
    for t1w in sorted(folder.glob("p*_s*_T1W.nii.gz")):
        person = t1w.name.split("_")[0]
        if person not in {name.split("_")[0] for name in found}:
            name = t1w.name.removesuffix("_T1W.nii.gz")
            found[name] = (t1w, folder / f"{name}_FLAIR.nii.gz")
    return found


def phantom_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Scans of simulated people, made here unless they lie in the folder."""
    from RelAPETLib.phantom.head import make_head
    from RelAPETLib.phantom.people import make_person
    from RelAPETLib.phantom.scanner import scan_mri

    found = {}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, number in PHANTOMS:
        files = tuple(folder / f"phantom{number}_{name}.nii.gz" for name in ("T1w", "FLAIR"))
        if not all(path.exists() for path in files):
            head = make_head(make_person(seed, number))
            for path, name in zip(files, ("T1w", "FLAIR"), strict=True):
                write_volume(scan_mri(head, name).image, path, overwrite=True)
        found[f"phantom {number}"] = files
    return found


def from_truth(name: str, one: dict) -> float:
    """Mean distance (mm, in the template) of brain points of a phantom's T1w from where its anatomy has them."""
    from RelAPETLib.phantom.people import FIELD_GRID, displacement, make_person, sample
    from RelAPETLib.phantom.scanner import LPS, pose

    person = make_person(*next(pair for pair in PHANTOMS if name == f"phantom {pair[1]}"))
    back = np.linalg.inv(pose(person, "T1w"))
    grid, t1w = (points @ LPS for points in one["points"][:2])
    own = (t1w @ back[:3, :3].T + back[:3, 3]).T.reshape(3, -1, 1, 1)
    there = own + sample(displacement(person, "full"), own, FIELD_GRID, edge=True)
    return float(np.linalg.norm(there.reshape(3, -1).T - grid, axis=1).mean())


def fit(t1w: np.ndarray, where: np.ndarray) -> dict[str, float]:
    """`FIGURES` of a T1w [z, y, x] on the grid inside a mask."""
    figures = quality.template_figures(t1w.transpose(2, 1, 0), where.transpose(2, 1, 0), load_template())
    grey, white = figures["grey_dice"], figures["white_dice"]
    return {"NCC": figures["template_ncc"], "grey": grey, "white": white, "Dice": (grey + white) / 2}


def apart(old: dict, new: dict) -> list[float]:
    """Mean distance (mm) of the two codes' places of brain points in T1w and in T2F."""
    return [np.linalg.norm(old["points"][n] - new["points"][n], axis=1).mean() for n in (1, 2)]


def returned(one: dict) -> str:
    """Mean and largest distance (mm) of brain points from themselves after grid -> T1w -> grid."""
    there_and_back = np.linalg.norm(one["points"][3] - one["points"][0], axis=1)
    return f"{there_and_back.mean():.3f} ({there_and_back.max():.2f})"


def baseline_run(
    baseline: Path, name: str, pair: tuple[Path, Path], folder: Path, kept: Path | None, threads: int
) -> dict:
    """The baseline on a pair, or the run of it that lies in `kept`."""
    path = kept and kept / f"{name}.pkl"
    if path and path.exists():
        return pickle.loads(path.read_bytes())
    found = run(baseline, pair, folder, threads=threads)
    if path:
        kept.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(found))
    return found


def compare(old: dict, pair: tuple[Path, Path], folder: Path, registration: str, threads: int, twice: bool) -> dict:
    """This code on a pair, once or twice, beside the baseline's run."""
    runs = [run(ROOT, pair, folder, registration, threads) for _ in range(1 + twice)]
    where, first = old["in_view"] > 0, runs[0]
    return {
        "old": old,
        "new": first,
        "fit": (fit(old["t1w"], where), fit(first["t1w"], where)),
        "apart": apart(old, first),
        "same": len({one["digest"] for one in runs}) == 1 if twice else None,
        "cpu": min(one["cpu"] for one in runs),
        "wall": min(one["wall"] for one in runs),
    }


def line(name: str, row: dict) -> str:
    old, new = row["fit"]
    fits = " | ".join(f"{old[f]:.4f} | {new[f] - old[f]:+.4f}" for f in FIGURES)
    folds = f"{row['new']['quality'].get('folds_percent', 0):.4f}"
    spread = " / ".join(f"{row[code]['quality'].get('sd_log_jacobian', 0):.3f}" for code in ("old", "new"))
    sharp = " / ".join(f"{row[code]['quality']['pair_sharpness']:.3f}" for code in ("old", "new"))
    distance = " / ".join(f"{d:.2f}" for d in row["apart"])
    back = " / ".join(returned(row[code]) for code in ("old", "new"))
    seconds = f"{row['old']['cpu']:.1f} | {row['cpu']:.1f} | {row['old']['wall']:.1f} | {row['wall']:.1f}"
    doubts = "; ".join(row["new"]["doubts"]) or "none"
    return (
        f"| {name} | {seconds} | {fits} | {folds} | {spread} | {sharp} | {distance} | {back} | "
        f"{SAME[row['same']]} | {doubts} |"
    )


def summary(kind: str, rows: dict[str, dict]) -> list[str]:
    """Means, held against the bounds."""
    change = {f: np.mean([row["fit"][1][f] - row["fit"][0][f] for row in rows.values()]) for f in FIGURES}
    cpu, wall = (
        [np.mean([row["old"][what] for row in rows.values()]), np.mean([row[what] for row in rows.values()])]
        for what in ("cpu", "wall")
    )
    held = change["Dice"] > WORST_DICE and change["NCC"] > WORST_NCC
    peak = [max(row[code]["MiB"] for row in rows.values()) for code in ("old", "new")]
    return [
        f"Mean of {len(rows)} {kind}: CPU {cpu[0]:.1f} s before, {cpu[1]:.1f} s now "
        f"({'at most' if cpu[1] <= MOST_SECONDS else 'ABOVE'} {MOST_SECONDS:.0f} s); "
        f"wall {wall[0]:.1f} s before, {wall[1]:.1f} s now; "
        + ", ".join(f"{f} {value:+.4f}" for f, value in change.items())
        + f" (bounds: Dice > {WORST_DICE}, NCC > {WORST_NCC}: {'held' if held else 'NOT HELD'}); "
        f"the same bytes twice: {sum(row['same'] is True for row in rows.values())} of "
        f"{sum(row['same'] is not None for row in rows.values())}; "
        f"most memory {peak[0]} MiB before, {peak[1]} MiB now.\n"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--baseline", type=Path, required=True, help="folder with RelAPETLib/ of the older revision")
    parser.add_argument("--phantoms", type=Path, help="folder that keeps phantoms' scans; without it, none")
    parser.add_argument("--registration", default="auto", help="this code's registration method")
    parser.add_argument("--kept", type=Path, help="folder that keeps the baseline's runs, to be used again")
    parser.add_argument("--twice", type=int, help="run this code twice on so many pairs of each kind only")
    parser.add_argument("--only", help="one pair's name")
    parser.add_argument("--threads", type=int, default=1, help="of this code")
    parser.add_argument("--baseline-threads", type=int, default=1, help="of the baseline")
    options = parser.parse_args()
    print("# Preprocessing: seconds and fit, before and now\n")
    print(f"Made by `python Testing/benchmarks/preprocessing_speed.py` on {date.today()}, {os.cpu_count()} cores;")
    print(f"threads of a run: {options.baseline_threads} of the baseline, {options.threads} of this code; ", end="")
    print(f"load before: {os.getloadavg()[0]:.1f};")
    print(f"this code with `{options.registration}`.\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "points.npy", mask_points(load_template().mask)[::997])
        sets = {"real pairs": real_pairs(options.real)}
        if options.phantoms:
            sets["phantoms"] = phantom_pairs(options.phantoms)
        names = "".join(f" {f} | change |" for f in FIGURES)
        places = "apart in T1w / in T2F, mm | there and back before / now, mm: mean (most)"
        print(f"| pair | CPU s before | now | wall s before | now |{names} folds % | sdlogJ before / now | ", end="")
        print(f"pair sharpness before / now | {places} | same bytes | doubts |")
        print("|---|" + "---|" * (11 + 2 * len(FIGURES)))
        said = []
        for kind, pairs in sets.items():
            rows = {}
            for name, pair in pairs.items():
                if options.only in (None, name):
                    old = baseline_run(options.baseline, name, pair, folder, options.kept, options.baseline_threads)
                    twice = options.twice is None or len(rows) < options.twice
                    rows[name] = compare(old, pair, folder, options.registration, options.threads, twice)
                    print(line(name, rows[name]), flush=True)
            said += summary(kind, rows) if rows else []
            if kind == "phantoms":
                pairs = (
                    (name, *(from_truth(name, row[code]) for code in ("old", "new"))) for name, row in rows.items()
                )
                said += [f"{name}: {old:.2f} mm from the truth before, {new:.2f} mm now\n" for name, old, new in pairs]
    print()
    print("\n".join(said))


if __name__ == "__main__":
    main()
