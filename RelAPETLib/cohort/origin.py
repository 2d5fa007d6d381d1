"""What a result follows from: scans and what is said of them, model, options, and the code's revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..registration import REVISION as REGISTRATION
from ..synthesis import REVISION as SYNTHESIS
from ..volumes.contrast import who_says_contrast
from ..volumes.sidecar import SIMULATED, SIMULATION_KEY, read_sidecar
from .request import Request, fingerprint
from .visits import Visit


@dataclass(frozen=True)
class Origin:
    """All that a result follows from.

    Attributes:
        inputs: hashes by role, of the MRI and the tracer's own measured PET, or of a saved case.
        said: by role, what name and sidecar of an MRI say that shapes a result, as in `said_of`; nothing of others.
        model, options: as in a record.
        tracer: short name.
        clinical: fingerprint of age, sex and score.
        code: revisions of the code: ``synthesis``, and ``registration`` where it registers.
    """

    inputs: Mapping[str, str]
    said: Mapping[str, Mapping]
    model: Mapping
    tracer: str
    options: Mapping
    clinical: str
    code: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """Of all of it."""
        return fingerprint({**self._earlier(), "said": self.said, "code": self.code})

    @property
    def earlier_fingerprint(self) -> str:
        """As records without ``said`` and ``code`` have it, which earlier versions wrote."""
        return fingerprint(self._earlier())

    def _earlier(self) -> dict:
        names = ("inputs", "model", "tracer", "options", "clinical")
        return {name: getattr(self, name) for name in names}


def origin(request: Request, visit: Visit, tracer: str, inputs: Mapping[str, str], said: Mapping) -> Origin:
    """What a result of a visit's tracer follows from.

    Args:
        inputs: of `records.hashes`.
        said: of `said_of`.
    """
    own = {role: digest for role, digest in inputs.items() if not role.startswith("pet_") or role == f"pet_{tracer}"}
    registers = visit.case is None and not request.options.preprocessed
    code = {"synthesis": SYNTHESIS} | ({"registration": REGISTRATION} if registers else {})
    return Origin(
        own, said, request.model, tracer, request.choices(), fingerprint(visit.clinical.record()), code
    )  # fmt: skip


def said_of(visit: Visit) -> dict[str, dict]:
    """What names and sidecars of a visit's MRI say that shapes a result, by role; empty for a saved case.

    ``simulated``: made by relapet phantom, which the intervals follow; ``contrast``: what tells of a contrast agent, of
    which a warning speaks. What else a sidecar holds changes nothing.
    """
    files = {} if visit.case is not None else {"t1w": visit.t1w, "t2f": visit.t2f}
    found = {role: _said(path) for role, path in files.items() if path is not None}
    return {role: said for role, said in found.items() if said}


def _said(path: Path) -> dict:
    try:
        content = read_sidecar(path).content
    except InputError:
        content = {}  # says nothing, as when the scan is read
    found = {"simulated": True} if content.get(SIMULATION_KEY) == SIMULATED else {}
    return found | ({"contrast": who} if (who := who_says_contrast(path, content)) else {})
