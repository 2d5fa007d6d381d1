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


@pytest.mark.parametrize("kind", ["swapped", "FLAIR of noise"])
def test_a_raw_pair_is_doubted_and_nothing_is_left(kind, real_pair, tiny_latent, tmp_path, capsys):
    t1w, t2f = real_pair
    if kind == "swapped":
        t1w, t2f = t2f, t1w
    else:
        t2f = tmp_path / "noise.nii.gz"
        write_volume(noise(read_volume(real_pair[1])), t2f)
    out = tmp_path / "out"
    argv = ["synthesize", "--t1w", str(t1w), "--t2f", str(t2f), "--tracer", "PIB", "--model", str(tiny_latent)]
    check_refusal(
        main([*argv, "--device", "cpu", "--steps", "1", "--samples", "1", "--out", str(out)]), capsys, "--force"
    )
    assert not out.exists()
