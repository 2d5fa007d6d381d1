"""The record of one synthesis: from what, by what, and what can be said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import provenance as record
from ..devices import attention_backend, describe_precision
from ..methods.base import SEQUENCES
from .departure import departure_record
from .inputs import reference_role

if TYPE_CHECKING:
    from .case import Case
    from .reference import ReferenceUnits
    from .sampling import Draw


def describe(
    case: Case,
    draw: Draw,
    units: ReferenceUnits | None,
    metrics: dict | None,
    messages: list[str],
    seconds: dict[str, float],
    intervals: dict | None = None,
    summary: dict | None = None,
    zscore: dict | None = None,
) -> dict:
    """The record of one synthesis (`provenance.build_provenance`), its ``outputs`` still empty."""
    plan, model, ready, reference = draw.plan, draw.model, case.ready, None
    own = reference_role(plan.tracer.name)
    inputs = {role: case.sha256[role] if role in case.sequences else None for role in SEQUENCES}
    second = {role: case.second_sha256[role] for role in case.sequences if role in case.second_sha256}
    if units is not None:
        inputs["reference"] = case.sha256[own]
        if own in case.second_sha256:
            second["reference"] = case.second_sha256[own]
        reference = {
            "units_from": units.known_from + (" to the synthetic PET's there" if units.region else ""),
            "reference_region": units.region,
            "difference": record.DIFFERENCE_MEANING,
            "difference_units": record.SUVR_UNITS if plan.output == "suvr" else record.RELATIVE_UNITS,
            "metrics": metrics,
            "z": zscore,
        }
    return record.build_provenance(
        model=record.describe_model(model.metadata, model.weights_sha256, model.metadata_sha256),
        tracer={
            "name": plan.tracer.name,
            "radiopharmaceutical": plan.tracer.radiopharmaceutical,
            "output": plan.output,
            "window": plan.window,
            "reference_region": plan.reference_region,
        },
        inputs=inputs,
        second_files=second,
        sampling={
            "sampler": plan.sampler,
            "steps": plan.steps,
            "samples": plan.samples,
            "seed": plan.seed,
            "clip": plan.clip,
            "device": draw.device,
            "batch": draw.batch,
            "precision": describe_precision(plan.precision, draw.device),
            "attention": attention_backend(draw.device, plan.precision),
            **({"ways": ways} if (ways := [*model.ways, *(["slabs"] if draw.slabs else [])]) else {}),
            **({} if draw.needed is None else {"memory_gb": round(draw.needed / 1e9, 2)}),
        },
        preprocessing={
            "method": ready.method,
            "skull_stripped": bool(ready.skull_stripped),
            "preprocessed": case.preprocessed,
            "quality": ready.quality | (ready.pet_quality.get(plan.tracer.name, {}) if units else {}),
        },
        outputs={},
        reference=reference,
        warnings=messages,
        seconds=seconds,
        verdict=None if draw.verdict is None else draw.verdict.record(),
        intervals=intervals,
        summary=summary,
        departure=departure_record(case, draw),
    )
