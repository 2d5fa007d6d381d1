"""The record beside a synthetic PET: its schema, its words, and what must not be in it."""

import copy
import json

import jsonschema
import pytest

from RelAPETLib import __version__, provenance
from RelAPETLib.errors import RelAPETError

BUNDLE = {
    "name": "tiny",
    "version": "0.0.1",
    "schema_version": 2,
    "method": {"name": "rela", "settings": {}},
    "training_data": {"description": "nothing", "simulated": True},
    "licence": "Apache-2.0",
    "intended_use": "tests",
    "limitations": ["untrained"],
    "source": {"url": None},
}
PARTS = {
    "tracer": {
        "name": "TAU",
        "radiopharmaceutical": "18F-AV1451 (flortaucipir)",
        "output": "suvr",
        "window": (0.0, 3.0),
        "reference_region": "cerebellar_grey",
    },
    "inputs": {"t1w": "a" * 64, "t2f": "b" * 64},
    "sampling": {"sampler": "dpmpp", "steps": 20, "samples": 4, "seed": 0, "device": "cpu", "batch": 4},
    "preprocessing": {"method": "demons", "skull_stripped": False, "preprocessed": False, "quality": {"ncc": 0.7}},
    "outputs": {"synthetic_pet.nii.gz": {"content": "PET", "space": "T1w", "units": "SUVR"}},
    "warnings": ["thick slices"],
    "seconds": {"sampling": 3.2},
}


def _record(**changes):
    parts = copy.deepcopy(PARTS) | changes
    return provenance.build_provenance(model=provenance.describe_model(BUNDLE, "c" * 64, "d" * 64), **parts)


def test_the_record_follows_its_schema_and_survives_json():
    record = _record()
    jsonschema.Draft202012Validator.check_schema(provenance.schema())
    provenance.check_provenance(record)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["versions"]["relapet"] == __version__
    assert record["tracer"]["window"] == [0.0, 3.0]


def test_an_input_in_two_files_has_two_hashes():
    record = _record(second_files={"t2f": "e" * 64})
    provenance.check_provenance(record)
    assert record["inputs"] == {"t1w": {"sha256": "a" * 64}, "t2f": {"sha256": "b" * 64, "second_sha256": "e" * 64}}


def test_the_record_says_what_the_volume_is():
    record = _record()
    assert "SYNTHETIC" in record["statement"]
    assert "Research only, not for diagnosis" in record["statement"]
    assert "simulated data only" in record["statement"]
    assert record["pet"]["content"] == "mean of 4 samples drawn from the model"
    assert "not the error" in record["uncertainty"] and "divided by N = " in record["uncertainty"]


def test_one_sample_has_no_uncertainty_and_real_training_data_no_simulation_note():
    one = _record(sampling=PARTS["sampling"] | {"samples": 1})
    assert one["uncertainty"] is None and one["pet"]["content"] == "one sample drawn from the model"
    bundle = BUNDLE | {"training_data": {"description": "scans", "simulated": False}}
    real = provenance.build_provenance(model=provenance.describe_model(bundle, "c" * 64, None), **PARTS)
    provenance.check_provenance(real)
    assert "simulated" not in real["statement"]


def test_units_follow_the_model():
    relative = _record(tracer=PARTS["tracer"] | {"output": "relative", "window": None, "reference_region": None})
    provenance.check_provenance(relative)
    assert relative["pet"]["units"].startswith("relative")
    assert _record()["pet"]["units"] == "SUVR"


def test_figures_that_json_lacks_become_null():
    record = _record(
        preprocessing=PARTS["preprocessing"] | {"quality": {"ncc": float("nan"), "folds": float("inf"), "mi": 1.0}}
    )
    provenance.check_provenance(record)
    assert record["preprocessing"]["quality"] == {"ncc": None, "folds": None, "mi": 1.0}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.pop("statement"),
        lambda r: r.update(synthetic=False),
        lambda r: r["inputs"]["t1w"].update(path="sub-01_T1w.nii.gz"),
        lambda r: r["inputs"]["t1w"].update(sha256="sub-01"),
        lambda r: r.update(patient="Jane"),
        lambda r: r["warnings"].append("two\nlines"),
        lambda r: r["pet"].update(units="Bq/mL"),
    ],
)
def test_a_wrong_record_is_refused(spoil):
    record = _record()
    spoil(record)
    with pytest.raises(RelAPETError, match="provenance record"):
        provenance.check_provenance(record)
