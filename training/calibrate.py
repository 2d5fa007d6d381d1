"""``calibrate``: intervals of regional SUVR and an outlier gate for a bundle, from people whom no training saw.

It lives here and not in ``relapet models``, since people with a measured PET on the model grid lie in caches, which
this package alone reads. Every person is drawn as a synthesis draws them when nobody says otherwise (sampler, steps,
samples and seed of the bundle), into ``DRAWS/CASE.npz``: ``synthetic_TRACER``, ``spread_TRACER`` and
``measured_TRACER``, means of the regions of ``Resources/regions``, and ``features``. The same command goes on where it
stopped. Of a person with several cases one is drawn: errors of the same person are not independent, and coverage is
told by how many people there are.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.registration import AUTO, USUAL
from RelAPETLib.tracers import TRACERS

from .data.cache import Cache, alone_in, open_cache, pretty_json, write_whole
from .drawn import keep_arrays, kept_arrays, trained_cases

if TYPE_CHECKING:
    from RelAPETLib.models import Model

#: With fewer people the coverage of one calibration is too uncertain to be promised (95 % band of 90 %: 86 to 94 %).
WANTED_PEOPLE = 200
#: Training people whose features say what is usual, at most.
REFERENCE_PEOPLE = 600
SETTINGS, REFERENCE = "settings.json", "reference/features.npz"
#: Seed of the draws: that of a synthesis when nobody says otherwise.
SEED = 0


@dataclass(frozen=True)
class Choices:
    """How intervals are made; see `RelAPETLib.evaluation.conformal.calibrate`."""

    level: float = 0.9
    normalised: bool = True
    asymmetric: bool = True
    floor: float = 0.05


def calibrate_bundle(
    bundle: str | Path,
    data: Path,
    training: Path,
    out: Path,
    draws: Path,
    choices: Choices = Choices(),
    *,
    weights: Path | None = None,
    split_file: Path | None = None,
    version: str | None = None,
    overwrite: bool = False,
    reference_people: int = REFERENCE_PEOPLE,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Write a copy of a bundle with a calibration, and return its metadata.

    Args:
        bundle: folder, or a name of the catalogue.
        data: cache of the people who calibrate; all of them do, whatever its split.
        training: cache of the people that the model was trained on.
        draws: folder for what was drawn of each person.
        split_file: of the training cache; None is the one beside it.
        weights: TSV with ``participant_id`` and ``weight``: how much more often people to come are like each.
        version: of the new bundle; None keeps the old one's.

    Raises:
        InputError: somebody is in both caches, another training cache or split than the bundle's, weights or draws that
            do not fit, or a cache of blocks that the model was not trained on.
        ModelError: the bundle is damaged.
        OutputError: `out` exists and may not be replaced.
    """
    from RelAPETLib.models import load_model
    from RelAPETLib.models.additions import write_calibrated
    from RelAPETLib.models.bundle import reserve_bundle

    if not all(find_spec(name) for name in ("scipy", "sklearn")):
        raise InputError("calibrate needs scipy and scikit-learn; install them with: pip install 'relapet[evaluation]'")
    if not 0 < choices.level < 1 or not 0 < choices.floor < math.inf:
        raise InputError(f"level {choices.level:g}, floor {choices.floor:g}: between 0 and 1, and above 0, are wanted")
    with reserve_bundle(Path(out), overwrite):
        pass  # refused before the long work
    people, trained = open_cache(data), open_cache(training)
    model = load_model(Path(bundle) if Path(bundle).is_dir() else str(bundle))
    check_people(model, people, trained)
    counted = _weights(weights, people)
    drawn = draw_people(model, people, draws, progress)
    facts = {
        "population": population(people, trained),
        "sampling": _sampling(model) | _told_values(model),
        "intervals": _intervals(drawn, choices, counted, progress),
    }
    usual = functools.partial(trained_cases, model, trained, split_file)
    arrays = _gate(model, drawn, trained, lambda: usual()[:reference_people], draws, progress)
    return write_calibrated(model.folder, out, facts, arrays, version=version, overwrite=overwrite)


def check_people(model: Model, people: Cache, trained: Cache) -> None:
    """Raise `InputError` unless these people are others than the training's, and come as the model takes them.

    The same person is who has the same stored T1w or T2F, or the same name in a cache from the same source. PET of
    another reference region or window are no measure of what the model draws.
    """
    known = model.metadata["training_data"]
    if known.get("cache_sha256") != trained.sha256:
        raise InputError(f"{trained.folder}: not the cache that model {model.name} was trained on; give that one")
    trained_factor = known.get("preprocessing", {}).get("factor", 1)
    if people.factor not in (1, trained_factor):
        raise InputError(
            f"{people.folder}: holds means of {people.factor} mm blocks, on which the model was not trained; run "
            f"prepare with --factor {trained_factor} into another folder"
        )
    for tracer in model.metadata["tracers"]:
        for what, mine, theirs in zip(_SCALES, _scale(people, tracer), _scale(trained, tracer), strict=True):
            if None not in (mine, theirs) and mine != theirs:
                raise InputError(
                    f"{people.folder}: {what} of {tracer} is {mine}, and was {theirs} when model {model.name} was "
                    "trained; run prepare with that into another folder"
                )
    shared = sorted(_marks(people).keys() & _marks(trained).keys())
    if shared:
        who = _marks(people)[shared[0]]
        raise InputError(
            f"{people.folder}: {who} is in the training cache too ({len(shared)} scans or names are in both); "
            "people who calibrate must be others"
        )


_SCALES = ("the reference region", "the window")


def _scale(cache: Cache, tracer: str) -> tuple[str | None, str | None]:
    """What a cache's PET of a tracer are relative to, and of which minutes; None where nobody said."""
    options = cache.index["options"]
    region = options.get("reference_region")
    region = TRACERS[tracer].reference_region if region == "tracer" else region
    return region, options.get("frames", {}).get(tracer)


def _marks(cache: Cache) -> dict[tuple, str]:
    """What tells a person, and their name: hashes of the stored MRI, and source and name."""
    options = cache.index["options"]
    source = (cache.index["source"], options.get("rendered_seed"), options.get("law"))
    marks: dict[tuple, str] = {}
    for record in cache.index["cases"]:
        marks[("name", *source, record["subject"])] = record["subject"]
        marks |= {(name, record[name]["sha256"]): record["subject"] for name in SEQUENCES}
    return marks


def population(people: Cache, trained: Cache) -> dict:
    """``population`` of a bundle's metadata."""
    index = people.index
    count = len(people.subjects)
    rendered = "rendered_seed" in index["options"]
    on_grid = rendered or index["options"].get("preprocessed", False)
    how = "rendered on the model grid" if rendered else "preprocessed" if on_grid else "registered from raw scans"
    usual = index["options"].get("method", AUTO) in (AUTO, USUAL)
    who = "simulated people" if index["simulated"] else "people"
    return {
        "description": f"{count} {who}{'' if rendered else ' of ' + repr(index['source'])}, {how}",
        "simulated": bool(index["simulated"]),
        "kind": "grid" if on_grid else "raw",
        **({} if on_grid or usual else {"registration": index["options"]["method"]}),
        "people": count,
        "cache_sha256": people.sha256,
        "training_sha256": trained.sha256,
    }


def _plans(model: Model):
    from RelAPETLib.synthesis.options import Options, resolve

    return resolve(Options("all", seed=SEED, yes=True), model)


def _sampling(model: Model) -> dict:
    plan = _plans(model)[0]
    return {"sampler": plan.sampler, "steps": plan.steps, "samples": plan.samples}


def _told_values(model: Model) -> dict:
    """What `draw_person` tells a model that uses clinical values of the people: none, as a synthesis without them."""
    return {"told": []} if "clinical" in model.method.defaults.inputs else {}


def one_case_each(people: Cache) -> list[str]:
    """A case of each person: the first of those with the most PET."""
    found: dict[str, str] = {}
    for case, record in people.cases.items():
        known = found.setdefault(record["subject"], case)
        if len(record["pets"]) > len(people.cases[known]["pets"]):
            found[record["subject"]] = case
    return list(found.values())


def draw_people(model: Model, people: Cache, folder: Path, progress=lambda message: None) -> dict[str, dict]:
    """What was drawn of each person's case, arrays by name, going on where an earlier call stopped.

    Raises:
        InputError: the folder holds draws of another model, cache or sampling.
    """
    settings = {"weights_sha256": model.weights_sha256, "cache_sha256": people.sha256, "seed": SEED, **_sampling(model)}
    found = {}
    with alone_in(folder):
        path = folder / SETTINGS
        if path.exists() and read_json_object(path) != settings:
            raise InputError(f"{path}: draws of another model, cache or sampling; choose another --draws")
        write_whole(path, pretty_json(settings))
        cases = one_case_each(people)
        for number, case in enumerate(cases, start=1):
            file = folder / f"{case}.npz"
            found[case] = kept_arrays(file, progress)
            if found[case] is None:
                found[case] = draw_person(model, people, case)
                keep_arrays(file, found[case])
                progress(f"{number} of {len(cases)}: {case}")
    return found


def draw_person(model: Model, people: Cache, case: str) -> dict[str, np.ndarray]:
    """Regional means and features of one case, drawn as a synthesis draws it."""
    import torch

    from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples

    regions = Regions(people)
    mri = np.stack([regions.whole(people.array(case, name)) for name in SEQUENCES])
    conditioned, found = ConditionedModel(model, torch.from_numpy(mri)[None]), {}
    for plan in _plans(model):
        name = plan.tracer.name
        if name not in people.cases[case]["pets"] or plan.window is None:
            continue
        drawn = draw_samples(conditioned, plan, yes=True)
        low, high = plan.window
        found[f"synthetic_{name}"] = regions.means(low + (drawn.mean + 1) / 2 * (high - low))
        spread = np.zeros_like(drawn.mean) if drawn.deviation is None else drawn.deviation * (high - low) / 2
        found[f"spread_{name}"] = regions.means(spread)
        found[f"measured_{name}"] = regions.means(regions.whole(people.array(case, f"pet_{name}")), stored=True)
    features = conditioned.features()
    return found if features is None else {**found, "features": features.numpy()}


class Regions:
    """Means over the regions of ``Resources/regions`` inside the brain, of arrays on the model grid."""

    def __init__(self, people: Cache):
        from RelAPETLib.grid import image_to_array
        from RelAPETLib.regions import load_regions
        from RelAPETLib.registration.template import load_template

        image, regions = load_regions()
        self.names, self.factor = [region.name for region in regions], people.factor
        labels = image_to_array(image) * (image_to_array(load_template().mask) > 0)
        # A stored voxel outside the stored mask holds no PET, though some of its block is brain.
        self._labels = {False: labels.ravel(), True: (labels * self.whole(people.mask())).astype(labels.dtype).ravel()}

    def whole(self, array: np.ndarray) -> np.ndarray:
        """Blocks as voxels of the model grid, float32 [160, 180, 160]; their means are what they were."""
        array = np.asarray(array, np.float32)
        for axis in range(3):
            array = array.repeat(self.factor, axis)
        return array

    def means(self, array: np.ndarray, stored: bool = False) -> np.ndarray:
        """Means [12] in order of label; `stored` counts voxels that the cache has PET of."""
        labels, number = self._labels[stored], len(self.names) + 1
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = np.bincount(labels, weights=array.ravel(), minlength=number)
            return (sums / np.bincount(labels, minlength=number))[1:]


def tracers_of(drawn: dict[str, dict]) -> list[str]:
    """Tracers that were drawn, in the program's order."""
    return [name for name in TRACERS if any(f"measured_{name}" in arrays for arrays in drawn.values())]


def stacked(drawn: dict[str, dict], tracer: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Cases with a tracer, and ``synthetic``, ``spread`` and ``measured`` of them, [n, R]."""
    cases = [case for case, arrays in drawn.items() if f"measured_{tracer}" in arrays]
    kinds = ("synthetic", "spread", "measured")
    return cases, {kind: np.stack([drawn[case][f"{kind}_{tracer}"] for case in cases]) for kind in kinds}


def _intervals(drawn: dict, choices: Choices, counted: dict[str, float] | None, progress) -> dict:
    from RelAPETLib.evaluation.conformal import calibrate, calibration_band
    from RelAPETLib.regions import load_regions

    names, tracers = [region.name for region in load_regions()[1]], {}
    for tracer in tracers_of(drawn):
        cases, arrays = stacked(drawn, tracer)
        weights = None if counted is None else [counted[case] for case in cases]
        try:
            found = calibrate(**arrays, **vars(choices), weights=weights)
        except ValueError as error:
            raise InputError(f"{tracer}: {error}") from error
        # Weights leave fewer people in effect, whose quantiles scatter more.
        size = found.n if found.effective is None else int(found.effective)
        band = calibration_band(size, choices.level, ends=2 if choices.asymmetric else 1)
        tracers[tracer] = {
            "people": found.n,
            "effective": found.effective,
            "regions": {n: [_number(a), _number(b)] for n, a, b in zip(names, found.low, found.high, strict=True)},
            "joint": _number(found.joint),
            "coverage_95": [round(end, 4) for end in band],
        }
        progress(_told(tracer, found, band))
    if not tracers:
        raise InputError("nobody in the cache has a PET in SUVR of one of the model's tracers")
    return {**vars(choices), "tracers": tracers}


def _told(tracer: str, found, band) -> str:
    words = f"{tracer}: {found.n} people; a calibration of so many covers {band[0]:.3f} to {band[1]:.3f}"
    if found.n < WANTED_PEOPLE:
        words += f"; at least {WANTED_PEOPLE} are wanted"
    infinite = int(np.isinf(found.low).sum() + np.isinf(found.high).sum())
    return words + (f"; {infinite} ends are infinite: too few people" if infinite else "")


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _gate(
    model: Model, drawn: dict, trained: Cache, cases: Callable[[], list[str]], folder: Path, progress
) -> dict[str, np.ndarray] | None:
    """Arrays of the outlier gate, where these training cases are usual; None for a method without features."""
    from RelAPETLib.evaluation.gate import fit

    calibration = [arrays["features"] for arrays in drawn.values() if "features" in arrays]
    if not calibration:
        progress(f"{model.name}: its method has no features; outliers will not be checked by them")
        return None
    reference = reference_features(model, trained, cases(), folder / REFERENCE, progress)
    try:
        gate = fit(reference, np.stack(calibration))
    except ValueError as error:
        raise InputError(f"outlier gate: {error}") from error
    return {"mean": gate.mean, "whitening": gate.whitening, "distances": gate.distances}


def reference_features(model: Model, trained: Cache, cases: list[str], file: Path, progress) -> np.ndarray:
    """Features [m, D] of training people's cases, kept in a file of the draws."""
    import torch

    from RelAPETLib.synthesis.sampling import ConditionedModel

    kept = kept_arrays(file, progress)
    if kept and str(kept.get("cache_sha256")) == trained.sha256 and list(kept.get("cases", ())) == cases:
        return kept["features"]
    regions, reference = Regions(trained), []
    for number, case in enumerate(cases, start=1):
        mri = np.stack([regions.whole(trained.array(case, name)) for name in SEQUENCES])
        reference.append(ConditionedModel(model, torch.from_numpy(mri)[None]).features().numpy())
        if number % 100 == 0:
            progress(f"features of {number} training people")
    features = np.stack(reference)
    keep_arrays(file, {"features": features, "cache_sha256": np.array(trained.sha256), "cases": np.array(cases)})
    return features


def _weights(path: Path | None, people: Cache) -> dict[str, float] | None:
    """Weights by case. Raises `InputError` for a table that does not fit."""
    if path is None:
        return None
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows: Sequence[dict] = list(csv.DictReader(stream, delimiter="\t", strict=True))
        given = {row["participant_id"]: float(row["weight"]) for row in rows}
        if not all(map(math.isfinite, given.values())):
            raise ValueError("a weight that is no finite number")
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a table with participant_id and weight, separated by tabs, is wanted") from error
    missing = [record["subject"] for record in people.index["cases"] if record["subject"] not in given]
    if missing:
        raise InputError(f"{path}: no weight of {missing[0]}")
    return {record["case"]: given[record["subject"]] for record in people.index["cases"]}
