"""Simulated people rendered straight on the model grid, as if they had been scanned, registered and masked.

Person i of a seed has the name that a data set of ``relapet phantom --seed`` gives the same person, so that one split
does for both.
"""

from __future__ import annotations

import math

import numpy as np

from RelAPETLib.clinical import ClinicalValues
from RelAPETLib.cohort.cases import RenderedCase, Source
from RelAPETLib.errors import InputError

from .cache import block_mask, block_means, stored


def rendered_people(count: int, seed: int, law: int = 2) -> Source:
    """People 0 to `count` - 1 of the cohort `seed` under a law of uptake. Raises `InputError` on a bad number."""
    from RelAPETLib.phantom.bids import subject_label
    from RelAPETLib.phantom.law import check_law

    if count < 1:
        raise InputError(f"--rendered {count}: at least one person")
    if not 0 <= seed < 2**64:  # no JSON of ours holds more
        raise InputError(f"--rendered-seed {seed}: a whole number of 0 or more, below 2**64")
    check_law(law)
    names = [subject_label(index) for index in range(count)]
    cases = [RenderedCase(name, name, seed, index, law) for index, name in enumerate(names)]
    return Source("rendered", True, cases, [], {"rendered_seed": seed, "law": law})


def rendered_clinical(case: RenderedCase) -> ClinicalValues:
    """Age, sex and memory score of a person as recorded; nothing under law 1."""
    from RelAPETLib.phantom.people import make_person

    known = make_person(case.seed, case.index, case.law).clinical
    if known is None:
        return ClinicalValues()
    age, female, memory = (None if math.isnan(value) else value for value in (known.age, known.female, known.memory))
    return ClinicalValues(
        age=None if age is None else round(age, 1),
        sex=None if female is None else "F" if female else "M",
        score=None if memory is None else round(memory, 2),
    )


def rendered_volumes(
    case: RenderedCase, factor: int, dtype: str, mri_only: bool = False
) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays by file name and the case's entry (without name and digest); PET of the tracers scanned with.

    Even factors are rendered at 2 mm, others at 1 mm; blocks are averaged from there.
    """
    from RelAPETLib.phantom.people import make_person
    from RelAPETLib.phantom.render import render

    person = make_person(case.seed, case.index, case.law)
    spacing = 1 if factor % 2 else 2
    rendering = render(person, spacing=spacing)  # of every tracer: noise must not depend on which are kept
    inside = block_mask(factor)
    entries: dict = {"pets": {}}
    arrays = {}
    for name, volume in (("t1w", rendering.t1w), ("t2f", rendering.t2f)):
        arrays[f"{name}.npy"], entries[name] = stored(block_means(volume, factor // spacing), dtype, case.name)
    for tracer in () if mri_only else person.scanned:
        suvr = block_means(rendering.pet[tracer], factor // spacing)
        arrays[f"pet_{tracer}.npy"], entry = stored(suvr, dtype, f"{case.name} {tracer}")
        facts = {"brain_mean": float(suvr[inside].mean()), "units_from": "the simulation", "frames": None}
        entries["pets"][tracer] = entry | facts
    return arrays, {**entries, "failures": {}, "method": "rendered", "quality": {}, "warnings": []}
