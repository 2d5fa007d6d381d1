"""Training that leaves the T2-FLAIR out now and then, so that the model can do without one."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from training_launch import cached
from training_runs import Phantoms, latent_config, logged, plain_config, same_within, scenario, tensors, tiny_data

from RelAPETLib.cli import main
from RelAPETLib.diffusion import seeded_noise
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.models import load_model
from RelAPETLib.synthesis import Options, draw, prepare_case
from training import checkpoints
from training.__main__ import main as training
from training.errors import ConfigError
from training.export import export_checkpoint
from training.loop import load_data, run
from training.methods import objective
from training.methods.base import Place
from training.plans import plan_of
from training.stream import dropped, places, without_some_t2f
from training.trainer import RunData, Trainer

WORDS = ("method=unet_l2", "network.channels=[8,16]", "network.num_res_blocks=1",
         "network.attention_levels=[false,false]", "network.norm_num_groups=1", "network.num_head_channels=16",
         "network.cross_attention_dim=16", "preset.learning_rate=3e-3")  # fmt: skip
HALF = "data.drop_t2f=0.5"


# -- which images lose it -------------------------------------------------------------------------------------------


def test_chance_follows_from_seed_and_position_alone():
    found = dropped(5, range(4000), 0.3)
    assert found.dtype == torch.bool and float(found.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(dropped(5, [3999, 17, 4], 0.3), found[[3999, 17, 4]])
    assert not torch.equal(dropped(6, range(4000), 0.3), found)
    assert not dropped(5, range(100), 0.0).any() and dropped(5, range(100), 1.0).all()
    # Who loses it with a small share loses it with a larger one.
    assert bool((dropped(5, range(4000), 0.6) | ~found).all())


def test_a_dropped_flair_is_background_and_the_batch_is_left_alone():
    batch = {"t1w": torch.rand(3, 1, 2, 2, 2), "t2f": torch.rand(3, 1, 2, 2, 2), "subject": ["a", "b", "c"]}
    kept = batch["t2f"].clone()
    made = without_some_t2f(batch, torch.tensor([True, False, True]))
    assert bool((made["t2f"][[0, 2]] == -1).all()) and torch.equal(made["t2f"][1], kept[1])
    assert made["t1w"] is batch["t1w"] and torch.equal(batch["t2f"], kept)


class Numbered(Phantoms):
    """Phantoms whose label in words is their number in the data set."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "subject": str(index)}


def lost(config, steps):
    """What the objective is shown in a run: by step, the subjects in their order, and those without a FLAIR."""
    shown = []
    learned = objective(config)
    losses = learned.losses

    def listening(batch, place):
        gone = (batch["t2f"] == -1).flatten(1).all(1)
        shown.append((place.step, list(zip(place.positions, batch["subject"], gone.tolist(), strict=True))))
        return losses(batch, place)

    learned.losses = listening
    data = RunData(Numbered(5), None, "0" * 64)
    trainer = Trainer(Fabric(accelerator="cpu", devices=1), learned, data, plan_of(config, 5, 1), quiet=True)
    batches = trainer.batches()
    for _ in range(steps):
        trainer.step(batches, type("Nobody", (), {"asked": False}))
    return {(step, *image) for step, images in shown for image in images}


def test_two_layouts_drop_the_same_images(tmp_path):
    words = (*WORDS, HALF, "preset.global_batch=4", "run.steps=3")
    found = [lost(plain_config(tmp_path / m, *words, f"hardware.micro_batch={m}"), 3) for m in "14"]
    assert found[0] == found[1] and len(found[0]) == 12
    gone = {position for _, position, _, without in found[0] if without}
    assert gone == {p for p in range(12) if dropped(0, [p], 0.5)} and 0 < len(gone) < 12
    # And the positions of two ranks together are those of one.
    assert sorted(places(0, 0, 2, 2) + places(0, 1, 2, 2)) == places(0, 0, 1, 4)


@pytest.mark.slow
@pytest.mark.parametrize("words", [WORDS, ("method=resdm", "preset.channels=[8,16]", "preset.norm_num_groups=1")])
def test_two_ranks_are_one_rank_with_accumulation(tmp_path, words):
    report = scenario("method", tmp_path, *words, HALF, "run.steps=3", "run.validation_volumes=0")
    assert report["codes"] == [0, 0, 0], report["told"]
    same_within(logged(tmp_path / "one"), logged(tmp_path / "two"), 1e-3)


def test_it_resumes_bit_by_bit(tmp_path):
    for name, steps, share in (("whole", (4,), 0.5), ("parts", (2, 4), 0.5), ("never", (4,), 0)):
        for until in steps:
            config = plain_config(
                tmp_path / name, *WORDS, f"run.steps={until}", "run.validation_volumes=0", "run.checkpoint_every=2",
                f"data.drop_t2f={share}",
            )  # fmt: skip
            assert run(config, tiny_data(3), quiet=True) == 0
    whole, parts, never = (tensors(tmp_path / name) for name in ("whole", "parts", "never"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[place], parts[place]) for place in whole)
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts") != logged(tmp_path / "never")
    assert not all(torch.equal(whole[place], never[place]) for place in whole)


def test_a_run_does_not_change_its_share(tmp_path, capfd):
    for share, code in ((0.5, 0), (0.25, 2)):
        words = (*WORDS, "run.steps=1", "run.validation_volumes=0", f"data.drop_t2f={share}")
        assert run(plain_config(tmp_path, *words), tiny_data(3), quiet=True) == code
    assert "data.drop_t2f: 0.5 -> 0.25" in capfd.readouterr().err


@pytest.mark.slow
def test_who_has_learned_without_it_does_better_without_it(tmp_path):
    """Mean squared error on the people trained on, of a model that saw half of the FLAIR and of one that saw all."""
    people, errors = Phantoms(6), {}
    batch = torch.utils.data.default_collate([people[n] for n in range(6)])
    alone = without_some_t2f(batch, torch.ones(6, dtype=torch.bool))
    for share in (0.0, 0.5):
        config = plain_config(
            tmp_path / str(share), *WORDS, f"data.drop_t2f={share}", "run.steps=80", "preset.global_batch=3",
            "hardware.micro_batch=3", "run.validation_volumes=0", "run.checkpoint_every=9999", "preset.ema_decay=0.95",
        )  # fmt: skip
        assert run(config, RunData(people, None, "0" * 64), quiet=True) == 0
        learned, state = objective(config), checkpoints.latest(tmp_path / str(share))[1]
        player = learned.build()["network"]
        player.module.load_state_dict(state["players"]["network"]["weights"])
        learned.bind(Fabric(accelerator="cpu"), {"network": player.module})
        with torch.no_grad():
            errors[share] = [float(learned.losses(b, Place(0, 0, range(6)))[0]["network"]) for b in (batch, alone)]
    assert errors[0.5][1] < 0.5 * errors[0.0][1], errors


# -- to a PET -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory, two_people):
    """Bundles by share after some steps on blocks of 10 mm, and their cache."""
    folder = tmp_path_factory.mktemp("drop")
    cache, bundles = cached(folder, two_people), {}
    for share in (0.0, 0.5):
        out = folder / str(share)
        config = plain_config(
            out / "run", *WORDS, f"data.cache={cache}", "network.factor=10", "run.steps=3", "run.validation_volumes=0",
            f"data.drop_t2f={share}", "preset.ema_decay=0",
        )  # fmt: skip
        assert run(config, load_data(config), quiet=True) == 0
        export_checkpoint(checkpoints.saved(out / "run")[-1], out / "bundle", name=f"share-{share}")
        bundles[share] = out / "bundle"
    return bundles, cache


def words_of(bundle, out, **scans):
    given = [word for name, path in scans.items() for word in (f"--{name}", path)]
    return list(map(str, ["synthesize", "--preprocessed", *given, "--tracer", "TAU", "--model", bundle, "--out", out,
                          "--device", "cpu", "--no-report", "--space", "mni"]))  # fmt: skip


def test_only_a_model_trained_for_it_draws_from_the_t1w_alone(exported, grid_case, tmp_path, capsys):
    bundles, _ = exported
    summary = json.loads((bundles[0.5] / "configs/inference.json").read_text(encoding="utf-8"))
    assert load_model(bundles[0.5]).optional_inputs == ("t2f",) and summary["optional_inputs"] == ["t2f"]
    assert "optional_inputs" not in load_model(bundles[0.0]).metadata
    assert main(words_of(bundles[0.5], tmp_path / "alone", t1w=grid_case["t1w"])) == 0
    scans = {name: grid_case[name] for name in ("t1w", "t2f")}
    assert main(words_of(bundles[0.5], tmp_path / "both", **scans)) == 0
    pets = [nib.load(tmp_path / name / "synthetic_pet_space-MNI.nii.gz").get_fdata() for name in ("alone", "both")]
    assert pets[0].max() > 0 and np.abs(pets[0] - pets[1]).max() > 1e-3
    capsys.readouterr()
    assert main(words_of(bundles[0.0], tmp_path / "no", t1w=grid_case["t1w"])) == 2
    said = capsys.readouterr().err
    assert "model share-0.0 needs a T2-FLAIR" in said and said.count("\n") == 1 and not (tmp_path / "no").exists()


def test_what_is_drawn_is_what_the_network_gives_for_background(exported, grid_case):
    """The same as with a FLAIR that is background, and so of no FLAIR at all."""
    bundles, _ = exported
    model = load_model(bundles[0.5])
    case = prepare_case(grid_case["t1w"], preprocessed=True)
    found = draw(case, "TAU", Options("TAU", device="cpu"), model=model).mean
    pair = prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True).mri()
    blank, method = torch.full_like(pair[:, 1:], -1), model.method
    with torch.inference_mode():
        made = [
            method.draw(method.encode(mri), 2, 1, DrawOptions(), seeded_noise(0))[0, 0].numpy()
            for mri in (torch.cat([pair[:, :1], blank], 1), pair)
        ]
    assert np.array_equal(found, made[0]) and np.abs(found - made[1]).max() > 1e-3


def test_figures_of_the_t1w_alone_are_sampled_apart(exported, tmp_path, capsys):
    bundles, cache = exported
    words = ["sample", "--cache", str(cache), "--split", "train", "--device", "cpu", "--limit", "1", "--bundle"]
    for out, more in (("alone", ["--without-t2f"]), ("both", [])):
        assert training([*words, str(bundles[0.5]), "--out", str(tmp_path / out), *more]) == 0
    made = [nib.load(next((tmp_path / name).glob("*_pet.nii.gz"))).get_fdata() for name in ("alone", "both")]
    assert not np.array_equal(*made)
    assert training([*words, str(bundles[0.5]), "--out", str(tmp_path / "alone")]) == 2
    assert "made with another without_t2f" in capsys.readouterr().err
    assert training([*words, str(bundles[0.0]), "--out", str(tmp_path / "no"), "--without-t2f"]) == 2
    assert "--without-t2f: model share-0.0 was not trained to do without the T2-FLAIR" in capsys.readouterr().err
    record = json.loads((tmp_path / "both" / "samples.json").read_text())
    del record["without_t2f"]  # as folders of earlier versions
    (tmp_path / "both" / "samples.json").write_text(json.dumps(record))
    assert training([*words, str(bundles[0.5]), "--out", str(tmp_path / "both")]) == 0


RESVIT = ("method=resvit", "preset.channels=[4,8]", "preset.art_blocks=1", "preset.transformer_blocks=[0]",
          "preset.token_halvings=1", "preset.hidden_size=8", "preset.num_layers=1", "preset.num_heads=2",
          "preset.mlp_size=16", "preset.convolution_steps=0", "preset.discriminator_channels=4",
          "preset.discriminator_layers=2")  # fmt: skip


@pytest.mark.parametrize("preset", ["unified", "paper"])
def test_a_resvit_that_hid_sequences_in_training_sees_zeros_for_a_flair_that_is_not_there(
    exported, grid_case, tmp_path, capsys, preset
):
    _, cache = exported
    words = (*RESVIT, f"preset={preset}", f"data.cache={cache}", "network.factor=10", "run.steps=2")
    config = plain_config(tmp_path / "run", *words, "run.validation_volumes=0")
    assert run(config, load_data(config), quiet=True) == 0
    export_checkpoint(checkpoints.saved(tmp_path / "run")[-1], tmp_path / "bundle", name="resvit")
    told = words_of(tmp_path / "bundle", tmp_path / "alone", t1w=grid_case["t1w"])
    if preset == "paper":
        assert main(told) == 2 and "model resvit needs a T2-FLAIR" in capsys.readouterr().err
        return
    assert main(told) == 0
    model, case = load_model(tmp_path / "bundle"), prepare_case(grid_case["t1w"], preprocessed=True)
    blocks = model.method.network.blocks.of(case.mri())
    assert (blocks[:, 1] == -1).all()
    seen, both = model.method.encode(case.mri()), prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True)
    assert torch.equal(seen[:, :1], blocks[:, :1]) and (seen[:, 1] == 0).all()
    assert torch.equal(model.method.encode(both.mri()), model.method.network.blocks.of(both.mri()))
    mixed = model.method.encode(torch.cat([both.mri(), case.mri()]))
    assert torch.equal(mixed, torch.cat([model.method.encode(both.mri()), seen])), "each of a batch for itself"


# -- what cannot be -------------------------------------------------------------------------------------------------


def test_forms_that_code_the_mri_before_training_refuse_it():
    for form in ("autoencoded", "regression", "conditional"):
        with pytest.raises(ConfigError, match="^data.drop_t2f: in the latent variant volumes are coded once"):
            latent_config("cache", "out", f"latent={form}", HALF)


def test_a_resvit_that_hides_sequences_by_zeros_refuses_background_beside_them():
    assert plain_config("out", "method=resvit", "preset=paper", HALF).data.drop_t2f == 0.5
    with pytest.raises(ConfigError, match="^data.drop_t2f: preset.missing_share hides sequences already, by zeros"):
        plain_config("out", "method=resvit", "preset=unified", HALF)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_share(share):
    with pytest.raises(ConfigError, match="data.drop_t2f=.* must be at"):
        plain_config("out", *WORDS, f"data.drop_t2f={share}")


def test_data_without_a_flair_refuse_it(tmp_path, capfd):
    class Coded(Phantoms):
        def __getitem__(self, index):
            return {name: value for name, value in super().__getitem__(index).items() if name != "t2f"}

    config = plain_config(tmp_path, *WORDS, HALF, "run.steps=1", "run.validation_volumes=0")
    assert run(config, RunData(Coded(3), None, "0" * 64), quiet=True) == 2
    assert "data.drop_t2f: what this method is trained on holds no T2-FLAIR" in capfd.readouterr().err


def test_a_method_that_sees_no_mri_needs_no_flair():
    for name, optional in (("jdam", ()), ("sde", ("t2f",))):
        learned = objective(plain_config("out", f"method={name}", "preset=fair", "preset.channels=[8,16]",
                                         "preset.norm_num_groups=1", "preset.attention_levels=[false,false]",
                                         "preset.sigma_max=10"))  # fmt: skip
        weights = {"network": learned.build()["network"].module.state_dict()}
        assert learned.bundle(weights, "nobody", 1).optional == optional
