"""Which tracer a measured PET is of, as its sidecar (``TracerName``) and its BIDS name (``trc-``) say.

A PET of another tracer than the one that is asked for looks like a PET of a bad model: nothing in its voxels tells.
"""

from __future__ import annotations

from pathlib import Path

from ..tracers import told_tracers
from .sidecar import parse_name, readable_content


def other_tracer(path: Path, tracer: str, content: dict | None = None) -> str:
    """How a measured PET says that it is of another tracer; empty where it says this one, or none that is known.

    Args:
        path: the PET.
        tracer: short name of the one that is asked for; one that is not known is not judged.
        content: of its sidecar, where that was read; None: it is read. A damaged one says nothing here: who looks for
            the unit tells of it.

    Example:
        >>> other_tracer(Path("sub-01_trc-PIB_pet.nii.gz"), "TAU", {})
        'its name (trc-PIB) says PIB, not TAU'
    """
    content = readable_content(path) if content is None else content
    label, name = parse_name(path).entities.get("trc"), content.get("TracerName")
    wanted = told_tracers(tracer)
    for spoken, where in ((label, f"its name (trc-{label})"), (name, f"its sidecar (TracerName '{str(name)[:60]}')")):
        told = told_tracers(spoken)
        if told and wanted and told != wanted:
            return f"{where} says {told[0]}, not {tracer}"
    return ""
