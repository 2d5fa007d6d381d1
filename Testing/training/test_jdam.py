"""Known answers of JDAM and SDE: the noise, the sampler with an exact score, the loss, the network and its sizes."""

import pytest
import torch
from training_runs import Phantoms, awake, fresh_objective

from RelAPETLib.diffusion import along, seeded_noise
from RelAPETLib.errors import InputError
from RelAPETLib.methods.jdam.network import ScoreNetwork
from RelAPETLib.methods.jdam.process import VarianceExploding
from training import checkpoints
from training.config import load_config
from training.errors import ConfigError
from training.loop import run
from training.methods import objective
from training.methods.base import Place
from training.methods.jdam.noise import largest_distance
from training.methods.jdam.objective import score_matching
from training.trainer import RunData

NOISE = VarianceExploding()
SMALL = {"factor": 10, "crop": [4, 6, 4], "channels": [4, 8], "attention_levels": [False, True], "norm_num_groups": 1}
WORDS = ["preset=fair", "data.cache=memory", "data.workers=0", "hardware.accelerator=cpu", "run.log_every=1",
         "preset.channels=[4,8]",
         "preset.attention_levels=[false,false]", "preset.norm_num_groups=1", "run.validation_volumes=0"]  # fmt: skip


def configured(*words, method="jdam", out="unused"):
    return load_config([*WORDS, f"method={method}", f"out={out}", *words])


# -- the noise ------------------------------------------------------------------------------------------------------


def test_the_noise_is_the_papers():
    levels = NOISE.levels(1000)
    assert [levels[n] for n in (0, 499, 999)] == pytest.approx([0.01, 1.855738, 348], abs=1e-6)
    found = NOISE.sigma(torch.tensor([0, 0.5, 1], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.01, 1.865476, 348], abs=1e-6)
    assert NOISE.levels(1) == [348]


def test_the_clean_estimate_of_the_exact_score_is_the_pet():
    x0, z, sigma = torch.rand(2, 1, 3, 4, 5), torch.randn(2, 1, 3, 4, 5), torch.tensor([0.3, 5.0])
    x_t = NOISE.noised(x0, sigma, z)
    torch.testing.assert_close((x_t - x0)[1], 5 * z[1])
    torch.testing.assert_close(NOISE.clean(x_t, sigma, -z / along(sigma, z)), x0, atol=2e-6, rtol=0)


class Distances(torch.utils.data.Dataset):
    """PET of 8 voxels with these values throughout."""

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return {"pet": torch.full((1, 2, 2, 2), float(self.values[index]))}


def test_the_largest_distance_is_that_of_the_two_most_unlike():
    assert largest_distance(Distances(0, 1, -1, 0.5)) == pytest.approx(2 * 8**0.5)
    assert largest_distance(Distances(0.5, 0.5)) == pytest.approx(1.5 * 8**0.5), "alike: to an empty image"
    assert largest_distance(Distances(-1)) == 1, "nothing but empty images"
    assert largest_distance(Distances(0, 1, 0, 9), scans=2) == pytest.approx(8**0.5), "two of them: both 0"


# -- the sampler ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "largest", "predictor", "tolerance"),
    [(2000, 348.0, "reverse", 0.01), (200, 30.0, "reverse", 0.05), (200, 30.0, "ancestral", 0.05)],
)
def test_the_exact_score_of_a_gaussian_gives_its_mean_and_spread(calls, largest, predictor, tolerance):
    """20,000 voxels that know nothing of each other; the SD of their mean is .002, of their SD .0015."""
    m, s, asked = 0.4, 0.3, []

    def score(x, sigma):
        asked.append(float(sigma[0]))
        return -(x - m) / along(s**2 + sigma.square(), x)

    process = VarianceExploding(sigma_max=largest, calls=calls, predictor=predictor)
    made = process.sample(score, (1, 1, 20, 20, 50), seeded_noise(3))
    assert len(asked) == calls and asked[0] == asked[1] == pytest.approx(largest) and asked[-1] == pytest.approx(0.01)
    assert float(made.mean()) == pytest.approx(m, abs=0.01)
    assert float(made.std()) == pytest.approx(s, rel=tolerance)


@pytest.mark.parametrize("calls", [1, 2, 3, 8])
def test_any_number_of_calls_is_kept_and_the_last_adds_no_noise(calls):
    """With the exact score of one image, what is drawn lies at it but for the noise before the last call."""
    x0, asked, noises = torch.rand(2, 1, 3, 4, 5), [], []

    def noise(index, shape):
        noises.append(index)
        return seeded_noise(5)(index, shape)

    def score(x, sigma):
        asked.append(1)
        return (x0 - x) / along(sigma.square(), x)

    made = NOISE.sample(score, (2, 1, 3, 4, 5), noise, calls)
    assert len(asked) == calls and noises == list(range(calls))
    torch.testing.assert_close(made, x0, atol=1e-4, rtol=0)


def test_a_sample_does_not_depend_on_those_drawn_beside_it():
    def score(x, sigma):
        return -x / along(1 + sigma.square(), x)

    both = NOISE.sample(score, (2, 1, 3, 4, 5), seeded_noise(9), 20)
    alone = NOISE.sample(score, (1, 1, 3, 4, 5), seeded_noise(9), 20)
    torch.testing.assert_close(both[:1], alone)


def test_a_network_that_gives_nothing_yet_makes_no_infinite_steps():
    made = NOISE.sample(lambda x, sigma: torch.zeros_like(x), (1, 1, 3, 4, 5), seeded_noise(1), 40)
    assert torch.isfinite(made).all()


def test_calls_out_of_range_are_refused():
    with pytest.raises(InputError, match="steps 2001 is out of range; use 1 to 2000"):
        NOISE.sample(lambda x, sigma: x, (1, 1, 1, 1, 1), seeded_noise(0), 2001)


# -- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.05, 0.5, 4.0])
def test_the_loss_at_the_exact_score(sigma):
    """s^2 / (s^2 + sigma^2) for pixels of N(m, s^2), and 0 for a score that knows the image."""
    m, s, sigmas = 0.2, 0.5, torch.full((4,), sigma)
    generator = torch.Generator().manual_seed(2)
    x0, z = (torch.randn(4, 1, 40, 40, 40, generator=generator) for _ in range(2))
    x0 = m + s * x0
    x_t = NOISE.noised(x0, sigmas, z)
    exact = -(x_t - m) / (s**2 + sigma**2)
    assert float(score_matching(exact, sigmas, z)) == pytest.approx(s**2 / (s**2 + sigma**2), rel=0.02)
    assert float(score_matching(-z / sigma, sigmas, z)) < 1e-10
    capped = min(1, sigma**2) * s**2 / (s**2 + sigma**2)
    assert float(score_matching(exact, sigmas, z, "clean")) == pytest.approx(capped, rel=0.02)
    wide = (1 + sigma**2) * s**2 / (s**2 + sigma**2)
    assert float(score_matching(exact, sigmas, z, "edm")) == pytest.approx(wide, rel=0.02)


def loss_terms(config, batch, first=0):
    """Losses and terms of a batch whose first item's place in the stream is `first`."""
    learned = fresh_objective(config)
    learned.measured = 20.0
    torch.manual_seed(0)
    torch.nn.init.normal_(learned.modules["network"].unet.out[2].conv.weight, std=0.3)  # MONAI's is 0
    return learned.losses(batch, Place(0, 0, [first + n for n in range(len(batch["subject"]))]))


def batch_of(*indices):
    people = Phantoms(4, shape=(4, 6, 4))
    return torch.utils.data.default_collate([people[index] for index in indices])


def test_the_whole_loss_is_the_weighted_sum_and_a_batch_costs_the_mean_of_its_scans():
    config = configured("method.image_weight=2")
    losses, terms = loss_terms(config, batch_of(0, 1))
    torch.testing.assert_close(losses["network"], terms["L_score"] + 2 * terms["L_I"])
    apart = [loss_terms(config, batch_of(n), first=n)[0]["network"] for n in (0, 1)]
    torch.testing.assert_close(losses["network"], torch.stack(apart).mean())


def test_the_loss_of_sde_is_the_same_beside_anyones_mri():
    own = batch_of(0, 1)
    others = {**own, "t1w": own["t1w"].roll(1, 0), "t2f": own["t2f"].roll(1, 0)}
    alone, beside = ({name: loss_terms(configured(method=name), batch)[0]["network"] for name in ("sde", "jdam")}
                     for batch in (own, others))  # fmt: skip
    assert alone["sde"] == beside["sde"] and alone["jdam"] != beside["jdam"]


# -- network --------------------------------------------------------------------------------------------------------


def small(**arguments):
    return awake(ScoreNetwork(**{**SMALL, **arguments}))


def answer(network, label=0, mri=None, sigma=3.0, scale=1.0):
    mri = torch.rand(1, 2, 4, 6, 4, generator=torch.Generator().manual_seed(1)) if mri is None else mri
    x_t = scale * torch.rand(1, 1, 4, 6, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return network(x_t, mri, torch.tensor([sigma]), torch.tensor([label]))


def test_tracer_noise_and_mri_all_count_and_sde_does_not_see_the_mri():
    network, empty = small(), torch.zeros(1, 2, 4, 6, 4)
    plain = answer(network)
    assert plain.shape == (1, 1, 4, 6, 4)
    for other in (answer(network, label=2), answer(network, sigma=2.0), answer(network, mri=empty)):
        assert torch.isfinite(other).all() and (other - plain).abs().max() > 1e-5
    blind = small(sees_mri=False)
    assert torch.equal(answer(blind), answer(blind, mri=empty)) and answer(blind).abs().max() > 1e-5


def test_the_mri_counts_beside_the_largest_noise_too():
    network = small()
    loud = {"sigma": 348.0, "scale": 348.0}
    plain, other = answer(network, **loud), answer(network, mri=torch.zeros(1, 2, 4, 6, 4), **loud)
    assert (other - plain).abs().max() > 0.05 * plain.abs().max()


def test_the_score_of_a_network_that_gives_the_clean_image_leads_to_it():
    network = small(gives="clean")
    x_t, mri, sigma = torch.randn(1, 1, 4, 6, 4), torch.rand(1, 2, 4, 6, 4), torch.tensor([3.0])
    with torch.no_grad():
        score, plain = network(x_t, mri, sigma, torch.tensor([0])), small()(x_t, mri, sigma, torch.tensor([0]))
    # The same weights: one U-Net's output, once as the clean image and once as the score times sigma.
    torch.testing.assert_close(NOISE.clean(x_t, sigma, score), 3 * plain, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="gives 'noise' is not one of"):
        ScoreNetwork(**SMALL, gives="noise")


def test_what_is_seen_passes_by_the_network_that_gives_edm():
    """Karras's table 1 for SD 1; beside little noise the clean image is the noisy one, whatever the U-Net gives."""
    network = small(gives="edm")
    x_t, mri, label = torch.randn(1, 1, 4, 6, 4), torch.rand(1, 2, 4, 6, 4), torch.tensor([0])
    for sigma in (0.01, 3.0):
        sd = torch.tensor([sigma])
        with torch.no_grad():
            clean = [NOISE.clean(x, sd, network(x, mri, sd, label)) for x in (x_t, x_t + 0.2)]
            output = sigma * small()(x_t, mri, sd, label)  # the same weights, whose output is the score times sigma
        mixed = x_t / (1 + sigma**2) + sigma / (1 + sigma**2) ** 0.5 * output
        torch.testing.assert_close(clean[0], mixed, atol=1e-4, rtol=1e-4)
        if sigma == 0.01:
            assert float((clean[1] - clean[0]).mean()) > 0.9 * 0.2
    blind = small(gives="clean")
    with torch.no_grad():
        clean = [
            NOISE.clean(x, torch.tensor([0.01]), blind(x, mri, torch.tensor([0.01]), label)) for x in (x_t, x_t + 0.2)
        ]
    assert abs(float((clean[1] - clean[0]).mean())) < 0.5 * 0.2


def test_sides_that_the_levels_do_not_divide_are_padded():
    network = small(crop=[5, 6, 3], channels=[4, 8, 8], attention_levels=[False] * 3)
    made = network(torch.rand(1, 1, 5, 6, 3), torch.rand(1, 2, 5, 6, 3), torch.ones(1), torch.tensor([1]))
    assert made.shape == (1, 1, 5, 6, 3) and torch.isfinite(made).all()


def test_the_presets_noise_and_calls():
    paper, fair = (configured(f"preset={name}", *PAPER).preset for name in ("paper", "fair"))
    assert (paper.sigma_max, paper.calls, fair.sigma_max, fair.calls) == (348, 2000, None, 100)


# -- configuration and runs -----------------------------------------------------------------------------------------


def test_the_image_loss_is_the_presets_unless_the_method_says_another():
    assert configured().image_weight == 1 and configured("preset=paper", *PAPER).image_weight == 0
    assert configured("method.image_weight=0").image_weight == 0


PAPER = ("preset.channels=[4,8]", "preset.attention_levels=[false,false]", "preset.norm_num_groups=1")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["method.sigma_min=0.5", "preset.sigma_max=0.4"], "preset.sigma_max=0.4 must be above method.sigma_min=0.5"),
        (["method.sigma_min=1"], "method.sigma_min=1.0 must be below 1"),
        (["method.snr=0"], "method.snr=0.0 must be above 0"),
        (["preset.calls=2001"], "preset.calls=2001 must be at most 2000"),
        (["preset.channels=[5,10]"], "the first must be even"),
        (["preset.attention_levels=[true]"], "must be lists of the same length"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_the_measured_noise_is_kept_for_resuming_and_for_the_bundle(tmp_path):
    """A run that goes on does not measure again, and the bundle has what was trained with."""
    people = Phantoms(4, shape=(4, 6, 4))
    assert run(configured("run.steps=1", out=tmp_path), RunData(people, None, "0" * 64), quiet=True) == 0
    kept = checkpoints.load(tmp_path / "sigma_max.pt")
    assert kept["sigma_max"] == pytest.approx(largest_distance(people)) and kept["sigma_max"] > 1
    checkpoints.save(tmp_path / "sigma_max.pt", {"key": kept["key"], "sigma_max": 77.0})
    assert run(configured("run.steps=2", out=tmp_path), RunData(people, None, "0" * 64), quiet=True) == 0
    assert checkpoints.load(tmp_path / "sigma_max.pt")["sigma_max"] == 77
    state = checkpoints.latest(tmp_path)[1]
    assert state["step"] == 2 and state["objective"] == {"sigma_max": pytest.approx(largest_distance(people))}
    learned = objective(configured(out=tmp_path))
    learned.load_state(state["objective"])
    bundle = learned.bundle(checkpoints.exported_weights(state), "phantoms", 1)
    assert bundle.settings["process"]["sigma_max"] == state["objective"]["sigma_max"]


def test_the_papers_noise_is_not_measured(tmp_path):
    config = configured("preset=paper", *PAPER, "run.steps=1", "preset.global_batch=1", out=tmp_path)
    assert run(config, RunData(Phantoms(1, shape=(4, 6, 4)), None, "0" * 64), quiet=True) == 0
    assert not (tmp_path / "sigma_max.pt").exists() and objective(config).process.sigma_max == 348
