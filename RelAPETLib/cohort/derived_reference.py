"""Measured PET that `relapet bids` left on the T1w's grid, beside the synthetic ones that they were compared with.

A raw PET lies in the scanner's space; ``*_desc-reference_pet.nii.gz`` is the same one, registered. It serves where its
sidecar and the run's provenance prove that it was made of the very file that is to be compared with, and that it is in
that file's unit still: one that a reference region has scaled is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..absent import is_listed
from ..errors import InputError
from ..evaluation.pairs import Pair
from ..jsonfiles import read_json_object
from ..volumes import file_sha256

#: What is said of them.
AS_REGISTERED = "are taken as 'relapet bids' registered them to the T1w (desc-reference); --register does it anew"
SYNTHETIC, REFERENCE = "_desc-synthetic_pet.", "_desc-reference_pet."


def with_references(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs with their registered measured PET (`Pair.registered`), as far as `relapet bids` left one.

    One that lies beside a model's result serves all models of that person, session, tracer and space.
    """
    digests: dict[Path, str] = {}
    found: dict[tuple, Path] = {}
    for pair in pairs:
        if _place(pair) not in found and (file := _registered(pair, digests)) is not None:
            found[_place(pair)] = file
    return [replace(pair, registered=found.get(_place(pair))) for pair in pairs]


def _place(pair: Pair) -> tuple:
    return pair.participant, pair.session, pair.tracer, pair.space, pair.measured


def _registered(pair: Pair, digests: dict[Path, str]) -> Path | None:
    """The file beside a synthetic PET that is proven to be of the pair's measured one; None without proof."""
    if pair.synthetic is None or SYNTHETIC not in pair.synthetic.name or not pair.space:
        return None
    file = pair.synthetic.with_name(pair.synthetic.name.replace(SYNTHETIC, REFERENCE))
    sidecar = file.with_name(f"{file.name.split('.')[0]}.json")
    if not is_listed(file) or not is_listed(sidecar):
        return None
    try:
        said = read_json_object(sidecar)
        made = read_json_object(file.with_name(Path(str(said.get("Provenance"))).name)).get("reference")
        if pair.measured not in digests:
            digests[pair.measured] = file_sha256(pair.measured)
    except InputError:
        return None  # no proof; the measured PET's own file is told of where it cannot be read
    of, as_it_was = said.get("InputSHA256"), isinstance(made, dict) and made.get("reference_region") is None
    same = isinstance(of, dict) and of.get("reference") == digests[pair.measured]
    return file if same and as_it_was and said.get("QuantityDescription") == "SUVR" else None
