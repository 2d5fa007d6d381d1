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
    return Calibration(facts, _arrays(verified_content(path, gate["sha256"]), path, gate))


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


def _arrays(content: bytes, path: Path, gate: dict) -> dict[str, np.ndarray]:
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


def pack_arrays(arrays: dict[str, np.ndarray]) -> tuple[bytes, str]:
    """Contents of the file for float arrays by name, and its SHA-256."""
    import numpy as np
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(arrays[name], np.float32) for name in ARRAYS})
    return content, hashlib.sha256(content).hexdigest()


def write_calibrated(
    source: Path | str,
    out: Path | str,
    facts: dict,
    arrays: dict[str, np.ndarray] | None = None,
    *,
    version: str | None = None,
    overwrite: bool = False,
) -> dict:
    """Write a copy of a bundle with a calibration, all of it or nothing; the weights stay as they are.

    Args:
        source: a bundle, calibrated already or not.
        out: the new one's folder.
        facts: ``calibration`` of the metadata; its ``gate`` gets hash and sizes here.
        arrays: of the gate; None where there is none.
        version: of the new bundle; None keeps the source's.

    Returns:
        The metadata as written.

    Raises:
        ModelError: the source is damaged, or facts or arrays do not fit.
        OutputError: `out` exists and may not be replaced, or cannot be written.
    """
    from .bundle import rewrite_bundle

    facts, files = dict(facts), {}
    facts["gate"] = None
    if arrays is not None:
        content, digest = pack_arrays(arrays)
        facts["gate"] = {
            "file": CALIBRATION_FILE,
            "sha256": digest,
            "features": len(arrays["mean"]),
            "people": len(arrays["distances"]),
        }
        _arrays(content, Path(out) / CALIBRATION_FILE, facts["gate"])
        files[CALIBRATION_FILE] = content
    changes = {"calibration": facts} | ({"version": version} if version else {})
    return rewrite_bundle(Path(source), Path(out), changes, files, overwrite=overwrite)
