"""The latent form whose generator sees the MRI: its algebra, what it is shown in training, and its bundle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from RelAPETLib.diffusion import sample, seeded_noise
from RelAPETLib.evaluation.ridge import ridge
from RelAPETLib.methods.rela.conditional import ConditionalLatentDiffusion, ModeDenoiser
from RelAPETLib.models import load_model
from RelAPETLib.tracers import TRACERS
from training import checkpoints, loop
from training.__main__ import main
from training.config import load_config
from training.data.cache import open_cache
from training.data.prepare import Options, prepare
from training.data.rendered import rendered_people
from training.data.split import make_split
from training.errors import ConfigError, ResumeError
from training.methods import objective
from training.methods.rela.latent.encoded import Latents
from training.methods.rela.latent.regression import as_registered, left_out_of
from training.methods.rela.latent.stages import FILE, FOLDER
from training.stream import jitter

SCHEDULE = {"kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000}
WORDS = [
    "method=rela_latent", "latent=conditional", "preset.prediction=edm", "network.factor=2", "network.channels=[16,16]",
    "network.attention_levels=[false,false]", "network.num_head_channels=16", "network.norm_num_groups=8",
    "network.num_res_blocks=1", "autoencoder.steps=3", "autoencoder.latent_channels=2", "autoencoder.channels=[8,8]",
    "autoencoder.blocks=4", "autoencoder.norm_num_groups=4", "latent.components=3", "latent.embedding=2",
    "latent.judged=latent", "preset.adversarial_start_epoch=0", "preset.ema_decay=0", "preset.global_batch=4",
    "run.steps=3", "run.validation_volumes=0", "hardware.accelerator=cpu", "hardware.precision=fp32", "data.workers=0",
]  # fmt: skip


@dataclass
class Item:
    """A scan of a data set."""

    tracer: str
    number: int

    @property
    def subject(self) -> str:
        return f"sub-{self.number}"

    case = subject


@dataclass
class Images:
    """As much of a `PetDataset` as a training of modes looks at."""

    items: list


class NeverStop:
    asked = False


def small_network(prediction: str = "edm", local_mri: bool = False) -> ConditionalLatentDiffusion:
    """With modes, head and weights drawn at random."""
    torch.manual_seed(0)
    network = ConditionalLatentDiffusion(
        latent_channels=2,
        autoencoder_channels=(16, 16),
        unet_channels=(16, 16),
        components=3,
        head_features=5,
        brain_voxels=8,
        schedule=SCHEDULE,
        embedding=2,
        prediction=prediction,
        local_mri=local_mri,
    )
    network.mask[40:42, 44:46, 40:42] = 1
    network.mode_directions.copy_(torch.linalg.qr(torch.randn(3, 2400, 3)).Q.mT)
    network.mode_sd.fill_(2)
    network.latent_sd.fill_(1)
    network.head_mean.normal_()
    network.head_components.normal_(0, 0.1)
    network.head_used[1, 0] = 0
    network.score_sd.copy_(torch.rand(3, 2) + 0.5)
    network.residual_scale.copy_(torch.tensor([2.0, 5.0, 9.0]))
    torch.nn.init.normal_(network.unet.mode_network.out.weight, 0, 0.3)
    network.unet.unet.out[2].conv.weight.data.normal_(0, 0.1)  # MONAI starts the last convolution at zero
    return network.eval()


def test_the_mri_changes_the_answer_along_the_modes_alone():
    network = small_network()
    x, timesteps, labels = torch.randn(2, 2, 10, 12, 10), torch.tensor([300, 700]), torch.tensor([0, 2])

    def answer(embedding: torch.Tensor) -> torch.Tensor:
        channels = embedding[:, :, None, None, None].expand(-1, -1, 10, 12, 10)
        with torch.no_grad():
            return network.unet(torch.cat([x, channels], 1), timesteps, class_labels=labels)

    change = (answer(torch.randn(2, 6)) - answer(torch.zeros(2, 6))).flatten(1)
    directions = network.mode_directions[labels]
    along = torch.einsum("nkl,nl->nk", directions, change)
    assert along.norm() > 0.1
    torch.testing.assert_close(torch.einsum("nk,nkl->nl", along, directions), change, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("prediction", ["edm", "v", "x0"])
def test_the_head_moves_the_clean_estimate_and_nothing_else(prediction):
    """With z = head + r, the estimate of z from z_t is the head plus that of r from r_t."""
    network = small_network(prediction)
    labels, timesteps, scores = torch.tensor([1]), torch.tensor([420]), torch.randn(1, 3, 3)
    z_t = torch.randn(1, 2, 10, 12, 10)
    encoded = scores.flatten(1)
    head = network.head_latent(encoded, labels)
    signal, _ = network.schedule.rates_like(z_t, timesteps)
    embedding = (scores[:, :, :2] / network.score_sd).flatten(1)[:, :, None, None, None].expand(-1, -1, 10, 12, 10)
    with torch.no_grad():
        r_t = z_t - signal * head
        seen = network.parametrization.network_input(r_t, timesteps)
        output = network.unet(torch.cat([seen, embedding], 1), timesteps, class_labels=labels)
        expected = head + network.parametrization.clean(r_t, output, timesteps)
        torch.testing.assert_close(network.denoise(z_t, encoded, timesteps, labels), expected)
        noise = network.predict_noise(z_t, encoded, timesteps, labels)
    torch.testing.assert_close(network.schedule.add_noise(expected, noise, timesteps), z_t, rtol=1e-4, atol=1e-4)


def test_differences_are_decoded_in_units_of_their_tracers_sd():
    network = small_network()
    z = torch.randn(1, 2, 10, 12, 10).expand(3, -1, -1, -1, -1)
    labels = torch.arange(3)
    network.mode_sd.fill_(1)
    with torch.no_grad():
        found = network.decode_inner(z, labels)
    torch.testing.assert_close(found[0] * 2, found[2] * 9, rtol=1e-4, atol=1e-6)
    assert found.abs().max() > 0


def test_scores_in_training_are_those_of_a_head_without_the_person():
    """A person's score of each tracer comes from the fit to all others with that tracer; checked by fitting again."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((9, 4))
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    cases = ["a", "b", "c", "d", "e", "a", "b", "c", "f"]
    features[5:8] = features[:3]
    targets = {0: rng.standard_normal((5, 1)), 1: rng.standard_normal((4, 1))}
    scores, own = torch.zeros(9, 2, 1), torch.zeros(9, 1)
    for label, target in targets.items():
        rows = labels == label
        weights, left_out, _ = ridge(features[rows], target)
        scores[:, label] = torch.from_numpy(features @ weights.T).float()
        own[torch.from_numpy(rows)] = torch.from_numpy(left_out).float()
    found = left_out_of(scores, own, labels, cases)
    assert torch.equal(found[0], found[5])  # two scans of "a"
    assert found[0, 1] == own[5] and found[5, 0] == own[0]
    assert torch.equal(found[3, 1], scores[3, 1])  # "d" was not scanned with the second tracer
    assert torch.equal(found[8, 0], scores[8, 0]) and found[8, 1] == own[8]


def test_the_unet_sees_the_mri_around_a_place_and_no_more_of_it():
    torch.manual_seed(0)
    network = small_network(local_mri=True)
    x, timesteps, labels = torch.randn(1, 2 + 6 + 24, 10, 12, 10), torch.tensor([500]), torch.tensor([1])
    network.mode_directions.zero_()
    other = x.clone()
    other[:, 8:, 1, 1, 1] += 5
    with torch.no_grad():
        change = network.unet(other, timesteps, class_labels=labels) - network.unet(x, timesteps, class_labels=labels)
    assert change[..., 1, 1, 1].abs().max() > 10 * change[..., 8, 10, 8].abs().max() > 0  # GroupNorm reaches everywhere


def test_an_encoded_condition_comes_apart_again():
    network = small_network(local_mri=True)
    scores, features = torch.randn(2, 3, 3), torch.randn(2, 24, 10, 12, 10)
    found = network.parts(network.encoded_of(scores, features))
    assert torch.equal(found[0], scores) and torch.equal(found[1], features)


def test_modes_are_judged_where_they_are_trained(tmp_path):
    """Algorithm 1 on coordinates: its terms, its discriminator, and the moving average that is handed on."""
    from lightning_fabric import Fabric

    from training.methods.base import Work
    from training.methods.rela.latent.encoded import LatentDataset
    from training.methods.rela.latent.modes import trained_modes
    from training.trainer import RunData

    network, items = small_network(), [Item("TAU", k) for k in range(4)]
    coded = LatentDataset(Latents(torch.randn(4, 2, 10, 12, 10), torch.randn(4, 6, 1, 1, 1)), Images(items), False)
    words = ["latent.judged=modes", "latent.mode_steps=3", "latent.mode_batch=4", "preset.ema_decay=0.5"]
    words += ["run.log_every=1", "data.cache=c", f"out={tmp_path}"]
    config = load_config([*WORDS, *words])
    work = Work(Fabric(accelerator="cpu", devices=1), RunData(None, None, "split"), NeverStop(), quiet=True)
    found = trained_modes(work, config, coded, network.mode_directions, "key")
    logged = (tmp_path / "modes" / "log.jsonl").read_text().splitlines()
    assert len(logged) == 3 and all(f'"{term}"' in logged[0] for term in ("L_N", "L_I", "L_R", "L_R_D", "L_G"))
    saved = checkpoints.latest(tmp_path / "modes")[1]["players"]["generator"]
    assert all(torch.equal(found[name], saved["average"][name]) for name in found)
    assert any(not torch.equal(found[name], saved["weights"][name]) for name in found)
    again = trained_modes(work, config, coded, network.mode_directions, "key")
    assert all(torch.equal(found[name], again[name]) for name in found)
    with pytest.raises(ResumeError, match="another configuration"):
        trained_modes(work, config, coded, network.mode_directions, "other key")
    other = load_config([*WORDS, *words, "run.learning_rate=cosine"])
    with pytest.raises(ResumeError, match="run.learning_rate: constant -> cosine"):
        trained_modes(work, other, coded, network.mode_directions, "key")
    path, earlier = checkpoints.latest(tmp_path / "modes")
    del earlier["config"]["run.learning_rate"]  # as versions wrote it that did not look
    checkpoints.save(path, earlier)
    again = trained_modes(work, other, coded, network.mode_directions, "key")
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_half_of_the_people_are_shown_as_registered():
    """The differences' own mean must not become what a regression takes for granted."""
    features = {f"case-{k}": torch.full((2,), float(k)) for k in range(400)}
    found = as_registered(features, [torch.tensor([0.25, 0.5]), torch.tensor([0.75, 1.5])], seed=3)
    change = torch.stack([found[case] - feature for case, feature in features.items()])
    share = (change[:, 0] > 0).float().mean()
    assert abs(share - 0.5) < 0.08 and set(change[:, 0].tolist()) == {0.0, 0.25, 0.75}
    assert torch.equal(change[:, 1], 2 * change[:, 0])  # a difference is somebody's whole
    assert as_registered(features, [], seed=3) is features


def test_jitter_follows_from_the_position_alone():
    together, alone = jitter(3, [7, 8], (6, 1, 1, 1), "cpu"), jitter(3, [8], (6, 1, 1, 1), "cpu")
    assert torch.equal(together[1:], alone) and not torch.equal(together[0], together[1])
    assert abs(float(jitter(0, list(range(500)), (6,), "cpu").std()) - 1) < 0.05


@pytest.mark.parametrize(
    "words, reason",
    [
        (["preset.prediction=noise"], "samples by clean estimates"),
        (["preset.first_timestep=1"], "counts timesteps from 0"),
        (["latent.embedding=4"], "there are only latent.components=3 scores"),
        (["preset.zero_terminal_snr=true"], "works on the plain schedule"),
        (["autoencoder.blocks=1", "autoencoder.channels=[8]"], "must be even"),
        (["latent.judged=modes"], "only latent=conditional with latent.mode_steps trains modes"),
        (["latent=autoencoded", "latent.targets=regions"], "latent.targets is for latent=regression or"),
        (["latent.judged=nobody"], "is not one of image, latent, modes"),
    ],
)
def test_what_cannot_be_is_refused(words, reason):
    with pytest.raises(ConfigError, match=reason):
        load_config([*WORDS, *words, "data.cache=c", "out=o"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "factor, words",
    [
        (2, []),
        (2, ["latent.local_mri=true", "latent.mode_steps=3", "latent.mode_batch=4"]),
        (
            10,
            [
                "latent.local_mri=true",
                "latent.targets=regions",
                "network.factor=10",
                "autoencoder.blocks=2",
                "autoencoder.channels=[8]",
            ],
        ),
    ],
)
def test_a_bundle_draws_what_the_trained_generator_does(tmp_path, factor, words):
    """From people to a bundle with every term of Algorithm 1; the bundle reads the MRI itself."""
    cache, out = tmp_path / "cache", tmp_path / "run"
    prepare(rendered_people(10, 4), cache, Options(factor=factor))
    make_split(open_cache(cache).subjects, seed=0, fractions=(0.9, 0.1, 0)).save(cache / "split.json")
    config = load_config([*WORDS, *words, f"data.cache={cache}", f"out={out}"])
    data = loop.load_data(config)
    assert loop.run(config, data, quiet=True) == 0
    line = (out / "log.jsonl").read_text().splitlines()[0]
    assert all(f'"{term}"' in line for term in ("L_N", "L_I", "L_R", "L_R_D", "L_G"))
    command = ["export", "--checkpoint", str(checkpoints.saved(out)[-1]), "--out", str(tmp_path / "bundle")]
    assert main([*command, "--name", "patient"]) == 0
    model = load_model(tmp_path / "bundle")
    item, coded = data.validation[0], Latents(**checkpoints.load(out / FOLDER / FILE)["validation"])
    mri = torch.cat([item["t1w"], item["t2f"]])[None]
    fine = torch.nn.functional.interpolate(mri, scale_factor=factor, mode="nearest")
    encoded = model.method.encode(fine)
    label = TRACERS[item["tracer"]].label
    network = model.method.network
    scores, local = network.parts(encoded)
    torch.testing.assert_close(network.embedded(scores), coded.mri[:1, :, 0, 0, 0], rtol=1e-3, atol=1e-3)
    channels = coded.seen(0)[None].expand(-1, -1, *network.diffusion_shape[1:])
    torch.testing.assert_close(local, channels[:, coded.mri.shape[1] :], rtol=1e-2, atol=1e-2)
    if "latent.mode_steps=3" in words:
        modes = checkpoints.exported_weights(checkpoints.latest(out / "modes")[1])["generator"]
        assert all(torch.equal(network.unet.mode_network.state_dict()[name], modes[name].float()) for name in modes)

    generator: ModeDenoiser = network.unet

    def clean(x_t, t):
        seen = torch.cat([network.parametrization.network_input(x_t, t), channels], 1)
        output = generator(seen, t, class_labels=torch.tensor([label]))
        return network.parametrization.clean(x_t, output, t)

    rest = sample(clean, coded.x0[:1].shape, network.schedule, gives="clean", steps=4, noise=seeded_noise(1))
    with torch.inference_mode():
        expected = network.decode(rest + coded.base[:1], torch.tensor([label]))
    options = model.method.defaults
    assert options.samplers["dpmpp"] > 0
    from RelAPETLib.methods.base import DrawOptions

    head = network.head_latent(encoded, torch.tensor([label]))

    def shifted(index, shape):  # z_T = r_T + signal * head, so that both start from the same r_T
        return seeded_noise(1)(index, shape) + network.schedule.alphas_cumprod[-1].sqrt() * head

    found = model.method.draw(encoded, label, 1, DrawOptions("dpmpp", 4, None), shifted)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=2e-3)
    assert (Path(tmp_path) / "bundle" / "configs" / "metadata.json").read_text().count("judges latents") == 1
    # The objective alone, without its coded data, draws the same in its own voxels.
    state = checkpoints.latest(out)[1]
    learned = objective(config)
    learned.config.run.validation_steps = 4
    learned.load_state(state["objective"])
    modules = {name: player.module for name, player in learned.build().items()}
    modules["generator"].load_state_dict(checkpoints.exported_weights(state)["generator"])
    learned.bind(Fabric(accelerator="cpu"), modules)
    batch = {"t1w": item["t1w"][None], "t2f": item["t2f"][None], "label": torch.tensor([label])}
    with torch.inference_mode():
        own = network.decode_inner(rest + coded.base[:1], torch.tensor([label])) * 2 - 1
        torch.testing.assert_close(learned.draw(batch, seeded_noise(1)), own, rtol=1e-2, atol=5e-3)
