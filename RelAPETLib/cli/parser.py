"""Every command and option of ``relapet``. Imports nothing heavy: ``--help`` must answer at once."""

from __future__ import annotations

import argparse

from .. import __version__
from ..homes import given_path
from ..tracers import TRACERS
from . import bids, demo, dicom, doctor, evaluate, models, phantom, regions, report, serve, synthesize
from .one_line import OneLineParser
from .progress import MODES

_DESCRIPTION = (
    "Synthetic PET (tau, amyloid, TSPO) from a T1-weighted and a T2-FLAIR brain MRI. Research software: what it makes "
    "is a model's guess, not a measurement, and not for diagnosis."
)


def whole_number(text: str) -> int:
    """argparse type of an integer option."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number is wanted, not '{text}'") from None


def takes_one(command: str, option: str) -> bool:
    """Whether a command has this option, and it has one value, of which a later one would replace an earlier one."""
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    known = commands.choices[command]._option_string_actions if command in commands.choices else {}
    return option in known and isinstance(known[option], argparse._StoreAction)


def build_parser() -> argparse.ArgumentParser:
    """The parser; each command's namespace carries `run(arguments, reporter) -> exit code`."""
    parser = OneLineParser(prog="relapet", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"relapet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("what is shown")
    group.add_argument(
        "--progress", choices=MODES, default="human", help="a bar, JSON lines on stdout, or none (default: %(default)s)"
    )
    group.add_argument(
        "--log-file", type=given_path, metavar="FILE", help="log here instead of logs/relapet.log in RELAPET_HOME"
    )
    tracers = tuple(TRACERS)
    synthesize.add_parser(commands, common, tracers, whole_number)
    bids.add_parser(commands, common, tracers, whole_number)
    demo.add_parser(commands, common, tracers, whole_number)
    models.add_parser(commands, common)
    dicom.add_parser(commands, common)
    phantom.add_parser(commands, common, whole_number)
    evaluate.add_parser(commands, common, whole_number)
    regions.add_parser(commands, common)
    report.add_parser(commands, common)
    serve.add_parser(commands, common, takes_one)
    doctor.add_parser(commands, common)
    return parser
