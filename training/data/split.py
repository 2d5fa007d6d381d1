"""Training, validation and test subjects: seeded, sorted, in a file that is refused when changed.

Subjects are ordered by a hash of seed and name, so that who else is in the data set does not shuffle them anew; what
counts afterwards is the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.jsonfiles import read_json_object

from .cache import Cache, canonical_json, pretty_json, write_whole

PARTS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.15, 0.15)
FILE = "split.json"


@dataclass(frozen=True)
class Split:
    """Who is trained on, who chooses the checkpoint, who is kept for the figures.

    Attributes:
        train, validation, test: sorted subjects, nobody in two.
        unused: subjects left out on purpose (explicit lists only).
        seed: of the drawing; None for explicit lists.
        method: how it was made.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unused: tuple[str, ...] = ()
    seed: int | None = None
    method: str = "explicit lists"

    def __post_init__(self):
        everybody = [*self.train, *self.validation, *self.test, *self.unused]
        twice = sorted({subject for subject in everybody if everybody.count(subject) > 1})
        if twice:
            raise InputError(f"split: {twice[0]} stands in it twice; a subject belongs to one part only")
        if not self.train:
            raise InputError("split: nobody to train on")

    @property
    def sha256(self) -> str:
        """Hash of the whole split."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()

    def part(self, name: str) -> tuple[str, ...]:
        """Subjects of ``train``, ``validation`` or ``test``. Raises `InputError` on another name or an empty part."""
        if name not in PARTS:
            raise InputError(f"unknown part of the split '{name}'; use one of {', '.join(PARTS)}")
        if not getattr(self, name):
            raise InputError(f"split: nobody in its {name} part; make a split with more subjects or other fractions")
        return getattr(self, name)

    def save(self, path: Path | str) -> None:
        """Write the file, whole."""
        write_whole(Path(path), pretty_json({**asdict(self), "sha256": self.sha256}))


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise `InputError` unless they are three shares of a whole, the first above 0."""
    fit = len(fractions) == 3 and all(0 <= share <= 1 for share in fractions) and fractions[0] > 0
    if not fit or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"fractions {tuple(fractions)}: three numbers that sum to 1 are wanted, the first above 0")


def make_split(
    subjects: Iterable[str],
    *,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    test_from: Iterable[str] | None = None,
) -> Split:
    """Divide subjects.

    Args:
        subjects: names; their order does not matter.
        seed: who goes where.
        fractions: of train, validation, test; they sum to 1. A part above 0 gets at least one subject.
        test_from: subjects that may be tested on, e.g. those with every tracer, as in the paper (page 6); None for all.

    Raises:
        InputError: no subjects, fewer than parts, impossible fractions, or too few in `test_from`.
    """
    names = sorted(set(subjects))
    if not names:
        raise InputError("no subjects to divide: the data set is empty")
    check_fractions(fractions)
    needed = sum(share > 0 for share in fractions)
    if len(names) < needed:
        raise InputError(
            f"{len(names)} subject{'s' * (len(names) > 1)} cannot be divided into {needed} parts; "
            "add subjects, or use --fractions 1,0,0 to train without validation and test"
        )
    counts = [max(1, round(share * len(names))) if share > 0 else 0 for share in fractions]
    while sum(counts[1:]) > len(names) - 1:  # few subjects: one at least is left to train on
        counts[1 + (counts[2] >= counts[1])] -= 1
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    allowed = set(names if test_from is None else test_from)
    test = [name for name in drawn if name in allowed][: counts[2]]
    if len(test) < counts[2]:
        raise InputError(f"only {len(test)} of {len(names)} subjects may be tested on; {counts[2]} are wanted")
    rest = [name for name in drawn if name not in set(test)]
    validation, train = rest[: counts[1]], rest[counts[1] :]
    return Split(
        tuple(sorted(train)),
        tuple(sorted(validation)),
        tuple(sorted(test)),
        seed=seed,
        method=f"fractions {', '.join(f'{share:g}' for share in fractions)}"
        + ("" if test_from is None else "; test among those with every tracer"),
    )


def explicit_split(subjects: Iterable[str], lists: Mapping[str, Sequence[str]]) -> Split:
    """Split from lists by part; who is in none is unused.

    Raises:
        InputError: an unknown part or subject, a subject in two parts, or nobody to train on.
    """
    names = set(subjects)
    unknown = [part for part in lists if part not in PARTS]
    if unknown:
        raise InputError(f"split: unknown part '{unknown[0]}'; use {', '.join(PARTS)}")
    parts = {part: tuple(sorted(lists.get(part, ()))) for part in PARTS}
    listed = {subject for part in parts.values() for subject in part}
    strangers = sorted(listed - names)
    if strangers:
        raise InputError(f"split: {strangers[0]} is not in the cache ({len(strangers)} such); see failures.tsv")
    return Split(**parts, unused=tuple(sorted(names - listed)))


def asked_split(
    cache: Cache,
    lists: Mapping[str, Sequence[str]] | None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    complete_test: bool = False,
) -> Split:
    """Split of a cache's subjects.

    Args:
        lists: subjects by part, see `explicit_split`; the rest does not count then. None: drawn, see `make_split`.
        complete_test: test only on subjects who have every tracer of the cache in one case.

    Raises:
        InputError: as `explicit_split` and `make_split`.
    """
    if lists is not None:
        return explicit_split(cache.subjects, lists)
    every = {tracer for record in cache.index["cases"] for tracer in record["pets"]}
    complete = {record["subject"] for record in cache.index["cases"] if set(record["pets"]) == every}
    return make_split(cache.subjects, seed=seed, fractions=fractions, test_from=complete if complete_test else None)


def check_same(kept: Split, asked: Split, path: Path) -> None:
    """Raise `InputError` where a split that is there puts people elsewhere than the one that is asked for."""
    if any(getattr(kept, part) != getattr(asked, part) for part in PARTS):
        raise InputError(
            f"{path}: another split than the one that is asked for; leave these options out to keep it, or replace it "
            "by --new-split"
        )


def read_lists(path: Path | str) -> dict[str, list[str]]:
    """Lists of subjects by part from a JSON file. Raises `InputError` when it holds anything else."""
    lists = read_json_object(path)
    for part, names in lists.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: '{part[:40]}' must be a list of subjects' names")
    return lists


def load_split(path: Path | str, cache: Cache | None = None) -> Split:
    """Read a split and see that it is unchanged and, with a cache, that it names exactly the cache's subjects.

    Raises:
        InputError: missing, damaged, changed, or of other subjects.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no split; make one with 'python -m training prepare'")
    content = read_json_object(path, "not a split:")
    try:
        found = content.pop("sha256")
        split = Split(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})
        unchanged = split.sha256 == found
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a split ({' '.join(str(error).split())[:200]})") from error
    if not unchanged:
        raise InputError(f"{path} was changed after it was written; restore it, or make a new one with --new-split")
    if cache is not None:
        _check_subjects(split, cache, path)
    return split


def _check_subjects(split: Split, cache: Cache, path: Path) -> None:
    here = set(cache.subjects)
    named = {*split.train, *split.validation, *split.test, *split.unused}
    for subjects, words in ((named - here, "in the split, but not in the cache"), (here - named, "not in the split")):
        if subjects:
            raise InputError(
                f"{path}: {len(subjects)} subject(s) {words}, first {min(subjects)}; "
                "mend the data set, or make a new split with --new-split"
            )
