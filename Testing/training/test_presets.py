"""How many weights the methods' presets have, and that each takes a step."""

import pytest
import torch
from training_runs import Phantoms

from training.config import load_config
from training.loop import run
from training.methods import METHODS, config_class, objective
from training.methods.fair import FAIR as ALIKE
from training.trainer import RunData

#: Of networks whose paper's preset has no such count in a test of its own; least and most.
SIZES = {
    # MONAI's U-Net with the levels of the authors' 256 x 256 network has 75.9 million in 3-D.
    ("ddgan", "paper"): (75.9e6, 76.5e6),
    # MONAI's U-Net with the levels 32 to 256 and one attention has 28 million.
    ("diffusion_gan", "paper"): (27.9e6, 28.1e6),
    # The same with the tokens' attention has 28.75 million without the tokens.
    ("resdm", "paper"): (28.75e6, 29.5e6),
    ("rectified_flow", "paper"): (166e6, 167e6),
    ("bridge", "paper"): (68e6, 69e6),
    ("jdam", "paper"): (150e6, 165e6),
}
FAIR = [choice for choices in METHODS.values() for choice in choices
        if "fair" in config_class(choice).groups["preset"]]  # fmt: skip


def weights(*words):
    """Of the network that is exported."""
    with torch.device("meta"):
        network, *_ = objective(load_config([*words, "data.cache=memory", "out=unused"])).build().values()
    return sum(p.numel() for p in network.module.parameters())


@pytest.mark.parametrize(("choice", "preset"), SIZES)
def test_the_papers_presets_have_their_papers_weights(choice, preset):
    least, most = SIZES[choice, preset]
    assert least <= weights(f"method={choice}", f"preset={preset}") <= most


@pytest.mark.parametrize("choice", FAIR)
def test_the_fair_presets_train_alike(choice):
    assert ALIKE.items() <= vars(config_class(choice).groups["preset"]["fair"]).items()


@pytest.mark.parametrize("choice", FAIR)
def test_the_fair_presets_have_less_than_a_million_weights(choice):
    assert weights(f"method={choice}", "preset=fair") < 1e6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "preset", "side"),
    [
        ("ddgan", "paper", 32), ("ddgan", "fair", 16), ("diffusion_gan", "paper", 24), ("diffusion_gan", "fair", 16),
        ("resdm", "paper", 16), ("resdm", "fair", 16), ("rectified_flow", "paper", 16), ("rectified_flow", "fair", 16),
        ("bridge", "paper", 16), ("bridge", "fair", 16),
    ],
)  # fmt: skip
def test_a_step_of_the_presets_on_a_crop(tmp_path, choice, preset, side):
    words = [f"method={choice}", f"preset={preset}", "data.cache=memory", f"out={tmp_path}", "run.steps=1",
             "data.workers=0", "hardware.accelerator=cpu", "preset.global_batch=1",
             "run.validation_volumes=0"]  # fmt: skip
    assert run(load_config(words), RunData(Phantoms(1, shape=(side,) * 3), None, "0" * 64), quiet=True) == 0
