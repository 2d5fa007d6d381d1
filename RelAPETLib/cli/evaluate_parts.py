"""Options of ``relapet evaluate`` beside images and regions: scales, positivity, uncertainty, baselines, downstream."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..homes import given_path

if TYPE_CHECKING:
    from ..evaluation.parts import Parts


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the groups of options; `parts_of` reads what they were given."""
    group = parser.add_argument_group("scales and positivity")
    group.add_argument(
        "--scale-masks", type=given_path, metavar="TABLE",
        help="tell PET on its tracer's published scale (Centiloid, CenTauRz): uncalibrated, estimated. The table has "
        "the columns scale, region and file, a row a mask in MNI space, the scale's reference among them",
    )  # fmt: skip
    group.add_argument(
        "--regional-ssim", action="store_true", help="SSIM in the regions of --scale-masks, too; takes seconds a PET"
    )
    group.add_argument(
        "--cutoff",
        action="append",
        default=[],
        metavar="TRACER=REGION:VALUE",
        help="sensitivity, specificity and AUC of positivity, by the same cut-off on both images; there is no default. "
        "REGION may be ATLAS/REGION, or SCALE/REGION; may be given several times",
    )
    group = parser.add_argument_group("uncertainty")
    group.add_argument(
        "--uncertainty",
        action="store_true",
        help="coverage of the intervals by tercile of the measured value, and spread against error",
    )
    group.add_argument(
        "--draws", type=given_path, metavar="TABLE",
        help="regional values of single samples, for the fair CRPS, where the results have no samples.tsv of their "
        "own; implies --uncertainty",
    )  # fmt: skip
    group.add_argument(
        "--nominal", type=_share, metavar="SHARE", help="share that the intervals are meant to cover, such as 0.9"
    )
    group = parser.add_argument_group("baselines and downstream prediction")
    group.add_argument(
        "--mri-baselines", type=given_path, metavar="TABLE",
        help="also evaluate a ridge regression on the MRI fitted on the people of this table (participant_id, tracer, "
        "t1w, t2f, measured: volumes on the model grid), none of whom may be tested; they serve the baselines of "
        "--train, too, where that names nobody",
    )  # fmt: skip
    group.add_argument(
        "--mri", type=given_path, metavar="TABLE",
        help="MRI of the people tested, for --mri-baselines (participant_id, tracer, t1w, t2f)",
    )  # fmt: skip
    group.add_argument(
        "--downstream", type=given_path, metavar="TABLE",
        help="predict age, MMSE or MoCA from MRI with and without PET (columns as of --mri-baselines, synthetic, and "
        "what is to be predicted). A synthetic PET is a function of the MRI: a gain proves no new information",
    )  # fmt: skip
    group.add_argument(
        "--target", action="append", default=[], metavar="COLUMN", help="what --downstream predicts in place of these"
    )
    group.add_argument(
        "--downstream-minutes", type=_minutes, default=30.0, metavar="N", help="most minutes of it (default: 30)"
    )


def parts_of(arguments: argparse.Namespace) -> Parts:
    """Read the tables of these options. Raises `InputError` and `RelAPETError` as `evaluation.parts.read_parts`."""
    from ..evaluation.downstream.training import Budget
    from ..evaluation.parts import read_parts

    return read_parts(
        scale_masks=arguments.scale_masks,
        regional_ssim=arguments.regional_ssim,
        cutoffs=arguments.cutoff,
        uncertain=arguments.uncertainty,
        draws=arguments.draws,
        nominal=arguments.nominal,
        baselines=arguments.mri_baselines,
        mri=arguments.mri,
        downstream=arguments.downstream,
        targets=arguments.target,
        budget=Budget(minutes=arguments.downstream_minutes),
    )


def _share(text: str) -> float:
    return _number(text, "a share between 0 and 1", lambda value: 0 < value < 1)


def _minutes(text: str) -> float:
    return _number(text, "a number of minutes above 0", lambda value: 0 < value < float("inf"))


def _number(text: str, what: str, fits) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{what} is wanted, not '{text}'")
    return value
