"""The voxel form and the paper's latent form of RelA-Diffusion on blocks of 4 mm, each trained once by its recipe.

``python Testing/benchmarks/four_mm.py --train CACHE --test CACHE2 --seed S --out DIR --run NAME=FOLDER ...``
draws PET of people that no training saw from the last checkpoint of each run, and measures them at 2 mm beside the
training people's mean PET, the oracle, the control (a ridge regression) and the law's own answer. These are those that
`ideal.py` made of the same people in the same folder ``--out``: run it first.
Caches are those of `ideal.py`; the runs are::

    python -m training train @training/recipes/voxel_4mm.txt data.cache=CACHE out=FOLDER
    python -m training train @training/recipes/latent_4mm.txt data.cache=CACHE out=FOLDER

The same command goes on where it stopped; ``--table`` writes ``results/four_mm.md`` from what is there.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from ideal import TRACERS, Known, decibels, suvr  # noqa: E402

from RelAPETLib.evaluation.scores import crps, energy_distance  # noqa: E402

RESULTS = Path(__file__).parent / "results"
FACTOR = 4


def volumes_at_2mm(made: np.ndarray, low: float) -> np.ndarray:
    """SUVR blocks [n, X, Y, Z] of 4 mm, perhaps cropped, as [n, 80, 90, 80]: interpolated, `low` outside the crop."""
    import torch
    from torch.nn import functional

    whole = (40, 45, 40)
    gaps = [wanted - n for wanted, n in zip(whole, made.shape[1:], strict=True)]
    sides = [side for gap in reversed(gaps) for side in (gap // 2, gap - gap // 2)]
    padded = functional.pad(torch.from_numpy(made)[:, None], sides, value=low)
    return functional.interpolate(padded, scale_factor=2, mode="trilinear", align_corners=False)[:, 0].numpy()


def measure(known: Known, run: Path, name: str, samples: int, calls: int) -> None:
    """Draw and measure every test scan, each kept in a file of its own."""
    from training import checkpoints
    from training.bench.figures import Drawer
    from training.data.cache import open_cache
    from training.data.dataset import PetDataset
    from training.data.split import FILE, load_split

    drawer = Drawer(checkpoints.saved(run)[-1], calls)
    network = drawer.objective.config.network
    cache = open_cache(known.options.test)
    subjects = load_split(known.options.test / FILE, cache).part("test")
    coarse = PetDataset(cache, subjects, factor=FACTOR, crop=network.crop)
    assert [item.case for item in coarse.items] == [item.case for item in known.test.items]
    for number, place in enumerate(known.places):
        known.kept(f"{name}/{place:04d}", lambda place=place: drawn(known, drawer, coarse[place], place, samples))
        print(f"{name}: {number + 1} of {len(known.places)}", flush=True)


def drawn(known: Known, drawer, item: dict, place: int, samples: int) -> dict[str, np.ndarray]:
    """Regional SUVR [samples, 12] of a test scan's draws, and the PSNR of one and of their mean."""
    from RelAPETLib.tracers import TRACERS as FACTS

    measured = suvr(known.test[place])
    made = volumes_at_2mm(drawer.draw(item, samples, 1000 + 100 * place), FACTS[item["tracer"]].suvr_window[0])
    made = np.where(known.inside, made, 0)
    return {
        "draws": np.stack([known.regions(volume) for volume in made]),
        "one_db": decibels(made[0] - measured, known.inside),
        "mean_db": decibels(made.mean(0) - measured, known.inside),
    }


def through_blocks(known: Known, place: int, volume: np.ndarray, crop: tuple[int, ...] = (40, 44, 40)) -> float:
    """PSNR of a volume of SUVR [80, 90, 80] at a test scan when it has gone through the voxel form's blocks."""
    from RelAPETLib.networks.shapes import central
    from RelAPETLib.tracers import TRACERS as FACTS
    from training.bench.people import pooled

    low = FACTS[known.test.items[place].tracer].suvr_window[0]
    blocks = central(pooled(volume, FACTOR // 2).astype(np.float32), crop)
    made = np.where(known.inside, volumes_at_2mm(np.ascontiguousarray(blocks)[None], low)[0], 0)
    return decibels(made - suvr(known.test[place]), known.inside)


def table(known: Known, names: list[str], control: dict) -> list[str]:
    """A row a run and tracer, mean ± standard error over people; differences are paired."""
    means = known.training()
    lines = [
        "| run | tracer | people | one draw dB | mean of draws dB | less the mean PET dB | less the oracle dB | "
        "CRPS x 1000 | control's | distance to the ideal x 1000 | control's | share of the ideal |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = {tracer: [] for tracer in TRACERS}
    for place in known.places:
        tracer = known.test.items[place].tracer
        rows[tracer].append((place, known.truth(place, means)))
    for tracer in TRACERS:
        for name, of_mean in (("mean PET in blocks", True), ("measured in blocks", False)):
            found = [
                through_blocks(known, place, means[f"mean_{tracer}"] if of_mean else suvr(known.test[place]))
                for place, _ in rows[tracer]
            ]
            lines.append(f"| {name} | {tracer} | {len(found)} |  | {cell(found, 2)} |  |  |  |  |  |  |  |")
    for name in names:
        for tracer in TRACERS:
            kept = [known.kept(f"{name}/{place:04d}", None) for place, _ in rows[tracer]]
            truth = [answers for _, answers in rows[tracer]]
            cells = [cell([k["one_db"] for k in kept], 2), cell([k["mean_db"] for k in kept], 2)]
            for key in ("mean_db", "oracle_db"):
                cells.append(cell([k["mean_db"] - t[key] for k, t in zip(kept, truth, strict=True)], 2))
            controls = [control["guess"][place] + control[f"errors_{tracer}"] for place, _ in rows[tracer]]
            ours = [crps(k["draws"], t["measured"]) for k, t in zip(kept, truth, strict=True)]
            theirs = [crps(c, t["measured"]) for c, t in zip(controls, truth, strict=True)]
            cells += [cell(1e3 * np.array(ours), 1), cell(1e3 * np.array(theirs), 1)]
            ours = [energy_distance(k["draws"], t["draws"]) for k, t in zip(kept, truth, strict=True)]
            theirs = [energy_distance(c, t["draws"]) for c, t in zip(controls, truth, strict=True)]
            cells += [cell(1e3 * np.array(ours), 1), cell(1e3 * np.array(theirs), 1)]
            cells.append(f"{1 - sum(ours) / sum(theirs):.2f}")
            lines.append(f"| {name} | {tracer} | {len(kept)} | {' | '.join(cells)} |")
    return lines


def cell(values, digits: int) -> str:
    """Mean ± standard error."""
    values = np.asarray(values, float)
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) / np.sqrt(len(values)):.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--seed", type=int, default=4, help="of the test people")
    add("--out", type=Path, required=True, help="that of ideal.py")
    add("--run", action="append", required=True, metavar="NAME=FOLDER")
    add("--people", type=int, default=30)
    add("--samples", type=int, default=8)
    add("--calls", type=int, default=10, help="network calls a draw")
    add("--table", action="store_true", help="only write results/four_mm.md from what is there")
    options = parser.parse_args()
    known, runs = Known(options), dict(word.split("=", 1) for word in options.run)
    if not options.table:
        for name, folder in runs.items():
            measure(known, Path(folder), name, options.samples, options.calls)
    with np.load(options.out / "control.npz") as file:
        control = dict(file)
    head = (
        f"{date.today()}, CPU. {options.people} unseen people, {options.samples} draws of {options.calls} calls each."
    )
    text = "\n".join(["# RelA-Diffusion on blocks of 4 mm", "", head, "", *table(known, list(runs), control)]) + "\n"
    (RESULTS / "four_mm.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
