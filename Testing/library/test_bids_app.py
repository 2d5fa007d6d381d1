"""`relapet bids`: who is done, what is left, what the records and tables say, and what cannot stop the others."""

import json
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from cases import write_tiny_latent
from cohorts import bids_data, damage, many_cases, results, rows, save_one

from RelAPETLib.cli import main
from RelAPETLib.cohort import visit_run
from RelAPETLib.cohort.cases import PetScan
from RelAPETLib.cohort.derivatives import sidecar
from RelAPETLib.cohort.records import read_record
from RelAPETLib.cohort.visits import Visit
from RelAPETLib.errors import InputError
from RelAPETLib.outputs import reserve


@pytest.fixture(scope="module")
def one_case(tmp_path_factory, grid_case):
    return save_one(tmp_path_factory.mktemp("case") / "one", grid_case)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two tracers, and no need of a T2-FLAIR."""
    return write_tiny_latent(tmp_path_factory.mktemp("bids_model") / "m", tracers=("TAU", "PIB"), optional=("t2f",))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, one_case, model):
    """Four visits from saved cases, one of them damaged, after a run of both levels: (cases, out, arguments)."""
    folder = tmp_path_factory.mktemp("cohort")
    cases = many_cases(folder / "cases", one_case, ["sub-01", "sub-02/ses-1", "sub-02/ses-2", "sub-03"])
    damage(cases / "sub-03")
    arguments = ["bids", str(cases), str(folder / "out"), "participant", "group", "--cases", str(cases),
                 "--model", str(model), "--tracer", "TAU", "--steps", "1", "--samples", "2", "--no-report"]  # fmt: skip
    assert main(arguments) == 3
    return cases, folder / "out", arguments


def test_good_visits_have_results_and_the_bad_one_a_reason(cohort):
    _, out, _ = cohort
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("sub-*_pet.nii.gz"))
    stems = ["sub-01/pet/sub-01", "sub-02/ses-1/pet/sub-02_ses-1", "sub-02/ses-2/pet/sub-02_ses-2"]
    kinds = ("spread", "synthetic")
    assert names == [f"{stem}_trc-AV1451_space-T1w_desc-{kind}_pet.nii.gz" for stem in stems for kind in kinds]
    assert len(set(results(out).values())) == 1  # one brain, one seed: one PET
    (failure,) = rows(out / "failures.tsv")
    assert (failure["participant_id"], failure["session"], failure["tracer"]) == ("sub-03", "n/a", "TAU")
    assert failure["model"] == "tiny-latent 0.0.1" and "t1w.nii.gz: damaged" in failure["reason"]
    regions = rows(out / "regions.tsv")
    assert {(row["participant_id"], row["session"]) for row in regions} == {
        ("sub-01", "n/a"), ("sub-02", "ses-1"), ("sub-02", "ses-2")
    }  # fmt: skip
    assert all(0 < float(row["synthetic"]) < 3 and row["measured"] == "n/a" for row in regions)
    assert rows(out / "volumes.tsv") == []
    assert {row["participant_id"]: row["results"] for row in rows(out / "participants.tsv")} == {
        "sub-01": "1", "sub-02": "2", "sub-03": "0"
    }  # fmt: skip


def test_record_and_sidecar_tell_what_a_result_came_from(cohort, model):
    cases, out, _ = cohort
    folder = out / "sub-01" / "pet"
    record = read_record(folder / "sub-01_trc-AV1451_model-tinylatent_record.json")
    assert record.status == "done" and set(record.inputs) == {"case"} and record.options["steps"] == 1
    assert record.outputs.keys() == {p.name for p in folder.iterdir()} - {
        "sub-01_trc-AV1451_model-tinylatent_record.json"
    }
    sidecar = json.loads((folder / "sub-01_trc-AV1451_space-T1w_desc-synthetic_pet.json").read_text())
    assert sidecar["Synthetic"] is True and "not a measurement" in sidecar["Description"]
    assert not {"InjectedRadioactivity", "ScanStart", "TimeZero", "FrameTimesStart", "Manufacturer"} & sidecar.keys()
    provenance = json.loads((folder / sidecar["Provenance"]).read_text())
    for name, facts in provenance["outputs"].items():
        assert facts["sha256"] == record.outputs[name]["sha256"]
    assert str(cases) not in "".join(path.read_text() for path in out.rglob("*.json"))


def test_a_second_run_does_only_what_is_missing(cohort, capsys, one_case, tmp_path):
    _, out, arguments = cohort
    copy = tmp_path / "out"
    shutil.copytree(out, copy)  # as a clone of the results: the records go with it
    cases = many_cases(tmp_path / "cases", one_case, ["sub-01", "sub-02/ses-1", "sub-02/ses-2", "sub-03"])
    again = [*arguments, "--progress", "json"]
    again[1:3] = [str(cases), str(copy)]
    again[again.index("--cases") + 1] = str(cases)
    (copy / "sub-01/pet/sub-01_trc-AV1451_space-T1w_desc-spread_pet.nii.gz").unlink()  # a result is missing
    (copy / "sub-02/ses-1/pet/.relapet/made").mkdir(parents=True)  # left by a run that was killed after its last result
    kept = (copy / "sub-02/ses-1/pet/sub-02_ses-1_trc-AV1451_model-tinylatent_record.json").stat().st_mtime_ns
    assert main(again) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["done"], result["skipped"], result["failed"]) == (2, 2, 0)  # sub-01, and sub-03, which is mended
    assert result["made_anew"] == {"a file is missing or cannot be read": 1}
    assert kept == (copy / "sub-02/ses-1/pet/sub-02_ses-1_trc-AV1451_model-tinylatent_record.json").stat().st_mtime_ns
    assert rows(copy / "failures.tsv") == [] and len(results(copy)) == 4 and not list(copy.rglob(".relapet"))


def test_other_options_or_inputs_are_done_anew_and_another_model_is_refused(cohort, capsys, tmp_path, tiny_latent):
    _, out, arguments = cohort
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    again = [*arguments, "--progress", "json", "--participant-label", "01", "--seed", "5"]
    again[2] = str(copy)
    again.remove("group")  # which tells of everybody's failures
    assert main(again) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["done"], result["made_anew"]) == (1, {"seed was 0, now 5": 1})
    name = "sub-01_trc-AV1451_space-T1w_desc-synthetic_pet.nii.gz"
    assert results(copy)[name] != results(out)[name]
    again[again.index("--model") + 1] = str(tiny_latent)  # of the same name, with other metadata
    assert main(again) == 2
    assert "each model an output folder of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--participant-label", "99"], "no participant sub-99"),
        (["--session_label", "7"], "no session ses-7"),
        (["--share", "5/4"], "--share 5/4 cannot be read"),
        (["--jobs", "0"], "--jobs 0 is out of range"),
        (["--cases", "nowhere"], "nowhere: no saved case in it"),
        (["--registration", "fine"], "--cases goes on from scans that are prepared already; leave --registration out"),
        (["--bids-filter-file", "nowhere.json"], "nowhere.json: no such file"),
        (["--tracer", "PBR"], "has no tracer PBR"),
        (["--device", "xx"], "unknown device 'xx'"),
        (["--steps", "100000"], "steps 100000 is out of range"),
    ],
)
def test_a_mistake_is_one_line(cohort, capsys, more, words):
    assert main([*cohort[2], *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_shares_are_a_partition(cohort, capsys, tmp_path):
    seen = []
    for number in (1, 2, 3):
        again = [*cohort[2], "--share", f"{number}/3", "--progress", "json"]
        again.remove("group")
        main(again)
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        seen.append(result["skipped"] + result["done"] + result["failed"])
    assert sorted(seen) == [1, 1, 2]


def test_who_lacks_scans_and_what_is_measured(tmp_path, grid_case, model, capsys):
    """PET and FLAIR are optional, several sessions are told apart, and a PET of an unknown unit stops nobody."""
    both = ["T1w", "FLAIR"]
    raw = bids_data(tmp_path / "raw", grid_case, {
        "sub-1/ses-a": [*both, "trc-AV1451_pet"], "sub-1/ses-b": ["T1w"], "sub-2": ["FLAIR"],
        "sub-3": [*both, "trc-AV1451_pet"],
    })  # fmt: skip
    (raw / "sub-3/pet/sub-3_trc-AV1451_pet.json").write_text('{"Units": "Bq/mL"}')
    out = raw / "derivatives" / "relapet"
    arguments = ["bids", str(raw), str(out), "participant", "group", "--model", str(model), "--tracer", "TAU",
                 "--steps", "1", "--samples", "1", "--preprocessed", "--skip-bids-validation",
                 "--no-report"]  # fmt: skip
    assert main(arguments) == 3
    reasons = {row["participant_id"]: row["reason"] for row in rows(out / "failures.tsv")}
    assert reasons["sub-2"] == "no T1w"
    assert reasons["sub-3"].startswith("done, but not compared") and "'Bq/mL', not SUVR" in reasons["sub-3"]
    assert str(tmp_path) not in (out / "failures.tsv").read_text()
    assert set(reasons) == {"sub-2", "sub-3"}
    volumes = rows(out / "volumes.tsv")
    assert [(v["participant_id"], v["session"], v["region"]) for v in volumes] == [
        ("sub-1", "ses-a", "whole_grid"), ("sub-1", "ses-a", "brain")
    ]  # fmt: skip
    difference = "sub-1/ses-a/pet/sub-1_ses-a_trc-AV1451_space-T1w_desc-difference_pet.json"
    assert json.loads((out / difference).read_text())["Sources"][-1].startswith("bids:raw:sub-1/ses-a/pet/")
    assert len(results(out)) == 3
    capsys.readouterr()


def test_a_model_that_needs_the_flair_says_so(tmp_path, grid_case, tiny_latent):
    raw = bids_data(tmp_path / "raw", grid_case, {"sub-1": ["T1w"]})
    out = tmp_path / "out"
    arguments = ["bids", str(raw), str(out), "participant", "group", "--model", str(tiny_latent), "--preprocessed",
                 "--skip-bids-validation"]  # fmt: skip
    assert main(arguments) == 3
    assert [row["tracer"] for row in rows(out / "failures.tsv")] == ["PBR", "PIB", "TAU"]
    assert all("needs a T2-FLAIR" in row["reason"] for row in rows(out / "failures.tsv"))


def test_a_table_and_a_filter_choose_scans(tmp_path, grid_case):
    from RelAPETLib.cohort.filters import read_filters
    from RelAPETLib.cohort.visits import find_visits

    raw = bids_data(tmp_path / "raw", grid_case, {"sub-1": ["acq-a_run-01_T1w", "acq-b_run-02_T1w", "FLAIR"]})
    (tmp_path / "filter.json").write_text('{"t1w": {"acquisition": ["b", "c"], "run": 2, "suffix": "T1w"}}')
    (visit,) = find_visits(raw)
    assert "acq-a" in visit.t1w.name and "taken of 2 T1w" in visit.notes[0]
    (visit,) = find_visits(raw, filters=read_filters(tmp_path / "filter.json"))
    assert "acq-b" in visit.t1w.name and not visit.notes
    (tmp_path / "filter.json").write_text('{"flair": {"acquisition": "x"}, "t1w": {"acq": null}}')
    (visit,) = find_visits(raw, filters=read_filters(tmp_path / "filter.json"))
    assert visit.problem == "no T1w that the filter lets through"
    (tmp_path / "filter.json").write_text('{"flair": {"acquisition": "*"}, "t1w": {"acq": "*", "run": ["*", null]}}')
    (visit,) = find_visits(raw, filters=read_filters(tmp_path / "filter.json"))
    assert "acq-a" in visit.t1w.name and visit.t2f is None, "fMRIPrep's * is any label, and not none"
    for text, words in (('{"bold": {}}', "unknown kind"), ('{"t1w": {"colour": 1}}', "unknown entity"),
                        ('{"t1w": {"run": {}}}', "must be a label")):  # fmt: skip
        (tmp_path / "filter.json").write_text(text)
        with pytest.raises(InputError, match=words):
            read_filters(tmp_path / "filter.json")
    (tmp_path / "people.csv").write_text(
        f"subject,session,t1w,t2f,pet,tracer,age\n7,1,{grid_case['t1w']},,{grid_case['pet']},PIB,71\n7,2,,,,,\n"
    )
    first, second = find_visits(tmp_path / "people.csv")
    assert (first.name, first.t2f, set(first.pets), first.clinical.age) == ("sub-7_ses-1", None, {"PIB"}, 71)
    assert second.problem == "no t1w in people.csv"


def test_the_regions_of_a_table_have_the_unit_of_their_result(cohort, tmp_path):
    from RelAPETLib.cohort.group import write_tables

    copy = tmp_path / "out"
    shutil.copytree(cohort[1], copy)
    assert {row["units"] for row in rows(copy / "regions.tsv")} == {"SUVR"}
    path = copy / "sub-01/pet/sub-01_trc-AV1451_model-tinylatent_record.json"
    record = read_record(path)
    for units in ("relative (0 to 1)", None):  # earlier versions recorded none
        told = {"units": units} if units else {}
        regions = [{name: row[name] for name in row if name != "units"} | told for row in record.regions]
        path.write_text(replace(record, regions=regions).text())
        write_tables(copy)
        found = {row["participant_id"]: row["units"] for row in rows(copy / "regions.tsv")}
        assert found == {"sub-01": units or "n/a", "sub-02": "SUVR"}
    described = json.loads((copy / "regions.json").read_text())
    assert "relative" in described["units"]["Description"] and "SUVR" not in described["synthetic"]["Description"]


def test_two_runs_at_one_person_do_it_once(cohort, tmp_path, monkeypatch):
    """A run that comes second waits for the first, finds its result, and leaves it as it is."""
    _, out, arguments = cohort
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    again = [*arguments, "--participant-label", "01", "--seed", "8"]
    again.remove("group")
    again[2] = str(copy)
    monkeypatch.setattr(visit_run, "INTERVAL", 0.1)
    codes = []
    record = copy / "sub-01/pet/sub-01_trc-AV1451_model-tinylatent_record.json"
    before = record.read_text()
    with reserve(copy / "sub-01" / "pet", overwrite=True):
        runs = [threading.Thread(target=lambda: codes.append(main(again))) for _ in range(1)]
        for run in runs:
            run.start()
        time.sleep(1)
        assert record.read_text() == before and not codes
    for run in runs:
        run.join()
    assert codes and record.read_text() != before and read_record(record).options["seed"] == 8
    assert not list(copy.rglob(".relapet"))


def test_a_log_has_a_line_for_each_visit_as_it_ends(cohort, capsys):
    assert main(cohort[2]) == 3
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines() if " of 4: " in line]
    whole = [f"{n} of 4: {name}: skipped" for n, name in enumerate(["sub-01", "sub-02_ses-1", "sub-02_ses-2"], 1)]
    assert lines[:3] == whole and lines[3].startswith("4 of 4: sub-03: failed (t1w.nii.gz: damaged, it was changed")
    for mode in ("none", "json"):
        main([*cohort[2], "--progress", mode])
        assert " of 4: " not in capsys.readouterr().err


def test_a_folder_that_is_not_ours_is_left_alone(cohort, tmp_path, capsys):
    (tmp_path / "out" / "sub-01").mkdir(parents=True)
    again = list(cohort[2])
    again[2] = str(tmp_path / "out")
    assert main(again) == 2 and "holds sub-* folders" in capsys.readouterr().err
    (tmp_path / "out" / "dataset_description.json").write_text('{"Name": "fMRIPrep", "GeneratedBy": [{"Name": "x"}]}')
    assert main(again) == 2 and "RelAPET did not make" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dataset_description.json", "sub-01"]


def test_a_record_that_is_damaged_is_listed_and_done_again(cohort, tmp_path):
    _, out, arguments = cohort
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    record = copy / "sub-02/ses-2/pet/sub-02_ses-2_trc-AV1451_model-tinylatent_record.json"
    record.write_text(record.read_text()[:300])
    again = [*arguments]
    again[2] = str(copy)
    group = [word for word in again if word != "participant"]
    assert main(group) == 3
    listed = {(row["participant_id"], row["session"]): row["reason"] for row in rows(copy / "failures.tsv")}
    assert "not readable JSON" in listed["sub-02", "ses-2"]
    assert str(tmp_path) not in (copy / "failures.tsv").read_text()
    again[again.index("group")] = "participant"
    assert main([*again, "--participant-label", "sub-02"]) == 0 and read_record(record).status == "done"


def test_results_do_not_point_to_copies_that_will_be_removed(tmp_path, grid_case, model, capsys):
    """Scans of a table in a temporary folder, one person a run, as the Slicer panel does it; tables tell of all."""
    out = tmp_path / "out"
    for number in (1, 2):
        copies = tmp_path / f"copies {number}"
        copies.mkdir()
        shutil.copyfile(grid_case["t1w"], copies / "t1w.nii.gz")
        (copies / "table.csv").write_text(f"subject,session,t1w\n{number:03d},1,t1w.nii.gz\n")
        assert main(["bids", str(copies / "table.csv"), str(out), "participant", "group", "--model", str(model),
                     "--tracer", "TAU", "--steps", "1", "--samples", "1", "--preprocessed", "--no-report",
                     "--unlinked"]) == 0  # fmt: skip
        shutil.rmtree(copies)
    capsys.readouterr()
    assert "DatasetLinks" not in json.loads((out / "dataset_description.json").read_text())
    assert len(results(out)) == 2 and {row["participant_id"] for row in rows(out / "regions.tsv")} == {
        "sub-001", "sub-002"
    }  # fmt: skip
    sidecar = json.loads(
        (out / "sub-001/ses-1/pet/sub-001_ses-1_trc-AV1451_space-T1w_desc-synthetic_pet.json").read_text()
    )
    assert sidecar["Sources"] == ["T1w"] and sidecar["InputSHA256"]["t1w"]
    assert "copies" not in "".join(path.read_text() for path in out.rglob("*.json"))


def test_a_folder_on_another_drive_is_not_linked(tmp_path, monkeypatch):
    """Windows has no relative path from one drive to another."""
    from RelAPETLib.cohort import derivatives
    from RelAPETLib.cohort.request import Request
    from RelAPETLib.synthesis import Options

    def other_drive(*paths):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    request = Request(tmp_path, tmp_path / "out", Options(tracers=("TAU",)), model={"name": "m", "version": "1"})
    assert derivatives._description(request)["DatasetLinks"] == {"raw": ".."}
    monkeypatch.setattr(derivatives.os.path, "relpath", other_drive)
    assert "DatasetLinks" not in derivatives._description(request)


def test_no_file_of_results_names_a_persons_files(tmp_path, grid_case, model, monkeypatch, capsys):
    """Files and folders of a table may be called after a person; the terminal alone says which file it was."""
    monkeypatch.chdir(tmp_path)
    for name in ("Jane_Doe", "Ann Lee"):
        (tmp_path / "scans" / name).mkdir(parents=True)
    (tmp_path / "scans/Jane_Doe/Jane_Doe_T1w.nii.gz").write_bytes(b"no volume")
    shutil.copyfile(grid_case["t1w"], tmp_path / "scans/Ann Lee/Ann Lee T1.nii.gz")
    (tmp_path / "scans/Ann Lee/Lee_pet.nii").write_bytes(b"no volume")
    (tmp_path / "scans/table.csv").write_text(
        "subject,t1w,pet,tracer\n01,Jane_Doe/Jane_Doe_T1w.nii.gz,,\n"
        "02,Ann Lee/Ann Lee T1.nii.gz,Ann Lee/Lee_pet.nii,TAU\n"
        "02,Ann Lee/Ann Lee T1.nii.gz,Ann Lee/Lee_x.nii,Lee_x.nii\n"
    )
    assert main(["bids", "scans/table.csv", "out", "participant", "group", "--model", str(model),
                 "--steps", "1", "--samples", "1", "--preprocessed", "--no-report",
                 "--progress", "json"]) == 3  # fmt: skip
    told = capsys.readouterr()
    assert "Jane_Doe/Jane_Doe_T1w.nii.gz: not a readable image" in told.out + told.err
    first, _, second = (row["reason"] for row in rows(tmp_path / "out/failures.tsv"))
    assert first.startswith("the T1w: not a readable image") and "the reference PET: not a readable image" in second
    (note,) = rows(tmp_path / "out/notes.tsv")
    assert (note["participant_id"], note["tracer"]) == ("sub-02", "n/a")
    assert note["note"].startswith("a measured PET was left out: ")
    assert (told.out + told.err).count(note["note"]) == 1, "said once, of two tracers"
    assert main(["report", "out"]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "Notes on the files (1)" in page and "a measured PET was left out" in page
    texts = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".tsv", ".html")]
    kept = {path.name: path.read_text() for path in texts} | {"the result": told.out.splitlines()[-1]}
    assert {"report.html", "failures.tsv", "sub-02_trc-AV1451_space-T1w_desc-synthetic_pet.json"} <= kept.keys()
    for name, text in kept.items():
        assert not any(word in text for word in ("Jane_Doe", "Ann Lee", "Lee_")), name


def test_reasons_name_inputs_by_what_they_are(tmp_path):
    from RelAPETLib.cohort.reasons import reason_of, recordable, recordable_note
    from RelAPETLib.cohort.request import Request
    from RelAPETLib.cohort.visits import find_visits
    from RelAPETLib.synthesis import Options

    (tmp_path / "Lee").mkdir()
    (tmp_path / "Lee/Lee_pib.json").write_text("[")
    (tmp_path / "t.csv").write_text("subject,t1w,pet,tracer\n02,Lee/Lee T1.hdr,Lee/Lee_pib.nii,PIB\n"
                                    "02,Lee/Lee T1.hdr,Lee/Lee_x.nii,Lee_x.nii\n")  # fmt: skip
    request = Request(tmp_path / "t.csv", tmp_path / "out", Options(tracers=("PIB",)), work=tmp_path / "work")
    (visit,) = find_visits(tmp_path / "t.csv")
    (lost,), (note,) = visit.lost, visit.notes
    assert "Lee_pib.json" in lost.reason and "Lee_x.nii" in note
    assert recordable(lost.reason, request, visit).startswith("the reference PET's sidecar: not readable JSON")
    assert "Lee" not in recordable_note(note, request, visit)
    home = "/usr/home/lee/models/tau: changed"
    for words, recorded in (
        (f"T1w {tmp_path}/Lee/Lee T1.hdr: its other file, Lee T1.img, is not there",
         "T1w: its other file, the T1w's other file, is not there"),
        (f"{tmp_path}/work/cases/sub-02: full", "cases/sub-02: full"), (home, "tau: changed"),
    ):  # fmt: skip
        reason = reason_of(InputError(words), request, visit)
        assert reason.recorded == recorded and reason.told == words.replace(f"{tmp_path}/work/", "").replace(
            f"{tmp_path}/", ""
        )
    bids = bids_data(tmp_path / "raw", {}, {})
    for name in ("sub-1_acq-a_T1w", "sub-1_acq-b_T1w", "sub-1_trc-x_pet", "Lee_trc-y_pet"):
        place = bids / "sub-1" / ("pet" if "pet" in name else "anat")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.nii").write_text("")
    (visit,) = find_visits(bids)
    notes = [recordable_note(note, replace(request, source=bids), visit) for note in visit.notes]
    assert notes[0] == "sub-1_acq-a_T1w.nii taken of 2 T1w" and len(notes) == 3
    assert not any("Lee" in note or "raw" in note for note in notes), notes


def test_a_measured_pet_among_the_results_is_not_called_synthetic(tmp_path):
    folder = tmp_path / "sub-01"
    scan = PetScan("PIB", folder / "pet" / "sub-01_trc-PIB_pet.nii.gz")
    visit = Visit("sub-01", t1w=folder / "anat" / "sub-01_T1w.nii.gz", pets={"PIB": scan})
    request = SimpleNamespace(source=tmp_path, linked=True)
    provenance = {
        "pet": {"units": "SUVR"}, "tracer": {"name": "PIB", "radiopharmaceutical": "11C-PiB"},
        "inputs": {"t1w": {"sha256": "a"}, "t2f": None, "reference": {"sha256": "b"}},
    }  # fmt: skip
    told = sidecar(request, visit, provenance, "reference", "made.json")
    assert told["Synthetic"] is False and "Model" not in told and told["Description"].startswith("The measured PET")
    assert told["Sources"] == [
        "bids:raw:sub-01/anat/sub-01_T1w.nii.gz",
        "bids:raw:sub-01/pet/sub-01_trc-PIB_pet.nii.gz",
    ]
    assert told["InputSHA256"] == {"t1w": "a", "reference": "b"}
