"""A synthetic PET given as the measured one is refused; force compares with it, and never makes z-scores of it."""

import json
import shutil
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_case import write_synthetic_pet
from volume_files import affine_of

from RelAPETLib.dicom_export import MAP_NAME, export_dicom
from RelAPETLib.errors import DoubtfulInputError, InputError, RelAPETWarning
from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.reading import _check_measured
from RelAPETLib.synthesis.inputs import read_inputs
from RelAPETLib.synthesis.norms import check_measured
from RelAPETLib.volumes import file_sha256, mark_synthetic, read_volume, says_synthetic, write_volume
from RelAPETLib.volumes.synthetic import REFERENCE_MEANING


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


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_a_file_says_so_by_its_own_header_without_anything_beside_it(tmp_path, ending):
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((4, 5, 6), np.float32))
    plain, marked = (tmp_path / f"{name}{ending}" for name in ("plain", "marked"))
    write_volume(image, plain)
    assert not says_synthetic(image) and not says_synthetic(plain)
    write_volume(mark_synthetic(image), marked)
    assert says_synthetic(image) and says_synthetic(marked)
    assert says_synthetic(read_volume(marked)) and not says_synthetic(read_volume(plain))
    values = [sitk.GetArrayFromImage(read_volume(path)) for path in (plain, marked)]
    assert np.array_equal(*values)
    if ending == ".nii.gz":
        assert nib.load(marked).header["descrip"].item().startswith(b"SYNTHETIC")
        write_volume(image, tmp_path / "again.nii.gz")
        assert (tmp_path / "again.nii.gz").read_bytes() == marked.read_bytes()


def test_slicers_own_nrrd_of_such_a_node_says_so(tmp_path):
    """Slicer writes the attributes of a node among the file's own keys."""
    path = tmp_path / "saved.nrrd"
    write_volume(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.float32)), path)
    before = path.read_bytes()
    path.write_bytes(before.replace(b"\n\n", b"\nRelAPET.Kind:=pet\nRelAPET.Synthetic:=1\n\n", 1))
    assert says_synthetic(path) and np.array_equal(*(sitk.GetArrayFromImage(read_volume(path)),) * 2)
    path.write_bytes(before.replace(b"\n\n", b"\nRelAPET.Kind:=measured\n\n", 1))
    assert not says_synthetic(path)


@pytest.mark.filterwarnings("ignore::RelAPETLib.errors.RelAPETWarning")
def test_an_exported_dicom_object_says_so(tmp_path):
    pet = write_synthetic_pet(tmp_path / "pet", affine_of((2.0, 2.0, 2.0)))
    files = export_dicom(pet, tmp_path / "out")
    picture = next(name for name in files if "picture" in name)
    for name in (MAP_NAME, picture):
        alone = tmp_path / f"of_{name}"
        alone.mkdir()
        shutil.copy(files[name], alone / name)
        assert says_synthetic(alone) and says_synthetic(alone / name)
    assert not says_synthetic(tmp_path), "a folder without DICOM"
    with pytest.raises(DoubtfulInputError, match="^reference PET .*out: a synthetic PET"):
        read_inputs({"reference_TAU": tmp_path / "out"}, lambda fraction, message: None)


def test_an_image_in_memory_is_refused_too(grid_case):
    image = mark_synthetic(read_volume(grid_case["pet"]))
    given = {"t1w": grid_case["t1w"], "reference_TAU": image}
    with pytest.raises(DoubtfulInputError, match="^reference PET: a synthetic PET, as its header"):
        read_inputs(given, lambda fraction, message: None)
    with pytest.warns(RelAPETWarning, match="^accepted by force: reference PET: a synthetic PET"):
        found = read_inputs(given, lambda fraction, message: None, force=True)
    assert found.synthetic_pets == ("TAU",)
    with pytest.raises(InputError, match="^reference PET: a path or a SimpleITK image is wanted, not ndarray"):
        read_inputs(given | {"reference_TAU": np.zeros((3, 3, 3))}, lambda fraction, message: None)


def test_an_evaluation_refuses_it_as_the_measured_one(pet):
    pair = Pair("sub-01", "", "TAU", "m", pet, pet)
    record(pet)
    with pytest.raises(
        DoubtfulInputError, match="a synthetic PET, as its header or what lies beside it says"
    ) as refused:
        _check_measured(pair, False)
    assert "name a measured PET" in str(refused.value.advice)
    with pytest.warns(RelAPETWarning, match="a synthetic PET"):
        _check_measured(pair, True)
    (pet.parent / "synthetic_pet.json").unlink()
    _check_measured(pair, False)


@pytest.mark.parametrize("text", ["[", "[]", '{"outputs": 3}', '{"outputs": {"pet.nii.gz": 3}}'])
def test_what_cannot_be_read_says_nothing(pet, text):
    (pet.parent / "synthetic_pet.json").write_text(text)
    pet.with_name("pet.json").write_text("[")
    assert not says_synthetic(pet)


def test_it_is_refused_unless_forced_and_counts_for_its_tracer(pet, grid_case):
    record(pet)
    given = {"t1w": grid_case["t1w"], "reference_TAU": pet}
    with pytest.raises(
        DoubtfulInputError, match="a synthetic PET, as its header or what lies beside it says"
    ) as refused:
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
