"""Which files of an untidy BIDS data set are taken for whom. Nothing is read but names, JSON and tables."""

from pathlib import Path

import pytest

from RelAPETLib.cohort.bids import participants, read_bids
from RelAPETLib.cohort.derived_pairs import read_derivatives
from RelAPETLib.cohort.filters import Filters
from RelAPETLib.cohort.pairs import read_pairs
from RelAPETLib.cohort.records import read_records
from RelAPETLib.cohort.table import read_table
from RelAPETLib.cohort.visits import find_visits
from RelAPETLib.errors import RelAPETWarning


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
    for found, lacking in ((visit, "MRI"), (case, "pair of T1w and FLAIR")):
        names = {tracer: scan.path.name for tracer, scan in found.pets.items()}
        assert names == {"PIB": "sub-1_ses-2_trc-PIB_pet.nii", "TAU": "sub-1_ses-1_trc-AV1451_pet.nii.gz"}
        assert found.notes == (
            "sub-1_ses-2_trc-PIB_pet.nii taken of 2 PET of PIB",
            f"sub-1_ses-1_trc-AV1451_pet.nii.gz, of ses-1, which has no {lacking}, is compared with the MRI of ses-2",
        )


def test_a_pet_whose_own_t1w_is_filtered_out_belongs_to_no_other_session(tmp_path):
    raw = data_set(
        tmp_path / "raw", *(f"sub-1/ses-{n}/anat/sub-1_ses-{n}_T1w.nii.gz" for n in "12"),
        "sub-1/ses-1/pet/sub-1_ses-1_trc-PIB_pet.nii", "sub-1/ses-2/pet/sub-1_ses-2_trc-AV1451_pet.nii",
        "sub-1/ses-2/pet/sub-1_ses-2_trc-PIB_pet.nii", "sub-1/ses-3/pet/sub-1_ses-3_trc-PBR111_pet.nii",
    )  # fmt: skip
    (visit,) = find_visits(raw, filters=Filters({"T1w": {"ses": ("1",)}}))
    assert {tracer: scan.path.parents[1].name for tracer, scan in visit.pets.items()} == {
        "PIB": "ses-1", "PBR": "ses-3"
    }  # fmt: skip
    words = "PET of ses-2 belongs to a T1w that the filter takes out"
    assert {failure.tracer: failure.reason for failure in visit.lost} == {"TAU": words}
    assert f"another measured PET of PIB was left out: {words}" in visit.notes, "a result that is compared lacks none"
    assert any("of ses-3, which has no MRI, is compared with the MRI of ses-1" in note for note in visit.notes)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (("ce-gadolinium", "run-1"), "run-1"),
        (("ce-none", "run-1"), "ce-none"),
        (("acq-a_ce-gad", "acq-b"), "acq-b"),
        (("part-imag", "part-mag", "part-phase"), "part-mag"),
        (("desc-brain", "run-1", "space-MNI152_desc-x"), "run-1"),
        (("ce-gad_run-1", "ce-gad_run-2"), "ce-gad_run-1"),
    ],
)
def test_an_mri_with_a_contrast_agent_or_of_phase_is_the_last_that_is_taken(tmp_path, there, taken):
    names = [f"sub-1/anat/sub-1_{entities}_{kind}.nii.gz" for entities in there for kind in ("T1w", "FLAIR")]
    raw = data_set(tmp_path / "raw", *names, "sub-1/pet/sub-1_trc-PIB_pet.nii")
    (visit,), (case,) = find_visits(raw), read_bids(raw).cases
    (pair,), _ = read_derivatives(raw, made(tmp_path / "derived", "sub-1"))
    notes = tuple(f"sub-1_{taken}_{kind}.nii.gz taken of {len(there)} {kind}" for kind in ("T1w", "FLAIR"))
    for found in (visit, case):
        assert (found.t1w.name, found.t2f.name) == (f"sub-1_{taken}_T1w.nii.gz", f"sub-1_{taken}_FLAIR.nii.gz")
        assert found.notes == notes
    assert pair.t1w == visit.t1w, "the MRI of the synthesis"


def test_a_pet_without_attenuation_correction_is_the_last_that_is_taken(tmp_path):
    raw = data_set(
        tmp_path / "raw", "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz",
        *(f"sub-1/pet/sub-1_trc-PIB_{entities}_pet.nii" for entities in ("rec-nacstat", "run-1")),
    )  # fmt: skip
    (visit,), (case,) = find_visits(raw), read_bids(raw).cases
    with pytest.warns(RelAPETWarning, match="compared with sub-1_trc-PIB_run-1_pet.nii, one of 2"):
        (pair,), _ = read_derivatives(raw, made(tmp_path / "derived", "sub-1"))
    assert {visit.pets["PIB"].path, case.pets["PIB"].path, pair.measured} == {
        raw / "sub-1/pet/sub-1_trc-PIB_run-1_pet.nii"
    }


def test_a_choice_among_label_images_is_told_of(tmp_path):
    raw = data_set(tmp_path / "raw", "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/pet/sub-1_trc-PIB_pet.nii")
    derived = made(tmp_path / "derived", "sub-1")
    data_set(derived, *(f"sub-1/anat/sub-1_desc-{desc}_dseg.nii.gz" for desc in ("aseg", "aparcaseg")))
    data_set(derived, "sub-1/anat/sub-1_space-MNI_desc-a_dseg.nii.gz")
    with pytest.warns(RelAPETWarning, match="sub-1_desc-aparcaseg_dseg.nii.gz taken of 2;"):
        (pair,), _ = read_derivatives(raw, derived)
    assert pair.dseg.name == "sub-1_desc-aparcaseg_dseg.nii.gz"


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
        "PET of ses-c, which has no pair of T1w and FLAIR, could belong to no session, ses-b; say which in a table"
    ]


def test_participants_as_people_write_them(tmp_path):
    """Identifiers without sub-, quotes, blanks, short and long lines, ages such as 90+, several rows of a person."""
    raw = data_set(tmp_path, "sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz")
    (raw / "participants.tsv").write_text(
        'participant_id\tAge\t"sex"\tsession\n1\t70\tF\tses-1\tmore\nsub-1\t72\tF\tses-2\n sub-2 \t90+\t"M"\n\n',
        encoding="utf-8",
    )
    with pytest.warns(RelAPETWarning, match="several rows that differ are of sub-1; what they say differently counts"):
        people = participants(raw)
    assert people["sub-1"] == {"participant_id": "sub-1", "Age": "", "sex": "F", "session": ""}
    assert people["sub-2"] == {"participant_id": "sub-2", "Age": "90+", "sex": "M", "session": ""}
    with pytest.warns(RelAPETWarning):
        (visit,) = find_visits(raw)
    assert (visit.clinical.sex, visit.clinical.age) == ("F", None)
    (raw / "participants.tsv").write_text("participant_id,age\nsub-1,70\n", encoding="utf-8")
    with pytest.warns(RelAPETWarning, match="no column participant_id, separated by tabs"):
        assert participants(raw) == {}


def test_rows_of_a_person_that_differ_are_told_of(tmp_path):
    """In a table the first row counted, beside saved cases the last one, without a word."""
    table = tmp_path / "t.csv"
    rows = ["a,1,,F", "a,1,70,F", "b,1,70,F", "b,1,20,", "c,1,old,M"]
    table.write_text("\n".join(["subject,session,age,sex,t1w,t2f,pet,tracer", *(f"{r},t,f,p{i},TAU" for i, r in
                                                                               enumerate(rows))]))  # fmt: skip
    for found in (find_visits(table), read_table(table).cases):
        assert [(one.clinical.age, one.clinical.sex) for one in found] == [(70, "F"), (None, "F"), (None, "M")]
        told = [[note for note in one.notes if "counts as missing" in note] for one in found]
        assert [len(notes) for notes in told] == [0, 1, 1]
        assert "age differs from row to row" in told[1][0] and "age 'old' cannot be read" in told[2][0]
    a, *_ = find_visits(table)
    assert a.lost == () and a.notes == (
        "another measured PET of TAU was left out: a second PET of TAU; tell them apart by a column 'session'",
    )
    table.write_text("subject,session,age\n1,1,70\n1,ses-2,72\n2,,x\n")
    data_set(tmp_path / "cases", *(f"sub-{case}/case.json" for case in ("1/ses-1", "1/ses-2", "1/ses-3", "2")))
    visits = find_visits(table, cases=tmp_path / "cases")
    assert [visit.clinical.age for visit in visits] == [70, 72, None, None]
    assert [visit.notes for visit in visits] == [
        (), (), ("age differs from row to row and counts as missing",),
        ("age 'x' cannot be read and counts as missing",),
    ]  # fmt: skip


def test_sessions_that_lack_a_scan_are_told_of(tmp_path):
    scans = ("1/anat/sub-1_ses-1_T1w", "1/anat/sub-1_ses-1_FLAIR", "2/anat/sub-1_ses-2_FLAIR", "3/anat/sub-1_ses-3_T1w")
    raw = data_set(
        tmp_path, *(f"sub-1/ses-{name}.nii" for name in scans), "sub-1/ses-4/pet/sub-1_ses-4_trc-PIB_pet.nii"
    )
    visits, source = find_visits(raw), read_bids(raw, mri_only=True)
    assert [(visit.name, visit.problem) for visit in visits] == [
        ("sub-1_ses-1", ""), ("sub-1_ses-2", "no T1w"), ("sub-1_ses-3", "")
    ]  # fmt: skip
    assert [case.name for case in source.cases] == ["sub-1"]
    assert [(f.case, f.reason) for f in source.failures] == [("sub-1_ses-2", "no T1w"), ("sub-1_ses-3", "no FLAIR")]
    chosen = find_visits(raw, filters=Filters({"T1w": {"ses": ("1",)}}))
    assert [visit.name for visit in chosen] == ["sub-1_ses-1"], "the filter took the others out"


def test_a_table_of_other_people_is_told_of(tmp_path):
    raw = data_set(tmp_path, "sub-01/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_FLAIR.nii")
    (raw / "participants.tsv").write_text("participant_id\tage\n1\t70\n2\t71\n")
    for read in (find_visits, lambda folder: read_bids(folder, mri_only=True).cases):
        with pytest.warns(RelAPETWarning, match="sub-1 and the others in it have no folder of that name"):
            (found,) = read(raw)
        assert found.clinical.age is None
    data_set(raw, "sub-01/pet/sub-01_trc-PIB_pet.nii")
    with pytest.warns(RelAPETWarning, match="sub-1 and the others in it have no folder of that name"):
        read_derivatives(raw, raw, measured_only=True)


def test_a_second_measured_pet_in_a_table_is_told_of(tmp_path):
    rows = ["1\tPIB\ta.nii", "1\tPIB\ta.nii", "2\tPIB\tb.nii", "1\tTAU\tc.nii"]
    table = tmp_path / "t.tsv"
    table.write_text("\n".join(["participant_id\ttracer\tmeasured", *rows]))
    assert [pair.measured.name for pair in read_pairs(table, measured_only=True)[0]] == ["a.nii", "b.nii", "c.nii"]
    table.write_text(table.read_text() + "\n2\tPIB\td.nii\n")
    with pytest.warns(RelAPETWarning, match="several measured PET of one session and tracer are of 2"):
        pairs, _ = read_pairs(table, measured_only=True)
    assert [pair.measured.name for pair in pairs] == ["a.nii", "b.nii", "c.nii"]


def made(folder: Path, *people: str) -> Path:
    """Derivatives of these people and sessions."""
    names = [f"{name}/pet/{name.replace('/', '_')}_trc-PIB_space-T1w_desc-synthetic_pet.nii.gz" for name in people]
    return data_set(folder, *names)


def test_an_evaluation_compares_with_the_pet_that_the_synthesis_did(tmp_path):
    """The session's own; else one of a session without MRI, where the subject has one session with MRI alone."""
    raw = data_set(
        tmp_path / "raw", "sub-1/ses-mr/anat/sub-1_ses-mr_T1w.nii.gz",
        "sub-1/ses-pet/pet/sub-1_ses-pet_trc-PIB_pet.nii",
        "sub-2/ses-1/pet/sub-2_ses-1_trc-PIB_pet.nii", "sub-2/ses-2/anat/sub-2_ses-2_T1w.nii.gz",
        "sub-2/ses-2/pet/sub-2_ses-2_trc-11CPIB_pet.nii", "sub-3/pet/sub-3_trc-PIB_pet.nii",
        "sub-3/ses-1/anat/sub-3_ses-1_T1w.nii.gz", "sub-3/ses-1/pet/sub-3_ses-1_trc-PIB_pet.nii",
        "sub-4/ses-1/anat/sub-4_ses-1_T1w.nii.gz", "sub-4/ses-2/anat/sub-4_ses-2_T1w.nii.gz",
        "sub-4/ses-3/pet/sub-4_ses-3_trc-PIB_pet.nii",
    )  # fmt: skip
    derived = made(tmp_path / "derived", "sub-1/ses-mr", "sub-2/ses-2", "sub-3/ses-1", "sub-4/ses-1")
    with pytest.warns(RelAPETWarning, match="a session without MRI, sub-1_ses-pet_trc-PIB_pet.nii"):
        pairs, failures = read_derivatives(raw, derived)
    assert {pair.participant: pair.measured.name.split("_trc")[0] for pair in pairs} == {
        "sub-1": "sub-1_ses-pet", "sub-2": "sub-2_ses-2", "sub-3": "sub-3_ses-1"
    }  # fmt: skip
    assert [(failure["participant_id"], failure["session"]) for failure in failures] == [("sub-4", "ses-1")]


def test_one_persons_damage_and_hidden_files_stop_nobody(tmp_path):
    """A sidecar that is no JSON, files that macOS leaves on network shares, and several runs."""
    raw = data_set(
        tmp_path / "raw", *(f"sub-{n}/pet/sub-{n}_trc-PIB_run-{run}_pet.nii" for n in (1, 2) for run in (1, 2)),
        *(f"sub-1/anat/{name}" for name in ("sub-1_T1w.nii.gz", "._sub-1_T1w.nii.gz")),
    )  # fmt: skip
    derived = made(tmp_path / "derived", "sub-1", "sub-2")
    data_set(derived, *(f"sub-1/anat/{name}" for name in ("sub-1_dseg.nii.gz", "._sub-1_dseg.nii.gz")))
    data_set(derived, "sub-1/pet/._sub-1_trc-PIB_model-x_record.json")
    (raw / "sub-2/pet/sub-2_trc-PIB_run-1_pet.json").write_text('{"Units"', encoding="utf-8")
    with pytest.warns(RelAPETWarning, match="left out sub-2_trc-PIB_space-T1w_desc-synthetic_pet.nii.gz"):
        (pair,), (failure,) = read_derivatives(raw, derived)
    assert (pair.t1w.name, pair.dseg.name) == ("sub-1_T1w.nii.gz", "sub-1_dseg.nii.gz")
    assert pair.measured.name == "sub-1_trc-PIB_run-1_pet.nii"
    assert failure["participant_id"] == "sub-2" and "run-1_pet.json" in failure["reason"]
    assert list(read_records(derived)) == []
    with pytest.warns(RelAPETWarning, match="measured sub-1_trc-PIB_run-1_pet.nii, one of 2"):
        (alone,), _ = read_derivatives(raw, raw, measured_only=True)
    assert alone.measured == pair.measured
