"""Which sessions belong together: no measured PET, T1w or label image counts for a session that is not its own."""

from pathlib import Path

import pytest

from RelAPETLib.cohort.derived_pairs import read_derivatives
from RelAPETLib.cohort.pairs import read_pairs, with_cases
from RelAPETLib.cohort.visits import find_visits
from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.notices import listening


def data_set(root: Path, *names: str) -> Path:
    """Empty files; ``1/2/pet/x`` is ``sub-1/ses-2/pet/sub-1_ses-2_x``, and ``1/anat/x`` is ``sub-1/anat/sub-1_x``."""
    for name in names:
        subject, *session, kind, end = name.split("/")
        place = [f"sub-{subject}", *(f"ses-{label}" for label in session)]
        folder = root.joinpath(*place, kind)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{'_'.join(place)}_{end}.nii.gz").write_text("", encoding="utf-8")
    return root


MADE, PET = "trc-PIB_space-T1w_desc-synthetic_pet", "trc-PIB_pet"


def found(folder: Path, made: list[str], raw: list[str]):
    """Measured PET by the session of the synthetic one, and reasons of those without."""
    pairs, failures = read_derivatives(
        data_set(folder / "raw", *raw), data_set(folder / "made", *(f"{name}/pet/{MADE}" for name in made))
    )
    return {p.session: p.measured.name.split("_trc")[0] for p in pairs}, [row["reason"] for row in failures]


@pytest.mark.parametrize(
    ("made", "raw", "pairs", "reasons"),
    [
        (["1"], [f"1/a/pet/{PET}"], {"": "sub-1_ses-a"}, 0),
        (["1/a"], [f"1/pet/{PET}", "1/a/anat/T1w"], {"ses-a": "sub-1"}, 0),
        # several of one side
        (["1"], [f"1/a/pet/{PET}", f"1/b/pet/{PET}"], {}, 1),
        (["1/a", "1/b"], [f"1/pet/{PET}"], {}, 2),
        (["1/a", "1/b"], [f"1/pet/{PET}", f"1/a/pet/{PET}"], {"ses-a": "sub-1_ses-a"}, 1),
        (["1/a"], [f"1/pet/{PET}", f"1/b/pet/{PET}"], {}, 1),
        # the other session's MRI was not synthesized from, or not yet
        (["1/a"], [f"1/pet/{PET}", "1/a/anat/T1w", "1/b/anat/T1w"], {}, 1),
        # a session's own is not lent to another, though it has no MRI in the data set
        (["1/a", "1/b"], [f"1/b/pet/{PET}", "1/a/anat/T1w"], {"ses-b": "sub-1_ses-b"}, 1),
    ],
)
def test_a_measured_pet_counts_once(tmp_path, made, raw, pairs, reasons):
    got, why = found(tmp_path, made, raw)
    assert got == pairs and len(why) == reasons
    assert all("say in a table which" in reason or "no measured PET" in reason for reason in why)


def test_a_reason_names_the_sessions_of_both_sides(tmp_path):
    _, reasons = found(tmp_path, ["1/a", "1/b"], [f"1/pet/{PET}"])
    assert reasons[0].endswith("synthetic PET are of ses-a, ses-b and measured ones of no session; say in a table "
                               "which belong together")  # fmt: skip


def test_a_table_gives_no_measured_pet_to_two(tmp_path):
    lines = ["participant_id,session,tracer,model,synthetic,measured"]
    lines += [
        "1,1,PIB,a,s1.nii,m1.nii",
        "1,1,PIB,b,s2.nii,m1.nii",
        "1,2,PIB,a,s3.nii,m1.nii",
        "2,1,PIB,a,s4.nii,m1.nii",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.warns(RelAPETWarning, match="line 4: its measured PET is that of 1 1 PIB, in a line before"):
        pairs, failures = read_pairs(tmp_path / "t.csv")
    assert [(pair.session, pair.model) for pair in pairs] == [("1", "a"), ("1", "b")], "two models share it"
    assert [(row["participant_id"], row["session"]) for row in failures] == [("1", "2"), ("2", "1")]


def test_a_synthetic_pet_of_two_people_of_a_table_is_told_of(tmp_path):
    """By a line that was copied, or a mean PET as a control; for two measured PET of one person one MRI may do."""
    lines = ["participant_id,session,tracer,model,synthetic,measured"]
    lines += ["1,1,PIB,a,s1.nii,m1.nii", "1,2,PIB,a,s1.nii,m2.nii", "2,1,PIB,a,s1.nii,m3.nii"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.warns(RelAPETWarning, match="1 lines have another person's synthetic PET, 2 that of 1: a line that"):
        pairs, failures = read_pairs(tmp_path / "t.csv")
    assert len(pairs) == 3 and not failures
    (tmp_path / "t.csv").write_text("\n".join(lines[:3]) + "\n")
    told = []
    with listening(told.append):
        read_pairs(tmp_path / "t.csv")
    assert told == []


def test_one_t1w_of_two_people_of_a_table_is_told_of(tmp_path):
    lines = ["subject,session,t1w,t2f,pet,tracer", "a,1,x.nii,f.nii,p.nii,PIB", "a,2,x.nii,f.nii,q.nii,PIB"]
    lines += ["b,1,x.nii,f.nii,r.nii,PIB", "c,1,y.nii,f.nii,q.nii,PIB"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    told = []
    with listening(told.append):
        found = find_visits(tmp_path / "t.csv")
    advice = "correct the table, or give both one name if they are one"
    assert [words.split(": ", 1)[1] for words in told] == [
        f"the measured PET of PIB of sub-c_ses-1 is that of sub-a_ses-2; {advice}",
        f"the T1w of sub-b_ses-1 is that of sub-a; {advice}",
    ]
    assert [one.notes for one in found] == [(), (), (f"its T1w is another person's too; {advice}",), ()]
    assert [[lost.reason for lost in one.lost] for one in found] == [
        [], [], [], [f"its measured PET is another person's; {advice}"]
    ], "no person's record names another"  # fmt: skip


def test_a_t1w_is_the_sessions_own_or_the_only_one(tmp_path):
    raw = data_set(tmp_path / "raw", *(f"1/{name}/pet/{PET}" for name in "abc"), "1/a/anat/T1w", "1/b/anat/T1w",
                   f"2/a/pet/{PET}", "2/anat/T1w")  # fmt: skip
    made = data_set(tmp_path / "made", *(f"{name}/pet/{MADE}" for name in ("1/b", "1/c", "2/a")))
    pairs, _ = read_derivatives(raw, made)
    assert [pair.t1w and pair.t1w.name for pair in pairs] == ["sub-1_ses-b_T1w.nii.gz", None, "sub-2_T1w.nii.gz"]


def test_labels_of_no_session_serve_one_session(tmp_path):
    """The T1w of two sessions lie in two places; labels of neither fit one of them at most."""
    raw = data_set(tmp_path / "raw", *(f"{who}/{name}/pet/{PET}" for who in "123" for name in "ab"), "3/anat/T1w",
                   *(f"{who}/{name}/anat/T1w" for who in "12" for name in "ab"))  # fmt: skip
    made = ("1/a", "2/a", "2/b", "3/a", "3/b")
    derived = data_set(tmp_path / "made", *(f"{name}/pet/{MADE}" for name in made), *(f"{n}/anat/dseg" for n in "123"))
    with pytest.warns(RelAPETWarning, match="sub-2_dseg.nii.gz: not taken, since it is of no session"):
        pairs, _ = read_derivatives(raw, derived)
    assert [pair.dseg and pair.dseg.name for pair in pairs] == [
        "sub-1_dseg.nii.gz", None, None, "sub-3_dseg.nii.gz", "sub-3_dseg.nii.gz"
    ]  # fmt: skip


def test_a_saved_case_of_no_session_serves_who_has_none_of_any(tmp_path):
    lines = [
        f"{person},{session},PIB,s{person}{session}.nii,m{person}{session}.nii" for person in "12" for session in "12"
    ]
    (tmp_path / "t.csv").write_text("\n".join(["participant_id,session,tracer,synthetic,measured", *lines]) + "\n")
    for place in ("sub-1", "sub-1/ses-1", "sub-2"):
        (tmp_path / "cases" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cases" / place / "t1w_to_grid.h5").write_text("")
    pairs = with_cases(read_pairs(tmp_path / "t.csv")[0], tmp_path / "cases")
    assert [pair.to_mni and pair.to_mni.parent.name for pair in pairs] == ["ses-1", None, "sub-2", "sub-2"]


def test_of_several_sessions_without_mri_the_lowest_number_counts(tmp_path):
    """As `relapet bids` compares, and as the evaluation does; ses-10 comes before ses-2 as a text."""
    raw = data_set(tmp_path / "raw", "1/mr/anat/T1w", f"1/10/pet/{PET}", f"1/2/pet/{PET}")
    (visit,) = find_visits(raw)
    with pytest.warns(RelAPETWarning, match="compared with sub-1_ses-2_trc-PIB_pet.nii.gz, one of 2 measured PET"):
        (pair,), _ = read_derivatives(raw, data_set(tmp_path / "made", f"1/mr/pet/{MADE}"))
    assert visit.pets["PIB"].path == pair.measured == raw / "sub-1/ses-2/pet/sub-1_ses-2_trc-PIB_pet.nii.gz"


def test_a_table_of_a_cohort_gives_no_measured_pet_to_two(tmp_path):
    """The first visit is compared with it; of the later ones it is said why they are not."""
    lines = ["1,1,a.nii,p.nii,PIB", "1,2,b.nii,p.nii,PIB", "2,1,c.nii,p.nii,PIB", "2,1,c.nii,q.nii,TAU"]
    (tmp_path / "t.csv").write_text("\n".join(["subject,session,t1w,pet,tracer", *lines]) + "\n")
    with pytest.warns(RelAPETWarning, match="t.csv: the measured PET of PIB of sub-2_ses-1 is that of sub-1_ses-1; c"):
        visits = find_visits(tmp_path / "t.csv")
    assert [set(visit.pets) for visit in visits] == [{"PIB"}, set(), {"TAU"}]
    assert [[(lost.tracer, lost.reason) for lost in visit.lost] for visit in visits] == [
        [],
        [("PIB", "its measured PET is that of sub-1_ses-1; give each session its own")],
        [("PIB", "its measured PET is another person's; correct the table, or give both one name if they are one")],
    ]
