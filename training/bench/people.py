"""The simulated people of the bench, and what could at best be said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.tracers import TRACERS as FACTS

from ..data.cache import Cache, alone_in, open_cache
from ..data.dataset import PetDataset
from ..data.split import FILE, Split, load_split
from ..drawn import keep_arrays, kept_arrays
from ..words import say
from .settings import FACTOR

if TYPE_CHECKING:
    from RelAPETLib.phantom.people import Person

#: Seeds of the simulated people; nobody is in both.
TRAIN_SEED, TEST_SEED = 1, 2
#: Law of their uptake.
LAW = 2
#: What another job may take to render everybody.
RENDERING_SECONDS = 3600.0
#: Draws of the law's posterior.
IDEAL_DRAWS = 512
#: Regions of `RelAPETLib.phantom.factors.REGIONS` in the mean that amyloid status is read from, and those of cortex.
COMPOSITE, CORTEX = [0, 1, 2, 5], slice(0, 6)


@dataclass(frozen=True)
class Scan:
    """One measured PET.

    Attributes:
        place: in its data set.
        case, tracer: which one.
        suvr: blocks [X, Y, Z].
    """

    place: int
    case: str
    tracer: str
    suvr: np.ndarray


@dataclass(frozen=True)
class Cohort:
    """Everybody.

    Attributes:
        cache, split: of the training and validation people, as ``train`` takes them.
        train, validation, test: data sets.
        truth: by test case: ``positive``, and of each tracer T ``mean_T`` [X, Y, Z] and ``draws_T`` [512, 12] of the
            law's posterior given the MRI, in SUVR.
        inside: bool [X, Y, Z], blocks that are brain for more than half.
        weights: [12, X, Y, Z], how much of a region a block holds.
    """

    cache: Path
    split: Path
    train: PetDataset
    validation: PetDataset
    test: PetDataset
    truth: dict[str, dict[str, np.ndarray]]
    inside: np.ndarray
    weights: np.ndarray

    def scans(self, dataset: PetDataset) -> list[Scan]:
        """Every measured PET of a data set."""
        return [scan_of(dataset, place) for place in range(len(dataset))]

    def regions(self, volumes: np.ndarray) -> np.ndarray:
        """Regional means [..., 12] of volumes [..., X, Y, Z]."""
        return regional(volumes, self.weights)


def scan_of(dataset: PetDataset, place: int) -> Scan:
    """The measured PET of an item, in SUVR."""
    item = dataset[place]
    return Scan(place, item["case"], item["tracer"], to_suvr(item["pet"][0].numpy(), item["tracer"]))


def to_suvr(pet: np.ndarray, tracer: str) -> np.ndarray:
    """SUVR of values in [-1, 1]."""
    low, high = FACTS[tracer].suvr_window
    return low + (np.asarray(pet, np.float32) + 1) / 2 * (high - low)


def regional(volumes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means [..., R] of volumes [..., X, Y, Z] with the weights [R, X, Y, Z] of each region."""
    flat = weights.reshape(len(weights), -1)
    return volumes.reshape(*volumes.shape[:-3], -1) @ (flat / flat.sum(1, keepdims=True)).T


def pooled(volumes: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of so many voxels a side of volumes [..., X, Y, Z]."""
    *rest, x, y, z = volumes.shape
    return volumes.reshape(*rest, x // factor, factor, y // factor, factor, z // factor, factor).mean((-5, -3, -1))


def load_cohort(out: Path, cache: Path | None, test: Path | None, train: int, validation: int, tested: int) -> Cohort:
    """Everybody, from caches that are there or are rendered now, and their truth.

    Args:
        out: of the bench; keeps what is made here.
        cache, test: of ``prepare --rendered N --rendered-seed 1`` (test: 2) ``--factor 10``; None makes them.
        train, validation, tested: how many people to train on, to measure the errors of methods without a spread,
            and to test on; the first of each cache's own part.

    Raises:
        InputError: caches of other blocks or other people, or with too few of them.
    """
    given = [(folder, seed) for folder, seed in ((cache, TRAIN_SEED), (test, TEST_SEED)) if folder]
    for folder, seed in given:  # before minutes of rendering
        _checked(folder, seed)
    with alone_in(out, wait=RENDERING_SECONDS):  # several jobs may begin side by side
        cache = cache or rendered(out / "people", train + validation, TRAIN_SEED, (train, validation, 0))
        test = test or rendered(out / "test", tested + 1, TEST_SEED, (1, 0, tested))
        return _opened(out, cache, test, train, validation, tested)


def _checked(folder: Path, seed: int) -> tuple[Cache, Split]:
    """A cache and its split. Raises `InputError` unless they are of the bench's blocks and people."""
    cache = open_cache(folder)
    made = {name: cache.index["options"].get(name) for name in ("rendered_seed", "law")}
    if cache.factor != FACTOR or made != {"rendered_seed": seed, "law": LAW}:
        raise InputError(
            f"{folder}: not of 'prepare --rendered N --rendered-seed {seed} --factor {FACTOR}'; leave the option "
            "out, and the bench renders its people itself"
        )
    return cache, load_split(folder / FILE, cache)


def _opened(out: Path, cache: Path, test: Path, train: int, validation: int, tested: int) -> Cohort:
    from RelAPETLib.phantom.people import template_maps
    from RelAPETLib.phantom.truth import region_weights

    (opened, whole), (other, others) = _checked(cache, TRAIN_SEED), _checked(test, TEST_SEED)
    people = others.part("test")[:tested]
    if len(whole.train) < train or len(whole.validation) < validation or len(people) < tested:
        raise InputError(
            f"{cache}, {test}: too few people; {train} to train on, {validation} to validate and {tested} to test on "
            "are wanted"
        )
    split = subset(out / f"split-{train}-{validation}.json", whole, train, validation)
    how = {"factor": FACTOR}
    dataset = PetDataset(other, people, **how)
    mask = template_maps(2)["brain"] > 0.5
    weights = pooled(region_weights(2), FACTOR // 2)
    truth = _truth(out / "truth", list(dict.fromkeys(item.case for item in dataset.items)), mask, weights)
    training = PetDataset(opened, whole.train[:train], **how)
    held_out = PetDataset(opened, whole.validation[:validation], **how)
    check_scans(training, held_out, dataset)
    return Cohort(
        cache=cache,
        split=split,
        train=training,
        validation=held_out,
        test=dataset,
        truth=truth,
        inside=pooled(mask.astype(np.float32), FACTOR // 2) > 0.5,
        weights=weights,
    )


def check_scans(train: PetDataset, validation: PetDataset, test: PetDataset) -> None:
    """Raise `InputError` where a tracer has too few scans for the ridge regression or an SD of errors: few have all."""
    for dataset, least, words in ((train, 3, "train on"), (validation, 2, "validate on")):
        for tracer in dict.fromkeys(item.tracer for data in (train, test) for item in data.items):
            count = sum(item.tracer == tracer for item in dataset.items)
            if count < least:
                raise InputError(
                    f"bench: {count} {tracer} scans of the people to {words}, where {least} are wanted; use more"
                )


def rendered(folder: Path, people: int, seed: int, parts: tuple[int, int, int], factor: int = FACTOR) -> Path:
    """A cache of rendered people, made or gone on with."""
    from ..data import prepare
    from ..data.rendered import rendered_people
    from ..data.split import make_split

    if not (folder / FILE).exists():
        say(f"rendering {people} people into {folder}")
        prepare.prepare(
            rendered_people(people, seed, LAW), folder, prepare.Options(factor=factor),
            workers=prepare.default_workers(), progress=lambda message: None,
        )  # fmt: skip
        cache = open_cache(folder)
        make_split(cache.subjects, fractions=[part / people for part in parts]).save(folder / FILE)
    return folder


def subset(path: Path, whole: Split, train: int, validation: int) -> Path:
    """Split file with the first so many training and validation people."""
    rest = (*whole.unused, *whole.train[train:], *whole.validation[validation:])
    wanted = Split(whole.train[:train], whole.validation[:validation], whole.test, rest)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        wanted.save(path)
    elif load_split(path).sha256 != wanted.sha256:
        raise InputError(f"{path}: of other people than those given now; use another --out")
    return path


def _truth(folder: Path, cases: list[str], mask: np.ndarray, weights: np.ndarray) -> dict[str, dict]:
    """The ideal answers about every test case, each kept in a file of its own."""
    from RelAPETLib.phantom.people import make_person

    found = {}
    for case in cases:
        path = folder / f"{case}.npz"
        found[case] = kept_arrays(path, say)
        if found[case] is None:
            found[case] = ideal_answers(make_person(TEST_SEED, int(case.split("-")[1]), LAW), "bench", mask, weights)
            keep_arrays(path, found[case])
    return found


def ideal_answers(person: Person, stream: str, mask: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The ideal answers about one test person: posterior mean in blocks, and draws of regional SUVR, by tracer.

    Args:
        stream: name of the random numbers of the draws.
        mask: [X, Y, Z] of the brain at 2 mm, outside which a cache's PET is 0.
        weights: [12, X, Y, Z] of the blocks of each region.
    """
    from RelAPETLib.phantom.truth import component_maps, posterior_draws

    maps = pooled(component_maps(person) * mask, FACTOR // 2)
    matrix = regional(maps, weights).T
    draws = posterior_draws(person, IDEAL_DRAWS, person.rng(stream))
    found = {"positive": np.array(person.hidden.positive)}
    for tracer in draws:
        found[f"mean_{tracer}"] = np.tensordot(person.uptake[tracer].vector(expected=True), maps, 1).astype(np.float32)
        found[f"draws_{tracer}"] = (draws[tracer] @ matrix.T).astype(np.float32)
    return found
