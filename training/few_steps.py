"""``steps``: how few sampling steps of a model draw the same PET as many do, kept in a copy of the bundle.

People are drawn with the same noise by many steps, the reference, and by fewer, so that what differs is the sampler's
error. Figures are in standard deviations over people (of the reference's mean PET):

``mean``      bias over people of the mean PET: root mean square over the brain's 4 mm blocks, as a share of that of the
              standard deviation
``spread``    the same of the standard deviation over samples
``regional``  bias over people of regional SUVR: the region that has most, as a share of its own standard deviation

The smallest number of steps for which all three lie below a limit, there and for every larger number that was tried, is
the model's ``fast`` (`LIMITS`: .05) and ``balanced`` (.02). A sampler that adds noise is measured with the error of its
noise on top, which is told beside (``error``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.devices import MEASURED_PRECISION
from RelAPETLib.errors import InputError
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.methods.base import SEQUENCES

from .calibrate import SEED, SETTINGS, Regions
from .data.cache import Cache, alone_in, open_cache, pretty_json, write_whole
from .drawn import keep_arrays, kept_arrays

if TYPE_CHECKING:
    from RelAPETLib.models import Model

#: Largest figure, in standard deviations over people, by name.
LIMITS = {"fast": 0.05, "balanced": 0.02}
TRIED = (3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 50)
REFERENCE_STEPS = 100
#: A standard deviation over fewer people says nothing.
LEAST_PEOPLE = 3
#: SUVR below which a standard deviation is rounding.
LEAST_SD = 1e-6
#: Voxels a side of a block.
BLOCK = 4
FIGURES = ("mean", "spread", "regional")


@dataclass(frozen=True)
class Choices:
    """What is tried.

    Attributes:
        people: how many, the first of the cache.
        samples: of each person and tracer; 2 or more.
        tried: numbers of steps below the reference's.
        reference: number of steps that they are compared with.
    """

    people: int = 12
    samples: int = 8
    tried: tuple[int, ...] = TRIED
    reference: int = REFERENCE_STEPS


def find_steps(
    bundle: str | Path,
    data: Path,
    out: Path,
    draws: Path,
    choices: Choices = Choices(),
    *,
    version: str | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Write a copy of a bundle that says how few steps do (``quality`` of its metadata), and return its metadata.

    Args:
        bundle: folder, or a name of the catalogue.
        data: cache with the people's MRI; whether the model was trained on them makes no difference here.
        draws: folder for what was drawn of each person; the same command goes on there.
        version: of the new bundle; None keeps the old one's.

    Raises:
        InputError: too few people, samples or steps, a model that takes no steps, or draws that do not fit.
        ModelError: the bundle is damaged.
        OutputError: `out` exists and may not be replaced.
    """
    from RelAPETLib.models import load_model
    from RelAPETLib.models.bundle import reserve_bundle, rewrite_bundle

    with reserve_bundle(Path(out), overwrite):
        pass  # refused before the long work
    model = load_model(Path(bundle) if Path(bundle).is_dir() else str(bundle))
    people, choices = open_cache(data), _checked(choices, model)
    check_enough(people)
    drawn = draw_people(model, people, choices, draws, progress)
    table = [{"steps": steps, **figures(drawn, steps, choices.reference)} for steps in choices.tried]
    index = people.index
    quality = {
        "sampler": model.method.defaults.sampler,
        **{name: smallest(table, limit, choices.reference) for name, limit in LIMITS.items()},
        "reference": choices.reference,
        "measured": {
            "people": len(drawn),
            "samples": choices.samples,
            "simulated": bool(index["simulated"]),
            "cache_sha256": people.sha256,
            "table": table,
        },
    }
    changes = {"quality": quality} | ({"version": version} if version else {})
    return rewrite_bundle(model.folder, Path(out), changes, {}, overwrite=overwrite)


def _checked(choices: Choices, model: Model) -> Choices:
    """The choices as far as the model has steps; raises `InputError` where nothing is left to try."""
    defaults = model.method.defaults
    if defaults.sampler is None:
        raise InputError(f"model {model.name} draws at once: there are no steps to choose")
    if choices.samples < 2 or choices.people < LEAST_PEOPLE:
        raise InputError(
            f"{choices.people} people, {choices.samples} samples: {LEAST_PEOPLE} and 2 at least are wanted"
        )
    reference = min(choices.reference, defaults.longest)
    tried = tuple(sorted({steps for steps in choices.tried if 0 < steps < reference}))
    if not tried:
        raise InputError(f"nothing to try below {reference} steps")
    return replace(choices, tried=tried, reference=reference)


def check_enough(people: Cache) -> None:
    """Raise `InputError` for a cache of fewer people than make a deviation, however many cases they have."""
    count = len(_one_a_person(people))
    if count < LEAST_PEOPLE:
        raise InputError(f"{people.folder}: {count} people; {LEAST_PEOPLE} or more are wanted")


def smallest(table: Sequence[dict], limit: float, reference: int) -> int:
    """Smallest number of steps whose figures lie below the limit, as do those of all larger ones; else the reference's.

    Args:
        table: rows with ``steps`` and `FIGURES`.
    """
    found = reference
    for row in sorted(table, key=lambda row: -row["steps"]):
        if max(row[name] for name in FIGURES) >= limit:
            break
        found = row["steps"]
    return found


def draw_people(
    model: Model, people: Cache, choices: Choices, folder: Path, progress=lambda message: None
) -> dict[str, dict]:
    """What was drawn of each person, arrays by name, going on where an earlier call stopped.

    Raises:
        InputError: the folder holds draws of another model, cache or choice.
    """
    settings = {
        "weights_sha256": model.weights_sha256, "cache_sha256": people.sha256, "seed": SEED, "samples": choices.samples,
        "tried": list(choices.tried), "reference": choices.reference,
    }  # fmt: skip
    found = {}
    with alone_in(folder):
        path = folder / SETTINGS
        if path.exists() and read_json_object(path) != settings:
            raise InputError(f"{path}: draws of another model, cache or choice; choose another --draws")
        write_whole(path, pretty_json(settings))
        cases = _one_a_person(people)[: choices.people]
        if len(cases) < choices.people:
            progress(f"{len(cases)} people are all that there are")
        for number, case in enumerate(cases, start=1):
            file = folder / f"{case}.npz"
            found[case] = kept_arrays(file, progress)
            if found[case] is None:
                found[case] = draw_person(model, people, case, choices)
                keep_arrays(file, found[case])
                progress(f"{number} of {len(cases)}: {case}")
    return found


def _one_a_person(people: Cache) -> list[str]:
    """The first case of everybody: a deviation over people counts nobody twice."""
    return list({record["subject"]: record["case"] for record in reversed(people.index["cases"])}.values())[::-1]


def draw_person(
    model: Model, people: Cache, case: str, choices: Choices, precision: str = MEASURED_PRECISION
) -> dict[str, np.ndarray]:
    """``TRACER_STEPS_mean`` and ``_spread`` [blocks in the brain], and ``_regional`` [12], in SUVR, of one case."""
    import torch

    from RelAPETLib.synthesis.options import Options, resolve
    from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples

    regions, inside = Regions(people), _blocks_inside()
    mri = np.stack([regions.whole(people.array(case, name)) for name in SEQUENCES])
    conditioned, found = ConditionedModel(model, torch.from_numpy(mri)[None]), {}
    asked = Options("all", seed=SEED, samples=choices.samples, yes=True, precision=precision)
    for plan in resolve(asked, model):
        low, high = plan.window or (-1.0, 1.0)
        for steps in (*choices.tried, choices.reference):
            drawn = draw_samples(conditioned, replace(plan, steps=steps), yes=True)
            mean, name = low + (drawn.mean + 1) / 2 * (high - low), f"{plan.tracer.name}_{steps}"
            found[f"{name}_mean"] = _blocks(mean)[inside]
            found[f"{name}_spread"] = _blocks(drawn.deviation * (high - low) / 2)[inside]
            found[f"{name}_regional"] = regions.means(mean)
    return found


def _blocks(array: np.ndarray) -> np.ndarray:
    """Means of 4 mm blocks [X/4, Y/4, Z/4], float32."""
    x, y, z = (n // BLOCK for n in array.shape)
    return array.reshape(x, BLOCK, y, BLOCK, z, BLOCK).mean((1, 3, 5)).astype(np.float32)


def _blocks_inside() -> np.ndarray:
    """Blocks that lie in the brain by more than half."""
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.registration.template import load_template

    return _blocks((image_to_array(load_template().mask) > 0).astype(np.float32)) > 0.5


def _stacked(drawn: dict[str, dict], name: str) -> np.ndarray:
    return np.stack([arrays[name] for arrays in drawn.values()]).astype(float)


def figures(drawn: dict[str, dict], steps: int, reference: int) -> dict[str, float]:
    """Biases of a number of steps, in standard deviations over people.

    Args:
        drawn: arrays of `draw_person` by case.

    Returns:
        `FIGURES`, each of the tracer that has most, and ``error``: the largest of their standard errors.

    Raises:
        InputError: everybody's PET is the same.
    """
    first = next(iter(drawn.values()))
    tracers = sorted({name.split("_")[0] for name in first})
    worst, errors = dict.fromkeys(FIGURES, 0.0), [0.0]
    for tracer in tracers:
        for kind in FIGURES:
            few, many = (_stacked(drawn, f"{tracer}_{number}_{kind}") for number in (steps, reference))
            scale = many if kind == "regional" else _stacked(drawn, f"{tracer}_{reference}_mean")
            sd, off = scale.std(0, ddof=1), few - many
            if not np.nanmax(sd, initial=0.0) > LEAST_SD:
                raise InputError(
                    f"everybody has the same {tracer} PET: there is no deviation over people to measure by"
                )
            chance = off.std(0, ddof=1) / len(off) ** 0.5
            if kind == "regional":
                told = sd > LEAST_SD  # a region without voxels has none
                found, error = (np.abs(part[told] / sd[told]).max() for part in (off.mean(0), chance))
            else:
                found, error = (
                    np.sqrt(np.square(part).mean() / np.square(sd).mean()) for part in (off.mean(0), chance)
                )
            worst[kind] = max(worst[kind], float(found))
            errors.append(float(error))
    return {**{kind: round(value, 4) for kind, value in worst.items()}, "error": round(max(errors), 4)}
