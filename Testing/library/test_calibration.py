"""A bundle's calibration: kept, read, and refused when anything of it was changed."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from calibrated import arrays, facts, write_tiny_conditional

from RelAPETLib.errors import ModelError, OutputError
from RelAPETLib.models import import_model, load_model, verify_bundle
from RelAPETLib.models.additions import write_calibrated
from RelAPETLib.models.calibration import CALIBRATION_FILE

METADATA = "configs/metadata.json"
CENTRE = np.linspace(-1, 1, 7)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_tiny_conditional(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture(scope="module")
def calibrated(plain, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "calibrated"
    write_calibrated(plain, out, facts(), arrays(CENTRE), version="0.0.2")
    return out


@pytest.fixture
def copy(calibrated, tmp_path):
    return shutil.copytree(calibrated, tmp_path / "copy")


def test_a_copy_with_the_same_weights_and_what_was_given(plain, calibrated):
    before, after = load_model(plain), load_model(calibrated)
    assert before.calibration is None and after.version == "0.0.2"
    same = zip(before.method.network.state_dict().items(), after.method.network.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and a[1].equal(b[1]) for a, b in same)
    kept = after.calibration
    assert {key: kept.facts[key] for key in facts()} == facts()
    assert {name: array.dtype == np.float32 and np.allclose(array, arrays(CENTRE)[name]) for name, array in
            kept.arrays.items()} == dict.fromkeys(("mean", "whitening", "distances"), True)  # fmt: skip


def test_no_gate_no_file(plain, tmp_path):
    write_calibrated(plain, tmp_path / "out", facts())
    assert load_model(tmp_path / "out").calibration.arrays == {}
    assert not (tmp_path / "out" / CALIBRATION_FILE).exists()


def test_calibrating_again_replaces_the_calibration(calibrated, tmp_path):
    write_calibrated(calibrated, tmp_path / "out", facts(60))
    assert load_model(tmp_path / "out").calibration.facts["population"]["people"] == 60
    assert not (tmp_path / "out" / CALIBRATION_FILE).exists()
    with pytest.raises(OutputError, match="exists already"):
        write_calibrated(calibrated, tmp_path / "out", facts(70))
    assert load_model(tmp_path / "out").calibration.facts["population"]["people"] == 60


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_importing_keeps_it(calibrated, tmp_path, kind):
    source = calibrated
    if kind == "zip":
        source = tmp_path / "model.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in calibrated.rglob("*.*"):
                archive.write(path, path.relative_to(calibrated))
    out = import_model(source, tmp_path / "imported")
    assert load_model(out).calibration.facts == load_model(calibrated).calibration.facts


def _edit(folder, change):
    path = folder / METADATA
    metadata = json.loads(path.read_text())
    change(metadata["calibration"])
    path.write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["intervals"]["tracers"]["TAU"]["regions"].update(frontal=[-0.1, 0.1]),
        lambda c: c["intervals"]["tracers"]["TAU"].update(people=5000),
        lambda c: c["population"].update(simulated=False),
        lambda c: c["intervals"].update(level=0.99),
        lambda c: c.update(gate=None),
        lambda c: c["gate"].update(sha256="0" * 64),
    ],
    ids=["interval", "people", "population", "level", "gate", "hash"],
)
def test_changed_metadata_are_refused(copy, change):
    _edit(copy, change)
    with pytest.raises(ModelError, match="changed"):
        verify_bundle(copy)


def test_changed_damaged_missing_and_strange_arrays_are_refused(copy, plain, tmp_path):
    path = copy / CALIBRATION_FILE
    content = path.read_bytes()
    for wrong in (content[:-1] + bytes([content[-1] ^ 1]), content[:-9], b""):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="was changed"):
            load_model(copy)
    path.unlink()
    with pytest.raises(ModelError, match="cannot read"):
        load_model(copy)
    stray = shutil.copytree(plain, tmp_path / "stray")
    (stray / CALIBRATION_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="know of no such file"):
        load_model(stray)


def test_a_link_in_its_place_is_refused(copy, calibrated):
    (copy / CALIBRATION_FILE).unlink()
    (copy / CALIBRATION_FILE).symlink_to(calibrated / CALIBRATION_FILE)
    with pytest.raises(ModelError, match="link"):
        load_model(copy)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c.update(code="import os"), "code"),
        (lambda c: c["population"].update(description="$import os"), "instruction"),
        (lambda c: c["intervals"].update(level=1.5), "level"),
        (lambda c: c["intervals"]["tracers"].update(XYZ=c["intervals"]["tracers"]["TAU"]), "XYZ"),
        (lambda c: c["intervals"]["tracers"]["TAU"]["regions"].update(frontal=["a", 1]), "frontal"),
        (lambda c: c["population"].update(kind="other"), "kind"),
    ],
    ids=["key", "expression", "level", "tracer", "end", "kind"],
)
def test_what_the_schema_does_not_know_is_not_written(plain, tmp_path, change, words):
    wrong = facts()
    change(wrong)
    with pytest.raises(ModelError, match=words):
        write_calibrated(plain, tmp_path / "out", wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"whitening": np.eye(6)},
        {"distances": np.array([2.0, 1.0])},
        {"mean": np.full(7, np.nan)},
    ],
    ids=["size", "order", "nan"],
)
def test_arrays_that_do_not_fit_are_not_written(plain, tmp_path, wrong):
    with pytest.raises(ModelError, match="does not hold the arrays"):
        write_calibrated(plain, tmp_path / "out", facts(), arrays(CENTRE) | wrong)
    assert not (tmp_path / "out").exists()
