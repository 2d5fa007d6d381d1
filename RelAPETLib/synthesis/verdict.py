"""One verdict on an input: ok, caution or refuse, with reasons, from all checks; the same words wherever it is shown.

The checks are of the header, the field of view, the registration, whether the scans are of one person, and whether the
model's own features of the MRI are like those of the people it was calibrated on (`evaluation.gate`). What is refused
goes on with ``--force`` alone, and the verdict still says refuse. A model that knows simulated people only cannot tell
a strange scan from a real one: by features it says caution at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import DoubtfulInputError
from ..notices import warn
from .case import GO_ON, WITHOUT_T2F, Case

if TYPE_CHECKING:
    from ..evaluation.gate import Gate
    from .norms import Norms
    from .options import Plan
    from .reference import ReferenceUnits
    from .sampling import ConditionedModel

OK, CAUTION, REFUSE, NOT_CHECKED = "ok", "caution", "refuse", "not checked"
#: Rising; what was not checked changes no verdict.
LEVELS = (OK, CAUTION, REFUSE)
#: The checks by their names in the record, and what people call them.
CHECKS = {
    "header": "header",
    "field_of_view": "field of view",
    "registration": "registration",
    "same_person": "one person",
    "features": "features",
}
#: By the beginning of a quality figure's name, the check that it serves; all others serve the registration.
_CHECK_OF_FIGURE = {
    "brain_missing": "field_of_view", "pet_coverage": "field_of_view", "pair_": "same_person", "pet_": "same_person",
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        level: one of `LEVELS`, or `NOT_CHECKED`.
        says: a line each; why it was not checked, too.
        facts: numbers for the record.
    """

    level: str = OK
    says: tuple[str, ...] = ()
    facts: Mapping[str, float | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All checks of an input.

    Attributes:
        checks: by the names of `CHECKS`.
        accepted: what was refused went on by force.
    """

    checks: Mapping[str, Check]
    accepted: bool = False

    @property
    def level(self) -> str:
        """The worst of the checks."""
        return max((check.level for check in self.checks.values() if check.level != NOT_CHECKED), key=LEVELS.index)

    @property
    def reasons(self) -> list[str]:
        """Lines of the checks that are not ok, the worst first."""
        doubtful = [check for check in self.checks.values() if check.level in (CAUTION, REFUSE)]
        doubtful.sort(key=lambda check: -LEVELS.index(check.level))
        return list(dict.fromkeys(line for check in doubtful for line in check.says))

    @property
    def says(self) -> str:
        """The verdict on one line, as the command line, the report and the panel show it."""
        level = f"{self.level}, accepted by --force" if self.accepted else self.level
        missing = [CHECKS[name] for name, check in self.checks.items() if check.level == NOT_CHECKED]
        parts = [f"Input check: {level}"] + (["; ".join(self.reasons)] if self.reasons else [])
        return ": ".join(parts) + (f" (not checked: {', '.join(missing)})" if missing else "")

    def record(self) -> dict[str, Any]:
        """What `synthetic_pet.json` holds under ``verdict``."""
        return {
            "level": self.level,
            "reasons": self.reasons,
            "says": self.says,
            "accepted": self.accepted,
            "checks": {
                name: {"level": check.level, "says": list(check.says), **check.facts}
                for name, check in self.checks.items()
            },
        }


def unseen_references(
    case: Case, plan: Plan, units: Mapping[str, ReferenceUnits] | None = None, norms: Norms | None = None
) -> list[str]:
    """A line for each reference region that the MRI or the plan's measured PET, which it is to scale, do not show.

    Args:
        plan: whose model's SUVR are relative to a region.
        units: by tracer, how the unit of a measured PET is known.
        norms: of measured PET, which are relative to a region too.
    """
    from ..preprocessing import reference_doubts

    tracer = plan.tracer.name
    asked = [(plan.reference_region, None)]
    asked += [(units[tracer].region, tracer)] if units and tracer in units else []
    asked += [(norms.region, tracer)] if norms is not None and norms.tracer == tracer else []
    lines = (line for region, whose in asked if region for line in reference_doubts(case.ready, region, whose))
    return list(dict.fromkeys(lines))


def check_case(
    case: Case,
    plans: Iterable[Plan],
    force: bool,
    units: Mapping[str, ReferenceUnits] | None = None,
    norms: Norms | None = None,
) -> dict[str, list[str]]:
    """Refuse a case that looks wrong, or does not show what SUVR are relative to; else what there is to say.

    Args:
        plans, units, norms: as for `unseen_references`.

    Returns:
        Lines by tracer: of the MRI, of its reference region and of its measured PET, of no other's.

    Raises:
        DoubtfulInputError: there are doubts, and `force` is False; those of an earlier run count, too, whose `force`
            accepted them.
    """
    refused, odd = {}, {}
    for plan in plans:
        name = plan.tracer.name
        found, cautions = _findings(case, plan, units, norms)
        refused[name] = [line for _, line in found]
        odd[name] = [line for _, line in cautions]
    every = [line for lines in refused.values() for line in lines]
    # What reading refused and force accepted, earlier or now: the case's warnings tell of it already.
    every += [*case.doubted, *(line for name in refused for line in case.pet_doubted.get(name, ()))]
    if every and not force:
        raise DoubtfulInputError("; ".join(dict.fromkeys(every)), GO_ON)
    said = {name: [*(f"accepted by force: {line}" for line in refused[name]), *odd[name]] for name in refused}
    for line in dict.fromkeys(line for lines in said.values() for line in lines):
        warn(line)
    return said


def _findings(
    case: Case, plan: Plan, units: Mapping[str, ReferenceUnits] | None, norms: Norms | None
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is refused and what is odd of a case's figures for one tracer, each line with the check it serves."""
    from ..registration.quality import findings

    refused, odd = [], []
    for figures in (case.ready.quality, case.ready.pet_quality.get(plan.tracer.name, {})):
        for lines, found in zip((refused, odd), findings(figures, case.kind), strict=True):
            lines += [(_check_of(figure), line) for figure, line in found]
    refused += [("field_of_view", line) for line in unseen_references(case, plan, units, norms)]
    return refused, odd


def judge(
    case: Case,
    plans: Iterable[Plan],
    conditioned: ConditionedModel,
    force: bool = False,
    units: Mapping[str, ReferenceUnits] | None = None,
    norms: Norms | None = None,
) -> dict[str, Verdict]:
    """The verdict on a case that one model is about to draw from, by tracer: a measured PET counts for its own alone.

    It says what the features add to earlier warnings.

    Args:
        plans, units, norms: as for `unseen_references`.

    Raises:
        DoubtfulInputError: the features alone make it refuse, and `force` is False. What the other checks refuse was
            refused before the model saw the case (`check_case`).
    """
    features = check_features(case, conditioned)
    verdicts = {}
    for plan in plans:
        checks = {**_checks_of_case(case, plan, units, norms), "features": features}
        accepted = any(check.level == REFUSE for check in checks.values())
        verdicts[plan.tracer.name] = Verdict(checks, accepted=accepted)
    if features.level == REFUSE and not force:
        raise DoubtfulInputError("; ".join(features.says), GO_ON)
    for line in features.says if features.level in (CAUTION, REFUSE) else ():
        warn(f"accepted by force: {line}" if features.level == REFUSE else line)
    return verdicts


def _checks_of_case(
    case: Case, plan: Plan, units: Mapping[str, ReferenceUnits] | None, norms: Norms | None
) -> dict[str, Check]:
    """The checks that need no model, from what reading and registering found."""
    from ..preprocessing import missing_lines

    found: dict[str, dict[str, list[str]]] = {name: {CAUTION: [], REFUSE: []} for name in CHECKS}
    found["header"][CAUTION] += case.header
    found["header"][REFUSE] += [*case.doubted, *case.pet_doubted.get(plan.tracer.name, ())]
    for level, lines in zip((REFUSE, CAUTION), _findings(case, plan, units, norms), strict=True):
        for check, line in lines:
            found[check][level].append(line)
    lacking = {name.removeprefix("brain_missing_"): share for name, share in case.ready.quality.items()
               if name.startswith("brain_missing_")}  # fmt: skip
    found["field_of_view"][CAUTION] += missing_lines(lacking)
    known = {line for lines in found.values() for each in lines.values() for line in each}
    known |= {line for lines in case.pet_doubted.values() for line in lines}
    forced = {f"accepted by force: {line}" for line in known}
    further = [line for line in case.warnings if line not in known | forced and line != WITHOUT_T2F]
    found["registration"][CAUTION] += further
    checks = {name: _check(lines) for name, lines in found.items() if name != "features"}
    if "t2f" not in case.sequences and checks["same_person"].level == OK:
        checks["same_person"] = Check(NOT_CHECKED, ("there is no T2-FLAIR to compare the T1w with",))
    return checks


def _check(lines: Mapping[str, list[str]]) -> Check:
    level = REFUSE if lines[REFUSE] else CAUTION if lines[CAUTION] else OK
    return Check(level, tuple(dict.fromkeys([*lines[REFUSE], *lines[CAUTION]])))


def _check_of(figure: str) -> str:
    return next((name for start, name in _CHECK_OF_FIGURE.items() if figure.startswith(start)), "registration")


def gate_of(model) -> Gate | None:
    """The outlier gate of a model's bundle; None where it has none."""
    from ..evaluation.gate import Gate

    calibration = model.calibration
    return Gate(**calibration.arrays) if calibration is not None and calibration.arrays else None


def check_features(case: Case, conditioned: ConditionedModel) -> Check:
    """Whether the model's features of the MRI are like those of the people that it was calibrated on."""
    from ..evaluation.gate import ALARM

    model, gate = conditioned.model, gate_of(conditioned.model)
    if gate is None:
        return Check(NOT_CHECKED, (f"model {model.name} was not calibrated with features of people",))
    if "t2f" not in case.sequences:
        return Check(NOT_CHECKED, ("the model was calibrated on people with a T2-FLAIR",))
    if (numbers := conditioned.features()) is None:
        return Check(NOT_CHECKED, (f"model {model.name} has no features to compare",))
    population, numbers = model.calibration.facts["population"], numbers.numpy()
    p, distance, far = float(gate.p_value(numbers)), float(gate.distance(numbers)), bool(gate.is_far(numbers))
    facts = {"p_value": round(p, 4), "people": len(gate.distances)}
    unlike = case.unlike(population)
    if unlike and not far:  # the p-value promises nothing here
        return Check(NOT_CHECKED, (OTHER_KIND[unlike],))
    if p > ALARM:
        return Check(OK, (), facts)
    level = REFUSE if far and not unlike and not _simulated_only(model) else CAUTION
    times = distance / max(float(gate.distances[-1]), 1e-9)
    extent = f"{times:.1f} times as far out as the farthest" if far else f"p = {p:.2g}"
    who = "simulated people" if population["simulated"] else "people"
    words = (
        f"the model's features of this MRI are unlike those of the {len(gate.distances)} {who} that it was calibrated "
        f"on ({extent})"
    )
    return Check(level, (f"{words}; {OTHER_KIND[unlike]}" if unlike else words,), facts)


#: Why features are compared roughly where the case came onto the model grid in another way than the calibration's.
#: Of 12 simulated people who were registered, 5 had a p-value of at most 0.05 among rendered ones, and none was far
#: (Testing/benchmarks/results/intervals.md); of 10 others after registration was changed 4 had, and none was far.
OTHER_KIND = {
    "raw": "the model was calibrated on people who came on the model grid, and registering changes features",
    "grid": "the model was calibrated on people registered from raw scans, and these came on the model grid",
    "registration": "the model was calibrated on people registered in another way than these scans",
}


def _simulated_only(model) -> bool:
    return bool(model.metadata["training_data"]["simulated"])
