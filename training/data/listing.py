"""What `prepare` tells of people beside their volumes: who could not be used and why, what is doubted of the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from RelAPETLib.cohort.cases import Case, Failure, RenderedCase

from .cache import CASE, write_whole

FAILURES, WARNINGS = "failures.tsv", "warnings.tsv"


def write_lists(cache: Path, failures: Iterable[Failure], warnings: Iterable[Failure]) -> None:
    """``failures.tsv`` and ``warnings.tsv`` of a cache, each whole.

    Args:
        warnings: a line of a case that is used each, as its reason.

    Raises:
        OSError: the disk refuses.
    """
    rows = [[line.subject, line.case, line.tracer, " ".join(line.reason.split())] for line in failures]
    write_whole(cache / FAILURES, _table(["subject", "case", "tracer", "reason"], rows))
    rows = [[line.subject, line.case, line.reason] for line in warnings]
    write_whole(cache / WARNINGS, _table(["subject", "case", "warning"], rows))


def _table(header: list[str], rows: Iterable[list[str]]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue().encode(errors="backslashreplace")


def warnings_of(records: Iterable[Mapping]) -> list[Failure]:
    """What is doubted of the cases of an index, a line each."""
    return [Failure(r["subject"], r["case"], "", line) for r in records for line in r.get("warnings", ())]


def known_of(records: Iterable[Mapping]) -> str:
    """Of how many of an index's subjects age, sex and score are known, in words."""
    from RelAPETLib.clinical import CLINICAL

    clinical: dict[str, dict] = {}
    for record in records:
        clinical.setdefault(record["subject"], {}).update(record.get("clinical", {}))
    counts = [f"{name} of {sum(name in known for known in clinical.values())}" for name in CLINICAL]
    return f"known are {', '.join(counts)} of {len(clinical)} subjects"


def left_behind(cache: Path, cases: Sequence[Case | RenderedCase]) -> str:
    """A line on volumes that a cache holds of people who are not in the data set (any more); empty without any."""
    others = sorted({path.parent.name for path in (cache / "cases").glob(f"*/{CASE}")} - {case.name for case in cases})
    if not others:
        return ""
    return (
        f"{len(others)} in {cache / 'cases'} are not in this data set, first {others[0]}: not used, but still there; "
        "remove the folders of whoever must not be kept"
    )
