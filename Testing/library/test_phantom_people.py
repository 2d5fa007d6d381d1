"""The simulated people: the law's promises, determinism, and what each factor does to MRI and PET."""

from dataclasses import replace

import numpy as np
import pytest

from RelAPETLib.grid import MNI_GRID
from RelAPETLib.phantom import law, law1
from RelAPETLib.phantom.head import COARSE_GRID
from RelAPETLib.phantom.people import (
    FIELD_GRID,
    displacement,
    grid_points,
    make_person,
    model_grid_at,
    person_maps,
    sample,
    template_maps,
    warp_to,
)
from RelAPETLib.phantom.render import render


def with_factors(person, factors):
    """The same person with other factors (and the same uptake)."""
    return replace(person, factors=np.asarray(factors, float))


@pytest.mark.parametrize("tracer", law1.LAWS)
def test_predictable_share_of_the_first_law_is_between_half_and_four_fifths(tracer):
    assert 0.5 <= law.predictable_share(tracer, 1) <= 0.8


@pytest.mark.parametrize("tracer", law1.LAWS)
def test_expected_amplitude_of_the_first_law_is_the_mean_of_draws(tracer):
    rng, factors = np.random.default_rng(0), np.array([0.8, 0.3, -0.4, 1.1])
    draws = [law1.draw_uptake(tracer, factors, rng) for _ in range(4000)]
    assert np.mean([u.amplitude for u in draws]) == pytest.approx(draws[0].expected_amplitude, abs=0.03)
    for region in ("parietal", "thalamus"):
        assert np.mean([u.regional[region] for u in draws]) == pytest.approx(draws[0].predictable[region], abs=0.03)


def test_reference_region_is_one():
    for index in range(5):
        for uptake in make_person(5, index).uptake.values():
            assert uptake.regional["cerebellar_grey"] == 1.0


def test_people_follow_from_seed_and_index_alone():
    one, again, other = make_person(3, 7), make_person(3, 7), make_person(3, 8)
    assert np.array_equal(one.factors, again.factors) and one.uptake == again.uptake and one.scanned == again.scanned
    assert not np.array_equal(one.factors, other.factors)
    first, second = render(one), render(again)
    assert np.array_equal(first.t2f, second.t2f) and np.array_equal(first.pet["PIB"], second.pet["PIB"])


def test_some_people_lack_some_tracers_and_none_lacks_all():
    scanned = [make_person(1, i).scanned for i in range(60)]
    assert min(map(len, scanned)) >= 1
    assert {len(s) for s in scanned} >= {1, 2, 3}


def test_full_deformation_folds_nowhere():
    field = displacement(make_person(2, 4), "full")
    gradients = np.stack([np.stack(np.gradient(component, 4.0)) for component in field])
    jacobian = np.linalg.det(np.moveaxis(gradients, (0, 1), (-2, -1)) + np.eye(3))
    assert jacobian.min() > 0
    assert 0.5 < np.linalg.norm(field, axis=0).mean() < 15
    assert field.shape == (3, *FIELD_GRID.shape)


@pytest.mark.parametrize("index", range(3))
def test_warping_where_the_template_lies_is_warping_everywhere(index):
    person, everywhere = make_person(2, index), np.ones(model_grid_at(2).shape, np.float32)
    points = grid_points(COARSE_GRID)
    points = points + sample(displacement(person, "full"), points, FIELD_GRID, edge=True)
    plain = sample(everywhere[None], points, model_grid_at(2))[0]
    warped = warp_to(person, COARSE_GRID, {"one": everywhere}, kind="full", spacing=2)["one"]
    assert np.array_equal(warped, plain) and 0 < np.count_nonzero(plain) < plain.size / 2


def test_a_tracers_activity_does_not_depend_on_what_else_is_made():
    person, grid = make_person(2, 0), model_grid_at(2)
    alone = person_maps(person, grid, spacing=2, tracers=("PIB",), expected=False)
    beside = person_maps(person, grid, spacing=2)
    assert set(alone.activity) == {"PIB"} and not alone.expected_activity
    assert np.array_equal(alone.activity["PIB"], beside.activity["PIB"])


def test_rendering_is_masked_and_scaled_like_preprocessed_volumes():
    person = make_person(1, 3)
    rendering = render(person, oracle=True)
    outside = template_maps(2)["brain"] <= 0.5
    for mri in (rendering.t1w, rendering.t2f):
        assert mri.shape == model_grid_at(2).shape == tuple(n // 2 for n in MNI_GRID.shape)
        assert mri.min() == -1 and mri.max() == 1 and np.all(mri[outside] == -1)
    for images in (rendering.pet, rendering.oracle):
        assert set(images) == set(law.law_tracers())
        assert all(np.all(image[outside] == 0) for image in images.values())


def test_regional_uptake_shows_in_the_pet():
    person = make_person(1, 3)
    pet = render(person).pet["TAU"]
    template = template_maps(2)
    core = (template["region"] == law.REGIONS.index("striatum")) & (template["grey"] > 0.5)
    assert pet[core].mean() == pytest.approx(person.uptake["TAU"].regional["striatum"], abs=0.25)


def test_atrophy_lowers_cortical_t1w_and_disease_raises_flair():
    person, grid = make_person(1, 3), model_grid_at(2)
    healthy = person_maps(with_factors(person, [0, -2, 0, -2]), grid, kind="residual", spacing=2, tracers=())
    ill = person_maps(with_factors(person, [0, 2, 0, 2]), grid, kind="residual", spacing=2, tracers=())
    parietal = template_maps(2)["region"] == law.REGIONS.index("parietal")
    assert ill.grey[parietal].sum() < 0.9 * healthy.grey[parietal].sum()
    assert ill.lesion.sum() > 2 * healthy.lesion.sum()
