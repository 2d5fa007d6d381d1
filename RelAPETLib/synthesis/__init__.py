"""Synthesis: the one way from a T1w and a T2-FLAIR to synthetic PET with their records.

Three steps that can be called apart: `prepare_case` (read and register, once a person), `draw` (samples of one tracer),
`finish` (maps, comparison, record), whose `Synthesis` saves its files. `synthesize` and `synthesize_many` do all three.

`options` (what is asked, checked and resolved), `inputs` (reading), `case` (registering), `saved` (a case in a folder),
`reference` (units of a measured PET), `verdict` (on the input), `sampling` (drawing), `maps` (units, comparison, the
way back), `intervals` (of regional means), `result` (what comes out, and saving it), `pipeline` (the order of things).
"""

from .case import Case, prepare_case
from .options import Options, for_model, resolve
from .pipeline import draw, finish, run_case, run_files, synthesize, synthesize_many
from .result import OUTPUT_NAMES, Syntheses, Synthesis, save_many
from .saved import load_case, save_case

#: Raised when the same prepared scans, model and options give another PET, interval or warning, so that cohorts know
#: which of their results are of one kind. What registration changes has a number of its own, `registration.REVISION`.
REVISION = 1

__all__ = [
    "OUTPUT_NAMES", "REVISION", "Case", "Options", "Syntheses", "Synthesis", "draw", "finish", "for_model", "load_case",
    "prepare_case", "resolve", "run_case", "run_files", "save_case", "save_many", "synthesize", "synthesize_many",
]  # fmt: skip
