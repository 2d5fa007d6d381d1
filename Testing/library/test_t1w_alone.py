"""A synthesis from the T1w alone: by models whose metadata allow it, and by no other."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cases import write_tiny_latent

from RelAPETLib.cli import main
from RelAPETLib.errors import DoubtfulInputError, InputError, ModelError, RelAPETWarning
from RelAPETLib.grid import image_to_array
from RelAPETLib.models import import_model, load_model, show
from RelAPETLib.models.metadata import check_metadata
from RelAPETLib.preprocessing import doubts, from_grid, preprocess
from RelAPETLib.registration.coverage import measure_coverage
from RelAPETLib.synthesis import Options, draw, load_case, prepare_case, run_case, save_case, synthesize
from RelAPETLib.synthesis.case import WITHOUT_T2F
from RelAPETLib.volumes import read_volume

FAST = {"steps": 1, "samples": 1, "device": "cpu"}
WORDS = ["--tracer", "TAU", "--steps", "1", "--samples", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def able(tmp_path_factory):
    """Bundle of a model that says it can do without the T2-FLAIR; its weights are random."""
    return write_tiny_latent(tmp_path_factory.mktemp("able") / "able", optional=("t2f",))


@pytest.fixture(scope="module")
def case(grid_case):
    with pytest.warns(RelAPETWarning, match="no T2-FLAIR was given"):
        return prepare_case(grid_case["t1w"], preprocessed=True)


def refused(capsys, *words):
    """The one line with which the command refuses."""
    assert main(list(map(str, words))) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_everything_says_that_no_flair_was_given(able, grid_case, tmp_path):
    out = tmp_path / "out"
    words = ["synthesize", "--preprocessed", "--t1w", grid_case["t1w"], "--model", able, "--out", out, *WORDS]
    assert main(list(map(str, words))) == 0
    record = json.loads((out / "synthetic_pet.json").read_text(encoding="utf-8"))
    assert record["inputs"]["t2f"] is None and len(record["inputs"]["t1w"]["sha256"]) == 64
    assert record["warnings"].count(WITHOUT_T2F) == 1
    quality = record["preprocessing"]["quality"]
    assert quality["t1w_contrast"] > 0.5 and quality["template_ncc"] > 0.9
    assert not [name for name in quality if name.startswith(("pair_", "t2f_", "contrast_"))]
    assert (out / "report.png").stat().st_size > 10_000


def test_the_reports_notes_and_pictures(able, case):
    from RelAPETLib.report.still import _columns
    from RelAPETLib.synthesis.notes import notes_of

    (result,) = run_case(case, Options("TAU", model=able, **FAST))
    assert "From the T1w alone: no T2-FLAIR was given." in notes_of(result.provenance)
    shown = {name: image_to_array(image) for name, image in result.pictures.items() if image is not None}
    assert [column.title for column in _columns(shown, (0, 3), "SUVR", 1)] == ["T1w", "Synthetic PET"]


def test_the_network_is_shown_background(case, grid_case):
    mri = case.mri()
    assert mri.shape == (1, 2, 160, 180, 160) and bool((mri[:, 1] == -1).all()) and mri[0, 0].max() == 1
    pair = prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True)
    assert torch.equal(pair.mri()[:, 0], mri[:, 0]) and case.sequences == ("t1w",)
    assert pair.sequences == ("t1w", "t2f") and pair.mri()[:, 1].max() == 1


def test_a_kept_case_gives_the_same_bytes(able, grid_case, tmp_path):
    common = ["--model", able, "--no-report", *WORDS]
    scans = ["--preprocessed", "--t1w", grid_case["t1w"], "--save-case", tmp_path / "case", "--out", tmp_path / "a"]
    assert main(list(map(str, ["synthesize", *scans, *common]))) == 0
    assert main(list(map(str, ["synthesize", "--case", tmp_path / "case", "--out", tmp_path / "b", *common]))) == 0
    a, b = (tmp_path / name / "synthetic_pet.nii.gz" for name in "ab")
    assert a.read_bytes() == b.read_bytes()
    names = {path.name for path in (tmp_path / "case").iterdir()}
    assert names == {"t1w.nii.gz", "mask.nii.gz", "grid_to_t1w.h5", "t1w_to_grid.h5", "case.json"}
    record = json.loads((tmp_path / "b" / "synthetic_pet.json").read_text(encoding="utf-8"))
    assert record["inputs"]["t2f"] is None and WITHOUT_T2F in record["warnings"]


def test_a_case_that_has_lost_its_flair_is_no_case_of_a_t1w_alone(grid_case, tmp_path):
    folder = tmp_path / "case"
    save_case(prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True), folder)
    whole = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    for lost in ({"inputs": {"t1w": whole["inputs"]["t1w"]}},
                 {"files": {name: facts for name, facts in whole["files"].items() if "t2f" not in name}}):  # fmt: skip
        (folder / "case.json").write_text(json.dumps(whole | lost), encoding="utf-8")
        with pytest.raises(InputError, match=r"damaged at \$"):
            load_case(folder)


def test_a_model_that_needs_both_is_refused_before_anything_is_read(capsys, tmp_path, case):
    words = ["synthesize", "--t1w", "nowhere.nii.gz", "--tracer", "TAU", "--out", tmp_path / "out"]
    said = refused(capsys, *words)
    assert "model demo needs a T2-FLAIR and none was given; add it (--t2f), or use a model that was trained" in said
    save_case(case, tmp_path / "case")
    said = refused(capsys, "synthesize", "--case", tmp_path / "case", "--out", tmp_path / "out", "--tracer", "all")
    assert "model demo needs a T2-FLAIR" in said and not (tmp_path / "out").exists()
    for ask in (lambda: draw(case, "TAU"), lambda: run_case(case, Options("TAU"))):
        with pytest.raises(InputError, match="model demo needs a T2-FLAIR"):
            ask()
    with pytest.raises(InputError, match="model demo needs a T2-FLAIR"):
        synthesize("nowhere.nii.gz", None, "TAU")
    with pytest.raises(ModelError, match="unknown model"):
        synthesize("nowhere.nii.gz", None, "TAU", model="nobody's")


def test_a_flair_alone_is_refused(capsys, able, grid_case, tmp_path):
    words = ["synthesize", "--t2f", grid_case["t2f"], "--model", able, "--out", tmp_path / "out", *WORDS]
    assert "--t2f alone: everything is registered to the T1w; give --t1w too" in refused(capsys, *words)
    with pytest.raises(InputError, match="no T1w was given"):
        synthesize(None, grid_case["t2f"], "TAU", model=able)
    with pytest.raises(InputError, match="no T1w was given"):
        prepare_case(None, grid_case["t2f"])


def test_a_flair_in_the_t1ws_place_is_doubted(grid_case):
    with pytest.raises(DoubtfulInputError, match="white matter is not brighter than grey in the T1w; is it one"):
        prepare_case(grid_case["t2f"], preprocessed=True)


def test_the_catalogue_says_which_models_can(able, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path))
    import_model(able)
    assert show("tiny-latent")["optional_inputs"] == ["t2f"] and load_model("tiny-latent").optional_inputs == ("t2f",)
    assert load_model("demo").optional_inputs == ()
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "T2-FLAIR optional" in line] == ["tiny-latent"]


@pytest.mark.parametrize("optional", [["t1w"], [], ["t2f", "t2f"], "t2f"])
def test_no_other_input_is_optional(able, optional):
    metadata = json.loads((able / "configs/metadata.json").read_text(encoding="utf-8"))
    check_metadata(metadata, "metadata")
    with pytest.raises(ModelError, match="not valid at .*optional_inputs"):
        check_metadata(metadata | {"optional_inputs": optional}, "metadata")


def test_a_dicom_export_says_so(able, case):
    pytest.importorskip("highdicom")
    from RelAPETLib.dicom_export.description import derivation

    (result,) = run_case(case, Options("TAU", model=able, **FAST))
    assert "From T1-weighted MRI alone, without T2-FLAIR, by RelAPET" in derivation(result.provenance)


def test_coverage_of_a_t1w_alone_is_what_it_is_in_a_pair():
    from RelAPETLib.registration.brain_extraction import Brain
    from RelAPETLib.registration.template import load_template

    template, unmoved = load_template(), sitk.AffineTransform(3)
    half = template.t1[:, :, :100]
    brain = Brain(template.mask[:, :, :100], 1.0)
    alone = measure_coverage(brain, half, None, unmoved, None, template)
    pair = measure_coverage(brain, half, template.t1, unmoved, unmoved, template)
    assert alone.missing == {"t1w": pair.missing["t1w"]} and pair.missing["t1w"] > 0.2
    assert np.array_equal(alone.in_view, pair.in_view)


def test_measured_pet_is_compared_with(able, grid_case):
    how = {"reference": grid_case["pet"], "preprocessed": True, "model": able, "space": "mni"}
    with pytest.warns(RelAPETWarning, match="no T2-FLAIR"):
        result = synthesize(grid_case["t1w"], None, "TAU", **how, **FAST)
    assert result.metrics["brain"]["psnr"] > 0 and result.provenance["inputs"]["reference"]
    assert from_grid(read_volume(grid_case["t1w"]), None).t1w_to_t2f is None


@pytest.mark.slow
def test_a_raw_t1w_alone_is_registered_as_it_is_in_a_pair(real_pair):
    t1w, t2f = map(read_volume, real_pair)
    alone, pair = (preprocess(t1w, other, method="affine") for other in (None, t2f))
    assert alone.t2f is None and alone.t1w_to_t2f is None
    assert np.array_equal(image_to_array(alone.t1w), image_to_array(pair.t1w))
    same = [name for name in pair.quality if not name.startswith(("pair_", "t2f_", "contrast_", "brain_missing_t2f"))]
    assert set(alone.quality) == set(same) and "brain_missing_t1w" in same and doubts(alone.quality) == []
    # Of these the pair counts only voxels that the FLAIR shows too.
    assert all(alone.quality[name] == pair.quality[name] for name in same if name != "t1w_contrast")
