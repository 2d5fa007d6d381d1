"""The tables of a simulated cohort: ``participants.tsv`` and the truth table, their columns and what these mean.

``participants.tsv`` holds what each subject is and takes up, before blurring. The truth table, of law 2 and later,
holds what images show of it, blurred, and what could at best be said of it from the MRI (`truth`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..grid import ModelGrid
from ..tracers import TRACERS
from .factors import FACTORS, REGIONS
from .law import law_tracers, predictable_share
from .law2 import tracer_law
from .people import Person
from .truth import Truth, own_space_matrix, truth_of

#: Where a data set keeps its truth table: BIDS asks nothing of this folder.
SOURCE_FOLDER = "sourcedata"
TRUTH_FILES = ("truth.tsv", "truth.json", "truth_draws.tsv", "truth_draws.json")
MISSING = "n/a"

#: Beginning of the truth table's columns of SUVR as images show them; ``suvr`` alone is before blurring.
BLURRED = "blurred_suvr"


def subject_label(index: int) -> str:
    """``sub-0007`` for index 7."""
    return f"sub-{index:04d}"


def participant(person: Person) -> dict:
    """The truth about one person before blurring, flat: the columns of ``participants.tsv``."""
    row: dict = {"participant_id": subject_label(person.index)}
    if person.clinical is not None:
        female = person.clinical.female
        row["age"] = _number(person.clinical.age, 1)
        row["sex"] = MISSING if math.isnan(female) else "F" if female else "M"
        row["memory_score"] = _number(person.clinical.memory, 2)
    row |= {f"factor_{name}": round(float(value), 4) for name, value in zip(FACTORS, person.factors, strict=True)}
    for tracer, uptake in person.uptake.items():
        row[f"scanned_{tracer}"] = "yes" if tracer in person.scanned else "no"
        row[f"predictable_share_{tracer}"] = round(predictable_share(tracer, person.law), 4)
        row[f"amplitude_{tracer}"] = round(uptake.amplitude, 4)
        row |= {f"suvr_{tracer}_{region}": round(uptake.regional[region], 4) for region in REGIONS}
        row |= {f"expected_suvr_{tracer}_{region}": round(uptake.predictable[region], 4) for region in REGIONS}
    return row


def participant_columns(law: int) -> dict:
    """``participants.json``: what every column of `participant` means."""
    columns: dict = {}
    if law > 1:
        columns["age"] = {"Description": "Simulated age; n/a where it was not recorded", "Units": "year"}
        columns["sex"] = {
            "Description": "Simulated sex; n/a where it was not recorded",
            "Levels": {"F": "female", "M": "male"},
        }
        columns["memory_score"] = {
            "Description": "Simulated composite memory score, mean about 0, SD about 1, higher is better; n/a where it "
            "was not recorded"
        }
    columns |= {
        f"factor_{name}": {"Description": f"Standard-normal factor of the simulation: {name.replace('_', ' ')}"}
        for name in FACTORS
    }
    for tracer in law_tracers(law):
        name = TRACERS[tracer].radiopharmaceutical
        columns[f"scanned_{tracer}"] = {
            "Description": f"Whether the data set holds a simulated PET with {name}",
            "Levels": {"yes": "it does", "no": "it does not; the true values are given all the same"},
        }
        columns[f"predictable_share_{tracer}"] = {
            "Description": f"Share of the between-subject variance of cortical SUVR of {name} that shows in the MRI; "
            "a property of the law, the same for every subject"
        }
        columns[f"amplitude_{tracer}"] = {"Description": f"Amplitude of the uptake of {name}; {_unit(tracer, law)}"}
        for region in REGIONS:
            words = f"{region.replace('_', ' ')} of {name}"
            columns[f"suvr_{tracer}_{region}"] = {"Description": f"True SUVR, before blurring, in {words}"}
            columns[f"expected_suvr_{tracer}_{region}"] = {
                "Description": f"SUVR expected from the MRI (the law without its noise) in {words}"
            }
    return columns


def _unit(tracer: str, law: int) -> str:
    if law == 1:
        return "1 is average"
    return tracer_law(tracer).amplitude


@dataclass(frozen=True)
class TruthTable:
    """One person's rows of the truth table.

    Attributes:
        row: the columns of ``truth.tsv``.
        draws: the rows of ``truth_draws.tsv``.
    """

    row: dict
    draws: list[dict]

    def case(self) -> dict:
        """The same for the JSON of a single case: the row, and the draws as lists by what is known and column."""
        by_column: dict = {}
        for draw in self.draws:
            known = by_column.setdefault(draw["given"], {})
            for name, value in draw.items():
                if name.startswith(BLURRED):
                    known.setdefault(name, []).append(value)
        return {**self.row, "draws": by_column}


def truth(person: Person, grid: ModelGrid) -> TruthTable:
    """A person's rows of the truth table, as raw scans show it: regions go with the person's own anatomy.

    Args:
        grid: in the person's own space, wide enough for the brain.
    """
    return truth_rows(truth_of(person, own_space_matrix(person, grid)))


def truth_rows(known: Truth) -> TruthTable:
    """Rows of the truth table for one person of law 2 or later."""
    person, ideals = known.person, {"mri": known.from_mri, "mri_and_clinical": known.with_clinical}
    row: dict = {"participant_id": subject_label(person.index), "law": person.law}
    row["amyloid_positive"] = "yes" if known.positive else "no"
    row["centiloid"] = round(known.centiloid, 2)
    for given, ideal in ideals.items():
        row[f"probability_positive_given_{given}"] = round(ideal.probability_positive, 5)
    for tracer, values in known.suvr.items():
        row |= _by_region(f"{BLURRED}_{tracer}", values)
        for given, ideal in ideals.items():
            row |= _by_region(f"mean_given_{given}_{tracer}", ideal.mean[tracer])
    draws = []
    for given, ideal in ideals.items():
        for number in range(len(next(iter(ideal.draws.values())))):
            draw = {"participant_id": row["participant_id"], "given": given, "draw": number}
            for tracer, values in ideal.draws.items():
                draw |= _by_region(f"{BLURRED}_{tracer}", values[number])
            draws.append(draw)
    return TruthTable(row, draws)


def truth_columns(law: int) -> tuple[dict, dict]:
    """What the columns of ``truth.tsv`` and ``truth_draws.tsv`` mean."""
    given = {"mri": "the MRI", "mri_and_clinical": "the MRI, age, sex and memory score, where recorded"}
    columns: dict = {
        "law": {"Description": "Version of the law of uptake"},
        "amyloid_positive": {"Description": "Hidden amyloid status", "Levels": {"yes": "positive", "no": "negative"}},
        "centiloid": {"Description": "Hidden amyloid level", "Units": "Centiloid"},
    }
    for key, words in given.items():
        columns[f"probability_positive_given_{key}"] = {
            "Description": f"Probability of amyloid positivity given what shows of the person in {words}"
        }
    draws: dict = {
        "given": {"Description": "What is known", "Levels": given},
        "draw": {"Description": "Number of the draw; the tracers of one draw belong to one possible person"},
    }
    for tracer in law_tracers(law):
        for region in REGIONS:
            words = f"{region.replace('_', ' ')} of {TRACERS[tracer].radiopharmaceutical}"
            columns[f"{BLURRED}_{tracer}_{region}"] = {
                "Description": f"SUVR as the blurred image shows it, without scanner noise, in {words}"
            }
            draws[f"{BLURRED}_{tracer}_{region}"] = {"Description": f"Possible blurred SUVR in {words}"}
            for key, known in given.items():
                columns[f"mean_given_{key}_{tracer}_{region}"] = {
                    "Description": f"Mean of what is possible given {known}, blurred, in {words}"
                }
    return columns, draws


def write_truth(folder: Path, truths: list[TruthTable]) -> None:
    """Write the truth table, `TRUTH_FILES`, into a folder."""
    folder.mkdir(exist_ok=True)
    columns, draws = truth_columns(truths[0].row["law"])
    texts = (
        table([known.row for known in truths]),
        json.dumps(columns, indent=2) + "\n",
        table([draw for known in truths for draw in known.draws]),
        json.dumps(draws, indent=2) + "\n",
    )
    for name, text in zip(TRUTH_FILES, texts, strict=True):
        (folder / name).write_bytes(text.encode("utf-8"))


def table(rows: list[dict]) -> str:
    """Rows of equal keys as a table with tabs."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _number(value: float, digits: int) -> float | str:
    return MISSING if math.isnan(value) else round(value, digits)


def _by_region(prefix: str, values: np.ndarray) -> dict[str, float]:
    return {f"{prefix}_{region}": round(float(value), 4) for region, value in zip(REGIONS, values, strict=True)}
