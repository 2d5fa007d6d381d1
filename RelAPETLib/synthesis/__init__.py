"""Synthesis: the one way from a T1w and a T2-FLAIR to a synthetic PET with its record.

`options` (what was asked, checked), `inputs` (reading), `reference` (units of a measured PET), `sampling` (drawing),
`pipeline` (the order of things), `result` (what comes out, and saving it).
"""

from .pipeline import synthesize
from .result import OUTPUT_NAMES, Synthesis

__all__ = ["OUTPUT_NAMES", "Synthesis", "synthesize"]
