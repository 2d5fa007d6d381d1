"""A bundle's calibration: what is known of its errors, and of which MRI are like those of the people who showed them.

It is an optional part of a bundle, closed and plain: ``calibration`` in ``configs/metadata.json`` (numbers and words,
as `Resources/bundle.schema.json` says) and, where the method has features for the outlier gate,
``calibration.safetensors`` (three arrays). The metadata's fingerprint stands in the weights' header and the arrays'
SHA-256 in the metadata, so that neither can be changed without the bundle being refused. Nothing in it is executed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_FILE = "calibration.safetensors"
#: Names of the arrays and their dimensions: mean [D], whitening [K, D], distances [n].
ARRAYS = {"mean": 1, "whitening": 2, "distances": 1}
MAX_CALIBRATION_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Calibration:
    """What was read.

    Attributes:
        facts: ``calibration`` of the metadata.
        arrays: of the gate, float32 by name; empty where the method has no features.
    """

    facts: dict
    arrays: dict[str, np.ndarray]


def read_calibration(folder: Path, metadata: dict) -> Calibration | None:
    """The calibration of a bundle whose metadata are valid; None without one.

    Raises:
        ModelError: its arrays are missing, changed, no safetensors file, or not what the metadata say.
    """
    facts, path = metadata.get("calibration"), folder / CALIBRATION_FILE
    gate = (facts or {}).get("gate")
    if gate is None:
        if path.exists():
            raise ModelError(f"{path}: the model's metadata know of no such file; get the model again")
        return None if facts is None else Calibration(facts, {})
    return Calibration(facts, checked_gate(verified_content(path, gate["sha256"]), path, gate))


def verified_content(path: Path, sha256: str) -> bytes:
    """A file of a bundle whose hash is in the metadata. Raises `ModelError` where it is missing or another."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}; get the model again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{path} is corrupt or was changed: SHA-256 {found[:12]}..., metadata say {sha256[:12]}...; get the model "
            "again"
        )
    return content


def loaded_arrays(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file by name; nothing in it is executed. Raises `ModelError` for another file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(content)
    except (SafetensorError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a safetensors file ({error}); get the model again") from error


def checked_gate(content: bytes, path: Path, gate: dict) -> dict[str, np.ndarray]:
    """The arrays of a file whose hash is right, checked against what the metadata say of them."""
    import numpy as np

    arrays = loaded_arrays(content, path)
    sizes = {"mean": (gate["features"],), "distances": (gate["people"],)}
    if set(arrays) != set(ARRAYS) or any(
        array.dtype != np.float32 or array.ndim != ARRAYS[name] or not np.isfinite(array).all()
        or array.shape != sizes.get(name, array.shape)
        for name, array in arrays.items()
    ):  # fmt: skip
        raise ModelError(f"{path} does not hold the arrays that the model's metadata say; get the model again")
    if arrays["whitening"].shape[1] != gate["features"] or (np.diff(arrays["distances"]) < 0).any():
        raise ModelError(f"{path} does not hold the arrays that the model's metadata say; get the model again")
    return arrays
