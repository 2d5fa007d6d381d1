"""The people of a downstream experiment: their volumes in blocks of 8 mm, what is to be predicted, and the arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...grid import block_means
from ...notices import warn
from ..volume_table import VolumeRow

#: Side of a block in mm, and what is cut off the grid's 180 mm along y so that blocks fill it.
BLOCK, CUT = 8, 2
#: Most people that an experiment takes, fewest that it is worth with, and parts of its cross-validation.
MOST_PEOPLE, LEAST_PEOPLE, FOLDS = 200, 20, 5
MRI, SYNTHETIC, SHUFFLED, MEASURED = "MRI", "MRI + synthetic", "MRI + shuffled synthetic", "MRI + measured"


@dataclass(frozen=True)
class Cohort:
    """Everybody of one tracer, one row a scan.

    Attributes:
        people: whose scan each is.
        mri: [n, 2, X, Y, Z], T1w and T2F, each less its median over its 10 to 90 % range in its brain.
        synthetic: SUVR [n, X, Y, Z].
        measured: the same; None where somebody has none.
        targets: what is to be predicted, [n] by name, NaN where it is not known.
    """

    people: tuple[str, ...]
    mri: np.ndarray
    synthetic: np.ndarray
    measured: np.ndarray | None
    targets: dict[str, np.ndarray]

    def __post_init__(self):
        if len(set(self.people)) < LEAST_PEOPLE:
            raise InputError(
                f"{len(set(self.people))} people are too few for a downstream experiment; bring {LEAST_PEOPLE} or more"
            )


def to_blocks(volume: np.ndarray) -> np.ndarray:
    """Means over blocks of 8 mm [20, 22, 20] of a volume on `MNI_GRID`."""
    return block_means(np.ascontiguousarray(volume[:, CUT:-CUT]), BLOCK)


def scaled_mri(blocks: np.ndarray) -> np.ndarray:
    """An MRI's blocks less their median over their 10 to 90 % range, both of what is not background.

    Raises:
        InputError: constant.
    """
    values = blocks[blocks > blocks.min()]
    if values.size < 2:
        raise InputError("an MRI is constant")
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    if not high > low:
        raise InputError("an MRI has no contrast")
    return ((blocks - middle) / (high - low)).astype(np.float32)


def chosen_people(people: Sequence[str], seed: int, most: int = MOST_PEOPLE) -> list[str]:
    """At most so many people, at random where there are more, which is a notice."""
    names = list(dict.fromkeys(people))
    if len(names) <= most:
        return names
    warn(f"downstream: {most} of {len(names)} people were taken, at random")
    kept = np.random.default_rng(seed).permutation(len(names))[:most]
    return [names[number] for number in sorted(kept)]


def load_cohort(rows: Sequence[VolumeRow], seed: int = 0, most: int = MOST_PEOPLE) -> Cohort:
    """The people of a table of volumes; every row of one tracer, with T1w, T2F and synthetic PET.

    Args:
        rows: of `volume_table.read_volume_table`; their values are the targets.
        seed: of the choice where there are more than `most` people.

    Raises:
        InputError: several tracers, a volume that is missing or cannot be used, or too few people.
    """
    tracers = sorted({row.tracer for row in rows})
    if len(tracers) != 1:
        raise InputError(f"downstream: one tracer at a time is wanted, not {', '.join(tracers) or 'none'}")
    kept = set(chosen_people([row.participant_id for row in rows], seed, most))
    rows = [row for row in rows if row.participant_id in kept]
    volumes: dict[str, list[np.ndarray]] = {"mri": [], "synthetic": [], "measured": []}
    without = sorted({row.participant_id for row in rows if "measured" not in row.files})
    if without:
        warn(f"downstream: the arm '{MEASURED}' was left out: {len(without)} people have no measured PET")
    for row in rows:
        missing = [name for name in ("t1w", "t2f", "synthetic") if name not in row.files]
        if missing:
            raise InputError(f"downstream: {row.participant_id} has no {missing[0]}; mend or remove the row")
        try:
            volumes["mri"].append(np.stack([scaled_mri(to_blocks(row.array(name))) for name in ("t1w", "t2f")]))
        except InputError as error:
            raise InputError(f"downstream: {row.participant_id}: {error}") from error
        volumes["synthetic"].append(to_blocks(row.array("synthetic")))
        if not without:
            volumes["measured"].append(to_blocks(row.array("measured")))
    return Cohort(
        people=tuple(row.participant_id for row in rows),
        mri=np.stack(volumes["mri"]),
        synthetic=np.stack(volumes["synthetic"]),
        measured=None if without else np.stack(volumes["measured"]),
        targets={name: np.array([row.values[name] for row in rows]) for name in rows[0].values},
    )


def usable_targets(cohort: Cohort) -> dict[str, np.ndarray]:
    """Targets that enough people have and that differ; each left out is a notice.

    Raises:
        InputError: none is left.
    """
    found = {}
    for name, values in cohort.targets.items():
        known = np.isfinite(values)
        people = {person for person, there in zip(cohort.people, known, strict=True) if there}
        if len(people) < LEAST_PEOPLE or np.ptp(values[known]) == 0:
            why = "all alike" if len(people) >= LEAST_PEOPLE else f"known of {len(people)} people only"
            warn(f"downstream: {name} was left out: {why}")
        else:
            found[name] = values
    if not found:
        raise InputError(f"downstream: nothing to predict: of no target {LEAST_PEOPLE} people have values that differ")
    return found


def folds_of(people: Sequence[str], seed: int, folds: int = FOLDS) -> np.ndarray:
    """Number of each row's part [n], 0 to `folds` - 1, all rows of a person in one (scikit-learn's ``KFold``)."""
    from sklearn.model_selection import KFold

    names = np.unique(people)
    part = np.empty(len(names), int)
    for number, (_, own) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(names)):
        part[own] = number
    return part[np.searchsorted(names, people)]


def somebody_else(people: Sequence[str], parts: np.ndarray, seed: int) -> np.ndarray:
    """For each row the number of another person's row in the same part, so that no fold's test people train another's.

    Each row is taken once. Raises `InputError` where one person has more than half of a part's rows.
    """
    people, rng = np.asarray(people), np.random.default_rng(seed)
    found = np.empty(len(people), int)
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        names = rng.permutation(np.unique(people[rows]))
        own = [rows[people[rows] == name] for name in names]
        longest = max(map(len, own))
        ordered = np.concatenate(own)
        if 2 * longest > len(ordered):
            raise InputError("downstream: one person has more than half of the scans of a part; bring more people")
        found[ordered] = np.roll(ordered, longest)
    return found


def arms_of(cohort: Cohort, parts: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Inputs [n, 3, X, Y, Z] by arm; MRI's third channel is 0, so that all arms' networks are alike."""

    def beside(third: np.ndarray) -> np.ndarray:
        return np.concatenate([cohort.mri, third[:, None]], 1).astype(np.float32)

    other = somebody_else(cohort.people, parts, seed)
    arms = {
        MRI: beside(np.zeros_like(cohort.synthetic)),
        SYNTHETIC: beside(cohort.synthetic),
        SHUFFLED: beside(cohort.synthetic[other]),
    }
    return arms if cohort.measured is None else arms | {MEASURED: beside(cohort.measured)}
