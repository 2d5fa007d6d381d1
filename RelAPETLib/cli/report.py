"""``relapet report``: pages of a result or a cohort that was written earlier."""

from __future__ import annotations

from pathlib import Path

from ..homes import given_path

NAME = "report.html"


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "report",
        parents=[common],
        help="make a page of a result, or of a cohort's tables and results",
        description="Of the folder of one result (relapet synthesize): make the HTML page to look through, or one page "
        "to print (--pdf). Of a cohort's folder: make one HTML page of volumes.tsv, regions.tsv and failures.tsv, with "
        "pictures of the best, median and worst result where their files lie below it, and marks to accept or reject "
        "each.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder",
        type=given_path,
        metavar="FOLDER",
        help="what relapet synthesize, relapet evaluate or relapet bids has written",
    )
    one = parser.add_argument_group("of one result")
    one.add_argument(
        "--t1w", type=given_path, metavar="FILE", help="the T1w that the PET was made from, to show it over"
    )
    one.add_argument("--pdf", action="store_true", help="one A4 page (report.pdf) in place of the HTML page")
    one.add_argument("--label", metavar="TEXT", help="a name or code to print on the page (default: none)")
    many = parser.add_argument_group("of a cohort")
    many.add_argument(
        "--results", type=given_path, metavar="DIR", nargs="+", action="extend",
        help="folders of the results that the tables are of, for pictures, verdicts and links (default: the folder)",
    )  # fmt: skip
    many.add_argument("--title", metavar="TEXT", help="heading of the page")
    parser.add_argument(
        "--out", type=given_path, metavar="FILE", help=f"page to write (default: {NAME} or report.pdf in the folder)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..errors import OutputError
    from ..report.saved_result import is_result
    from .inputs import keep_inputs
    from .synthesize import silence_itk

    silence_itk()
    one = is_result(arguments.folder)
    _check(arguments, one)
    name = "report.pdf" if arguments.pdf else NAME
    out = Path(arguments.out) if arguments.out else Path(arguments.folder) / name
    if out.is_dir():
        raise OutputError(f"{out} is a folder; name a file, e.g. {out / name}")
    if out.exists() and not arguments.overwrite:
        raise OutputError(f"{out} exists; use --overwrite to replace it")
    keep_inputs(arguments, [out])
    if not _may_be_replaced(out):
        raise OutputError(f"{out} exists and is no page; choose another --out")
    return _result(arguments, out, reporter) if one else _cohort(arguments, out, reporter)


def _may_be_replaced(out: Path) -> bool:
    """Whether a file is a page, empty or not there: not a scan, and none of a result's other files."""
    from ..errors import OutputError

    try:
        with open(out, "rb") as file:
            start = file.read(64).lstrip().lower()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error
    return not start or start.startswith((b"<!doctype html", b"%pdf-"))


def _check(arguments, one: bool) -> None:
    """Refuse options of a cohort for a result, and of a result for a cohort."""
    from ..errors import InputError

    others = ("results", "title") if one else ("t1w", "pdf", "label")
    kind = "one result" if one else "no result of relapet synthesize (there is no synthetic_pet.json)"
    for option in others:
        if getattr(arguments, option):
            raise InputError(f"{arguments.folder} holds {kind}; leave --{option} out")


def _result(arguments, out: Path, reporter) -> int:
    from ..report.saved_result import read_result, write_saved_page

    reporter.progress(0.0, "reading the result")
    result = read_result(arguments.folder, arguments.t1w)
    reporter.progress(0.5, "making the page")
    write_saved_page(result, out, "pdf" if arguments.pdf else "html", arguments.label)
    reporter.progress(1.0, "done")
    tracer = result.record["tracer"]["name"]
    content = {"file": str(out.absolute()), "tracer": tracer}
    reporter.result("report", content, [f"Page of the synthetic {tracer} PET, research only:", f"  {out.absolute()}"])
    return 0


def _cohort(arguments, out: Path, reporter) -> int:
    from ..errors import OutputError
    from ..report import write_cohort_report

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
