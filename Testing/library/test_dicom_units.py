"""The unit that a DICOM PET's header states counts as a sidecar's does."""

import numpy as np
import pytest
from dicom_case import item_of, write_enhanced
from volume_files import affine_of, marked_array, write_dicom_series

from RelAPETLib.errors import InputError
from RelAPETLib.suvr import check_suvr, stated_units
from RelAPETLib.synthesis.reference import reference_units
from RelAPETLib.volumes import header_units
from RelAPETLib.volumes.frames import PetScan
from training.data.pet import pet_units

PET = "1.2.840.10008.5.1.4.1.1.128"


def _series(folder, **attributes):
    write_dicom_series(folder, count=2, shape=(4, 5), SOPClassUID=PET, Modality="PT", **attributes)
    return folder


@pytest.mark.parametrize("units", ["BQML", "GML", "CM2ML", "CNTS", "PROPCPS", "PCNT", "MLML"])
def test_another_unit_is_refused(tmp_path, units):
    path = _series(tmp_path / "pet", Units=units)
    for read in (lambda: stated_units(path), lambda: reference_units(path, None, relative=False)):
        with pytest.raises(InputError, match=f"DICOM header gives the unit '{units}', not SUVR.*--reference-region"):
            read()
    for declared in (None, "suvr"):  # who vouches for PET without a word does not overrule one
        with pytest.raises(InputError, match=f"DICOM header: 'Units' is '{units}', not SUVR"):
            pet_units(PetScan("TAU", path), None, declared)
    assert reference_units(path, "cerebellar_grey", relative=False).region == "cerebellar_grey"


@pytest.mark.parametrize("units", ["NONE", "RATIO", "SUVR"])
def test_a_ratio_is_suvr(tmp_path, units):
    path = _series(tmp_path / "pet", Units=units)
    known = stated_units(path)
    assert known.known_from.startswith("its DICOM header: Units") and not known.plausibility_only
    assert "Units" in pet_units(PetScan("TAU", path), None, None).known_from


@pytest.mark.parametrize("attributes", [{}, {"Units": ""}])
def test_a_header_that_is_silent(tmp_path, attributes):
    path = _series(tmp_path / "pet", **attributes)
    assert header_units(path) is None and stated_units(path).plausibility_only
    with pytest.raises(InputError, match="unit unknown .no Units in a JSON sidecar or DICOM header"):
        check_suvr(6000.0, stated_units(path), "PET", force=False)
    assert pet_units(PetScan("TAU", path), None, "suvr").known_from == "Units 'suvr'"


def test_what_is_no_dicom_has_no_header_units(tmp_path):
    (tmp_path / "a.nii").write_bytes(np.zeros(200, np.uint8))
    (tmp_path / "text").write_text("hello")
    for name in ("a.nii", "text", "nothing", "a\0b", "."):
        assert header_units(tmp_path / name) is None


@pytest.mark.parametrize(
    "said",
    [
        {"RealWorldValueMappingSequence": [item_of(MeasurementUnitsCodeSequence=[item_of(CodeValue="Bq/ml")])]},
        {"UnassignedPerFrameConvertedAttributesSequence": [item_of(Units="BQML")]},
    ],
    ids=lambda said: next(iter(said)),
)
def test_an_enhanced_image_says_it_in_a_functional_group(tmp_path, said):
    def add(number, item):
        for keyword, value in said.items():
            setattr(item, keyword, value)

    for name in ("pet.dcm", "pet"):
        write_enhanced(tmp_path / name, marked_array((5, 4, 3)), affine_of(), frame=add)
        with pytest.raises(InputError, match="DICOM header gives the unit .(Bq/ml|BQML)."):
            stated_units(tmp_path / name)
