"""The region map: geometry, symmetry, volumes, known coordinates, independent published coordinates."""

import csv
from pathlib import Path

import numpy as np
import pytest

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.regions import load_regions, regional_means, regional_rows, shares_in_view
from RelAPETLib.tracers import TRACERS

# cm3, both sides. Wide bounds of our own: volumes of the order that adults have, times about 1.3 because the template
# is larger than most brains (its mask has 1.9 l), +-40 % for a coarse map. Works that measured such volumes: Potvin et
# al., NeuroImage 2016;137:9-20 (subcortical); Kennedy et al., Cereb Cortex 1998;8:372-384 (gyri); Allen et al.,
# NeuroImage 2003;18:880-894 (grey matter of lobes). Their existence is verified, their numbers were not compared.
VOLUMES = {
    "frontal": (190, 400),
    "parietal": (80, 190),
    "lateral_temporal": (110, 240),
    "occipital": (70, 150),
    "mesial_temporal": (18, 42),
    "precuneus_posterior_cingulate": (20, 55),
    "striatum": (16, 40),
    "thalamus": (9, 24),
    "brainstem": (16, 38),
    "cerebellar_grey": (90, 190),
    "white_matter": (350, 750),
    "cerebellar_white": (15, 45),
}

# |x|, y, z in mm
KNOWN = {
    "mesial_temporal": [(26, -20, -16), (23, -4, -20)],
    "precuneus_posterior_cingulate": [(6, -62, 36), (5, -48, 26)],
    "thalamus": [(11, -18, 8)],
    "striatum": [(25, 4, 2), (12, 12, 8), (19, -4, -1)],
    "cerebellar_grey": [(30, -65, -40)],
    "brainstem": [(0, -26, -32), (0, -42, -56)],
    "occipital": [(10, -90, 2)],
    "frontal": [(6, 44, 2), (40, 6, 0)],
    "parietal": [(56, -30, 40)],
    "lateral_temporal": [(60, -25, -14), (40, 14, -34)],
    "white_matter": [(28, -20, 30), (4, 26, 6)],
    "cerebellar_white": [(18, -56, -36)],
}


@pytest.fixture(scope="module")
def atlas():
    image, regions = load_regions()
    return image_to_array(image), {region.name: region for region in regions}


def index(point):
    return tuple(np.round(np.subtract(point, MNI_GRID.origin)).astype(int))


def test_table_and_map_agree(atlas):
    labels, regions = atlas
    assert MNI_GRID.matches(load_regions()[0])
    assert [r.label for r in regions.values()] == list(range(1, 13))
    assert set(np.unique(labels)) == set(range(13))
    for region in regions.values():
        assert region.title and region.definition and region.source
        assert region.tissue in {"grey", "white", "mixed"}
    assert {tracer.reference_region for tracer in TRACERS.values()} <= set(regions)


def test_left_right_symmetric(atlas):
    labels, _ = atlas
    paired = labels[:159]  # x -79..79; x = 80 has no partner
    assert np.array_equal(paired, paired[::-1])
    assert not labels[159].any()


def test_volumes(atlas):
    labels, regions = atlas
    volumes = {name: (labels == region.label).sum() / 1000 for name, region in regions.items()}
    wrong = {name: v for name, v in volumes.items() if not VOLUMES[name][0] <= v <= VOLUMES[name][1]}
    assert not wrong


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, points in KNOWN.items() for p in points])
def test_known_coordinates(atlas, name, point):
    labels, regions = atlas
    x, y, z = point
    for side in (-x, x):
        i, j, k = index((side, y, z))
        around = labels[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3]
        if regions[name].tissue == "grey":
            around = around[~np.isin(around, (0, 11, 12))]  # a coordinate of cortex may fall on the white beside it
        assert np.bincount(around.ravel()).argmax() == regions[name].label


def test_independent_subcortical_coordinates(atlas):
    """Seitzman et al. 2020, deep and cerebellar regions, as nilearn carries them."""
    nilearn = pytest.importorskip("nilearn", reason="nilearn, which carries the coordinates, is not installed")
    labels, regions = atlas
    folder = Path(nilearn.__file__).parent / "datasets" / "data"
    with open(folder / "seitzman_2018_ROIs_300inVol_MNI_allInfo.txt") as stream:
        points = [[float(row[c]) for c in "xyz"] for row in csv.DictReader(stream, delimiter=" ")]
    kinds = [int(line) for line in (folder / "seitzman_2018_ROIs_anatomicalLabels.txt").read_text().split()[1:]]
    names = {3: "mesial_temporal", 4: "mesial_temporal", 5: "striatum", 6: "thalamus", 7: "cerebellar_grey"}
    found = []
    for point, kind in zip(points, kinds, strict=True):
        if kind not in names:
            continue
        i, j, k = np.clip(index(point), 5, np.array(labels.shape) - 6)
        ball = np.sum((np.indices((11, 11, 11)) - 5) ** 2, axis=0) <= 25
        around = labels[i - 5 : i + 6, j - 5 : j + 6, k - 5 : k + 6][ball]
        around = around[~np.isin(around, (0, 11, 12))]
        found.append(np.bincount(around).argmax() == regions[names[kind]].label)
    assert len(found) == 61
    assert np.mean(found) == 1


def test_regional_means(atlas):
    labels, regions = atlas
    image = array_to_image(labels.astype(np.float32) * 0.5)
    means = regional_means(image)
    assert list(means) == list(regions)
    assert means == pytest.approx({name: region.label / 2 for name, region in regions.items()})
    assert list(regional_means(image, ["thalamus", "frontal"])) == ["thalamus", "frontal"]
    half = np.zeros(labels.shape, np.uint8)
    half[80:] = labels[80:] != 8
    masked = regional_means(image, mask=array_to_image(half))
    assert np.isnan(masked["thalamus"])
    assert masked["striatum"] == pytest.approx(3.5)
    with pytest.raises(InputError, match="unknown region 'insula'"):
        regional_means(image, ["insula"])
    with pytest.raises(InputError, match="not on the model grid"):
        regional_means(image[1:, :, :])


def test_script_makes_the_shipped_map(atlas):
    from training.assets.make_regions import TABLE, make_labels

    labels, regions = atlas
    assert np.array_equal(make_labels(), labels)
    assert [row[1] for row in TABLE] == list(regions)


def test_regions_outside_the_view_have_no_value(atlas):
    labels, regions = atlas
    mask = array_to_image((labels > 0).astype(np.uint8))
    seen = labels > 0
    seen[:, :, :50] = False  # z below -22 mm: most of the cerebellum and brainstem, some of the temporal lobes
    in_view = array_to_image(seen.astype(np.uint8))
    ramp = array_to_image(np.broadcast_to(np.arange(labels.shape[2], dtype=np.float32), labels.shape).copy())
    rows = {row["region"]: row for row in regional_rows({"map": ramp}, mask, in_view)}
    shares = shares_in_view(in_view)
    for name, region in regions.items():
        assert rows[name]["share_in_view"] == shares[name] == pytest.approx(seen[labels == region.label].mean())
    assert np.isnan(rows["cerebellar_grey"]["map"]) and shares["cerebellar_grey"] < 0.5
    assert rows["thalamus"]["map"] == pytest.approx(regional_means(ramp, ["thalamus"], mask)["thalamus"])
    partly = rows["lateral_temporal"]
    assert 0.5 < partly["share_in_view"] < 1
    assert partly["map"] == pytest.approx(regional_means(ramp, ["lateral_temporal"], in_view)["lateral_temporal"])
    assert all(row["share_in_view"] == 1 for row in regional_rows({"map": ramp}, mask))


def test_maps_of_a_measured_pet_count_where_it_shows_the_region_too(atlas):
    labels, _ = atlas
    mask = array_to_image((labels > 0).astype(np.uint8))
    seen, there = np.ones(labels.shape, np.uint8), np.ones(labels.shape, np.uint8)
    seen[:, :, :35], there[:, :90] = 0, 0
    ramp = array_to_image(np.broadcast_to(np.arange(labels.shape[2], dtype=np.float32), labels.shape).copy())
    maps, views = {"synthetic_pet": ramp, "reference": ramp}, [array_to_image(view) for view in (there, seen)]
    whole = regional_rows(maps, mask, views[0])
    rows = regional_rows(maps, mask, *views, measured=["reference"])
    for row, plain in zip(rows, whole, strict=True):
        both = (seen & there)[labels == row["label"]]
        values = image_to_array(ramp)[labels == row["label"]]
        assert {key: row[key] for key in plain if key != "reference"} == pytest.approx(
            {key: plain[key] for key in plain if key != "reference"}, nan_ok=True
        )
        assert row["share_measured"] == pytest.approx(both.mean())
        expected = values[both > 0].mean() if both.mean() >= 0.5 else np.nan
        assert row["reference"] == pytest.approx(expected, nan_ok=True)
    assert sum(0.5 <= row["share_measured"] < row["share_in_view"] for row in rows) and rows[0]["reference"] > 0
    plain = regional_rows(maps, mask, views[0], mask, ["reference"])
    assert str(plain) == str(whole), "a PET that shows all of the brain adds no column"
