"""The regression that a network's differences are taken from: what it expects, of whom it forgets, and its bundles."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from training_cases import simulated
from training_runs import tensors

from RelAPETLib.evaluation.ridge import fit_pet_ridge, mri_features, ridge
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.methods.expected_pet import ExpectedPet, coarse_shape
from RelAPETLib.models import load_model
from training import checkpoints
from training.bench.figures import trained_objective
from training.config import load_config
from training.data.cache import open_cache
from training.data.dataset import PetDataset
from training.data.split import load_split, make_split
from training.errors import ConfigError
from training.expectation import Expectation, fit_expectation
from training.export import export_checkpoint
from training.loop import load_data, run
from training.methods.base import Place
from training.methods.rela.latent.ridge import fit_head
from training.statistics import both_sequences, pet_statistics

SHAPE, BRAIN = (6, 8, 6), (slice(1, 5), slice(1, 7), slice(1, 5))
WORDS = ("network.factor=10", "network.channels=[8,8]", "network.attention_levels=[false,false]",
         "network.num_res_blocks=1", "network.norm_num_groups=1", "network.num_head_channels=8",
         "network.cross_attention_dim=8", "preset.mean_pet=regression", "preset.global_batch=2", "preset.ema_decay=0",
         "data.workers=0", "hardware.accelerator=cpu", "hardware.precision=fp32", "hardware.micro_batch=2",
         "run.checkpoint_every=1", "run.validation_volumes=0")  # fmt: skip
RELA = ("method=rela", "preset.adversarial_start_epoch=0", "preset.prediction=v", "preset.zero_terminal_snr=true")


class Followed:
    """People whose PET follows from their MRI: TAU from the T1w, PIB from the T2F with the other sign; two of PBR."""

    factor = 20

    def __init__(self, people, seed=0, sessions=1):
        rng = np.random.default_rng(seed)
        ways = rng.normal(size=(2, 3, *SHAPE)) * 0.1
        self.items = []
        for number in range(people * sessions):
            person = number // sessions
            if number % sessions == 0:
                factors = rng.normal(size=3)
            t1w, t2f = np.tensordot(factors, ways, (0, 1)).astype(np.float32) + rng.normal(0, 0.01, (2, *SHAPE))
            for label, tracer, change in ((2, "TAU", t1w), (1, "PIB", -t2f), (0, "PBR", 0 * t1w)):
                if tracer == "PBR" and number > 1:
                    continue
                pet = 0.1 * label + 0.5 * change + rng.normal(0, 0.02, SHAPE)
                volumes = {"t1w": 0.3 * t1w, "t2f": 2 * t2f, "pet": pet}
                outside = np.ones(SHAPE, bool)
                outside[BRAIN] = False
                item = {
                    k: torch.from_numpy(np.where(outside, -1, v).astype(np.float32))[None] for k, v in volumes.items()
                }
                item |= {"label": label, "case": f"{seed}-{number}", "subject": f"{seed}-{person}", "tracer": tracer}
                self.items.append(item)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def batch_of(items):
    """One batch of items."""
    named = {name: [item[name] for item in items] for name in ("case", "subject", "tracer")}
    stacked = {name: torch.stack([item[name] for item in items]) for name in ("t1w", "t2f", "pet")}
    return {**named, **stacked, "label": torch.tensor([item["label"] for item in items])}


def errors(statistics, items, forget=True):
    """Mean square errors of what is expected of items, inside the brain."""
    batch = batch_of(items)
    if not forget:
        batch = {name: value for name, value in batch.items() if name not in ("case", "tracer")}
    mri = torch.cat([batch["t1w"], batch["t2f"]], 1)
    rest = statistics.means_of(batch, lambda: mri) - batch["pet"]
    assert not rest[:, :, 0].any(), "outside the brain background is expected"
    return float(rest[(slice(None), slice(None), *BRAIN)].square().mean())


def test_all_scans_of_a_person_are_left_out_together():
    """A regression fitted without them, at the same penalty, says the same."""
    rng = np.random.default_rng(0)
    people = ["a", "b", "b", "c", "d", "d", "d", *"efghij"]
    features = rng.normal(size=(len(people), 20)) + rng.normal(size=(26, 20))[[ord(p) - 97 for p in people]]
    features -= features.mean(0)
    targets = features[:, :2] + rng.normal(size=(len(people), 2))
    targets -= targets.mean(0)
    _, left_out, chosen = ridge(features, targets, people)
    level = np.linalg.eigvalsh(features @ features.T).mean()
    for who in sorted(set(people)):
        own = np.array([name == who for name in people])
        for column in range(2):
            oracle = Ridge(chosen[column] * level).fit(features[~own], targets[~own, column])
            np.testing.assert_allclose(left_out[own, column], oracle.predict(features[own]), atol=1e-8)
    assert not np.allclose(left_out, ridge(features, targets)[1])


def test_new_people_are_expected_as_well_as_training_people_that_it_forgets():
    """And training people better where it does not; both better than by the mean or another person's MRI."""
    train, new = Followed(40), Followed(40, seed=1)
    for item, own in zip(new.items, Followed(80).items[-len(new) :], strict=True):  # the same law, other people
        item.update({name: own[name] for name in ("t1w", "t2f", "pet", "label", "tracer")})
    said, seen = [], [item for item in train.items if item["tracer"] != "PBR"]
    plain, found = pet_statistics(train, 4), pet_statistics(train, 4, said.append, both_sequences)
    assert torch.equal(plain.mean, found.mean)
    assert all(found.residual_sd[label] < 0.7 * plain.residual_sd[label] for label in {item["label"] for item in seen})
    assert any("TAU: the MRI explains" in line for line in said)
    unseen = [item for item in new.items if item["tracer"] != "PBR"]
    forgotten, remembered, fresh = errors(found, seen), errors(found, seen, forget=False), errors(found, unseen)
    mean = errors(plain, unseen)
    assert forgotten == pytest.approx(np.mean([found.residual_sd[item["label"]] ** 2 for item in seen]), rel=0.05)
    assert remembered < 0.97 * forgotten and fresh == pytest.approx(forgotten, rel=0.25) and fresh < 0.5 * mean
    turned = [
        {**item, **{k: other[k] for k in ("t1w", "t2f")}} for item, other in zip(unseen, unseen[2:], strict=False)
    ]
    assert errors(found, turned) > mean
    again = Expectation.of_state(found.expectation.state())
    assert errors(type(found)(found.mean, 1.0, (1.0,) * 4, again), seen) == forgotten


def test_it_expects_what_the_regression_of_the_evaluation_does():
    """Features of the brain alone, scaled and clipped in the same way, for people who were not fitted."""
    train, new = Followed(40), Followed(80).items[-8:]
    found = pet_statistics(train, 4, see=both_sequences)
    network, brain = found.expectation.network, found.expectation.network.inside.numpy() > 0.5
    own = [item for item in train.items if item["tracer"] == "TAU"]

    def features(item):
        return mri_features(both_sequences(item).numpy().astype(float), brain.reshape(SHAPE))

    pets = np.stack([item["pet"].numpy().ravel() for item in own])
    oracle = fit_pet_ridge(np.stack([features(item) for item in own]), pets)
    for item in new:
        expected = network(both_sequences(item)[None], found.mean)[0, 2].numpy()
        np.testing.assert_allclose(expected.ravel()[brain], oracle.guess(features(item))[brain], atol=2e-4)


def test_the_demo_models_head_leaves_all_sessions_of_a_person_out():
    """Two sessions that are alike: one would tell the other's noise."""
    rng = np.random.default_rng(0)
    latents = torch.from_numpy(rng.normal(size=(30, 1, 4, 4, 4))).repeat_interleave(2, 0).float()
    features = np.repeat(rng.normal(size=(30, 200)), 2, 0)
    people = [str(number // 2) for number in range(60)]
    errors = []
    for known in ((), people):
        head = fit_head(features, latents, np.zeros(60, int), 1, 2, lambda line: None, people=known)
        rest = (latents - latents.mean((0, 2, 3, 4))).flatten(1)
        errors.append(float((head.leave_one_out.flatten(1) * head.buffers["latent_sd"].float() - rest).square().mean()))
    # The directions themselves are of all people, which is why a little is gained on the mean still.
    assert errors[0] < 0.9 * errors[1] and errors[1] > 0.95 * float(rest.square().mean())


def test_the_demo_models_head_knows_nothing_of_a_scanner_that_one_tracers_people_share():
    """Features of one tracer's people all moved alike: nobody is expected, or left out, in another way."""
    rng = np.random.default_rng(0)
    factors, labels = rng.normal(size=(60, 3)), np.repeat([0, 1], 30)
    latents = torch.from_numpy(np.tensordot(factors, rng.normal(size=(3, 1, 4, 4, 4)), 1)).float()
    latents += 0.1 * torch.from_numpy(rng.normal(size=latents.shape)).float()
    features = factors @ rng.normal(size=(3, 40)) + 0.3 * rng.normal(size=(60, 40))
    moved = features + np.where(labels[:, None] == 1, rng.normal(0, 5, 40), 0)
    found = []
    for seen in (features, moved):
        head = fit_head(seen, latents, labels, 2, 3, lambda line: None)
        weight, mean, basis = (head.buffers[f"head_{name}"].numpy() for name in ("weight", "mean", "components"))
        scores = np.einsum("nf,nkf->nk", seen - head.buffers["head_feature_mean"].numpy(), weight[labels])
        expected = mean[labels] + np.einsum("nk,nkl->nl", scores, basis[labels])
        sd = float(head.buffers["latent_sd"])
        # The training people's own scores differ from those that leave them out by their leverage alone.
        found.append((head.leave_one_out.numpy() * sd, expected * sd, head.scores.numpy() - scores))
    for before, after in zip(*found, strict=True):
        np.testing.assert_allclose(after, before, atol=2e-3)


def test_a_tracer_of_few_scans_is_expected_at_its_mean():
    train, said = Followed(5), []
    found = pet_statistics(train, 4, said.append, both_sequences)
    pbr = [item for item in train.items if item["tracer"] == "PBR"]
    mri = torch.cat([batch_of(pbr)["t1w"], batch_of(pbr)["t2f"]], 1)
    assert torch.equal(found.means_of(batch_of(pbr), lambda: mri), found.mean[torch.zeros(2, dtype=torch.long)])
    assert any("PBR: 2 scans are too few" in line for line in said)
    alone, said = Followed(1, sessions=4), []
    statistics = pet_statistics(alone, 3, said.append, both_sequences)
    assert any("TAU: 4 scans are too few" in line for line in said), "nobody is left where the only person is left out"
    assert not statistics.expectation.network.weight.any() and not statistics.expectation.shifts


def test_another_session_of_a_person_is_forgotten_too():
    train = Followed(12, sessions=3)
    mean = pet_statistics(train, 4).mean
    together = fit_expectation(train, mean, both_sequences, lambda line: None)
    for item in train.items:
        item["subject"] = item["case"]
    apart = fit_expectation(train, mean, both_sequences, lambda line: None)
    tau = [name for name in together.shifts if name.endswith("TAU")]
    size = [sum(float(found.shifts[name].square().sum()) for name in tau) for found in (together, apart)]
    assert size[0] > 1.5 * size[1]


def test_units_and_offsets_of_an_mri_do_not_count_and_a_blank_one_says_nothing():
    network = ExpectedPet((12, 12, 12), coarse_shape((12, 12, 12), 5), 4)
    assert network.coarse == (6, 6, 6)
    mri = torch.rand(1, 2, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    assert not network.features(mri).any(), "without a brain nothing is seen"
    network.inside[40:150] = 1
    seen = network.features(mri)
    torch.testing.assert_close(network.features(mri * 0.2 - 0.7), seen, rtol=1e-4, atol=1e-5)
    assert seen.isfinite().all() and int((seen != 0).sum()) > 200
    mri[:, 1] = -1
    half = network.features(mri)
    assert torch.equal(half[:, :216], seen[:, :216]) and not half[:, 216:].any()


@pytest.fixture(scope="module")
def people(tmp_path_factory, eight_people):
    out = simulated(tmp_path_factory.mktemp("people") / "cache", 8, eight_people)
    subjects = sorted({item.subject for item in open_cache(out).items(open_cache(out).subjects)})
    make_split(subjects, seed=1, fractions=(0.9, 0.1, 0.0)).save(out / "split.json")
    return out


def trained(people, out, *words):
    """Exit code of a run."""
    config = load_config([*WORDS, *words, f"data.cache={people}", f"out={out}"])
    return run(config, load_data(config), quiet=True)


@pytest.mark.parametrize("words", [RELA, ("method=unet_l2",), (*RELA, "ablation=wo_t1w")])
def test_its_bundle_draws_what_the_run_validated_and_it_resumes_bit_by_bit(people, tmp_path, words):
    assert trained(people, tmp_path / "whole", *words, "run.steps=2") == 0
    for steps in (1, 2):
        assert trained(people, tmp_path / "parts", *words, f"run.steps={steps}") == 0
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    checkpoint = checkpoints.saved(tmp_path / "whole")[-1]
    export_checkpoint(checkpoint, tmp_path / "bundle", name="small", version="1", licence="Apache-2.0")
    method = load_model(tmp_path / "bundle").method
    objective = trained_objective(checkpoint)
    item = PetDataset(open_cache(people), load_split(people / "split.json").train, factor=10)[0]
    batch = {name: item[name][None] for name in ("t1w", "t2f", "pet")}
    batch["label"] = torch.tensor([item["label"]])  # without a case, so that nothing is forgotten
    start = torch.randn(1, 1, 16, 18, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = objective.draw(batch, lambda index, shape: start)
    mri = torch.cat([item["t1w"], item["t2f"]])[None].repeat_interleave(10, 2).repeat_interleave(10, 3)
    encoded = method.encode(mri.repeat_interleave(10, 4))
    rela = words[0] == "method=rela"
    how = DrawOptions("dpmpp" if rela else None, objective.config.run.validation_steps)
    ours = method.draw(encoded, item["label"], 1, how, lambda index, shape: start)
    blocks = method.network._blocks if rela else method.network.blocks
    expected = blocks.to_grid(theirs.float())
    torch.testing.assert_close(ours, expected if rela else expected.clamp(-1, 1), rtol=0, atol=2e-3)
    known = {**batch, "case": [item["case"]], "tracer": [item["tracer"]], "subject": [item["subject"]]}
    with torch.no_grad():
        named = objective.draw(known, lambda index, shape: start)
    first, other = (objective.losses(one, Place(0, 0, [0]))[1] for one in (known, {**known, "case": ["else"]}))
    assert torch.equal(named, theirs), "a person who is drawn may have the name of a training person"
    assert any(first[name] != other[name] for name in first), "in training the regression has not seen the person"
    network = method.network
    export_checkpoint(checkpoint, tmp_path / "half", name="small", version="1", licence="Apache-2.0", half=True)
    halved = load_model(tmp_path / "half").method.network
    assert torch.equal(halved.expectation.weight, network.expectation.weight)
    assert not torch.equal(halved.mean_pet, network.mean_pet)
    expected = network.expected(encoded[:, :2])[0, item["label"]]
    assert not torch.allclose(expected, network.mean_pet[item["label"], 0], atol=1e-2), "the regression says something"
    if rela:  # what the outlier gate sees
        found, other = method.features(encoded), method.features(encoded.flip(2))
        assert found.shape == (4 * 24,) and found.any() and not torch.allclose(found, other)


@pytest.mark.parametrize("words, said", [
    (("method=rela_latent",), "it is of voxels"),
    (("method=rela", "data.augment=true"), "leave it off"),
    (("method=unet_l1", "data.drop_t2f=0.5"), "wants both sequences"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(words, said):
    with pytest.raises(ConfigError, match=said):
        load_config([*words, "preset.mean_pet=regression", "data.cache=c", "out=o"])
