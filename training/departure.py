"""``departure``: mean and SD of a model's synthetic PET over the people it was trained on, in a copy of its bundle.

They are what a departure map is against (`RelAPETLib.models.departure`). Each person is drawn as a synthesis draws when
nobody says otherwise, but by one mirrored pair of samples, and with a seed of their own: with one seed for all, people
would share their noise, and the mean would keep it. Some are drawn by a second pair, which tells how much of the SD is
chance between draws. Age, sex and score are not told. Running
moments are kept after each person; the same command goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.methods.base import SEQUENCES

from .data.cache import Cache, alone_in, open_cache, pretty_json, write_whole
from .drawn import keep_arrays, kept_arrays, trained_cases

if TYPE_CHECKING:
    from RelAPETLib.models import Model
    from RelAPETLib.synthesis.departure import Blocks

#: With fewer people S is too rough to divide by: its relative standard error is 1 / sqrt(2 (n - 1)), here 13 %.
LEAST_PEOPLE = 30
#: Where 6 % are left.
WANTED_PEOPLE = 150
#: S is not below this share of its median in the brain: a departure must not be large only since nobody ever varies.
FLOOR = 0.25
#: People drawn by two pairs; fewer than `LEAST_TWICE` do not tell chance.
TWICE, LEAST_TWICE = 40, 20
SETTINGS, MOMENTS = "settings.json", "moments.npz"


def departures_bundle(
    bundle: str | Path,
    training: Path,
    out: Path,
    work: Path,
    *,
    people: int = WANTED_PEOPLE,
    twice: int = TWICE,
    split_file: Path | None = None,
    version: str | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Write a copy of a bundle with norms of departure, and return its metadata.

    Args:
        bundle: folder, or a name of the catalogue.
        training: cache that the model was trained on; the first `people` of its split's training part are drawn.
        work: folder for the running moments.
        people: how many at most, at least `LEAST_PEOPLE`.
        twice: how many of them by two pairs of samples, at least `LEAST_TWICE`.
        split_file: of the training cache; None is the one beside it.
        version: of the new bundle; None keeps the old one's.

    Raises:
        InputError: too few people, another cache or split than the model's, a `work` folder of other draws, or a model
            that draws everybody the same.
        ModelError: the bundle is damaged.
        OutputError: `out` exists and may not be replaced.
    """
    from RelAPETLib.models import load_model
    from RelAPETLib.models.additions import write_departures
    from RelAPETLib.models.bundle import reserve_bundle

    if twice < LEAST_TWICE:
        raise InputError(f"--twice {twice}: too few to tell chance from people; at least {LEAST_TWICE} are wanted")
    with reserve_bundle(Path(out), overwrite):
        pass  # refused before the long work
    cache = open_cache(training)
    model = load_model(Path(bundle) if Path(bundle).is_dir() else str(bundle))
    cases = training_cases(model, cache, people, split_file)
    moments = draw_moments(model, cache, cases, twice, Path(work), progress)
    facts, arrays = norms(model, cache, moments)
    for name, own in facts["tracers"].items():
        words = f"{name}: {len(cases)} people; S of {own['median_sd']:.3g} in the median, not below {own['floor']:.3g} "
        progress(f"{words}({100 * own['floored']:.1f} % of the brain raised to it)")
    if len(cases) < WANTED_PEOPLE:
        progress(f"{len(cases)} people give a rough S; at least {WANTED_PEOPLE} are wanted")
    return write_departures(model.folder, out, facts, arrays, version=version, overwrite=overwrite)


def training_cases(model: Model, cache: Cache, most: int, split_file: Path | None = None) -> list[str]:
    """One case of each of the first training people, by the split, see `trained_cases`.

    Raises:
        InputError: another cache or split than the bundle's, no split where it knows one, or too few people.
    """
    known = model.metadata["training_data"]
    if known.get("cache_sha256") != cache.sha256:
        raise InputError(f"{cache.folder}: not the cache that model {model.name} was trained on; give that one")
    cases = trained_cases(model, cache, split_file)[:most]
    if len(cases) < LEAST_PEOPLE:
        raise InputError(f"{len(cases)} training people are too few for an SD; at least {LEAST_PEOPLE} are wanted")
    return cases


def _plans(model: Model, pairs: int = 1):
    """How a person is drawn; a model that gives the same PET each time, too, whose chance is then found to be none."""
    from RelAPETLib.synthesis.options import Options, resolve

    return [replace(plan, samples=2 * pairs) for plan in resolve(Options("all", yes=True), model)]


def draw_moments(model: Model, cache: Cache, cases: list[str], twice: int, folder: Path, progress) -> dict:
    """Running moments over people by name, going on where an earlier call stopped.

    Returns:
        ``count`` of people, ``twice`` (those with two pairs), ``inverse`` (mean over people of 1 / their pairs), and
        of each tracer ``mean_T``, ``squares_T`` (sum of squared deviations of people's means), ``pairs_T`` (mean over
        those with two pairs of the variance between the pairs' means) and ``halves_T`` (mean over people of the square
        of half the difference within a pair), float64 [40, 45, 40].

    Raises:
        InputError: the folder holds draws of another model, cache or sampling.
    """
    first = _plans(model)[0]
    settings = {"weights_sha256": model.weights_sha256, "cache_sha256": cache.sha256, "twice": twice,
                "sampler": first.sampler, "steps": first.steps, "cases": cases}  # fmt: skip
    with alone_in(folder):
        path = folder / SETTINGS
        if path.exists():
            earlier = read_json_object(path)
            drawn = earlier.pop("cases", [])
            same = earlier == {key: value for key, value in settings.items() if key != "cases"}
            if not same or drawn != cases[: len(drawn)]:
                raise InputError(f"{path}: draws of another model, cache, people or sampling; choose another --work")
        write_whole(path, pretty_json(settings))
        moments = kept_arrays(folder / MOMENTS, progress)
        if moments is None:
            moments = {"count": np.int64(0), "twice": np.int64(0), "inverse": np.float64(0)}
        for number in range(int(moments["count"]), len(cases)):
            _add(moments, draw_person(model, cache, cases[number], 2 if number < twice else 1, seed=number + 1))
            keep_arrays(folder / MOMENTS, moments)
            progress(f"{number + 1} of {len(cases)}: {cases[number]}")
    return moments


def _add(moments: dict, drawn: dict[str, np.ndarray]) -> None:
    """One more person (Welford 1962): no sum of squares loses its digits to a large mean."""
    count, pairs = int(moments["count"]) + 1, len(next(iter(drawn.values()))) // 2
    moments["count"] = np.int64(count)
    moments["twice"] = moments["twice"] + (pairs > 1)
    moments["inverse"] = moments["inverse"] + (1 / pairs - moments["inverse"]) / count
    for tracer, samples in drawn.items():
        samples = samples.astype(np.float64)
        of_pairs = (samples[0::2] + samples[1::2]) / 2
        half = (samples[0::2] - samples[1::2]) / 2
        zero = np.zeros(samples.shape[1:])
        mean, squares = (moments.get(f"{kind}_{tracer}", zero) for kind in ("mean", "squares"))
        own = of_pairs.mean(0)
        delta = own - mean
        moments[f"mean_{tracer}"] = mean + delta / count
        moments[f"squares_{tracer}"] = squares + delta * (own - moments[f"mean_{tracer}"])
        running = [("halves", (half**2).mean(0), count)]
        if pairs > 1:
            running.append(("pairs", of_pairs.var(0, ddof=1), int(moments["twice"])))
        for kind, value, people in running:
            before = moments.get(f"{kind}_{tracer}", zero)
            moments[f"{kind}_{tracer}"] = before + (value - before) / people


def draw_person(model: Model, cache: Cache, case: str, pairs: int, seed: int) -> dict[str, np.ndarray]:
    """Samples of each tracer as means over 4 mm blocks of the brain, [2 pairs, 40, 45, 40], in the PET's units."""
    import torch

    from RelAPETLib.scaling import to_units
    from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples

    mri = np.stack([_whole(cache, case, name) for name in SEQUENCES])
    conditioned, found = ConditionedModel(model, torch.from_numpy(mri)[None]), {}
    for plan in _plans(model, pairs):
        kept = _Kept(_brain(), lambda values, window=plan.window: to_units(values, window))
        draw_samples(conditioned, replace(plan, seed=seed), yes=True, counter=kept)
        found[plan.tracer.name] = np.stack(kept.samples)
    return found


def _whole(cache: Cache, case: str, name: str) -> np.ndarray:
    """A stored volume as voxels of the model grid, float32 [160, 180, 160]."""
    array = np.asarray(cache.array(case, name), np.float32)
    for axis in range(3):
        array = array.repeat(cache.factor, axis)
    return array


def _brain() -> Blocks:
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.registration.template import load_template
    from RelAPETLib.synthesis.departure import Blocks

    return Blocks.of(image_to_array(load_template().mask) > 0)


class _Kept:
    """What `draw_samples` shows each sample to: keeps its means over blocks."""

    def __init__(self, blocks: Blocks, in_units: Callable[[np.ndarray], np.ndarray]):
        self.blocks, self.in_units, self.samples = blocks, in_units, []

    def means(self, volume: np.ndarray) -> dict[str, float]:
        self.samples.append(self.blocks.means(self.in_units(volume)))
        return {}


def norms(model: Model, cache: Cache, moments: dict) -> tuple[dict, dict[str, np.ndarray]]:
    """``departure`` of the metadata, and the arrays of its file.

    Raises:
        InputError: a tracer's synthetic PET is the same for everybody.
    """
    from RelAPETLib.models.departure import FACTOR
    from RelAPETLib.synthesis.departure import LEAST_BRAIN

    from .calibrate import population

    count, arrays, tracers = int(moments["count"]), {}, {}
    inside = _brain().share >= LEAST_BRAIN
    for plan in _plans(model):
        name = plan.tracer.name
        mean, squares, between, halves = (moments[f"{kind}_{name}"] for kind in ("mean", "squares", "pairs", "halves"))
        sd = np.sqrt(squares / (count - 1))
        median = float(np.median(sd[inside]))
        if not median > 1e-6:
            raise InputError(f"{name}: the model draws the same PET for everybody; there is nothing to depart from")
        floor = float(np.float32(FLOOR * median))
        chance = float(between[inside].mean())
        arrays[f"mean_{name}"] = np.where(inside, mean, 0)
        arrays[f"sd_{name}"] = np.where(inside, np.maximum(sd, floor), 0)
        arrays[f"noise_{name}"] = np.where(inside, np.sqrt(between), 0)
        tracers[name] = {
            "floor": floor,
            "floored": round(float((sd[inside] < floor).mean()), 6),
            "median_sd": round(median, 6),
            "single_to_pair": round(1 + float(halves[inside].mean()) / chance, 6) if chance > 1e-12 else 1.0,
        }
    plan = _plans(model)[0]
    facts = {
        "spacing_mm": FACTOR,
        "population": population(cache, cache) | {"people": count, "description": _described(cache, count)},
        "sampling": {"sampler": plan.sampler, "steps": plan.steps},
        "noise": {"people": int(moments["twice"]), "share": round(float(moments["inverse"]), 6)},
        "tracers": tracers,
    }
    facts["population"].pop("training_sha256")
    return facts, {name: array.astype(np.float32) for name, array in arrays.items()}


def _described(cache: Cache, count: int) -> str:
    who = "simulated training people" if cache.index["simulated"] else "training people"
    return f"the first {count} {who}, drawn from their MRI alone"
