"""Which files of an untidy BIDS data set are taken for whom. Nothing is read but names, JSON and tables."""

from pathlib import Path

from RelAPETLib.cohort.bids import read_bids
from RelAPETLib.cohort.visits import find_visits


def data_set(folder: Path, *files: str) -> Path:
    """A data set of empty files."""
    for name in ("dataset_description.json", *files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if path.suffix == ".json" else "", encoding="utf-8")
    return folder


def test_the_pet_of_the_mris_own_session_goes_before_another_sessions(tmp_path):
    """Of a PET without MRI in an earlier session, and one beside the MRI, the latter is compared with."""
    raw = data_set(
        tmp_path / "data set é", "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz", "sub-1/ses-2/anat/sub-1_ses-2_FLAIR.nii",
        "sub-1/ses-1/pet/sub-1_ses-1_trc-PIB_pet.nii.gz", "sub-1/ses-2/pet/sub-1_ses-2_trc-PIB_pet.nii",
        "sub-1/ses-1/pet/sub-1_ses-1_trc-AV1451_pet.nii.gz",
    )  # fmt: skip
    (visit,), (case,) = find_visits(raw), read_bids(raw).cases
    for found in (visit, case):
        names = {tracer: scan.path.name for tracer, scan in found.pets.items()}
        assert names == {"PIB": "sub-1_ses-2_trc-PIB_pet.nii", "TAU": "sub-1_ses-1_trc-AV1451_pet.nii.gz"}
        assert found.notes == ("sub-1_ses-2_trc-PIB_pet.nii taken of 2 PET of PIB",)


def test_scans_beside_session_folders_count_too(tmp_path):
    raw = data_set(
        tmp_path / "raw", "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-1/ses-pet/pet/sub-1_ses-pet_trc-PIB_pet.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz", "sub-2/anat/sub-2_FLAIR.nii.gz", "sub-2/ses-b/anat/sub-2_ses-b_T1w.nii.gz",
        "sub-2/ses-b/anat/sub-2_ses-b_FLAIR.nii.gz", "sub-2/ses-b/pet/sub-2_ses-b_trc-PIB_pet.nii.gz",
        "sub-2/pet/sub-2_trc-PIB_pet.nii.gz", "sub-2/ses-c/pet/sub-2_ses-c_trc-PIB_pet.nii.gz",
    )  # fmt: skip
    visits = find_visits(raw)
    assert [(visit.name, visit.folder) for visit in visits] == [
        ("sub-1", "sub-1/pet"), ("sub-2", "sub-2/pet"), ("sub-2_ses-b", "sub-2/ses-b/pet")
    ]  # fmt: skip
    wanted = ["sub-1_ses-pet_trc-PIB_pet.nii.gz", "sub-2_trc-PIB_pet.nii.gz", "sub-2_ses-b_trc-PIB_pet.nii.gz"]
    source = read_bids(raw)
    for found in (visits, source.cases):
        assert [one.pets["PIB"].path.name for one in found] == wanted
    assert [case.name for case in source.cases] == ["sub-1", "sub-2", "sub-2_ses-b"]
    assert [failure.reason for failure in source.failures] == [
        "PET of ses-c, which has no MRI, could belong to no session, ses-b; say which in a table"
    ]
