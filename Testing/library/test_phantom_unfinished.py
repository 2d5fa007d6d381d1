"""A data set of simulated people whose making was stopped: what is kept, what goes on, what is never lost."""

import json
import os
from contextlib import nullcontext

import pytest
import SimpleITK as sitk

from RelAPETLib.cli import main
from RelAPETLib.errors import OutputError, RelAPETWarning
from RelAPETLib.phantom import bids
from RelAPETLib.phantom.scanner import RawScan
from RelAPETLib.phantom.tables import TruthTable
from RelAPETLib.phantom.unfinished import UNFINISHED

SEED = 12
SETTINGS = {"slice_thickness_mm": 1, "resolution_fwhm_mm": 6}


class Simulator:
    """Stands in for what takes seconds: tiny scans that tell who was scanned; `stop` is done at one person's FLAIR."""

    def __init__(self, monkeypatch):
        self.made, self.at, self.stop = [], None, None
        monkeypatch.setattr(bids, "make_head", self._head)
        monkeypatch.setattr(bids, "_scan", self._scan)
        monkeypatch.setattr(
            bids,
            "truth",
            lambda person, grid: TruthTable({"law": 2, "who": person.index / 3}, [{"given": "mri", "d": 0.1}]),
        )

    def _head(self, person, **_):
        self.made.append(person.index)
        return person

    def _scan(self, person, scan):
        if (person.index, scan) == (self.at, "FLAIR"):
            self.stop()
        image = sitk.Image([2, 2, 2], sitk.sitkUInt8) + person.index + len(scan)
        return RawScan(image, None, SETTINGS)


@pytest.fixture
def simulator(monkeypatch):
    return Simulator(monkeypatch)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def interrupt():
    raise KeyboardInterrupt


def fill_the_disk():
    raise OSError(28, "No space left on device")


def stopped(simulator, out, people, how, at=2, **more):
    """A run that ends at person `at`."""
    simulator.at, simulator.stop = at, how
    with pytest.raises((KeyboardInterrupt, OutputError), match=f"finished people kept: {at}; the same command"):
        bids.write_cohort(out, people, SEED, **more)
    simulator.at, simulator.made = None, []


def killed(simulator, out, people, at=2):
    """The same by a process that ends without a word."""
    simulator.at, simulator.stop = at, lambda: os._exit(9)
    child = os.fork()
    if not child:
        bids.write_cohort(out, people, SEED)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    simulator.at, simulator.made = None, []


@pytest.mark.parametrize("how", [interrupt, fill_the_disk, "killed"])
def test_the_same_command_goes_on_and_gives_the_same(simulator, tmp_path, how):
    whole = contents(bids.write_cohort(tmp_path / "whole", 4, SEED))
    if how != "killed":
        stopped(simulator, tmp_path / "c", 4, how)
    elif hasattr(os, "fork"):
        killed(simulator, tmp_path / "c", 4)
    else:
        pytest.skip("no fork here")
    assert not [path for path in (tmp_path / "c").iterdir() if not path.name.startswith(".")], (
        "nothing appears by halves"
    )
    with pytest.warns(RelAPETWarning, match="removed what") if how == "killed" else nullcontext():
        bids.write_cohort(tmp_path / "c", 4, SEED)
    assert simulator.made == [2, 3]
    assert contents(tmp_path / "c") == whole


def test_a_refusal_without_a_number_has_its_words(simulator, tmp_path):
    def refuse():
        raise OSError("the store is offline")

    simulator.at, simulator.stop = 0, refuse
    with pytest.raises(OutputError, match=r"cannot write to .*c: the store is offline$"):
        bids.write_cohort(tmp_path / "c", 1, SEED)


def test_another_number_of_people_goes_on_too(simulator, tmp_path):
    whole = contents(bids.write_cohort(tmp_path / "whole", 1, SEED))
    stopped(simulator, tmp_path / "c", 4, interrupt)
    assert contents(bids.write_cohort(tmp_path / "c", 1, SEED)) == whole and simulator.made == []


def test_people_of_another_seed_or_law_are_given_up_on_request_alone(simulator, tmp_path):
    stopped(simulator, tmp_path / "c", 3, interrupt)
    before = contents(tmp_path / "c")
    for other in ({"seed": SEED + 1}, {"seed": SEED, "law": 1}):
        with pytest.raises(OutputError, match="unfinished data set of another seed"):
            bids.write_cohort(tmp_path / "c", 3, **other)
        assert contents(tmp_path / "c") == before
    whole = contents(bids.write_cohort(tmp_path / "whole", 1, SEED + 1))
    assert contents(bids.write_cohort(tmp_path / "c", 1, SEED + 1, overwrite=True)) == whole


def test_an_earlier_data_set_stays_until_the_new_one_is_complete(simulator, tmp_path):
    earlier = contents(bids.write_cohort(tmp_path / "c", 3, SEED + 1))
    (tmp_path / "c" / "sub-0009").mkdir()
    stopped(simulator, tmp_path / "c", 3, interrupt, overwrite=True)
    assert earlier.items() <= contents(tmp_path / "c").items()
    with pytest.raises(OutputError, match="--overwrite"):
        bids.write_cohort(tmp_path / "c", 2, SEED)
    bids.write_cohort(tmp_path / "c", 2, SEED, overwrite=True)
    assert simulator.made == []
    assert {path.name for path in (tmp_path / "c").glob("*sub-*")} == {"sub-0000", "sub-0001"}
    assert not list((tmp_path / "c").glob(".*"))


def test_nobody_is_lost_when_the_tables_cannot_be_written(simulator, tmp_path, monkeypatch):
    with monkeypatch.context() as broken, pytest.raises(OutputError, match="No space left"):
        broken.setattr(bids, "write_truth", lambda folder, truths: fill_the_disk())
        bids.write_cohort(tmp_path / "c", 2, SEED)
    simulator.made = []
    bids.write_cohort(tmp_path / "c", 2, SEED)
    assert simulator.made == []


def test_a_whole_data_set_is_no_error_where_the_copies_do_not_go(simulator, tmp_path, monkeypatch):
    """As a network's disk keeps a file that is open elsewhere. What is left counts as nobody's later."""
    rmdir = os.rmdir

    def refuse(path, **more):
        if os.path.basename(path) in (UNFINISHED, "sub-0001"):
            raise OSError(39, "Directory not empty")
        rmdir(path, **more)

    with monkeypatch.context() as network:
        network.setattr(os, "rmdir", refuse)
        out = bids.write_cohort(tmp_path / "c", 2, SEED)
    assert (out / "participants.tsv").is_file() and (out / UNFINISHED).is_dir()
    simulator.made = []
    bids.write_cohort(out, 2, SEED, overwrite=True)
    assert simulator.made == [0, 1] and not (out / UNFINISHED).exists()


def test_a_damaged_person_is_made_again(simulator, tmp_path):
    stopped(simulator, tmp_path / "c", 3, interrupt)
    (rows,) = (tmp_path / "c" / UNFINISHED).glob("sub-0001/*.json")
    rows.write_text('{"part')
    bids.write_cohort(tmp_path / "c", 3, SEED)
    assert simulator.made == [1, 2]


def test_a_first_person_by_halves_leaves_nothing(simulator, tmp_path):
    simulator.at, simulator.stop = 0, interrupt
    with pytest.raises(KeyboardInterrupt, match="^$"):
        bids.write_cohort(tmp_path / "c", 2, SEED)
    assert not (tmp_path / "c").exists()


def test_a_folder_without_anybody_is_nobody_elses(simulator, tmp_path):
    """As a run leaves it that is killed before its note on the first person."""
    (tmp_path / "c" / UNFINISHED).mkdir(parents=True)
    bids.write_cohort(tmp_path / "c", 1, SEED)
    assert simulator.made == [0] and not (tmp_path / "c" / UNFINISHED).exists()


@pytest.mark.parametrize(
    "place", ["sub-0000/anat/sub-0000_T2w.nii.gz", "sub-0000/notes.txt", "sub-me/anat/sub-me_T1w.nii.gz",
              "sourcedata/mine.txt", "sub-0000/pet/sub-0001_trc-PIB_pet.nii.gz"],
)  # fmt: skip
def test_what_others_put_into_a_data_set_is_not_overwritten(simulator, tmp_path, place):
    bids.write_cohort(tmp_path / "c", 2, SEED)
    mine = tmp_path / "c" / place
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("x")
    before = contents(tmp_path / "c")
    with pytest.raises(OutputError, match="is not ours") as refusal:
        bids.write_cohort(tmp_path / "c", 1, SEED, overwrite=True)
    assert str(tmp_path / "c" / place.split("/")[0]) in str(refusal.value) and contents(tmp_path / "c") == before
    mine.unlink()
    if "sub-me" not in place:
        bids.write_cohort(tmp_path / "c", 1, SEED, overwrite=True)


def test_files_beside_the_data_set_stay(simulator, tmp_path):
    bids.write_cohort(tmp_path / "c", 1, SEED)
    (tmp_path / "c" / "derivatives").mkdir()
    (tmp_path / "c" / "derivatives" / "mine.txt").write_text("x")
    bids.write_cohort(tmp_path / "c", 1, SEED, overwrite=True)
    assert (tmp_path / "c" / "derivatives" / "mine.txt").read_text() == "x"


def test_the_program_says_what_an_interrupt_left(simulator, tmp_path, capsys):
    simulator.at, simulator.stop = 1, interrupt
    assert main(["phantom", "--subjects", "2", "--seed", str(SEED), "--out", str(tmp_path / "c")]) == 130
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "interrupted; finished people kept: 1; the same command" in told


def test_the_truth_of_a_case_says_what_is_there_and_who_it_is(simulator, tmp_path):
    seed = next(seed for seed in range(20) if len(bids.make_person(seed, 0).scanned) < 3)
    case = bids.write_case(tmp_path / "case", seed)
    known = json.loads(case["truth"].read_text())
    assert (known["Seed"], known["Index"]) == (seed, 0)
    for tracer in bids.law_tracers():
        assert case[f"pet_{tracer}"].is_file() and known[f"scanned_{tracer}"] == "yes"
