"""`relapet dicom`: the files have the NIfTI's voxels, say that they are synthetic, and invent nothing."""

import shutil
import subprocess
import warnings

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_case import GEOMETRIES, marked_pet, write_synthetic_pet, write_t1w_series
from volume_files import affine_of, rotation

from RelAPETLib.dicom_export import MAP_NAME, UNCERTAINTY_NAME, export_dicom
from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.volumes import file_sha256, image_affine, read_volume

PARAMETRIC_MAP, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.7"
pytestmark = pytest.mark.filterwarnings("ignore::RelAPETLib.errors.RelAPETWarning")


def _frames(dataset):
    """Values [slices, rows, columns] and 4x4 LPS matrices (column, row) to place, read without highdicom."""
    values = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(-1, dataset.Rows, dataset.Columns)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, values, strict=True):
        first = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        yield pixels, np.column_stack([across * between_columns, down * between_rows, first])


def _assert_same_voxels(dataset, array, affine):
    """Every DICOM pixel lies on a voxel centre to 1e-4 mm and has exactly its value; none is missing."""
    seen = np.zeros(array.shape, int)
    to_voxel = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ affine)
    for pixels, place in _frames(dataset):
        rows, columns = np.indices(pixels.shape).reshape(2, -1)
        there = place @ np.stack([columns, rows, np.ones_like(rows)])
        voxel = to_voxel[:3, :3] @ there + to_voxel[:3, 3:]
        index = np.rint(voxel).astype(int)
        assert np.abs(affine[:3, :3] @ (voxel - index)).max() < 1e-4
        np.testing.assert_array_equal(pixels.ravel(), array[tuple(index)])
        seen[tuple(index)] += 1
    assert (seen == 1).all()


def _pictures(files):
    return [pydicom.dcmread(path) for name, path in files.items() if name not in (MAP_NAME, UNCERTAINTY_NAME)]


@pytest.mark.parametrize("affine", GEOMETRIES.values(), ids=GEOMETRIES)
def test_map_has_the_voxels_of_the_nifti(affine, tmp_path):
    pet = write_synthetic_pet(tmp_path / "pet", affine)
    files = export_dicom(pet, tmp_path / "out")
    stored = nib.load(pet)
    _assert_same_voxels(pydicom.dcmread(files[MAP_NAME]), stored.get_fdata(dtype=np.float32), stored.affine)
    volume = highdicom.imread(files[MAP_NAME]).get_volume(dtype=np.float32)
    wanted = nib.as_closest_canonical(stored)
    # highdicom's axes are (slice, row, column) to LPS.
    turned = nib.Nifti1Image(volume.array, np.diag([-1, -1, 1, 1]) @ volume.affine)
    turned = nib.as_closest_canonical(turned)
    np.testing.assert_array_equal(turned.get_fdata(dtype=np.float32), wanted.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(turned.affine, wanted.affine, atol=1e-4)


@pytest.mark.parametrize("affine", GEOMETRIES.values(), ids=GEOMETRIES)
def test_pictures_are_axial_in_the_usual_orientation(affine, tmp_path):
    """A hot voxel is found where the picture's own geometry says, on the side that the letters say."""
    array = np.zeros((9, 10, 8), np.float32)
    array[2, 6, 5], array[7, 1, 1] = 3, 1.5
    pet = write_synthetic_pet(tmp_path / "pet", affine, array)
    pictures = _pictures(export_dicom(pet, tmp_path / "out"))
    assert [one.InstanceNumber for one in pictures] == list(range(1, len(pictures) + 1))
    heights = [float(one.ImagePositionPatient[2]) for one in pictures]
    assert heights == sorted(heights), "from foot to head"
    across, down = np.reshape(pictures[0].ImageOrientationPatient, (2, 3)).astype(float)
    assert across.argmax() == 0 and across[0] > 0.7 and down.argmax() == 1 and down[1] > 0.7, "right left, front up"
    stored = nib.load(pet).affine
    for voxel, grey in (((2, 6, 5), 255), ((7, 1, 1), 128)):
        place = (np.diag([-1, -1, 1, 1]) @ stored @ [*voxel, 1])[:3]
        found = []
        for one in pictures:
            offset = place - np.array(one.ImagePositionPatient, float)
            row, column = offset @ down / float(one.PixelSpacing[0]), offset @ across / float(one.PixelSpacing[1])
            found.append((abs(offset @ np.cross(across, down)), one.pixel_array[round(row), round(column)]))
        distance, value = min(found)
        assert distance < 1e-3 and abs(int(value) - grey) <= 10, "but for the interpolation"


def test_every_picture_says_synthetic(tmp_path):
    """Also one without any uptake; the text lies outside what the plane covers and is the same on all."""
    array = np.zeros((9, 10, 8), np.float32)
    array[4:6, 4:6, 3] = 2
    pictures = _pictures(export_dicom(write_synthetic_pet(tmp_path / "pet", affine_of(), array), tmp_path / "out"))
    assert len(pictures) == 8
    banners = [one.pixel_array[:32] for one in pictures]
    for one, banner in zip(pictures, banners, strict=True):
        assert (banner > 200).sum() > 500 and (one.pixel_array[-56:] > 150).sum() > 500
        assert one.BurnedInAnnotation == "YES" and np.array_equal(banner, banners[0])
    columns = np.flatnonzero((banners[0] > 128).any(axis=0))
    assert columns[0] > 2 and columns[-1] < pictures[0].Columns - 3, "nothing is cut off"


def test_pictures_are_read_as_one_series(tmp_path):
    affine = affine_of(turned=rotation(5, 8, 12))
    files = export_dicom(write_synthetic_pet(tmp_path / "pet", affine), tmp_path / "out")
    alone = tmp_path / "pictures"
    alone.mkdir()
    for name, path in files.items():
        if "picture" in name:
            shutil.copy(path, alone)
    image = read_volume(alone)
    assert image.GetSize() == (384, 472, 5)
    centre = image_affine(image) @ [(384 - 1) / 2, 32 + (384 - 1) / 2, 2, 1]
    np.testing.assert_allclose(centre, affine @ [3, 2.5, 2, 1], atol=1.0)


def test_gdcm_reads_the_pictures_and_no_map(tmp_path):
    """As other programs that read by ITK do; the README says which of the files they can have."""
    files = export_dicom(write_synthetic_pet(tmp_path / "pet", GEOMETRIES["oblique"]), tmp_path / "out")
    (tmp_path / "pictures").mkdir()
    for name, path in files.items():
        if name != MAP_NAME:
            shutil.copy(path, tmp_path / "pictures")
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "pictures"))
    image, own = sitk.ReadImage(names), read_volume(tmp_path / "pictures")
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(own))
    np.testing.assert_allclose(image_affine(image), image_affine(own), atol=1e-4)
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(files[MAP_NAME]), imageIO="GDCMImageIO")


@pytest.mark.parametrize("name", ["axial LPS", "sagittal", "oblique", "oblique sagittal"])
def test_source_series_is_kept(name, tmp_path):
    """A NIfTI whose axes a converter has flipped goes back onto the very frames of the series."""
    grid = GEOMETRIES[name]
    uids = write_t1w_series(tmp_path / "t1w", grid)
    series = read_volume(tmp_path / "t1w")
    converted = nib.Nifti1Image(marked_pet(), image_affine(series)).as_reoriented([[0, -1], [1, 1], [2, -1]])
    pet = write_synthetic_pet(
        tmp_path / "pet",
        converted.affine,
        np.asarray(converted.dataobj),
        t1w_sha256=file_sha256(tmp_path / "t1w"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RelAPETWarning)  # the PET was made from these very files
        files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    result = pydicom.dcmread(files[MAP_NAME])
    _assert_same_voxels(result, np.asarray(converted.dataobj), converted.affine)
    by_uid = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, (tmp_path / "t1w").iterdir())}
    referenced = []
    for frame in result.PerFrameFunctionalGroupsSequence:
        (reference,) = frame.DerivationImageSequence[0].SourceImageSequence
        referenced.append(reference.ReferencedSOPInstanceUID)
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, by_uid[referenced[-1]].ImagePositionPatient, atol=1e-4)
    assert referenced in (uids, uids[::-1])
    for one in [result, *_pictures(files)]:
        assert (one.PatientName, one.PatientID, one.PatientBirthDate) == ("Müller^Zoë", "SECRET-ID", "19500101")
        assert (one.StudyInstanceUID, one.StudyID, one.StudyDate) == ("1.2.826.0.1.1", "S7", "20250203")
        assert one.FrameOfReferenceUID == "1.2.826.0.1.77" and one.SeriesInstanceUID != "1.2.826.0.1.1.3"
        assert {item.ReferencedSOPInstanceUID for item in one.SourceImageSequence} == set(uids)
        assert "Secret description" not in str(one)


def test_fields_say_what_it_is(tmp_path):
    spread = marked_pet()[::-1] / 9
    pet = write_synthetic_pet(tmp_path / "pet", affine_of(), uncertainty=np.ascontiguousarray(spread))
    files = export_dicom(pet, tmp_path / "out")
    objects = {name: pydicom.dcmread(path) for name, path in files.items()}
    assert {one.SOPClassUID for one in objects.values()} == {PARAMETRIC_MAP, SECONDARY_CAPTURE}
    assert len({one.SOPInstanceUID for one in objects.values()}) == len(objects)
    assert len({one.SeriesInstanceUID for one in objects.values()}) == 3
    assert len({(one.StudyInstanceUID, one.FrameOfReferenceUID) for one in objects.values()}) == 1
    for one in objects.values():
        assert one.Modality == "OT" and one.ImageType[0] == "DERIVED" and one.SyntheticData == "YES"
        assert one.ContentQualification == "RESEARCH" and one.SeriesDescription.startswith("SYNTHETIC")
        assert one.PatientName == "SYNTHETIC^RelAPET" and "SourceImageSequence" not in one
        for words in ("SYNTHETIC", "model tiny 0.0.1", "ab" * 32, "not for diagnosis", "simulated data only"):
            assert words in one.DerivationDescription
        (maker,) = one.ContributingEquipmentSequence
        assert maker.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert maker.ContributionDateTime == "20260102030405+0100"
        for word in (
            "Radiopharmaceutical",
            "Radionuclide",
            "Dose",
            "Injected",
            "DecayCorrection",
            "FrameReferenceTime",
        ):
            assert not one.dir(word), "an invented fact of an acquisition"
    first, second = objects[MAP_NAME], objects[UNCERTAINTY_NAME]
    assert list(first.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    assert list(second.ImageType)[3] == "STD_DEVIATION" and "not error" in second.SeriesDescription
    assert "not the error" in second.DerivationDescription
    _assert_same_voxels(second, spread, affine_of())
    assert _pictures(files)[0].ConversionType == "WSD"


@pytest.mark.parametrize(
    ("tracer", "output", "coded"),
    [("TAU", "suvr", ("879808000", "SCT")), ("PIB", "suvr", ("126500", "DCM")), ("PBR", "relative", None)],
)
def test_quantity_and_tracer(tracer, output, coded, tmp_path):
    pet = write_synthetic_pet(tmp_path / "pet", affine_of(), marked_pet() / 3, tracer=tracer, output=output)
    files = export_dicom(pet, tmp_path / "out")
    shared = pydicom.dcmread(files[MAP_NAME]).SharedFunctionalGroupsSequence[0]
    (mapping,) = shared.RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    unit = mapping.MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("1", "UCUM")
    quantity, whose = mapping.QuantityDefinitionSequence
    assert quantity.ConceptCodeSequence[0].CodeMeaning.startswith("Synthetic: ")
    assert ("SUVR" in mapping.LUTLabel) == (output == "suvr")
    if coded:
        item = whose.ConceptCodeSequence[0]
        assert (item.CodeValue, item.CodingSchemeDesignator) == coded
    else:
        assert whose.ValueType == "TEXT" and whose.TextValue == "18F-PBR111"
    window = shared.FrameVOILUTSequence[0]
    high = 3 if output == "suvr" else 1
    assert (float(window.WindowCenter), float(window.WindowWidth)) == (high / 2, high)
    assert all(("SUVR" in one.SeriesDescription) == (output == "suvr") for one in _pictures(files))


@pytest.mark.parametrize(("output", "high"), [("suvr", 3), ("relative", 1)])
def test_a_viewer_shows_the_whole_window(output, high, tmp_path):
    """As highdicom applies what the file says: black at 0, white at the window's end, and grey in proportion between.

    DICOM's default function would end at 2 in place of 3, and make a threshold of a window from 0 to 1.
    """
    values = marked_pet() * np.float32(high / 3)
    pet = write_synthetic_pet(tmp_path / "pet", affine_of(), values, output=output, uncertainty=values / 9)
    files = export_dicom(pet, tmp_path / "out")
    limit = np.ceil(np.percentile(values / 9, 99) / 0.05) * 0.05
    for name, end in ((MAP_NAME, high), (UNCERTAINTY_NAME, limit)):
        image = highdicom.imread(files[name])
        stored = image.get_frames(apply_real_world_transform=False, apply_voi_transform=False, dtype=np.float64)
        shown = image.get_frames(apply_real_world_transform=False, apply_voi_transform=True, dtype=np.float64)
        np.testing.assert_allclose(shown, np.clip(stored / end, 0, 1), atol=1e-6)


def _changed(series, change):
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        change(image)
        image.save_as(path)


def _deidentified(image):
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "113100", "DCM"
    item.CodeMeaning, item.PatientComments = "Basic Application Confidentiality Profile", "Secret"
    image.PatientIdentityRemoved, image.DeidentificationMethodCodeSequence = "YES", [item]


def test_how_the_source_was_deidentified_is_kept(tmp_path):
    """By codes alone, as most programs tell it: without them the export would not follow the standard."""
    write_t1w_series(tmp_path / "t1w", affine_of())
    _changed(tmp_path / "t1w", _deidentified)
    pet = write_synthetic_pet(tmp_path / "pet", affine_of())
    files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    for one in [pydicom.dcmread(files[MAP_NAME]), *_pictures(files)]:
        (item,) = one.DeidentificationMethodCodeSequence
        assert one.PatientIdentityRemoved == "YES" and item.CodeValue == "113100"
        assert set(item.dir()) == {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}


def test_several_values_where_one_is_allowed_are_left_out(tmp_path):
    """A backslash in a text makes several values of it."""
    write_t1w_series(tmp_path / "t1w", affine_of())
    _changed(tmp_path / "t1w", lambda image: setattr(image, "StudyDescription", ["Head", "routine"]))
    pet = write_synthetic_pet(tmp_path / "pet", affine_of())
    with pytest.warns(RelAPETWarning, match="not valid DICOM in the source: StudyDescription$"):
        files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    assert "StudyDescription" not in pydicom.dcmread(files[MAP_NAME])


@pytest.mark.parametrize(
    ("declared", "stored", "kept"),
    [
        ("ISO_IR 192", "Müller^Zoë".encode(), "Müller^Zoë"),
        ("ISO_IR 192", "Müller^Zoë".encode("latin-1"), ""),
        (None, "山田^太郎".encode("shift_jis"), ""),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎".encode("iso2022_jp"), "Yamada^Tarou=山田^太郎"),
        ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    ],
)
def test_names_in_any_character_set(declared, stored, kept, tmp_path):
    """A name that is in another one than its header says is left empty and told of, not passed on as wrong letters."""

    def named(image):
        image.SpecificCharacterSet = declared
        image["PatientName"] = pydicom.DataElement("PatientName", "PN", stored)

    write_t1w_series(tmp_path / "t1w", affine_of())
    _changed(tmp_path / "t1w", named)
    pet = write_synthetic_pet(tmp_path / "pet", affine_of(), t1w_sha256=file_sha256(tmp_path / "t1w"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    for one in [pydicom.dcmread(files[MAP_NAME]), *_pictures(files)]:
        assert one.SpecificCharacterSet == "ISO_IR 192" and one.PatientName == kept
    assert any("left empty" in str(one.message) and "PatientName" in str(one.message) for one in told) == (not kept)


def test_slices_that_have_a_series_each_are_referred_to_in_it(tmp_path):
    """An export of a PACS that made the UIDs anew; it is read as one scan with a warning."""
    uids = write_t1w_series(tmp_path / "t1w", affine_of())
    _changed(tmp_path / "t1w", lambda image: setattr(image, "SeriesInstanceUID", f"{image.SOPInstanceUID[:60]}.1"))
    pet = write_synthetic_pet(tmp_path / "pet", affine_of())
    files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    items = pydicom.dcmread(files[MAP_NAME]).ReferencedSeriesSequence
    pairs = [(item.SeriesInstanceUID, item.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID) for item in items]
    assert sorted(pairs) == sorted((f"{uid[:60]}.1", uid) for uid in uids)


def test_another_grid_inside_the_source(tmp_path):
    write_t1w_series(tmp_path / "t1w", affine_of())
    finer = affine_of(spacing=(1.0, 1.0, 1.0), origin=(-19.0, 13.0, 8.0))
    pet = write_synthetic_pet(tmp_path / "pet", finer)
    with pytest.warns(RelAPETWarning, match="another grid"):
        files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w")
    result = pydicom.dcmread(files[MAP_NAME])
    _assert_same_voxels(result, marked_pet(), nib.load(pet).affine)
    assert len(result.SourceImageSequence) == 5


#: Debian's dciodvfy (of June 2022) does not know Synthetic Data (0008,001C) yet.
EXPLAINED = ("not a recognized standard attribute - (0x0008,0x001c)",)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not here; apt-get install dicom3tools")
@pytest.mark.parametrize("with_source", [True, False])
def test_dciodvfy_finds_no_error(with_source, tmp_path):
    affine = GEOMETRIES["oblique sagittal"]
    write_t1w_series(tmp_path / "t1w", affine)
    pet = write_synthetic_pet(tmp_path / "pet", affine, uncertainty=marked_pet() / 9)
    files = export_dicom(pet, tmp_path / "out", source=tmp_path / "t1w" if with_source else None)
    for name in [MAP_NAME, UNCERTAINTY_NAME, list(files)[-1]]:
        result = subprocess.run(["dciodvfy", str(files[name])], capture_output=True, text=True)
        lines = (result.stdout + result.stderr).splitlines()
        assert any(line in ("ParametricMap", "SCImage") for line in lines), "it has looked at the object"
        errors = [line for line in lines if line.startswith("Error") and not any(one in line for one in EXPLAINED)]
        assert not errors
