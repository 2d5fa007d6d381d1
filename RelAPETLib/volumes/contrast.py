"""Whether an MRI was taken with a contrast agent, as a DICOM header, a file's name or its sidecar says.

In BIDS the entity ``ce-`` names the agent, and ``ContrastBolusIngredient`` of the sidecar what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..notices import warn
from .sidecar import parse_name, readable_content, sidecar_path

#: Keys of a sidecar that name an agent; dcm2niix and others take the second from the DICOM header.
KEYS = ("ContrastBolusIngredient", "ContrastBolusAgent")
#: What can say so of a file that is no DICOM.
NAME, SIDECAR = "file name", "sidecar"
#: What stands in the place of an agent's name where there was none.
_NO_AGENT = ("", "NO", "NONE", "N", "0", "-", "NULL", "NA", "N/A", "UNKNOWN", "NO CONTRAST", "WITHOUT")


def names_agent(text: str) -> bool:
    """Whether a text names a contrast agent; a mere word like NONE says that there was none."""
    return text.upper().strip(" .") not in _NO_AGENT


def warn_of_contrast(name: str, source: str) -> None:
    """Tell of an MRI with a contrast agent.

    Args:
        name: what the volume is called; of other volumes than a T1w or T2-FLAIR nothing is said.
        source: what says so.
    """
    if name.startswith(("T1w", "T2")):
        warn(f"{name}: taken with a contrast agent, as its {source} says; the model was trained on scans without")


def who_says_contrast(image: Path, content: Mapping | None = None) -> str:
    """Which of an image's name and its sidecar says that an agent was given; empty where neither does.

    `content` is the sidecar's where it is known already (`sidecar.readable_content`).
    """
    if sidecar_path(image) is None:
        return ""
    if names_agent(parse_name(image).entities.get("ce", "")):
        return NAME
    said = readable_content(image) if content is None else content
    texts = [text for key in KEYS for text in (said[key] if isinstance(said.get(key), list) else [said.get(key)])]
    return SIDECAR if any(isinstance(text, str) and names_agent(text) for text in texts) else ""
