"""Published scales of uptake: their equations, masks that a user brings, and who has none."""

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import scales
from RelAPETLib.evaluation.tsv import as_tsv, read_tsv
from RelAPETLib.grid import MNI_GRID, array_to_image
from RelAPETLib.regions import load_regions
from RelAPETLib.tracers import TRACERS

PIB, TAU = TRACERS["PIB"].scale, TRACERS["TAU"].scale


@pytest.fixture(scope="module")
def labels():
    image, regions = load_regions()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), {region.name: region.label for region in regions}


@pytest.fixture(scope="module")
def masks(labels):
    array, numbers = labels
    return {
        "cortex": array == numbers["frontal"],
        "reference": np.isin(array, [numbers["cerebellar_grey"], numbers["cerebellar_white"]]),
    }


def uptake(masks, cortex, reference):
    return np.select([masks["cortex"], masks["reference"]], [cortex, reference], 0.7).astype(np.float32)


def test_the_anchors_of_the_equations():
    """Klunk et al.: young controls' SUVR 1.009 is 0, mild Alzheimer's disease's 2.076 is 100."""
    slope, intercept = PIB.lines["cortex"]
    assert slope * 1.009 + intercept == pytest.approx(0, abs=1e-9)
    assert slope * 2.076 + intercept == pytest.approx(100)
    assert (slope, intercept) == pytest.approx((93.7, -94.6), abs=0.05)  # as others print them
    for slope, intercept in TAU.lines.values():  # a z score: 0 lies at the SUVR of people without tau
        assert 0.8 < -intercept / slope < 1.3
    for scale in (PIB, TAU):
        assert set(scale.regions) == {*scale.lines, "reference"}
        assert scales.ESTIMATED in scales.words_of(scale) and scale.source in scales.words_of(scale)


def test_uptake_is_referenced_anew(masks):
    """The value does not change when all uptake is referenced to something else."""
    everywhere = np.ones(MNI_GRID.shape, bool)
    for factor in (1, 0.6):
        values, shares = scales.scale_values(uptake(masks, 2.076 * factor, factor), masks, PIB, everywhere)
        assert values == pytest.approx({"cortex": 100}, abs=1e-3) and shares == {"cortex": 1}


def test_what_is_out_of_view_has_no_value(masks):
    inside = masks["reference"].copy()
    values, shares = scales.scale_values(uptake(masks, 2, 1), masks, PIB, inside)
    assert np.isnan(values["cortex"]) and shares["cortex"] == 0
    values, _ = scales.scale_values(uptake(masks, 2, 1), masks, PIB, masks["cortex"])
    assert np.isnan(values["cortex"])  # the reference is out of view
    with pytest.raises(InputError, match="must be above 0"):
        scales.scale_values(uptake(masks, 2, 0), masks, PIB, inside)


def test_rows_and_who_has_none(masks, tmp_path):
    keys = {"participant_id": "sub-1", "session": "n/a", "tracer": "PIB", "model": "demo"}
    inside = np.ones(MNI_GRID.shape, bool)
    made, measured = uptake(masks, 1.5, 1), uptake(masks, 2.076, 1)
    known = {PIB.name: masks}
    (row,) = scales.scale_rows(keys, made, measured, known, inside)
    assert row["measured"] == pytest.approx(100, abs=1e-3) and row["synthetic"] == pytest.approx(46.02, abs=0.01)
    assert row["kind"] == "uncalibrated, estimated" and row["atlas"] == "Centiloid" and row["unit"] == "CL"
    (alone,) = scales.scale_rows(keys, made, None, known, inside)
    assert np.isnan(alone["measured"])
    assert scales.scale_rows(keys, made, measured, known, inside, relative=True) == []
    assert scales.scale_rows({**keys, "tracer": "PBR"}, made, measured, known, inside) == []
    assert scales.scale_rows({**keys, "tracer": "TAU"}, made, measured, known, inside) == []  # no masks of its scale
    table = tmp_path / "scales.tsv"
    table.write_bytes(as_tsv([row, alone], scales.COLUMNS))
    first, second = read_tsv(table, scales.COLUMNS)
    assert "Klunk" in first["source"] and second["measured"] == "n/a" and "None" not in table.read_text()


def write_mask(path, array):
    sitk.WriteImage(array_to_image(array.astype(np.uint8)), str(path))


@pytest.mark.parametrize("how", ["as it is", "2 mm", "oblique"])
def test_masks_of_any_geometry_come_onto_the_grid(masks, how):
    image = array_to_image(masks["reference"].astype(np.uint8))
    if how != "as it is":
        turned = sitk.Image([100, 120, 110], sitk.sitkUInt8)
        turned.SetSpacing((2, 2, 2) if how == "2 mm" else (1.9, 2, 2.1))
        turn = sitk.Euler3DTransform((0, 0, 0), *((0, 0, 0) if how == "2 mm" else (0.2, -0.1, 0.3)))
        turned.SetDirection(np.ravel(np.array(turn.GetMatrix()).reshape(3, 3)[:, [1, 0, 2]] * [1, -1, 1]))
        centre = np.array([0.0, 20, 10]) - turned.TransformContinuousIndexToPhysicalPoint((49.5, 59.5, 54.5))
        turned.SetOrigin(centre)
        image = sitk.Resample(image, turned, sitk.Transform(), sitk.sitkNearestNeighbor)
    found = scales.on_grid(image, "mask")
    both, either = (found & masks["reference"]).sum(), (found | masks["reference"]).sum()
    assert both / either > (0.999 if how == "as it is" else 0.7)
    asymmetry = [np.argwhere(volume).mean(0) for volume in (found, masks["reference"])]
    np.testing.assert_allclose(*asymmetry, atol=0.3)


def test_a_table_of_masks(masks, tmp_path):
    for name, mask in masks.items():
        write_mask(tmp_path / f"{name}.nii.gz", mask)
    table = tmp_path / "masks.tsv"
    head = "scale\tregion\tfile\n"
    good = "centiloid\tcortex\tcortex.nii.gz\nCentiloid\treference\treference.nii.gz\n"
    table.write_text(head + good)
    found = scales.read_scale_masks(table)
    assert list(found) == ["Centiloid"] and (found["Centiloid"]["cortex"] == masks["cortex"]).all()
    for text, told in (
        (good.replace("centiloid\tcortex", "Braak\tcortex"), "unknown scale 'Braak'"),
        (good.replace("\tcortex\t", "\tcerebrum\t"), "unknown region 'cerebrum'.*cortex"),
        (good + "Centiloid\tcortex\tcortex.nii.gz\n", "stands there twice"),
        (good.splitlines()[0] + "\n", "lacks the reference"),
        (good.splitlines()[1] + "\n", "lacks a region"),
        (good.replace("reference.nii.gz", "none.nii.gz"), "none.nii.gz"),
        ("", "without any row"),
    ):
        table.write_text(head + text)
        with pytest.raises(InputError, match=told):
            scales.read_scale_masks(table)


def test_what_is_no_mask_of_mni_space_is_refused(masks, labels, tmp_path):
    array, _ = labels
    with pytest.raises(InputError, match="several labels"):
        scales.on_grid(array_to_image(array), "atlas")
    with pytest.raises(InputError, match="empty"):
        scales.on_grid(array_to_image(np.zeros(MNI_GRID.shape, np.uint8)), "nothing")
    away = array_to_image(masks["cortex"].astype(np.uint8))
    away.SetOrigin(np.add(away.GetOrigin(), (0, 0, 150)))
    with pytest.raises(InputError, match="lies on the model grid"):
        scales.on_grid(away, "away")
    corner = np.zeros(MNI_GRID.shape, bool)
    corner[:20, :20, :20] = True
    write_mask(tmp_path / "corner.nii.gz", corner)
    with pytest.raises(InputError, match="brain of MNI space"):
        scales.read_mask(tmp_path / "corner.nii.gz")


@pytest.mark.parametrize("high", [0.6, 1.0, 100, 255])
def test_a_mask_of_two_values_covers_what_is_not_0(masks, high):
    image = array_to_image(masks["reference"].astype(np.float32) * high)
    assert (scales.on_grid(image, "mask") == masks["reference"]).all()


def test_shares_of_a_region_count_as_they_are():
    """A probability map counts from half on, though it reaches no more than .6; one in percent is no mask of ours."""
    share = np.zeros(MNI_GRID.shape, np.float32)
    share[60:100, 70:110, 60:100] = 0.31
    share[70:90, 80:100, 70:90] = 0.6
    assert (scales.on_grid(array_to_image(share), "map") == (share >= 0.5)).all()
    steps = np.where(share > 0.5, 255, np.round(share * 255)) * np.float32(
        1.0001 / 255
    )  # as whole numbers with a slope
    assert (scales.on_grid(array_to_image(steps.astype(np.float32)), "map") == (share >= 0.5)).all()
    with pytest.raises(InputError, match="shares up to 0.48, where half is wanted"):
        scales.on_grid(array_to_image(share * np.float32(0.8)), "map")
    with pytest.raises(InputError, match="divide a map in percent by 100"):
        scales.on_grid(array_to_image(share * 100), "map")
