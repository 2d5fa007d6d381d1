"""What raw scans and their registration take from the demo model: the same people as rendered and from raw scans.

``python Testing/benchmarks/raw_people.py --train CACHE --rendered CACHE2 --registered CACHE3 --as-registered CACHE4
--seed S --bundle NAME=FOLDER --out DIR`` draws PET of the same simulated people twice, once of MRI that were rendered
on the model grid and once of MRI that were scanned and registered, and measures both as `ideal.py` does: beside the
training people's mean PET, the law's own answer, and two ridge regressions: one fitted to people as rendered, and one
that is shown half of them as registered, as the demo model's is. Caches hold blocks of 2 mm::

    python -m RelAPETLib phantom --subjects 50 --seed 78 --out RAW
    python -m training prepare --source RAW --factor 2 --fractions 0.04,0,0.96 --out CACHE3
    python -m training prepare --rendered 50 --rendered-seed 78 --factor 2 --fractions 0.04,0,0.96 --out CACHE2
    python -m RelAPETLib phantom --subjects 12 --seed 1 --out RAW4
    python -m training prepare --source RAW4 --factor 2 --fractions 1,0,0 --out CACHE4

The same command goes on where it stopped; ``--only rendered`` or ``registered`` does one half. ``--table`` writes
``results/raw_people.md`` from what is there.
"""

from __future__ import annotations

import argparse
import sys
from copy import copy
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from ideal import TRACERS, Known, run_control, run_model  # noqa: E402
from ideal_figures import INTERVALS, bootstrap, se, share_inside  # noqa: E402

from RelAPETLib.evaluation.scores import crps, energy_distance  # noqa: E402

RESULTS = Path(__file__).parent / "results"
KINDS = ("rendered", "registered")
CONTROLS = ("control", "control, half as registered")


def known_of(options: argparse.Namespace, kind: str) -> Known:
    """The people of one kind, as `ideal.py` knows them; its files are kept in a folder of the kind's name."""
    own = copy(options)
    own.test, own.out = getattr(options, kind), options.out / kind
    return Known(own, draw=options.draw)


def scan_figures(draws: np.ndarray, ideal: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Scores of draws [n, 12] of a scan beside the ideal's [m, 12] and what was measured [12].

    Distance and CRPS in SUVR; of each interval the share of regions whose measured value lies inside.
    """
    found = {"distance": energy_distance(draws, ideal), "crps": crps(draws, measured)}
    if len(draws) >= 39:
        found |= {f"inside {nominal:.0%}": share_inside(draws, measured, nominal) for nominal in INTERVALS}
    return found


def measured_rows(known: Known, name: str, controls: dict) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """(case, tracer) -> row (mean PET, controls, model, ideal) -> figures, of all scans that were drawn."""
    trained, found = known.training(), {}
    for place in known.places:
        item = known.test.items[place]
        truth, drawn = known.truth(place, trained), known.kept(f"{name}/{place:04d}", None)
        ideal, measured = truth["draws"], truth["measured"]
        half = len(ideal) // 2
        rows = {
            "mean PET": scan_figures(trained["regions"][trained["tracer"] == item.tracer], ideal, measured),
            name: scan_figures(drawn["draws"], ideal, measured),
            "ideal": scan_figures(ideal[:half], ideal[half:], measured),
        }
        decibels = {"mean PET": truth["mean_db"], name: drawn["mean_db"], "ideal": truth["oracle_db"]}
        for row, control in controls.items():
            draws = control["guess"][place] + control[f"errors_{item.tracer}"]
            rows[row], decibels[row] = scan_figures(draws, ideal, measured), control["mean_db"][place]
        for row, value in decibels.items():
            rows[row]["psnr"] = float(value)
        found[item.case, item.tracer] = rows
    return found


def pair_up(found: dict[str, dict]) -> list[tuple[str, str]]:
    """(case, tracer) of the scans that both kinds have, in order; a person who could not be registered is left out."""
    return sorted(set.intersection(*(set(found[kind]) for kind in KINDS)))


def values(found: dict, scans: list, tracer: str, row: str, figure: str) -> np.ndarray:
    """A figure of a row of the tables for each scan with a tracer."""
    return np.array([found[scan][row][figure] for scan in scans if scan[1] == tracer])


def table(found: dict[str, dict], name: str) -> list[str]:
    """Lines of the results: each row for both kinds of MRI, and their paired difference."""
    scans = pair_up(found)
    lines = [
        "| tracer | row | MRI | PSNR dB | gain over the mean PET dB | over the better control | d x 1000 | share of "
        "the ideal (95 % over people) | CRPS x 1000 | in 80 % | in 90 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for tracer in TRACERS:
        for row in ("mean PET", *CONTROLS, name, "ideal"):
            for kind in KINDS:
                lines.append(
                    f"| {tracer} | {row} | {kind} | {' | '.join(row_cells(found[kind], scans, tracer, row))} |"
                )
    lines += ["", "Registered less rendered, the same people paired:", ""]
    lines += ["| tracer | row | PSNR dB | d x 1000 | CRPS x 1000 |", "|---|---|---|---|---|"]
    for tracer in TRACERS:
        for row in ("mean PET", *CONTROLS, name, "ideal"):
            cells = []
            for figure, scale in (("psnr", 1), ("distance", 1000), ("crps", 1000)):
                rendered, registered = (scale * values(found[kind], scans, tracer, row, figure) for kind in KINDS)
                change = registered - rendered
                cells.append(f"{change.mean():+.2f} ± {se(change):.2f}")
            lines.append(f"| {tracer} | {row} | {' | '.join(cells)} |")
    return lines


def row_cells(found: dict, scans: list, tracer: str, row: str) -> list[str]:
    """Cells of a row of `table` for one kind of MRI."""

    def of(figure: str, which: str = row) -> np.ndarray:
        return values(found, scans, tracer, which, figure)

    better = min(CONTROLS, key=lambda control: of("distance", control).sum())
    gain = of("psnr") - of("psnr", "mean PET")
    beyond = of("psnr") - max((of("psnr", control) for control in CONTROLS), key=np.mean)
    pair = np.stack([of("distance"), of("distance", better)], 1)
    low, high = bootstrap(pair, lambda p: 1 - p[:, 0].sum() / p[:, 1].sum())
    cells = [
        f"{of('psnr').mean():.2f}",
        "" if row == "mean PET" else f"{gain.mean():+.2f} ± {se(gain):.2f}",
        "" if row in ("mean PET", *CONTROLS) else f"{beyond.mean():+.2f} ± {se(beyond):.2f}",
        f"{1000 * pair[:, 0].mean():.2f} ± {1000 * se(pair[:, 0]):.2f}",
        f"{1 - pair[:, 0].sum() / pair[:, 1].sum():.2f} ({low:.2f} to {high:.2f})",
        f"{1000 * of('crps').mean():.2f} ± {1000 * se(of('crps')):.2f}",
    ]
    spread = () if row in ("mean PET", *CONTROLS) else ("inside 80%", "inside 90%")
    covered = [of(figure) for figure in spread if figure in found[scans[0]][row]]
    return cells + ([f"{shares.mean():.3f} ± {se(shares):.3f}" for shares in covered] or ["", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--rendered", type=Path, required=True, help="cache of the people as rendered on the model grid")
    add("--registered", type=Path, required=True, help="cache of the same people from raw scans")
    add("--as-registered", type=Path, required=True, help="cache of some training people from raw scans")
    add("--seed", type=int, default=78, help="of the people")
    add("--out", type=Path, required=True)
    add("--bundle", required=True, metavar="NAME=FOLDER", help="the model; its features serve the control")
    add("--people", type=int, default=50)
    add("--draws", type=int, default=39, help="of a scan; intervals need 39")
    add("--shuffled", type=int, default=1, help="draws with another person's MRI, which no figure here needs")
    add("--steps", type=int, default=20, help="network calls of a draw")
    add("--draw", nargs="+", default=list(TRACERS), choices=TRACERS)
    add("--only", choices=KINDS, help="one half")
    add("--table", action="store_true", help="write results/raw_people.md from what is there")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    name, folder = options.bundle.split("=", 1)
    found = {}
    for kind in [options.only] if options.only else KINDS:
        known = known_of(options, kind)
        seen = (None, options.as_registered)
        controls = {c: run_control(known, Path(folder), of) for c, of in zip(CONTROLS, seen, strict=True)}
        if options.table:
            found[kind] = measured_rows(known, name, controls)
        else:
            run_model(known, name, Path(folder))
    if not options.table:
        return
    scans, trained = pair_up(found), known.training()["case"]
    head = [
        "# The same people as rendered and from raw scans", "",
        f"{date.today()}, CPU. {len({case for case, _ in scans})} unseen people, {len(scans)} scans, {options.draws} "
        f"independent draws of {options.steps} calls a scan. Mean PET and controls are those of {len(set(trained))} "
        "training people as rendered.", "",
    ]  # fmt: skip
    lines = [*head, *table(found, name)]
    (RESULTS / "raw_people.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
