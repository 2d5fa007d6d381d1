"""A synthetic PET given as the measured one is refused; force compares with it, and never makes z-scores of it."""

import json
import shutil
from types import SimpleNamespace

import pytest

from RelAPETLib.errors import DoubtfulInputError, InputError, RelAPETWarning
from RelAPETLib.provenance import REFERENCE_MEANING
from RelAPETLib.saved_pet import says_synthetic
from RelAPETLib.synthesis.inputs import read_inputs
from RelAPETLib.synthesis.norms import check_measured
from RelAPETLib.volumes import file_sha256


@pytest.fixture
def pet(tmp_path, grid_case):
    return shutil.copy(grid_case["pet"], tmp_path / "pet.nii.gz")


def record(pet, content="the PET", name="pet.nii.gz", **facts):
    text = json.dumps({"outputs": {name: {"content": content, **facts}}})
    (pet.parent / "synthetic_pet.json").write_text(text)


def test_the_record_or_the_sidecar_beside_it_says_so(pet):
    assert not says_synthetic(pet)
    record(pet)
    assert says_synthetic(pet)
    record(pet, name="synthetic_pet.nii.gz", sha256="0" * 64)
    assert not says_synthetic(pet)
    record(pet, name="synthetic_pet.nii.gz", sha256=file_sha256(pet))  # under another name by now
    assert says_synthetic(pet)
    record(pet, content=REFERENCE_MEANING)  # written by a synthesis, but measured
    assert not says_synthetic(pet)
    sidecar = pet.with_name("pet.json")
    for content, wanted in (({"Synthetic": True}, True), ({"Synthetic": "no"}, False), ({"Units": "SUVR"}, False)):
        sidecar.write_text(json.dumps(content))
        assert says_synthetic(pet) is wanted


@pytest.mark.parametrize("text", ["[", "[]", '{"outputs": 3}', '{"outputs": {"pet.nii.gz": 3}}'])
def test_what_cannot_be_read_says_nothing(pet, text):
    (pet.parent / "synthetic_pet.json").write_text(text)
    pet.with_name("pet.json").write_text("[")
    assert not says_synthetic(pet)


def test_it_is_refused_unless_forced_and_counts_for_its_tracer(pet, grid_case):
    record(pet)
    given = {"t1w": grid_case["t1w"], "reference_TAU": pet}
    with pytest.raises(DoubtfulInputError, match="a synthetic PET, as the record beside it says") as refused:
        read_inputs(given, lambda fraction, message: None)
    assert refused.value.accepted_by == "--force"
    with pytest.warns(RelAPETWarning, match="^accepted by force: reference PET: a synthetic PET"):
        found = read_inputs(given, lambda fraction, message: None, force=True)
    assert found.synthetic_pets == ("TAU",) and set(found.pet_doubted) == {"TAU"} and found.doubted == ()


def test_no_z_scores_are_made_of_it():
    norms = SimpleNamespace(tracer="TAU")
    check_measured(norms, ("PIB",))
    with pytest.raises(InputError, match="z-scores are of measured PET alone") as refused:
        check_measured(norms, ("TAU",))
    assert refused.value.accepted_by is None
