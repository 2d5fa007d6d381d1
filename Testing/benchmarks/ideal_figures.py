"""Figures of `ideal.py`: from kept draws to tables and a picture. Errors are by person, over people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from RelAPETLib.evaluation.scores import auc, crps
from RelAPETLib.evaluation.scores import energy_distance as distance

TRACERS = ("TAU", "PIB", "PBR")
CORTEX = slice(0, 6)
#: Regions of `factors.REGIONS` in the mean that amyloid positivity is read from.
COMPOSITE = [0, 1, 2, 5]
#: Order statistics of 39 draws, counted from 1, and what an interval between them covers of exchangeable truths.
INTERVALS = {0.8: (4, 36), 0.9: (2, 38)}
BOOTSTRAPS = 2000


@dataclass
class Scan:
    """A test scan: who, which tracer, the ideal's draws [512, 12] and what was measured [12]."""

    case: str
    tracer: str
    truth: dict[str, np.ndarray]


def composite(regions: np.ndarray) -> np.ndarray:
    """Mean of frontal, parietal, lateral temporal cortex and precuneus, of regions [..., 12]."""
    return regions[..., COMPOSITE].mean(-1)


def bootstrap(values: np.ndarray, statistic, seed: int = 0) -> tuple[float, float]:
    """2.5 and 97.5 % quantiles of a statistic of rows [n, ...] over people drawn with replacement."""
    rng = np.random.default_rng(seed)
    found = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(BOOTSTRAPS)]
    return tuple(np.quantile(found, [0.025, 0.975]))


def se(values: np.ndarray) -> float:
    """Standard error of a mean."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


class Tables:
    """What all rows share."""

    def __init__(self, known, bundles: dict, control: dict):
        trained = known.training()
        self.names = list(bundles)
        self.scans, self.rows = [], {name: [] for name in bundles}
        self.guess, self.errors = [], {t: control[f"errors_{t}"] for t in TRACERS}
        self.control_db = []
        self.spread = {t: trained["regions"][trained["tracer"] == t] for t in TRACERS}
        for place in known.places:
            if all((known.options.out / name / f"{place:04d}.npz").exists() for name in bundles):
                item = known.test.items[place]
                self.scans.append(Scan(item.case, item.tracer, known.truth(place, trained)))
                self.guess.append(control["guess"][place])
                self.control_db.append(float(control["mean_db"][place]))
                for name in bundles:
                    self.rows[name].append(known.kept(f"{name}/{place:04d}", dict))
        self.threshold, self.valley = self._positivity(trained, known)

    def _positivity(self, trained: dict, known) -> tuple[float, tuple[float, float]]:
        """PIB composite that tells the training people's status best, and the range between the two humps."""
        from RelAPETLib.phantom.people import make_person

        rows = trained["tracer"] == "PIB"
        status = np.array(
            [make_person(known.options.train_seed, int(c.split("-")[1])).hidden.positive for c in trained["case"][rows]]
        )
        value = composite(trained["regions"][rows])
        cuts = np.sort(value)
        right = [((value > cut) == status).mean() for cut in cuts]
        return float(cuts[int(np.argmax(right))]), (np.quantile(value[~status], 0.95), np.quantile(value[status], 0.15))

    def of(self, tracer: str) -> np.ndarray:
        """Numbers of the scans with a tracer."""
        return np.array([k for k, scan in enumerate(self.scans) if scan.tracer == tracer])

    def draws(self, name: str, k: int, shuffled: bool = False) -> np.ndarray:
        """Predictive draws [n, 12] of a row of the tables."""
        scan = self.scans[k]
        if name == "ideal":
            return scan.truth["draws"]
        if name == "control":
            other = self._next(k) if shuffled else k
            return self.guess[other] + self.errors[scan.tracer]
        if name == "mean PET":
            return self.spread[scan.tracer]
        return self.rows[name][k]["shuffled" if shuffled else "draws"]

    def _next(self, k: int) -> int:
        same = self.of(self.scans[k].tracer)
        return int(same[(np.flatnonzero(same == k)[0] + 1) % len(same)])

    @property
    def all_rows(self) -> list[str]:
        return ["mean PET", "control", *self.names, "ideal"]


def table(known, bundles: dict, control: dict, picture: Path) -> list[str]:
    """Lines of the results file; draws the picture."""
    tables = Tables(known, bundles, control)
    people = len({scan.case for scan in tables.scans})
    lines = [f"{people} unseen people, {len(tables.scans)} scans, {known.options.draws} independent draws a scan.", ""]
    lines += distances(tables) + images(tables) + positivity(tables) + spreads(tables) + coverage(tables)
    lines += by_region(tables)
    draw_picture(tables, picture)
    return lines


def distances(tables: Tables) -> list[str]:
    """Distance to the ideal's distributions, its share, CRPS, and both with another person's MRI."""
    lines = [
        "## Regional distributions",
        "",
        "d: squared distance of a person's regional predictive distribution to the ideal posterior's (energy distance, "
        "mean over regions), corrected for the number of draws. Share of the ideal: 1 - sum d / sum d of the control.",
        "",
        "| tracer | row | d x 1000 | share of the ideal (95 % over people) | CRPS x 1000 | d, MRI shuffled | CRPS, MRI "
        "shuffled |",
        "|---|---|---|---|---|---|---|",
    ]
    for tracer in TRACERS:
        places = tables.of(tracer)
        found = {}
        for name in tables.all_rows:
            half = len(tables.scans[places[0]].truth["draws"]) // 2
            rows = []
            for k in places:
                truth, draws = tables.scans[k].truth, tables.draws(name, k)
                ideal = truth["draws"]
                if name == "ideal":
                    rows.append([distance(ideal[:half], ideal[half:]), crps(ideal, truth["measured"]), np.nan, np.nan])
                    continue
                other = tables.draws(name, k, shuffled=True)
                rows.append([distance(draws, ideal), crps(draws, truth["measured"]), distance(other, ideal),
                             crps(other, truth["measured"])])  # fmt: skip
            found[name] = np.array(rows)
        for name, rows in found.items():
            pair = np.stack([rows[:, 0], found["control"][:, 0]], 1)
            share = 1 - pair[:, 0].sum() / pair[:, 1].sum()
            low, high = bootstrap(pair, lambda p: 1 - p[:, 0].sum() / p[:, 1].sum())
            cells = [f"{1000 * rows[:, i].mean():.2f} ± {1000 * se(rows[:, i]):.2f}" for i in range(4)]
            if name in ("ideal", "mean PET"):
                cells[2] = cells[3] = ""
            lines.append(
                f"| {tracer} | {name} | {cells[0]} | {share:.2f} ({low:.2f} to {high:.2f}) | {' | '.join(cells[1:])} |"
            )
    return [*lines, ""]


def images(tables: Tables) -> list[str]:
    """PSNR of mean PET, model and the ideal's mean."""
    lines = [
        "## Images",
        "",
        "PSNR in the brain at 2 mm, data range 3 SUVR. Share: of the oracle's gain over the training people's mean "
        "PET.",
        "",
        "| tracer | row | one draw | mean of draws | gain over the mean PET | share of the oracle's | against the "
        "control |",
        "|---|---|---|---|---|---|---|",
    ]
    for tracer in TRACERS:
        places = tables.of(tracer)
        mean = np.array([tables.scans[k].truth["mean_db"] for k in places])
        oracle = np.array([tables.scans[k].truth["oracle_db"] for k in places])
        lines.append(f"| {tracer} | mean PET | | {mean.mean():.2f} | | | |")
        control = np.array([tables.control_db[k] for k in places])
        for name in ("control", *tables.names):
            rows = None if name == "control" else [tables.rows[name][k] for k in places]
            one = "" if rows is None else f"{np.mean([float(row['one_db']) for row in rows]):.2f}"
            many = control if rows is None else np.array([float(row["mean_db"]) for row in rows])
            gain, beyond = many - mean, many - control
            cells = "" if rows is None else f"{beyond.mean():+.2f} ± {se(beyond):.2f}"
            lines.append(
                f"| {tracer} | {name} | {one} | {many.mean():.2f} | {gain.mean():.2f} ± {se(gain):.2f} | "
                f"{gain.mean() / (oracle - mean).mean():.2f} | {cells} |"
            )
        lines.append(f"| {tracer} | oracle | | {oracle.mean():.2f} | {(oracle - mean).mean():.2f} | 1 | |")
    return [*lines, ""]


def positivity(tables: Tables) -> list[str]:
    """Amyloid status from PIB: AUC, distance to the ideal's probabilities, humps, reliability."""
    places = tables.of("PIB")
    positive = np.array([bool(tables.scans[k].truth["positive"]) for k in places])
    ideal = np.array([float(tables.scans[k].truth["probability"]) for k in places])
    best = auc(ideal, positive)
    low, high = tables.valley
    lines = [
        "## Amyloid positivity",
        "",
        f"Probability: share of draws whose cortical composite lies above {tables.threshold:.2f} SUVR, the cut that "
        f"tells the training people's status best. Between the humps: share of draws from {low:.2f} to {high:.2f}. "
        f"{len(places)} scans, {positive.mean():.0%} positive.",
        "",
        "| row | AUC | (AUC - .5) / (ideal's - .5) | squared distance to the ideal's probability | mean probability | "
        "between the humps |",
        "|---|---|---|---|---|---|",
    ]
    rate = np.full(len(places), positive.mean())
    lines.append(f"| base rate | .5 | 0 | {np.square(rate - ideal).mean():.4f} | {rate[0]:.2f} | |")
    for name in tables.all_rows[1:]:
        values = [composite(tables.draws(name, k)) for k in places]
        chance = ideal if name == "ideal" else np.array([(v > tables.threshold).mean() for v in values])
        gap = np.mean([((v > low) & (v < high)).mean() for v in values])
        area = auc(chance, positive)
        ends = bootstrap(np.stack([chance, positive], 1), lambda r: auc(r[:, 0], r[:, 1] > 0.5))
        lines.append(
            f"| {name} | {area:.3f} ({ends[0]:.3f} to {ends[1]:.3f}) | {(area - 0.5) / (best - 0.5):.2f} | "
            f"{np.square(chance - ideal).mean():.4f} | {chance.mean():.2f} | {gap:.3f} |"
        )
    return [*lines, ""]


def spreads(tables: Tables) -> list[str]:
    """Whether the spread follows the person."""
    lines = [
        "## Spread",
        "",
        "SD of the draws' cortical mean: its size beside the ideal's, and its correlation with the ideal's over "
        "people; the last column is what as many ideal draws give against another set of as many.",
        "",
        "| tracer | row | SD / ideal's | r with the ideal's SD | two sets of ideal draws | share |",
        "|---|---|---|---|---|---|",
    ]
    for tracer in TRACERS:
        places = tables.of(tracer)

        def sds(pick, places=places):
            return np.array([pick(k)[:, CORTEX].mean(1).std(ddof=1) for k in places])

        ideal = sds(lambda k: tables.scans[k].truth["draws"])
        for name in ("control", *tables.names):
            ours = sds(lambda k, name=name: tables.draws(name, k))
            count = min(len(tables.draws(name, places[0])), 200)
            once = sds(lambda k, n=count: tables.scans[k].truth["draws"][:n])
            again = sds(lambda k, n=count: tables.scans[k].truth["draws"][n : 2 * n])
            attainable = np.corrcoef(once, again)[0, 1]
            r = np.corrcoef(ours, again)[0, 1] if ours.std() > 1e-9 else 0.0
            cells = f"{(ours / ideal).mean():.2f} | {r:.2f} | {attainable:.2f} | {r / attainable:.2f}"
            lines.append(f"| {tracer} | {name} | {cells} |")
    return [*lines, ""]


def share_inside(draws: np.ndarray, measured: np.ndarray, nominal: float) -> float:
    """Share of regions whose measured value [12] lies in the interval from the first 39 of draws [n, 12]."""
    low, high = INTERVALS[nominal]
    ordered = np.sort(draws[:39], 0)
    return float(((measured > ordered[low - 1]) & (measured < ordered[high - 1])).mean())


def coverage(tables: Tables) -> list[str]:
    """How often the measured regional SUVR lies between order statistics of 39 draws."""
    lines = [
        "## Intervals from 39 draws",
        "",
        "Share of measured regional SUVR inside, standard error clustered by person; the distance from the nominal "
        "share in standard errors.",
        "",
        "| tracer | row | 80 % | 90 % |",
        "|---|---|---|---|",
    ]
    for tracer in TRACERS:
        places = tables.of(tracer)
        for name in (*tables.names, "ideal"):
            cells = []
            for nominal in INTERVALS:
                rows = []
                for k in places:
                    rows.append(share_inside(tables.draws(name, k), tables.scans[k].truth["measured"], nominal))
                share, error = np.mean(rows), se(np.array(rows))
                cells.append(f"{share:.3f} ± {error:.3f} ({(share - nominal) / error:+.1f})")
            lines.append(f"| {tracer} | {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def draw_picture(tables: Tables, path: Path) -> None:
    """Reliability of the probability of positivity, and composites of all draws of PIB."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    places = tables.of("PIB")
    positive = np.array([bool(tables.scans[k].truth["positive"]) for k in places])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    bins = np.linspace(1, 3, 81)
    for name in tables.all_rows[1:]:
        values = [composite(tables.draws(name, k)) for k in places]
        chance = np.array([(v > tables.threshold).mean() for v in values])
        if name == "ideal":
            chance = np.array([float(tables.scans[k].truth["probability"]) for k in places])
        groups = np.array_split(np.argsort(chance), 6)
        said = [chance[g].mean() for g in groups]
        happened = [positive[g].mean() for g in groups]
        errors = [np.sqrt(max(p * (1 - p), 1e-9) / len(g)) for p, g in zip(happened, groups, strict=True)]
        left.errorbar(said, happened, errors, marker="o", capsize=2, linewidth=1, label=name)
        density = np.mean([np.histogram(v, bins)[0] / len(v) for v in values], 0)
        right.step(bins[:-1], density, where="post", label=name, linewidth=1.2)
    left.set(
        xlabel="said probability of amyloid positivity", ylabel="share that is positive", title="Reliability, sixths"
    )
    right.set(xlabel="cortical PIB SUVR of draws", ylabel="share of draws", title="All draws")
    left.legend(frameon=False), right.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def by_region(tables: Tables) -> list[str]:
    """Where a row errs: bias and error of its mean, and its spread, by region, against the ideal's."""
    from RelAPETLib.phantom.factors import REGIONS

    lines = [
        "## By region",
        "",
        "Bias and error in SUVR x 1000. Error: root mean square over people of a row's mean minus the ideal's, less "
        "the noise of as many draws. Spread: mean SD of the draws, by the ideal's.",
        "",
        "| tracer | row | figure | " + " | ".join(REGIONS) + " |",
        "|" + "---|" * (len(REGIONS) + 3),
    ]
    for tracer in TRACERS:
        places = tables.of(tracer)
        ideal = [tables.scans[k].truth["draws"] for k in places]
        for name in ("control", *tables.names):
            drawn = [tables.draws(name, k) for k in places]
            rest = np.array([ours.mean(0) - theirs.mean(0) for ours, theirs in zip(drawn, ideal, strict=True)])
            noise = np.mean([each.var(0, ddof=1) / len(each) for each in (*drawn, *ideal)], 0) * 2
            spread = np.mean([each.std(0, ddof=1) for each in drawn], 0)
            error = np.sqrt(np.maximum((rest**2).mean(0) - noise, 0))
            figures = {
                "bias": [f"{value:+.1f}" for value in 1000 * rest.mean(0)],
                "error": [f"{value:.1f}" for value in 1000 * error],
                "spread": [f"{value:.2f}" for value in spread / np.mean([each.std(0, ddof=1) for each in ideal], 0)],
            }
            lines += [f"| {tracer} | {name} | {figure} | {' | '.join(cells)} |" for figure, cells in figures.items()]
    return [*lines, ""]
