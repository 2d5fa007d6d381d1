"""What a run that goes on still owes: validations, images, a best copy, and a word on a damaged checkpoint."""

import errno

import pytest
import torch
import training_cases as cases
from training_runs import logged, tensors, tiny_config, tiny_data

from training import checkpoints, loop, validation
from training.config import load_config
from training.data.cache import open_cache
from training.data.split import explicit_split
from training.errors import UnreadError
from training.faults import StopRequest
from training.loop import load_data, run
from training.methods import objective
from training.rehearsal import Measurements, lines
from training.schedules import total_steps, validates_at, validations


class AskedAfter(StopRequest):
    """A request to stop that comes after the loop has looked for one so many times."""

    looks = 0

    @property
    def asked(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    @asked.setter
    def asked(self, _):
        pass


def stopped(config, data, monkeypatch, looks=0) -> int:
    """Exit code of a run that is asked to stop after so many looks: one a volume of a validation, one a step."""
    with monkeypatch.context() as patched:
        patched.setattr(AskedAfter, "looks", looks)
        patched.setattr(loop, "StopRequest", AskedAfter)
        return run(config, data, quiet=True)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_run_saves_before_a_validation_when_it_is_asked_to_stop(tmp_path, monkeypatch, steps):
    """A validation can take longer than a scheduler waits; what is put off is made up for, also at the run's end."""
    words = (f"run.steps={steps}", "run.validate_every=1", "run.checkpoint_every=100")
    folder, data = tmp_path / "stopped" / checkpoints.FOLDER, tiny_data()
    for number in range(1, steps + 1):
        owed = 2 if number > 1 else 0  # volumes
        assert stopped(tiny_config(tmp_path / "stopped", *words), data, monkeypatch, owed) == 75
        assert checkpoints.latest(tmp_path / "stopped")[1]["step"] == number
        groups = [line["group"] for line in logged(tmp_path / "stopped")]
        assert groups == ["train", "validation"] * (number - 1) + ["train"]
    assert run(tiny_config(tmp_path / "stopped", *words), data, quiet=True) == 0
    assert run(tiny_config(tmp_path / "whole", *words), data, quiet=True) == 0
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")
    best = [checkpoints.load(tmp_path / name / "checkpoints/best.pt") for name in ("stopped", "whole")]
    assert (best[0]["step"], best[0]["best_psnr"]) == (best[1]["step"], best[1]["best_psnr"])
    ends = [checkpoints.latest(tmp_path / name)[1] for name in ("stopped", "whole")]
    assert ends[0]["best_psnr"] == ends[1]["best_psnr"] and ends[0]["validated"] == ends[1]["validated"] == steps
    whole, gone_on = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert all(bool((whole[place] == gone_on[place]).all()) for place in whole)
    written = (folder / "best.pt").stat().st_mtime_ns
    assert run(tiny_config(tmp_path / "stopped", *words), data, quiet=True) == 0
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole"), "nothing is validated twice"
    assert (folder / "best.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_stops_between_the_volumes_of_a_validation_and_makes_it_anew(tmp_path, monkeypatch, steps):
    """All volumes take longer than a scheduler waits."""
    words = (f"run.steps={steps}", "run.validate_every=1", "run.checkpoint_every=100")
    config, data, drawn = tiny_config(tmp_path / "stopped", *words), tiny_data(), []
    draw = validation.synthesize
    monkeypatch.setattr(validation, "synthesize", lambda *given: drawn.append(given[-1]) or draw(*given))
    for looks in (2, 1):  # in the first step's validation, and in the same one when the run goes on
        assert stopped(config, data, monkeypatch, looks) == 75
        assert checkpoints.latest(tmp_path / "stopped")[1]["step"] == 1 and drawn == [0]
        assert [line["group"] for line in logged(tmp_path / "stopped")] == ["train"]
        assert not (tmp_path / "stopped" / checkpoints.FOLDER / "best.pt").exists()
        drawn.clear()
    assert run(config, data, quiet=True) == 0 and drawn == [0, 1] * steps
    assert run(tiny_config(tmp_path / "whole", *words), data, quiet=True) == 0
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")
    whole, gone_on = tensors(tmp_path / "whole"), tensors(tmp_path / "stopped")
    assert all(bool((whole[place] == gone_on[place]).all()) for place in whole)


def test_a_checkpoint_that_the_system_does_not_give_is_not_passed_over(tmp_path, monkeypatch):
    """Steps that were learned would be lost, and the file is whole."""
    words = ("run.steps=2", "run.checkpoint_every=1", "run.validation_volumes=0", "run.keep_last=5")
    assert run(tiny_config(tmp_path, *words), tiny_data(), quiet=True) == 0
    newest, size = checkpoints.saved(tmp_path)[-1], checkpoints.saved(tmp_path)[-1].stat().st_size
    read = torch.load
    for error, why in (
        (MemoryError(), "too little memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"), "too little memory"),
        (RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes."), "memory"),
    ):

        def refused(path, *args, error=error, **kwargs):
            if path == newest:
                raise error
            return read(path, *args, **kwargs)

        monkeypatch.setattr(torch, "load", refused)
        with pytest.raises(UnreadError, match=f"step-00000002.pt: .*{why}.*; the same command goes on"):
            checkpoints.latest(tmp_path)
    # What asks for more than the file holds is damage, as is what torch cannot make out.
    for error in (RuntimeError(f"you tried to allocate {size + 1} bytes"), EOFError(), OSError(errno.EINVAL, "no")):
        monkeypatch.setattr(torch, "load", lambda path, *a, error=error, **k: refused(path, *a, error=error, **k))
        assert checkpoints.latest(tmp_path)[1]["step"] == 1


def test_a_checkpoint_of_an_earlier_version_was_validated(tmp_path):
    words = ("run.validate_every=1", "run.checkpoint_every=1")
    assert run(tiny_config(tmp_path, "run.steps=1", *words), tiny_data(), quiet=True) == 0
    path, saved = checkpoints.latest(tmp_path)
    del saved["validated"]
    checkpoints.save(path, saved)
    before = logged(tmp_path)
    assert run(tiny_config(tmp_path, "run.steps=1", *words), tiny_data(), quiet=True) == 0
    assert logged(tmp_path) == before


@pytest.mark.parametrize(("first", "then", "steps"), [(1, 2, 5), (2, 1, 7), (1, 4, 4), (2, 2, 4)])
def test_epochs_are_so_many_images_whatever_batch_a_run_goes_on_with(tmp_path, capsys, monkeypatch, first, then, steps):
    """Two epochs of four images: the first steps are of one batch, what is left of another."""
    words = ("preset.epochs=2", "run.validation_volumes=0", "run.checkpoint_every=1")
    data = tiny_data(4)
    assert stopped(tiny_config(tmp_path, *words, f"preset.global_batch={first}"), data, monkeypatch) == 75
    done = 1
    if first == 1:
        assert stopped(tiny_config(tmp_path, *words, f"preset.global_batch={first}"), data, monkeypatch) == 75
        done = 2
    assert run(tiny_config(tmp_path, *words, f"preset.global_batch={then}"), data) == 0
    said = capsys.readouterr().out
    assert f"step {steps}/{steps} " in said
    assert f"steps: {steps}, {done} of them done, the others of {then} images (" in said
    state = checkpoints.latest(tmp_path)[1]
    seen = state["sampler"]["epoch"] * 4 + state["sampler"]["position"]
    assert state["step"] == steps and seen - then < 8 <= seen
    assert done * first + (steps - done) * then == seen


def test_a_best_copy_that_is_gone_is_made_anew(tmp_path, capsys):
    words = ("run.checkpoint_every=1", "run.validate_every=1")
    best = tmp_path / checkpoints.FOLDER / checkpoints.BEST
    assert run(tiny_config(tmp_path, "run.steps=1", *words), tiny_data(), quiet=True) == 0
    path, saved = checkpoints.latest(tmp_path)
    checkpoints.save(path, {**saved, "best_psnr": 99.0})
    best.unlink()
    assert run(tiny_config(tmp_path, "run.steps=2", *words), tiny_data(), quiet=True) == 0
    assert checkpoints.load(best)["step"] == 2 and "best.pt is gone" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_told_of(tmp_path, capsys):
    words = ("run.checkpoint_every=1", "run.validation_volumes=0")
    assert run(tiny_config(tmp_path, "run.steps=2", *words), tiny_data(), quiet=True) == 0
    newest = checkpoints.saved(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:2000])
    assert run(tiny_config(tmp_path, "run.steps=2", *words), tiny_data(), quiet=True) == 0
    assert "step-00000002.pt is damaged; goes on from step-00000001.pt" in capsys.readouterr().out
    assert checkpoints.latest(tmp_path)[1]["step"] == 2


@pytest.mark.parametrize("every", [1, 3, 10, 25, 1000])
def test_validations_are_counted_as_they_come(every):
    for steps in (1, 2, 9, 10, 11, 25, 30, 50, 999, 1000, 1001):
        assert validations(steps, every) == sum(validates_at(step, steps, every) for step in range(1, steps + 1))


def test_a_method_of_whole_cases_has_the_steps_that_its_header_says(tmp_path, eight_people, capsys):
    """ResDM learns a person's tracers together: an epoch is its cases, not their PET."""
    cache = cases.simulated(tmp_path / "cache", 8, eight_people)
    people = open_cache(cache)
    explicit_split(people.subjects, {"train": people.subjects}).save(cache / "split.json")
    words = [
        "method=resdm", "preset=fair", "network.factor=10", "preset.channels=[4,8]", "preset.norm_num_groups=2",
        "preset.epochs=2", "hardware.accelerator=cpu", "data.workers=0", f"data.cache={cache}", f"out={tmp_path / 'o'}",
    ]  # fmt: skip
    config = load_config(words)
    data = load_data(config)
    counted = len({item.case for item in data.train.items})
    steps = total_steps(0, 2, counted, config.preset.global_batch)
    assert len(data.train) > counted == objective(config).images(data)
    assert run(config, data) == 0
    said = capsys.readouterr().out
    assert f"steps: {steps} of {config.preset.global_batch} cases with all their PET (2." in said
    assert checkpoints.latest(tmp_path / "o")[1]["step"] == steps


def test_a_dry_run_counts_the_volumes_that_there_are(tmp_path):
    """Four volumes are asked for; of three there are, two ranks draw two each, after steps 10 and 30."""
    words = ("run.steps=30", "run.validation_volumes=4", "hardware.devices=2", "preset.global_batch=2")
    measured = Measurements({}, 0.0, 100.0, 3, (0, ""))
    told = lines(tiny_config(tmp_path, *words), (), 4, measured)
    assert any("whole run: about 0:06:40" in line for line in told), told
