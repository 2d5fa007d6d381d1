"""How many weights the methods' presets have, and that each takes a step."""

import importlib
import re
from pathlib import Path

import pytest
import torch
from training_runs import Phantoms

from training.config import load_config
from training.loop import run
from training.methods import METHODS, config_class, objective
from training.methods.fair import FAIR as ALIKE
from training.options import read_words
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
    # A 3-D network with the levels of NCSN++ 128 to 256; two residual blocks each, attention on the fourth.
    ("jdam", "paper"): (157.5e6, 158.5e6),
    ("mtgd", "paper"): (68.5e6, 69.5e6),
}
#: What a step of a preset is spared here: steps before it, transformers' places of the whole grid, two of seven levels.
LESS = {
    ("resvit", "paper"): ("preset.convolution_steps=1", "network.crop=[32,32,32]"),
    ("resvit", "fair"): ("network.crop=[16,16,16]",),
    ("transunet", "paper"): ("network.crop=[32,32,32]",),
    ("transunet", "fair"): ("network.crop=[16,16,16]",),
    ("jdam", "paper"): (
        "preset.channels=[128,128,256,256,256]", "preset.attention_levels=[false,false,false,true,false]",
    ),
}  # fmt: skip
#: So that nothing of a data set has to be measured.
LEAST_NOISE = {"jdam": ("preset.sigma_max=10",)}
RECIPES = sorted((Path(__file__).parents[2] / "training/recipes").glob("*.txt"))
FAIR = [choice for choices in METHODS.values() for choice in choices
        if "fair" in config_class(choice).groups["preset"]]  # fmt: skip


def weights(*words):
    """Of the network that is exported."""
    with torch.device("meta"):
        network, *_ = objective(load_config([*words, "data.cache=memory", "out=unused"])).build().values()
    return sum(p.numel() for p in network.module.parameters())


def section_of(choice):
    """What the README says of a method, on one line."""
    readme = (RECIPES[0].parents[1] / "README.md").read_text(encoding="utf-8")
    return " ".join(next(part for part in readme.split("\n## ") if f"recipes/{choice}.txt" in part).split())


@pytest.mark.parametrize(("choice", "preset"), SIZES)
def test_the_papers_presets_have_their_papers_weights(choice, preset):
    least, most = SIZES[choice, preset]
    assert least <= weights(f"method={choice}", f"preset={preset}") <= most


@pytest.mark.parametrize(
    "choice",
    ["resdm", "mri2pet", "jdam", "pix2pix", "scgan", "cyclegan", "ddgan", "diffusion_gan", "mtgd", "transunet",
     "resvit", "rectified_flow", "bridge"],
)  # fmt: skip
def test_the_readme_says_how_large_the_papers_network_is(choice):
    section = section_of(choice)
    assert f"{weights(f'method={choice}', 'preset=paper') / 1e6:.0f} million" in section
    assert "less than a million" in section


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.stem for recipe in RECIPES])
def test_a_recipe_is_a_configuration(recipe):
    words = read_words([f"@{recipe}"]).overrides
    assert words and load_config([*words, "data.cache=memory", "out=unused"])


def test_every_method_has_a_recipe():
    text = "\n".join(recipe.read_text(encoding="utf-8") for recipe in RECIPES)
    choices = {choice for choices in METHODS.values() for choice in choices}
    assert choices <= set(re.findall(r"method=(\w+)", text))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("resdm", "averaged from the first step on"),
        ("mri2pet", "in [-1, 1]"),
        ("mtgd", "beside its"),
        ("mtgd", "as channels"),
        ("diffusion_gan", "the noisy PET"),
        ("pix2pix", "a constant learning rate unless"),
        ("cyclegan", "a constant learning rate unless"),
        ("resvit", "a constant learning rate unless"),
    ],
)
def test_what_departs_from_the_authors_constants_is_said_to_readers_and_in_bundles(choice, words):
    told = importlib.import_module(f"training.methods.{choice}.objective").DIFFERENCES
    assert any(words in line for line in told) and words in section_of(choice)


@pytest.mark.parametrize("choice", ["resdm", "rectified_flow", "bridge", "mtgd", "mri2pet", "jdam", "ddgan"])
def test_a_bundle_says_that_it_learned_by_an_image_loss_that_its_paper_does_not_have(choice):
    told = []
    for words in ((), ("method.image_weight=0",)):
        words = [f"method={choice}", "preset=fair", "network.factor=10", *LEAST_NOISE.get(choice, ()), *words]
        learned = objective(load_config([*words, "data.cache=memory", "out=unused"]))
        weights = {name: player.module.state_dict() for name, player in learned.build().items()}
        told.append([line for line in learned.bundle(weights, "nobody", 1).differences if "absolute error" in line])
    assert told == [["a mean absolute error of weight 1 joins the loss (paper: none)"], []]


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
        ("bridge", "paper", 16), ("bridge", "fair", 16), ("rela", "paper", 16), ("rela", "fair", 16),
        ("mtgd", "paper", 16), ("mtgd", "fair", 16), ("pix2pix", "paper", 32), ("pix2pix", "fair", 16),
        ("cyclegan", "paper", 24), ("cyclegan", "fair", 16), ("transunet", "paper", 32), ("transunet", "fair", 16),
        ("resvit", "paper", 32), ("resvit", "fair", 16), ("scgan", "paper", 129), ("scgan", "fair", 16),
        ("jdam", "paper", 16), ("jdam", "fair", 16), ("unet_l1", "fair", 16),
    ],
)  # fmt: skip
def test_a_step_of_the_presets_on_a_crop(tmp_path, choice, preset, side):
    batch = 2 if (choice, preset) == ("rela", "paper") else 1  # its discriminator normalises over the batch
    words = [f"method={choice}", f"preset={preset}", "data.cache=memory", f"out={tmp_path}", "run.steps=1",
             "data.workers=0", "hardware.accelerator=cpu", f"preset.global_batch={batch}",
             f"hardware.micro_batch={batch}", "run.validation_volumes=0", *LESS.get((choice, preset), ())]  # fmt: skip
    assert run(load_config(words), RunData(Phantoms(1, shape=(side,) * 3), None, "0" * 64), quiet=True) == 0
