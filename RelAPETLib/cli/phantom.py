"""``relapet phantom``: a cohort of simulated people as a BIDS data set."""

from __future__ import annotations

from ..homes import given_path


def add_parser(commands, common, whole_number) -> None:
    parser = commands.add_parser(
        "phantom",
        parents=[common],
        help="write simulated people (T1w, FLAIR, PET) as a BIDS data set",
        description="Write simulated people as a BIDS data set: T1w, FLAIR and PET, each in its own scanner space. The "
        "same command goes on where one was stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--subjects", required=True, type=whole_number, metavar="N", help="how many people")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="S", help="random seed (default: 0)")
    parser.add_argument(
        "--out",
        required=True,
        type=given_path,
        metavar="DIR",
        help="folder of the data set; must be missing, empty, or hold people whom a stopped run finished",
    )
    parser.add_argument(
        "--law", type=int, choices=(1, 2), default=2, help="law of uptake; 1: the old one of demo model 2 (default: 2)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a simulated data set that is there")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..phantom.bids import write_cohort

    folder = write_cohort(
        arguments.out,
        arguments.subjects,
        arguments.seed,
        reporter.progress,
        overwrite=arguments.overwrite,
        law=arguments.law,
    )
    content = {"folder": str(folder), "subjects": arguments.subjects, "seed": arguments.seed, "law": arguments.law}
    reporter.result("phantom", content, [f"{arguments.subjects} simulated people: {folder}"])
    return 0
