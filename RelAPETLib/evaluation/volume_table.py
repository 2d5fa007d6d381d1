"""A table of volumes on the model grid: what baselines are fitted on, and what downstream networks see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..absent import why_missing
from ..errors import InputError
from ..grid import image_to_array
from ..homes import path_beside
from ..tracers import get_tracer
from .tsv import MISSING, number, read_tsv

#: Columns of files, relative to the table's folder or absolute; ``n/a`` for none.
FILES = ("t1w", "t2f", "synthetic", "measured")
COLUMNS = ("participant_id", "tracer")


@dataclass(frozen=True)
class VolumeRow:
    """One row: the volumes of one person, session, tracer and model.

    Attributes:
        participant_id, session, tracer, model: whose, which, what, and who made the synthetic PET; the session and the
            model are ``n/a`` without one.
        files: paths by column of `FILES`; those that are ``n/a`` are left out.
        values: numbers by other column, such as age; NaN for what is no number.
    """

    participant_id: str
    session: str
    tracer: str
    files: dict[str, Path] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    model: str = MISSING

    def array(self, name: str) -> np.ndarray:
        """A volume [X, Y, Z], float32, on `MNI_GRID`. Raises `InputError` as `read_on_grid`."""
        return read_on_grid(self.files[name])


def read_on_grid(path: Path) -> np.ndarray:
    """A volume file that lies on `MNI_GRID`, as float32 [X, Y, Z].

    Raises:
        InputError: unreadable, on another grid, or with values that are not finite.
    """
    from ..volumes import read_volume

    image = read_volume(path)
    try:
        array = image_to_array(image).astype(np.float32)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not np.isfinite(array).all():
        raise InputError(f"{path}: holds values that are not finite")
    return array


def read_volume_table(path: Path | str, files: Iterable[str], values: Iterable[str] = ()) -> list[VolumeRow]:
    """Rows of a table of volumes, tab separated in UTF-8.

    Args:
        path: columns ``participant_id``, ``tracer``, perhaps ``session`` and ``model``, and those of `files` and
            `values`.
        files: columns of `FILES` that it must have.
        values: columns of numbers that it must have.

    Raises:
        InputError: unreadable, a column is missing, an unknown tracer, a file that is not there, or a person, session,
            tracer and model that stand there twice.
    """
    path, values = Path(path), tuple(values)
    rows, seen = [], set()
    for row in read_tsv(path, (*COLUMNS, *files, *values)):
        key = row["participant_id"], row.get("session") or MISSING, get_tracer(row["tracer"]).name
        model = row.get("model") or MISSING
        if (*key, model) in seen:
            raise InputError(f"{path}: {', '.join((*key, model))} stands there twice; remove one row")
        seen.add((*key, model))
        named = {name: path_beside(path, row[name]) for name in FILES if row.get(name, MISSING) not in ("", MISSING)}
        for name, file in named.items():
            if not file.is_file():
                raise InputError(f"{path}: {key[0]}: no file {file} ({why_missing(file)}); mend the column {name}")
        rows.append(VolumeRow(*key, named, {name: number(row[name]) for name in values}, model))
    return rows
