"""What ``--help`` shows, and what it is told of options that there are not."""

import argparse
import re

import pytest

from RelAPETLib.cli import main
from RelAPETLib.cli.parser import build_parser
from training.__main__ import build_parser as training_parser
from training.__main__ import main as training


def parsers(parser):
    """A parser and those of all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from parsers(below)


ALL = {parser.prog: parser for build in (build_parser, training_parser) for parser in parsers(build())}


@pytest.mark.parametrize("prog", ALL)
def test_what_is_written_stands_together(prog):
    """A command that has a group of output has all its options of it there."""
    groups = {group.title: [action.dest for action in group._group_actions] for group in ALL[prog]._action_groups}
    if "output" in groups:
        elsewhere = {dest for title, dests in groups.items() if title != "output" for dest in dests}
        assert not elsewhere & {"out", "save_case", "overwrite", "uncompressed", "report"} and "out" in groups["output"]


@pytest.mark.parametrize("prog", ALL)
def test_the_usage_shows_what_must_be_given(prog, capsys):
    """What the command says that it lacks stands in its usage, and in no brackets."""
    words = [*prog.removeprefix("relapet").removeprefix("python -m training").split()]
    if words and words[0] in ("train", "pretrain", "serve", "doctor", "demo", "methods"):
        return  # with words of their own, or without anything that must be given
    if not any(action.required for action in ALL[prog]._actions) and words[:1] not in (["synthesize"], ["evaluate"]):
        return
    (training if "training" in prog else main)([*words, "--progress=none"] if words[:1] == ["synthesize"] else words)
    required = re.findall(r"--[a-z0-9-]+", capsys.readouterr().err.partition("required: ")[2].partition(" (")[0])
    usage = re.sub(r"\[[^][]*\]", "", ALL[prog].format_usage())
    assert all(option in usage for option in required if option != "--help"), (required, usage)


@pytest.mark.parametrize(
    ("run", "words", "says"),
    [
        (main, "models list --chekc", "--chekc; did you mean --check?; see 'relapet models list --help'"),
        (main, "synthesize --tracr=TAU --zzzz", "--tracr=TAU --zzzz; did you mean --tracer?; see 'relapet synthesize"),
        (main, "models --zzzz list", "--zzzz; see 'relapet models --help'"),
        (main, "--zzzz doctor", "--zzzz; see 'relapet --help'"),
        (main, "serve --stdio --progres none", "did you mean --progress?; see 'relapet serve --help'"),
        (training, "sample --bundle b --cache c --out o --smaples 3", "--samples?; see 'python -m training sample --"),
    ],
)  # fmt: skip
def test_an_unknown_option_is_told_by_its_command(run, words, says, capsys):
    assert run(words.split()) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
