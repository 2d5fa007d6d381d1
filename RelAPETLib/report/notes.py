"""What the record of a synthesis says below the pictures of every report."""

from __future__ import annotations

import math

from ..provenance import SIMULATED_STATEMENT, WITHOUT_T2F


def notes_of(document: dict) -> list[str]:
    """Lines below the pictures of a report, from the record of a synthesis (`synthetic_pet.json`)."""
    sampling, model = document["sampling"], document["model"]
    notes = [
        f"{sampling['samples']} sample(s), {_how(sampling)}, "
        f"seed {sampling['seed']}, on {sampling['device']}; registration: {document['preprocessing']['method']}."
    ]
    if document["inputs"]["t2f"] is None:
        notes.append(WITHOUT_T2F)
    if model["trained_on_simulated_data"]:
        notes.append(SIMULATED_STATEMENT)
    notes += [part["says"] for part in map(document.get, ("verdict", "intervals", "departure", "summary")) if part]
    if document["uncertainty"]:
        notes.append("Spread of samples: their standard deviation, not the error against a real PET.")
    if document["reference"]:
        brain = document["reference"]["metrics"]["brain"]
        level = "infinite" if brain["psnr"] is None else f"{brain['psnr']:.1f} dB"
        notes.append(
            f"Against the reference inside {_where(document)}: PSNR {level}, SSIM {brain['ssim']:.3f}, "
            f"MAE {brain['mae']:.3f} (data range 1, {document['reference']['metrics']['scaling']}); "
            f"reference unit: {document['reference']['units_from']}."
        )
        if document["reference"].get("z"):
            notes.append(document["reference"]["z"]["says"])
    return notes


def further_warnings(document: dict) -> list[str]:
    """Warnings of a record that are no reason of its verdict, which every report shows: nothing is said twice."""
    return [line for line in document["warnings"] if line not in (document.get("verdict") or {}).get("reasons", ())]


def below_pictures(document: dict) -> tuple[list[str], list[str]]:
    """Notes, and warnings to stand out, of a report without a box for the verdict: one that is not ok is the first."""
    verdict = document.get("verdict") or {}
    doubts = [verdict["says"]] if verdict.get("reasons") else []
    return [line for line in notes_of(document) if line not in doubts], doubts + further_warnings(document)


def _where(document: dict) -> str:
    """The brain, or what the measured PET shows of it."""
    share = document["preprocessing"]["quality"].get("pet_coverage")
    if share is None or share >= 1:
        return "the brain"
    return f"the {math.floor(100 * share)} % of the brain that it shows"


def _how(sampling: dict) -> str:
    return f"{sampling['steps']} steps of {sampling['sampler']}" if sampling["sampler"] else "drawn at once"
