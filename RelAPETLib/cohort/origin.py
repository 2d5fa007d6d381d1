"""What a result follows from: scans and what is said of them, model, options, and the code's revisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..registration import REVISION as REGISTRATION
from ..synthesis import REVISION as SYNTHESIS
from ..synthesis.inputs import told_beside_all
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
    return {} if visit.case is not None else told_beside_all({"t1w": visit.t1w, "t2f": visit.t2f})
