"""``relapet demo``: a simulated person's raw scans, the synthetic PET of them, and how far it is from the true one."""

from __future__ import annotations

import contextlib
import functools
import shutil
from pathlib import Path

from ..homes import given_path
from .synthesize import (
    add_model_options,
    add_output_options,
    as_text,
    check_cutoffs,
    drawing,
    silence_itk,
    summary,
    writing,
)

#: Seed of the simulated person; training uses other seeds.
DEMO_PERSON = 20_000
#: Shares of the progress bar: simulating the person, and writing.
_SIMULATING, _SAVING = 0.2, 0.08


def add_parser(commands, common, tracers, whole_number) -> None:
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="simulate a person's scans and run everything on them",
        description="Simulate one person's raw T1w, FLAIR and PET, make the synthetic PET, compare the two.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--tracer", default="TAU", metavar="|".join((*tracers, "all")), help="PET tracer (default: TAU)"
    )
    parser.add_argument(
        "--person",
        type=whole_number,
        default=DEMO_PERSON,
        metavar="N",
        help="seed of the simulated person (default: %(default)s; the demo model has seen people of 1 and 11)",
    )
    add_model_options(parser, whole_number)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        default="relapet_demo",
        type=given_path,
        metavar="DIR",
        help="folder to write to (default: %(default)s)",
    )
    add_output_options(group)
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..outputs import check_destination, reserve, shown_as, write_set
    from ..phantom.bids import write_case
    from ..synthesis import OUTPUT_NAMES

    how = writing(arguments)
    chosen = _chosen(arguments)
    out = Path(arguments.out)
    silence_itk()
    contents = []
    # The scans move to `out` with the first PET, so that a run cut short leaves nothing that blocks the next one.
    with contextlib.ExitStack() as stack:
        places = {
            tracer: stack.enter_context(reserve(out / tracer, OUTPUT_NAMES, overwrite=arguments.overwrite))
            for tracer in chosen
        }
        place = stack.enter_context(reserve(out / "input"))
        scratch = place.staging / "case"
        with shown_as({scratch: place.folder}):
            case = write_case(
                scratch,
                arguments.person,
                progress=lambda f, words: reporter.progress(_SIMULATING * f, words),
            )
        scans = {path.name: path for path in sorted(scratch.iterdir())}
        check_destination(place, scans, arguments.overwrite)
        for result in _synthesize(arguments, reporter, case, chosen):
            if not contents:
                copies = {name: functools.partial(shutil.copyfile, path) for name, path in scans.items()}
                write_set(place, copies, overwrite=arguments.overwrite)
            tracer = result.tracer
            files = result.save(places[tracer], **how)
            contents.append(summary(result, out / tracer, files))
    reporter.progress(1.0, "done")
    lines = ["A simulated person, no patient:", f"  {out / 'input'}"]
    lines += [line for content in contents for line in as_text(content)]
    scans = {name: str((out / "input" / name).absolute()) for name in scans}
    reporter.result("demo", {"folder": str(out.absolute()), "input": scans, "syntheses": contents}, lines)
    return 0


def _chosen(arguments) -> tuple[str, ...]:
    """The tracers asked for, which the simulated person must have; ``all`` is all that person and model have.

    Every other option is looked at, too, as far as that takes no weights: a person is simulated for minutes.
    """
    from ..errors import InputError
    from ..phantom.law import law_tracers
    from ..synthesis.options import Options, check_device, check_drawing, for_model
    from ..tracers import ALL

    known, options = law_tracers(), Options(tracers=arguments.tracer, **drawing(arguments))
    check_drawing(options)
    check_device(options)
    chosen = for_model(options).tracers
    check_cutoffs(options.cutoffs, chosen)
    both = tuple(tracer for tracer in chosen if tracer in known)
    if options.tracers == (ALL,) and both:
        return both
    if missing := [tracer for tracer in chosen if tracer not in known]:
        raise InputError(f"the simulated person has no {missing[0]}; use one of {', '.join(known)}")
    return chosen


def _synthesize(arguments, reporter, case: dict[str, Path], tracers: tuple[str, ...]):
    """A result for each tracer, compared with the simulated PET of it."""
    from ..synthesis import synthesize_many

    share = 1 - _SIMULATING - _SAVING
    return synthesize_many(
        case["t1w"],
        case["t2f"],
        tracers,
        reference={tracer: case[f"pet_{tracer}"] for tracer in tracers},
        space="both",
        progress=lambda fraction, words: reporter.progress(_SIMULATING + share * fraction, words),
        **drawing(arguments),
    )
