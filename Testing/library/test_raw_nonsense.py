"""Raw scans that are no pair of a brain's T1w and T2-FLAIR, through the command line as a user would give them."""

import numpy as np
import pytest
import SimpleITK as sitk
from test_bad_input import check_refusal

from RelAPETLib.cli import main
from RelAPETLib.volumes import read_volume, write_volume

pytestmark = pytest.mark.slow


def noise(image):
    made = sitk.GetImageFromArray(np.abs(np.random.default_rng(3).normal(100, 30, image.GetSize()[::-1])))
    made.CopyInformation(image)
    return sitk.Cast(made, sitk.sitkFloat32)


def as_smooth_as_pet(path, made):
    write_volume(sitk.SmoothingRecursiveGaussian(sitk.Cast(read_volume(path), sitk.sitkFloat32), 9 / 2.355), made)
    return made


@pytest.mark.parametrize("kind", ["swapped", "FLAIR of noise", "smooth T1w", "smooth FLAIR"])
def test_a_raw_pair_is_doubted_and_nothing_is_left(kind, real_pair, tiny_latent, tmp_path, capsys):
    t1w, t2f = real_pair
    said = "--force"
    if kind == "swapped":
        t1w, t2f = t2f, t1w
    elif kind == "smooth T1w":
        t1w, said = as_smooth_as_pet(t1w, tmp_path / "t1w.nii.gz"), "the T1w is as smooth as a PET"
    elif kind == "smooth FLAIR":
        t2f, said = as_smooth_as_pet(t2f, tmp_path / "t2f.nii.gz"), "the T2-FLAIR is as smooth as a PET"
    else:
        t2f = tmp_path / "noise.nii.gz"
        write_volume(noise(read_volume(real_pair[1])), t2f)
    out = tmp_path / "out"
    argv = ["synthesize", "--t1w", str(t1w), "--t2f", str(t2f), "--tracer", "PIB", "--model", str(tiny_latent)]
    check_refusal(main([*argv, "--device", "cpu", "--steps", "1", "--samples", "1", "--out", str(out)]), capsys, said)
    assert not out.exists()
