"""A model that gives the same PET each time draws one sample, whatever is asked for: no spread of none is shown."""

from types import SimpleNamespace

import pytest

from RelAPETLib.methods.base import Defaults
from RelAPETLib.notices import listening
from RelAPETLib.synthesis.options import Options, resolve


def plans_of(deterministic, **options):
    """Plans of a model that draws at once, and what was said."""
    tracers = {name: {"label": 0, "output": "suvr", "window": [0, 3]} for name in ("TAU", "PIB")}
    method = SimpleNamespace(defaults=Defaults(deterministic=deterministic, samples=1 if deterministic else 4))
    model = SimpleNamespace(method=method, metadata={"name": "m", "tracers": tracers}, name="m", device="cpu")
    said = []
    with listening(said.append):
        plans = resolve(Options("all", **options), model)
    return [plan.samples for plan in plans], said


@pytest.mark.parametrize("samples", [None, 1])
def test_one_is_drawn_without_a_word(samples):
    assert plans_of(True, samples=samples) == ([1, 1], [])


def test_more_are_one_and_said_once():
    samples, (said,) = plans_of(True, samples=8)
    assert samples == [1, 1] and "one sample is drawn, not 8" in said


def test_a_model_that_varies_draws_what_is_asked_for():
    assert plans_of(False, samples=8) == ([8, 8], []) and plans_of(False) == ([4, 4], [])
