"""The baseline that sees the MRI, as a model of an evaluation: a ridge regression, fitted on training people only.

A model that does not beat it has learned nothing that takes a network. Baselines without MRI, such as the mean of the
training people, are in `baselines`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..grid import MNI_GRID, array_to_image, block_means, image_to_array
from ..notices import warn
from .baselines import BASELINE
from .ridge import PetRidge, check_apart, fit_pet_ridge, mri_features
from .tsv import MISSING
from .volume_table import VolumeRow

#: Name of the model, as tables have it.
RIDGE = f"{BASELINE}ridge regression on the MRI"
#: Side in voxels of the blocks of MRI that the regression sees.
FACTOR = 10
#: Fewer people than this carry no regression.
LEAST_PEOPLE = 10


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline of one tracer.

    Attributes:
        tracer: short name.
        people: whom it was fitted on.
        mean: their mean PET, each person's being the mean of their own, SUVR [X, Y, Z] on `MNI_GRID`: what is guessed
            outside the template's brain.
        ridge: of the voxels in the template's brain.
    """

    tracer: str
    people: tuple[str, ...]
    mean: np.ndarray
    ridge: PetRidge

    def guess(self, mri: Sequence[np.ndarray]) -> np.ndarray:
        """SUVR [X, Y, Z], float32, of a person.

        Args:
            mri: T1w and T2F [X, Y, Z] on `MNI_GRID` in any unit.

        Raises:
            InputError: an MRI that is constant inside the brain.
        """
        made = self.mean.copy()
        made[brain()] = self.ridge.guess(features_of(mri))
        return made


@lru_cache(maxsize=1)
def brain() -> np.ndarray:
    """The template's brain, bool [X, Y, Z] on `MNI_GRID`; not to be written to."""
    from ..registration.template import load_template

    mask = image_to_array(load_template().mask) > 0
    mask.flags.writeable = False
    return mask


def features_of(mri: Sequence[np.ndarray]) -> np.ndarray:
    """Features (`ridge.mri_features`) of volumes [X, Y, Z] on `MNI_GRID`: blocks that are brain for more than half."""
    inside = block_means(brain().astype(np.float32), FACTOR) > 0.5
    return mri_features(np.stack([block_means(volume.astype(np.float32), FACTOR) for volume in mri]), inside)


def fit_baselines(
    rows: Iterable[VolumeRow], tested: Iterable[str], scratch: Path | str | None = None
) -> list[Baseline]:
    """Fit the baseline of every tracer of a training table.

    PET are read one at a time and kept in a temporary file of 8 MB each, so that memory does not grow with them.

    Args:
        rows: training people, with ``t1w``, ``t2f`` and ``measured`` (`volume_table.read_volume_table`).
        tested: identifiers of everybody who is evaluated.
        scratch: folder for temporary files; None: the system's.

    Returns:
        The regression of each tracer that `LEAST_PEOPLE` or more have; that one was left out is a notice.

    Raises:
        InputError: nobody to fit on, somebody who is also tested, a row without its files, a volume off the grid.
    """
    rows = list(rows)
    if not rows:
        raise InputError("the training table has no row; baselines need training people")
    check_apart([row.participant_id for row in rows], list(tested))
    for row in rows:
        missing = [name for name in ("t1w", "t2f", "measured") if name not in row.files]
        if missing:
            raise InputError(
                f"the training table: {row.participant_id} has no {missing[0]}; complete or remove the row"
            )
    found = []
    for tracer in dict.fromkeys(row.tracer for row in rows):
        found += _fit(tracer, [row for row in rows if row.tracer == tracer], scratch)
    return found


def write_guesses(
    baselines: Iterable[Baseline], pairs: Iterable[Mapping[str, str]], mri: Iterable[VolumeRow], folder: Path
) -> list[dict]:
    """Write every baseline's PET of everybody who is tested, each a NIfTI on `MNI_GRID`, as synthetic PET of a model.

    Args:
        baselines: of `fit_baselines`.
        pairs: ``participant_id``, ``session`` and ``tracer`` of the measured PET; each is taken once.
        mri: ``t1w`` and ``t2f`` of the people tested (`volume_table.read_volume_table`); one row a person and session.
        folder: where to write; it exists.

    Returns:
        ``participant_id``, ``session``, ``tracer``, ``model`` and ``synthetic`` (a path) of each file.

    Raises:
        InputError: somebody was trained on, has no MRI in the table, or one that cannot be used.
    """
    from ..volumes import mark_synthetic, write_volume

    baselines, found = list(baselines), []
    volumes = {(row.participant_id, row.session): row for row in mri}
    keys = dict.fromkeys((pair["participant_id"], pair.get("session") or MISSING, pair["tracer"]) for pair in pairs)
    check_apart([person for baseline in baselines for person in baseline.people], [key[0] for key in keys])
    for person, session, tracer in keys:
        own = [baseline for baseline in baselines if baseline.tracer == tracer]
        if own and (person, session) not in volumes:
            who = person if session == MISSING else f"{person}, {session}"
            raise InputError(f"{who} is not in the table of MRI; add it")
        shown = [volumes[person, session].array(name) for name in ("t1w", "t2f")] if own else []
        for baseline in own:
            path = folder / f"{len(found):05d}_synthetic.nii.gz"
            write_volume(mark_synthetic(array_to_image(baseline.guess(shown))), path)
            names = {"participant_id": person, "session": session, "tracer": tracer, "model": RIDGE}
            found.append({**names, "synthetic": path})
    return found


def _fit(tracer: str, rows: Sequence[VolumeRow], scratch: Path | str | None) -> list[Baseline]:
    scanned = [row.participant_id for row in rows]
    scans = Counter(scanned)
    people = tuple(scans)
    inside, total, features = brain(), np.zeros(MNI_GRID.shape, np.float64), []
    if len(people) < LEAST_PEOPLE:
        warn(f"{RIDGE} of {tracer} was left out: {len(people)} training people, {LEAST_PEOPLE} are needed")
        return []
    with tempfile.TemporaryDirectory(dir=scratch, prefix="relapet-baselines-") as folder:
        shape = (len(rows), int(inside.sum()))
        pets = np.memmap(Path(folder) / "pets", np.float32, "w+", shape=shape)
        for number, row in enumerate(rows):
            pet = row.array("measured")
            total += pet / scans[row.participant_id]
            pets[number] = pet[inside]
            features.append(_features_of(row))
        mean = (total / len(people)).astype(np.float32)
        found = [Baseline(tracer, people, mean, fit_pet_ridge(np.stack(features), pets, people=scanned))]
        del pets  # Windows removes no file that is mapped
    return found


def _features_of(row: VolumeRow) -> np.ndarray:
    try:
        return features_of([row.array("t1w"), row.array("t2f")])
    except InputError as error:
        raise InputError(f"the training table: {row.participant_id}: {error}") from error
