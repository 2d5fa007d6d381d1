"""Why what was measured of a model on some people says nothing of one synthesis: of intervals and of shares of draws.

Each gives one line, or None where nothing stands in the way.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..devices import MEASURED_PRECISION
from .verdict import CAUTION, REFUSE

if TYPE_CHECKING:
    from .case import Case
    from .sampling import Draw

#: What is added where the case came onto the model grid in another way than the calibration's people.
OTHER_KIND = {
    "raw": "they came on the model grid, these scans were registered: no promise covers that",
    "grid": "they were registered from raw scans, these came on the model grid: no promise covers that",
    "registration": "they were registered in another way than these scans: no promise covers that",
}


def why_another_person(case: Case, *, knows_simulated: bool, on_simulated: bool, verb: str) -> str | None:
    """Why a person is unlike those on whom it was measured.

    Args:
        knows_simulated: the model, or who measured it, knew simulated people only.
        on_simulated: it was measured on simulated people.
        verb: what was done to the model, e.g. ``was calibrated``.
    """
    if knows_simulated and not case.simulated:
        return "the model knows simulated people only, and nothing says that these scans are simulated"
    if case.simulated and not on_simulated:
        return f"the model {verb} on people, and these scans are simulated"
    if "t2f" not in case.sequences:
        return f"the model {verb} on people with a T2-FLAIR"
    return None


def why_another_draw(drawn: Draw, verb: str, told: Collection[str]) -> str | None:
    """Why a draw is unlike those by which it was measured, whatever the sampler; or why its input is doubted.

    Args:
        verb: as for `why_another_person`.
        told: names of the clinical values that the model was told then.
    """
    if set(drawn.told) != set(told):
        ours, theirs = (" and ".join(names) or "no clinical value" for names in (drawn.told, told))
        return f"the model was told {ours} of this person, and {theirs} of those on whom it {verb}"
    if drawn.plan.precision != MEASURED_PRECISION:
        return f"the model {verb} in {MEASURED_PRECISION}, and this was drawn in {drawn.plan.precision}"
    return why_doubted(drawn)


def why_doubted(drawn: Draw) -> str | None:
    """Why the input of a draw is doubted, by its verdict."""
    verdict = drawn.verdict
    if verdict is None:
        return "the input was not checked"
    if verdict.level == REFUSE:
        return "the input check says refuse"
    if verdict.checks["features"].level == CAUTION:
        return "the model's features of this MRI are unlike those of the people that it was calibrated on"
    return None
