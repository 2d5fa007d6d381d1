"""The training loop: resumed, killed, stopped, on two ranks, and diverging."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import Phantoms, logged, same_within, scenario, tensors, tiny_config, tiny_data

from training import checkpoints
from training.config import layout
from training.data.dataset import StreamSampler
from training.errors import ConfigError, ResumeError
from training.loop import run
from training.trainer import RunData

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("interrupted")
    return out, scenario("interrupted", out)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    return out, scenario("together", out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["killed", "stopped"])
def test_a_resumed_run_is_the_uninterrupted_one(interrupted, name):
    out, report = interrupted
    assert report["codes"] == [0, 0, 0] and report["kills"] == 6, report["told"]
    assert logged(out / name) == logged(out / "whole")
    whole, resumed = tensors(out / "whole"), tensors(out / name)
    assert whole.keys() == resumed.keys() and len(whole) > 100
    assert all(torch.equal(whole[place], resumed[place]) for place in whole)


@pytest.mark.slow
def test_sigterm_saves_and_asks_to_be_started_again(interrupted):
    _, report = interrupted
    assert report["asked"] == 75 and len(report["saved"]) == 1


@pytest.mark.slow
def test_two_ranks_are_one_rank_with_accumulation(together):
    out, report = together
    assert report["codes"][:3] == [0, 0, 0], report["told"]
    one, two = tensors(out / "one"), tensors(out / "two")
    steps = max(int(path.stem[5:]) for path in checkpoints.saved(out / "two"))
    assert steps == 14 and one.keys() == two.keys()
    for place in one:
        assert torch.allclose(one[place].double(), two[place].double(), rtol=1e-3, atol=1e-5), place
    same_within(logged(out / "one"), logged(out / "two"), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared", "taken_by_shared", "taken_by_one"])
def test_a_generator_shared_out_over_two_ranks_is_the_whole_one(together, name):
    """FSDP from the start, from a whole run's checkpoint on, and a whole run from FSDP's checkpoint on."""
    out, report = together
    assert report["codes"][3:] == [0] * 5, report["told"]
    whole, shared = logged(out / "one"), logged(out / name)
    assert len(shared) >= 8
    same_within(whole[-len(shared) :], shared, 1e-4)
    one, other = tensors(out / "one"), tensors(out / name)
    assert one.keys() == other.keys() and all(one[place].shape == other[place].shape for place in one)
    # Sums in another order change gradients that are zero but for rounding (a bias before a norm), and Adam makes
    # whole steps of 1e-3 of them; the losses above are blind to those biases, as the network is.
    seen = [place for place in one if "generator" in place and not place.endswith("bias")]
    assert seen and all(torch.allclose(one[place], other[place], atol=1e-3) for place in seen)


@pytest.mark.slow
def test_a_failing_rank_ends_all_with_its_message(together):
    out, report = together
    assert sorted(report["failed"]) == [1, 4] and report["seconds"] < 30
    for rank in range(2):
        assert "item 3 is broken" in (out / f"broken{rank}.txt").read_text()


@pytest.mark.slow
def test_divergence_is_told_by_all_ranks(together):
    out, report = together
    assert report["diverged"] == [3, 3]
    for rank in range(2):
        message = (out / f"nan{rank}.txt").read_text().splitlines()[-1]
        assert "step 2 diverged" in message and "sub-03 (PBR)" in message and "sub-00" not in message


def test_divergence_names_the_last_good_checkpoint(tmp_path, capsys):
    third = int(StreamSampler(4, seed=0).order(0)[2])
    config = tiny_config(tmp_path, "run.steps=9", "run.checkpoint_every=1", "preset.global_batch=1")
    assert run(config, tiny_data(4, nan=third), quiet=True) == 3
    message = capsys.readouterr().err.splitlines()[-1]
    last = checkpoints.saved(tmp_path)[-1]
    assert str(last) in message and "step 3 diverged" in message and f"sub-0{third}" in message
    assert all(torch.isfinite(tensor).all() for tensor in tensors(tmp_path).values())


def test_exploding_loss_stops(tmp_path, capsys):
    assert run(tiny_config(tmp_path, "run.steps=2", "run.largest_loss=0.01"), tiny_data(), quiet=True) == 3
    assert "L_N = " in capsys.readouterr().err


def test_another_configuration_or_split_is_refused(tmp_path, capsys):
    assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 0
    assert run(tiny_config(tmp_path, "run.steps=2", "ablation=wo_gp"), tiny_data(), quiet=True) == 2
    assert "ablation.penalty: True -> False" in capsys.readouterr().err
    other = RunData(Phantoms(4), None, "1" * 64)
    assert run(tiny_config(tmp_path, "run.steps=2"), other, quiet=True) == 2
    assert "another split" in capsys.readouterr().err
    assert run(tiny_config(tmp_path, "run.steps=2"), tiny_data(5), quiet=True) == 2
    assert "size was 4, now it is 5" in capsys.readouterr().err


def test_another_cache_is_refused_before_any_stage_and_one_that_moved_is_not(tmp_path, capsys, monkeypatch):
    """People of the same names make the same split."""
    ours, others = (replace(tiny_data(), volumes_sha256=name * 64) for name in "ab")
    assert run(tiny_config(tmp_path, "run.steps=1"), ours, quiet=True) == 0
    assert run(tiny_config(tmp_path, "run.steps=2", "data.cache=elsewhere"), ours, quiet=True) == 0
    with monkeypatch.context() as patched:
        patched.setattr("training.loop.Work", None)
        assert run(tiny_config(tmp_path, "run.steps=3"), others, quiet=True) == 2
    said = capsys.readouterr().err
    assert "another cache: aaaaaaaaaaaa -> bbbbbbbbbbbb" in said and said.count("\n") == 1
    path = checkpoints.saved(tmp_path)[-1]
    state = checkpoints.load(path)
    assert state["volumes_sha256"] == "a" * 64 and state["step"] == 2
    del state["volumes_sha256"]  # as earlier versions wrote
    torch.save(state, path)
    assert run(tiny_config(tmp_path, "run.steps=3"), others, quiet=True) == 0
    assert "could not be checked" in capsys.readouterr().out
    assert any("could not be checked" in line for line in checkpoints.latest(tmp_path)[1]["history"])


def test_another_global_batch_is_written_down(tmp_path):
    assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 0
    assert run(tiny_config(tmp_path, "run.steps=2", "preset.global_batch=2"), tiny_data(), quiet=True) == 0
    state = checkpoints.latest(tmp_path)[1]
    assert "step 1: preset.global_batch: 3 -> 2" in state["history"]
    assert state["sampler"]["epoch"] * 4 + state["sampler"]["position"] == 5


def test_layout_must_make_up_the_global_batch(tmp_path):
    config = tiny_config(tmp_path, "preset.global_batch=6", "hardware.micro_batch=2")
    assert layout(config, 1) == 3
    with pytest.raises(ConfigError, match="2 x 1 x 3, 2 x 3 x 1"):
        layout(config, 2)


def test_checkpoints_are_kept_and_pruned(tmp_path):
    config = tiny_config(tmp_path, "run.steps=5", "run.checkpoint_every=1", "run.keep_last=2", "run.validate_every=2")
    assert run(config, tiny_data(), quiet=True) == 0
    names = sorted(path.name for path in (tmp_path / checkpoints.FOLDER).iterdir())
    assert names == ["best.pt", "step-00000004.pt", "step-00000005.pt"]
    state = checkpoints.load(tmp_path / checkpoints.FOLDER / "best.pt")
    best = max((line for line in logged(tmp_path) if line["group"] == "validation"), key=lambda line: line["psnr"])
    assert state["step"] == best["step"] and state["best_psnr"] == best["psnr"]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_the_best_weights_are_those_of_validations_that_can_be_compared(tmp_path, capsys):
    """A run that goes on is validated by other steps: the best before is kept aside, and nothing is lost."""
    words = ("run.checkpoint_every=1", "run.validate_every=1")
    folder = tmp_path / checkpoints.FOLDER
    assert run(tiny_config(tmp_path, "run.steps=2", *words), tiny_data(), quiet=True) == 0
    path, saved = checkpoints.latest(tmp_path)
    checkpoints.save(path, {**saved, "best_psnr": 99.0})  # by a way of validating that is kinder
    before = (folder / "best.pt").read_bytes()
    assert run(tiny_config(tmp_path, "run.steps=3", *words), tiny_data(), quiet=True) == 0
    assert (folder / "best.pt").read_bytes() == before, "validated alike, 99 dB stay the best"
    assert run(tiny_config(tmp_path, "run.steps=4", "run.validation_steps=2", *words), tiny_data(), quiet=True) == 0
    assert "best.pt is kept as best-until-00000003.pt" in capsys.readouterr().out
    assert (folder / "best-until-00000003.pt").read_bytes() == before
    assert checkpoints.load(folder / "best.pt")["step"] == 4
    assert run(tiny_config(tmp_path, "run.steps=5", "run.validation_steps=2", *words), tiny_data(), quiet=True) == 0
    assert not list(folder.glob("best-until-00000004.pt"))


def test_bfloat16(tmp_path):
    """fp16 with its loss scaling exists on GPUs only."""
    for steps in (3, 4):
        config = tiny_config(tmp_path, f"run.steps={steps}", "hardware.precision=bf16")
        assert run(config, tiny_data(), quiet=True) == 0


def test_volumes_of_an_impossible_shape(tmp_path, capsys):
    for shape, why in (((13, 16, 12), "no multiples of 2"), ((8, 16, 12), "too small for the discriminator")):
        assert run(tiny_config(tmp_path), tiny_data(shape=shape), quiet=True) == 2
        assert why in capsys.readouterr().err


# -- checkpoints that are not what they should be -------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    """Folder of a run of one step."""
    out = tmp_path_factory.mktemp("one") / "run"
    assert run(tiny_config(out, "run.steps=1"), tiny_data(), quiet=True) == 0
    return out


def without(key):
    return lambda state, path: torch.save({name: value for name, value in state.items() if name != key}, path)


def replaced(key, value):
    return lambda state, path: torch.save({**state, key: value}, path)


def player(part, change):
    """Something else as a part of the generator's."""

    def damage(state, path):
        kept = state["players"]["generator"]
        players = {**state["players"], "generator": {**kept, part: change(kept[part])}}
        torch.save({**state, "players": players}, path)

    return damage


def huge(weights):
    return {**weights, next(iter(weights)): torch.zeros(1).expand(2**40)}


def cyclic(state, path):
    itself = [torch.zeros(1).expand(2**40)]
    itself.append(itself)
    torch.save({**state, "history": itself}, path)


DAMAGES = {
    "without config": without("config"),
    "without players": without("players"),
    "without the generator": replaced("players", {}),
    "a number as config": replaced("config", 3.5),
    "cut": lambda state, path: path.write_bytes(path.read_bytes()[:2000]),
    "empty": lambda state, path: path.write_bytes(b""),
    "text": lambda state, path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "a folder": lambda state, path: (path.unlink(), path.mkdir()),
    "a tensor": lambda state, path: torch.save(torch.zeros(3), path),
    "of another format": replaced("format", 3),
    "weights of another network": player("weights", lambda kept: {"weight": torch.zeros(3)}),
    "weights that are words": player("weights", lambda kept: dict.fromkeys(kept, "x")),
    "no optimiser state": player("optimizer", lambda kept: {}),
    "a sampler of nobody": replaced("sampler", {}),
    "no random state": replaced("rng", [{}]),
    "4 TB": player("weights", huge),
    "4 TB in itself": cyclic,
}


@pytest.mark.parametrize("key", checkpoints.RUN)
def test_every_key_of_a_checkpoint_is_looked_for(one_step, tmp_path, key):
    state = torch.load(checkpoints.saved(one_step)[-1], weights_only=True)
    path = tmp_path / "checkpoints" / "step-00000001.pt"
    path.parent.mkdir()
    for damage in (without(key), replaced(key, 3.5)):
        damage(state, path)
        with pytest.raises(ResumeError, match=f"'{key}' in it"):
            checkpoints.latest(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_checkpoint_that_is_none_is_one_line(one_step, tmp_path, capsys, damage):
    out = tmp_path / "run"
    shutil.copytree(one_step, out)
    path = checkpoints.saved(out)[-1]
    damage(torch.load(path, weights_only=True), path)
    assert run(tiny_config(out, "run.steps=2"), tiny_data(), quiet=True) == 2
    said = capsys.readouterr().err
    assert path.name in said and said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    "damage", ["without config", "without players", "without the generator", "cut", "4 TB", "a number as config"]
)
def test_export_of_a_checkpoint_that_is_none(one_step, tmp_path, capsys, damage):
    from training.__main__ import main

    path = tmp_path / "c.pt"
    shutil.copy(checkpoints.saved(one_step)[-1], path)
    DAMAGES[damage](torch.load(path, weights_only=True), path)
    assert main(["export", "--checkpoint", str(path), "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "c.pt" in said and said.count("\n") == 1 and not (tmp_path / "b").exists()


@pytest.mark.parametrize("config", [{}, {"preset.nobody": 1, "data.cache": "x"}, {"data": 3}, {3: 4}])
def test_export_with_a_configuration_of_another_program(one_step, tmp_path, capsys, config):
    from training.__main__ import main

    state = torch.load(checkpoints.saved(one_step)[-1], weights_only=True)
    torch.save({**state, "config": config}, tmp_path / "c.pt")
    assert main(["export", "--checkpoint", str(tmp_path / "c.pt"), "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert "c.pt" in said and said.count("\n") == 1


# -- what killed runs leave, disks and consoles ---------------------------------------------------------------------


def test_what_a_killed_run_left_is_removed_and_told(one_step, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(one_step, out)
    for name in (".log.jsonl.part", "checkpoints/.step-00000002.pt.part", "latent/.coded.pt.part"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"half")
    (out / ".failures-123").mkdir()
    (out / ".failures-123" / "0.txt").write_text("an old failure")
    with open(out / "log.jsonl", "ab") as log:
        log.write(b'{"step": 1, "gro\0\0\0\xff')
    assert run(tiny_config(out, "run.steps=2"), tiny_data()) == 0
    assert "3 unfinished file(s) of an interrupted run removed" in capsys.readouterr().out
    assert not list(out.rglob("*.part")) and not list(out.glob(".failures-*"))
    assert [line["step"] for line in logged(out) if line["group"] == "train"] == [1, 2]


def test_two_runs_do_not_work_in_one_folder(tmp_path, capsys, monkeypatch):
    from training import loop
    from training.data.cache import alone_in

    monkeypatch.setattr(loop, "LOCK_SECONDS", 0)
    with alone_in(tmp_path):
        assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 2
    assert "another process is working there" in capsys.readouterr().err
    assert not checkpoints.saved(tmp_path)
    assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 0


def test_a_folder_that_may_not_be_written_is_one_line(as_nobody, capsys):
    (as_nobody / "shut").mkdir(mode=0o500)
    assert run(tiny_config(as_nobody / "shut" / "run", "run.steps=1"), tiny_data(), quiet=True) == 2
    said = capsys.readouterr().err
    assert "Permission denied" in said and said.count("\n") == 1


def test_a_file_where_the_folder_should_be(tmp_path, capsys):
    (tmp_path / "run").write_text("")
    assert run(tiny_config(tmp_path / "run", "run.steps=1"), tiny_data(), quiet=True) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_full_memory_and_disk_are_one_line(tmp_path, capsys, monkeypatch):
    from training import reports

    def no_memory(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    def no_space(*_):
        raise OSError(28, "No space left on device", "log.jsonl")

    for broken, says in ((no_memory, "out of memory"), (no_space, "log.jsonl: No space left on device")):
        with monkeypatch.context() as patch:
            patch.setattr(reports, "write_whole", broken)
            assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1


def test_a_validation_that_is_no_number_is_never_the_best(tmp_path, monkeypatch, capsys):
    from training.validation import Validation

    figures = iter([float("nan"), 20.0, float("nan"), 30.0])
    pictures = [torch.zeros(4, 4, 4)]
    monkeypatch.setattr("training.trainer.validate", lambda *how: Validation(next(figures), 0.1, pictures))
    words = ["run.validate_every=1", "run.validation_volumes=1"]
    best = tmp_path / checkpoints.FOLDER / checkpoints.BEST
    assert run(tiny_config(tmp_path, *words, "run.steps=1"), tiny_data()) == 0
    assert "is never the best" in capsys.readouterr().out and not best.exists()
    assert run(tiny_config(tmp_path, *words, "run.steps=2"), tiny_data(), quiet=True) == 0
    assert checkpoints.load(best)["step"] == 2
    path, state = checkpoints.latest(tmp_path)
    torch.save({**state, "best_psnr": float("nan")}, path)  # as earlier versions kept it
    assert run(tiny_config(tmp_path, *words, "run.steps=4"), tiny_data(), quiet=True) == 0
    kept = checkpoints.load(best)
    assert (kept["step"], kept["best_psnr"]) == (4, 30.0)


def test_without_validation_volumes_nothing_is_validated(tmp_path):
    config = tiny_config(tmp_path, "run.steps=1", "run.validation_volumes=0")
    assert run(config, tiny_data(), quiet=True) == 0
    assert {line["group"] for line in logged(tmp_path)} == {"train"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_changes_nothing(tmp_path):
    code = "import sys; from training.words import say; [say('line ' * 50) for _ in range(300)]; sys.exit(7)"
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full, cwd=ROOT).returncode == 7


def test_what_is_said_can_be_printed(capsys):
    from training.words import one_line, say

    say("a\x1b[2Jb \udcff\n  c")
    assert capsys.readouterr().out == "a\\x1b[2Jb \\xff\n  c\n"
    assert one_line("a\n\tb\0") == "a b\\x00"
