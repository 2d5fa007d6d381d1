"""What the demo model's regression is fitted to: components of the latent, or the regions' uptake first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import plain_config

from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.regions import region_names, regional_means
from training.methods.rela.latent import modes
from training.methods.rela.latent.regression import region_weights
from training.methods.rela.latent.ridge import fit_head, targets_of

LATENT = (2, 4, 4, 4)


def test_components_are_the_latents_own():
    rest = np.random.default_rng(0).normal(size=(30, 20)) @ np.diag(np.linspace(3, 0.1, 20))
    rest -= rest.mean(0)
    basis, scores = targets_of(rest, 5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-9)
    assert (np.diff(scores.var(0)) < 0).all()
    best = np.linalg.norm(rest - scores @ basis)
    assert best == pytest.approx(np.sqrt((np.linalg.svd(rest)[1][5:] ** 2).sum()))


@pytest.mark.parametrize("components", [2, 3, 8])
def test_regions_come_first_and_then_what_they_leave(components):
    """Latents that follow three regions exactly, and something else that they have nothing of."""
    rng = np.random.default_rng(1)
    uptake, other = rng.normal(1.2, [0.3, 0.2, 0.1], (40, 3)), rng.normal(size=(40, 4))
    other -= np.column_stack([np.ones(40), uptake]) @ np.linalg.lstsq(np.column_stack([np.ones(40), uptake]), other)[0]
    effects, further = rng.normal(size=(3, 20)), rng.normal(size=(4, 20))
    rest = (uptake - uptake.mean(0)) @ effects + 5 * other @ further
    basis, scores = targets_of(rest, components, uptake)
    assert basis.shape == (components, 20) and scores.shape == (40, components)
    regions = min(components, 3)
    left, sizes, _ = np.linalg.svd(uptake - uptake.mean(0), full_matrices=False)
    np.testing.assert_allclose(scores[:, :regions], (left * sizes)[:, :regions], atol=1e-9)
    if components >= 3:
        np.testing.assert_allclose(scores[:, :3] @ basis[:3], (uptake - uptake.mean(0)) @ effects, atol=1e-8)
    if components == 8:  # three of the regions, four of the rest, and one of nothing
        np.testing.assert_allclose(scores @ basis, rest, atol=1e-8)


def test_regions_that_are_level_in_everybody_leave_the_components():
    rest = np.random.default_rng(2).normal(size=(12, 20))
    found, known = targets_of(rest, 4, np.ones((12, 3))), targets_of(rest, 4)
    for ours, theirs in zip(found, known, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_a_head_that_is_fitted_to_regions_errs_less_in_them():
    """Where noise of the PET is the larger part of what latents vary by, their components have the wrong penalty."""
    rng = np.random.default_rng(3)
    people, size = 240, int(np.prod(LATENT))
    factors = rng.normal(size=(people, 4))
    seen = factors @ rng.normal(size=(4, 300)) + rng.normal(0, 3, (people, 300))
    regions = factors @ rng.normal(size=(4, 4))
    # Noise of the PET lies along what the regions change, too, though a mean over a region has little of it.
    effects = rng.normal(size=(4, size))
    latents = regions @ effects + rng.normal(0, 2, (people, 12)) @ rng.normal(size=(12, size))
    measured = regions + rng.normal(0, 0.1, regions.shape)
    train = slice(0, 160)
    errors = []
    for uptake in (None, measured[train]):
        z = torch.from_numpy(latents[train].reshape(-1, *LATENT)).float()
        head = fit_head(seen[train], z, np.zeros(160, int), 1, 6, lambda line: None, uptake=uptake)
        sd = head.buffers["latent_sd"].numpy().repeat(64)
        mean = head.buffers["latent_mean"].numpy().repeat(64)
        directions, sds = head.buffers["mode_directions"][0].numpy(), head.buffers["mode_sd"][0].numpy()
        weight, base, basis = (head.buffers[f"head_{name}"][0].numpy() for name in ("weight", "mean", "components"))
        found = base + (seen[160:] - head.buffers["head_feature_mean"].numpy()) @ weight.T @ basis
        found = found + (found @ directions.T * (sds - 1)) @ directions
        expected = (found * sd + mean - latents[160:].mean(0)) @ np.linalg.pinv(effects)
        errors.append(np.square(expected - (regions[160:] - regions[160:].mean(0))).mean())
    assert errors[1] < 0.9 * errors[0] < 0.9 * np.square(regions).mean()


@pytest.mark.parametrize("factor", [1, 2, 10])
def test_weights_of_the_regions_are_those_of_the_label_image(factor):
    rng = np.random.default_rng(4)
    coarse = rng.random([n // factor for n in MNI_GRID.shape]).astype(np.float32)
    fine = coarse
    for axis in range(3):
        fine = fine.repeat(factor, axis)
    weights = region_weights(torch.ones(coarse.shape, dtype=torch.bool), factor)
    np.testing.assert_allclose(weights.sum(1), 1)
    means = regional_means(array_to_image(fine))
    np.testing.assert_allclose(weights @ coarse.ravel(), [means[name] for name in region_names()], rtol=1e-5)


def test_a_perceptron_of_before_goes_on_and_one_of_other_targets_does_not():
    """Checkpoints of before this key do not say it."""
    recipe = (Path(modes.__file__).parents[3] / "recipes" / "demo.txt").read_text(encoding="utf-8").splitlines()
    words = [word for word in recipe if not word.startswith(("#", "latent.targets"))]
    usual, regions = (
        modes.identity_of(plain_config("out", *words, *more), "key") for more in ([], ["latent.targets=regions"])
    )
    assert "latent.targets" not in usual
    assert regions["latent.targets"] == "regions"
