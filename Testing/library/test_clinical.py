"""Age, sex and score: read from tables, refused where they cannot be, shown to the models that use them."""

import math

import pytest
import torch
from forgery import read_metadata

from RelAPETLib.cli import main
from RelAPETLib.clinical import ClinicalValues, from_row
from RelAPETLib.cohort.bids import read_bids
from RelAPETLib.cohort.table import read_table
from RelAPETLib.errors import InputError
from RelAPETLib.methods.resdm import ResDM
from RelAPETLib.models import load_model, write_bundle
from RelAPETLib.synthesis import Options, resolve
from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples

SETTINGS = {
    "arguments": {"factor": 20, "channels": [4, 8], "norm_num_groups": 1, "num_class_embeds": 4},
    "process": {"steps": 15, "first": 0.04, "last": 0.999, "kappa": 0.1},
    "samples": 1,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory, tiny_latent):
    """A bundle of a method that uses the values, with random weights."""
    torch.manual_seed(0)
    method = ResDM.build(SETTINGS)
    for parameter in method.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    metadata = {key: value for key, value in read_metadata(tiny_latent).items() if key != "weights"}
    metadata |= {"name": "told", "method": {"name": "resdm", "settings": SETTINGS}}
    folder = tmp_path_factory.mktemp("told") / "bundle"
    write_bundle(folder, method.network, metadata)
    return folder


def test_values_become_numbers_and_unknown_ones_nan():
    values = ClinicalValues(age=71.5, sex="female")
    assert values.sex == "F" and values.known == ("age", "sex") and values.record() == {"age": 71.5, "sex": "F"}
    age, sex, score = values.numbers()
    assert (age, sex) == (71.5, 1.0) and math.isnan(score)
    assert ClinicalValues(sex="m", score=0).numbers()[1:] == [0.0, 0.0] and not ClinicalValues().known


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"age": 300.0}, "age 300 is out of range; use 0 to 120 years"),
        ({"age": math.nan}, "age nan is out of range"),
        ({"score": math.inf}, "score inf is no number"),
        ({"sex": "7"}, "unknown sex '7'; use F or M"),
    ],
)
def test_what_cannot_be_is_refused(values, why):
    with pytest.raises(InputError, match=why):
        ClinicalValues(**values)


def test_a_row_gives_what_can_be_read_and_says_what_cannot():
    values, notes = from_row({"Age": " 64 ", "sex": "n/a", "MMSE": "29", "site": "x"})
    assert values == ClinicalValues(age=64, score=29) and notes == []
    values, notes = from_row({"age": "old", "gender": "M", "memory_score": ""})
    assert values == ClinicalValues(sex="M") and notes == ["age 'old' cannot be read and counts as missing"]


def files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_participants_tsv_is_read(tmp_path):
    for n in (1, 2):
        files(tmp_path, f"sub-{n}/anat/sub-{n}_T1w.nii", f"sub-{n}/anat/sub-{n}_FLAIR.nii",
              f"sub-{n}/pet/sub-{n}_trc-PIB_pet.nii")  # fmt: skip
    assert not any(case.clinical.known for case in read_bids(tmp_path).cases)
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\tsex\tmemory_score\nsub-1\t70.2\tF\t-0.31\nsub-2\tn/a\tX\tn/a\n")
    first, second = read_bids(tmp_path).cases
    assert first.clinical == ClinicalValues(70.2, "F", -0.31) and not first.notes
    assert second.clinical == ClinicalValues() and "participants.tsv: sex 'X' cannot be read" in second.notes[0]
    table.write_bytes(b"participant_id\tage\nsub-1\t\xff\n")
    with pytest.raises(InputError, match=r"participants\.tsv: cannot be read as a table"):
        read_bids(tmp_path)


def test_columns_of_a_table_are_read(tmp_path):
    files(tmp_path, "p.nii")
    (tmp_path / "t.csv").write_text("subject,t1w,t2f,pet,tracer,age,sex\na,t.nii,f.nii,p.nii,TAU,66,f\n")
    (case,) = read_table(tmp_path / "t.csv").cases
    assert case.clinical == ClinicalValues(66, "F")


# -- at a synthesis -------------------------------------------------------------------------------------------------


def drawn(model, **known):
    (plan,) = resolve(Options("TAU", steps=2, **known), model)
    mri = torch.rand((1, 2, 160, 180, 160), generator=torch.Generator().manual_seed(1)) * 2 - 1
    made = draw_samples(ConditionedModel(model, mri, Options("TAU", **known).clinical), plan, yes=True)
    assert made.told == tuple(known)
    return made.mean


@pytest.mark.filterwarnings("ignore::RelAPETLib.notices.RelAPETWarning")
def test_a_model_that_uses_them_answers_to_them(told):
    model = load_model(told)
    unknown, older, female = drawn(model), drawn(model, age=1.0), drawn(model, sex="F")
    assert abs(unknown - drawn(model)).max() == 0
    assert abs(unknown - older).max() > 1e-4 and abs(unknown - female).max() > 1e-4


def test_a_model_that_does_not_use_them_refuses_them(tiny_latent):
    with pytest.raises(InputError, match="model tiny-latent does not use age and sex"):
        resolve(Options("TAU", age=70.0, sex="F"), load_model(tiny_latent))


def test_the_program_takes_them_and_its_record_holds_no_values(told, tmp_path, capsys, grid_case):
    words = ["synthesize", "--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "TAU",
             "--model", told, "--device", "cpu", "--no-report", "--space", "mni", "--out"]  # fmt: skip
    words = [*map(str, words), str(tmp_path / "out")]
    for wrong, why in (("--age=old", "a number is wanted"), ("--age=121", "out of range"), ("--sex=x", "unknown sex")):
        assert main([*words, wrong]) == 2
        said = capsys.readouterr().err
        assert why in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
    assert main([*words, "--age", "71.25", "--sex", "F", "--score", "-0.125"]) == 0
    assert "depends on the age and sex and score given" in capsys.readouterr().err
    record = (tmp_path / "out" / "synthetic_pet.json").read_text(encoding="utf-8")
    assert "depends on the age" in record and "71.25" not in record and "0.125" not in record
