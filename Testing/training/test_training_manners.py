"""What `train` says before, while and after it works: help, configuration, dry run, header, origins, precision."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import training_cases as cases
from training_launch import ROOT
from training_runs import COMMON, LATENT, Phantoms, tiny_config, tiny_data

from training import checkpoints, origins
from training.__main__ import build_parser, main
from training.config import chosen, flatten, load_config
from training.data.cache import open_cache
from training.data.split import explicit_split
from training.errors import ConfigError, user_error
from training.keys import RULES, Key, Rules
from training.loop import run
from training.machine import device_kind
from training.methods import METHODS
from training.options import OPTIONS, help_text
from training.precision import choose, exact, use
from training.progress import counted
from training.reports import LOG
from training.schedules import COURSES, learning_rate_share, validates_at
from training.words_of_config import as_words

SMALL = [*COMMON, "network.factor=10", "network.crop=[12,16,12]", "run.validation_steps=2", "run.validation_volumes=2"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory, eight_people):
    """Three people to train on, one to validate on, with every tracer, as blocks of 10 mm; the others are left out."""
    folder = cases.simulated(tmp_path_factory.mktemp("manners") / "cache", 8, eight_people)
    subjects = {case["subject"]: len(case["pets"]) for case in open_cache(folder).index["cases"]}
    whole = [subject for subject, tracers in subjects.items() if tracers == 3][:4]
    parts = {"train": whole[:3], "validation": whole[3:], "test": [who for who in subjects if who not in whole]}
    explicit_split([*subjects], parts).save(folder / "split.json")
    return folder


CONDITIONAL = ["autoencoder.blocks=4", "autoencoder.channels=[48,96]", "network.channels=[32,64]"]
CONDITIONAL += ["network.attention_levels=[false,true]"]
CHOICES = [choice for choices in METHODS.values() for choice in choices]


@pytest.mark.parametrize("method", CHOICES)
def test_the_table_of_a_method_is_its_configuration(method):
    config = chosen([f"method={method}"])
    defaults, rules = flatten(config), config.rules
    assert set(rules) == set(defaults) > set(RULES)
    wrong = {name: key.refusal(defaults[name]) for name, key in rules.items() if defaults[name] != "???"}
    assert not {name: why for name, why in wrong.items() if why}
    assert all(key.what.strip() and key.what[-1] not in ".;" for key in rules.values())


def test_tables_are_joined_and_the_later_counts():
    joined = Rules({"a": Key("a", least=0), "b": Key("b", free=True)}) | Rules({"a": Key("a", below=1)})
    assert joined.free == ("b",)
    joined.check({"a": -1, "b": "x", "c": None})
    with pytest.raises(ConfigError, match="a=1 must be below 1"):
        joined.check({"a": 1})


def test_common_tables_name_no_method():
    text = " ".join(key.what for key in RULES.values()).lower()
    assert not [word for word in ("generator", "discriminator", "latent", "autoencoder", "noise") if word in text]


@pytest.mark.parametrize("words", [["out=x"], ["method=rela_latent", "preset=paper"]], ids=" ".join)
def test_help_has_every_key_with_its_default_and_loads_nothing_heavy(words):
    code = (
        f"import sys; from training.__main__ import main; code = main(['train', *{words}, '--help'])\n"
        "assert not {'torch', 'hydra', 'monai', 'SimpleITK'} & set(sys.modules), sorted(sys.modules)\n"
        "raise SystemExit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == help_text(words).strip()
    shown = done.stdout.splitlines()
    config, given = chosen(words), ("out", "data.cache")
    for word in as_words(config, without=given)[1:]:  # behind the method's own
        beginning = f"  {word.removesuffix(chr(39) * 2)} "
        assert [line for line in shown if line.startswith(beginning)], word
    assert all(any(line.startswith(f"  {option} ") for line in shown) for option in OPTIONS)
    assert max(map(len, shown)) <= 120
    config.settle()
    assert as_words(config, without=given) == as_words(load_config([*words, "out=x", "data.cache=y"]), without=given)


@pytest.mark.parametrize(
    "words",
    [
        ["preset=paper", "ablation=wo_t1w", "hardware.micro_batch=3"],
        ["method=rela_latent", "network.channels=[32,64]", "network.attention_levels=[false,true]"],
        ["network.crop=[160,176,160]", "seed=9007199254740993", "preset.penalty_gamma=6.25e-6"],
        ["out='a b, c'", r"data.cache='it\'s'", "data.split='x=y'"],
        ["out='null'", "data.cache='12'", r"data.split='back\\'"],
        ["out='[a]'", r"data.cache='\${here}'", "data.split='true'"],
        *([f"method={choice}", "network.factor=1"] for choice in CHOICES),
        ["method=rela_latent", "latent=conditional", "network.factor=2", *CONDITIONAL],
        ["method=unet_l2", "preset=fair", "out=o", "data.cache=/data/José (2)/a, b"],
    ],
)
def test_the_printed_configuration_makes_itself_again(tmp_path, capsys, words):
    """Also of a method that is not the default, whose keys the default does not have."""
    given = words if any(word.startswith("out=") for word in words) else [*words, "out=o", "data.cache=c"]
    config = load_config(given)
    assert main(["train", *given, "--cfg"]) == 0
    (tmp_path / "words.txt").write_text(capsys.readouterr().out)
    assert main(["train", f"@{tmp_path / 'words.txt'}", "--cfg"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "words.txt").read_text()
    assert load_config(printed.splitlines()) == config


def test_cfg_needs_neither_out_nor_cache(capsys):
    assert main(["train", "--cfg", "method=ficd"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "method.adversarial=false" in said
    assert not [line for line in said if line.startswith(("out=", "data.cache="))]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dryrun"], "did you mean --dry-run?"),
        (["--cfg", "--dry-run"], "one of them"),
        (["run.step=3"], "did you mean run.steps?"),
        (["epochs=3"], "did you mean preset.epochs?"),
        (["run.epochs=3"], "did you mean preset.epochs?"),
        (["steps=3"], "did you mean run.steps or autoencoder.steps?"),
        (["preset=papr"], "did you mean preset=paper?"),
        (["method=relalatent"], "did you mean method=rela_latent?"),
        (["zzzzz=3"], "--help' lists all"),
    ],
)
def test_a_slip_of_the_keyboard_is_told_what_is_near(capsys, words, says):
    assert main(["train", "out=a", "data.cache=b", *words]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_dry_run_tells_what_a_run_needs_and_leaves_nothing(cache, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    out = tmp_path / "out"
    before = sorted(cache.rglob("*"))
    assert main(["train", *SMALL, f"data.cache={cache}", f"out={out}", "--dry-run"]) == 0
    said = capsys.readouterr().out
    for words in (
        "device: cpu", "parameters: generator ", ", discriminator ", "subjects: 3 to train on, 1 to validate on",
        "images: 9 (3 PBR, 3 PIB, 3 TAU) to train on, 3 (1 PBR, 1 PIB, 1 TAU)", "steps: 300 of 3 images (100.0 epochs)",
        "MiB of weights", "s a step, with every term of the losses", "s a volume of a validation",
        "time of the whole run", "memory at its highest",
    ):  # fmt: skip
        assert words in said, words
    assert not out.exists() and sorted(cache.rglob("*")) == before
    assert not list((tmp_path / "temporary").glob("relapet*"))  # torch makes a folder of its own there


def test_dry_run_of_a_latent_run_goes_through_every_stage(cache, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["method=rela_latent", *LATENT, "data.workers=0", f"data.cache={cache}", f"out={out}"]
    assert main(["train", *words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "pet autoencoder" in said and "s a step of the mri autoencoder" in said
    assert "time of the whole run" in said and not out.exists()


def test_dry_run_refuses_what_the_run_would(grid_case, tmp_path, capsys):
    """The shortened rehearsal, two components and few scans, does not hide that the real scans do not suffice."""
    cache = tmp_path / "cache"
    cases.prepared(cases.write_table(tmp_path, grid_case, [(who, "TAU") for who in "abcd"]), cache, factor=2)
    explicit_split([*"abcd"], {"train": [*"abc"], "validation": ["d"], "test": []}).save(cache / "split.json")
    words = [*COMMON, "method=rela_latent", "latent=regression", "preset.prediction=v", "network.factor=2"]
    words += ["autoencoder.blocks=4", "autoencoder.channels=[4,8]", "autoencoder.norm_num_groups=4"]
    words += [f"data.cache={cache}", f"out={tmp_path / 'out'}", "latent.components=3"]
    said = []
    for how in (["--dry-run"], []):
        assert main(["train", *words, *how]) == 2
        said.append(capsys.readouterr().err)
        assert bool(how) == (not (tmp_path / "out").exists())
    assert said[0] == said[1]
    assert "more than latent.components=3 training scans of every tracer; TAU has 3" in said[0]


def test_a_run_says_its_header_and_writes_down_where_it_comes_from(cache, tmp_path, capsys):
    out = tmp_path / "out"
    words = [*SMALL, f"data.cache={cache}", f"out={out}"]
    for steps, said in ((2, "steps: 2 of 3 images"), (3, "steps: 3, 2 of them done, the others of 3 images (1.0")):
        assert main(["train", *words, f"run.steps={steps}"]) == 0
        assert said in capsys.readouterr().out
    again = load_config((out / origins.CONFIG).read_text().splitlines())
    assert again == load_config([*words, "run.steps=3"])
    starts = [json.loads(line) for line in (out / origins.STARTS).read_text().splitlines()]
    assert [start["from_step"] for start in starts] == [0, 2]
    assert starts[0]["command"] == ["python", "-m", "training", "train", *words, "run.steps=2"]
    assert starts[0]["versions"]["torch"] == torch.__version__
    saved = checkpoints.latest(out)[1]
    assert {"from_step": 2, **saved["origin"]} == starts[1] and saved["config"]["run.steps"] == 3
    assert main(["export", "--checkpoint", str(out / "checkpoints/best.pt"), "--out", str(tmp_path / "bundle")]) == 0
    text = (tmp_path / "bundle/configs/metadata.json").read_text()
    source = json.loads(text)["source"]
    assert source["command"].startswith("python -m training train ") and "run.steps=" in source["command"]
    assert source["git_commit"] == saved["origin"]["git_commit"] and source["versions"] == starts[1]["versions"]
    assert str(tmp_path) not in text and str(cache.parent) not in text


def test_an_older_checkpoint_has_the_command_alone():
    assert origins.published(None) == {"command": origins.COMMAND}


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("out=/home/somebody/runs/x", "out=x"),
        ("data.cache='/data/a b/c'", "data.cache=c"),
        (r"out=C:\Users\somebody\run", "out=run"),
        ("@/home/somebody/words.txt", "@words.txt"),
        ("run.steps=3", "run.steps=3"),
        ("network.channels=[4,8]", "network.channels=[4,8]"),
    ],
)
def test_folders_of_a_command_stay_out_of_a_bundle(word, kept):
    import shlex

    assert shlex.split(origins.published({"command": [word]})["command"]) == [kept]


def test_commit_of_a_repository(tmp_path):
    assert origins.commit(tmp_path) is None
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *words], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    assert origins.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert origins.commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"


@pytest.mark.parametrize(
    ("asked", "device", "bfloat16", "name", "fabric", "tf32"),
    [
        ("auto", "cpu", True, "fp32", "32-true", False),
        ("auto", "mps", False, "fp32", "32-true", False),
        ("auto", "cuda", True, "bf16", "bf16-mixed", True),
        ("auto", "cuda", False, "tf32", "32-true", True),
        ("fp32", "cuda", True, "fp32", "32-true", False),
        ("tf32", "cuda", True, "tf32", "32-true", True),
        ("fp16", "cuda", True, "fp16", "16-mixed", True),
        ("bf16", "cpu", False, "bf16", "bf16-mixed", False),
    ],
)
def test_precision_follows_from_what_is_asked_and_the_device(asked, device, bfloat16, name, fabric, tf32):
    made = choose(asked, device, bfloat16)
    assert (made.name, made.fabric, made.tf32) == (name, fabric, tf32)


def test_apples_gpus_are_asked_for_no_float64():
    """A stand-in says where it is and what it was asked for."""
    for place, wanted in (("mps", "float"), ("cpu", "double"), ("cuda", "double")):
        asked = SimpleNamespace(device=SimpleNamespace(type=place), float=lambda: "float", double=lambda: "double")
        assert exact(asked) == wanted


def test_the_switches_of_tf32_are_set_both_ways():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for asked in ("auto", "fp32"):
            made = choose(asked, "cuda", True)
            use(made)
            assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == made.tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_auto_means_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for gpus, kind in ((0, "cpu"), (2, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: bool(gpus))
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert device_kind("auto") == kind and device_kind("gpu") == "cuda" and device_kind("cpu") == "cpu"


@pytest.mark.parametrize(
    ("steps", "every", "at"),
    [(30, 1000, [10, 30]), (30, 4, [4, 8, 12, 16, 20, 24, 28, 30]), (5, 1000, [5]), (30, 15, [10, 15, 30])],
)
def test_the_first_validation_comes_early(steps, every, at):
    assert [step for step in range(1, steps + 1) if validates_at(step, steps, every)] == at


def test_learning_rates_rise_and_then_stay_or_fall_as_asked():
    def course(kind, warm_up=0):
        return [round(learning_rate_share(step, 8, warm_up, kind), 4) for step in range(9)]

    assert course("constant") == [1] * 9 and course("constant", 4) == [0.25, 0.5, 0.75, *[1] * 6]
    assert course("linear") == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert course("linear", 2)[:2] == [0.5, 1] and course("linear", 2)[2:] == course("linear")[2:]
    falling = course("cosine")
    assert falling[0] == 1 and falling[4] == 0.5 and falling[8] == 0 and falling == sorted(falling, reverse=True)
    for kind in COURSES:
        assert load_config([f"run.learning_rate={kind}", "data.cache=m", "out=u"]).run.learning_rate == kind


def test_a_broken_validation_shows_after_ten_steps(tmp_path, capsys):
    from dataclasses import replace

    config = tiny_config(tmp_path, "run.steps=1000", "preset.global_batch=1")
    data = replace(tiny_data(), validation=Phantoms(2, broken=0))
    assert run(config, data, quiet=True) == 1
    assert "item 0 is broken" in capsys.readouterr().err
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()][-1] == 10


def test_long_loops_say_how_far_they_are():
    now, said = [0.0], []
    for _ in counted(range(10), "coding", said.append, every=20, clock=lambda: now[0]):
        now[0] += 9
    assert said == ["coding: 3 of 10, 0:01:03 left", "coding: 6 of 10, 0:00:36 left", "coding: 9 of 10, 0:00:09 left"]
    quick = []
    assert list(counted([1, 2], "coding", quick.append)) == [1, 2] and not quick


def test_a_worker_tells_the_cause_alone():
    from RelAPETLib.errors import InputError

    wrapped = InputError(
        "Caught InputError in DataLoader worker process 0.\nTraceback:\n  x\nerrors.InputError: gone; y\n"
    )
    assert str(user_error(wrapped)) == "gone; y"


@pytest.mark.parametrize(
    ("words", "dest", "whole"),
    [
        (
            ["evaluate", "--cache", "c", "--out", "o", "--samples", "a", "--samples", "b", "c"],
            "samples",
            ["a", "b", "c"],
        ),
        (["bench", "--out", "o", "--seeds", "3", "--seeds", "4"], "seeds", [3, 4]),
        (["bench", "--out", "o", "--only", "unet_l1", "--only", "resdm"], "only", ["unet_l1", "resdm"]),
    ],
)
def test_an_option_of_several_values_may_be_given_twice(words, dest, whole):
    assert getattr(build_parser().parse_args(words), dest) == whole
