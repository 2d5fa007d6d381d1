"""`relapet dicom --report`: the page as an Encapsulated PDF in the source's study, marked, unverified, referring."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_case import GEOMETRIES, marked_pet, write_synthetic_pet, write_t1w_series
from volume_files import affine_of

from RelAPETLib.cli import main
from RelAPETLib.dicom_export import MAP_NAME, REPORT_NAME, UNCERTAINTY_NAME, export_dicom
from RelAPETLib.errors import InputError, OutputError, RelAPETError
from RelAPETLib.report.saved_result import read_result
from RelAPETLib.volumes import canonical, file_sha256, read_volume
from RelAPETLib.volumes.geometry import SAME_GRID_MM

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
AFFINE = GEOMETRIES["oblique sagittal"]
pytestmark = pytest.mark.filterwarnings("ignore::RelAPETLib.errors.RelAPETWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, instances of the T1w series, files of an export with its report)."""
    folder = tmp_path_factory.mktemp("dicom_report")
    uids = write_t1w_series(folder / "t1w", AFFINE)
    pet = write_synthetic_pet(
        folder / "pet", AFFINE, uncertainty=marked_pet() / 9, t1w_sha256=file_sha256(folder / "t1w")
    )
    return folder, uids, export_dicom(pet, folder / "out", source=folder / "t1w", report=True)


def test_it_says_what_it_is_and_whose(made):
    folder, uids, files = made
    one = pydicom.dcmread(files[REPORT_NAME])
    assert one.SOPClassUID == one.file_meta.MediaStorageSOPClassUID == ENCAPSULATED_PDF
    assert one.MIMETypeOfEncapsulatedDocument == "application/pdf" and one.Modality == "DOC"
    assert "SYNTHETIC" in one.DocumentTitle and "research only" in one.SeriesDescription
    assert (one.BurnedInAnnotation, one.VerificationFlag) == ("YES", "UNVERIFIED")
    assert one.SyntheticData == "YES" and one.ContributingEquipmentSequence[0].ManufacturerModelName == (
        "model tiny 0.0.1"
    )
    assert (one.PatientName, one.PatientID, one.StudyInstanceUID) == ("Müller^Zoë", "SECRET-ID", "1.2.826.0.1.1")
    assert "Secret description" not in str(one) and "FrameOfReferenceUID" not in one
    series = {pydicom.dcmread(path).SeriesInstanceUID for name, path in files.items() if name != REPORT_NAME}
    assert one.SeriesInstanceUID not in series and len(series) == 3, "a document is a series of its own"


def test_it_refers_to_the_scans_and_to_the_maps_beside_it(made):
    _, uids, files = made
    sources = pydicom.dcmread(files[REPORT_NAME]).SourceInstanceSequence
    maps = [pydicom.dcmread(files[name]) for name in (MAP_NAME, UNCERTAINTY_NAME)]
    found = [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in sources]
    assert set(found[:-2]) == {("1.2.840.10008.5.1.4.1.1.4", uid) for uid in uids} and len(found) == len(uids) + 2
    assert found[-2:] == [(one.SOPClassUID, one.SOPInstanceUID) for one in maps]


def test_the_document_is_the_page(made):
    folder, _, files = made
    one = pydicom.dcmread(files[REPORT_NAME])
    document = one.EncapsulatedDocument[: one.EncapsulatedDocumentLength]
    assert len(one.EncapsulatedDocument) % 2 == 0 and document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF") and b"SYNTHETIC TAU PET" in document
    for secret in (b"ller", b"SECRET-ID", b"19500101"):
        assert secret not in document, "nothing personal stands on the page; the patient is in the header"
    assert main(["report", str(folder / "pet"), "--t1w", str(folder / "t1w"), "--pdf"]) == 0
    assert (folder / "pet" / "report.pdf").read_bytes() == document
    assert [path.suffix for path in (folder / "out").iterdir() if path.suffix != ".dcm"] == []


def test_without_a_source_it_belongs_to_nobody(tmp_path):
    write_t1w_series(tmp_path / "t1w", AFFINE)
    pet = write_synthetic_pet(tmp_path / "pet", AFFINE)
    words = ["dicom", "--pet", str(pet), "--out", str(tmp_path / "out"), "--report", "--t1w", str(tmp_path / "t1w")]
    assert main(words) == 0
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    one, image = pydicom.dcmread(files[REPORT_NAME]), pydicom.dcmread(files[MAP_NAME])
    assert one.PatientName == "SYNTHETIC^RelAPET" and one.StudyInstanceUID == image.StudyInstanceUID
    (reference,) = one.SourceInstanceSequence
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    with pytest.raises(OutputError, match="overwrite"):
        export_dicom(pet, tmp_path / "out")
    export_dicom(pet, tmp_path / "out", overwrite=True)
    assert not files[REPORT_NAME].exists(), "an export without a report leaves no earlier one behind"


@pytest.mark.parametrize("shift", [0.05, 2.5])
def test_a_report_takes_every_source_that_an_export_takes(tmp_path, shift):
    """A PET on the source's grid as another program rounded it, and on one of its own inside the series."""
    affine, inner = affine_of(spacing=(2, 2, 2)), affine_of(spacing=(2, 2, 2))
    write_t1w_series(tmp_path / "t1w", affine, (12, 11, 10))
    own = shift > SAME_GRID_MM
    inner[:3, 3] += shift
    array = marked_pet((9, 8, 7) if own else (12, 11, 10))
    pet = write_synthetic_pet(tmp_path / "pet", inner, array)
    found = read_result(pet, tmp_path / "t1w", resample=True).pictures
    assert found["t1w"].GetSize() == found["pet"].GetSize() and found["t1w"].GetOrigin() == found["pet"].GetOrigin()
    given = read_volume(tmp_path / "t1w")
    wanted = sitk.Resample(given, found["pet"]) if own else canonical(given)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found["t1w"]), sitk.GetArrayFromImage(wanted))
    if own:
        assert REPORT_NAME in export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w", report=True)
        with pytest.raises(InputError, match="not on the grid"):
            export_dicom(pet, tmp_path / "named", source=tmp_path / "t1w", t1w=tmp_path / "t1w", report=True)


def test_what_is_missing_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    pet = write_synthetic_pet(tmp_path / "pet", affine_of())
    with pytest.raises(InputError, match="give it as --t1w"):
        export_dicom(pet, tmp_path / "out", report=True)
    assert not (tmp_path / "out").exists()
    assert main(["dicom", "--pet", str(pet), "--out", str(tmp_path / "out"), "--t1w", "x"]) == 2
    assert "add --report" in capsys.readouterr().err
    monkeypatch.setattr("RelAPETLib.dicom_export.export.find_spec", lambda name: name != "matplotlib" or None)
    with pytest.raises(RelAPETError, match=r"relapet\[report\]"):
        export_dicom(pet, tmp_path / "out", report=True)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not here; apt-get install dicom3tools")
def test_dciodvfy_finds_no_error_in_it(made):
    from test_dicom_export import EXPLAINED

    result = subprocess.run(["dciodvfy", str(made[2][REPORT_NAME])], capture_output=True, text=True)
    lines = (result.stdout + result.stderr).splitlines()
    assert "EncapsulatedPDF" in lines, "it has looked at the object"
    assert [line for line in lines if line.startswith("Error") and not any(one in line for one in EXPLAINED)] == []


def test_the_result_line_names_it(made, tmp_path):
    folder = made[0]
    words = ["dicom", "--pet", folder / "pet" / "synthetic_pet.nii.gz", "--source", folder / "t1w", "--out",
             tmp_path / "out", "--report", "--progress", "json"]  # fmt: skip
    result = subprocess.run([sys.executable, "-m", "RelAPETLib", *map(str, words)], capture_output=True, text=True)
    content = json.loads(result.stdout.splitlines()[-1])
    assert content["report"].endswith(REPORT_NAME) and content["report"] not in content["pictures"]
