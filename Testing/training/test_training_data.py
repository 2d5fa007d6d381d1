"""From a table or BIDS to the cache: what is found, what is refused, dynamic PET, interruptions."""

import csv
import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import training_cases as cases

from RelAPETLib.cohort.bids import read_bids
from RelAPETLib.cohort.table import read_table
from RelAPETLib.errors import InputError, RelAPETWarning
from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.notices import collected, once
from RelAPETLib.regions import regional_means
from RelAPETLib.volumes import read_volume, write_volume
from RelAPETLib.volumes.frames import Frames, PetScan, check_static, choose_frames, parse_frames, read_pet
from training.__main__ import main
from training.data.cache import block_mask, block_means, open_cache
from training.data.prepare import Options, prepare
from training.data.rendered import rendered_people
from training.data.split import FILE, make_split, read_lists

ROOT = Path(__file__).resolve().parents[2]
ROWS = [("a", "TAU"), ("a", "PIB"), ("b", "TAU"), ("c", "PBR")]
TIMES = {
    "FrameTimesStart": [0, 300, 600, 1200],
    "FrameDuration": [300, 300, 600, 600],
    "InjectionStart": 0,
    "ImageDecayCorrected": True,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory, grid_case):
    return cases.write_table(tmp_path_factory.mktemp("table"), grid_case, ROWS)


@pytest.fixture(scope="module")
def cached(tmp_path_factory, table):
    out = tmp_path_factory.mktemp("cache") / "cache"
    return cases.prepared(table, out), out


def failures(out):
    with open(out / "failures.tsv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def one_row(folder, grid_case, **replaced):
    """A table of one person whose files are the plain case's, but for those replaced."""
    files = {name: str(path) for name, path in grid_case.items()} | {k: str(v) for k, v in replaced.items()}
    return cases.write_rows(folder / "one.csv", [["x", files["t1w"], files["t2f"], files["pet"], "TAU"]])


# -- the cache ------------------------------------------------------------------------------------------------------


def test_every_volume_is_stored_once_and_reads_back(cached, table):
    summary, out = cached
    assert (summary.prepared, summary.kept, summary.failures) == (3, 0, [])
    cache = open_cache(out)
    assert [(i.subject, i.tracer) for i in cache.items()] == [("a", "PIB"), ("a", "TAU"), ("b", "TAU"), ("c", "PBR")]
    assert sorted(p.name for p in (out / "cases" / "a").iterdir()) == [
        "case.json", "pet_PIB.npy", "pet_TAU.npy", "t1w.npy", "t2f.npy",
    ]  # fmt: skip
    inside = cache.mask()
    for number, (subject, tracer) in enumerate(ROWS):
        array = cache.array(subject, f"pet_{tracer}")
        assert isinstance(array, np.memmap) and array.dtype == np.float16 and array.shape == MNI_GRID.shape
        given = image_to_array(read_volume(table.parent / f"{subject}_{tracer}.nii"))
        np.testing.assert_allclose(array[inside], given[inside], rtol=1e-3, err_msg=f"row {number}")
        assert not array[~inside].any()
    for name in ("t1w", "t2f"):
        array = cache.array("a", name)
        assert array.min() == -1 and array.max() == 1 and (array[~inside] == -1).all()
    assert cache.index["simulated"] and cache.index["units"]["pet"] == "SUVR"


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "half a copy": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "of another type": lambda path: np.save(path, np.load(path).astype(np.float64)),
    "of another size": lambda path: np.save(path, np.load(path)[:-1]),
}


@pytest.mark.parametrize(("name", "damage"), [*(("t1w", damage) for damage in DAMAGES), ("pet_PIB", "half a copy")])
def test_prepare_mends_a_volume_that_is_not_whole(tmp_path, eight_people, name, damage):
    """Who opens such a cache is told to run prepare again; it makes that case anew and leaves the others."""
    out = cases.simulated(tmp_path / "c", 2, eight_people)
    index, path = open_cache(out).index, out / "cases" / "sub-0001" / f"{name}.npy"
    before = np.load(path)
    DAMAGES[damage](path)
    again = cases.prepare_simulated(out, 2)
    assert (again.prepared, again.kept) == (1, 1) and open_cache(out).index == index
    assert np.array_equal(open_cache(out).array("sub-0001", name), before)


def test_a_volume_that_cannot_be_mended_takes_its_case_alone(tmp_path, eight_people, monkeypatch):
    from training.data import prepare as module

    out = cases.simulated(tmp_path / "c", 2, eight_people)
    (out / "cases/sub-0001/t2f.npy").unlink()
    monkeypatch.setattr(module, "make_case", lambda *task: ("its disk is gone", 0.0))
    assert [failure.case for failure in cases.prepare_simulated(out, 2).failures] == ["sub-0001"]
    assert open_cache(out).subjects == ["sub-0000"]


def test_a_changed_index_or_array_is_refused(cached, tmp_path, table):
    cases.prepared(cases.write_rows(tmp_path / "p.csv", [row_of(table, "b")]), tmp_path / "c")
    index = tmp_path / "c" / "index.json"
    text = index.read_text()
    index.write_text(text.replace('"simulated": true', '"simulated": false'))
    with pytest.raises(InputError, match="was changed after"):
        open_cache(tmp_path / "c")
    index.write_text(text)
    (tmp_path / "c" / "cases" / "b" / "t2f.npy").unlink()
    with pytest.raises(InputError, match=r"t2f\.npy: missing"):
        open_cache(tmp_path / "c")
    with pytest.raises(InputError, match="no cache"):
        open_cache(tmp_path / "nowhere")


def row_of(table, subject):
    folder = table.parent
    tracer = dict(ROWS)[subject]
    return [subject, *(str(folder / f"{subject}_{name}.nii") for name in ("t1w", "t2f", tracer)), tracer]


def test_a_second_call_does_nothing_and_another_option_everything(cached, table):
    _, out = cached
    before = (out / "index.json").read_bytes()
    again = cases.prepared(table, out)
    assert (again.prepared, again.kept) == (0, 3) and (out / "index.json").read_bytes() == before


def test_a_changed_file_is_prepared_again(tmp_path, grid_case):
    table = cases.write_table(tmp_path, grid_case, [("a", "TAU"), ("b", "TAU")])
    cases.prepared(table, tmp_path / "c")
    sidecar = tmp_path / "b_TAU.json"
    sidecar.write_text(json.dumps({"Units": "unitless", "Note": "new"}))
    (tmp_path / "c" / "cases" / ".a-left.part").mkdir()
    assert cases.prepared(table, tmp_path / "c").prepared == 1
    assert not list((tmp_path / "c" / "cases").glob(".*"))


@pytest.mark.slow
def test_prepare_goes_on_after_a_kill(tmp_path, grid_case):
    rows = [(f"p{i}", "TAU") for i in range(6)]
    table = cases.write_table(tmp_path, grid_case, rows)
    out = tmp_path / "cache"
    command = [sys.executable, "-m", "training", "prepare", "--source", str(table), "--out", str(out)]
    command += ["--preprocessed", "--workers", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    process.stdout.readline()  # one case is done
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "index.json").exists()
    deadline = time.time() + 20
    while workers_of(process.pid) and time.time() < deadline:
        time.sleep(0.2)
    assert not workers_of(process.pid), "workers outlived their parent"
    done = len(list((out / "cases").glob("p*/case.json")))
    assert 1 <= done < 6
    again = cases.prepared(table, out)
    assert (again.kept, again.prepared) == (done, 6 - done)
    whole = tmp_path / "whole"
    cases.prepared(table, whole)
    assert open_cache(whole).sha256 == open_cache(out).sha256


def workers_of(session):
    """Processes that are left of a session."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def test_a_case_that_was_ready_when_the_kill_came_is_kept(tmp_path):
    """`write_case` moves the old one away and the new one in; between these, only its own folder has them."""
    from training.data.cache import CASE, sweep_cache

    cache, said = tmp_path, []
    for name, whole in (("a", ("new", "old")), ("b-c", ("old",)), ("d", ())):
        scratch = cache / "cases" / f".{name}-x1_y2z3w.part"
        for kind in ("new", "old"):
            (scratch / kind).mkdir(parents=True)
            if kind in whole:
                (scratch / kind / CASE).write_text(f'"{kind} {name}"')
    for left in (cache / ".index.json.part", cache / ".split.json.part"):
        left.write_text("{")
    sweep_cache(cache, said.append)
    found = {path.parent.name: path.read_text() for path in (cache / "cases").glob(f"*/{CASE}")}
    assert found == {"a": '"new a"', "b-c": '"old b-c"'}
    assert [line.count("had it ready") for line in said] == [1, 1, 0] and "5 unfinished" in said[-1]
    assert sorted(path.name for path in cache.rglob("*")) == ["a", "b-c", CASE, CASE, "cases"]


def die(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
def test_a_dying_worker_fails_its_own_task_only():
    from RelAPETLib.cohort.pool import run_tasks

    results = {task[0]: (result, cause) for task, result, cause in run_tasks(die, [(i,) for i in range(5)], 2)}
    assert {number for number, (_, cause) in results.items() if cause} == {2}
    assert {number: result for number, (result, cause) in results.items() if not cause} == {i: i for i in (0, 1, 3, 4)}


def die_once(file):
    """The first process that does it dies, the next has a lot to do."""
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    file.with_suffix(".again").touch()
    time.sleep(600)


@pytest.mark.slow
def test_an_interrupt_ends_also_what_is_tried_alone(tmp_path):
    """The task whose process died is tried again in a process of its own, and nobody waits for that one either."""
    from RelAPETLib.cohort.pool import run_tasks

    def interrupt():
        while not (tmp_path / "task.again").exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            list(run_tasks(die_once, [(tmp_path / "task",)], 2))  # alone from the start, so it is the one tried again
    finally:
        signal.signal(signal.SIGINT, before)
    for child in multiprocessing.active_children():
        child.join(30)
        assert not child.is_alive()


# -- rendered people and coarse caches ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    out = tmp_path_factory.mktemp("rendered") / "cache"
    return prepare(rendered_people(2, 3), out, Options(factor=10)), out


def test_rendered_people_are_named_like_the_raw_data_set_of_the_same_seed(rendered, tmp_path, monkeypatch):
    import SimpleITK as sitk

    from RelAPETLib.phantom import bids

    scan = bids.RawScan(
        sitk.Image([2, 2, 2], sitk.sitkUInt8), np.eye(4), {"slice_thickness_mm": 1, "resolution_fwhm_mm": 6}
    )
    monkeypatch.setattr(bids, "make_head", lambda person, **_: None)
    monkeypatch.setattr(bids, "_scan", lambda head, kind: scan)
    monkeypatch.setattr(bids, "truth", lambda person, grid: bids.TruthTable({}, []))
    monkeypatch.setattr(bids, "write_truth", lambda folder, truths: folder.mkdir())
    bids.write_cohort(tmp_path / "raw", 2, 3)
    raw = {(case.name, case.subject): set(case.pets) for case in read_bids(tmp_path / "raw").cases}
    cache = open_cache(rendered[1])
    assert raw == {(record["case"], record["subject"]): set(record["pets"]) for record in cache.cases.values()}


def test_a_cache_of_mri_alone_takes_people_without_pet(tmp_path, grid_case, capsys):
    path = tmp_path / "t.csv"
    path.write_text(f"subject,t1w,t2f\nx,{grid_case['t1w']},{grid_case['t2f']}\n")
    out = tmp_path / "c"
    words = ["prepare", "--mri-only", "--source", str(path), "--out", str(out), "--preprocessed", "--factor", "10",
             "--workers", "1"]  # fmt: skip
    assert main(words) == 0 and "1 cases, 0 PET" in capsys.readouterr().out
    cache = open_cache(out, mri_only=True)
    assert cache.cases["x"]["pets"] == {} and not (out / FILE).exists()
    assert {path.name for path in (out / "cases" / "x").iterdir()} == {"t1w.npy", "t2f.npy", "case.json"}
    assert main(words) == 0 and "0 prepared now, 1 kept" in capsys.readouterr().out
    with pytest.raises(InputError, match="made by 'prepare --mri-only'"):
        open_cache(out)
    assert main([*words, "--fractions", "1,0,0"]) == 2 and "--fractions is about PET" in capsys.readouterr().err
    assert main([word for word in words if word != "--mri-only"]) == 2 and "no column 'pet'" in capsys.readouterr().err


def test_bids_people_without_pet_count_where_mri_alone_is_wanted(tmp_path):
    touch(tmp_path, "sub-a/anat/sub-a_T1w.nii.gz", "sub-a/anat/sub-a_FLAIR.nii.gz", "sub-b/anat/sub-b_T1w.nii.gz")
    source = read_bids(tmp_path, mri_only=True)
    assert [(case.name, case.pets) for case in source.cases] == [("sub-a", {})]
    assert [(f.subject, f.reason) for f in source.failures] == [("sub-b", "no FLAIR")]
    assert not read_bids(tmp_path).cases


def test_rendered_mri_does_not_depend_on_whether_pet_are_wanted(rendered, tmp_path):
    summary = prepare(rendered_people(2, 3), tmp_path / "c", Options(factor=10, mri_only=True))
    assert summary.prepared == 2 and summary.index["options"]["mri_only"] is True
    own, whole = open_cache(tmp_path / "c", mri_only=True), open_cache(rendered[1])
    for name in ("t1w", "t2f"):
        assert np.array_equal(own.array("sub-0001", name), whole.array("sub-0001", name))
    assert not own.items() and "mri_only" not in whole.index["options"]


def test_two_prepares_do_not_work_on_one_cache(tmp_path):
    from filelock import FileLock

    cache = tmp_path / "cache"
    cache.mkdir()
    with FileLock(cache / ".lock"), pytest.raises(InputError, match="another process is working there"):
        prepare(rendered_people(1, 3), cache, Options(factor=10))
    assert not (cache / "cases").exists()


def test_a_rendered_cache_says_what_it_is(rendered):
    summary, out = rendered
    assert (summary.prepared, summary.failures) == (2, [])
    cache = open_cache(out)
    index = cache.index
    assert (index["source"], index["simulated"], index["options"]["rendered_seed"]) == ("rendered", True, 3)
    assert cache.factor == 10 and cache.shape == (16, 18, 16)
    assert index["grid"]["spacing_mm"] == [10, 10, 10] and index["grid"]["origin_mm"] == [-74.5, -101.5, -67.5]
    inside = cache.mask()
    assert inside.shape == cache.shape and 0.1 < inside.mean() < 0.9
    outside = block_means(block_mask(1).astype(np.float32), 10) == 0
    for item in cache.items():
        pet = cache.array(item.case, f"pet_{item.tracer}")
        assert not pet[outside].any() and 0.5 < pet[inside].mean(dtype=float) < 3
    for name in ("t1w", "t2f"):
        mri = cache.array("sub-0001", name)
        assert (mri[outside] == -1).all() and mri[inside].min() > -1


def test_clinical_values_are_those_of_the_participants_table_and_reach_the_items(rendered):
    from RelAPETLib.clinical import ClinicalValues, from_row
    from RelAPETLib.phantom.people import make_person
    from RelAPETLib.phantom.tables import participant
    from training.data.case_dataset import CaseDataset
    from training.data.dataset import PetDataset
    from training.methods.clinical import clinical_moments

    cache = open_cache(rendered[1])
    data = PetDataset(cache, cache.subjects, factor=10)
    people = [from_row({k: str(v) for k, v in participant(make_person(3, n)).items()})[0] for n in range(2)]
    assert any(person.known for person in people)
    for person, record in zip(people, cache.cases.values(), strict=True):
        assert ClinicalValues(**record.get("clinical", {})) == person
        numbers = np.float32(person.numbers())
        (item, *_) = (data[n] for n in range(len(data)) if data.items[n].case == record["case"])
        np.testing.assert_array_equal(item["clinical"], numbers)
    np.testing.assert_array_equal(CaseDataset(data)[1]["clinical"], numbers)
    both = np.array([person.numbers() for person in people])
    mean, sd = clinical_moments(data)
    for k in range(3):
        known = both[~np.isnan(both[:, k]), k]
        assert mean[k] == pytest.approx(known.mean() if len(known) else 0, rel=1e-3)
        assert sd[k] == pytest.approx(known.std() or 1 if len(known) else 1, rel=1e-3)


def test_rendering_goes_on_and_another_seed_begins_anew(rendered, tmp_path):
    _, out = rendered
    before = (out / "index.json").read_bytes()
    again = prepare(rendered_people(2, 3), out, Options(factor=10))
    assert (again.prepared, again.kept) == (0, 2) and (out / "index.json").read_bytes() == before
    prepare(rendered_people(1, 3), tmp_path / "c", Options(factor=10))
    more = prepare(rendered_people(2, 3), tmp_path / "c", Options(factor=10))
    assert (more.prepared, more.kept) == (1, 1) and more.index["sha256"] == open_cache(out).sha256
    assert prepare(rendered_people(1, 4), tmp_path / "c", Options(factor=10)).prepared == 1
    assert prepare(rendered_people(1, 4), tmp_path / "c", Options(factor=20)).prepared == 1
    assert open_cache(tmp_path / "c").mask().shape == (8, 9, 8)


def test_a_cache_with_cases_of_two_calls_does_not_open(rendered, tmp_path, monkeypatch):
    _, whole = rendered
    out = shutil.copytree(whole, tmp_path / "c")

    def interrupted(waiting, workers):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.data.prepare._run", interrupted)
        with pytest.raises(KeyboardInterrupt):  # only another person: what the index knows is untouched
            prepare(rendered_people(3, 3), out, Options(factor=10))
        assert open_cache(out).sha256 == open_cache(whole).sha256
        with pytest.raises(KeyboardInterrupt):
            prepare(rendered_people(2, 4), out, Options(factor=10))
    with pytest.raises(InputError, match="did not come to its end there.*run it again"):
        open_cache(out)
    again = prepare(rendered_people(2, 3), out, Options(factor=10))
    assert (again.prepared, again.kept) == (0, 2) and open_cache(out).sha256 == open_cache(whole).sha256


def test_a_rendered_case_is_the_rendering_inside_the_templates_brain():
    from RelAPETLib.phantom.people import make_person, template_maps
    from RelAPETLib.phantom.render import render
    from training.data.rendered import rendered_volumes

    inside = block_mask(2)
    assert np.array_equal(inside, template_maps(2)["brain"] > 0.5)
    arrays, _ = rendered_volumes(rendered_people(1, 3).cases[0], 2, "float16")
    person = render(make_person(3, 0))
    for name, volume in (("t1w", person.t1w), ("t2f", person.t2f)):
        assert np.array_equal(arrays[f"{name}.npy"], np.where(inside, volume, -1).astype(np.float16))


def test_blocks_are_means_of_the_whole_grid(cached, table, tmp_path):
    _, out = cached
    whole = open_cache(out)
    cases.prepared(table, tmp_path / "c", factor=4)
    coarse = open_cache(tmp_path / "c")
    assert coarse.factor == 4 and coarse.shape == (40, 45, 40) and whole.factor == 1 and whole.shape == MNI_GRID.shape
    inside = coarse.mask()
    blocks = whole.mask().reshape(40, 4, 45, 4, 40, 4).mean((1, 3, 5))
    assert np.array_equal(inside, blocks > 0.5)
    for name in ("t1w", "t2f", "pet_TAU"):  # the brain's rim, too: a bundle of blocks is shown the same
        fine = whole.array("a", name).astype(np.float64)
        means = fine.reshape(40, 4, 45, 4, 40, 4).mean((1, 3, 5))
        assert (means[(blocks > 0) & ~inside] != means[0, 0, 0]).any()
        np.testing.assert_allclose(coarse.array("a", name), means, atol=2e-3)


def test_figures_are_not_made_on_blocks(rendered, tmp_path, capsys):
    _, out = rendered
    assert main(["prepare", "--rendered", "2", "--rendered-seed", "3", "--factor", "10", "--workers", "1",
                 "--fractions", "0.5,0,0.5", "--out", str(out)]) == 0  # fmt: skip
    for command in (
        ["sample", "--bundle", "none", "--out", str(tmp_path)],
        ["evaluate", "--samples", "x", "--out", str(tmp_path)],
    ):
        capsys.readouterr()
        assert main([*command, "--cache", str(out)]) == 2
        said = capsys.readouterr().err
        assert "--factor 1 into another folder" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of --source"),
        (["--source", "x", "--rendered", "2"], "one of --source"),
        (["--source", "x", "--rendered-seed", "2"], "--rendered-seed goes with --rendered"),
        (["--rendered", "2", "--preprocessed"], "--preprocessed goes with --source"),
        (["--rendered", "0"], "at least one person"),
        (["--rendered", "1", "--rendered-seed", "-1"], "0 or more"),
        (["--rendered", "1", "--factor", "3"], "factor 3 does not divide"),
        (["--rendered", "1", "--fractions", "nan,0.5,0.5"], "three numbers that sum to 1"),
        (["--rendered", "1", "--fractions", "0.5,0.2,0.2"], "three numbers that sum to 1"),
        (["--rendered", "1", "--fractions", "inf,-inf,1"], "three numbers that sum to 1"),
    ],
)
def test_impossible_sources_are_one_line(tmp_path, capsys, words, message):
    assert main(["prepare", *words, "--out", str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (tmp_path / "c").exists()


# -- bad input ------------------------------------------------------------------------------------------------------


def test_one_bad_subject_does_not_stop_the_rest(tmp_path, grid_case):
    table = cases.write_table(tmp_path, grid_case, [("a", "TAU"), ("b", "TAU"), ("b", "PIB"), ("d", "TAU")])
    cases.put_nan(tmp_path / "a_t2f.nii")
    (tmp_path / "b_PIB.json").write_text("{}")
    (tmp_path / "d_t1w.nii").unlink()
    summary = cases.prepared(table, tmp_path / "c")
    assert summary.prepared == 1
    rows = {(row["subject"], row["tracer"]): row["reason"] for row in failures(tmp_path / "c")}
    assert rows.keys() == {("a", ""), ("b", "PIB"), ("d", "")}
    assert str(tmp_path / "a_t2f.nii") in rows["a", ""] and "NaN" in rows["a", ""]
    assert str(tmp_path / "b_PIB.json") in rows["b", "PIB"] and "'Units'" in rows["b", "PIB"]
    assert "d_t1w.nii" in rows["d", ""]
    assert [(i.subject, i.tracer) for i in open_cache(tmp_path / "c").items()] == [("b", "TAU")]
    (tmp_path / "b_PIB.json").write_text(json.dumps({"Units": "unitless"}))
    assert cases.prepared(table, tmp_path / "c").prepared == 1
    assert len(open_cache(tmp_path / "c").items()) == 2


def test_a_volume_off_the_grid_is_named(tmp_path, grid_case):
    image = read_volume(grid_case["pet"])
    write_volume(image[:, :, 10:], tmp_path / "short.nii")
    (tmp_path / "short.json").write_text('{"Units": "unitless"}')
    with pytest.raises(InputError, match=r"short\.nii: the image \(160x180x150 voxels.* is not on the model grid"):
        cases.prepared(one_row(tmp_path, grid_case, pet=tmp_path / "short.nii"), tmp_path / "c")


def test_the_same_scan_as_both_sequences_is_refused(tmp_path, grid_case):
    with pytest.raises(InputError, match="are the same volume"):
        cases.prepared(one_row(tmp_path, grid_case, t2f=grid_case["t1w"]), tmp_path / "c")


def test_swapped_sequences_are_doubted_unless_forced(tmp_path, grid_case):
    swapped = one_row(tmp_path, grid_case, t1w=grid_case["t2f"], t2f=grid_case["t1w"])
    with pytest.raises(InputError, match="swapped.*--force"):
        cases.prepared(swapped, tmp_path / "c")
    assert cases.prepared(swapped, tmp_path / "c", force=True).prepared == 1


def test_a_pet_of_another_brain_is_doubted_unless_forced(tmp_path, grid_case):
    write_volume(array_to_image(image_to_array(read_volume(grid_case["pet"]))[:, :, ::-1].copy()), tmp_path / "up.nii")
    (tmp_path / "up.json").write_text('{"Units": "SUVR"}')
    table = one_row(tmp_path, grid_case, pet=tmp_path / "up.nii")
    with pytest.raises(InputError, match=r"up\.nii: the measured PET does not fit the MRI's brain.*--force"):
        cases.prepared(table, tmp_path / "c")
    assert cases.prepared(table, tmp_path / "c", force=True).prepared == 1


@pytest.mark.slow
def test_a_pet_that_does_not_show_its_reference_region_is_left_out(grid_case):
    """Written onto the whole grid by a program that put 0 where the scanner saw nothing; forced, by what it shows."""
    from RelAPETLib.cohort.cases import Case
    from RelAPETLib.preprocessing import from_grid
    from RelAPETLib.suvr import ReferenceUnits
    from training.data.pet import unseen_target
    from training.data.prepare import _arrays

    pet = image_to_array(read_volume(grid_case["pet"])) * 5000
    pet[:, :, :42] = 0
    scan = PetScan("TAU", grid_case["pet"])
    case = Case("x", "x", grid_case["t1w"], grid_case["t2f"], {"TAU": scan})
    ready = from_grid(*(read_volume(grid_case[n]) for n in ("t1w", "t2f")), pets={"TAU": array_to_image(pet)})
    known = {"TAU": (ReferenceUnits("", "cerebellar_grey"), None)}
    assert unseen_target(0.985) == []
    both = r"13 % of the brain .* learn that there is no uptake; 68 % of the reference region .*--force"
    with pytest.raises(InputError, match=both):
        _arrays(case, ready, known, Options(preprocessed=True), {})
    with pytest.warns(RelAPETWarning, match="scaled by its mean in the rest of that region"):
        arrays, _ = _arrays(case, ready, known, Options(preprocessed=True, force=True), {})
    made = arrays["pet_TAU.npy"].astype(np.float32)
    shown = regional_means(array_to_image(made), ["cerebellar_grey"], array_to_image((made > 0).astype(np.uint8)))
    assert shown["cerebellar_grey"] == pytest.approx(1, abs=0.03) and not made[:, :, :42].any()


def test_units_come_from_the_sidecar_the_user_or_a_region(tmp_path, grid_case):
    pet = image_to_array(read_volume(grid_case["pet"]))
    write_volume(array_to_image(pet * 5000), tmp_path / "raw.nii")
    table = one_row(tmp_path, grid_case, pet=tmp_path / "raw.nii")
    with pytest.raises(InputError, match=r"raw\.json: no field 'Units'"):
        cases.prepared(table, tmp_path / "c")
    (tmp_path / "raw.json").write_text('{"Units": "Bq/mL"}')
    with pytest.raises(InputError, match="'Units' is 'Bq/mL', not SUVR"):
        cases.prepared(table, tmp_path / "c")
    cases.prepared(table, tmp_path / "c", reference_region="tracer")
    cache = open_cache(tmp_path / "c")
    stored = array_to_image(cache.array("x", "pet_TAU").astype(np.float32))
    assert regional_means(stored, ["cerebellar_grey"])["cerebellar_grey"] == pytest.approx(1, abs=1e-3)
    assert cache.cases["x"]["pets"]["TAU"]["units_from"] == "scaled by its mean in cerebellar_grey"
    with pytest.raises(InputError, match="unknown reference region 'nose'"):
        cases.prepared(table, tmp_path / "d", reference_region="nose")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,t1w,t2f,pet\n", "no column 'tracer'"),
        ("subject,t1w,t2f,pet,tracer\n", "an empty data set"),
        ("subject,t1w,t2f,pet,tracer\n../x,a,b,c,TAU\n", "letters, digits"),
        ("subject,t1w,t2f,pet,tracer\nx,a,b,c,TAU\nx,z,b,c,PIB\n", "several t1w"),
        ("", "it must name the columns subject, t1w"),
        ("\n\n", "it must name the columns subject, t1w"),
        ("subject,t1w,t2f,pet,tracer\n\n ,,,,\n", "an empty data set"),
        ("subject;t1w;t2f;pet;tracer\nx;a;b;c;TAU\n", "separate columns with commas"),
        ("subject,t1w,t2f,pet,tracer,t1w\nx,a,b,c,TAU,d\n", "column 't1w' stands there twice"),
        ("subject,t1w,t2f,pet,tracer\nx,a,b,c,TAU,d\n", "line 2: 6 fields, but 5 columns"),
        ("subject,t1w,t2f,pet,tracer\nx,a\0b,b,c,TAU\n", ""),  # Python 3.10 says it otherwise
        ("subject,t1w,t2f,pet,tracer\nx,a\x1b[2J,b,c,TAU\n", "line 2: column 't1w' holds a control character"),
        ("subject,t1w,t2f,pet,tracer\nx," + "a" * 5000 + ",b,c,TAU\n", "holds more than 4096 characters"),
        ("subject,t1w,t2f,pet,tracer\nx," + "a" * 200_000 + ",b,c,TAU\n", "field larger than field limit"),
        ("subject,t1w,t2f,pet,tracer\n" + "x" * 101 + ",a,b,c,TAU\n", "up to 100 letters"),
        ('subject,t1w,t2f,pet,tracer\nx,a,"b,c,TAU\n', "unexpected end of data"),
        (b"subject,t1w,t2f,pet,tracer\nx,a\xff,b,c,TAU\n", "not UTF-8"),
        ("subject,t1w,t2f,pet,tracer\n".encode("utf-16"), "not UTF-8"),
        (bytes(512), ""),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, capsys, text, message):
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["prepare", "--source", str(tmp_path / "t.csv"), "--out", str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_table_without_a_tracer_or_pet_lists_it(tmp_path):
    path = cases.write_rows(tmp_path / "t.csv", [["x", "a", "b", "c", "FDG"], ["y", "a", "b", "", ""]])
    source = read_table(path)
    assert not source.cases
    assert [f.reason[:20] for f in source.failures] == [
        "unknown tracer 'FDG'",
        "no PET that can be u",
        "no PET that can be u",
    ]


def test_one_subject_prepares_but_does_not_divide(tmp_path, grid_case, capsys):
    command = ["prepare", "--source", str(one_row(tmp_path, grid_case)), "--out", str(tmp_path / "c"), "--preprocessed"]
    command += ["--workers", "1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "1 subject cannot be divided into 3 parts" in said and said.count("\n") == 1
    assert main([*command, "--fractions", "1,0,0"]) == 0
    assert "1 train, 0 validation, 0 test" in capsys.readouterr().out


# -- dynamic PET ----------------------------------------------------------------------------------------------------


def scan_of(path, **changes):
    sidecar = {key: value for key, value in (TIMES | changes).items() if value is not None}
    return PetScan("TAU", path, sidecar, (path.with_suffix(".json"),))


def test_dynamic_pet_is_averaged_by_duration(tmp_path, grid_case):
    pet = image_to_array(read_volume(grid_case["pet"]))
    cases.write_series(tmp_path / "d.nii", [pet * 0, pet * 3, pet * 6, pet * 100])
    sidecar = TIMES | {"Units": "unitless", "InjectionStart": 0}
    (tmp_path / "d.json").write_text(json.dumps(sidecar))
    table = one_row(tmp_path, grid_case, pet=tmp_path / "d.nii")
    with pytest.raises(InputError, match=r"d\.nii: a dynamic PET of 4 frames.*--frames TAU=80-100"):
        cases.prepared(table, tmp_path / "c")
    cases.prepared(table, tmp_path / "c", frames=["TAU=5-20"], reference_region="tracer")
    cache = open_cache(tmp_path / "c")
    entry = cache.cases["x"]["pets"]["TAU"]
    assert entry["frames"] == {"window": "5-20 min", "frames": [1, 2], "seconds_after_injection": [300.0, 1200.0]}
    image, _ = read_pet(scan_of(tmp_path / "d.nii"), parse_frames(["5-20"]))
    assert MNI_GRID.matches(image)
    np.testing.assert_allclose(image_to_array(image), pet * (3 * 300 + 6 * 600) / 900, rtol=1e-5)
    cases.prepared(table, tmp_path / "c", frames=["all"], reference_region="tracer")
    assert open_cache(tmp_path / "c").cases["x"]["pets"]["TAU"]["frames"]["frames"] == [0, 1, 2, 3]


@pytest.mark.parametrize("field", [*TIMES])
def test_a_missing_field_is_named_with_its_file(field):
    with pytest.raises(InputError, match=rf"d\.json: no field '{field}'"):
        choose_frames(scan_of(Path("d.nii"), **{field: None}), Frames((5, 20)), 4)


@pytest.mark.parametrize(
    ("changes", "window", "message"),
    [
        ({"FrameDuration": [300, 300]}, (5, 20), "'FrameDuration' must hold 4 numbers"),
        ({"FrameTimesStart": ["a", 1, 2, 3]}, (5, 20), "'FrameTimesStart' must hold 4 numbers"),
        ({"FrameDuration": [0, 0, 0, 0]}, (5, 20), "frame of no length"),
        ({"ImageDecayCorrected": False}, (5, 20), "'ImageDecayCorrected' is not true"),
        ({"InjectionStart": "now"}, (5, 20), "'InjectionStart' must be a number"),
        ({}, (80, 100), "0 whole frames lie in 80-100 min, and do not fill it; its 4 frames are from 0 to 30 min"),
        ({}, (5, 25), "2 whole frames lie in 5-25 min"),
        # a sum of durations that is the window's, though the frames do not follow one another
        ({"FrameTimesStart": [0, 600, 600, 1500], "FrameDuration": [600, 600, 600, 300]}, (0, 30), "overlap by 600 s"),
        ({"FrameTimesStart": [0, 600, 1260, 1500], "FrameDuration": [600, 600, 240, 300]}, (0, 30), "leave 60 s open"),
        ({"FrameTimesStart": [0] * 4, "FrameDuration": [450] * 4}, (0, 30), "do not fill it"),
        ({"FrameTimesStart": [0, 450, 900, 1352], "FrameDuration": [450] * 4}, (0, 30.05), "leave 2 s open"),
    ],
)
def test_frames_that_cannot_be_averaged(changes, window, message):
    with pytest.raises(InputError, match=message):
        choose_frames(scan_of(Path("d.nii"), **changes), Frames(window), 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"FrameTimesStart": [1200, 0, 600, 300], "FrameDuration": [600, 300, 600, 300]},  # in another order
        {"FrameTimesStart": [1, 451, 900, 1350], "FrameDuration": [449, 450, 451, 450]},  # rounded to whole seconds
    ],
)
def test_frames_one_after_the_other_fill_a_window(changes):
    chosen, weights, facts = choose_frames(scan_of(Path("d.nii"), **changes), Frames((0, 30)), 4)
    assert chosen == [0, 1, 2, 3] and facts["seconds_after_injection"][1] == 1800
    np.testing.assert_allclose(weights, np.array(changes["FrameDuration"]) / sum(changes["FrameDuration"]))


def test_frames_count_from_the_injection():
    chosen, weights, _ = choose_frames(scan_of(Path("d.nii"), InjectionStart=300), Frames((0, 15)), 4)
    assert chosen == [1, 2] and weights.tolist() == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize("times", [([4860], [1200]), (4860, 1200), ([4860, 5160, 5460], [300, 300, 600.5])])
def test_a_static_pet_is_held_to_the_window(times):
    """One frame, as lists or numbers, or those that it was averaged from."""
    scan = scan_of(Path("s.nii"), FrameTimesStart=times[0], FrameDuration=times[1], InjectionStart=60)
    facts = check_static(scan, Frames((80, 100)))
    assert (facts["window"], facts["frames"]) == ("80-100 min", [0])
    assert facts["seconds_after_injection"] == pytest.approx([4800, 6000], abs=1)
    for window in ((80, 90), (75, 105), (70, 90), (0, 20)):
        with pytest.raises(
            InputError, match=r"s\.nii: a static PET from 80 to 100(\.\d+)? min after injection by .*, and"
        ):
            check_static(scan, Frames(window))
    assert check_static(scan, Frames()) is None, "all frames there are"


@pytest.mark.parametrize(
    "changes",
    [{"FrameTimesStart": None}, {"InjectionStart": None}, {"FrameDuration": [1, 2]}, {"FrameDuration": [0]},
     {"FrameTimesStart": ["x"]}, {"FrameTimesStart": [], "FrameDuration": []}, {"InjectionStart": [0]}],
    ids=str,
)  # fmt: skip
def test_a_static_pet_without_times_says_so(changes):
    scan = scan_of(Path("s.nii"), **{"FrameTimesStart": [4800], "FrameDuration": [1200]} | changes)
    with pytest.warns(
        RelAPETWarning, match="^PET TAU: a static PET whose sidecar .* of 80-100 min .* cannot be checked"
    ):
        assert check_static(scan, Frames((80, 100))) is None
    said = []
    with collected(said), once(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RelAPETWarning)
        for window in ((80, 100), (80, 100), (50, 70)):
            check_static(scan, Frames(window))
    assert len(said) == 2, "of many PET, once"


def test_a_static_pet_of_another_window_is_not_read(grid_case):
    scan = scan_of(grid_case["pet"], FrameTimesStart=[0], FrameDuration=[1200])
    with pytest.raises(InputError, match="a static PET from 0 to 20 min"):
        read_pet(scan, {"TAU": Frames((80, 100))})
    assert read_pet(scan, {"TAU": Frames((0, 20))})[1]["seconds_after_injection"] == [0, 1200]
    assert read_pet(scan, {"PIB": Frames((80, 100))})[1] is None, "of another tracer"


def test_windows_by_tracer():
    assert parse_frames(["TAU=80-100", "50-70"]) == {
        "TAU": Frames((80, 100)), "PIB": Frames((50, 70)), "PBR": Frames((50, 70)),
    }  # fmt: skip
    assert parse_frames(["AV1451=all"]) == {"TAU": Frames(None)}
    for wrong in ("80", "100-80", "FDG=1-2", "TAU=a-b"):
        with pytest.raises(InputError):
            parse_frames([wrong])


# -- BIDS -----------------------------------------------------------------------------------------------------------


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "")


def test_bids_sessions_runs_and_what_is_missing(tmp_path):
    touch(
        tmp_path,
        "dataset_description.json",
        "sub-1/anat/sub-1_run-1_T1w.nii.gz", "sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz",
        "sub-1/pet/sub-1_trc-AV1451_run-1_pet.nii.gz", "sub-1/pet/sub-1_trc-AV1451_run-2_pet.nii.gz",
        "sub-1/pet/sub-1_trc-FDG_pet.nii.gz", "sub-1/pet/sub-1_trc-PIB_pet.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_T1w.nii", "sub-2/ses-a/anat/sub-2_ses-a_FLAIR.nii",
        "sub-2/ses-b/pet/sub-2_ses-b_trc-PIB_pet.nii",
        "sub-3/ses-a/anat/sub-3_ses-a_T1w.nii", "sub-3/ses-a/anat/sub-3_ses-a_FLAIR.nii",
        "sub-3/ses-b/anat/sub-3_ses-b_T1w.nii", "sub-3/ses-b/anat/sub-3_ses-b_FLAIR.nii",
        "sub-3/ses-a/pet/sub-3_ses-a_trc-PIB_pet.nii", "sub-3/ses-b/pet/sub-3_ses-b_trc-PIB_pet.nii",
        "sub-3/ses-c/pet/sub-3_ses-c_trc-PBR111_pet.nii",
        "sub-4/anat/sub-4_T1w.nii", "sub-4/pet/sub-4_trc-PIB_pet.nii",
        "sub-5/anat/sub-5_T1w.nii", "sub-5/anat/sub-5_FLAIR.nii",
    )  # fmt: skip
    source = read_bids(tmp_path)
    found = {case.name: (case.subject, sorted(case.pets)) for case in source.cases}
    assert found == {
        "sub-1": ("sub-1", ["PIB", "TAU"]),
        "sub-2": ("sub-2", ["PIB"]),
        "sub-3_ses-a": ("sub-3", ["PIB"]),
        "sub-3_ses-b": ("sub-3", ["PIB"]),
    }
    assert source.cases[0].t1w.name == "sub-1_run-1_T1w.nii.gz" and len(source.cases[0].notes) == 2
    lost = {(f.case, f.tracer): f.reason for f in source.failures}
    assert lost.keys() == {("sub-1", "FDG"), ("sub-3", "PBR111"), ("sub-4", ""), ("sub-5", "")}
    assert lost["sub-4", ""] == "no FLAIR" and "no PET" in lost["sub-5", ""]
    assert "could belong to ses-a, ses-b" in lost["sub-3", "PBR111"]


def test_an_empty_data_set_is_one_line(tmp_path, capsys):
    assert main(["prepare", "--source", str(tmp_path), "--out", str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert "an empty data set" in said and said.count("\n") == 1 and not (tmp_path / "c").exists()


@pytest.mark.slow
def test_raw_simulated_people_go_through(tmp_path):
    from RelAPETLib.cohort.pool import single_threaded
    from RelAPETLib.phantom.bids import write_cohort

    single_threaded()
    write_cohort(tmp_path / "bids", 1, 3)
    source = read_bids(tmp_path / "bids")
    assert source.simulated and source.name == "RelAPET simulated cohort (no real people)"
    summary = prepare(source, tmp_path / "c", Options(method="affine"), workers=1)
    assert summary.prepared == 1 and not summary.failures
    cache = open_cache(tmp_path / "c")
    record = cache.cases["sub-0000"]
    assert record["method"] == "affine" and record["quality"]["affine_ncc"] > 0.5
    assert len(record["pets"]) >= 1
    for facts in record["pets"].values():
        assert 0.5 < facts["brain_mean"] < 3 and facts["units_from"] == "Units 'unitless'"


def test_the_command_draws_keeps_and_replaces_the_split(cached, table, tmp_path, capsys):
    _, out = cached
    command = ["prepare", "--source", str(table), "--out", str(out), "--preprocessed", "--simulated"]
    assert main([*command, "--complete-test"]) == 2
    assert "only 0 of 3 subjects may be tested on" in capsys.readouterr().err
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"train": ["b"], "test": ["a"]}))
    assert main([*command, "--split-lists", str(lists)]) == 0
    assert "1 train, 0 validation, 1 test" in capsys.readouterr().out
    before = (out / "split.json").read_bytes()
    assert main(command) == 0 and (out / "split.json").read_bytes() == before
    assert "split kept" in capsys.readouterr().out
    assert main([*command, "--new-split"]) == 0
    assert "1 train, 1 validation, 1 test" in capsys.readouterr().out
    (out / "split.json").write_text("{}")
    assert main(command) == 2
    assert "not a split" in capsys.readouterr().err


DAMAGED_JSON = {
    "cut": "{",
    "a list": "[1]",
    "deep": "[" * 100_000,
    "a number": "1" + "0" * 5000,
    "other keys": "{}",
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("content", DAMAGED_JSON.values(), ids=DAMAGED_JSON)
def test_damaged_files_of_a_cache_are_one_line(cached, tmp_path, capsys, content):
    """Index, split and lists of a cache, and the record of `sample`."""
    _, out = cached
    content = content if isinstance(content, bytes) else content.encode()
    cache = tmp_path / "c"
    cache.mkdir()
    for name in ("index.json", "mask.npy"):
        os.link(out / name, cache / name)
    os.symlink(out / "cases", cache / "cases")
    (tmp_path / "samples.json").write_bytes(content)
    (tmp_path / "lists.json").write_bytes(content if content != b"{}" else b'{"train": [["b"]]}')
    make_split("abc", seed=1).save(cache / "split.json")
    evaluate = ["evaluate", "--cache", str(cache), "--samples", str(tmp_path), "--out", str(tmp_path / "e")]
    assert main(evaluate) == 2
    assert (said := capsys.readouterr().err).count("\n") == 1 and "samples.json" in said
    with pytest.raises(InputError, match="lists.json"):
        read_lists(tmp_path / "lists.json")
    (cache / "split.json").write_bytes(content)
    assert main(evaluate) == 2
    assert (said := capsys.readouterr().err).count("\n") == 1 and "split.json" in said
    (cache / "index.json").unlink()
    (cache / "index.json").write_bytes(content)
    assert main(evaluate) == 2
    assert (said := capsys.readouterr().err).count("\n") == 1 and str(cache) in said


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", None])
def test_damaged_masks_are_one_line(cached, tmp_path, content):
    from training.data.cache import Cache

    _, out = cached
    cache = Cache(tmp_path, open_cache(out).index)
    if content is None:
        np.save(tmp_path / "mask.npy", np.zeros((2, 2, 2), np.uint8))
    else:
        (tmp_path / "mask.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"mask\.npy"):
        cache.mask()


def test_an_array_that_the_system_does_not_give_is_not_called_damaged(cached, monkeypatch):
    """Who prepares thousands of people anew for a limit on open files has lost a day."""
    _, out = cached
    cache = open_cache(out)
    case = cache.index["cases"][0]["subject"]

    def refused(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(np, "load", refused)
        for read in (cache.mask, lambda: cache.array(case, "t1w")):
            with pytest.raises(InputError, match="npy: Too many open files; it may well be whole"):
                read()
    with pytest.raises(InputError, match="missing or damaged; run prepare again"):
        cache.array("sub-of-nobody", "t1w")


@pytest.mark.parametrize(("script", "count"), [("tables", 8), pytest.param("tables", 200, marks=pytest.mark.slow)])
def test_damaged_tables_and_sidecars(script, count):
    """A slice of Testing/benchmarks/robustness_tables.py, whose own results are kept."""
    done = benchmark(f"robustness_{script}", count)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_kills_of_prepare_and_train():
    """A slice of Testing/benchmarks/robustness_training_kills.py."""
    done = benchmark("robustness_training_kills", 4)
    assert done.returncode == 0, done.stdout + done.stderr


def benchmark(name, count):
    script = ROOT / "Testing" / "benchmarks" / f"{name}.py"
    command = [sys.executable, str(script), "--count", str(count), "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    "change",
    [
        {"volumes": [3]},
        {"volumes": [{"case": "a"}]},
        {"windows": {}},
        {"windows": {"TAU": [0]}},
        {"output": {}},
        {"model": {}},
        {"steps": "many"},
        {"file": "../../etc/passwd"},
    ],
    ids=str,
)
def test_a_record_of_samples_that_is_none(tmp_path, change):
    from training.sample import RECORD, read_record

    volume = {"case": "a", "subject": "a", "tracer": "TAU", "file": "a.nii.gz", "seconds": 1}
    record = {
        "volumes": [volume], "model": {"name": "m", "version": "1"}, "output": {"TAU": "suvr"}, "sampler": "dpmpp",
        "windows": {"TAU": [0, 3.0]}, "steps": 2, "samples": 1, "metrics": "both", "cache_sha256": "0", "part": "test",
        "split_sha256": "0", "device_name": "cpu",
    }  # fmt: skip
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert read_record(tmp_path) == record
    volume.update(file=change.pop("file", volume["file"]))
    (tmp_path / RECORD).write_text(json.dumps(record | change))
    with pytest.raises(InputError, match="not what 'python -m training sample' writes"):
        read_record(tmp_path)


def test_scans_that_earlier_code_registered_are_prepared_anew(tmp_path, grid_case, monkeypatch):
    """Not those that came on the model grid, nor people who were rendered."""
    from RelAPETLib.cohort.cases import Case, RenderedCase
    from training.data import prepare

    scanned = Case("a", "a", grid_case["t1w"], grid_case["t2f"], {})
    kinds = [(scanned, False), (scanned, True), (RenderedCase("r", "r", 1, 2), False)]
    before = [prepare.digest(case, prepare.Options(preprocessed=on_grid)) for case, on_grid in kinds]
    monkeypatch.setattr(prepare, "REVISION", prepare.REVISION + 1)
    after = [prepare.digest(case, prepare.Options(preprocessed=on_grid)) for case, on_grid in kinds]
    assert [one != other for one, other in zip(before, after, strict=True)] == [True, False, False]
