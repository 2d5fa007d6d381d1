"""Padding, spikes and single negative voxels of an MRI decide nothing; what is signal below zero stays."""

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.notices import listening
from RelAPETLib.preprocessing import from_grid
from RelAPETLib.registration.scans import prepare, usual_units
from RelAPETLib.registration.strays import image_without_strays, without_strays
from RelAPETLib.registration.template import load_template


def head() -> np.ndarray:
    """A ball of 600 to 900 in noise of 0 to 20."""
    z, y, x = np.ogrid[-1:1:40j, -1:1:44j, -1:1:48j]
    noise = np.random.default_rng(3).uniform(0, 1, (40, 44, 48))
    return np.where(x**2 + y**2 + z**2 < 0.5, 600 + 300 * noise, 20 * noise).astype(np.float32)


def test_a_scan_without_strays_is_the_very_same():
    values = head()
    assert without_strays(values, "T1w") is values
    image = sitk.GetImageFromArray(values)
    assert image_without_strays(image, "T1w") is image


STRAYS = {
    "one voxel below zero": lambda v: v[0, 0, 1:2].fill(-300),
    "one voxel far below zero": lambda v: v[0, 0, 1:2].fill(-3e6),
    "padding": lambda v: v[:12].fill(-1000),
    "padding with an edge that was interpolated": lambda v: (v[:12].fill(-1000), v[12, :10].fill(-400)),
    "ringing": lambda v: v[:, 2, ::5].fill(-7),
    "a spike in the air": lambda v: v[1, 1, 1:2].fill(1e6),
    "a spike in the head": lambda v: v[20, 22, 24:25].fill(30000),
}


@pytest.mark.parametrize("name", STRAYS)
def test_strays_leave_the_head_as_it_is(name):
    values, clean = head(), head()
    STRAYS[name](values)
    touched = values != clean
    said = []
    with listening(said.append):
        made = without_strays(values, "T1w")
    assert said == (["T1w: 1 voxel far above all others, clipped; look for spikes in it"] if "spike" in name else [])
    assert np.array_equal(made[~touched], clean[~touched])
    assert made.min() >= 0 and made.max() <= 2.1 * 900


@pytest.mark.parametrize("spike", [0, -50.0, 500.0])
@pytest.mark.parametrize("stripped", [False, True])
def test_signal_below_zero_stays_signal(spike, stripped):
    values = head()
    ball = values > 100
    scored = (values - values[ball].mean()) / values[ball].std()
    if stripped:
        scored[~ball] = 0
    wanted = scored.copy()
    if spike:
        scored[20, 22, 24] = spike
    made, rest = without_strays(scored, "T1w"), np.ones(values.shape, bool)
    rest[20, 22, 24] = not spike
    assert made.min() == 0 and made.max() < 3 * np.ptp(wanted)
    here = ball & rest
    assert np.corrcoef(made[here], wanted[here])[0, 1] > 0.9999
    lifted = made[here] - wanted[here]
    assert np.ptp(lifted) < 0.05 * np.ptp(wanted)  # by one value, but for the lowest few


@pytest.mark.parametrize("background", ["most of it", "the corners"])
def test_a_background_of_one_value_amid_the_signal_stays_below_it(background):
    """z-scores of a stripped brain have a background of 0, which is the brain's mean; as bright, it moved the brain."""
    values = head()
    inside = values > 100 if background == "most of it" else np.indices(values.shape).min(0) > 3
    scored = np.where(inside, (values - values[inside].mean()) / values[inside].std(), 0).astype(np.float32)
    scored[20, 22, 24] = 0  # in the head
    floor = np.percentile(scored[::2, ::2, ::2][inside[::2, ::2, ::2]], 0.1)
    made = without_strays(scored, "T1w")
    assert not made[~inside].any() and made[20, 22, 24] == pytest.approx(-floor, rel=0.01)
    inside[20, 22, 24] = False
    assert np.allclose(made[inside], np.maximum(scored[inside] - floor, 0), atol=1e-4)
    assert (made[inside] > 0).mean() > 0.995
    assert np.array_equal(
        without_strays(np.where(scored == 0, scored.min(), scored), "T1w")[inside] > 0, made[inside] > 0
    )


def test_a_scan_on_the_grid_has_a_background_too():
    """z-scores within a mask that is narrower than the template's: the rim is background, in a model's input too."""
    template = load_template()
    inside, values = (image_to_array(image) for image in (template.mask, template.t1))
    narrow = image_to_array(sitk.BinaryErode(template.mask, [2] * 3)) > 0
    scored = np.where(narrow, (values - values[narrow].mean()) / values[narrow].std(), 0).astype(np.float32)
    made = image_to_array(from_grid(array_to_image(scored), None).t1w)
    assert (made[(inside > 0) & ~narrow] == -1).all() and np.corrcoef(made[narrow], values[narrow])[0, 1] > 0.999


@pytest.mark.parametrize("value", [-900.0, 1e5])
def test_one_voxel_does_not_change_what_registration_sees(value):
    """It changed the head's mask, the bias field and the scale of the whole scan."""

    def made(voxel):
        values = head()
        values[1, 1, 1] = voxel
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((4.0, 4.0, 4.0))
        scan = prepare(sitk.DICOMOrient(image, "LSA"), "T1w")
        values = sitk.GetArrayFromImage(scan.image)
        inside = sitk.GetArrayFromImage(scan.head) > 0
        return values[inside], inside

    (values, inside), (wanted, expected) = made(value), made(0.0)
    assert np.array_equal(inside, expected)
    assert np.allclose(values, wanted, rtol=1e-4)


@pytest.mark.parametrize("value", [-255.0, 25500.0])
def test_one_voxel_on_the_grid_does_not_decide_the_scale(value):
    template = load_template()
    inside = image_to_array(template.mask) > 0
    array = image_to_array(template.t1).copy()
    place = tuple(np.argwhere(inside)[5000])
    array[place] = value
    wanted, made = (from_grid(array_to_image(one), None).t1w for one in (image_to_array(template.t1), array))
    wanted, made = image_to_array(wanted), image_to_array(made)
    inside[place] = False
    # A spike still is twice as bright as the others.
    assert np.ptp(made[inside]) == pytest.approx(2 if value < 0 else 1, rel=0.1)
    assert np.corrcoef(made[inside], wanted[inside])[0, 1] == pytest.approx(1, abs=1e-6)


def scan(factor: float) -> sitk.Image:
    image = sitk.GetImageFromArray((head() * np.float32(factor)).astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    return image


@pytest.mark.parametrize("bias", [True, False], ids=["MRI", "PET"])
@pytest.mark.parametrize("power", [-40, -100, 80])
def test_registration_sees_the_same_scan_in_whatever_unit(power, bias):
    usual, other = (prepare(scan(factor), "scan", bias=bias) for factor in (1, 2.0**power))
    assert np.array_equal(*(sitk.GetArrayViewFromImage(found.head) for found in (usual, other)))
    assert np.allclose(*(sitk.GetArrayViewFromImage(found.fine) for found in (usual, other)), rtol=1e-5)
    if not bias:  # values go on to the maps
        values, own = (sitk.GetArrayViewFromImage(found.image) for found in (usual, other))
        assert np.array_equal(np.ldexp(values, power), own)


def test_a_scan_in_usual_units_is_the_very_same():
    for factor in (1e-3, 1, 1e6):
        image = scan(factor)
        assert usual_units(image) is image
    empty = sitk.Image([8, 8, 8], sitk.sitkFloat32)
    assert usual_units(empty) is empty and usual_units(empty - 1e-9).GetPixel(0, 0, 0) == np.float32(-1e-9)
