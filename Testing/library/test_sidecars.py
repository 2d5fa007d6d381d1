"""What JSON says of a PET: inherited as BIDS has it, the same for `synthesize` and `prepare`; damage is one line."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from RelAPETLib.cohort.bids import read_bids
from RelAPETLib.cohort.table import read_table
from RelAPETLib.errors import InputError, ModelError
from RelAPETLib.jsonfiles import parse_json, read_json, read_json_object
from RelAPETLib.notices import listening
from RelAPETLib.regions.lookup import lookup_beside
from RelAPETLib.suvr import stated_units
from RelAPETLib.synthesis.reference import sidecar_units
from RelAPETLib.volumes import count_frames, read_volume, write_volume
from RelAPETLib.volumes.endings import KINDS
from RelAPETLib.volumes.frames import Frames, choose_frames
from RelAPETLib.volumes.named_tracer import other_tracer
from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY, is_simulated, read_sidecar, sidecar_path
from training.data.pet import pet_units

IMAGE = "sub-1/ses-a/pet/sub-1_ses-a_trc-PIB_run-2_pet.nii.gz"


def data_set(folder, sidecars: dict[str, object], *, described: bool = True):
    """A BIDS folder with one person's T1w, FLAIR and PET (empty files) and these sidecars; the PET's path."""
    for name in (IMAGE, "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    if described:
        (folder / "dataset_description.json").write_text('{"Name": "some"}')
    for name, content in sidecars.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / IMAGE


def both(folder, image) -> str | None:
    """``Units`` as `synthesize` reads them; the three ways of `prepare` see the same."""
    units = sidecar_units(image)
    (case,) = read_bids(folder).cases
    (folder / "t.csv").write_text(f"subject,t1w,t2f,pet,tracer\nx,a,b,{IMAGE},PIB\n")
    (row,) = read_table(folder / "t.csv").cases
    assert case.pets["PIB"].sidecar.get("Units") == row.pets["PIB"].sidecar.get("Units") == units
    return units


@pytest.mark.parametrize(
    ("name", "said", "who"),
    [
        ("sub-1_ce-gadolinium_T1w.nii.gz", {}, "file name"),
        ("sub-1_ce-none_T1w.nii.gz", {}, ""),
        ("sub-1_T1w.nii.gz", {"ContrastBolusIngredient": "GADOLINIUM"}, "sidecar"),
        ("sub-1_T1w.nii.gz", {"ContrastBolusAgent": ["Gadovist"]}, "sidecar"),
        ("sub-1_T1w.nii.gz", {"ContrastBolusIngredient": "None", "ContrastBolusAgent": None}, ""),
        ("head.nii.gz", {"ContrastBolusIngredient": "GADOLINIUM"}, "sidecar"),
        ("head.nii.gz", {"ContrastBolusIngredient": 1}, ""),
        ("head.nii.gz", "{damaged", ""),
    ],
)
def test_a_contrast_agent_in_the_name_or_the_sidecar_is_told_of(tmp_path, name, said, who):
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    write_volume(image, tmp_path / name)
    sidecar_path(tmp_path / name).write_text(said if isinstance(said, str) else json.dumps(said))
    for title in ("T1w", "T2-FLAIR", "reference PET"):
        told = []
        with listening(told.append):
            read_volume(tmp_path / name, title)
        words = f"{title}: taken with a contrast agent, as its {who} says; the model was trained on scans without"
        assert told == ([words] if who and title != "reference PET" else [])


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"a\udcff": 1}', r'[["x\ude00"]]', '"\ud800"', b'"\xed\xa0\x80"'])
def test_half_a_surrogate_pair_is_no_text(tmp_path, text):
    """Python reads it and can write it nowhere; it would end in a crash once the results are saved."""
    with pytest.raises(ValueError, match="has half a surrogate pair") as raised:
        parse_json(text)
    str(raised.value).encode()
    if isinstance(text, str) and text.isascii():
        (tmp_path / "sidecar.json").write_text(text)
        with pytest.raises(InputError, match="sidecar.json: not readable JSON .the text .* has half a surrogate pair"):
            read_json(tmp_path / "sidecar.json")
    assert parse_json(r'{"\ud83d\ude00": "\ud83d\ude00 \u00fc"}') == {"\U0001f600": "\U0001f600 \u00fc"}


@pytest.mark.parametrize(
    ("sidecars", "units"),
    [
        ({}, None),
        ({"pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({"trc-PIB_pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({"sub-1/sub-1_pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({"sub-1/ses-a/sub-1_ses-a_trc-PIB_pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({"sub-1/ses-a/pet/sub-1_ses-a_pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({IMAGE.replace(".nii.gz", ".json"): {"Units": "SUVR"}}, "SUVR"),
        # the nearer wins, key by key; of one folder the one with more entities
        ({"pet.json": {"Units": "Bq/mL"}, "sub-1/ses-a/sub-1_ses-a_pet.json": {"Units": "SUVR"}}, "SUVR"),
        ({"pet.json": {"Units": "SUVR"}, "sub-1/ses-a/sub-1_ses-a_pet.json": {"Units": "Bq/mL"}}, "Bq/mL"),
        ({"pet.json": {"Units": "SUVR"}, IMAGE.replace(".nii.gz", ".json"): {"TracerName": "PiB"}}, "SUVR"),
        ({"pet.json": {"Units": "Bq/mL"}, "trc-PIB_pet.json": {"Units": "SUVR"}}, "SUVR"),
        # what does not apply: another suffix, entities that the image lacks or has otherwise, another place
        ({"T1w.json": {"Units": "SUVR"}}, None),
        ({"trc-TAU_pet.json": {"Units": "SUVR"}}, None),
        ({"rec-x_pet.json": {"Units": "SUVR"}}, None),
        ({"sub-1/ses-a/sub-1_ses-b_pet.json": {"Units": "SUVR"}}, None),
        ({"sub-1/ses-a/anat/sub-1_ses-a_pet.json": {"Units": "SUVR"}}, None),
        ({"sub-1/mypet.json": {"Units": "SUVR"}}, None),
        # damage in what does not apply is nobody's business
        ({"trc-TAU_pet.json": "{", "pet.json": {"Units": "SUVR"}}, "SUVR"),
    ],
)
def test_units_are_inherited_alike_by_both(tmp_path, sidecars, units):
    assert both(tmp_path, data_set(tmp_path, sidecars)) == units


def test_inheritance_ends_at_the_data_set(tmp_path):
    outer, inner = tmp_path, tmp_path / "derivatives" / "suvr"
    inner.mkdir(parents=True)
    (outer / "dataset_description.json").write_text("{}")
    (outer / "pet.json").write_text('{"Units": "Bq/mL"}')
    assert both(inner, data_set(inner, {})) is None
    (inner / "dataset_description.json").unlink()  # then the nearest description above counts
    assert sidecar_units(inner / IMAGE) == "Bq/mL"
    (outer / "dataset_description.json").unlink()  # then the folder that holds sub-1
    assert sidecar_units(inner / IMAGE) is None
    (inner / "pet.json").write_text('{"Units": "SUVR"}')
    assert sidecar_units(inner / IMAGE) == "SUVR"


def test_names_that_are_not_bids_have_their_own_sidecar_only(tmp_path, monkeypatch):
    (tmp_path / "pet.json").write_text('{"Units": "Bq/mL"}')
    assert sidecar_units(tmp_path / "my_pet.nii.gz") is None
    (tmp_path / "my_pet.json").write_text('{"Units": " suvr "}')
    assert sidecar_units(tmp_path / "my_pet.nii.gz") == "suvr"
    monkeypatch.chdir(tmp_path)
    assert read_sidecar(sidecar_path(tmp_path / "a.nii").with_name("my_pet.NII.GZ")).units == "suvr"
    for ending in ("img", "hdr", "img.gz", "hdr.gz"):  # a NIfTI in two files
        assert read_sidecar(tmp_path / f"my_pet.{ending}").units == "suvr"
    assert read_sidecar(tmp_path / "folder_of_dicom").paths == () and sidecar_path(tmp_path / ".nii") is None
    (tmp_path / "sub-1_pet.json").write_text('{"Units": "1"}')
    from pathlib import Path

    assert read_sidecar(Path("sub-1_pet.nii")).units == "1"  # relative, and "pet.json" beside it inherited
    (tmp_path / "sub-1_pet.json").write_text("{}")
    assert read_sidecar(Path("sub-1_pet.nii")).units == "Bq/mL"


@pytest.mark.parametrize("ending", [*KINDS, ".HDR", ".Img.GZ"])
def test_every_ending_of_a_volume_has_what_stands_beside_it(tmp_path, ending):
    """Also those of a volume in two files: its unit, that it is simulated, and the names of a label image."""
    image = tmp_path / f"a.b_dseg{ending}"
    image.touch()
    (tmp_path / "a.b_dseg.json").write_text(json.dumps({"Units": "kBq/mL", SIMULATION_KEY: SIMULATED}))
    (tmp_path / "a.b_dseg.tsv").touch()
    assert is_simulated(read_sidecar(image).content) and lookup_beside(image) == tmp_path / "a.b_dseg.tsv"
    with pytest.raises(InputError, match="sidecar .* gives the unit 'kBq/mL', not SUVR"):
        stated_units(image)


def test_a_dynamic_pet_in_two_files_has_its_frame_times(tmp_path):
    frames = np.arange(1, 4, dtype=np.float32) * np.ones((10, 10, 10, 1), np.float32)
    nib.save(nib.Nifti1Pair(frames, np.diag([9.0, 9, 9, 1])), tmp_path / "pet.img")
    times = {"FrameTimesStart": [0, 60, 120], "FrameDuration": [60] * 3, "InjectionStart": 0}
    (tmp_path / "pet.json").write_text(json.dumps(times | {"ImageDecayCorrected": True}))
    (tmp_path / "t.csv").write_text("subject,t1w,t2f,pet,tracer\nx,a,b,pet.hdr,PIB\ny,a,b,pet.img,PIB\n")
    for case in read_table(tmp_path / "t.csv").cases:
        scan = case.pets["PIB"]
        chosen, weights, _ = choose_frames(scan, Frames((1, 3)), count_frames(scan.path))
        assert chosen == [1, 2] and weights.tolist() == [0.5, 0.5]


def test_the_unit_is_judged_alike(tmp_path):
    image = data_set(tmp_path, {"pet.json": {"Units": ["Bq", "mL"]}})
    (case,) = read_bids(tmp_path).cases
    with pytest.raises(InputError, match=r"pet.json: 'Units' is '\['Bq', 'mL'\]', not SUVR"):
        pet_units(case.pets["PIB"], None, None)
    assert sidecar_units(image) == "['Bq', 'mL']"
    with pytest.raises(InputError, match="not SUVR"):  # who vouches for PET without a word does not overrule one
        pet_units(case.pets["PIB"], None, "suvr")


DAMAGED = {
    "cut": "{",
    "a list": "[1]",
    "a text": '"x"',
    "empty": "",
    "deep": "[" * 100_000,
    "deep and whole": "[" * 100_000 + "]" * 100_000,
    "deep in an object": '{"a":' * 90 + "1" + "}" * 90,
    "latin-1": b'{"a": "\xe9"}',
    "NUL": bytes(300),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_sidecars_are_one_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (lambda: sidecar_units(tmp_path / "x.nii"), lambda: read_json_object(path)):
        with pytest.raises(InputError) as refusal:
            read()
        assert "x.json" in str(refusal.value) and "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 5000])
def test_numbers_that_nobody_can_use_are_null_in_sidecars(tmp_path, number):
    path = tmp_path / "x.json"
    path.write_text(f'{{"Units": "SUVR", "InjectedMass": {number}, "many": [1, {number}]}}')
    said = read_sidecar(tmp_path / "x.nii")
    assert said.units == "SUVR" and said.content["InjectedMass"] is None and said.content["many"] == [1, None]
    with pytest.raises(ModelError, match="too large|not a JSON number"):
        read_json(path, error=ModelError)


def test_numbers_stay_what_they_are(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("\ufeff[1, -123456789012345, 1.5, 1e300, " + "9" * 18 + "]", encoding="utf-8")
    assert read_json(path) == [1, -123456789012345, 1.5, 1e300, 10**18 - 1]


def test_what_is_no_plain_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.json")
    for path, says in (
        (tmp_path / "pipe.json", "not a plain file"),
        (tmp_path, "not a plain file"),
        (tmp_path / "none.json", "no such file"),
        ("a\0b.json", "a\\x00b.json"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(InputError) as refusal:
            read_json(path)
        assert says in str(refusal.value)
    (tmp_path / "big.json").write_bytes(b" " * 101)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        read_json(tmp_path / "big.json", limit=100)


def test_a_file_that_may_not_be_read(as_nobody):
    path = as_nobody / "x.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_json(path)


@pytest.mark.parametrize(
    ("spoken", "tracer"),
    [
        ("11C-PiB (Pittsburgh compound B)", "PIB"), ("[11C]PIB", "PIB"), ("Pittsburgh Compound-B", "PIB"),
        ("18F-AV-1451", "TAU"), ("[18F]flortaucipir", "TAU"), ("T807", "TAU"), ("18F-PBR111", "PBR"),
        ("11C-PBR28", None), ("FDG", None), ("", None), ("n/a", None), (7, None), (None, None),
    ],
)  # fmt: skip
def test_a_tracers_name_is_known_however_it_is_spelled(tmp_path, spoken, tracer):
    """Of a tracer that is not known nothing is said, and nothing of a damaged sidecar, of which others tell."""
    pet = tmp_path / "pet.nii.gz"
    pet.with_name("pet.json").write_text(json.dumps({"TracerName": spoken}))
    for asked in ("TAU", "PIB", "PBR"):
        assert bool(other_tracer(pet, asked)) == (tracer not in (None, asked))
    assert not other_tracer(pet, "FDG")
    pet.with_name("pet.json").write_text("{")
    assert not other_tracer(pet, "TAU")
    assert "(trc-FTP) says TAU, not PIB" in other_tracer(tmp_path / "sub-1_trc-FTP_pet.nii.gz", "PIB")
