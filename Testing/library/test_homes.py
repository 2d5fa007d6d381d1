"""``~`` in paths of the command line, of requests and of tables: a home folder, once, where the path comes in."""

import argparse
import json
from pathlib import Path

import pytest

from RelAPETLib.cli import main
from RelAPETLib.cli.parser import build_parser, takes_one
from RelAPETLib.cli.requests import read_request
from RelAPETLib.cohort.pairs import read_pairs
from RelAPETLib.cohort.table import read_table
from RelAPETLib.cohort.visits import find_visits
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.homes import given_path
from RelAPETLib.resources import resources_dir

#: What a metavar says of options that take a text which is no path.
NO_PATH = {
    "NAME", "TEXT", "LABEL", "MODEL", "DEVICE", "REGION", "COLUMN", "SIZE", "HH:MM:SS", "I/N", "OPTION", "F|M",
    "TRACER=SUVR", "TRACER=A-B", "TRACER=REGION:VALUE", "fp32|bf16", "local|slurm|ADDRESS", "fast|balanced|reference",
    "TAU|PIB|PBR|all",
}  # fmt: skip


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def free_texts(parser, words=()):
    """(words of the command, action) of every option that takes a text of the user's choice."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from free_texts(below, (*words, name))
        elif action.nargs != 0 and action.choices is None and action.type in (None, given_path):
            yield words, action


def test_every_path_of_the_command_line_is_expanded():
    """An option with a free text either takes a path, or says by its metavar that it does not."""
    found = list(free_texts(build_parser()))
    for words, action in found:
        named = action.metavar in NO_PATH or action.dest == "registration"  # whose metavar lists the ways
        assert (action.type is given_path) != named or action.metavar == "NAME", (words, action.dest)
    assert sum(action.type is given_path for _, action in found) > 50


@pytest.mark.parametrize("words", [["--out", "~/x"], ["--out=~/x"]])
def test_a_home_folder(home, words):
    asked = [*words, "--t1w=~/T1 w.nii", "--t2f", "./~/flair.nii", "--tracer", "TAU", "--log-file=~"]
    arguments = build_parser().parse_args(["synthesize", *asked])
    assert arguments.out == str(home / "x") and arguments.t1w == str(home / "T1 w.nii")
    assert arguments.t2f == "./~/flair.nii" and arguments.log_file == str(home)
    request = {"id": 1, "command": "report", "options": {"out": "~/x.html"}}
    served = read_request(json.dumps(request).encode(), 1000, set(), takes_one).argv
    assert build_parser().parse_args([*served, "~/result"]).out == str(home / "x.html")


def test_an_unknown_user_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "~nobody-of-this-name/x"]) == 2
    said = capsys.readouterr().err
    assert "~nobody-of-this-name/x: there is no user of this name here" in said and said.count("\n") == 1
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(InputError, match="no home folder of this user is known"):
        given_path("~/x")
    with pytest.raises(InputError):
        given_path("~\0/x")
    assert not list(tmp_path.iterdir())


def test_columns_of_tables(home, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("subject,t1w,t2f,pet,tracer\na,~/t1.nii,b/t2.nii,~/p.nii,TAU\n", encoding="utf-8")
    (case,) = read_table(table).cases
    assert (case.t1w, case.t2f, case.pets["TAU"].path) == (home / "t1.nii", tmp_path / "b/t2.nii", home / "p.nii")
    (visit,) = find_visits(table)
    assert (visit.t1w, visit.t2f, visit.pet_files) == (home / "t1.nii", tmp_path / "b/t2.nii", (home / "p.nii",))
    table.write_text("participant_id,tracer,synthetic,measured\na,TAU,s.nii,~/p.nii\n", encoding="utf-8")
    ((pair,), _) = read_pairs(table)
    assert (pair.synthetic, pair.measured) == (tmp_path / "s.nii", home / "p.nii")


def test_an_unknown_user_in_a_table_is_that_line_s_failure(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("subject,t1w,t2f\na,~nobody-of-this-name/1.nii,2.nii\nb,1.nii,2.nii\n", encoding="utf-8")
    bad, good = find_visits(table)
    assert "there is no user of this name" in bad.problem and not good.problem
    rows = "a,TAU,s.nii,~nobody-of-this-name/m.nii\nb,TAU,s.nii,m.nii\n"
    table.write_text(f"participant_id,tracer,synthetic,measured\n{rows}", encoding="utf-8")
    with pytest.warns(RelAPETWarning, match="line 2"):
        (pair,), (failure,) = read_pairs(table)
    assert pair.participant == "b" and failure["participant_id"] == "a"
    assert "there is no user of this name" in failure["reason"] and "~nobody" not in failure["reason"]


@pytest.mark.parametrize(
    "words",
    [
        ["models", "list"], ["models", "show", "demo"], ["models", "folder"], ["doctor"], ["regions", "list"],
        ["demo", "--out", "OUT"], ["synthesize", "--t1w", "a", "--t2f", "b", "--tracer", "TAU", "--out", "OUT"],
        ["bids", "a", "OUT", "participant"], ["models", "list", "--log-file", "OUT/log"], ["serve", "--stdio"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_home_of_the_environment_that_cannot_be_is_one_line_of_every_command(words, monkeypatch, capsys, tmp_path):
    """Neither its absence nor the user's other models may pass for what was asked for."""
    out = tmp_path / "out"
    monkeypatch.setenv("RELAPET_HOME", "~nobody-of-this-name/x")
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("OUT", str(out)) for word in words]) == 2
    said = capsys.readouterr().err
    assert "RELAPET_HOME: ~nobody-of-this-name/x: there is no user of this name here" in said
    assert said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_the_library_says_the_same_of_it(monkeypatch):
    from RelAPETLib.models import list_models, load_model
    from RelAPETLib.regions.stored import names

    monkeypatch.setenv("RELAPET_HOME", "~nobody-of-this-name/x")
    for ask in (list_models, names, lambda: load_model("a model of mine")):
        with pytest.raises(InputError, match="^RELAPET_HOME: ~nobody-of-this-name/x: there is no user"):
            ask()
    monkeypatch.setenv("RELAPET_RESOURCES", "~nobody-of-this-name")
    with pytest.raises(InputError, match="^RELAPET_RESOURCES: ~nobody-of-this-name: there is no user"):
        resources_dir()
    monkeypatch.setenv("RELAPET_RESOURCES", "~")
    assert resources_dir() == Path.home()


@pytest.mark.parametrize("words", [["--model", "~nobody-of-this-name/m"], ["--norms", "~nobody-of-this-name/n"]])
def test_names_that_may_be_paths_too(words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = ["synthesize", "--t1w", "a", "--t2f", "b", "--tracer", "TAU", "--out", "o", *words]
    assert main(asked) == 2
    said = capsys.readouterr().err
    assert "~nobody-of-this-name" in said and "there is no user of this name" in said and said.count("\n") == 1
