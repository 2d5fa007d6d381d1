"""``relapet report``: the page of a cohort from the tables that ``relapet evaluate`` or ``relapet bids`` wrote."""

from __future__ import annotations

from pathlib import Path

NAME = "report.html"


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "report",
        parents=[common],
        help="make a page of a cohort's tables and results",
        description="Make one HTML page of volumes.tsv, regions.tsv and failures.tsv in a folder, with pictures of the "
        "best, median and worst result where their files lie below it, and marks to accept or reject each.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="COHORT_FOLDER", help="what relapet evaluate or relapet bids has written")
    parser.add_argument(
        "--results", metavar="DIR", nargs="+",
        help="folders of the results that the tables are of, for pictures, verdicts and links (default: the folder)",
    )  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help=f"page to write (default: {NAME} in the folder)")
    parser.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..errors import OutputError
    from ..report import write_cohort_report
    from .synthesize import silence_itk

    silence_itk()
    out = Path(arguments.out) if arguments.out else Path(arguments.folder) / NAME
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file, e.g. {out / NAME}")
    if out.exists() and not arguments.overwrite:
        raise OutputError(f"{out} exists; use --overwrite to replace it")
    reporter.progress(0.0, "reading the tables")
    words = {"title": arguments.title} if arguments.title else {}
    if arguments.results:
        words["results"] = _results(arguments)
    try:
        counts = write_cohort_report(arguments.folder, out, **words)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    reporter.progress(1.0, "done")
    content = {"file": str(out.absolute()), **counts}
    line = f"Page of {counts['results']} synthetic PET of {counts['people']} people, research only:"
    reporter.result("report", content, [line, f"  {out.absolute()}"])
    return 0


def _results(arguments) -> dict:
    """Files of the tables' results in the folders that are named; of two of one result the first."""
    from ..errors import InputError
    from ..report.cohort_results import find_results
    from ..report.cohort_tables import read_tables

    keys, found = read_tables(arguments.folder).results(), {}
    for folder in map(Path, arguments.results):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        found = find_results(folder, keys) | found
    return found
