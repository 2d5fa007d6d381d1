"""``python -m training prepare|pretrain|train|sample|evaluate|export|...``: from raw scans to a model and its figures.

Exit codes: 0 done; 2 a mistake the user can mend, told in one line on stderr; others as `training.errors` says.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from RelAPETLib.cli.one_line import OneLineParser
from RelAPETLib.devices import share_the_cores

from .asked import asked_config
from .commands import COMMANDS
from .errors import user_error
from .faults import StopRequest
from .options import help_text, read_words
from .words import one_line, say

#: Usage of commands that want one of several options, which argparse would show as if they could all be left out.
USAGES = {
    "prepare": "%(prog)s --source DATASET --out CACHE [options]\n       %(prog)s --rendered N --out CACHE [options]"
}


def build_parser() -> argparse.ArgumentParser:
    """Parser of all commands; ``train`` and ``pretrain`` hand their words on to Hydra."""
    parser = OneLineParser(prog="python -m training", description="From raw scans to a model and its figures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (help_line, add_arguments, run) in COMMANDS.items():
        command = commands.add_parser(name, help=help_line, description=help_line, usage=USAGES.get(name))
        add_arguments(command)
        command.set_defaults(run=run)
    commands.add_parser("train", help="train a model; 'train --help' lists options and keys", add_help=False)
    commands.add_parser("pretrain", help="only the pre-training on MRI; words as of 'train'", add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    share_the_cores()
    try:
        if argv[:1] in (["train"], ["pretrain"]):
            asked = read_words(argv[1:])
            if asked.action == "help":  # without what the training loads
                say(help_text(asked.overrides))
                return 0
            if asked.action in ("train", "dry-run"):
                asked_config(asked.overrides)  # refuses what it can before torch is loaded, which takes its time
            # Before torch is loaded: large pages for large tensors, which come and go in every step (Linux).
            os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
            # A job may be asked to stop while torch is loaded, data are opened and ranks wait for one another.
            with StopRequest() if asked.action == "train" else nullcontext():
                from .loop import main as train

                return train(argv[1:], pretraining=argv[0] == "pretrain") or 0
        arguments = build_parser().parse_args(argv)
        arguments.run(arguments)
        return 0
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        told = user_error(error)
        if told is None:
            raise
        print(f"error: {one_line(str(told))}", file=sys.stderr)
        return told.exit_code


if __name__ == "__main__":
    sys.exit(main())
