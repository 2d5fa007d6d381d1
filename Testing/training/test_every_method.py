"""What every method must do, whatever it is: a method is one row of `ROWS`."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import pytest
import torch
from gpu_autocast import GpuAutocast
from lightning_fabric import Fabric
from training_launch import cached
from training_runs import Phantoms, logged, plain_config, same_within, scenario, tensors, tiny_data

from RelAPETLib.cli import main
from RelAPETLib.counted_memory import peak_bytes
from RelAPETLib.devices import PRECISIONS, computing
from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.models import import_model, load_model
from RelAPETLib.synthesis.memory import counted_bytes
from training import checkpoints
from training.export import export_checkpoint
from training.loop import load_data, run
from training.methods import METHODS, folder_of, objective
from training.methods.base import Place
from training.trainer import RunData


@dataclass(frozen=True)
class Row:
    """A method under test.

    Attributes:
        choice: of ``method=``.
        calls: network calls of a sample when nobody says.
        small: words of a small network.
        learner: further words, of the run that learns a phantom by heart.
        steps: of that run.
        player: whose loss must know the MRI.
        listed: network calls that the list of methods says; where None, `calls`.
        coded: it codes whole volumes of a cache first, so that a file of its own tests how it learns.
        factor: of its bundle, the side in mm of the blocks it draws. Discriminators need many blocks, long ways few.
    """

    choice: str
    calls: int
    small: tuple[str, ...]
    learner: tuple[str, ...]
    steps: int
    player: str = "network"
    listed: int | None = None
    coded: bool = False
    factor: int = 10

    @property
    def words(self) -> tuple[str, ...]:
        return (f"method={self.choice}", *self.small)


UNET = (
    "network.channels=[8,16]",
    "network.num_res_blocks=1",
    "network.attention_levels=[false,false]",
    "network.norm_num_groups=1",
    "network.num_head_channels=16",
    "network.cross_attention_dim=16",
)
SCORE = (
    "preset=fair",
    "preset.channels=[8,16]",
    "preset.attention_levels=[false,false]",
    "preset.norm_num_groups=1",
    "preset.learning_rate=3e-3",
)
BY_HEART = ("preset.ema_decay=0.95", "preset.global_batch=1", "run.validation_steps=20")
FLOW = (
    "preset.channels=[8,16]",
    "preset.norm_num_groups=4",
    "preset.num_res_blocks=1",
    "preset.attending_levels=0",
    "preset.num_head_channels=0",
    "preset.learning_rate=5e-3",
)
FLOW_LEARNER = (
    "preset.ema_decay=0.95",
    "preset.global_batch=4",
    "hardware.micro_batch=4",
    "method.image_weight=5",
)
ROWS = [
    Row("rectified_flow", 20, FLOW, FLOW_LEARNER, 250),
    Row("bridge", 14, FLOW, (*FLOW_LEARNER, "method.clinical=false"), 300),
    Row(
        "mri2pet",
        20,
        (
            "preset=fair",
            "preset.channels=[8,16]",
            "preset.norm_num_groups=1",
            "preset.code_width=64",
            "preset.learning_rate=6e-3",
            "pretrain.steps=0",
        ),
        ("preset.ema_decay=0.95", "preset.global_batch=1", "method.laplacian_weight=0.1"),
        200,
        listed=999,
    ),
    Row(
        "rela",
        20,
        (
            *UNET,
            "preset.prediction=x0",
            "preset.adversarial_start_epoch=0",
            "preset.generator_learning_rate=3e-3",
            "preset.discriminator_learning_rate=3e-4",
        ),
        ("preset.ema_decay=0.95", "preset.global_batch=1"),
        150,
        "generator",
    ),
    Row(
        "ldm",
        50,
        (
            "preset=fair",
            "autoencoder.channels=[4,8]",
            "autoencoder.steps=2",
            "network.channels=[8,16]",
            "network.attention_levels=[false,false]",
            "network.num_head_channels=16",
            "network.cross_attention_dim=16",
        ),
        (),
        0,
        "generator",
        coded=True,
    ),
    Row(
        "ddgan",
        4,
        (
            "preset=fair",
            "preset.channels=[8,16]",
            "preset.norm_num_groups=1",
            "preset.discriminator_channels=4",
            "preset.generator_learning_rate=3e-3",
            "preset.discriminator_learning_rate=3e-4",
        ),
        ("preset.ema_decay=0.95", "preset.global_batch=1"),
        100,
        "generator",
    ),
    Row(
        "resdm",
        15,
        ("preset.channels=[8,16]", "preset.norm_num_groups=1", "preset.learning_rate=3e-3"),
        ("preset.ema_decay=0.95", "preset.global_batch=1"),
        150,
    ),
    Row("jdam", 100, SCORE, BY_HEART, 150, listed=2000, factor=20),
    Row(
        "pix2pix",
        1,
        (
            "preset.channels=[8,16]",
            "preset.norm_num_groups=1",
            "preset.dropout=0.1",
            "preset.learning_rate=2e-3",
            "preset.discriminator_channels=4",
            "preset.discriminator_layers=2",
        ),
        ("preset.ema_decay=0.95", "preset.dropout=0"),
        200,
    ),
    Row(
        "diffusion_gan",
        1,
        (
            "preset=fair",
            "preset.channels=[8,16]",
            "preset.norm_num_groups=1",
            "preset.learning_rate=3e-3",
            "preset.discriminator_learning_rate=3e-4",
            "preset.discriminator_channels=4",
            # So that T changes within three steps.
            "method.adjust_every=2",
            "method.target=-1",
            "preset.adaptation_images=60",
        ),
        ("preset.ema_decay=0.95", "preset.global_batch=1"),
        150,
    ),
    Row(
        "transunet",
        1,
        (
            "preset.channels=[8,16]",
            "preset.residual_blocks=[1]",
            "preset.bottleneck=1",
            "preset.decoder_channels=[8,8]",
            "preset.norm_num_groups=1",
            "preset.hidden_size=16",
            "preset.num_layers=1",
            "preset.num_heads=2",
            "preset.mlp_size=32",
            "preset.dropout=0.1",
            "preset.learning_rate=3e-3",
            "network.factor=10",
        ),
        ("preset.ema_decay=0.95", "preset.dropout=0"),
        150,
    ),
    Row(
        "resvit",
        1,
        (
            "preset.channels=[8,16]",
            "preset.art_blocks=2",
            "preset.transformer_blocks=[0,1]",
            "preset.token_halvings=1",
            "preset.norm_num_groups=1",
            "preset.hidden_size=16",
            "preset.num_layers=1",
            "preset.num_heads=2",
            "preset.mlp_size=32",
            "preset.dropout=0.1",
            "preset.convolution_steps=2",
            "preset.learning_rate=2e-3",
            "preset.discriminator_channels=4",
            "preset.discriminator_layers=2",
            "network.factor=10",
        ),
        ("preset.ema_decay=0.95", "preset.dropout=0"),
        150,
    ),
    Row(
        "mtgd",
        100,
        (
            "preset.channels=[8,16]",
            "preset.num_heads=2",
            "preset.norm_num_groups=1",
            "preset.prediction=x0",
            "preset.learning_rate=3e-3",
            "run.warmup_steps=0",
            # A cosine's end moves with the steps that a resumed run is given.
            "run.learning_rate=constant",
        ),
        ("preset.ema_decay=0.95", "preset.guidance=1"),
        150,
        factor=20,
    ),
    Row(
        "scgan",
        1,
        (
            "preset.channels=[8,16,16]",
            "preset.kernels=[3,3,2]",
            "preset.encoder_attention=2",
            "preset.decoder_attention=1",
            "preset.norm_num_groups=1",
            "preset.learning_rate=5e-3",
            "preset.discriminator_channels=4",
            "preset.discriminator_layers=2",
        ),
        ("preset.ema_decay=0.95", "preset.dropout=0"),
        80,
    ),
    Row(
        "cyclegan",
        1,
        (
            "preset.channels=[8,16]",
            "preset.num_res_blocks=1",
            "preset.norm_num_groups=1",
            "preset.end_kernel=3",
            "preset.learning_rate=5e-3",
            "preset.discriminator_channels=4",
            "preset.discriminator_layers=2",
            "preset.pool_size=3",
            "preset.image_weight=100",
        ),
        ("preset.ema_decay=0.95",),
        100,
    ),
    Row("unet_l2", 1, (*UNET, "preset.learning_rate=3e-3"), ("preset.ema_decay=0.95", "preset.global_batch=1"), 150),
]
UNCODED = [row for row in ROWS if not row.coded]
every = pytest.mark.parametrize("row", UNCODED, ids=[row.choice for row in UNCODED])


def test_every_folder_has_a_row():
    assert {folder_of(row.choice) for row in ROWS} == set(METHODS)


class Same(Phantoms):
    """One phantom, whose PET rises where its T1w falls, as often as asked for."""

    def __init__(self, count: int):
        super().__init__(count, shape=(16, 16, 16))

    def __getitem__(self, index: int) -> dict:
        return super().__getitem__(0)


@pytest.mark.slow
@every
def test_it_learns_a_phantom_by_heart(tmp_path, row):
    """Mean PSNR over four draws of other noise, in all of 16 x 16 x 16 voxels."""
    words = [f"run.steps={row.steps}", "run.learning_rate=cosine", "run.log_every=50", "run.validation_volumes=4",
             "run.validation_steps=15", "run.validate_every=9999", "run.checkpoint_every=9999"]  # fmt: skip
    config = plain_config(tmp_path, *row.words, *words, *row.learner)
    assert run(config, RunData(Same(1), Same(4), "0" * 64), quiet=True) == 0
    last = logged(tmp_path)[-1]
    assert last["group"] == "validation" and last["step"] == row.steps and last["psnr"] > 30, last


@pytest.mark.slow
@every
def test_another_persons_mri_makes_its_loss_worse(tmp_path, row):
    """After a short training, at the same places of the stream: the same timesteps and noise."""
    people = Phantoms(6)
    words = ["run.steps=80", "preset.global_batch=3", "hardware.micro_batch=3", "run.validation_volumes=0",
             "run.checkpoint_every=9999"]  # fmt: skip
    config = plain_config(tmp_path, *row.words, *words)
    assert run(config, RunData(people, None, "0" * 64), quiet=True) == 0
    learned, state = objective(config), checkpoints.latest(tmp_path)[1]
    learned.load_state(state["objective"])
    players = learned.build()
    for name, player in players.items():
        player.module.load_state_dict(state["players"][name]["weights"])
    learned.bind(Fabric(accelerator="cpu"), {name: player.module for name, player in players.items()})
    own = torch.utils.data.default_collate([people[n] for n in range(6)])
    others = {**own, "t1w": own["t1w"].roll(1, 0), "t2f": own["t2f"].roll(1, 0)}

    def loss(batch):
        found = [learned.losses(batch, Place(80, 13, list(range(at, at + 6))))[0] for at in range(0, 36, 6)]
        return sum(float(losses[row.player].detach()) for losses in found) / len(found)

    assert loss(others) > 1.1 * loss(own)


@every
def test_it_resumes_bit_by_bit(tmp_path, row):
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        for until in steps:
            config = plain_config(
                tmp_path / name, *row.words, f"run.steps={until}", "run.validate_every=4", "run.validation_volumes=1",
                "run.validation_steps=2", "run.checkpoint_every=2",
            )  # fmt: skip
            assert run(config, tiny_data(3), quiet=True) == 0
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys() and len(whole) > 50
    assert all(torch.equal(whole[place], parts[place]) for place in whole)
    steps = [[line for line in logged(tmp_path / name) if line["group"] == "train"] for name in ("whole", "parts")]
    assert steps[0] == steps[1] and len(steps[0]) == 4
    judged = any(".discriminator." in place for place in whole)
    assert all(("D_gap" in line) == judged for line in steps[0])


@pytest.mark.slow
@every
def test_two_ranks_are_one_rank_with_accumulation(tmp_path, row):
    report = scenario("method", tmp_path, *row.words, "run.steps=3", "run.validation_volumes=0")
    assert report["codes"] == [0, 0, 0], report["told"]
    same_within(logged(tmp_path / "one"), logged(tmp_path / "two"), 1e-3)
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one.keys() == two.keys()
    # Sums in another order change gradients that are zero but for rounding, and Adam makes whole steps of them.
    seen = [place for place in one if ".weights." in place and not place.endswith("bias")]
    seen += [place for place in one if place.startswith(".objective.")]
    assert seen and all(torch.allclose(one[place], two[place], atol=2e-2) for place in seen)


# -- from a cache to a PET ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory, two_people) -> Path:
    """Two scanned people on the whole grid."""
    return cached(tmp_path_factory.mktemp("every_cache"), two_people)


@pytest.fixture(scope="module", params=ROWS, ids=[row.choice for row in ROWS])
def exported(request, cache, tmp_path_factory) -> tuple[Row, Path]:
    """A method's bundle after one step on blocks of `factor` mm."""
    row, out = request.param, tmp_path_factory.mktemp("every") / request.param.choice
    words = [f"data.cache={cache}", f"network.factor={row.factor}", "run.steps=1", "run.validation_volumes=0"]
    config = plain_config(out / "run", *row.words, *words)
    assert run(config, load_data(config), quiet=True) == 0
    name = row.choice.replace("_", "-")
    export_checkpoint(checkpoints.saved(out / "run")[-1], out / "bundle", name=name, licence="LicenseRef-a-test")
    return row, out / "bundle"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=[row.choice for row in ROWS])
def test_it_trains_by_the_autocast_of_a_gpu(cache, tmp_path, row):
    """Every stage and a validation by bf16, the default on GPUs, whose autocast casts what a CPU's does not."""
    words = [f"data.cache={cache}", f"network.factor={row.factor}", "run.steps=1", "run.validation_volumes=1",
             "run.validation_steps=2", "hardware.precision=bf16"]  # fmt: skip
    config = plain_config(tmp_path, *row.words, *words)
    with GpuAutocast() as cast:
        assert run(config, load_data(config), quiet=True) == 0
    assert {"conv3d", "group_norm"} <= cast.seen


def test_its_bundle_says_what_it_is(exported):
    row, bundle = exported
    model = load_model(bundle)
    assert model.metadata["method"]["name"] == folder_of(row.choice)
    defaults = model.method.defaults
    assert type(model.method).default_steps(model.metadata["method"]["settings"]) == row.calls
    assert (defaults.samplers[defaults.sampler] if defaults.samplers else 1) == row.calls


def test_the_program_draws_with_its_own_steps(exported, grid_case, tmp_path):
    row, bundle = exported
    words = ["synthesize", "--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "TAU",
             "--model", bundle, "--out", tmp_path, "--device", "cpu", "--no-report", "--space", "mni"]  # fmt: skip
    assert main(list(map(str, words))) == 0
    record = json.loads((tmp_path / "synthetic_pet.json").read_text(encoding="utf-8"))
    assert record["sampling"]["steps"] == row.calls
    (pet,) = tmp_path.glob("synthetic_pet*.nii.gz")
    made = nib.load(pet).get_fdata()
    assert made.shape == (160, 180, 160) and made.max() > 0


def test_what_it_takes_is_counted_on_tensors_without_values(exported):
    """Close to what lives of the same draw with values, which may go another way through memory on a CPU."""
    method = load_model(exported[1]).method
    own = DrawOptions(method.defaults.sampler, min(2, method.defaults.longest), method.defaults.clip)

    def draw():
        encoded = method.encode(torch.zeros(1, 2, 160, 180, 160))
        method.draw(encoded, 2, 1, own, lambda index, shape: torch.zeros(*shape))

    assert 0.7 < counted_bytes(method, 2, 1, own) / peak_bytes(draw) < 1.4


def test_samples_of_two_tracers_in_one_batch_are_each_tracers_own(exported):
    method = load_model(exported[1]).method
    own = DrawOptions(method.defaults.sampler, min(2, method.defaults.longest), method.defaults.clip)
    mri = torch.rand(1, 2, 160, 180, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        encoded = method.encode(mri)
        both = method.draw(encoded, [1, 2], 2, own, seeded_noise(0, numbers=[0, 0]))
        alone = [method.draw(encoded, label, 1, own, seeded_noise(0))[0] for label in (1, 2)]
    torch.testing.assert_close(both, torch.stack(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_draws_in_bfloat16_too(exported):
    """About the same PET, in float32, by a network that does compute in bfloat16."""
    method = load_model(exported[1]).method
    own = DrawOptions(method.defaults.sampler, min(2, method.defaults.longest), method.defaults.clip)
    mri = torch.rand(1, 2, 160, 180, 160, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = {}
    with torch.inference_mode():
        encoded = method.encode(mri)
        for precision in PRECISIONS:
            with computing(precision, "cpu"):
                drawn[precision] = method.draw(encoded, 2, 1, own, seeded_noise(0))
        with computing("bf16", "cpu"), GpuAutocast() as cast:
            drawn["bf16 of a GPU"] = method.draw(encoded, 2, 1, own, seeded_noise(0))
    assert "conv3d" in cast.seen
    for precision in drawn.keys() - {"fp32"}:
        difference = (drawn[precision] - drawn["fp32"]).abs()
        assert drawn[precision].dtype == torch.float32 and 0 < difference.mean() < 0.05, precision


def test_the_catalogue_lists_it_with_licence_and_steps(exported, tmp_path, monkeypatch, capsys):
    row, bundle = exported
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    import_model(bundle)
    assert main(["models", "list"]) == 0
    name = row.choice.replace("_", "-")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == name]
    assert "LicenseRef-a-test" in line and f"{row.calls} step" in line


def test_the_panel_lists_it_with_licence_steps_and_whether_it_varies(exported, tmp_path, monkeypatch, request):
    row, bundle = exported
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    import_model(bundle)
    panel = request.getfixturevalue("widget")  # opened when the model is there
    panel.parameters.model = row.choice.replace("_", "-")
    said = panel.ui.modelLabel.text
    assert "icence LicenseRef-a-test" in said and f"{row.calls} network call" in said
    same = load_model(bundle).method.defaults.deterministic
    facts = panel.ui.modelFactsLabel.text
    assert ("every sample is the same PET" in facts) == same and ("unless more samples are asked for" in facts) != same


def test_the_training_lists_it(capsys):
    from training.__main__ import main as training

    assert training(["methods"]) == 0
    heading, *lines, left_out = capsys.readouterr().out.splitlines()
    assert all(word in heading for word in ("method", "paper", "network calls", "licence", "needs"))
    choices = [name for names in METHODS.values() for name in names]
    assert [line.split()[0] for line in lines] == choices and not any(" - " in line for line in lines)
    for row in ROWS:
        assert f"  {row.listed or row.calls} " in next(line for line in lines if line.split()[0] == row.choice)
    assert left_out.startswith("NFlow is left out: ") and "harmonises MRI" in left_out and "not describe" in left_out
