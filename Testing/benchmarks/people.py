"""How much more people would teach: the error of a regression from the MRI, by the number of people it is fitted to.

``python Testing/benchmarks/people.py --cache CACHE --test CACHE2`` with the caches of `objective.py` fits ridge
regressions from MRI in blocks of 10 mm to the true uptake of the twelve regions, which the phantom's law knows, and
measures them on people whom no fit saw by what could at best be expected of them: the law's mean given the factors that
shaped their MRI. Fits to that very mean, as no study has it, stand beside: what they err by is not for want of people
who are alike, but since a linear fit does not read the factors off an MRI better.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from RelAPETLib.evaluation.ridge import ridge  # noqa: E402
from training.bench.controls import mri_features  # noqa: E402
from training.bench.people import pooled  # noqa: E402

FACTOR, REGIONS = 10, 12
TRACERS = ("TAU", "PIB", "PBR")
SIZES, DRAWS = (125, 250, 500, 1000), 3


def opened(folder: Path, part: str, most: int | None = None):
    """The data set of a part of a cache."""
    from training.data.cache import open_cache
    from training.data.dataset import PetDataset
    from training.data.split import FILE, load_split

    cache = open_cache(folder)
    return PetDataset(cache, getattr(load_split(folder / FILE, cache), part)[:most], factor=FACTOR)


def people_of(dataset, seed: int, inside: np.ndarray) -> tuple[list, list[set], np.ndarray]:
    """Simulated people of a data set, the tracers each was scanned with, and features [n, F] of their MRI."""
    from RelAPETLib.phantom.people import make_person

    scans: dict[str, dict[str, int]] = {}
    for place, item in enumerate(dataset.items):
        scans.setdefault(item.case, {})[item.tracer] = place
    people = [make_person(seed, int(case.split("-")[1])) for case in scans]
    firsts = [next(iter(places.values())) for places in scans.values()]
    return people, [set(places) for places in scans.values()], mri_features(dataset, firsts, inside)


def uptake(people: list, tracer: str, *, expected: bool) -> np.ndarray:
    """True uptake [n, 12] in SUVR before blurring, or the law's mean of it given the MRI's factors."""
    return np.stack([person.uptake[tracer].vector(expected=expected)[:REGIONS] for person in people])


def errors(train: tuple, test: tuple, chosen: np.ndarray, tracer: str, *, expected: bool) -> np.ndarray:
    """Squared errors [test people], mean over regions, of a fit to the chosen training people who have the tracer."""
    people, tracers, features = train
    own = [place for place in chosen if tracer in tracers[place]]
    centre, scale = features[chosen].mean(0), features[chosen].std(0).clip(0.02)
    rows, seen = (((f - centre) / scale).clip(-6, 6).astype(float) for f in (features[own], test[2]))
    targets = uptake([people[place] for place in own], tracer, expected=expected)
    weights, _, _ = ridge(rows - rows.mean(0), targets - targets.mean(0))
    guess = (seen - rows.mean(0)) @ weights.T + targets.mean(0)
    return np.square(guess - uptake(test[0], tracer, expected=True)).mean(1)


def table(train: tuple, test: tuple) -> list[str]:
    """A row for each tracer and number of people: root mean squares, in SUVR x 1000."""
    lines = [
        "| tracer | people | of them with the tracer | fitted to uptake | fitted to the law's mean | population mean |",
        "|---|---|---|---|---|---|",
    ]
    for tracer in TRACERS:
        wanted = uptake(test[0], tracer, expected=True)
        for size in SIZES:
            sets = [np.random.default_rng(n).permutation(len(train[0]))[:size] for n in range(DRAWS)]
            cells = []
            for expected in (False, True):
                found = [errors(train, test, chosen, tracer, expected=expected) for chosen in sets]
                cells.append(cell([1000 * np.sqrt(values.mean()) for values in found], size < len(train[0])))
            everybody = uptake(train[0], tracer, expected=False).mean(0)
            mean = 1000 * np.sqrt(np.square(everybody - wanted).mean())
            count = np.mean([sum(tracer in train[1][place] for place in chosen) for chosen in sets])
            lines.append(f"| {tracer} | {size} | {count:.0f} | {' | '.join(cells)} | {mean:.1f} |")
    return lines


def cell(values: list[float], several: bool) -> str:
    """Mean over the sets of people, with their SD where they differ."""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if several else "")


def asked(description: str) -> tuple[argparse.Namespace, tuple, tuple]:
    """Options of the command line, and the people to fit to and to measure, as of `people_of`."""
    from RelAPETLib.phantom.people import template_maps

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cache", type=Path, required=True, help="of 1,000 training people, seed 1")
    add("--test", type=Path, required=True, help="of test people, seed 2")
    add("--out", type=Path, help="write what is printed to this file")
    options = parser.parse_args()
    inside = pooled((template_maps(2)["brain"] > 0.5).astype(np.float32), FACTOR // 2) > 0.5
    train = people_of(opened(options.cache, "train"), 1, inside)
    return options, train, people_of(opened(options.test, "test"), 2, inside)


def tell(title: str, rows: list[str], train: tuple, test: tuple, out: Path | None) -> None:
    """Print a table under its title and whom it is of, and write it where that is wanted."""
    head = f"{date.today()}, CPU. {len(test[0])} people whom no fit saw; up to {len(train[0])} to fit to."
    text = "\n".join([f"# {title}", "", head, "", *rows]) + "\n"
    if out:
        out.write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    options, train, test = asked(__doc__)
    tell("A regression's error by the number of people", table(train, test), train, test, options.out)


if __name__ == "__main__":
    main()
