"""In which space the files of a pair lie: what --register takes, and which files belong together."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_study import write_study, write_table

from RelAPETLib.cli import main
from RelAPETLib.cohort.derived_pairs import read_derivatives
from RelAPETLib.cohort.pairs import read_pairs
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.notices import listening
from RelAPETLib.registration import rigid
from RelAPETLib.volumes import read_volume, write_volume


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Row of a table with one person's PET in MNI space, paths whole."""
    folder = tmp_path_factory.mktemp("person")
    row = write_study(folder, people=1, retested=0)[1]
    return {**row, "synthetic": folder / row["synthetic"], "measured": folder / row["measured"]}


def evaluate(folder: Path, row: dict, *options: str) -> int:
    table = write_table(folder / "table.tsv", [row])
    arguments = ["--progress", "none", "--resamples", "100", "--overwrite", "--out", str(folder / "out"), *options]
    return main(["evaluate", "--table", str(table), *arguments])


def files(root: Path, *names: str) -> Path:
    """Empty files of a data set."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", encoding="utf-8")
    return root


def t1w(path: Path) -> Path:
    image = sitk.GetImageFromArray(np.random.default_rng(1).random((20, 20, 20), np.float32))
    image.SetSpacing((8.0, 8.0, 8.0))
    write_volume(image, path)
    return path


def test_a_pet_in_mni_space_is_laid_over_no_t1w_of_the_scanners(person, tmp_path, monkeypatch, capsys):
    """What lies over the native T1w lies in its space, not where a synthetic PET in MNI space does."""
    calls = []
    monkeypatch.setattr(rigid, "register_rigid", lambda *_: calls.append(1) or sitk.Euler3DTransform())
    for name, space, words in (
        ("sub-01_T1w.nii.gz", "MNI", "nothing says that the T1w for --register does"),
        ("sub-01_space-MNI152NLin2009aSym_T1w.nii.gz", "T1w", "the T1w for --register in MNI space"),
    ):
        row = {**person, "space": space, "t1w": t1w(tmp_path / name)}
        assert evaluate(tmp_path, row, "--register") == 2 and not calls
        assert words in capsys.readouterr().err
    assert evaluate(tmp_path, {**row, "space": "MNI"}, "--register") == 0 and calls


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ("T1w", (), "or use --register"),
        ("MNI", (), "bring the measured PET to MNI space"),
        ("MNI", ("--register",), "--register did not bring them together"),
    ],
)
def test_advice_for_pet_that_lie_apart_fits_what_was_asked_for(
    person, tmp_path, monkeypatch, capsys, space, options, words
):
    monkeypatch.setattr(rigid, "register_rigid", lambda *_: sitk.Euler3DTransform())
    image = read_volume(person["measured"])
    image.SetOrigin([*image.GetOrigin()[:2], image.GetOrigin()[2] + 40])
    write_volume(image, tmp_path / "moved.nii.gz")
    over = t1w(tmp_path / "sub-01_space-MNI_T1w.nii.gz")
    assert (
        evaluate(tmp_path, {**person, "space": space, "measured": tmp_path / "moved.nii.gz", "t1w": over}, *options)
        == 2
    )
    error = capsys.readouterr().err
    assert words in error and ("use --register" in error) == (words == "or use --register")


def test_a_data_set_gives_a_pet_in_mni_space_a_t1w_in_mni_space_or_none(tmp_path):
    raw = files(tmp_path / "raw", "sub-1/pet/sub-1_trc-PIB_pet.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz")
    made = files(tmp_path / "made", "sub-1/pet/sub-1_trc-PIB_space-MNI152NLin2009aSym_desc-synthetic_pet.nii.gz")
    (pair,), _ = read_derivatives(raw, made)
    assert (pair.space, pair.t1w) == ("MNI", None)
    files(made, "sub-1/anat/sub-1_space-MNI152NLin2009aSym_T1w.nii.gz", "sub-1/anat/sub-1_space-orig_T1w.nii.gz")
    (pair,), _ = read_derivatives(raw, made)
    own = made / "sub-1/anat/sub-1_space-MNI152NLin2009aSym_T1w.nii.gz"
    assert pair.t1w == own
    other = files(made, "sub-1/anat/sub-1_space-MNI152NLin2006Asym_T1w.nii.gz")
    (pair,), _ = read_derivatives(raw, made)
    assert pair.t1w == own, "and not the first by its name"
    own.unlink()
    with pytest.warns(RelAPETWarning, match="compared across variants of MNI space"):
        (pair,), _ = read_derivatives(raw, other)
    assert pair.t1w.name == "sub-1_space-MNI152NLin2006Asym_T1w.nii.gz"


def pair_of(folder: Path, made: str, *there: str):
    """The pair of a synthetic PET with what else is there (names below ``made`` or ``raw``), and the failures."""
    raw = files(folder / "raw", "sub-1/pet/sub-1_trc-PIB_pet.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz")
    files(folder, f"made/sub-1/pet/sub-1_trc-PIB_{made}_desc-synthetic_pet.nii.gz", *there)
    pairs, failures = read_derivatives(raw, folder / "made")
    return (pairs or [None])[0], failures


@pytest.mark.parametrize("kind", ["anat/sub-1_space-orig_dseg", "pet/sub-1_space-PET_desc-brain_mask"])
def test_labels_and_masks_of_other_spaces_are_not_taken(tmp_path, kind):
    with pytest.warns(RelAPETWarning, match="not taken, since its space is neither T1w nor MNI"):
        pair, _ = pair_of(tmp_path, "space-T1w", f"made/sub-1/{kind}.nii.gz")
    assert (pair.mask, pair.dseg) == (None, None)
    name = kind.replace("space-orig", "space-T1w").replace("space-PET", "space-T1w")
    pair, _ = pair_of(tmp_path, "space-T1w", f"made/sub-1/{name}.nii.gz")
    assert (pair.mask or pair.dseg).name == f"{name.split('/')[1]}.nii.gz"


def test_a_mask_without_space_lies_where_the_scan_of_its_folder_does(tmp_path):
    pair, _ = pair_of(tmp_path, "space-T1w", "raw/sub-1/pet/sub-1_desc-brain_mask.nii.gz")
    assert pair.mask is None, "on the measured PET"
    (measured,), _ = read_derivatives(tmp_path / "raw", tmp_path / "raw", measured_only=True)
    assert measured.mask is not None
    pair, _ = pair_of(tmp_path, "space-T1w", "raw/sub-1/anat/sub-1_desc-brain_mask.nii.gz")
    assert pair.mask.parent.name == "anat"


@pytest.mark.parametrize("kind", ["desc-brain_mask", "dseg"])
@pytest.mark.parametrize("entity, other", [("trc-PIB", "trc-AV1451"), ("trc-PIB_run-1", "trc-PIB_run-2")])
def test_a_mask_without_space_is_of_the_pet_that_it_names(tmp_path, kind, entity, other):
    """Two PET of a session lie where their scans put them; the mask of one is not that of the other."""
    raw = files(tmp_path, *(f"sub-1/pet/sub-1_{each}_pet.nii.gz" for each in (entity, other)))
    own = files(tmp_path, f"sub-1/pet/sub-1_{other}_{kind}.nii.gz") / f"sub-1/pet/sub-1_{other}_{kind}.nii.gz"

    def found():
        with listening(lambda line: None):
            pairs, _ = read_derivatives(raw, raw, measured_only=True)
        return {pair.measured.name: pair.mask or pair.dseg for pair in pairs}

    assert found()[f"sub-1_{entity}_pet.nii.gz"] is None
    assert found().get(f"sub-1_{other}_pet.nii.gz", own) == own
    right = files(tmp_path, f"sub-1/pet/sub-1_{entity}_{kind}.nii.gz") / f"sub-1/pet/sub-1_{entity}_{kind}.nii.gz"
    assert found()[f"sub-1_{entity}_pet.nii.gz"] == right


def test_the_t1w_of_a_pair_is_the_one_that_the_synthetic_pet_lies_on(tmp_path):
    """`relapet bids` may have been told by a filter to take another than the first of a session."""
    scans = [f"raw/sub-1/anat/sub-1_acq-{name}_T1w.nii.gz" for name in "ab"]
    pair, _ = pair_of(tmp_path, "space-T1w", *scans)
    sidecar = pair.synthetic.with_name(pair.synthetic.name.replace(".nii.gz", ".json"))
    for said, wanted in (
        ("bids:raw:sub-1/anat/sub-1_acq-b_T1w.nii.gz", "sub-1_acq-b_T1w.nii.gz"),
        ("bids:raw:sub-1/anat/sub-1_acq-gone_T1w.nii.gz", pair.t1w.name),
        ("bids:raw:sub-2/anat/sub-2_T1w.nii.gz", pair.t1w.name),
        ("bids:raw:sub-1/../sub-2/anat/sub-2_T1w.nii.gz", pair.t1w.name),
        ("T1w", pair.t1w.name),
        (["T1w"], pair.t1w.name),
    ):
        files(tmp_path, "raw/sub-2/anat/sub-2_T1w.nii.gz")
        sidecar.write_text(json.dumps({"SpatialReference": said}), encoding="utf-8")
        (again,), _ = read_derivatives(tmp_path / "raw", tmp_path / "made")
        assert again.t1w.name == wanted, said


def test_labels_of_another_mni_space_are_told_of(tmp_path):
    mni = "space-MNI152NLin2009aSym"
    with pytest.warns(RelAPETWarning, match="PET MNI152NLin2009aSym, label image MNI152NLin6Asym"):
        pair, _ = pair_of(tmp_path, mni, "made/sub-1/anat/sub-1_space-MNI152NLin6Asym_dseg.nii.gz")
    assert pair.dseg.name == "sub-1_space-MNI152NLin6Asym_dseg.nii.gz"
    told = []
    with listening(told.append):
        pair, _ = pair_of(tmp_path, mni, f"made/sub-1/anat/sub-1_{mni}_dseg.nii.gz")
    assert pair.dseg.name == f"sub-1_{mni}_dseg.nii.gz" and not any("variants" in words for words in told)


def test_pet_whose_names_contradict_are_a_failure(tmp_path):
    with pytest.warns(RelAPETWarning, match="left out"):
        pair, (failure,) = pair_of(tmp_path / "other", "space-orig")
    assert pair is None and "space-orig, which is neither T1w nor MNI" in failure["reason"]
    raw = files(tmp_path / "apart", "sub-1/pet/sub-1_trc-PIB_space-T1w_pet.nii.gz")
    made = files(tmp_path / "derived", "sub-1/pet/sub-1_trc-PIB_space-MNI_desc-synthetic_pet.nii.gz")
    with pytest.warns(RelAPETWarning, match="left out"):
        pairs, (failure,) = read_derivatives(raw, made)
    assert not pairs and "synthetic PET MNI, measured PET T1w" in failure["reason"]


@pytest.mark.parametrize(
    ("more", "default", "space"),
    [
        ({}, "", ""),
        ({}, "MNI", "MNI"),
        ({"measured": "space-T1w_pet.nii"}, "MNI", "T1w"),
        ({"synthetic": "space-MNI152_pet.nii"}, "T1w", "MNI"),
        ({"synthetic": "space-orig_pet.nii", "space": "T1w"}, "", "T1w"),
        (
            {"synthetic": "space-MNI_a_pet.nii", "measured": "space-T1w_pet.nii"},
            "",
            "synthetic PET MNI, measured PET T1w",
        ),
        ({"measured": "space-T1w_pet.nii", "space": "MNI"}, "", "column MNI, measured PET T1w"),
        ({"dseg": "space-T1w_dseg.nii"}, "MNI", "PET MNI, label image T1w"),
        ({"synthetic": "space-orig_pet.nii"}, "", "say in a column 'space' what it is"),
        ({"synthetic": "space-orig_pet.nii", "measured": "space-T1w_pet.nii"}, "T1w", "say in a column 'space' what"),
    ],
)
def test_the_space_of_a_line_is_its_columns_else_its_names_else_the_options(tmp_path, more, default, space):
    row = {"participant_id": "1", "tracer": "PIB", "model": "m", "synthetic": "s.nii", "measured": "m.nii"} | more
    table = write_table(tmp_path / "table.tsv", [row])
    if len(space) < 4:
        (pair,), _ = read_pairs(table, space=default)
        assert pair.space == space
        return
    with pytest.warns(RelAPETWarning), pytest.raises(InputError, match=space):
        read_pairs(table, space=default)


def test_of_synthetic_pet_in_two_spaces_one_counts(tmp_path):
    """As `relapet bids --space both` leaves them; what else it leaves is no measured PET, should they lie together."""
    raw = files(tmp_path, "sub-1/pet/sub-1_trc-PIB_pet.nii.gz", *(
        f"sub-1/pet/sub-1_trc-PIB_space-{space}_desc-{desc}_pet.nii.gz"
        for space in ("T1w", "MNI152NLin2009aSym") for desc in ("synthetic", "spread")
    ))  # fmt: skip
    for wanted in ("T1w", "MNI"):
        with pytest.warns(RelAPETWarning, match=f"those in {wanted} are taken") as told:
            (pair,), _ = read_derivatives(raw, raw, space="" if wanted == "T1w" else wanted)
        assert pair.space == wanted and pair.measured.name == "sub-1_trc-PIB_pet.nii.gz" and len(told) == 1
