"""What counts as done: scans, what is said of them, the code's revisions, and the files as they were written."""

import hashlib
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from RelAPETLib.cohort import origin as origins
from RelAPETLib.cohort import records
from RelAPETLib.cohort.derivatives import DESCRIPTION
from RelAPETLib.cohort.group import write_tables
from RelAPETLib.cohort.prepared import _is_of
from RelAPETLib.cohort.records import Record, hashes, judge, read_record, record_name
from RelAPETLib.cohort.request import Request
from RelAPETLib.cohort.visits import Visit
from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.evaluation.tsv import read_tsv
from RelAPETLib.notices import listening
from RelAPETLib.registration import AUTO, REVISION
from RelAPETLib.synthesis import Options
from RelAPETLib.volumes import file_sha256
from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY

MODEL = {"name": "toy", "version": "1", "weights_sha256": "a", "metadata_sha256": "b"}


def write_scan(path, value):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), value, np.float32), np.eye(4)), path)


@pytest.fixture
def data(tmp_path):
    """A data set of two tiny scans, what is asked for, and whose."""
    folder = tmp_path / "raw"
    folder.mkdir()
    scans = {role: folder / f"sub-01_{kind}.nii.gz" for role, kind in (("t1w", "T1w"), ("t2f", "FLAIR"))}
    for role, path in scans.items():
        write_scan(path, len(role + path.name))
    out = tmp_path / "out"
    out.mkdir()
    (out / DESCRIPTION).write_text("{}")
    return Request(folder, out, Options(tracers=("PIB",)), model=MODEL), Visit("sub-01", **scans)


def wanted(request, visit, tracer="PIB"):
    return origins.origin(request, visit, tracer, hashes(visit, (tracer,)), origins.said_of(visit))


def revised(what, before):
    """Words for code of the next revision."""
    return f"{what} of revision {before.code[what]}, now {before.code[what] + 1}"


def words_of(own):
    return f"registration {own.code['registration']}, synthesis {own.code['synthesis']}"


def write(request, visit, own, name=None, **more):
    """A finished record of an origin, with a small table and a volume of two megabytes beside it."""
    folder = request.out / visit.folder
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"table.tsv": b"a\tb\n", "volume.nii.gz": bytes(2 << 20)}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    outputs = {file: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for file, c in contents.items()}
    record = Record(visit.participant, visit.session or "n/a", own.tracer, MODEL, "done", "", own.fingerprint,
                    dict(own.inputs), dict(own.options), outputs, said=dict(own.said), code=dict(own.code))  # fmt: skip
    name = name or record_name(visit, own.tracer, MODEL)
    (folder / name).write_text(replace(record, **more).text())
    return folder, name


def test_what_the_sidecars_of_the_mri_say_counts_where_it_shapes_the_result(data):
    request, visit = data
    place = write(request, visit, wanted(request, visit))
    assert judge(*place, wanted(request, visit)) == (True, "")
    sidecar = visit.t1w.with_name("sub-01_T1w.json")
    sidecar.write_text('{"RepetitionTime": 2.3, "ContrastBolusIngredient": "NONE"}')
    assert judge(*place, wanted(request, visit)) == (True, ""), "which changes no result"
    for content in ({SIMULATION_KEY: SIMULATED}, {"ContrastBolusIngredient": "GADOLINIUM"}):
        sidecar.write_text(json.dumps(content))
        assert judge(*place, wanted(request, visit)) == (False, "the name or sidecar of the T1w says otherwise")
        assert judge(*write(request, visit, wanted(request, visit)), wanted(request, visit))[0]
    sidecar.unlink()
    assert not judge(*place, wanted(request, visit))[0], "nor does a word that is taken away go unseen"


def test_other_code_makes_a_result_anew_and_says_so(data, monkeypatch):
    request, visit = data
    before = wanted(request, visit)
    place = write(request, visit, before)
    monkeypatch.setattr(origins, "REGISTRATION", before.code["registration"] + 1)
    assert judge(*place, wanted(request, visit)) == (False, revised("registration", before))
    ready = replace(request, options=replace(request.options, preprocessed=True))
    assert "registration" not in wanted(ready, visit).code, "which registers nothing"
    monkeypatch.undo()
    monkeypatch.setattr(origins, "SYNTHESIS", before.code["synthesis"] + 1)
    assert judge(*place, wanted(request, visit)) == (False, revised("synthesis", before))


def test_a_reason_names_all_that_differs_and_no_path(data):
    request, visit = data
    place = write(request, visit, wanted(request, visit))
    write_scan(visit.t1w, 9)
    other = replace(request, options=replace(request.options, seed=5, quality="fast"))
    words = "another T1w, quality was as usual, now fast, seed was 0, now 5"
    assert judge(*place, wanted(other, visit)) == (False, words)


def test_both_means_of_a_region_that_a_measured_pet_shows_in_part_are_of_the_same_voxels(data):
    request, visit = data
    partly = {"synthetic_pet": 1.0, "reference": 1.2, "difference": -0.5, "spread": 0.1, "low": 0.8, "high": 1.3}
    rows = [
        {"region": "part", **partly, "share_measured": 0.6, "share_in_view": 0.9},
        {"region": "nearly", **partly, "share_measured": 0.99, "share_in_view": 1.0},
        {"region": "same", **partly, "share_measured": 0.8, "share_in_view": 0.8},
        {"region": "hardly", "synthetic_pet": 1.0, "reference": None, "share_measured": 0.3, "share_in_view": 1.0},
        {"region": "whole", "synthetic_pet": 1.0, "share_in_view": 0.8},
    ]
    relative = [{**row, "units": "relative (0 to 1)"} for row in rows[:3]]
    write(request, visit, wanted(request, visit), regions=[row | {"units": "SUVR"} for row in rows])
    write(request, replace(visit, participant="sub-02"), wanted(request, visit), regions=relative)
    table = read_tsv(write_tables(request.out).files["regions.tsv"], ["in_field"])
    columns = ("synthetic", "measured", "spread", "low", "high", "in_field")
    found = {(row["participant_id"], row["region"]): [row[name] for name in columns] for row in table}
    own = {region: values for (person, region), values in found.items() if person == "sub-01"}
    assert own == {
        "part": ["0.7", "1.2", "n/a", "n/a", "n/a", "0.6"],
        "nearly": ["0.7", "1.2", "0.1", "0.8", "1.3", "0.99"],
        "same": ["1", "1.2", "0.1", "0.8", "1.3", "0.8"],
        "hardly": ["1", "n/a", "n/a", "n/a", "n/a", "1"],
        "whole": ["1", "n/a", "n/a", "n/a", "n/a", "0.8"],
    }
    assert found["sub-02", "part"] == ["1", "n/a", "0.1", "0.8", "1.3", "0.9"], "scaled to be compared: no pair"
    assert found["sub-02", "same"][:2] == ["1", "1.2"]
    told = json.loads((request.out / "regions.json").read_text())
    assert "the same voxels" in told["measured"]["Description"] and "share in_field" in told["synthetic"]["Description"]


def test_records_of_earlier_versions_count_and_are_told_of(data):
    """They do not tell the code's revisions, nor what sidecars said; they are no reason to begin thousands anew."""
    request, visit = data
    sidecar = visit.t1w.with_name("sub-01_T1w.json")
    sidecar.write_text(json.dumps({SIMULATION_KEY: SIMULATED}))
    own = wanted(request, visit)
    folder, name = write(request, visit, own, fingerprint=own.earlier_fingerprint)
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({key: content[key] for key in content if key not in ("said", "code")}))
    assert read_record(folder / name).code == {} and judge(folder, name, own) == (True, "")
    write_scan(visit.t1w, 9)
    assert judge(folder, name, wanted(request, visit)) == (False, "another T1w")
    told = []
    with listening(told.append):
        assert write_tables(request.out).code == {"an earlier version, not recorded": 1} and not told
    write(request, replace(visit, participant="sub-02"), own)
    with pytest.warns(RelAPETWarning, match=f"1 of an earlier version, not recorded; 1 of {words_of(own)}"):
        assert write_tables(request.out).results == 2


def test_a_group_of_saved_cases_and_registered_scans_is_of_one_revision(data):
    request, visit = data
    own = wanted(request, visit)
    write(request, visit, own)
    other = replace(own, code={"synthesis": own.code["synthesis"]}, inputs={"case": "another's"})
    write(request, replace(visit, participant="sub-02"), other)
    told = []
    with listening(told.append):
        assert write_tables(request.out).results == 2 and not told
    write(request, replace(visit, participant="sub-03"), replace(own, code={**own.code, "registration": 0}))
    with pytest.warns(RelAPETWarning, match=f"1 of {words_of(own)}; 1 of synthesis .; 1 of registration 0, "):
        write_tables(request.out)


def test_a_scan_under_two_names_is_told_of_and_a_persons_own_sessions_are_not(data):
    """Else one person would count as two in every mean; the same holds for saved cases and measured PET."""
    request, visit = data

    def put(person, session, **inputs):
        own = replace(wanted(request, visit), inputs=inputs)
        write(request, replace(visit, participant=person, session=session), own, left_out=left_out)

    def notes():
        lines = write_tables(request.out).files["notes.tsv"].read_text().splitlines()
        return {tuple(line.split("\t")[i] for i in (0, 1, 2, 4)) for line in lines[1:]}

    left_out = ""
    put("sub-01", "ses-1", t1w="a", t2f="b", pet_PIB="p")
    put("sub-01", "ses-2", t1w="a", t2f="b")
    put("sub-02", "ses-1", t1w="c", t2f="a", pet_TAU="p")
    told = []
    with listening(told.append):
        assert not notes() and not told
    put("sub-03", "", t1w="d", t2f="b")
    put("sub-04", "", case="e", pet_PIB="q")
    put("sub-05", "", case="f", pet_PIB="q")
    left_out = "it cannot be read"
    put("sub-06", "", case="g", pet_PIB="q")
    with pytest.warns(RelAPETWarning, match="4 people .* such as sub-01, whose T2-FLAIR is also that of sub-03"):
        found = notes()
    words = "its {} is also that of {}: one scan under two names"
    assert found == {
        ("sub-01", "ses-1", "n/a", words.format("T2-FLAIR", "sub-03")),
        ("sub-01", "ses-2", "n/a", words.format("T2-FLAIR", "sub-03")),
        ("sub-03", "n/a", "n/a", words.format("T2-FLAIR", "sub-01")),
        ("sub-04", "n/a", "n/a", words.format("measured PET", "sub-05")),
        ("sub-05", "n/a", "n/a", words.format("measured PET", "sub-04")),
    }


@pytest.mark.parametrize(("file", "later", "done"), [
    ("table.tsv", False, False), ("volume.nii.gz", True, False), ("volume.nii.gz", False, True)
])  # fmt: skip
def test_a_changed_file_of_the_same_size_is_found(data, file, later, done):
    """Small ones always; a volume where it was written after the record."""
    request, visit = data
    folder, name = write(request, visit, wanted(request, visit))
    path, written = folder / file, (folder / name).stat().st_mtime_ns
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(written, written + 10**9 if later else written))
    assert judge(folder, name, wanted(request, visit)) == (done, "" if done else "a file was changed")
    path.write_bytes(content)
    os.utime(path, ns=(written, written + 10**9))
    assert judge(folder, name, wanted(request, visit)) == (True, ""), "as copying may leave times"


def test_volumes_that_are_as_old_as_their_record_are_not_read(data, monkeypatch):
    request, visit = data
    own = wanted(request, visit)
    folder, name = write(request, visit, own)
    read, digest = [], records.file_sha256
    monkeypatch.setattr(records, "file_sha256", lambda path: read.append(path.name) or digest(path))
    assert judge(folder, name, own)[0] and read == ["table.tsv"]


def test_a_kept_case_is_of_what_is_said_now(data):
    """Else a result would be made anew from the case that has the words of before."""
    request, visit = data
    scans = {role: file_sha256(path) for role, path in (("t1w", visit.t1w), ("t2f", visit.t2f))}
    how = {"preprocessed": False, "registration": AUTO, "revision": REVISION}
    mark, agent = {"simulated": True}, {"t1w": {"contrast": "sidecar"}}
    plain, half, simulated, contrast, earlier = cases = [
        SimpleNamespace(sha256=scans, second_sha256={}, beside=beside, **how)
        for beside in ({}, {"t1w": mark}, {"t1w": mark, "t2f": mark}, agent, {})
    ]
    earlier.revision = REVISION - 1  # which may have known of words that it does not tell
    for names, content, fitting in (
        ((), {}, plain),
        (("T1w",), {SIMULATION_KEY: SIMULATED}, half),  # the FLAIR is a real one
        (("T1w", "FLAIR"), {SIMULATION_KEY: SIMULATED}, simulated),
        (("T1w",), {"ContrastBolusIngredient": "GADOLINIUM"}, contrast),
    ):
        for name in names:
            visit.t1w.with_name(f"sub-01_{name}.json").write_text(json.dumps(content))
        assert [case for case in cases if _is_of(case, visit, request)] == [fitting]
        for name in names:
            visit.t1w.with_name(f"sub-01_{name}.json").unlink()
