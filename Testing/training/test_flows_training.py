"""Training of rectified flow and of the diffusion bridge: losses, network, sizes, bundles, configuration."""

import pytest
import torch
from training_runs import Phantoms, awake, batch_of, fresh_objective

from RelAPETLib.methods import method_class
from RelAPETLib.methods.flows.bridge import Bridge
from RelAPETLib.methods.flows.network import FlowNetwork
from training.config import load_config
from training.errors import ConfigError
from training.methods import objective
from training.methods.base import Place
from training.methods.flows.objective import chances

SMALL = ["data.cache=memory", "data.workers=0", "hardware.accelerator=cpu", "run.log_every=1",
         "preset.channels=[4,8]", "preset.norm_num_groups=1", "preset.num_head_channels=0"]  # fmt: skip
BOTH = pytest.mark.parametrize("method", ["rectified_flow", "bridge"])


def configured(*words):
    return load_config([*SMALL, "out=unused", *words])


# -- losses ---------------------------------------------------------------------------------------------------------


def learned(config):
    made = fresh_objective(config)
    torch.manual_seed(0)
    torch.nn.init.normal_(made.modules["network"].unet.out[2].conv.weight, std=0.3)  # MONAI's is 0
    return made


@BOTH
def test_the_loss_is_the_fit_and_the_weighted_image_loss(method):
    config = configured(f"method={method}", "method.image_weight=2")
    losses, terms = learned(config).losses(batch_of(Phantoms(4), 0, 1), Place(0, 0, [0, 1]))
    assert terms["L_fit"] > 0 and terms["L_I"] > 0
    torch.testing.assert_close(losses["network"].detach(), terms["L_fit"] + 2 * terms["L_I"])


@BOTH
def test_a_batch_costs_the_mean_of_its_images(method):
    """So that ranks and micro-batches may share it out."""
    made, people = learned(configured(f"method={method}")), Phantoms(4)
    together = made.losses(batch_of(people, 0, 1), Place(0, 0, [5, 6]))[0]["network"]
    apart = [made.losses(batch_of(people, n), Place(0, 0, [5 + n]))[0]["network"] for n in (0, 1)]
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_the_velocitys_error_is_squared_or_absolute():
    batch, place = batch_of(Phantoms(2), 0), Place(0, 0, [0])
    squared, absolute = (
        learned(configured(f"method.power={power}", "method=rectified_flow")).losses(batch, place)[1]["L_fit"]
        for power in (2, 1)
    )
    assert squared > 0 and absolute > 0 and absolute**2 < squared  # Jensen; equal for a constant error alone


def test_times_follow_from_seed_and_position():
    positions = list(range(4000))
    even, logit = chances(5, positions, False), chances(5, positions, True)
    assert torch.equal(even[10:20], chances(5, positions[10:20], False))
    assert not torch.equal(even, chances(6, positions, False))
    assert float(even.mean()) == pytest.approx(0.5, abs=0.02) and float(even.std()) == pytest.approx(12**-0.5, abs=0.01)
    assert float(logit.logit().mean()) == pytest.approx(0, abs=0.06)
    assert float(logit.logit().std()) == pytest.approx(1, abs=0.04)
    earliest = Bridge().times(torch.zeros(1, dtype=torch.float64))
    assert float(earliest) == 1e-4 and float(Bridge().times(torch.ones(1, dtype=torch.float64))) == 1


# -- network --------------------------------------------------------------------------------------------------------


def small(**arguments):
    sizes = {"factor": 10, "crop": [4, 6, 4], "channels": [4, 8], "norm_num_groups": 1, "num_head_channels": 0}
    return awake(FlowNetwork(**{**sizes, **arguments}))


def answer(network, label=0, clinical=(70.0, 1.0, 0.0), mri=None, told=300.0):
    mri = torch.rand(1, 2, 4, 6, 4, generator=torch.Generator().manual_seed(1)) if mri is None else mri
    x_t = torch.rand(1, 1, 4, 6, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return network(x_t, mri, torch.tensor([told]), torch.tensor([label]), torch.tensor([clinical]))


@pytest.mark.parametrize("clinical", [False, True])
def test_tracer_values_mri_and_time_count(clinical):
    network, nan = small(clinical=clinical), float("nan")
    plain = answer(network)
    assert plain.shape == (1, 1, 4, 6, 4)
    others = [answer(network, label=2), answer(network, told=299.5), answer(network, told=-2302.0)]
    others += [answer(network, mri=torch.zeros(1, 2, 4, 6, 4))]
    values = [answer(network, clinical=c) for c in ((71.0, 1, 0), (70.0, 0, 0), (nan, 1, 0), (nan, nan, nan))]
    for other in [*others, *(values if clinical else [])]:
        assert torch.isfinite(other).all() and (other - plain).abs().max() > 1e-5
    assert clinical or all(torch.equal(other, plain) for other in values)


def test_sides_that_the_levels_do_not_divide_are_padded():
    network = small(crop=[5, 6, 3], channels=[4, 8, 8])
    made = network(torch.rand(1, 1, 5, 6, 3), torch.rand(1, 2, 5, 6, 3), torch.tensor([1.0]), torch.tensor([1]))
    assert made.shape == (1, 1, 5, 6, 3) and torch.isfinite(made).all()


# -- bundles and configuration --------------------------------------------------------------------------------------


@BOTH
def test_a_bundles_settings_make_the_same_path(method):
    made = objective(configured(f"method={method}", *({"bridge": ["method.churn=0.3"]}.get(method, ()))))
    weights = {name: player.module.state_dict() for name, player in made.build().items()}
    bundle = made.bundle(weights, "nothing", 2)
    loaded = method_class("flows").build(bundle.settings)
    assert loaded.process == made.path and loaded.defaults.samples == 2 and bundle.differences
    assert ("clinical" in loaded.defaults.inputs) == (method == "bridge")
    assert loaded.network.state_dict().keys() == bundle.network.state_dict().keys()


def test_the_image_loss_is_the_presets_unless_the_method_says_another():
    assert configured("method=bridge", "preset=fair").image_weight == 1
    assert configured("method=bridge").image_weight == 0
    assert configured("method=bridge", "preset=fair", "method.image_weight=0").image_weight == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method=rectified_flow", "method.churn=0.3"], "method.churn is a key of method=bridge; leave it out with"),
        (["method=bridge", "method.power=1"], "method.power is a key of method=rectified_flow"),
        (["method=bridge", "method.churn=1"], "method.churn=1.0 must be below 1"),
        (["method=rectified_flow", "method.time=late"], "method.time=late is not one of uniform, logit_normal"),
        (["method=rectified_flow", "preset.time_shift=0"], "preset.time_shift=0.0 must lie above 0"),
        (["method=bridge", "method.image_weight=-1"], "method.image_weight=-1.0 must be at least 0"),
        (["method=bridge", "method.steps=0"], "method.steps=0 must be at least 1"),
        (["method=bridge", "preset.attending_levels=3"], "preset.attending_levels=3: there are 2 levels"),
        (["method=bridge", "preset.num_head_channels=3"], "preset.num_head_channels=3 must divide the channels"),
        (["method=bridge", "preset.channels=[3,9]"], "the first must be even"),
        (["method=bridge", "preset.channels=[]"], "one number a level is wanted"),
    ],
)
def test_what_cannot_be_is_one_line(words, why):
    with pytest.raises(ConfigError) as refused:
        configured(*words)
    assert why in str(refused.value) and "\n" not in str(refused.value)
