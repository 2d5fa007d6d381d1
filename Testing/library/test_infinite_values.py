"""Infinite values of a network end a synthesis, as NaN do: clamped, they would look like uptake."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from RelAPETLib import methods
from RelAPETLib.errors import ModelError
from RelAPETLib.methods.base import Defaults
from RelAPETLib.methods.one_pass import OnePass
from RelAPETLib.models import load_model
from RelAPETLib.scaling import bounded
from RelAPETLib.synthesis import sampling

PLAN = SimpleNamespace(
    samples=2, seed=0, sampler=None, steps=1, clip=None, label=0, precision="fp32", window=(0, 3), tracer=None
)
MRI = torch.zeros(1, 2, 160, 180, 160)


def test_bounds_keep_what_is_finite_to_the_bit_and_turn_infinities_to_nan():
    values = torch.tensor([-np.inf, -2.0, -1.0, -0.0, 1e-42, 0.3, 1.0, 7.0, 3e38, np.inf, np.nan])
    found = bounded(values, -1, 1)
    assert found[values.isfinite()].numpy().tobytes() == values[values.isfinite()].clamp(-1, 1).numpy().tobytes()
    assert found[~values.isfinite()].isnan().all() and values[0] == -np.inf


def drawn_by(draw):
    method = SimpleNamespace(defaults=Defaults(batch=2), encode=lambda mri, clinical=None: mri, draw=draw)
    model = SimpleNamespace(method=method, device="cpu", name="m", brought_back=lambda: None)
    return sampling.draw_tracers(sampling.ConditionedModel(model, torch.zeros(1, 2, 4, 4, 4)), [PLAN])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_one_voxel_of_one_sample_is_enough(value):
    def draw(encoded, label, count, *_):
        volumes = torch.zeros(count, 1, 4, 4, 4)
        volumes[1, 0, 2, 2, 2] = value
        return volumes

    with pytest.raises(ModelError, match="NaN or infinite values"):
        drawn_by(draw)
    assert drawn_by(lambda encoded, label, count, *_: torch.full((count, 1, 4, 4, 4), 5.0))[0].mean.max() == 1


def test_methods_that_clamp_what_they_draw_do_not_hide_them(tiny_latent):
    model = load_model(tiny_latent)
    last = [weights for name, weights in model.method.network.named_parameters() if name.endswith("bias")][-1]
    decoder = [w for name, w in model.method.network.named_parameters() if "decoder" in name and name.endswith("bias")]
    (decoder or [last])[-1].fill_(torch.inf)
    plan = SimpleNamespace(**vars(PLAN) | {"samples": 1, "sampler": "dpmpp"})
    with pytest.raises(ModelError, match="NaN or infinite values"):
        sampling.draw_tracers(sampling.ConditionedModel(model, MRI), [plan])

    class Blocks:
        of, to_grid = staticmethod(lambda mri: mri), staticmethod(lambda pet: pet)

    class Infinite(torch.nn.Conv3d):
        blocks = Blocks

        def forward(self, seen, labels):
            return seen[:, :1] + torch.inf

    one_pass = OnePass({}, Infinite(1, 1, 1))
    assert one_pass.draw(MRI[..., :4, :4, :4], 0, 1, None, None).isnan().all()


def test_no_method_clamps_what_it_draws_in_another_way():
    """A plain clamp to the PET's bounds, as a last step or of clean estimates, would show infinite values as uptake."""
    folder = Path(methods.__file__).parent
    plain = re.compile(r"\.clamp\((-1|0), 1\)|\.clamp\(\*clip\)")
    for file in [*folder.rglob("*.py"), *(folder.parent / "diffusion").glob("*.py")]:
        assert not plain.search(file.read_text(encoding="utf-8")), f"{file}: use scaling.bounded"
