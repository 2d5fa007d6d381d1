"""What is said of words of ``python -m training`` that are missing, and of places in them."""

import argparse
from pathlib import Path

import pytest

from RelAPETLib.errors import InputError
from RelAPETLib.homes import given_path, given_place
from training.__main__ import build_parser
from training.commands import named_folder
from training.config import flatten, load_config
from training.methods import METHODS, config_class
from training.options import read_words

#: Options of a free text that is no path.
NO_PATH = set("split device sampler tracers name version licence title description frames reference_region".split())
NO_PATH |= set("method dtype fractions part samples".split())


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_every_path_of_the_commands_is_expanded():
    (commands,) = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    found = [
        (name, action)
        for name, parser in commands.choices.items()
        for action in parser._actions
        if action.nargs != 0 and action.choices is None and action.type not in (int, float)
    ]
    wrong = [
        (name, action.dest)
        for name, action in found
        if (action.type in (given_path, given_place)) == (action.dest in NO_PATH)
    ]
    assert not wrong and len(found) > 40


def test_every_key_that_is_a_place_is_expanded(home):
    """Texts without a default are places, but for names."""
    for name in (name for choices in METHODS.values() for name in choices):
        config = config_class(name)()
        texts = {key for key, value in flatten(config).items() if value in ("", "???") and not key.endswith(".name")}
        assert texts == {key for key in flatten(config) if key in config.rules and config.rules[key].place}, name
    config = load_config(["out=~/x", "data.cache='~/my cache'", "data.split=./~/split.json"])
    assert (config.out, config.data.cache) == (str(home / "x"), str(home / "my cache"))
    assert config.data.split == "./~/split.json"
    with pytest.raises(InputError, match="there is no user of this name"):
        load_config(["out=~nobody-of-this-name/x", "data.cache=c"])


def test_files_of_words_and_named_folders(home):
    (home / "words.txt").write_text("seed=3\n", encoding="utf-8")
    assert read_words(["@~/words.txt"]).overrides == ("seed=3",)
    assert named_folder("rela=~/samples") == ("rela", home / "samples")
    assert named_folder("~/samples") == ("samples", home / "samples")
    assert named_folder("a=b") == ("a", Path("b"))
