"""What the shipped demo model promises: better than a population mean, right reactions, honest spread, any orientation.

People rendered straight on the grid serve where only the model is in question; raw scans where everything is. The full
figures are `Testing/benchmarks/quality.py`'s.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from RelAPETLib.grid import image_to_array
from RelAPETLib.models import load_model
from RelAPETLib.phantom.factors import CORTEX, REGIONS
from RelAPETLib.phantom.law2 import LAWS
from RelAPETLib.phantom.people import make_person, template_maps
from RelAPETLib.phantom.render import render
from RelAPETLib.synthesis import synthesize, synthesize_many
from RelAPETLib.tracers import TRACERS

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from phantom_cases import LAW, UNSEEN_SEED
from quality import Regions, spread_figures

pytestmark = pytest.mark.slow
PEOPLE, DRAWS = 14, 10


@pytest.fixture(scope="module")
def model():
    return load_model("demo")


@pytest.fixture(scope="module")
def people():
    """Unseen people on the grid at 2 mm, with what the law without its noise gives."""
    return [render(make_person(UNSEEN_SEED, 500 + i, LAW), oracle=True) for i in range(PEOPLE)]


@torch.no_grad()
def draw(model, t1w: np.ndarray, t2f: np.ndarray, tracer: str, samples: int = 4, seed: int = 0) -> np.ndarray:
    """SUVR samples [K, 80, 90, 80] from MRIs at 2 mm, the model's own resolution."""
    from RelAPETLib.diffusion import sample, seeded_noise

    network = model.method.network
    features = network.inner_features(torch.from_numpy(np.stack([t1w, t2f]))[None])
    encoded = network.encoded_of(network.scores(features), features).expand(samples, -1)
    labels = torch.full((samples,), TRACERS[tracer].label)
    latent = sample(
        lambda x, t: network.denoise(x, encoded, t, labels),
        (samples, *model.method.diffusion_shape),
        model.method.schedule,
        gives="clean",
        steps=20,
        noise=seeded_noise(seed, mirrored=True),
    )
    low, high = TRACERS[tracer].suvr_window
    return low + network.decode_inner(latent, labels)[:, 0].clamp(0, 1).numpy() * (high - low)


@pytest.fixture(scope="module")
def drawn(model, people):
    """Samples by tracer, [people][K, 80, 90, 80]."""
    return {t: [draw(model, p.t1w, p.t2f, t, DRAWS, seed=i) for i, p in enumerate(people)] for t in LAWS}


def cortical_mean(regions: Regions, pet: np.ndarray) -> float:
    return float(regions.means(pet)[[regions.names.index(region) for region in CORTEX]].mean())


def test_metadata_say_that_it_is_simulated(model):
    assert model.metadata["training_data"]["simulated"] is True
    assert "not" in model.metadata["intended_use"].lower()
    assert model.metadata["differences_from_paper"]


@pytest.mark.parametrize("tracer", LAWS)
def test_says_of_people_what_the_law_says_from_their_mri(people, drawn, tracer):
    """Against the law's own mean given the MRI: what a person really has, an MRI tells of PIB least of all."""
    regions = Regions()
    ideal = [cortical_mean(regions, p.oracle[tracer]) for p in people]
    ours = [cortical_mean(regions, d.mean(0)) for d in drawn[tracer]]
    assert np.corrcoef(ours, ideal)[0, 1] > 0.3


def test_pib_reaches_negative_and_positive_people(drawn):
    """Amyloid is hidden from an MRI: draws go from low to high, most of them low."""
    regions = Regions()
    values = np.array([cortical_mean(regions, sample) for samples in drawn["PIB"] for sample in samples])
    assert values.max() - values.min() > 0.6
    assert (values < np.mean([values.min(), values.max()])).mean() > 0.5


def test_the_spread_is_each_persons_own(drawn):
    """Over people, the SD of the draws' cortical TAU differs by far more than the chance of so few draws makes it."""
    regions = Regions()
    spreads = [np.std([cortical_mean(regions, sample) for sample in samples], ddof=1) for samples in drawn["TAU"]]
    assert max(spreads) > 3 * min(spreads)


@pytest.mark.parametrize("tracer", LAWS)
def test_spread_of_samples_is_of_the_size_of_the_error(people, drawn, tracer):
    inside = template_maps(2)["brain"] > 0.5
    figures = [spread_figures(d, p.pet[tracer], inside) for d, p in zip(drawn[tracer], people, strict=True)]
    correlation, error, expected = np.mean(figures, axis=0)
    assert correlation > (0.1 if tracer != "PBR" else 0)  # its spread is nearly the same everywhere
    assert 0.6 < expected / error < 1.6


def test_changing_only_the_tracer_changes_the_pattern_as_the_law_does(people, drawn):
    regions = Regions()
    for one, two in (("TAU", "PIB"), ("PIB", "PBR"), ("PBR", "TAU")):
        made = np.mean([regions.means(b.mean(0)) - regions.means(a.mean(0)) for a, b in zip(drawn[one], drawn[two])], 0)  # noqa: B905
        law = np.mean([regions.means(p.oracle[two]) - regions.means(p.oracle[one]) for p in people], 0)
        assert np.corrcoef(made, law)[0, 1] > 0.95


def test_another_persons_t1w_moves_tau_towards_that_person(model):
    """Of the MRI, only the T1w; so the two no longer fit, and what the law says of both differs by the FLAIR too."""
    from scipy.stats import pearsonr

    some = [render(make_person(UNSEEN_SEED, 520 + i, LAW), oracle=True) for i in range(28)]
    regions, made, law = Regions(), [], []
    for i, (person, donor) in enumerate(zip(some, some[1:] + some[:1], strict=True)):
        own, swapped = (draw(model, t1w, person.t2f, "TAU", DRAWS, seed=i) for t1w in (person.t1w, donor.t1w))
        made.append(cortical_mean(regions, swapped.mean(0)) - cortical_mean(regions, own.mean(0)))
        law.append(cortical_mean(regions, donor.oracle["TAU"]) - cortical_mean(regions, person.oracle["TAU"]))
    assert pearsonr(made, law, alternative="greater").pvalue < 0.01


def test_a_flair_without_white_matter_disease_lowers_pbr(model):
    """The same person and noise, with and without lesions and halo in the FLAIR."""
    from dataclasses import replace

    regions, falls = Regions(), []
    white = regions.names.index("white_matter")
    for index in range(600, 640):
        person = make_person(UNSEEN_SEED, index, LAW)
        if person.factors[3] < 0.8:
            continue
        ill = render(person)
        healthy = render(replace(person, factors=np.array([*person.factors[:3], -1.5])))
        both = [regions.means(draw(model, ill.t1w, t2f, "PBR").mean(0))[white] for t2f in (ill.t2f, healthy.t2f)]
        falls.append(both[1] - both[0])
    assert len(falls) >= 4
    assert max(falls) < 0


def grey_white_ratio(pet: np.ndarray) -> float:
    template = template_maps(pet.shape[0] // 80 and 160 // pet.shape[0])
    cerebrum = template["region"] != REGIONS.index("cerebellar_grey")
    grey, white = (template[tissue] > 0.8 for tissue in ("grey", "white"))
    return float(pet[grey & cerebrum].mean() / pet[white & cerebrum].mean())


def test_real_pair_gives_plausible_pet(real_pair):
    others = [render(make_person(UNSEEN_SEED, 700 + i, LAW)).pet for i in range(40)]
    results = list(synthesize_many(*real_pair, tuple(LAWS), samples=2, steps=10, space="both", device="cpu"))
    assert {result.tracer for result in results} == set(LAWS)
    for result in results:
        pet, tracer = image_to_array(result.volumes["synthetic_pet_space-MNI"]), result.tracer
        low, high = TRACERS[tracer].suvr_window
        assert pet.min() >= low and pet.max() <= high and np.isfinite(pet).all()
        first, last = np.quantile([grey_white_ratio(other[tracer]) for other in others], (0.01, 0.99))
        assert first <= grey_white_ratio(pet) <= last, tracer


def reoriented(image: sitk.Image, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> sitk.Image:
    """The same volume in world space, stored with other axes."""
    return sitk.Flip(sitk.PermuteAxes(image, order), flips, False)


def turned(image: sitk.Image, degrees: float) -> sitk.Image:
    """The same voxels in a scanner turned about an oblique axis."""
    turn = sitk.VersorTransform((0.6, 0.64, 0.48), np.deg2rad(degrees)).GetMatrix()
    turn, out = np.reshape(turn, (3, 3)), sitk.Image(image)
    out.SetOrigin(tuple(turn @ image.GetOrigin()))
    out.SetDirection(tuple((turn @ np.reshape(image.GetDirection(), (3, 3))).ravel()))
    return out


def test_the_same_pet_in_world_space_however_the_scans_are_stored():
    from RelAPETLib.phantom.head import make_head
    from RelAPETLib.phantom.scanner import scan_mri

    head = make_head(make_person(UNSEEN_SEED, 800, LAW))
    t1w, t2f = scan_mri(head, "T1w").image, scan_mri(head, "FLAIR").image

    def pet(one, two):
        return synthesize(one, two, "TAU", samples=1, steps=5, device="cpu").pet

    plain = sitk.GetArrayFromImage(pet(t1w, t2f))
    inside = plain > 0.3
    ways = (
        ((2, 0, 1), (True, False, True), 0), ((1, 0, 2), (False, True, False), 0), ((0, 2, 1), (True, True, True), 14),
    )  # fmt: skip
    for order, flips, degrees in ways:  # the last in an oblique scanner, too
        one, two = turned(t1w, degrees), turned(t2f, degrees)
        stored = pet(reoriented(one, order, flips), reoriented(two, order[::-1], flips))
        back = sitk.Resample(stored, one, sitk.Transform(), sitk.sitkNearestNeighbor)
        assert stored.GetSize() == reoriented(one, order, flips).GetSize()
        assert np.abs(sitk.GetArrayFromImage(back) - plain)[inside].mean() < 0.03
