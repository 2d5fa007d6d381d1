"""A run of the tests draws what the last one drew, in whatever order and on whatever worker they run."""

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
#: Where SimpleITK's noise takes its seed; without one, or with 0, the clock is the seed.
SEED_PLACE = {"AdditiveGaussianNoise": 3, "SaltAndPepperNoise": 2, "ShotNoise": 2, "SpeckleNoise": 2}
#: Generators that take a seed from the machine where they are given none, and what always does.
GENERATORS = ("default_rng", "Random", "RandomState", "SeedSequence")
ENTROPY = ("urandom", "SystemRandom")
#: The key of a Slurm of one test run, which no figure depends on.
SECRETS = {"Testing/support/real_slurm.py"}


def unseeded(source: str) -> list[int]:
    """Lines of ``source`` that draw random numbers which change from run to run."""
    lines = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        words = {word.arg: word.value for word in call.keywords}
        if name in SEED_PLACE:
            seed = dict(enumerate(call.args)).get(SEED_PLACE[name], words.get("seed", ast.Constant(0)))
            wrong = isinstance(seed, ast.Constant) and not seed.value
        else:
            wrong = name in ENTROPY or (name in GENERATORS and not call.args and not words)
        if wrong:
            lines.append(call.lineno)
    return lines


@pytest.mark.parametrize("folder", ["RelAPETLib", "RelAPET", "training", "Testing"])
def test_nothing_takes_its_seed_from_the_machine(folder):
    files = [path for path in sorted((ROOT / folder).rglob("*.py")) if path.name != Path(__file__).name]
    assert files
    found = {
        f"{name}:{line}"
        for name, path in ((path.relative_to(ROOT).as_posix(), path) for path in files)
        if name not in SECRETS
        for line in unseeded(path.read_text(encoding="utf-8"))
    }
    assert not found, f"give these a seed of their own: {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("sitk.AdditiveGaussianNoise(flat)", True),
        ("sitk.AdditiveGaussianNoise(flat, 1.0, 0.0, 0)", True),
        ("sitk.AdditiveGaussianNoise(flat, 1.0, 0.0, 7)", False),
        ("sitk.ShotNoise(flat, seed=number)", False),
        ("np.random.default_rng()", True),
        ("np.random.default_rng(3)", False),
        ("random.Random()", True),
        ("os.urandom(9)", True),
    ],
)
def test_what_counts_as_without_a_seed(line, wrong):
    assert bool(unseeded(line)) == wrong


@pytest.fixture(scope="module")
def of_a_fixture():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


_SEEN = []


@pytest.mark.parametrize("turn", [0, 1])
def test_each_test_begins_where_it_always_did(turn, of_a_fixture):
    drawn = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    _SEEN.append(drawn)
    assert drawn == _SEEN[0] and not set(drawn) & set(of_a_fixture)  # a fixture's numbers are its own
    assert settings.default.derandomize
