"""The record that goes beside every synthetic PET: `synthetic_pet.json`, as `Resources/provenance.schema.json` says.

It holds what is needed to make the same volume again and to judge it, and nothing that points at a person: inputs are
named by the SHA-256 of their content, never by path, name or header.
"""

from __future__ import annotations

import json
import math
import platform
from datetime import datetime, timezone
from importlib import metadata

from . import __version__
from .errors import RelAPETError
from .models.metadata import method_of
from .resources import resource
from .tracers import TRACERS

SCHEMA_VERSION = 1

STATEMENT = (
    "SYNTHETIC image: a model's guess from MRI, not a measurement. "
    "Research only, not for diagnosis or any clinical use. "
    "MRI does not determine PET: real abnormalities may be missing and absent ones may appear."
)
SIMULATED_STATEMENT = "The model was trained on simulated data only; it says nothing about real people."
UNCERTAINTY_MEANING = (
    "standard deviation over the samples drawn from the model, in the units of the PET: the spread of its guesses, "
    "not the error against a real PET"
)


def spread_divisor(samples: int) -> str:
    """What the squares about the mean of samples (2 or more) are divided by for their SD, and why, for the record.

    N of an even number: with mirrored noise the mean does not err by the samples' own scatter, where the answer is
    linear in the noise. The last of an odd number is alone: N - 1/N (`synthesis.sampling.Moments`).
    """
    by = f"N = {samples}" if samples % 2 == 0 else f"N - 1/N of N = {samples}"
    return f"squares about the mean are divided by {by}, since samples are drawn as pairs with mirrored noise"


WITHOUT_T2F = "From the T1w alone: no T2-FLAIR was given."
DIFFERENCE_MEANING = "synthetic minus reference"
DEPARTURE_MEANING = (
    "departure: mean of the samples minus the mean of the synthetic PET of the training people, over the SD of those, "
    "in blocks of 4 mm: what this MRI changed in the model's guess; not a disease map, nor a z-score of a measured PET"
)
Z_MEANING = (
    "z-score of the measured PET, not of the synthetic one: measured minus the mean of the norms that the user gave, "
    "over their SD"
)
DEPARTURE_UNITS = "SD of the training people's synthetic PET"
Z_UNITS = "SD of the norms"
REGIONS_MEANING = "means inside the brain in approximate regions of the model grid"
SUVR_UNITS = "SUVR"
RELATIVE_UNITS = "relative (0 to 1)"

_PACKAGES = {"torch": "torch", "monai": "monai", "simpleitk": "SimpleITK", "numpy": "numpy", "nibabel": "nibabel"}


def versions() -> dict[str, str]:
    """Versions of relapet, Python and the libraries that shape the result; imports none of them."""
    found = {"relapet": __version__, "python": platform.python_version()}
    for key, package in _PACKAGES.items():
        try:
            found[key] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[key] = "unknown"
    return found


def _jsonable(value):
    """Plain JSON types; numbers that JSON lacks (NaN, infinity) become null."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def describe_model(bundle: dict, weights_sha256: str, metadata_sha256: str | None) -> dict:
    """What the record says about the model, from its bundle's validated metadata."""
    training = bundle["training_data"]
    return {
        "name": bundle["name"],
        "version": bundle["version"],
        "method": method_of(bundle)[0],
        "weights_sha256": weights_sha256,
        "metadata_sha256": metadata_sha256,
        "source": bundle.get("source"),
        "licence": bundle.get("licence"),
        "trained_on_simulated_data": bool(training.get("simulated", False)),
        "training_data": training.get("description", ""),
        "intended_use": bundle.get("intended_use"),
        "limitations": bundle.get("limitations", []),
    }


def build_provenance(
    *,
    model: dict,
    tracer: dict,
    inputs: dict[str, str | None],
    second_files: dict[str, str] | None = None,
    sampling: dict,
    preprocessing: dict,
    outputs: dict[str, dict],
    reference: dict | None = None,
    warnings: list[str] = (),
    seconds: dict[str, float] | None = None,
    created: str | None = None,
    verdict: dict | None = None,
    intervals: dict | None = None,
    summary: dict | None = None,
    departure: dict | None = None,
) -> dict:
    """Dictionary that `synthetic_pet.json` holds.

    Args:
        model: from `describe_model`.
        tracer: ``name``, ``radiopharmaceutical``, ``output`` ("suvr" or "relative"), ``window``, ``reference_region``.
        inputs: SHA-256 of each input's content by role (``t1w``, ``t2f``, ``reference``); None for a ``t2f`` that was
            not given.
        second_files: SHA-256 by role of the other file of an input in two (a header and its voxels).
        sampling: ``sampler``, ``steps``, ``samples``, ``seed``, ``device``.
        preprocessing: ``method``, ``skull_stripped``, ``preprocessed`` and the ``quality`` figures.
        outputs: file name to ``{"content", "space", "units"}``.
        reference: how the reference's units were known and the metrics, when there is one.
        warnings: everything the user was told.
        seconds: time by stage.
        created: ISO 8601 time; now, in UTC, when None.
        verdict: on the input (`synthesis.verdict.Verdict.record`).
        intervals: of the regional means, or why there are none.
        summary: the tracer's composite value (`synthesis.summary.summary`), where it has one.
        departure: what the departure map is against, or why there is none.
    """
    statement = STATEMENT
    if model["trained_on_simulated_data"]:
        statement = f"{statement} {SIMULATED_STATEMENT}"
    samples = sampling["samples"]
    what = "one sample drawn from the model" if samples == 1 else f"mean of {samples} samples drawn from the model"
    record = {
        "schema_version": SCHEMA_VERSION,
        "synthetic": True,
        "statement": statement,
        "created": created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "pet": {
            "content": what,
            "units": SUVR_UNITS if tracer["output"] == "suvr" else RELATIVE_UNITS,
            "outside_brain": 0,
        },
        "uncertainty": f"{UNCERTAINTY_MEANING}; {spread_divisor(samples)}" if samples > 1 else None,
        "tracer": tracer,
        "model": model,
        "inputs": {
            role: None if digest is None else {"sha256": digest} | _second(second_files, role)
            for role, digest in inputs.items()
        },
        "sampling": sampling,
        "preprocessing": preprocessing,
        "reference": reference,
        "verdict": verdict,
        "intervals": intervals,
        "summary": summary,
        "departure": departure,
        "outputs": outputs,
        "warnings": list(warnings),
        "seconds": seconds or {},
        "versions": versions(),
        "platform": {"system": platform.system(), "machine": platform.machine()},
    }
    return _jsonable(record)


def _second(second_files: dict[str, str] | None, role: str) -> dict[str, str]:
    return {"second_sha256": second_files[role]} if role in (second_files or {}) else {}


def schema() -> dict:
    """JSON schema of the record."""
    return json.loads(resource("provenance.schema.json").read_text(encoding="utf-8"))


def check_provenance(record: dict) -> None:
    """Raise `RelAPETError` when a record does not follow the schema."""
    import jsonschema

    # Not `jsonschema.validate`, which would look at the schema itself each time.
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema()).iter_errors(record))
    if error is not None:
        where = "/".join(map(str, error.absolute_path)) or "the top level"
        raise RelAPETError(f"the provenance record is wrong at {where}: {error.message.splitlines()[0]}") from error
    if record["tracer"]["name"] not in TRACERS:
        raise RelAPETError(
            f"the provenance record is wrong at tracer/name: {record['tracer']['name']} is none of {', '.join(TRACERS)}"
        )
