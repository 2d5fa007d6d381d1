"""`relapet dicom` refuses in one line and leaves nothing; what it tells, and what it keeps to itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_case import marked_pet, write_enhanced, write_synthetic_pet, write_t1w_series
from volume_files import affine_of, marked_array, nifti

from RelAPETLib.cli import main
from RelAPETLib.dicom_export import MAP_NAME, export_dicom
from RelAPETLib.dicom_export.secondary_capture import SecondaryCapture
from RelAPETLib.errors import OutputError
from RelAPETLib.volumes import file_sha256

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::RelAPETLib.errors.RelAPETWarning")


def _case(tmp_path):
    affine = affine_of()
    write_t1w_series(tmp_path / "t1w", affine)
    return write_synthetic_pet(tmp_path / "pet", affine), tmp_path / "t1w"


def _no_record(pet, source):
    pet.with_name("synthetic_pet.json").unlink()


def _broken_record(pet, source):
    pet.with_name("synthetic_pet.json").write_text("{")


def _other_json(pet, source):
    pet.with_name("synthetic_pet.json").write_text('{"synthetic": true}')


def _in_mni(pet, source):
    write_synthetic_pet(pet.parent, affine_of(), space="MNI")


def _negative(pet, source):
    write_synthetic_pet(pet.parent, affine_of(), marked_pet() - 1)


def _another_pet(pet, source):
    nib.save(nifti(marked_pet()[::-1].copy(), affine_of()), pet)


def _elsewhere(pet, source):
    write_synthetic_pet(pet.parent, affine_of(origin=(15.0, 12.0, 7.0)))


def _two_series(pet, source):
    write_t1w_series(source.parent / "other", affine_of(), SeriesInstanceUID="1.2.3")
    for path in (source.parent / "other").iterdir():
        shutil.copy(path, source / f"other{path.name}")


def _two_people(pet, source):
    path = source / "IM000"
    one = pydicom.dcmread(path)
    one.PatientID = "SECRET-2"
    one.save_as(path)


def _two_names(pet, source):
    """By names alone, as where the IDs were emptied."""
    for number, path in enumerate(sorted(source.iterdir())):
        one = pydicom.dcmread(path)
        one.PatientID, one.PatientName = "", f"SECRET^{number % 2}"
        one.save_as(path)


def _one_uid(pet, source):
    for path in source.iterdir():
        one = pydicom.dcmread(path)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        one.save_as(path)


def _no_frame(pet, source):
    write_t1w_series(source, affine_of(), FrameOfReferenceUID=None)


def _no_mr(pet, source):
    write_t1w_series(source, affine_of(), SOPClassUID="1.2.840.10008.5.1.4.1.1.2")


def _multi_frame(pet, source):
    shutil.rmtree(source)
    source.mkdir()
    write_enhanced(source / "IM", marked_array(), affine_of())


def _empty(pet, source):
    shutil.rmtree(source)
    source.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_record, "no such file"), (_broken_record, "cannot be read as JSON"), (_other_json, "not the record"),
        (_in_mni, "MNI space"), (_negative, "negative"), (_another_pet, "another SHA-256"),
        (_two_names, "differ in PatientName"), (_one_uid, "the same SOPInstanceUID"),
        (_elsewhere, "lies inside the series"), (_two_series, "2 DICOM series"), (_two_people, "differ in PatientID"),
        (_no_frame, "FrameOfReferenceUID"), (_no_mr, "not an MR image"), (_empty, "no DICOM images"),
        (_multi_frame, "enhanced multi-frame"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)  # fmt: skip
def test_bad_input_is_one_line(spoil, words, tmp_path, capsys):
    pet, source = _case(tmp_path)
    spoil(pet, source)
    argv = ["dicom", "--pet", str(pet), "--source", str(source), "--out", str(tmp_path / "out")]
    assert main([*argv, "--progress", "none"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and "SECRET" not in error.replace(str(tmp_path), "")
    assert not (tmp_path / "out").exists()


def test_only_the_synthetic_pet_is_exported(tmp_path, capsys):
    pet, source = _case(tmp_path)
    shutil.copy(pet, pet.with_name("measured.nii.gz"))
    for name in ("difference.nii.gz", "measured.nii.gz", "missing.nii.gz"):
        argv = ["dicom", "--pet", str(pet.with_name(name)), "--out", str(tmp_path / "out"), "--progress", "none"]
        assert main(argv) == 2
        assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()
    before = sorted(source.iterdir())
    assert main(["dicom", "--pet", str(pet), "--source", str(source), "--out", str(source)]) == 2
    assert sorted(source.iterdir()) == before
    assert "choose another --out" in capsys.readouterr().err


def test_a_result_s_folder_and_template_space(tmp_path, capsys):
    """As `relapet report` takes them; of a folder of several results the error names those."""
    pet, source = _case(tmp_path)
    argv = ["dicom", "--out", str(tmp_path / "out"), "--overwrite", "--progress", "none", "--pet"]
    assert main([*argv, str(pet.parent), "--source", str(source)]) == 0
    assert "template space" not in capsys.readouterr().err
    assert main([*argv, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}: a folder without synthetic_pet.json; give one of {pet.parent}" in said
    assert main([*argv, str(source)]) == 2
    assert "give a result's folder or its synthetic_pet.nii.gz" in capsys.readouterr().err
    made = write_synthetic_pet(tmp_path / "mni", affine_of(), space="MNI")
    assert main([*argv, str(made)]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "template space (MNI)" in line]
    assert made.name in line


def test_earlier_exports_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "out"
    large = write_synthetic_pet(tmp_path / "a", affine_of(), uncertainty=marked_pet())
    first = export_dicom(large, out)
    (out / "mine.txt").write_text("kept")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    small = write_synthetic_pet(tmp_path / "b", affine_of(), marked_pet((7, 6, 3)))
    with pytest.raises(OutputError, match="--overwrite"):
        export_dicom(small, out)

    def fail(self, index, path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SecondaryCapture, "save", fail)
        with pytest.raises(OutputError, match="No space left"):
            export_dicom(small, out, overwrite=True)
        with pytest.raises(OutputError, match="No space left"):
            export_dicom(small, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    second = export_dicom(small, out, overwrite=True)
    assert {path.name for path in out.iterdir()} == {*second, "mine.txt"} and len(second) < len(first)


def test_what_the_user_is_told(tmp_path, capsys):
    pet, source = _case(tmp_path)
    argv = ["dicom", "--pet", str(pet), "--out", str(tmp_path / "out"), "--overwrite", "--progress"]
    assert main([*argv, "none"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and "a patient who does not exist" in captured.err
    assert main([*argv, "json", "--source", str(source)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    schema = json.loads((ROOT / "Resources" / "progress.schema.json").read_text(encoding="utf-8"))
    for line in lines:
        jsonschema.validate(line, schema)
    fractions = [line["fraction"] for line in lines if line["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    (warning,) = [line["message"] for line in lines if line["type"] == "warning"]
    assert "not made from these very DICOM files" in warning
    assert lines[-1]["command"] == "dicom" and len(lines[-1]["pictures"]) == 5


def test_nothing_personal_reaches_the_log(tmp_path, capsys):
    """Not even when the source's values are so odd that the libraries would quote them."""
    pet, source = _case(tmp_path)
    odd = {"PatientBirthDate": "1950-SECRET", "PatientName": "Secret^^^^^^Seven=b=c=d", "PatientSex": "SECRET"}
    with pydicom.config.disable_value_validation():
        write_t1w_series(source, affine_of(), StudyTime="SECRET", **odd)
    log = tmp_path / "log.txt"
    argv = ["dicom", "--pet", str(pet), "--source", str(source), "--out", str(tmp_path / "out")]
    assert main([*argv, "--log-file", str(log), "--progress", "none"]) == 0
    told = capsys.readouterr().err
    assert "PatientBirthDate, PatientSex, StudyTime" in told.replace("PatientName, ", "")
    assert "secret" not in (told + log.read_text(encoding="utf-8")).lower()
    assert pydicom.dcmread(tmp_path / "out" / MAP_NAME).PatientBirthDate == ""


def test_without_highdicom_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    pet, _ = _case(tmp_path)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert main(["dicom", "--pet", str(pet), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "highdicom" in error and "pip install 'relapet[dicom]'" in error


def test_what_a_synthesis_leaves_is_exported(tiny_latent, grid_case, tmp_path, capsys):
    """From the real writer of PET and record, hashes and all."""
    out = tmp_path / "synthesis"
    scans = ["--preprocessed", "--t1w", str(grid_case["t1w"]), "--t2f", str(grid_case["t2f"]), "--tracer", "PIB"]
    drawing = ["--model", str(tiny_latent), "--device", "cpu", "--steps", "1", "--samples", "2", "--no-report"]
    assert main(["synthesize", *scans, *drawing, "--out", str(out)]) == 0
    record = json.loads((out / "synthetic_pet.json").read_text(encoding="utf-8"))
    assert {name: file_sha256(out / name) for name in record["outputs"]} == {
        name: output["sha256"] for name, output in record["outputs"].items()
    }
    assert main(["dicom", "--pet", str(out / "synthetic_pet.nii.gz"), "--out", str(tmp_path / "dicom")]) == 0
    assert "uncertainty_map.dcm" in capsys.readouterr().out
    result = pydicom.dcmread(tmp_path / "dicom" / MAP_NAME)
    stored = nib.load(out / "synthetic_pet.nii.gz").get_fdata(dtype=np.float32)
    values = np.frombuffer(result.FloatPixelData, "<f4")
    np.testing.assert_array_equal(np.sort(values), np.sort(stored.ravel()))


def test_torch_is_not_needed(tmp_path):
    pet, _ = _case(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['monai'] = None; from RelAPETLib.cli import main; "
        f"raise SystemExit(main(['dicom', '--pet', {str(pet)!r}, '--out', {str(tmp_path / 'out')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
