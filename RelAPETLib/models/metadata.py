"""Reading and checking a bundle's metadata and the catalogue: plain JSON against a schema, nothing evaluated.

MONAI's ConfigParser would run ``$...`` strings and build ``_target_`` classes; no file of a bundle ever reaches it, and
metadata that hold such a thing are refused, in case somebody hands them to it later.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..absent import why_no_file
from ..errors import ModelError
from ..grid import MNI_GRID
from ..jsonfiles import parse_json
from ..methods import METHODS, UNNAMED, method_class
from ..regions import region_names
from ..resources import resource
from ..tracers import TRACERS

#: Of bundles that are written; older ones are read too.
SCHEMA_VERSION = 2
MAX_JSON_BYTES = 1_000_000


def load_json(path: Path, what: str):
    """Contents of a JSON file; see `load_hashed_json`."""
    return load_hashed_json(path, what)[0]


def load_hashed_json(path: Path, what: str) -> tuple[Any, str]:
    """Contents of a JSON file, and the SHA-256 of the very bytes that they were read from.

    Args:
        path: the file.
        what: what the file is, for the message.

    Raises:
        ModelError: unreadable, larger than `MAX_JSON_BYTES`, or not JSON.
    """
    try:
        if why := why_no_file(path):
            raise ModelError(f"cannot read {what} {path}: {why}")
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{what} {path} is larger than {MAX_JSON_BYTES} bytes; refused")
        content = path.read_bytes()
        return parse_json(content), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {what} {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{what} {path} is not valid JSON ({str(error).splitlines()[0]}); get it again") from error


def check_schema(content, schema_name: str, what: str, newest: int = 1) -> None:
    """Raise `ModelError` unless `content` fits a schema of `Resources`, whose newest version is `newest`."""
    import jsonschema

    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is int and version > newest:
        raise ModelError(f"{what} has schema_version {version}, made for a newer RelAPET; update relapet")
    schema = json.loads(resource(schema_name).read_text(encoding="utf-8"))
    _raise_most_relevant(jsonschema.Draft202012Validator(schema).iter_errors(content), what, "$")


def _raise_most_relevant(errors, what: str, place: str) -> None:
    """Raise `ModelError` for the most telling of a validator's errors, if there is one."""
    import jsonschema

    error = jsonschema.exceptions.best_match(errors)
    if error is not None:
        message = " ".join(error.message.split())
        short = message if len(message) <= 200 else message[:197] + "..."
        raise ModelError(f"{what} is not valid at {place}{error.json_path[1:]}: {short}")


def check_metadata(metadata: dict, what: str) -> None:
    """Raise `ModelError` unless metadata fit the schema and do not contradict themselves or this library."""
    _refuse_expressions(metadata, what)
    check_schema(metadata, "bundle.schema.json", what, SCHEMA_VERSION)

    grid = metadata["grid"]
    if (*grid["shape"], *grid["spacing_mm"], *grid["origin_mm"]) != (
        *MNI_GRID.shape,
        *MNI_GRID.spacing,
        *MNI_GRID.origin,
    ):
        raise ModelError(
            f"{what} is for another grid than the library's {MNI_GRID.shape} voxels of 1 mm; cannot use it"
        )
    _check_method(metadata, what)
    for name, facts in metadata["tracers"].items():
        _check_tracer(name, facts, f"{what} is not valid at $.tracers.{name}")
    of_tracers = {
        "calibration.intervals": metadata.get("calibration", {}).get("intervals", {}),
        "departure": metadata.get("departure", {}),
    }
    for place, facts in of_tracers.items():
        for name in facts.get("tracers", {}):
            if name not in metadata["tracers"]:
                raise ModelError(f"{what} is not valid at $.{place}.tracers: the model has no tracer {name}")


def method_of(metadata: dict) -> tuple[str, dict]:
    """Name and settings of the method that valid metadata describe, of either schema version."""
    if metadata["schema_version"] == 1:
        return UNNAMED, {key: metadata[key] for key in method_class(UNNAMED).schema["properties"] if key in metadata}
    return metadata["method"]["name"], metadata["method"]["settings"]


def _check_method(metadata: dict, what: str) -> None:
    """Raise `ModelError` unless the method is known and its settings fit its schema and one another."""
    import jsonschema

    name, settings = method_of(metadata)
    if name not in METHODS:
        raise ModelError(f"{what} is of the method '{name}', which this RelAPET does not know; update relapet")
    method = method_class(name)
    place = "$" if metadata["schema_version"] == 1 else "$.method.settings"
    _raise_most_relevant(jsonschema.Draft202012Validator(method.schema).iter_errors(settings), what, place)
    try:
        method.check(settings)
    except ValueError as error:
        raise ModelError(f"{what} is not valid at {place}.{error}") from error


def _check_tracer(name: str, facts: dict, problem: str) -> None:
    if name not in TRACERS:
        raise ModelError(f"{problem}: no such tracer; known are {', '.join(TRACERS)}")
    low, high = facts["window"]
    if low >= high:
        raise ModelError(f"{problem}: window {facts['window']} is empty")
    if facts["output"] == "relative" and facts["window"] != [0, 1]:
        raise ModelError(f"{problem}: a relative output has the window [0, 1], not {facts['window']}")
    if facts["output"] == "suvr" and not facts["reference_region"]:
        raise ModelError(f"{problem}: a SUVR output needs a reference_region")
    if facts["reference_region"] is not None and facts["reference_region"] not in region_names():
        known = ", ".join(region_names())
        raise ModelError(f"{problem}: unknown reference_region {facts['reference_region']!r}; known are {known}")


def _refuse_expressions(content, what: str) -> None:
    """Raise `ModelError` when any text or key is an expression or instruction to MONAI's ConfigParser."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and (
            item.startswith(("$", "@", "%")) or item.startswith("_") and item.endswith("_")
        ):
            raise ModelError(f"{what} holds {item[:60]!r}, an instruction that could run code elsewhere; refused")


def fingerprint(metadata: dict) -> str:
    """SHA-256 of metadata without its `weights` entry, whatever the order of keys and white space.

    It stands in the header of the weights file, and the weights file's SHA-256 stands in the metadata: neither can be
    changed or swapped without the other.
    """
    rest = {key: value for key, value in metadata.items() if key != "weights"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
