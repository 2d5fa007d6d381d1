"""Downstream prediction on simulated people, where it is known what a synthetic PET can bring: nothing.

``python Testing/benchmarks/downstream.py --cache CACHE --out DIR`` takes a cache of
``python -m training prepare --rendered N --rendered-seed 1 --factor 2`` and predicts age and memory of the first 200
people who were scanned with the tracer. Their synthetic PET is a ridge regression on the MRI, fitted on the people
after them. Under law 2 memory goes with what only the measured PET shows, so that arm is the positive control, and
somebody else's synthetic PET the negative one. Tables and picture go to ``--out``; ``--table`` also writes
``results/downstream.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.evaluation.downstream import WARNING, people, results, training  # noqa: E402
from RelAPETLib.evaluation.ridge import fit_pet_ridge, mri_features  # noqa: E402
from RelAPETLib.evaluation.tsv import as_tsv  # noqa: E402
from RelAPETLib.grid import block_means  # noqa: E402
from RelAPETLib.phantom.people import make_person  # noqa: E402

RESULTS = Path(__file__).parent / "results"
#: Side in mm of the cache's blocks.
FACTOR = 2


def blocks_of(volume: np.ndarray) -> np.ndarray:
    """What `people.to_blocks` makes on the model grid, of a volume [80, 90, 80] of 2 mm."""
    cut = people.CUT // FACTOR
    return block_means(np.ascontiguousarray(volume[:, cut:-cut], np.float32), people.BLOCK // FACTOR)


def load(cache, items) -> tuple[np.ndarray, np.ndarray]:
    """MRI [n, 2, 20, 22, 20] as a cohort has them, and PET [n, 20, 22, 20]."""

    def blocks(item, name: str) -> np.ndarray:
        return blocks_of(cache.array(item.case, name))

    mri = [np.stack([people.scaled_mri(blocks(item, name)) for name in ("t1w", "t2f")]) for item in items]
    return np.stack(mri), np.stack([blocks(item, f"pet_{item.tracer}") for item in items])


def cohort_of(options) -> tuple[people.Cohort, int]:
    """The people, and how many the regression was fitted on."""
    from training.data.cache import open_cache

    cache = open_cache(options.cache)
    made = cache.index["options"]
    assert made["law"] == 2 and made["rendered_seed"] is not None and cache.factor == FACTOR, "another cache is wanted"
    items = cache.items(None, [options.tracer])
    tested, trained = items[: options.people], items[options.people : options.people + options.train]
    inside = blocks_of(cache.mask()) > 0.5
    mri, pet = load(cache, trained)
    ridge = fit_pet_ridge(np.stack([mri_features(m, inside) for m in mri]), pet.reshape(len(pet), -1))
    mri, pet = load(cache, tested)
    synthetic = np.stack([ridge.guess(mri_features(m, inside)).reshape(pet.shape[1:]) for m in mri])
    who = [make_person(made["rendered_seed"], int(item.case.split("-")[1]), 2).clinical for item in tested]
    targets = {name: np.array([getattr(person, name) for person in who], float) for name in ("age", "memory")}
    return people.Cohort(tuple(item.subject for item in tested), mri, synthetic, pet, targets), len(trained)


def markdown(rows: list[dict], options, trained: int, minutes: float, outcome: training.Outcome) -> str:
    """The page of results."""
    lines = [
        "# Downstream prediction from MRI, and from MRI and PET",
        "",
        f"- made by `python Testing/benchmarks/downstream.py --table` on {date.today()}, one CPU thread, "
        f"{minutes:.0f} minutes",
        f"- {options.people} simulated people of law 2 with {options.tracer}, 8 mm; synthetic PET: a ridge regression "
        f"on the MRI, fitted on {trained} others",
        f"- a 3-D ResNet of {outcome.parameters:,} parameters, {outcome.epochs} epochs, {outcome.folds} folds, "
        f"{outcome.seeds} network(s) a fold; intervals (95 %) over people",
        f"- {WARNING}",
        "",
        "| target | arm | MAE | correlation | difference of MAE from MRI |",
        "|---|---|---|---|---|",
    ]

    def cell(target: str, arm: str, what: str, against: str | None = None) -> str:
        found = [r for r in rows if (r["target"], r["arm"], r["what"], r["against"]) == (target, arm, what, against)]
        return "" if not found else f"{found[0]['value']:.3f} ({found[0]['low']:.3f} to {found[0]['high']:.3f})"

    for target in dict.fromkeys(row["target"] for row in rows):
        for arm in outcome.predicted:
            figures = cell(target, arm, "MAE"), cell(target, arm, "correlation")
            less = cell(target, arm, results.DIFFERENCE, people.MRI)
            lines.append(f"| {target} | {arm} | {figures[0]} | {figures[1]} | {less} |")
        pair = cell(target, people.SYNTHETIC, results.DIFFERENCE, people.SHUFFLED)
        lines.append(f"| {target} | own synthetic less somebody else's | | | {pair} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tracer", default="TAU")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    cohort, trained = cohort_of(options)
    begin = time.perf_counter()
    outcome = training.run(cohort, training.Budget(options.epochs, options.minutes), progress=print)
    minutes = (time.perf_counter() - begin) / 60
    rows = results.summary_rows(outcome, options.tracer, "ridge regression")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "downstream.tsv").write_bytes(as_tsv(rows, results.COLUMNS))
    people_table = as_tsv(results.person_rows(outcome), results.person_columns(outcome))
    (options.out / "downstream_people.tsv").write_bytes(people_table)
    results.draw(rows, options.out / "downstream.png")
    text = markdown(rows, options, trained, minutes, outcome)
    print(text)
    if options.table:
        (RESULTS / "downstream.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
