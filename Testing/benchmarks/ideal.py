"""How near a model's predictive distributions come to the ideal answer about simulated people.

``python Testing/benchmarks/ideal.py --train CACHE --test CACHE2 --seed S --bundle NAME=FOLDER ... --out DIR`` draws PET
of people that no training saw, by the models of the bundles, and measures the draws beside the law's posterior given
the MRI (the ideal), the training people's mean PET, and a control: a ridge regression from the MRI straight to regional
SUVR whose one answer gets the leave-one-out errors of the training people as its spread. Caches hold blocks of 2 mm::

    python -m training prepare --rendered 2060 --rendered-seed 1 --factor 2 --fractions 0.970874,0.029126,0 --out CACHE
    python -m training prepare --rendered 304 --rendered-seed 4 --factor 2 --fractions 0.013158,0,0.986842 --out CACHE2

`S` is the seed of the test people (4 here). Draws are independent: no mirrored noise. The same command goes on where it
stopped; several may run side by side with another ``--part I/N``. ``--table`` writes ``results/ideal.md`` and
``results/ideal.png`` from what is there. Models are `LatentDiffusion` or `ConditionalLatentDiffusion`, whose PET is
measured at 2 mm, before it is interpolated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import ideal_figures as tell  # noqa: E402

RESULTS = Path(__file__).parent / "results"
TRACERS = ("TAU", "PIB", "PBR")
#: Draws of the law's posterior, and how many PET are decoded at once.
IDEAL_DRAWS, AT_ONCE = 512, 8
#: Principal components of the PET that the control predicts.
COMPONENTS = 24


def opened(cache: Path, part: str):
    """Data set of a part of a cache's split, blocks of 2 mm."""
    from training.data.cache import open_cache
    from training.data.dataset import PetDataset
    from training.data.split import FILE, load_split

    found = open_cache(cache)
    return PetDataset(found, getattr(load_split(cache / FILE, found), part), factor=2)


def suvr(item: dict) -> np.ndarray:
    """SUVR [X, Y, Z] of an item's PET."""
    from RelAPETLib.tracers import TRACERS as FACTS

    low, high = FACTS[item["tracer"]].suvr_window
    return low + (item["pet"][0].numpy() + 1) / 2 * (high - low)


def decibels(error: np.ndarray, inside: np.ndarray) -> float:
    """PSNR inside the brain, data range 3 SUVR."""
    return float(-10 * np.log10(np.square(error[inside] / 3).mean()))


class Known:
    """Training and test people, regions, and what every method is measured with.

    Args:
        options: with `train`, `test`, `seed`, `out` and `people`, as `main` reads them.
        part: "I/N": only every Nth person, from the Ith, is drawn.
        draw: tracers to draw.
    """

    def __init__(self, options, part: str = "1/1", draw: Sequence[str] = TRACERS):
        from RelAPETLib.phantom.people import template_maps
        from RelAPETLib.phantom.truth import region_weights

        self.options, self.part = options, part
        self.inside = template_maps(2)["brain"] > 0.5
        weights = region_weights(2)[:, self.inside]
        self.weights = weights / weights.sum(1, keepdims=True)
        self.train, self.test = opened(options.train, "train"), opened(options.test, "test")
        cases = list(dict.fromkeys(item.case for item in self.test.items))[: options.people]
        first, parts = map(int, part.split("/"))
        self.cases = cases
        mine = set(cases[first - 1 :: parts])
        self.places = [place for place, item in enumerate(self.test.items) if item.case in set(cases)]
        self.mine = [
            place for place in self.places
            if self.test.items[place].case in mine and self.test.items[place].tracer in draw
        ]  # fmt: skip

    def regions(self, volumes: np.ndarray) -> np.ndarray:
        """Means [..., 12] of volumes [..., X, Y, Z]."""
        return volumes[..., self.inside] @ self.weights.T

    def kept(self, name: str, make) -> dict[str, np.ndarray]:
        """Arrays of a file of the output folder, which is made once."""
        path = self.options.out / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.stem}.{self.part.replace('/', '-')}.part.npz")
            np.savez(part, **make())
            part.replace(path)
        with np.load(path) as file:
            return dict(file)

    def training(self) -> dict[str, np.ndarray]:
        """Mean PET, measured regions [n, 12] and their tracers, of the training people."""

        def make():
            total = {tracer: np.zeros(self.train.shape) for tracer in TRACERS}
            rows, names, cases = [], [], []
            for place, scan in enumerate(self.train.items):
                volume = suvr(self.train[place])
                total[scan.tracer] += volume
                rows.append(self.regions(volume)), names.append(scan.tracer), cases.append(scan.case)
            means = {f"mean_{t}": (total[t] / names.count(t)).astype(np.float32) for t in TRACERS}
            return {**means, "regions": np.stack(rows), "tracer": np.array(names), "case": np.array(cases)}

        return self.kept("training", make)

    def truth(self, place: int, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ideal answers about a test scan, what was measured, and how well mean PET and ideal mean fit it."""
        scan = self.test.items[place]
        found = self.kept(f"truth/{scan.case}", lambda: self._truth_of_person(scan.case, means))
        known = {key: found[key] for key in ("positive", "probability")}
        end = f"_{scan.tracer}"
        return known | {key.removesuffix(end): value for key, value in found.items() if key.endswith(end)}

    def _truth_of_person(self, case: str, means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        from RelAPETLib.phantom.hidden import probability_positive
        from RelAPETLib.phantom.people import make_person
        from RelAPETLib.phantom.truth import component_maps, posterior_draws

        person = make_person(self.options.seed, int(case.split("-")[1]))
        maps = component_maps(person)
        matrix = self.regions(maps)
        draws = posterior_draws(person, IDEAL_DRAWS, person.rng("ideal benchmark"))
        found = {
            "positive": np.array(person.hidden.positive),
            "probability": probability_positive(person.factors[None])[0],
        }
        for place, scan in enumerate(self.test.items):
            if scan.case == case:
                tracer, measured = scan.tracer, suvr(self.test[place])
                best = np.tensordot(person.uptake[tracer].vector(expected=True), maps, 1) * self.inside
                found |= {
                    f"measured_{tracer}": self.regions(measured),
                    f"draws_{tracer}": draws[tracer] @ matrix,
                    f"mean_db_{tracer}": decibels(means[f"mean_{tracer}"] - measured, self.inside),
                    f"oracle_db_{tracer}": decibels(best - measured, self.inside),
                }
        return found


class Drawn:
    """A bundle's network, drawing latents and decoding them at 2 mm."""

    def __init__(self, folder: Path, steps: int):
        import torch

        from RelAPETLib.models import load_model

        self.torch, self.steps = torch, steps
        self.method = load_model(folder).method
        self.network = self.method.network.eval()

    def encoded(self, item: dict):
        """Encoded condition of an item's MRI."""
        import torch

        mri = torch.cat([item["t1w"], item["t2f"]])[None]
        with torch.inference_mode():
            features = self.network.inner_features(mri)
            if hasattr(self.network, "encoded_of"):
                return self.network.encoded_of(self.network.scores(features), features)
            return self.network.head(features).flatten(1, 2)

    def draws(self, item: dict, encoded, count: int, seed: int, measure) -> list:
        """What `measure` says of `count` independent PET [X, Y, Z] in SUVR."""
        from RelAPETLib.diffusion import sample, seeded_noise
        from RelAPETLib.tracers import TRACERS as FACTS

        torch, method, label = self.torch, self.method, FACTS[item["tracer"]].label
        low, high = FACTS[item["tracer"]].suvr_window
        gives = getattr(self.network, "gives", "noise")
        predict = method.predict_noise if gives == "noise" else method.denoise
        found = []
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            z = sample(
                lambda x_t, t: predict(x_t, encoded, t, label).float(), (count, *method.diffusion_shape),
                method.schedule, gives=gives, sampler="dpmpp", steps=self.steps, noise=seeded_noise(seed),
            )  # fmt: skip
            for some in z.split(AT_ONCE):
                labels = torch.full((len(some),), label)
                volumes = self.network.decode_inner(some, labels).float().clamp(0, 1)[:, 0]
                found += [measure(low + volume.numpy() * (high - low)) for volume in volumes]
        return found


def run_model(known: Known, name: str, folder: Path) -> None:
    """Draw every test scan of this part by one model, its own MRI in view and then another person's."""
    options = known.options
    model = Drawn(folder, options.steps)
    means = known.training()
    others = {case: known.cases[(k + 1) % len(known.cases)] for k, case in enumerate(known.cases)}
    first_of = {item.case: place for place, item in reversed(list(enumerate(known.test.items)))}
    for number, place in enumerate(known.mine):
        known.truth(place, means)
        other = first_of[others[known.test.items[place].case]]
        known.kept(f"{name}/{place:04d}", lambda place=place, other=other: drawn(known, model, place, other))
        if number % 20 == 0:
            print(f"{name}: {number + 1} of {len(known.mine)}", flush=True)


def drawn(known: Known, model: Drawn, place: int, other: int) -> dict[str, np.ndarray]:
    """Draws of a test scan, and with the MRI of another."""
    options, item = known.options, known.test[place]
    measured, total = suvr(item), np.zeros(known.test.shape)

    def measure(volume: np.ndarray) -> tuple[np.ndarray, float]:
        nonlocal total
        total = total + volume
        return known.regions(volume), decibels(volume - measured, known.inside)

    own = model.draws(item, model.encoded(item), options.draws, 1000 + place, measure)
    mean = total / options.draws
    shuffled = model.draws(item, model.encoded(known.test[other]), options.shuffled, 1000 + place, measure)
    return {
        "draws": np.stack([row for row, _ in own]),
        "one_db": own[0][1],
        "mean_db": decibels(mean - measured, known.inside),
        "shuffled": np.stack([row for row, _ in shuffled]),
    }


def run_control(known: Known, folder: Path, registered: Path | None = None) -> dict[str, np.ndarray]:
    """What a ridge regression on the same block features says of the test scans.

    Regional SUVR and its errors, from a regression of their own; and the PSNR of whole images, from one of the PET's
    first principal components. With a cache of training people from raw scans the fit is shown half of the people as
    registered, as the demo model's own regression is.
    """

    def make():
        import torch

        from RelAPETLib.evaluation.ridge import ridge
        from training.methods.rela.latent.regression import as_registered, cases_of

        network = Drawn(folder, 1).network
        index = network.head_index.long()

        def features(dataset) -> dict[str, torch.Tensor]:
            return {case: network.inner_features(mri)[0].flatten()[index] for case, mri in cases_of(dataset, print)}

        def of_scans(dataset, found: dict[str, torch.Tensor]) -> np.ndarray:
            return np.stack([found[item.case].numpy() for item in dataset.items])

        of_train = features(known.train)
        if registered:
            seen = features(opened(registered, "train"))
            of_train = as_registered(of_train, [seen[c] - of_train[c] for c in sorted(seen) if c in of_train], 0)
        train, test = of_scans(known.train, of_train), of_scans(known.test, features(known.test))
        trained = known.training()
        tracers = np.array([item.tracer for item in known.test.items])
        guess, fits = np.zeros((len(tracers), 12)), np.full(len(tracers), np.nan)
        found = {}
        for tracer in TRACERS:
            rows = trained["tracer"] == tracer
            centre, target = train[rows].mean(0, dtype=float), trained["regions"][rows]
            mean = target.mean(0)
            weights, left_out, _ = ridge(train[rows] - centre, target - mean)
            guess[tracers == tracer] = mean + (test[tracers == tracer] - centre) @ weights.T
            found[f"errors_{tracer}"] = target - mean - left_out
            mean, basis, scores = principal_components(known, tracer)
            weights, _, _ = ridge(train[rows] - centre, scores)
            for place in (place for place in known.places if tracers[place] == tracer):
                volume = mean + basis @ (weights @ (test[place] - centre))
                error = volume - suvr(known.test[place])[known.inside]
                fits[place] = -10 * np.log10(np.square(error / 3).mean())
        return {"guess": guess, "mean_db": fits, **found}

    return known.kept("control, half as registered" if registered else "control", make)


def principal_components(known: Known, tracer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [V], first directions [V, k] and scores [n, k] of the training people's PET with a tracer, in the brain."""
    places = [place for place, item in enumerate(known.train.items) if item.tracer == tracer]
    volumes = np.empty((len(places), int(known.inside.sum())), np.float32)
    for row, place in enumerate(places):
        volumes[row] = suvr(known.train[place])[known.inside]
    mean = volumes.mean(0)
    volumes -= mean
    values, vectors = np.linalg.eigh(volumes @ volumes.T)
    values, vectors = values[-COMPONENTS:], vectors[:, -COMPONENTS:]
    basis = volumes.T @ (vectors / np.sqrt(values))
    return mean, basis, (volumes @ basis).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--seed", type=int, default=4, help="of the test people")
    add("--train-seed", type=int, default=1, help="of the training people")
    add("--out", type=Path, required=True)
    add("--bundle", action="append", default=[], metavar="NAME=FOLDER", help="a model; the first one's features serve "
        "the control")  # fmt: skip
    add("--people", type=int, default=300)
    add("--draws", type=int, default=39, help="of a scan; intervals need 39")
    add("--shuffled", type=int, default=10, help="draws with another person's MRI")
    add("--steps", type=int, default=12, help="network calls of a draw")
    add("--draw", nargs="+", default=list(TRACERS), choices=TRACERS, help="tracers to draw now; the table needs all")
    add("--part", default="1/1", metavar="I/N")
    add("--truth", action="store_true", help="only the ideal answers")
    add("--control", action="store_true", help="only the control")
    add("--table", action="store_true", help="write results/ideal.md and ideal.png from what is there")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    known = Known(options, options.part, options.draw)
    bundles = dict(word.split("=", 1) for word in options.bundle)
    if options.control or options.table:
        control = run_control(known, Path(next(iter(bundles.values()))))
    if options.table:
        lines = tell.table(known, bundles, control, RESULTS / "ideal.png")
        head = ["# Draws beside the ideal answer", "", f"{date.today()}, CPU.", ""]
        (RESULTS / "ideal.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
        print("\n".join(lines))
    elif options.truth:
        means = known.training()
        for place in known.mine:
            known.truth(place, means)
    elif not options.control:
        for name, folder in bundles.items():
            run_model(known, name, Path(folder))


if __name__ == "__main__":
    main()
