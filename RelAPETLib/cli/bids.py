"""``relapet bids``: synthetic PET of a whole BIDS data set, with the arguments of a BIDS App.

BIDS Apps: Gorgolewski et al., PLoS Comput Biol 2017;13:e1005209.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..homes import given_path

LEVELS = ("participant", "group")
#: Exit code when some have no result, here and in `relapet evaluate`; 0: all have, 2: nothing could be begun.
SOME_FAILED = 3
_DESCRIPTION = (
    "Make synthetic PET of every person and session of a BIDS data set (or of a table, a CSV with the columns subject "
    "and t1w, and perhaps t2f, session, pet, tracer). A second run does only what is missing. Exit code: 0 all done, "
    "3 some people have no result (they are listed, and 'group' writes failures.tsv), 2 nothing could be begun, "
    "130 or 143 interrupted: run it again."
)


def add_parser(commands, common, tracers, whole_number) -> None:
    parser = commands.add_parser(
        "bids", parents=[common], help="synthetic PET of a whole BIDS data set (a BIDS App)",
        description=_DESCRIPTION, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("bids_dir", type=given_path, metavar="BIDS_DIR", help="BIDS data set, or a table (CSV)")
    parser.add_argument("out", type=given_path, metavar="OUT", help="folder of the derivatives, made when missing")
    parser.add_argument(
        "level", nargs="+", choices=LEVELS, metavar="participant|group",
        help="participant: make the PET; group: make the tables and the cohort's page anew from the records; both: one "
        "after the other",
    )  # fmt: skip
    _add_choice(parser, tracers)
    _add_running(parser, whole_number)
    from .synthesize import add_model_options

    add_model_options(parser, whole_number)
    parser.set_defaults(run=run)


def _add_choice(parser, tracers) -> None:
    group = parser.add_argument_group("who and what")
    label = {"nargs": "+", "action": "extend", "default": [], "metavar": "LABEL"}
    group.add_argument("--participant-label", "--participant_label", **label, help="only these, with or without sub-")
    group.add_argument("--session-label", "--session_label", "--session-id", **label, help="likewise of sessions")
    group.add_argument(
        "--tracer", nargs="+", action="extend", metavar="|".join((*tracers, "all")),
        help="PET tracers to imitate (default: all that the model has)",
    )  # fmt: skip
    group.add_argument(
        "--bids-filter-file", type=given_path, metavar="FILE", help="JSON of which images count, as fMRIPrep's"
    )
    group.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true",
                       help="do not ask bids-validator-deno")  # fmt: skip
    group.add_argument(
        "--cases", type=given_path, metavar="DIR", help="saved cases, sub-*[/ses-*]/case.json, in place of the scans"
    )
    group.add_argument("--preprocessed", action="store_true", help="the volumes lie on the model grid already")
    from .synthesize import add_registration

    add_registration(group)
    group.add_argument("--force", action="store_true", help="accept doubtful inputs, with a warning")


def _add_running(parser, whole_number) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--jobs", "--nprocs", "--n-cpus", "--n_cpus", dest="jobs", type=whole_number, default=1,
                       metavar="N", help="people at a time, one thread each (default: 1)")  # fmt: skip
    group.add_argument("-w", "--work-dir", "--work_dir", type=given_path, metavar="DIR",
                       help="keep prepared cases there, so that other runs need not register again")  # fmt: skip
    group.add_argument("--share", metavar="I/N", help="only the I-th of N equal shares of the visits, for array jobs")
    group.add_argument("--redo", action="store_true", help="do also what is done")
    group.add_argument("--unlinked", action="store_true",
                       help="the scans are copies to be removed later: let no result point to them")  # fmt: skip
    group.add_argument("--no-report", action="store_true", help="draw no pictures, and no page of the cohort")
    group = parser.add_argument_group("Dask (pip install 'relapet[cohort]')")
    group.add_argument(
        "--dask", metavar="local|slurm|ADDRESS",
        help="run by Dask: --jobs workers here or as Slurm jobs, or those of the scheduler at tcp://HOST:PORT",
    )  # fmt: skip
    group.add_argument("--worker-memory", metavar="SIZE", help="of a worker, e.g. 8GB")
    group.add_argument("--walltime", default="04:00:00", metavar="HH:MM:SS", help="of a Slurm job (%(default)s)")
    group.add_argument(
        "--slurm-directive", action="append", default=[], metavar="OPTION",
        help="option of sbatch for the workers, as in --slurm-directive=--partition=long; may be repeated",
    )  # fmt: skip
    group.add_argument("--patience", type=whole_number, default=600, metavar="SECONDS",
                       help="how long to wait for a first worker or a lost scheduler (default: 600)")  # fmt: skip


def run(arguments, reporter) -> int:
    from ..cohort.filters import read_filters
    from ..cohort.request import make_request
    from ..cohort.visits import find_visits
    from ..synthesis import Options
    from ..synthesis.options import check_device
    from .synthesize import drawing, silence_itk

    _check(arguments)
    silence_itk()
    source, out = Path(arguments.bids_dir), Path(arguments.out)
    filters = read_filters(arguments.bids_filter_file) if arguments.bids_filter_file else None
    visits = find_visits(
        source, cases=arguments.cases, people=arguments.participant_label, sessions=arguments.session_label,
        filters=filters,
    )  # fmt: skip
    visits = _share(visits, arguments.share)
    options = Options(
        tracers=arguments.tracer or ("all",), force=arguments.force, preprocessed=arguments.preprocessed,
        registration=arguments.registration, **drawing(arguments),
    )  # fmt: skip
    work = Path(arguments.work_dir).absolute() if arguments.work_dir else None
    request = make_request(
        source, out, options, work=work, report=not arguments.no_report, redo=arguments.redo,
        linked=not arguments.unlinked,
    )  # fmt: skip
    if arguments.dask is None and "participant" in arguments.level:  # workers have devices of their own
        check_device(options)
    code, content, lines = 0, {"folder": str(out.absolute())}, []
    if "participant" in arguments.level:
        code = _participants(arguments, request, visits, reporter, content, lines)
    if "group" in arguments.level:
        code = max(code, _group(request, visits, content, lines))
    reporter.progress(1.0, "done")
    reporter.result("bids", content, lines)
    return code


def _check(arguments) -> None:
    from ..errors import InputError
    from ..registration import AUTO
    from ..synthesis.options import check_registration

    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs} is out of range; use 1 or more")
    check_registration(arguments.registration, arguments.preprocessed)
    if arguments.cases and arguments.registration != AUTO:
        raise InputError("--cases goes on from scans that are prepared already; leave --registration out, or --cases")
    source, out = Path(arguments.bids_dir).absolute(), Path(arguments.out).absolute()
    if out in (source, *source.parents):
        raise InputError(f"{out} holds the input; choose another output folder, such as derivatives/relapet in it")


def _share(visits: list, share: str | None) -> list:
    """The I-th of N shares, as equal as can be: visits I, I + N, I + 2 N ..."""
    from ..errors import InputError

    if share is None:
        return visits
    numbers = [int(part) for part in share.split("/") if part.isascii() and part.isdigit()]
    if len(numbers) != 2 or share.count("/") != 1 or not 1 <= numbers[0] <= numbers[1]:
        raise InputError(f"--share {share} cannot be read; use I/N with I from 1 to N, as in 3/40")
    return visits[numbers[0] - 1 :: numbers[1]]


def _participants(arguments, request, visits, reporter, content: dict, lines: list[str]) -> int:
    from ..cohort.derivatives import write_description
    from ..cohort.validation import validate
    from ..notices import warn

    if request.source.is_dir() and not arguments.cases and not arguments.skip_bids_validation:
        reporter.progress(0.0, "validating the data set")
        validate(request.source)
    write_description(request)
    outcomes = []
    for ended in _run(arguments, request, visits, reporter):
        outcomes += ended
        for outcome in ended:
            reason = outcome.told or outcome.reason
            for words in (*([reason] if reason else []), *outcome.notes):
                warn(f"{outcome.visit} {outcome.tracer}: {words}")
        visit, number = ended[0].visit, len(outcomes) // len(request.options.tracers)
        reporter.progress(number / len(visits), f"{visit}: {', '.join(sorted({outcome.status for outcome in ended}))}")
        reporter.log(f"{number} of {len(visits)}: {visit}: {_became(ended)}")
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    anew = Counter(outcome.anew for outcome in outcomes if outcome.anew)
    content |= counts | {
        "made_anew": dict(anew),
        "failures": [
            {"visit": o.visit, "tracer": o.tracer, "reason": o.reason, "recorded": o.recorded}
            for o in outcomes if o.status == "failed"
        ]
    }  # fmt: skip
    lines.append(
        f"Synthetic PET in {content['folder']}, research only: {counts['done']} made, {counts['skipped']} were there, "
        f"{counts['failed']} failed"
    )
    lines += [f"  {number} made anew: {why}" for why, number in anew.most_common()]
    return SOME_FAILED if counts["failed"] else 0


def _became(ended) -> str:
    """What became of a visit's tracers; what several have in common is said once."""
    told = [(outcome.status, outcome.told or outcome.reason) for outcome in ended]
    return ", ".join(dict.fromkeys(f"{status} ({why})" if why else status for status, why in told))


def _run(arguments, request, visits, reporter):
    if arguments.dask is not None and visits:
        from ..cohort.dask_runner import Workers, run_dask

        workers = Workers(
            arguments.dask, arguments.jobs, arguments.worker_memory, arguments.walltime,
            tuple(arguments.slurm_directive), arguments.patience,
        )  # fmt: skip

        def tell(message: str) -> None:
            reporter.progress(0.0, message)
            reporter.log(message)

        return run_dask(request, visits, workers, tell)
    from ..cohort.runner import run_local

    return run_local(request, visits, arguments.jobs, reporter.progress)


def _page(request) -> Path | None:
    """The page of the cohort; where it cannot be made a warning says so, since the tables are there."""
    from ..errors import OutputError, RelAPETError
    from ..notices import warn
    from ..report import write_cohort_report
    from .report import NAME

    path = request.out / NAME
    model = f"{request.model['name']} {request.model['version']}"
    try:
        write_cohort_report(request.out, path, title=f"Synthetic PET of a cohort, model {model}")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    except RelAPETError as error:
        warn(f"{NAME} was left out: {error}")
        return None
    return path


def _group(request, visits, content: dict, lines: list[str]) -> int:
    from ..cohort.group import write_tables

    model = f"{request.model['name']} {request.model['version']}"
    summary = write_tables(request.out, visits, request.options.tracers, model)
    content |= {
        "tables": {name: str(path) for name, path in summary.files.items() if name.endswith(".tsv")},
        "results": summary.results,
        "without_result": summary.failed,
        "without_comparison": summary.partial,
        "code": summary.code,
    }
    lines += [f"Tables of {summary.results} results; {summary.failed} failed, {summary.partial} lack a part:"]
    lines += [f"  {path}" for name, path in summary.files.items() if name.endswith(".tsv")]
    if request.report and (page := _page(request)) is not None:
        content["report"] = str(page)
        lines.append(f"  {page}")
    return SOME_FAILED if summary.failed else 0
