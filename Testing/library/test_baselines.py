"""The training people's mean PET: each person once, and in each voxel those whose PET shows something there."""

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.evaluation.baselines import MEAN, MeanImage, Training
from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.reading import shown


def image(array) -> sitk.Image:
    return sitk.GetImageFromArray(np.asarray(array, np.float32))


def pair(person: str, session: str = "") -> Pair:
    return Pair(person, session, "PIB", "", None, None)


def test_images_weigh_people_as_regions_do():
    """One person with three scans and one with one: both means lie half way between the two people's own."""
    training, region = Training(), ("atlas", "frontal")
    for person, session, value in (("a", "1", 1.0), ("a", "2", 2.0), ("a", "3", 3.0), ("b", "1", 5.0)):
        volume = image(np.full((4, 5, 6), value))
        training.add(pair(person, session), {region: value}, volume, shown(volume))
    assert training.predictions(pair("c"))[MEAN][region] == 3.5
    np.testing.assert_allclose(sitk.GetArrayFromImage(training.mean_image("PIB")), 3.5)


def test_what_a_pet_does_not_show_is_no_value():
    """Cut fields of view: the mean is that of those who are there; 0 where nobody is."""
    rng = np.random.default_rng(0)
    volumes, cuts = rng.uniform(1, 2, (3, 8, 9, 10)).astype(np.float32), (2, 4, 8)
    mean = MeanImage(image(volumes[0]))
    volumes[1, 2, 4, 4] = 0  # a hole within what is shown, where a PET may well be 0
    for person, (volume, cut) in enumerate(zip(volumes, cuts, strict=True)):
        volume[:1], volume[cut:] = 0, 0
        seen = image(volume)
        mean.add(str(person), seen, shown(seen))
    found = sitk.GetArrayFromImage(mean.mean())
    np.testing.assert_allclose(found[1], volumes[:, 1].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[2:4], volumes[1:, 2:4].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[4:8], volumes[2, 4:8], rtol=1e-6)
    assert (found[0] == 0).all() and (sitk.GetArrayFromImage(mean.mean()) == found).all()


def test_a_person_whose_scans_do_not_come_together_is_refused():
    one = image(np.ones((3, 3, 3)))
    mean = MeanImage(one)
    for person in "ab":
        mean.add(person, one, one)
    with pytest.raises(ValueError, match="one after the other"):
        mean.add("a", one, one)


def test_several_grids_have_no_mean():
    training = Training()
    for person, shape in (("a", (4, 4, 4)), ("b", (4, 4, 5)), ("c", (4, 4, 4))):
        volume = image(np.ones(shape))
        training.add(pair(person), {}, volume, shown(volume))
    assert training.mean_image("PIB") is None and training.mean_image("TAU") is None
