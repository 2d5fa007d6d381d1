"""Regions that scans cut off: their share is that of the whole region, and what no MRI shows has no value."""

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_study import GRID, paint

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.run import measure_all
from RelAPETLib.evaluation.settings import Settings
from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.regions import LEAST_IN_VIEW, load_regions
from RelAPETLib.registration.fields import stretch
from RelAPETLib.registration.template import load_template
from RelAPETLib.volumes import write_volume

#: Of the heads, beside the template's.
SIZE, TURN = 0.8, 0.2


@pytest.fixture(scope="module")
def to_mni():
    """Points of a small, turned head to MNI space."""
    affine = sitk.AffineTransform(3)
    cos, sin = np.cos(TURN), np.sin(TURN)
    affine.SetMatrix((np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) / SIZE).ravel().tolist())
    affine.SetTranslation((5.0, -8.0, 6.0))
    return affine


def grid_of(to_mni, cut_mm):
    """A grid of 2.5 mm on permuted axes over the head, whose lowest part it cuts off."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in MNI_GRID.shape], indexing="ij"), -1).reshape(-1, 3)
    image, back = MNI_GRID.reference_image(), to_mni.GetInverse()
    points = np.array([back.TransformPoint(image.TransformIndexToPhysicalPoint(c.tolist())) for c in corners])
    low, high = points.min(0), points.max(0)
    low[2] += cut_mm
    grid = sitk.Image([int(n) for n in np.ceil((high - low) / 2.5) + 1], sitk.sitkUInt8)
    grid.SetSpacing([2.5] * 3)
    grid.SetOrigin(low.tolist())
    return sitk.DICOMOrient(grid, "PSL")


def shares_of(to_mni, grid):
    """Share of each region's voxels whose places in the person's space lie on a grid, by numpy."""
    labels, regions = load_regions()
    array = sitk.GetArrayFromImage(labels)[::2, ::2, ::2]
    index = np.argwhere(array > 0)[:, ::-1] * 2
    points = np.array(labels.GetOrigin()) + (index * labels.GetSpacing()) @ np.reshape(labels.GetDirection(), (3, 3)).T
    back = to_mni.GetInverse()
    own = points @ np.reshape(back.GetMatrix(), (3, 3)).T + back.TransformPoint((0.0, 0.0, 0.0))
    voxels = (own - grid.GetOrigin()) @ np.reshape(grid.GetDirection(), (3, 3)) / grid.GetSpacing()
    inside = ((voxels >= -0.5) & (voxels <= np.array(grid.GetSize()) - 0.5)).all(1)
    which = array[array > 0]
    return {region.name: inside[which == region.label].mean() for region in regions}


def measured(folder, to_mni, grid, **settings):
    brain = sitk.Resample(sitk.Cast(load_template().mask, sitk.sitkFloat32), grid, to_mni, sitk.sitkLinear, 0.0)
    write_volume(brain, folder / "pet.nii.gz", overwrite=True)
    sitk.WriteTransform(to_mni, str(folder / "to_mni.tfm"))
    pair = Pair("sub-1", "", "PIB", "model", folder / "pet.nii.gz", folder / "pet.nii.gz", space="T1w",
                to_mni=folder / "to_mni.tfm")  # fmt: skip
    found = measure_all([pair], Settings(**settings))
    return {value.region: value for value in found.regions if value.what == "suvr"}


def test_a_region_that_a_scan_cuts_off_has_the_share_that_is_left(to_mni, tmp_path):
    whole = measured(tmp_path, to_mni, grid_of(to_mni, 0))
    assert all(value.in_field > 0.96 for value in whole.values()), "of a head of half the template's volume"
    grid = grid_of(to_mni, 45)
    wanted = shares_of(to_mni, grid)
    found = measured(tmp_path, to_mni, grid)
    assert min(wanted.values()) < 0.2 and 0.5 < wanted["lateral_temporal"] < 0.9, "some are cut, some in part"
    for name, value in found.items():
        assert value.in_field == pytest.approx(wanted[name], abs=0.03), name
        assert np.isnan(value.synthetic) == np.isnan(value.measured) == (value.in_field < LEAST_IN_VIEW)
    assert found["occipital"].volume_ml == pytest.approx(whole["occipital"].volume_ml * wanted["occipital"], rel=0.05)
    with pytest.raises(InputError, match="cerebellar_grey is nan"):
        measured(tmp_path, to_mni, grid, reference_region="cerebellar_grey")


def test_stretch_is_the_jacobian_determinant_on_any_axes():
    """Of x -> x + a sin(bx) along each axis: the product of 1 + ab cos(bx)."""
    a, b = 4.0, 0.05
    space = grid_of(sitk.AffineTransform(3), 0)
    index = np.indices(space.GetSize()[::-1])[::-1].reshape(3, -1).T
    points = np.array(space.GetOrigin()) + (index * space.GetSpacing()) @ np.reshape(space.GetDirection(), (3, 3)).T
    field = sitk.GetImageFromArray((a * np.sin(b * points)).reshape(*space.GetSize()[::-1], 3), isVector=True)
    field.CopyInformation(space)
    found = sitk.Resample(stretch(sitk.DisplacementFieldTransform(field), space), space)
    wanted = (1 + a * b * np.cos(b * points)).prod(1).reshape(space.GetSize()[::-1])
    inner = (slice(4, -4),) * 3
    np.testing.assert_allclose(sitk.GetArrayFromImage(found)[inner], wanted[inner], atol=0.02)
    assert np.ptp(wanted) > 0.8


def test_what_the_mri_do_not_show_is_no_value_of_the_synthetic_pet(tmp_path):
    """``regions.tsv`` of the result says it; the PET itself has some number there."""
    pet = paint(1.2 + 0.1 * np.arange(12))
    made = tmp_path / "synthetic_pet_space-MNI.nii.gz"
    write_volume(array_to_image(pet, GRID), made)
    shares = {"frontal": 0.3, "parietal": 0.7, "cerebellar_grey": 0.49}
    lines = [f"{name}\t{share}" for name, share in shares.items()]
    (tmp_path / "regions.tsv").write_text("\n".join(["region\tshare_in_view", *lines, "occipital\tn/a", ""]))
    write_volume(array_to_image(pet, GRID), tmp_path / "pet.nii.gz")
    pair = Pair("sub-1", "", "PIB", "model", made, tmp_path / "pet.nii.gz", space="MNI")
    values = measure_all([pair], Settings()).regions
    found = {(value.what, value.region): value for value in values}
    for name in ("frontal", "cerebellar_grey"):
        value = found["suvr", name]
        assert np.isnan(value.synthetic) and np.isnan(found["asymmetry", name].synthetic)
        assert value.measured > 1 and value.in_field == shares[name], "what was measured is what it is"
    assert found["suvr", "parietal"].synthetic == found["suvr", "parietal"].measured
    assert found["suvr", "parietal"].in_field == 0.7 and found["suvr", "occipital"].in_field > 0.9
    with pytest.raises(InputError, match="reference region cerebellar_grey"):
        measure_all([pair], Settings(reference_region="cerebellar_grey"))
    assert measure_all([pair], Settings(reference_region="parietal")).regions
