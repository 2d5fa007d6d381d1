"""Known answers of MRI2PET: its schedule, losses, style, conditioning and pre-training."""

import json
import shutil

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional
from training_cases import simulated
from training_launch import cached
from training_runs import Phantoms, batch_of, fresh_objective, plain_config, tensors, tiny_data

from RelAPETLib.diffusion import NoiseSchedule, Parametrization, seeded_noise, select_timesteps
from RelAPETLib.methods.mri2pet import MRI2PET
from RelAPETLib.methods.mri2pet.network import ConditionedUNet, LinearAttention, time_code
from RelAPETLib.methods.mri2pet.sampling import draw
from training import checkpoints, loop
from training.__main__ import main
from training.config import load_config
from training.data.cache import open_cache, write_index
from training.data.prepare import Options, prepare
from training.data.rendered import rendered_people
from training.data.split import FILE, explicit_split
from training.errors import ConfigError
from training.faults import StopRequest
from training.header import header
from training.loop import load_data, run
from training.methods import objective
from training.methods.base import Place
from training.methods.mri2pet.losses import laplacian, laplacian_pyramid
from training.methods.mri2pet.pretraining import FOLDER, NAME, OnePerCase, StyledMri, mri_of
from training.methods.mri2pet.style import features, filled, filters, moments, styled, volume_of
from training.precision import chosen
from training.rehearsal import rehearse
from training.trainer import RunData

SCHEDULE = NoiseSchedule("linear", 0.0015, 0.02, 1000)
SMALL = (
    "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.attention_heads=2", "preset.attention_head_channels=4",
    "preset.vector_channels=[4,4]", "preset.vector_grid=[2,2,2]", "preset.code_width=16",
)  # fmt: skip
WORDS = ("method=mri2pet", "preset=fair", *SMALL, "run.validation_volumes=0", "pretrain.steps=0")


def configured(*words):
    return load_config(["data.cache=memory", "out=unused", *WORDS, *words])


# -- schedule and sampler -------------------------------------------------------------------------------------------


def test_the_schedule_is_the_papers():
    found = [float(SCHEDULE.alphas_cumprod[t]) for t in (0, 499, 999)]
    assert found == pytest.approx([0.9985, 0.046356, 1.99397e-5], rel=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "v", "x0"])
@pytest.mark.parametrize("sampler", ["ancestral", "dpmpp", "unipc", "ddim", "ddpm"])
def test_a_perfect_network_gives_the_pet_and_is_never_asked_at_0(sampler, prediction):
    x0, asked = torch.rand(2, 1, 3, 4, 5) * 2 - 1, []

    def perfect(x_t, t):
        asked.append(int(t[0]))
        a, s = SCHEDULE.rates_like(x_t, t)
        return told.target(x0, (x_t - a * x0) / s, t)

    told = Parametrization(SCHEDULE, prediction)
    made = draw(perfect, x0.shape, told, sampler, 20, seeded_noise(3), None, "cpu")
    torch.testing.assert_close(made, x0, atol=1e-3, rtol=0)
    assert len(asked) == 20 and asked[0] == 999 and asked[-1] == 1
    assert asked == select_timesteps(SCHEDULE, 20, "logsnr", 1)


def test_all_steps_visit_every_trained_timestep():
    assert select_timesteps(SCHEDULE, 999, "logsnr", 1) == list(range(999, 0, -1))
    assert select_timesteps(SCHEDULE, 999, "trailing", 1) == list(range(999, 0, -1))


def test_a_step_of_the_own_sampler_is_the_papers():
    """(x - beta / sqrt(1 - abar) eps) / sqrt(alpha) + sqrt(beta) z, from one timestep to the next below it."""
    seen = {}

    def remember(x_t, t):
        seen[int(t[0])] = x_t.clone()
        return eps

    eps, source = torch.randn(1, 1, 2, 2, 2), seeded_noise(5)
    asked = [source(n, (1, 1, 2, 2, 2)) for n in range(2)]
    draw(remember, eps.shape, Parametrization(SCHEDULE), "ancestral", 999, seeded_noise(5), None, "cpu")
    beta, abar = SCHEDULE.betas[999], SCHEDULE.alphas_cumprod[999]
    expected = (asked[0] - beta / (1 - abar).sqrt() * eps) / (1 - beta).sqrt() + beta.sqrt() * asked[1]
    torch.testing.assert_close(seen[998], expected, atol=1e-4, rtol=1e-4)


# -- losses ---------------------------------------------------------------------------------------------------------


def test_the_pyramid_has_the_papers_levels_and_no_level_of_a_constant():
    volume = torch.randn(1, 1, 128, 128, 128)
    assert [band.shape[-1] for band in laplacian_pyramid(volume)] == [128, 64, 32, 16, 8]
    assert float(laplacian(volume, volume)) == 0
    assert float(laplacian(volume + 0.7, volume)) < 1e-10
    assert float(laplacian(volume * 1.5, volume)) > 0.1


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 3, 2), (1, 1, 1)])
def test_the_pyramid_takes_sides_that_cannot_be_halved(shape):
    volume = torch.randn(2, 1, *shape)
    assert len(laplacian_pyramid(volume)) == 5 and float(laplacian(volume + 3, volume)) < 1e-10


def test_the_loss_is_the_weighted_sum_and_t_is_never_0():
    config = configured("method.timesteps=2", "method.image_weight=2", "preset.sampler_steps=1")
    learned = fresh_objective(config)
    asked, people = [], Phantoms(4)
    network = learned.modules["network"]
    network.register_forward_pre_hook(lambda module, given: asked.append(given[2]))
    batch = batch_of(people, *range(4))
    losses, terms = learned.losses(batch, Place(0, 0, [0, 1, 2, 3]))
    torch.testing.assert_close(losses["network"], terms["L_eps"] + 0.25 * terms["L_Lap"] + 2 * terms["L_I"])
    assert asked[0].tolist() == [1, 1, 1, 1]


# -- conditioning ---------------------------------------------------------------------------------------------------


def network(**arguments):
    torch.manual_seed(0)
    small = {"factor": 10, "channels": [4, 8, 8], "attention_heads": 2, "attention_head_channels": 4, "code_width": 16}
    return ConditionedUNet(**{**small, "vector_channels": [4, 4], **arguments}).eval()


def inputs(count=3):
    generator = torch.Generator().manual_seed(1)
    x_t, mri = (torch.rand(count, c, 16, 18, 16, generator=generator) * 2 - 1 for c in (1, 2))
    return x_t, mri, torch.arange(count) * 300 + 1, torch.arange(count)


def test_in_vector_mode_the_mri_counts_by_its_vector_alone():
    unet, (x_t, mri, t, labels) = network(), inputs()
    with torch.no_grad():
        own, others = unet(x_t, mri, t, labels), unet(x_t, mri.roll(1, 0), t, labels)
        vector = unet.vector_of(mri)
        assert vector.shape == (3, 16) and (own - others).abs().max() > 1e-5
        torch.testing.assert_close(unet(x_t, torch.zeros_like(mri), t, labels, vector), own)
        torch.testing.assert_close(unet(x_t, mri, t, labels, vector.roll(1, 0)), others)


@pytest.mark.parametrize("conditioning", ["vector", "spatial", "both"])
def test_mri_time_and_tracer_count(conditioning):
    unet, (x_t, mri, t, labels) = network(conditioning=conditioning), inputs()
    assert (unet.vector is None) == (conditioning == "spatial")
    with torch.no_grad():
        own = unet(x_t, mri, t, labels)
        others = [unet(x_t, -mri, t, labels), unet(x_t, mri, t + 5, labels), unet(x_t, mri, t, labels.roll(1))]
        assert own.shape == x_t.shape and all((own - other).abs().max() > 1e-6 for other in others)
        vector = unet.vector_of(mri)
        if conditioning != "vector":
            assert (unet(x_t, -mri, t, labels, vector) - own).abs().max() > 1e-5


def test_linear_attention_is_the_sum_over_all_voxels():
    attention = LinearAttention(4, 2, 3).eval()
    x = torch.randn(1, 4, 2, 3, 2)
    q, k, v = attention.to_qkv(x).reshape(3, 2, 3, 12).unbind(0)
    q, k = q.softmax(1) / 3**0.5, k.softmax(2)
    similarity = torch.einsum("hdi,hdj->hij", q, k)  # what a quadratic attention would keep
    found = torch.einsum("hij,hej->hei", similarity, v).reshape(1, 6, 2, 3, 2)
    torch.testing.assert_close(attention(x), attention.to_out(found))


def test_the_time_code_has_waves_up_to_base_1000():
    code = time_code(torch.tensor([0, 7]), 4)
    assert code[0].tolist() == [0, 0, 1, 1]
    angles = torch.tensor([7.0, 7 / 1000**0.5])
    torch.testing.assert_close(code[1], torch.cat([angles.sin(), angles.cos()]))


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [
        (["preset=paper"], 27e6, 27.3e6),
        (["preset=paper", "network.factor=2"], 9.9e6, 10e6),
        (["preset=fair"], 5e5, 1e6),
    ],
)
def test_the_presets_sizes(words, least, most):
    """Of the paper's 27 million weights, 19.7 are the first dense layer of the vector, on the whole 1 mm grid."""
    config = load_config(["method=mri2pet", *words, "data.cache=memory", "out=unused"])
    with torch.device("meta"):
        unet = ConditionedUNet(**objective(config).arguments(4))
    assert least <= sum(p.numel() for p in unet.parameters()) <= most


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "fair"])
def test_a_step_of_the_presets_on_a_crop(tmp_path, preset):
    words = ["method=mri2pet", f"preset={preset}", "network.crop=[16,16,16]", "run.steps=1", "pretrain.steps=1",
             "preset.global_batch=1"]  # fmt: skip
    assert (
        run(plain_config(tmp_path, *words), RunData(Phantoms(2, shape=(16, 16, 16)), None, "0" * 64), quiet=True) == 0
    )


def test_the_paper_draws_by_its_own_sampler():
    settings = {"arguments": {}, "schedule": {}, "sampler": {"name": "ancestral", "steps": 999}}
    assert MRI2PET.default_steps(settings) == 999
    config = load_config(["method=mri2pet", "data.cache=memory", "out=unused"])
    assert (config.preset.sampler, config.preset.sampler_steps, config.conditioning) == ("ancestral", 999, "vector")


# -- style ----------------------------------------------------------------------------------------------------------


def test_the_features_are_orthonormal_and_can_be_undone():
    kernels = filters().flatten(1)
    torch.testing.assert_close(kernels @ kernels.T, torch.eye(27), atol=1e-6, rtol=0)
    volume = torch.randn(2, 1, 5, 6, 7)
    torch.testing.assert_close(volume_of(features(volume)), volume, atol=1e-5, rtol=0)


def test_styled_mri_has_the_pets_statistics_and_its_own_anatomy():
    generator = torch.Generator().manual_seed(2)
    rough = torch.randn(1, 1, 20, 20, 20, generator=generator)
    mri = (0.2 * rough).clamp(-1, 1)
    smooth = functional.avg_pool3d(torch.randn(1, 1, 20, 20, 20, generator=generator), 5, 1, 2)
    pet = (0.3 + smooth).clamp(-1, 1)
    brain = torch.zeros_like(mri, dtype=torch.bool)
    brain[:, :, 2:-2, 2:-2, 2:-2] = True
    made = styled(mri, brain, pet, brain)
    assert (made[~brain] == -1).all() and made.abs().max() <= 1
    assert float(made[brain].mean()) == pytest.approx(float(pet[brain].mean()), abs=0.02)
    # As smooth as the PET: the SD of the features of detail are nearer to the PET's than the MRI's were.
    sds = [moments(features(filled(volume, brain)), brain)[1].flatten()[1:] for volume in (made, pet, mri)]
    assert (sds[0] - sds[1]).abs().mean() < 0.3 * (sds[2] - sds[1]).abs().mean()
    at_home = torch.corrcoef(torch.stack([made[brain], functional.avg_pool3d(mri, 3, 1, 1)[brain]]))[0, 1]
    elsewhere = torch.corrcoef(torch.stack([made[brain], pet[brain]]))[0, 1]
    assert at_home > 0.5 and at_home > elsewhere.abs() + 0.3


def test_styled_by_itself_an_image_stays_what_it_is():
    mri = torch.rand(1, 1, 9, 9, 9) - 0.5
    brain = torch.ones_like(mri, dtype=torch.bool)
    torch.testing.assert_close(styled(mri, brain, mri, brain), mri, atol=1e-5, rtol=0)


def test_the_style_follows_from_seed_and_place():
    people = Phantoms(5)
    styles = StyledMri(people, people, seed=4)
    assert torch.equal(styles[2, 17]["style"], styles[2, 17]["style"])
    subjects = {int(styles[2, place]["label"]) for place in range(20)}
    assert len(subjects) == 3 and styles[2, 0]["subject"] == "sub-02"
    assert torch.equal(styles[2, 0]["t1w"], people[2]["t1w"])


# -- pre-training ---------------------------------------------------------------------------------------------------

TRAINED = (*WORDS, "pretrain.steps=4", "run.steps=2", "run.checkpoint_every=2")


def test_a_pre_training_that_is_stopped_goes_on_bit_by_bit(tmp_path, monkeypatch):
    """The stage is ended by a stop request after two steps, and the run after its first checkpoint."""
    asked = []

    class StopAt(StopRequest):
        """A request that comes at the second and at the fifth look, over all runs."""

        asked = property(lambda self: asked.append(0) or len(asked) in (2, 5), lambda self, value: None)

    assert run(plain_config(tmp_path / "whole", *TRAINED), tiny_data(3), quiet=True) == 0
    codes = []
    with monkeypatch.context() as patched:
        patched.setattr(loop, "StopRequest", StopAt)
        for _ in range(3):
            codes.append(run(plain_config(tmp_path / "parts", *TRAINED), tiny_data(3), quiet=True))
    assert codes == [75, 75, 0]
    for below in (".", FOLDER):
        whole, parts = tensors(tmp_path / "whole" / below), tensors(tmp_path / "parts" / below)
        assert whole.keys() == parts.keys() and len(whole) > 50
        assert all(torch.equal(whole[place], parts[place]) for place in whole)


def test_the_training_starts_from_the_pre_trained_weights_with_a_fresh_optimiser(tmp_path):
    words = (*TRAINED, "preset.learning_rate=1e-9")  # so that a step of training hardly moves them
    assert run(plain_config(tmp_path / "a", *words), tiny_data(3), quiet=True) == 0
    before = checkpoints.exported_weights(checkpoints.latest(tmp_path / "a" / FOLDER)[1])["network"]
    after = checkpoints.latest(tmp_path / "a")[1]["players"]["network"]
    for name, tensor in before.items():
        torch.testing.assert_close(after["weights"][name], tensor, atol=1e-7, rtol=0)
    steps = {int(state["step"]) for state in after["optimizer"]["state"].values()}
    assert steps == {2}


def test_the_pre_training_does_without_the_t2f_as_the_training(tmp_path, capsys):
    """Where every image loses it, another T2-FLAIR leads to the same weights."""

    class Turned(Phantoms):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return {**item, "t2f": item["t2f"].flip(1)}

    def pre_trained(out, people, share):
        config = plain_config(out, *WORDS, "pretrain.steps=2", "run.steps=1", f"data.drop_t2f={share}")
        return run(config, RunData(people(4), None, "0" * 64), quiet=True)

    found = {}
    for share in ("1", "0"):
        for people in (Phantoms, Turned):
            out = tmp_path / f"{share}-{people.__name__}"
            assert pre_trained(out, people, share) == 0
            state = checkpoints.latest(out / FOLDER)[1]
            found[share, people] = checkpoints.exported_weights(state)["network"]
    same = {s: all(torch.equal(w, found[s, Turned][n]) for n, w in found[s, Phantoms].items()) for s in ("1", "0")}
    assert same == {"1": True, "0": False}
    shutil.rmtree(out / checkpoints.FOLDER)  # the training has not begun
    assert pre_trained(out, Turned, "0.5") == 2 and "data.drop_t2f: 0.0 -> 0.5" in capsys.readouterr().err
    path, earlier = checkpoints.latest(out / FOLDER)
    del earlier["config"]["data.drop_t2f"]  # as versions wrote it whose stage saw every T2-FLAIR
    checkpoints.save(path, earlier)
    assert pre_trained(out, Turned, "0.5") == 0


def test_another_runs_pre_training_is_taken_and_checked(tmp_path):
    data = tiny_data(3)
    assert run(plain_config(tmp_path / "a", *TRAINED), data, quiet=True) == 0
    taken = [w for w in TRAINED if not w.startswith("pretrain")] + [f"method.pretrained={tmp_path / 'a'}"]
    assert run(plain_config(tmp_path / "b", *taken), data, quiet=True) == 0
    a, b = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    assert a.keys() == b.keys() and all(torch.equal(a[place], b[place]) for place in a)
    assert not (tmp_path / "b" / FOLDER).exists()


@pytest.mark.parametrize(
    ("more", "hashes", "why"),
    [
        (("method.pretrained=nowhere",), "00", "method.pretrained=nowhere: no pre-training there"),
        (("preset.channels=[4,4]",), "00", "not the network that the configuration describes"),
        ((), "10", "styled by PET of another split"),
        ((), "01", "trained on another cache"),
    ],
)
def test_a_pre_training_that_does_not_fit_is_refused(tmp_path, capfd, more, hashes, why):
    split, volumes = (digit * 64 for digit in hashes)
    theirs = RunData(Phantoms(3), None, "0" * 64, volumes_sha256="0" * 64)
    assert run(plain_config(tmp_path / "a", *TRAINED), theirs, quiet=True) == 0
    taken = [w for w in TRAINED if not w.startswith("pretrain")] + [f"method.pretrained={tmp_path / 'a'}", *more]
    data = RunData(Phantoms(3), None, split, volumes_sha256=volumes)
    assert run(plain_config(tmp_path / "b", *taken), data, quiet=True) == 2
    assert why in capfd.readouterr().err


def test_header_and_dry_run_tell_of_the_pre_training(tmp_path):
    config, data = plain_config(tmp_path, *TRAINED), tiny_data(3)
    learned = objective(config)
    (stage,) = learned.trainings_before()
    assert (stage.name, stage.steps) == (NAME, 4)
    lines = "\n".join(header(learned, data, "cpu", 1, chosen("fp32", "cpu")))
    assert f"{NAME} " in lines
    measured = rehearse(Fabric(accelerator="cpu"), config, data)
    assert measured.stages[NAME] > 0 and not list(tmp_path.iterdir())
    assert objective(plain_config(tmp_path, *WORDS)).trainings_before() == []


@pytest.fixture(scope="module")
def people(tmp_path_factory, eight_people):
    """A cache of three simulated people with PET and one of two others' MRI alone, in blocks of 10 mm."""
    folder = tmp_path_factory.mktemp("people")
    simulated(folder / "pairs", 3, eight_people)
    prepare(rendered_people(2, 6), folder / "mri", Options(factor=10, mri_only=True))
    everybody = open_cache(folder / "pairs").subjects
    explicit_split(everybody, {"train": everybody[:2], "test": everybody[2:]}).save(folder / "pairs" / FILE)
    return folder


def test_pretrain_runs_the_stage_alone_over_mri_alone_and_train_takes_it(people, tmp_path, capsys):
    shared = [word for word in WORDS if not word.startswith("pretrain")]
    shared += [f"data.cache={people / 'pairs'}", "network.factor=10", "run.steps=1", "data.workers=0"]
    shared += ["hardware.accelerator=cpu"]
    own = [*shared, f"pretrain.cache={people / 'mri'}", "pretrain.steps=2", f"out={tmp_path / 'before'}"]
    assert main(["pretrain", *own]) == 0
    said = capsys.readouterr().out
    assert "2 steps on 2 MRI" in said and f"method.pretrained={tmp_path / 'before'}" in said
    assert not checkpoints.saved(tmp_path / "before") and (tmp_path / "before" / "config.txt").is_file()
    start = json.loads((tmp_path / "before" / "starts.jsonl").read_text())
    assert start["command"][:4] == ["python", "-m", "training", "pretrain"]
    assert main(["pretrain", *own]) == 0  # there is nothing left to do
    after = [*shared, f"method.pretrained={tmp_path / 'before'}", f"out={tmp_path / 'after'}"]
    assert main(["train", *after, "preset.learning_rate=1e-9"]) == 0
    weights = checkpoints.exported_weights(checkpoints.latest(tmp_path / "before" / FOLDER)[1])["network"]
    taken = checkpoints.latest(tmp_path / "after")[1]["players"]["network"]["weights"]
    for name, tensor in weights.items():
        torch.testing.assert_close(taken[name], tensor, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method=unet_l2"], "method=unet_l2 has no pre-training on MRI alone; use train"),
        (["method=mri2pet", "pretrain.steps=0"], "pretrain.steps=0: nothing to pre-train"),
        (["method=mri2pet", "method.pretrained=x"], "method.pretrained: another run has pre-trained already"),
        (["method=mri2pet", "--dry-run"], "--dry-run: 'train --dry-run'"),
    ],
)
def test_pretrain_refuses_what_has_no_such_stage_in_one_line(tmp_path, capsys, monkeypatch, words, why):
    monkeypatch.setattr("training.asked.read_index", lambda folder: {"grid": {"shape": (160, 180, 160)}})
    assert main(["pretrain", *words, "data.cache=nowhere", f"out={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_pre_trains_on_the_mri_of_a_cache_but_not_on_people_who_are_held_out(tmp_path, two_people):
    cache = cached(tmp_path, two_people)
    explicit_split(["a", "b"], {"train": ["a"], "test": ["b"]}).save(cache / FILE)
    words = (*TRAINED, f"data.cache={cache}", "network.factor=10", f"pretrain.cache={cache}")
    config = plain_config(tmp_path / "run", *words)
    data = load_data(config)
    subjects = {subject for _, subject in mri_of(config, data).cases}
    assert subjects == {"a"} and set(data.train.cache.subjects) == {"a", "b"}
    own, theirs = OnePerCase(data.train), mri_of(config, data)
    assert len(own) == len({item.case for item in data.train.items}) == len(theirs)
    for name in ("t1w", "t2f"):
        assert torch.equal(own[0][name], theirs[0][name])
    assert run(config, data, quiet=True) == 0
    assert checkpoints.latest(tmp_path / "run" / FOLDER)[1]["step"] == 4


def test_whoever_is_held_out_is_not_pre_trained_on_under_another_name(tmp_path, two_people):
    cache = cached(tmp_path, two_people)
    explicit_split(["a", "b"], {"train": ["a"], "test": ["b"]}).save(cache / FILE)
    index = open_cache(cache).index
    others = tmp_path / "others"
    shutil.copytree(cache, others)
    renamed = [record | {"subject": f"other_{record['subject']}"} for record in index["cases"]]
    write_index(others, {key: index[key] for key in ("source", "simulated", "options", "dtype")}, renamed, 10)
    words = (*TRAINED, f"data.cache={cache}", "network.factor=10", f"pretrain.cache={others}")
    config = plain_config(tmp_path / "run", *words)
    assert {subject for _, subject in mri_of(config, load_data(config)).cases} == {"other_a"}


# -- configuration --------------------------------------------------------------------------------------------------


def test_method_overrides_the_presets():
    assert configured().image_weight == 1 and configured("method.image_weight=0").image_weight == 0
    assert configured().conditioning == "both" and configured("method.conditioning=vector").conditioning == "vector"
    assert load_config(["method=mri2pet", "data.cache=memory", "out=unused"]).pretrain_steps == 44836
    assert configured("pretrain.steps=7").pretrain_steps == 7


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method.beta_start=0.5"], "method.beta_start=0.5 is above method.beta_end=0.02"),
        (["method.conditioning=words"], "method.conditioning=words is not one of vector, spatial, both"),
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["pretrain.steps=-1"], "pretrain.steps=-1 must be at least 0"),
        (["pretrain.steps=3", "method.pretrained=x"], "pretrain.steps=3: with method.pretrained"),
        (["pretrain.cache=x"], "pretrain.cache: there is no pre-training"),
        (["method.timesteps=20"], "preset.sampler_steps=20 must be below method.timesteps=20"),
        (["preset.channels=[8]"], "two levels or more"),
        (["preset.channels=[6,8]", "preset.norm_num_groups=4"], "no multiples of preset.norm_num_groups=4"),
        (["preset.vector_channels=[]"], "preset.vector_channels=[]: 1 to 8 numbers"),
        (["preset.vector_grid=[1,2]"], "preset.vector_grid=[1, 2]: three numbers"),
        (["preset.code_width=3"], "preset.code_width=3 must be even"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)
