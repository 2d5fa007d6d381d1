"""Copies of a bundle that hold more: a calibration, or norms of departure."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from .bundle import rewrite_bundle
from .calibration import ARRAYS, CALIBRATION_FILE, checked_gate
from .departure import DEPARTURE_FILE, checked_norms

if TYPE_CHECKING:
    import numpy as np


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
        arrays: of the gate, see `calibration.ARRAYS`; None where there is none.
        version: of the new bundle; None keeps the source's.

    Returns:
        The metadata as written.

    Raises:
        ModelError: the source is damaged, or facts or arrays do not fit.
        OutputError: `out` exists and may not be replaced, or cannot be written.
    """
    facts, files = dict(facts), {}
    facts["gate"] = None
    if arrays is not None:
        content, digest = _packed(arrays)
        facts["gate"] = {
            "file": CALIBRATION_FILE,
            "sha256": digest,
            "features": len(arrays["mean"]),
            "people": len(arrays["distances"]),
        }
        checked_gate(content, Path(out) / CALIBRATION_FILE, facts["gate"])
        files[CALIBRATION_FILE] = content
    changes = {"calibration": facts} | ({"version": version} if version else {})
    return rewrite_bundle(Path(source), Path(out), changes, files, overwrite=overwrite)


def write_departures(
    source: Path | str,
    out: Path | str,
    facts: dict,
    arrays: dict[str, np.ndarray],
    *,
    version: str | None = None,
    overwrite: bool = False,
) -> dict:
    """Write a copy of a bundle with norms of departure, all of it or nothing; weights and calibration stay.

    Args:
        source: a bundle, with norms already or not.
        out: the new one's folder.
        facts: ``departure`` of the metadata but ``file`` and ``sha256``, which are filled in here.
        arrays: by the names and of the shapes that `models.departure` says.
        version: of the new bundle; None keeps the source's.

    Returns:
        The metadata as written.

    Raises:
        ModelError: the source is damaged, or facts or arrays do not fit.
        OutputError: `out` exists and may not be replaced, or cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(array, np.float32) for name, array in sorted(arrays.items())})
    facts = {**facts, "file": DEPARTURE_FILE, "sha256": hashlib.sha256(content).hexdigest()}
    checked_norms(content, Path(out) / DEPARTURE_FILE, facts)
    changes = {"departure": facts} | ({"version": version} if version else {})
    return rewrite_bundle(Path(source), Path(out), changes, {DEPARTURE_FILE: content}, overwrite=overwrite)


def _packed(arrays: dict[str, np.ndarray]) -> tuple[bytes, str]:
    """Contents of the file for float arrays by name, and its SHA-256."""
    import numpy as np
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(arrays[name], np.float32) for name in ARRAYS})
    return content, hashlib.sha256(content).hexdigest()
