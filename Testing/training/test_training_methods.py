"""The training's seam: nothing outside a method's folder names one, and checkpoints from before the seam go on."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from training_runs import tiny_config, tiny_data

from training import checkpoints
from training.config import flatten, load_config, typed
from training.errors import ConfigError
from training.loop import run
from training.methods import METHODS, config_class, objective
from training.reports import LOG

TRAINING = Path(__file__).resolve().parents[2] / "training"
#: Words of a method's own that the rest of the training must not know.
OWN = r"\b(rela|rela_latent|ficd|ddpm|latents?|generator_\w+|optimizer_[GD])\b|discriminator|adversarial|NoiseSchedule"


#: Files that may: keys of checkpoints of format 1, a stage that several methods can use, the name of a sampler.
MAY = {"checkpoints.py", "autoencoding.py", "autoencoder_config.py", "commands.py"}


@pytest.mark.parametrize(
    "file", ["methods/base", *sorted(path.stem for path in TRAINING.glob("*.py") if path.name not in MAY)]
)
def test_the_loop_knows_no_method(file):
    text = (TRAINING / f"{file}.py").read_text(encoding="utf-8")
    code = re.sub(r'"""[\s\S]*?"""|#.*', "", text)
    assert not re.findall(OWN, code)


def test_every_choice_of_a_method_loads_and_comes_back_from_a_checkpoint():
    for choices in METHODS.values():
        for choice in choices:
            config = load_config(["data.cache=unused", "out=unused", f"method={choice}"])
            assert type(config) is config_class(choice) and config.method.name == choice
            assert typed(flatten(config)) == config
            assert objective(config).config is config


def test_a_method_that_is_none_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match="method=resdm9 is not one of rela, rela_latent, ficd, ddpm"):
        load_config(["data.cache=unused", "out=unused", "method=resdm9"])


# -- checkpoints of format 1 ----------------------------------------------------------------------------------------


def before_the_seam(path: Path) -> None:
    """Put a checkpoint of a run into the format that the package had before methods had rooms of their own."""
    state = torch.load(path, weights_only=True)
    players, frozen = state.pop("players"), state.pop("objective")
    old = {key: value for key, value in state.items() if key != "format"}
    if "autoencoder" in players:
        coder = players["autoencoder"]
        old = {key: old[key] for key in ("step", "split_sha256", "sampler", "scaler")}
        old |= {"shaping": state["config"], "autoencoder": coder["weights"], "optimizer": coder["optimizer"]}
    else:
        generator = players["generator"]
        old |= {"generator": generator["weights"], "average": generator["average"], "frozen": frozen}
        old |= {"optimizer_G": generator["optimizer"]}
    discriminator = players.get("discriminator", {"weights": {}, "optimizer": {}})
    old |= {"discriminator": discriminator["weights"], "optimizer_D": discriminator["optimizer"]}
    torch.save({"format": 1, **old}, path)


def weights(out: Path) -> dict[str, torch.Tensor]:
    players = checkpoints.latest(out)[1]["players"]
    return {
        f"{name}.{part}.{key}": tensor
        for name, player in players.items()
        for part in ("weights", "average")
        for key, tensor in player[part].items()
    }


@pytest.mark.parametrize("method", ["rela", "ddpm"])
def test_a_run_from_before_the_seam_goes_on_to_the_same_weights(tmp_path, method):
    words = [f"method={method}", "run.checkpoint_every=1", "run.keep_last=9"]
    assert run(tiny_config(tmp_path / "whole", "run.steps=5", *words), tiny_data(), quiet=True) == 0
    assert run(tiny_config(tmp_path / "old", "run.steps=3", *words), tiny_data(), quiet=True) == 0
    for path in checkpoints.saved(tmp_path / "old"):
        before_the_seam(path)
    kept = torch.load(checkpoints.saved(tmp_path / "old")[-1], weights_only=True)
    assert kept["format"] == 1 and ("optimizer_G" in kept) and "players" not in kept
    assert run(tiny_config(tmp_path / "old", "run.steps=5", *words), tiny_data(), quiet=True) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "old")
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "old" / LOG).read_text().splitlines()]
    assert steps == [1, 2, 3, 3, 4, 5, 5]  # the third and the last are validated, too


def test_a_run_from_before_the_seam_is_refused_with_another_configuration(tmp_path, capsys):
    assert run(tiny_config(tmp_path, "run.steps=1"), tiny_data(), quiet=True) == 0
    before_the_seam(checkpoints.saved(tmp_path)[-1])
    assert run(tiny_config(tmp_path, "run.steps=2", "ablation=wo_gp"), tiny_data(), quiet=True) == 2
    assert "ablation.penalty: True -> False" in capsys.readouterr().err


def test_a_damaged_checkpoint_from_before_the_seam_is_one_line(tmp_path, capsys):
    assert run(tiny_config(tmp_path / "run", "run.steps=1"), tiny_data(), quiet=True) == 0
    path = checkpoints.saved(tmp_path / "run")[-1]
    before_the_seam(path)
    state = torch.load(path, weights_only=True)
    for key in ("generator", "optimizer_G", "optimizer_D", "discriminator", "sampler", "frozen", "config"):
        shutil.copytree(tmp_path / "run", tmp_path / key)
        torch.save({k: v for k, v in state.items() if k != key}, checkpoints.saved(tmp_path / key)[-1])
        assert run(tiny_config(tmp_path / key, "run.steps=2"), tiny_data(), quiet=True) == 2
        said = capsys.readouterr().err
        assert path.name in said and said.count("\n") == 1, said
