"""Figures of finished runs in a folder to share, so that another machine, or a later day, need not train them again."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.whole_files import write_whole

from ..data.cache import canonical_json
from .people import Cohort
from .runs import FIGURES, PICTURES, Run, draws_of, key_of, plain


def keep(run: Run, cohort: Cohort, out: Path, folder: Path) -> None:
    """Put the figures and pictures of a finished run into a folder to share, unless they are there.

    Args:
        run: that is done.
        cohort, out: of the bench.
        folder: gets ``NAME-MINUTESmin-SEED.json.gz``, the content of ``figures.json`` with `recipe_of` as ``recipe``
            for its ``key`` and, for people to read, what it was ``told``; and beside it the pictures as half floats.
    """
    own = run.folder(out)
    path = folder / f"{own.name}.json.gz"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads((own / FIGURES).read_text(encoding="utf-8"))
    del found["key"]
    found["recipe"] = recipe_of(run, cohort, out)
    found["told"] = [plain(run.words(cohort, out)), draws_of(run.setting)]
    if (own / PICTURES).exists():
        with np.load(own / PICTURES) as volumes:
            small = {name: volumes[name].astype(np.float16) for name in volumes}
        write_whole(path.with_suffix("").with_suffix(".npz"), lambda part: np.savez_compressed(part, **small),
                    suffix=".npz")  # fmt: skip
    write_whole(path, gzip.compress(json.dumps(found).encode(), mtime=0))


def take_over(run: Run, cohort: Cohort, out: Path, folder: Path) -> bool:
    """Count a run as done whose figures are in a folder to share; its weights are not there. True where it did.

    Raises:
        InputError: what is there is of other people, steps or settings, or cannot be read.
    """
    own = run.folder(out)
    path = folder / f"{own.name}.json.gz"
    if (own / FIGURES).exists() or not path.exists():
        return False
    try:
        found = json.loads(gzip.decompress(path.read_bytes()))
        recipe = found.pop("recipe")
        found.pop("told", None)
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not the figures of a run; remove it, or give another --kept") from error
    if recipe != recipe_of(run, cohort, out):
        raise InputError(f"{path}: of other people, steps or settings than these; use another --kept, or remove it")
    own.mkdir(parents=True, exist_ok=True)
    pictures = path.with_suffix("").with_suffix(".npz")
    if pictures.exists():
        write_whole(own / PICTURES, pictures.read_bytes())
    found = {"key": key_of(run.words(cohort, out), run.setting, cohort), **found}
    write_whole(own / FIGURES, json.dumps(found).encode())
    return True


def recipe_of(run: Run, cohort: Cohort, out: Path) -> str:
    """Hash of what a run was told, and by which options its people were made.

    Unlike `key_of` it knows no sums of files: another machine's people are the same, but for how it rounds.
    """
    people = [
        [data.cache.index["options"], [[item.case, item.tracer] for item in data.items]]
        for data in (cohort.train, cohort.validation, cohort.test)
    ]
    content = {"words": plain(run.words(cohort, out)), "draws": draws_of(run.setting), "people": people}
    return hashlib.sha256(canonical_json(content)).hexdigest()
