"""relapet regions: label images that a user keeps, lookup tables, sides of regions."""

import json
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, OutputError, RelAPETWarning
from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.reading import Loaded
from RelAPETLib.evaluation.regional import asymmetries, measure
from RelAPETLib.grid import MNI_GRID, ModelGrid, array_to_image, image_to_array
from RelAPETLib.regions import load_regions
from RelAPETLib.regions import stored as atlases
from RelAPETLib.regions.atlas import Atlas, cropped, read_atlas, shipped_atlas, side_pairs, with_sides
from RelAPETLib.regions.lookup import LARGEST_LABEL, lookup_beside, read_lookup
from RelAPETLib.volumes import read_volume, write_volume

COARSE = ModelGrid((40, 45, 40), (4.0, 4.0, 4.0), (-78.7, -105.7, -71.7))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def mask(tmp_path):
    """A mask of one region in MNI space, on another grid and with other axes than the model's."""
    array = np.zeros(COARSE.shape, np.uint8)
    array[15:25, 20:26, 15:22] = 1
    path = tmp_path / "voi.nii.gz"
    write_volume(sitk.DICOMOrient(array_to_image(array, COARSE), "LPI"), path)
    return path


def regions(*arguments) -> int:
    return main(["regions", *map(str, arguments)])


def test_a_mask_is_kept_listed_and_removed(home, mask, capsys):
    assert regions("add", "centiloid-ctx", mask) == 0
    assert "1 region kept" in capsys.readouterr().out
    assert regions("list", "--progress", "json") == 0
    listed = json.loads(capsys.readouterr().out)["atlases"]
    assert [entry["name"] for entry in listed] == ["relapet", "centiloid-ctx"]
    assert listed[1]["regions"] == ["centiloid-ctx"] and len(listed[1]["source_sha256"]) == 64
    kept, given = atlases.load("centiloid-ctx").image, read_volume(mask)
    assert kept.GetOrigin() == pytest.approx(given.GetOrigin()) and kept.GetDirection() == given.GetDirection()
    assert np.array_equal(sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(given))
    assert regions("add", "centiloid-ctx", mask) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert regions("add", "centiloid-ctx", mask, "--overwrite") == 0
    assert regions("remove", "centiloid-ctx") == 0 and not (home / "regions" / "centiloid-ctx").exists()
    assert regions("remove", "centiloid-ctx") == 2


def test_what_was_changed_is_refused(home, mask):
    atlases.add("voi", mask)
    table = home / "regions" / "voi" / atlases.TABLE
    table.write_text("index\tname\n1\tother\n")
    with pytest.raises(InputError, match="not the file that was added; add it again"):
        atlases.load("voi")


def test_damaged_regions_hide_no_others(home, mask, capsys):
    for name in ("good", "spoilt", "voi"):
        atlases.add(name, mask)
    (home / "regions" / "spoilt" / atlases.TABLE).write_text("index\tname\n1\tother\n")
    (home / "regions" / "voi").rename(home / "regions" / "no name")
    assert regions("list") == 0
    said = capsys.readouterr().out
    assert "good             MNI: good" in said and "spoilt           damaged: " in said and "no name" not in said
    assert regions("list", "--progress", "json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed["atlases"]] == ["relapet", "good"]
    assert [(one["name"], "add it again" in one["problem"]) for one in listed["refused"]] == [("spoilt", True)]


@pytest.mark.parametrize("name", ["relapet", "dseg", "../up", "", "a b", "-x", "x" * 65])
def test_names_that_cannot_be(home, mask, name):
    with pytest.raises(InputError, match="name"):
        atlases.add(name, mask)
    assert not (home / "regions").exists()


def test_labels_outside_the_brain_are_told_of(home, tmp_path):
    array = np.zeros(COARSE.shape, np.uint8)
    array[:4, :4, :4] = 1
    write_volume(array_to_image(array, COARSE), tmp_path / "corner.nii.gz")
    with pytest.raises(InputError, match="corner.nii.gz: 0 % of its labels lie in the template's brain"):
        atlases.add("corner", tmp_path / "corner.nii.gz")
    array[18:22, 20:24, 18:19] = 1
    write_volume(array_to_image(array, COARSE), tmp_path / "partly.nii.gz")
    with pytest.warns(RelAPETWarning, match="only 20 % of the labels"):
        atlases.add("partly", tmp_path / "partly.nii.gz")
    with pytest.raises(OutputError, match="exists already"), pytest.warns(RelAPETWarning):
        atlases.add("partly", tmp_path / "partly.nii.gz")


def test_a_scan_is_no_label_image(home, tmp_path, capsys):
    """Its grey values are whole numbers too; labels in such numbers have names."""
    array = np.zeros(COARSE.shape, np.int16)
    array[10:30, 15:30, 12:28] = np.arange(20 * 15 * 16).reshape(20, 15, 16) % 400
    write_volume(array_to_image(array, COARSE), tmp_path / "T1w.nii.gz")
    assert regions("add", "mine", tmp_path / "T1w.nii.gz") == 2
    assert "T1w.nii.gz: 399 different values, as in a scan" in capsys.readouterr().err
    (tmp_path / "names.tsv").write_text("index\tname\n" + "".join(f"{n}\tr{n}\n" for n in range(1, 400)))
    assert regions("add", "mine", tmp_path / "T1w.nii.gz", "--lut", tmp_path / "names.tsv") == 0


def test_images_that_hold_no_labels(tmp_path):
    for name, value, words in (("half", 0.5, "no whole numbers"), ("nothing", 0, "every voxel is 0")):
        array = np.full(COARSE.shape, value, np.float32)
        write_volume(array_to_image(array, COARSE), tmp_path / f"{name}.nii.gz")
        with pytest.raises(InputError, match=words):
            read_atlas(tmp_path / f"{name}.nii.gz", name, "MNI")


LOOKUPS = {
    "bids.tsv": "index\tname\tcolor\n0\tBackground\t#000000\n17\tLeft-Hippocampus\t#dcd814\n53\tRight-Hippocampus\t#\n",
    "ours.csv": "label,name\n17,Left-Hippocampus\n53,Right-Hippocampus\n",
    "FreeSurferColorLUT.txt": (
        "#$Id: FreeSurferColorLUT.txt\n#No. Label Name:  R G B A\n\n0   Unknown  0 0 0 0\n"
        "17  Left-Hippocampus   220 216 20  0\n53  Right-Hippocampus  220 216 20  0\n"
    ),
    "snap.label": (
        '# ITK-SnAP Label Description File\n    0     0    0    0        0  0  0    "Clear Label"\n'
        '   17   220  216   20        1  1  1    "Left-Hippocampus"\n'
        '   53   220  216   20        1  1  1    "Right-Hippocampus"\n'
    ),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookup_tables_in_the_forms_that_people_have(tmp_path, name):
    (tmp_path / name).write_text(LOOKUPS[name])
    assert read_lookup(tmp_path / name) == {17: "Left-Hippocampus", 53: "Right-Hippocampus"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("14  3rd-Ventricle   204 182 142 0", "3rd-Ventricle"),
        ("14\t7Networks_LH_Vis_1\t120\t18\t131\t0", "7Networks_LH_Vis_1"),
        ("14\t7Networks_LH_Vis_1   120 18 131 0", "7Networks_LH_Vis_1"),
        ("14\tLeft Area 4\t120\t18\t131\t0", "Left Area 4"),
        ("14\tLeft Area 4", "Left Area 4"),
        ("14 Left Hippocampus 120 18 131 0", "Left Hippocampus"),
        ("14 Precentral_L 2001", "Precentral_L"),
        ("14 海马 120 18 131 0", "海马"),
    ],
)
def test_names_may_begin_with_a_digit_and_have_blanks(tmp_path, line, name):
    (tmp_path / "lut.txt").write_text(f"{line}\n15 4th-Ventricle 42 204 164 0\n", encoding="utf-8")
    assert read_lookup(tmp_path / "lut.txt") == {14: name, 15: "4th-Ventricle"}


def test_labels_without_a_name_are_told_of_and_left_out(home, tmp_path):
    array = np.zeros(COARSE.shape, np.uint16)
    for place, label in enumerate((14, 17, 999, 1000)):
        array[15 + 2 * place : 17 + 2 * place, 20:26, 15:22] = label
    write_volume(array_to_image(array, COARSE), tmp_path / "aseg.nii.gz")
    (tmp_path / "lut.txt").write_text("14  3rd-Ventricle 204 182 142 0\n17 Left-Hippocampus 220 216 20 0\n99 Other\n")
    with pytest.warns(RelAPETWarning) as told:
        kept = atlases.add("aseg", tmp_path / "aseg.nii.gz", tmp_path / "lut.txt")
    assert [str(warning.message) for warning in told] == [
        "label image aseg: 2 of 4 labels (999, 1000) have no name in the lookup table and are left out"
    ]
    assert kept.labels == {"3rd-Ventricle": (14,), "Left-Hippocampus": (17,)}
    assert np.array_equal(image_to_array(kept.image, COARSE), np.where(array > 17, 0, array))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no labels found"),
        (b"a b c\n", "no labels found"),
        (b"1 2.5 -3\n2 1.5e-3 NaN\n3\t-7e2\t0xff\n4 -- _ ??\n", "no labels found"),
        (b"index\tname\n1\ta\n1\tb\n", "label 1 is both 'a' and 'b'"),
        (b"index\tname\n1\t\xff\n", "not UTF-8"),
        (b"index\tname\n1\t" + b"x" * 200_000 + b"\n", "cannot be read as a table"),
    ],
)
def test_lookup_tables_that_cannot_be_used(tmp_path, content, words):
    (tmp_path / "lut.tsv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_lookup(tmp_path / "lut.tsv")


def test_quotation_marks_swallow_no_lines_and_names_are_kept_as_they_are(home, tmp_path):
    """A mark without its second, a tab and a mark within a name: what is kept has the same names as what was read."""
    array = np.zeros(COARSE.shape, np.uint8)
    for label in (1, 2, 3, 4):
        array[15 + label, 20:26, 15:22] = label
    write_volume(array_to_image(array, COARSE), tmp_path / "labels.nii.gz")
    (tmp_path / "lut.tsv").write_text('index\tname\n1\t"Left\n2\tRight\n3\t"mid\tline"\n4\t""2"" x\n')
    wanted = {1: "Left", 2: "Right", 3: "mid line", 4: '2"" x'}
    assert read_lookup(tmp_path / "lut.tsv") == wanted
    kept = atlases.add("mine", tmp_path / "labels.nii.gz", tmp_path / "lut.tsv")
    assert kept.labels == {name: (label,) for label, name in wanted.items()}


def test_the_table_that_bids_has_for_a_label_image(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    image = folder / "sub-01_desc-aseg_dseg.nii.gz"
    assert lookup_beside(image) is None
    for path in (tmp_path / "dseg.tsv", tmp_path / "desc-aseg_dseg.tsv", folder / "sub-01_desc-aseg_dseg.tsv"):
        path.write_text("index\tname\n1\ta\n")
        assert lookup_beside(image) == path, "the nearer and the closer one"
    (tmp_path / "desc-other_dseg.tsv").write_text("index\tname\n1\tb\n")
    assert lookup_beside(image).name == "sub-01_desc-aseg_dseg.tsv"


def test_labels_that_would_run_together_are_refused(tmp_path):
    """Volumes are read as float32, which holds every whole number up to 2**24 only."""
    array = np.zeros(COARSE.shape, np.int32)
    for first, words in ((LARGEST_LABEL - 1, None), (LARGEST_LABEL, "above 16777215"), (100000001, "above 16777215")):
        array[5:10], array[20:25] = first, first + 1
        write_volume(array_to_image(array, COARSE), tmp_path / "big.nii", overwrite=True)
        if words is None:
            atlas = read_atlas(tmp_path / "big.nii", "big", "T1w")
            assert sorted(atlas.labels.values()) == [(first,), (first + 1,)]
            assert np.array_equal(image_to_array(atlas.image, COARSE), array)
            continue
        with pytest.raises(InputError, match=words):
            read_atlas(tmp_path / "big.nii", "big", "T1w")


def test_neither_means_nor_memory_grow_with_the_numbers_of_labels():
    values = array_to_image(np.random.default_rng(5).random(COARSE.shape).astype(np.float32), COARSE)
    ones = array_to_image(np.ones(COARSE.shape, np.uint8), COARSE)
    loaded = Loaded(values, values, values, ones, ones, "", "MNI")
    found, peaks = [], []
    for first in (1, 2**30):
        array = np.zeros(COARSE.shape, np.int32)
        array[5:10], array[20:25], array[30:35] = first, first + 1, first + 2  # of the last one nothing is asked
        atlas = Atlas("a", array_to_image(array, COARSE), {"one": (first,), "both": (first, first + 1)}, "MNI", {})
        tracemalloc.start()
        found += measure(Pair("a", "", "PIB", "", None, None), loaded, ["a"], {"a": atlas})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    for name in ("synthetic", "measured", "volume_ml", "in_field", "voxels"):
        assert np.array_equal(getattr(found[0], name), getattr(found[1], name)), name
    inside = image_to_array(values, COARSE)
    assert found[1].measured == pytest.approx([inside[5:10].mean(), np.mean([inside[5:10], inside[20:25]])], rel=1e-5)
    assert peaks[1] < 2 * peaks[0]


def test_sides_by_their_names():
    names = [
        "Left-Hippocampus",
        "Right-Hippocampus",
        "ctx-lh-cuneus",
        "ctx-rh-cuneus",
        "amygdala_L",
        "amygdala_R",
        "pons",
    ]
    assert side_pairs(names) == {
        "Hippocampus": ("Left-Hippocampus", "Right-Hippocampus"),
        "ctx-cuneus": ("ctx-lh-cuneus", "ctx-rh-cuneus"),
        "amygdala": ("amygdala_L", "amygdala_R"),
    }


def test_regions_of_mni_space_are_parted_at_the_midline():
    atlas = with_sides(cropped(shipped_atlas()))
    array = image_to_array(load_regions()[0])
    x = np.arange(MNI_GRID.shape[0]) + MNI_GRID.origin[0]
    ours = sitk.GetArrayViewFromImage(atlas.image)
    for name, labels in shipped_atlas().labels.items():
        left, right = (np.isin(ours, side).sum() for side in atlas.sides[name])
        whole = array == labels[0]
        assert (left, right) == (whole[x < 0].sum(), whole[x > 0].sum())
        assert np.isin(ours, atlas.labels[name]).sum() == whole.sum(), "the region keeps the voxels of the midline"
    # A point on the right, whose x is above 0 in RAS and below 0 in ITK's LPS.
    index = atlas.image.TransformPhysicalPointToIndex((-25.0, -2.0, 4.0 - 3.0))
    assert atlas.image[index] in atlas.sides["striatum"][1]


@pytest.mark.parametrize(("first", "size", "sides"), [(-4.0, 5, (2, 2)), (-3.0, 4, (2, 2)), (-2.5, 5, (1, 3))])
def test_voxels_that_the_midline_crosses_are_of_neither_side(first, size, sides):
    """Of voxels of 2 mm: one has its centre at x = 0, the midline runs between two, or through a quarter of one."""
    image = sitk.GetImageFromArray(np.ones((3, 3, size), np.int32))
    image.SetSpacing((2.0, 1.0, 1.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetOrigin((-first, 0, 0))
    atlas = with_sides(Atlas("a", image, {"all": (1,)}, "MNI", {}))
    array = sitk.GetArrayViewFromImage(atlas.image)
    assert tuple(np.isin(array[0, 0], side).sum() for side in atlas.sides["all"]) == sides
    assert np.isin(array[..., : sides[0]], atlas.sides["all"][0]).all(), "x below 0 is left"
    assert np.isin(array, atlas.labels["all"]).all()


def test_a_pet_that_is_its_own_mirror_image_has_no_asymmetry():
    """Bright at the midline: those voxels on one side alone would make it uneven."""
    x = np.arange(MNI_GRID.shape[0]) + MNI_GRID.origin[0]
    labels = np.zeros(MNI_GRID.shape, np.int16)
    labels[np.abs(x) < 30, 60:90, 60:90] = 1
    pet = np.broadcast_to((1 + 2 * np.exp(-np.abs(x) / 5))[:, None, None], MNI_GRID.shape).astype(np.float32)
    atlas = with_sides(Atlas("a", array_to_image(labels), {"all": (1,)}, "MNI", {}))
    image = array_to_image(pet)
    loaded = Loaded(None, image, image, image, None, "", "MNI")
    (means,) = measure(Pair("p", "", "PIB", "", None, None), loaded, ["a"], {"a": atlas})
    assert abs(asymmetries(means)["all"][1]) < 1e-5
    assert means.measured[0] == pytest.approx(pet[labels > 0].mean(), rel=1e-5)
