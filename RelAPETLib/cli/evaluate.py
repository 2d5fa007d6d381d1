"""``relapet evaluate``: synthetic against measured PET."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..homes import given_path
from .bids import SOME_FAILED
from .evaluate_parts import add_options, parts_of


def numbers(text: str) -> tuple[float, float]:
    """argparse type of two numbers, ``LOW,HIGH``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"two numbers LOW,HIGH are wanted, not '{text}'") from None
    return low, high


def add_parser(commands, common, whole_number) -> None:
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="compare synthetic with measured PET",
        description="Say how good synthetic PET are beside measured ones: figures of images, regional SUVR, agreement, "
        "tests of models, test-retest. A synthetic PET stays a model's guess. Exit code: 0 all were measured, 3 some "
        "could not be (failures.tsv says why), 2 nothing could.",
        usage="%(prog)s --table FILE --out DIR [options]\n"
        "       %(prog)s --bids DIR --derivatives DIR [DIR ...] --out DIR [options]\n"
        "       %(prog)s --bids DIR --measured-only --out DIR [options]",
        allow_abbrev=False,
    )
    _add_inputs(parser)
    _add_measures(parser, whole_number)
    add_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--out", required=True, type=given_path, metavar="DIR", help="folder of the tables")
    group.add_argument("--overwrite", action="store_true", help="replace tables that are there")
    parser.set_defaults(run=run)


def _add_inputs(parser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "--table",
        type=given_path,
        metavar="FILE",
        help="CSV or TSV, one line a pair: participant_id, tracer, synthetic, measured; perhaps session, model, t1w, "
        "mask, dseg, lut, space, to_mni, age, sex, scanner, site, group",
    )
    group.add_argument(
        "--bids", type=given_path, metavar="DIR", help="BIDS data set with measured PET; with --derivatives"
    )
    group.add_argument(
        "--derivatives",
        type=given_path,
        metavar="DIR",
        nargs="+",
        action="extend",
        help="folders with *_desc-synthetic_pet.nii.gz, one a model",
    )
    group.add_argument(
        "--cases",
        type=given_path,
        metavar="DIR",
        help="saved cases, sub-*[/ses-*], whose transforms bring regions and masks of MNI space to PET in T1w space; "
        "results of relapet bids have one of their own",
    )
    group.add_argument("--measured-only", action="store_true", help="measure the measured PET alone")
    group.add_argument(
        "--train", type=given_path, metavar="FILE", help="table of training people's measured PET, for baselines"
    )
    group.add_argument(
        "--space",
        choices=("MNI", "T1w"),
        default="",
        help="space of the PET where names do not say it, and which to take where both are there (T1w)",
    )
    group.add_argument(
        "--frames",
        metavar="TRACER=A-B",
        nargs="+",
        action="extend",
        default=[],
        help="minutes after injection to average of dynamic PET, or all",
    )
    group.add_argument(
        "--register",
        action="store_true",
        help="lay measured PET over the T1w first (rigid; column t1w, or BIDS); for PET in T1w space",
    )
    group.add_argument("--force", action="store_true", help="accept doubtful PET with a warning")


def _add_measures(parser, whole_number) -> None:
    group = parser.add_argument_group("measures")
    group.add_argument(
        "--atlas",
        metavar="NAME",
        nargs="+",
        action="extend",
        help="regions: relapet (approximate, MNI), dseg (people's own label images; the default with --bids where "
        "there are such) or names of 'relapet regions add'",
    )
    group.add_argument(
        "--reference-region",
        metavar="NAME",
        help="region, or several joined by +, by its mean in which each PET is divided; 'tracer' for each tracer's own",
    )
    group.add_argument(
        "--other-references",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="do it again with these reference regions",
    )
    group.add_argument(
        "--data-range", type=numbers, metavar="LOW,HIGH", help="SUVR range of figures of images (default: the tracer's)"
    )
    group.add_argument("--fwhm", type=float, metavar="MM", help="bring both PET to this resolution first")
    group.add_argument("--fwhm-synthetic", type=float, metavar="MM", help="resolution that synthetic PET have")
    group.add_argument("--fwhm-measured", type=float, metavar="MM", help="resolution that measured PET have")
    group.add_argument("--against", metavar="MODEL", help="model to test the others against (default: the last)")
    group.add_argument(
        "--resamples", type=whole_number, default=1000, metavar="N", help="of people, for intervals (default: 1000)"
    )
    group.add_argument("--seed", type=whole_number, default=0, metavar="S", help="random seed of them (default: 0)")


def run(arguments, reporter) -> int:
    from importlib.util import find_spec

    from ..errors import InputError

    if missing := [name for name in ("scipy", "sklearn", "statsmodels") if find_spec(name) is None]:
        raise InputError(f"relapet evaluate needs {', '.join(missing)}; pip install 'relapet[evaluation]'")
    from ..cohort.derived_reference import AS_REGISTERED
    from ..evaluation.in_mni import baseline_pairs
    from ..evaluation.run import measure_all
    from ..evaluation.written import OUTPUT_NAMES, PART_NAMES, earlier_names, write_evaluation
    from ..notices import collected, once
    from ..outputs import reserve
    from .inputs import keep_inputs

    notes: list[str] = []
    with collected(notes), once():
        _check(arguments)
        out = Path(arguments.out)
        keep_inputs(arguments, (out / name for name in (*OUTPUT_NAMES, *PART_NAMES, *earlier_names(out))))
        pairs, failures = _pairs(arguments)
        settings = _settings(arguments, pairs)
        train, parts = _train(arguments), parts_of(arguments)
        if registered := len({pair.registered for pair in pairs} - {None}):
            parts.note(f"{registered} measured PET {AS_REGISTERED}")
        with reserve(arguments.out, OUTPUT_NAMES, overwrite=arguments.overwrite) as place:
            pairs = [*pairs, *baseline_pairs(parts, pairs, place.staging)]
            found = measure_all(pairs, settings, train, lambda share, text: reporter.progress(0.8 * share, text), parts)
            reporter.progress(0.8, "agreement, intervals and tests")
            paths = write_evaluation(
                found,
                settings,
                place,
                overwrite=arguments.overwrite,
                failures=failures,
                notes=notes,
                facts={"training_people": len({pair.participant for pair in train})},
                parts=parts,
                progress=lambda text: reporter.progress(0.9, text),
            )
    lost = len(found.failures) + len(failures)
    content = {
        "folder": str(paths["tables.md"].parent),
        "files": {name: str(path) for name, path in paths.items()},
        "people": len({pair.participant for pair in found.pairs}),
        "measured": len(found.own_facts),
        "failed": lost,
        "notes": parts.notes,
    }
    lines = [f"{content['measured']} PET of {content['people']} people measured: {paths['tables.md']}"]
    lines += [f"{lost} could not be measured: {paths['failures.tsv']}"] if lost else []
    reporter.result("evaluate", content, [*lines, *parts.notes])
    return SOME_FAILED if lost else 0


def _check(arguments) -> None:
    from ..errors import InputError

    beside = {
        "--scale-masks": arguments.scale_masks, "--cutoff": arguments.cutoff, "--draws": arguments.draws,
        "--uncertainty": arguments.uncertainty, "--nominal": arguments.nominal, "--train": arguments.train,
        "--mri-baselines": arguments.mri_baselines,
    }  # fmt: skip
    asked = next((name for name, value in beside.items() if value), None)
    if arguments.measured_only and asked:
        raise InputError(f"{asked} is for synthetic PET beside measured ones, not for --measured-only")


def _settings(arguments, pairs):
    from ..evaluation.settings import Settings
    from ..regions.atlas import NATIVE, SHIPPED
    from ..volumes.frames import parse_frames

    default = NATIVE if arguments.bids and any(pair.dseg for pair in pairs) else SHIPPED
    return Settings(
        atlases=tuple(dict.fromkeys(arguments.atlas or [default])),
        reference_region=arguments.reference_region,
        other_references=tuple(arguments.other_references),
        data_range=arguments.data_range,
        fwhm=arguments.fwhm,
        fwhm_synthetic=arguments.fwhm_synthetic,
        fwhm_measured=arguments.fwhm_measured,
        frames=parse_frames(arguments.frames),
        measured_only=arguments.measured_only,
        against=arguments.against,
        resamples=arguments.resamples,
        seed=arguments.seed,
        register=arguments.register,
        force=arguments.force,
    )


def _pairs(arguments):
    from ..cohort.derived_reference import with_references
    from ..cohort.pairs import with_cases

    pairs, failures = _named(arguments)
    if arguments.bids and not arguments.register and not arguments.measured_only:
        pairs = with_references(pairs)
    return (with_cases(pairs, arguments.cases) if arguments.cases else pairs), failures


def _named(arguments):
    from ..cohort.derived_pairs import read_derivatives
    from ..cohort.pairs import read_pairs
    from ..errors import InputError

    if bool(arguments.table) == bool(arguments.bids):
        raise InputError("give --table FILE, or --bids DIR with --derivatives DIR")
    if arguments.table:
        if arguments.derivatives:
            raise InputError("--derivatives goes with --bids; a table names its synthetic PET itself")
        return read_pairs(arguments.table, measured_only=arguments.measured_only, space=arguments.space)
    if not arguments.derivatives and not arguments.measured_only:
        raise InputError("--bids has measured PET; name the synthetic ones by --derivatives, or use --measured-only")
    pairs, failures = [], []
    for folder in arguments.derivatives or [arguments.bids]:
        found, lost = read_derivatives(
            arguments.bids, folder, measured_only=arguments.measured_only, space=arguments.space
        )
        pairs, failures = pairs + found, failures + lost
        if arguments.measured_only:
            break
    return pairs, failures


def _train(arguments) -> list:
    from ..cohort.pairs import read_pairs
    from ..errors import InputError

    table = arguments.train or arguments.mri_baselines
    if not table:
        return []
    train, failures = read_pairs(table, measured_only=True, space=arguments.space if arguments.train else "MNI")
    if failures:
        raise InputError(f"{table}: {failures[0]['reason']}")
    return train
