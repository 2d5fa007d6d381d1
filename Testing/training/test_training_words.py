"""What is said of words of ``python -m training`` that are missing, and of places in them."""

import argparse
import contextlib
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.homes import given_path, given_place
from training.__main__ import build_parser, main
from training.asked import asked_config
from training.commands import named_folder
from training.config import check, composed, flatten, load_config
from training.data.cache import VERSION, canonical_json
from training.errors import ConfigError
from training.methods import METHODS, config_class
from training.options import read_words
from training.sample import check_without_t2f
from training.sizes import fitting_words

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


PLACES = ["/data/José/PET (2)", "a, b", "it's", "[a]", "{b}", "a=b", "a#b&c;d", "日本", "12", "true"]
PLACES += [r"C:\new\run", r"\\server\run", r"\\server\a share"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", ["out", "data.cache", "data.split"])
def test_every_folder_can_be_named_without_quotes(place, key):
    words = {"out": "o", "data.cache": "c", key: place}
    assert flatten(load_config([f"{name}={value}" for name, value in words.items()]))[key] == place


def test_a_folder_in_hydra_s_grammar_means_what_it_does_there():
    words = ['data.cache="a, b"', r"data.split=a\ b\(1\)", "out=run-${seed}", "seed=3"]
    config = load_config(words)
    assert (config.data.cache, config.data.split, config.out) == ("a, b", "a b(1)", "run-3")


@pytest.mark.parametrize("key", ["out", "data.cache"])
def test_a_folder_of_an_unset_variable_is_missing(key):
    """It would be the folder in which the command is given."""
    given = {"out": "o", "data.cache": "c", key: ""}
    with pytest.raises(ConfigError, match=f"^{key}= must be given: the folder"):
        load_config([f"{name}={value}" for name, value in given.items()])


def test_files_of_words_and_named_folders(home):
    (home / "words.txt").write_text("seed=3\n", encoding="utf-8")
    assert read_words(["@~/words.txt"]).overrides == ("seed=3",)
    assert named_folder("rela=~/samples") == ("rela", home / "samples")
    assert named_folder("~/samples") == ("samples", home / "samples")
    assert named_folder("a=b") == ("a", Path("b"))


def cache_of(folder: Path, factor: int = 1) -> Path:
    """The index of a cache of blocks, of nobody."""
    index = {"version": VERSION, "grid": {"shape": [n // factor for n in MNI_GRID.shape]}, "cases": []}
    folder.mkdir()
    sha256 = hashlib.sha256(canonical_json(index)).hexdigest()
    (folder / "index.json").write_text(json.dumps(index | {"sha256": sha256}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], ["data.cache= must be given: the folder that 'prepare' wrote; out= must be given: the folder of the run"]),
        (["data.cache=CACHE", "network.factor=10"], ["out= must be given: the folder of the run"]),
        (["out=a", "--dry-run"], ["data.cache= must be given: the folder that 'prepare' wrote"]),
        (["out=a", "data.cache=nocache", "network.factor=10"], ["nocache: no cache (no index.json); make one with"]),
        (["out=a", "data.cache=CACHE"], [  # a cache of blocks of 10: everything at once, and words that work
            "network.factor=1 must be a multiple of 10; with network.factor=10: network.channels: volumes of (16, 18",
            "these fit volumes of (16, 18, 16): network.channels=[8,16]",
        ]),
        (["out=a", "data.cache=CACHE", "network.factor=10", "network.channels=[8,18]"], [
            "[8, 18] are no multiples of network.norm_num_groups=8", "must be lists of the same length",
            "network.num_head_channels=64 must divide", "network.cross_attention_dim=64 must be",
        ]),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_said_at_once(words, says, tmp_path, capsys, monkeypatch):
    """Before torch is asked for, all in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "training.loop", None)  # what loads it
    cache = cache_of(tmp_path / "cache", 10)
    assert main(["train" if words else "pretrain", *(word.replace("CACHE", str(cache)) for word in words)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ")
    for each in says:
        assert each in said
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


CHOICES = [name for names in METHODS.values() for name in names]
WITH_LEVELS = [name for name in CHOICES if hasattr(config_class(name)().preset, "channels")]


@pytest.mark.parametrize("method", WITH_LEVELS)
def test_all_sizes_that_do_not_fit_are_said_at_once(method):
    config = composed(
        [f"method={method}", "out=a", "data.cache=b", "preset.channels=[0,9]", "preset.norm_num_groups=2"]
    )
    with pytest.raises(ConfigError) as refused:
        check(config)
    said = str(refused.value)
    assert "\n" not in said and "preset.channels=[0, 9]: each must lie between 1 and" in said
    assert "preset.channels=[0, 9] are no multiples of preset.norm_num_groups=2" in said
    config.preset.channels = []
    with pytest.raises(ConfigError, match="one number a level is wanted"):
        check(config)
    config.preset.norm_num_groups, config.preset.channels = 0, [8, 16, 32]
    config.size_problems()  # whatever is said, nothing is divided by it


def test_there_are_methods_of_every_kind_among_them():
    assert len(WITH_LEVELS) > 12 and {"jdam", "cyclegan", "transunet", "mri2pet"} < set(WITH_LEVELS)


def test_a_form_on_the_regression_and_its_autoencoder_are_told_of_together():
    with pytest.raises(ConfigError) as refused:
        load_config("method=rela_latent latent=conditional autoencoder.channels=[] out=a data.cache=b".split())
    for said in ("sees the MRI in blocks of half a latent cell", "autoencoder.channels=[]: one number a level is"):
        assert said in str(refused.value)


def test_an_autoencoder_and_the_network_behind_it_are_told_of_together():
    words = ["autoencoder.channels=[30,0]", "autoencoder.blocks=99", "network.channels=[16,30,64]"]
    with pytest.raises(ConfigError) as refused:
        load_config(["method=rela_latent", "out=a", "data.cache=b", *words])
    for said in ("autoencoder.channels=[30, 0]: each", "autoencoder.blocks=99", "network.channels=[16, 30, 64] are no"):
        assert said in str(refused.value)


@pytest.mark.parametrize("method", ["rela", "unet_l1"])
@pytest.mark.parametrize("factor", [1, 2, 4, 5, 10])
def test_words_that_are_said_to_fit_do(method, factor):
    words = fitting_words([n // factor for n in MNI_GRID.shape])
    load_config([f"method={method}", "out=a", "data.cache=b", f"network.factor={factor}", *words])


def test_the_readme_s_recipe_for_a_cache_of_blocks(tmp_path):
    readme = (Path(__file__).resolve().parents[2] / "training" / "README.md").read_text(encoding="utf-8")
    made, trained = re.search(r"prepare .*--factor (\d+)\n(python -m training train .*(?:\n    .*)*)", readme).groups()
    words = trained.replace("\\\n", "").split()[4:]
    cache = cache_of(tmp_path / "cache", int(made))
    config = asked_config([word.replace("=CACHE", f"={cache}") for word in words])
    assert config.network.factor == int(made)


@pytest.mark.parametrize(("inputs", "optional", "fits"), [("t1w t2f", "", 0), ("t1w t2f", "t2f", 1), ("t1w", "", 1)])
def test_without_t2f_is_refused_in_its_own_words(inputs, optional, fits):
    metadata = {"name": "m", "inputs": inputs.split(), "optional_inputs": optional.split()}
    with contextlib.nullcontext() if fits else pytest.raises(InputError, match="leave --without-t2f out"):
        check_without_t2f(metadata)
