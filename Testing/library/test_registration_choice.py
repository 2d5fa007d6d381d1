"""``registration=fine`` and its like: who is asked for it, what remembers it, and where it would do nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from RelAPETLib import preprocessing
from RelAPETLib.cohort import prepared, request
from RelAPETLib.cohort.visits import Visit
from RelAPETLib.errors import InputError
from RelAPETLib.registration import METHODS
from RelAPETLib.synthesis import Options, load_case, prepare_case, save_case, synthesize
from RelAPETLib.volumes import file_sha256
from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY, sidecar_path


class Asked(Exception):
    """Raised in place of registering, which takes long; holds the method."""


@pytest.fixture
def asked(monkeypatch):
    def preprocess(*_, method, **__):
        raise Asked(method)

    monkeypatch.setattr(preprocessing, "preprocess", preprocess)


@pytest.mark.parametrize("method", METHODS)
def test_files_are_registered_as_asked_for(grid_case, tiny_latent, asked, method):
    pair = grid_case["t1w"], grid_case["t2f"]
    for do in (
        lambda: prepare_case(*pair, registration=method, device="cpu"),
        lambda: synthesize(*pair, "TAU", model=tiny_latent, registration=method, device="cpu"),
    ):
        with pytest.raises(Asked, match=method):
            do()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"registration": "ants"}, "unknown registration 'ants'; use one of auto, fine, torch, demons, affine"),
        ({"registration": "fine", "preprocessed": True}, "leave --registration or --preprocessed out"),
    ],
)
def test_what_cannot_be_is_one_line(grid_case, options, words):
    for do in (lambda: Options(tracers="TAU", **options), lambda: prepare_case(grid_case["t1w"], **options)):
        with pytest.raises(InputError) as raised:
            do()
        assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_case_remembers_what_was_asked_for(grid_case, tmp_path):
    case = prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu")
    for method, stands in (("auto", False), ("fine", True)):
        folder = tmp_path / method
        save_case(replace(case, registration=method), folder)
        assert ("registration" in json.loads((folder / "case.json").read_text(encoding="utf-8"))) is stands
        assert load_case(folder).registration == method


def test_a_cohort_does_again_what_was_registered_in_another_way(grid_case, tiny_latent, asked, tmp_path):
    visit = Visit("sub-01", t1w=grid_case["t1w"], t2f=grid_case["t2f"])
    usual, fine = (
        request.make_request(
            tmp_path, tmp_path / "out", Options("TAU", model=tiny_latent, registration=method, device="cpu"),
            work=tmp_path / "work",
        )
        for method in ("auto", "fine")
    )  # fmt: skip
    assert "registration" not in usual.choices()  # as in the records of earlier versions
    assert fine.choices()["registration"] == "fine"
    half = replace(usual, options=replace(usual.options, precision="bf16"))
    assert "precision" not in usual.choices() and half.choices()["precision"] == "bf16"
    case = prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu")
    case = replace(case, preprocessed=False, registration="fine")
    save_case(replace(case, revision=1), prepared.case_folder(fine, visit))
    with pytest.raises(Asked, match="fine"):  # of earlier code, whose transforms were others
        prepared._mri_alone(fine, visit, lambda *_: None)
    assert dict(case.sha256) == {role: file_sha256(grid_case[role]) for role in ("t1w", "t2f")}
    save_case(case, prepared.case_folder(fine, visit), overwrite=True)
    assert prepared._mri_alone(fine, visit, lambda *_: None).registration == "fine"
    with pytest.raises(Asked, match="auto"):
        prepared._mri_alone(usual, visit, lambda *_: None)


def test_a_cohort_does_again_what_the_sidecars_say_otherwise(grid_case, tiny_latent, asked, tmp_path):
    """The hashes of the scans do not tell of it, and a real person's verdict is not a simulated one's."""
    files, marked = {}, {SIMULATION_KEY: SIMULATED}
    for role, name in (("t1w", "sub-01_T1w"), ("t2f", "sub-01_FLAIR")):
        files[role] = tmp_path / "sub-01" / "anat" / f"{name}.nii.gz"
        files[role].parent.mkdir(parents=True, exist_ok=True)
        os.link(grid_case[role], files[role])
        sidecar_path(files[role]).write_text(json.dumps(marked))
    visit = Visit("sub-01", **files)
    options = Options("TAU", model=tiny_latent, device="cpu")
    asks = request.make_request(tmp_path, tmp_path / "out", options, work=tmp_path / "work")
    case = replace(prepare_case(**files, preprocessed=True, device="cpu"), preprocessed=False)
    assert case.simulated and case.beside == {role: {"simulated": True} for role in files}
    save_case(case, prepared.case_folder(asks, visit))

    sidecar = sidecar_path(files["t2f"])
    sidecar.write_text(json.dumps(marked | {"EchoTime": 0.1}))  # nothing that is read
    kept = prepared._mri_alone(asks, visit, lambda *_: None)
    assert kept.simulated and kept.beside == case.beside
    for said in ({}, {"EchoTime": 0.1}, marked | {"ContrastBolusIngredient": "GADOLINIUM"}):
        sidecar.write_text(json.dumps(said))
        assert not prepared._is_of(kept, visit, asks)
    sidecar.unlink()
    with pytest.raises(Asked):
        prepared._mri_alone(asks, visit, lambda *_: None)


@pytest.mark.parametrize(
    ("asked", "came_to", "theirs", "unlike"),
    [
        ("auto", "torch", None, ""),
        ("auto", "demons", None, ""),  # the same rule gave it up
        ("auto", "affine", None, "registration"),  # nothing would do
        ("demons", "demons", None, "registration"),
        ("fine", "demons", None, ""),
        ("fine", "torch", "fine", ""),  # theirs folded, too, now and then
        ("torch", "torch", None, ""),
        ("fine", "fine", None, "registration"),
        ("fine", "torch", None, ""),  # the fine one folded
        ("affine", "affine", None, "registration"),
        ("fine", "fine", "fine", ""),
        ("auto", "torch", "fine", "registration"),
    ],
)
def test_a_calibration_is_of_people_who_were_registered_likewise(grid_case, asked, came_to, theirs, unlike):
    from RelAPETLib.synthesis import verdict, withheld

    case = prepare_case(grid_case["t1w"], preprocessed=True, device="cpu")
    assert case.unlike({"kind": "raw"}) == "grid"
    case = replace(case, preprocessed=False, registration=asked, ready=replace(case.ready, method=came_to))
    population = {"kind": "raw"} | ({"registration": theirs} if theirs else {})
    assert case.unlike(population) == unlike and case.unlike({"kind": "grid"}) == "raw"
    assert {"raw", "grid", "registration"} == withheld.OTHER_KIND.keys() == verdict.OTHER_KIND.keys()
