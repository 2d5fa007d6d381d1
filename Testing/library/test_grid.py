"""The switch between images and tensors, shown with an array that no permutation or flip leaves as it is."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from volume_files import marked_array

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID, ModelGrid, array_to_image, image_to_array, image_to_tensor
from RelAPETLib.volumes import image_affine

SMALL = ModelGrid(shape=(4, 5, 6), spacing=(1.0, 2.0, 3.0), origin=(-7.0, 11.0, -13.0))


def test_marker_lies_where_nibabel_puts_it(tmp_path):
    """A voxel right, anterior and superior of the middle, written by ITK, is found there by nibabel."""
    array = np.zeros(MNI_GRID.shape, dtype=np.float32)
    array[130, 40, 100] = 1  # RAS (51, -66, 28): right, posterior, superior
    sitk.WriteImage(array_to_image(array), tmp_path / "marker.nii.gz")
    seen = nib.load(tmp_path / "marker.nii.gz")
    assert nib.aff2axcodes(nib.as_closest_canonical(seen).affine) == ("R", "A", "S")
    voxel = np.argwhere(seen.get_fdata() == 1)[0]
    assert np.allclose(seen.affine @ [*voxel, 1], [51, -66, 28, 1])


def test_tensor_axes_are_those_of_a_canonical_nifti(tmp_path):
    array = marked_array(SMALL.shape)
    nib.save(nib.Nifti1Image(array, SMALL.affine), tmp_path / "ras.nii.gz")
    image = sitk.DICOMOrient(sitk.ReadImage(tmp_path / "ras.nii.gz"), "RAS")
    tensor = image_to_tensor(image, SMALL)
    assert tuple(tensor.shape) == (1, 1, *SMALL.shape)
    assert np.array_equal(tensor[0, 0].numpy(), array)


def test_there_and_back():
    array = marked_array(SMALL.shape)
    image = array_to_image(array, SMALL)
    assert np.array_equal(image_to_array(image, SMALL), array)
    assert np.allclose(image_affine(image), SMALL.affine)
    # One voxel by its world place: index (3, 0, 2) is RAS (-7 + 3, 11, -13 + 6), so LPS (4, -11, -7).
    assert image[image.TransformPhysicalPointToIndex((4.0, -11.0, -7.0))] == array[3, 0, 2]


def test_type_is_kept():
    labels = marked_array(SMALL.shape).astype(np.uint8)
    assert array_to_image(labels, SMALL).GetPixelID() == sitk.sitkUInt8
    assert image_to_array(array_to_image(labels, SMALL), SMALL).dtype == np.uint8


@pytest.mark.parametrize("spoil", ["origin", "spacing", "direction", "size"])
def test_an_image_off_the_grid_is_refused(spoil):
    image = array_to_image(marked_array(SMALL.shape), SMALL)
    if spoil == "origin":
        image.SetOrigin(np.add(image.GetOrigin(), (0.02, 0, 0)))
    elif spoil == "spacing":
        image.SetSpacing((1.0, 2.0, 3.01))
    elif spoil == "direction":
        image = sitk.DICOMOrient(image, "LPS")
    else:
        image = image[1:]
    assert not SMALL.matches(image)
    with pytest.raises(InputError, match="not on the model grid"):
        image_to_array(image, SMALL)


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(InputError, match="does not fit"):
        array_to_image(np.zeros((6, 5, 4)), SMALL)
