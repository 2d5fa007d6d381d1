"""Figures of finished runs in a folder to share, so that another machine, or a later day, need not train them again."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.whole_files import write_whole

from ..data.cache import canonical_json
from .people import Cohort
from .runs import FIGURES, FULL, PICTURES, Run, draws_of, key_in_full, key_of, plain
from .settings import SAMPLES


def keep(run: Run, cohort: Cohort, out: Path, folder: Path) -> None:
    """Put the figures and pictures of a finished run, and its draws in full, into a folder to share, unless there.

    Args:
        run: that is done.
        cohort, out: of the bench.
        folder: gets ``NAME-MINUTESmin-SEED.json.gz``, the content of ``figures.json`` with `recipe_of` as ``recipe``
            for its ``key`` and, for people to read, what it was ``told``; beside it the pictures as half floats, and
            ``NAME-MINUTESmin-SEED.full.json.gz``, the same of ``full.json``.
    """
    own = run.folder(out)
    for name, path in _places(run, out, folder).items():
        if path.exists() or not (own / name).exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        found = json.loads((own / name).read_text(encoding="utf-8"))
        del found["key"]
        found["recipe"] = recipe_of(run, cohort, out, in_full=name == FULL)
        found["told"] = [plain(run.words(cohort, out)), draws_of(run.setting)]
        if name == FIGURES and (own / PICTURES).exists():
            with np.load(own / PICTURES) as volumes:
                small = {name: volumes[name].astype(np.float16) for name in volumes}
            write_whole(folder / f"{own.name}.npz", lambda part, small=small: np.savez_compressed(part, **small),
                        suffix=".npz")  # fmt: skip
        write_whole(path, gzip.compress(json.dumps(found).encode(), mtime=0))


def take_over(run: Run, cohort: Cohort, out: Path, folder: Path) -> bool:
    """Count a run as done whose figures are in a folder to share, its draws in full too; its weights are not there.

    Returns:
        Whether something was taken over.

    Raises:
        InputError: what is there is of other people, steps or settings, or cannot be read.
    """
    own, taken = run.folder(out), False
    for name, path in _places(run, out, folder).items():
        if (own / name).exists() or not path.exists():
            continue
        try:
            found = json.loads(gzip.decompress(path.read_bytes()))
            recipe = found.pop("recipe")
            found.pop("told", None)
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{path}: not the figures of a run; remove it, or give another --kept") from error
        if recipe != recipe_of(run, cohort, out, in_full=name == FULL):
            raise InputError(f"{path}: of other people, steps or settings than these; use another --kept, or remove it")
        own.mkdir(parents=True, exist_ok=True)
        pictures = folder / f"{own.name}.npz"
        if name == FIGURES and pictures.exists():
            write_whole(own / PICTURES, pictures.read_bytes())
        key = key_in_full(run, cohort, out) if name == FULL else key_of(run.words(cohort, out), run.setting, cohort)
        write_whole(own / name, json.dumps({"key": key, **found}).encode())
        taken = True
    return taken


def _places(run: Run, out: Path, folder: Path) -> dict[str, Path]:
    """Where in a folder to share each file of a run is kept."""
    stem = run.folder(out).name
    places = {FIGURES: folder / f"{stem}.json.gz"}
    return places if run.setting.full is None else {**places, FULL: folder / f"{stem}.full.json.gz"}


def recipe_of(run: Run, cohort: Cohort, out: Path, in_full: bool = False) -> str:
    """Hash of what a run was told, and by which options its people were made; in full also of how those draws are.

    Unlike `key_of` it knows no sums of files: another machine's people are the same, but for how it rounds.
    """
    people = [
        [data.cache.index["options"], [[item.case, item.tracer] for item in data.items]]
        for data in (cohort.train, cohort.validation, cohort.test)
    ]
    content = {"words": plain(run.words(cohort, out)), "draws": draws_of(run.setting), "people": people}
    if in_full:
        content |= {"full": asdict(run.setting.full), "samples": SAMPLES}
    return hashlib.sha256(canonical_json(content)).hexdigest()
