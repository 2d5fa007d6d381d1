"""What a study of real people brings: one person under two names, doubts that nobody sees, full disks, other splits."""

import csv
import json
import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import training_cases as cases

from RelAPETLib.cohort.cases import Case, PetScan
from RelAPETLib.cohort.table import read_table
from RelAPETLib.errors import InputError, OutputError
from RelAPETLib.notices import listening
from training import checkpoints
from training.__main__ import main
from training.data import prepare as module
from training.data.cache import open_cache, read_case
from training.data.doubles import file_hashes, without_doubles
from training.data.prepare import Options, prepare
from training.data.split import FILE, Split, check_same, explicit_split

HOW = Options(preprocessed=True, factor=4)


@pytest.fixture(scope="module")
def study(tmp_path_factory, grid_case):
    """A table of four people, of whom `b` is `a` under another name and `c` has the PET of `a`; its cache."""
    folder = tmp_path_factory.mktemp("study")
    cases.write_table(folder, grid_case, [("a", "TAU"), ("b", "TAU"), ("c", "TAU"), ("d", "TAU")])
    with open(folder / "people.csv", newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    rows[1][1:3] = rows[0][1:3]
    rows[2][3] = rows[0][3]
    rows = [[*row, age, sex] for row, age, sex in zip(rows, ("839", "70", "", "64"), ("1", "F", "", "m"), strict=True)]
    rows.append(["a", *rows[0][1:3], rows[3][3], "TAU", "839", "1"])  # a second PET of the same MRI
    with open(folder / "people.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([[*header, "age", "sex"], *rows])
    out = folder / "cache"
    return prepare(read_table(folder / "people.csv"), out, HOW), out


def listed(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_one_person_under_two_names_is_used_once(study):
    summary, out = study
    assert open_cache(out).subjects == ["a", "d"]
    reasons = {line["subject"]: line["reason"] for line in listed(out / "failures.tsv") if not line["tracer"]}
    assert reasons["b"].startswith("its t1w is that of a too") and reasons["c"].startswith("its PET TAU is that of a")
    again = prepare(read_table(out.parent / "people.csv"), out, HOW)
    assert (again.prepared, again.index) == (0, summary.index)


def test_sessions_of_one_person_may_share_a_scan(study):
    """A PET whose session has no MRI of its own brings the other's along."""
    record = next(iter(open_cache(study[1]).cases.values()))
    kept, left_out = without_doubles([record, record | {"case": "a_2"}])
    assert len(kept) == 2 and not left_out


def test_one_file_beside_the_mri_of_two_people_is_used_once():
    """It is registered to each T1w, so that what is stored of it differs."""

    def record(subject, *tracers):
        stored = {name: {"sha256": f"{name} of {subject}"} for name in ("t1w", "t2f", *tracers)}
        mri = {name: stored.pop(name) for name in ("t1w", "t2f")}
        return {"case": subject, "subject": subject, **mri, "pets": stored}

    records = [record("a", "PIB", "TAU"), record("b", "PIB", "TAU"), record("c", "TAU"), record("d", "TAU")]
    files = {
        "a": {"t1w": "1", "t2f": "2", "PET PIB": "3", "PET TAU": "4"},
        "b": {"t1w": "5", "t2f": "6", "PET PIB": "3", "PET TAU": "7"},
        "c": {"t1w": "8", "t2f": "2", "PET TAU": "9"},
        "d": {"t1w": "1e", "t2f": "1f", "PET TAU": "7"},
    }
    kept, left_out = without_doubles(records, files)
    assert [(one["case"], *one["pets"]) for one in kept] == [("a", "PIB", "TAU"), ("b", "TAU")]
    assert [(one.case, one.tracer, one.reason.split(" too;")[0]) for one in left_out] == [
        ("b", "PIB", "its PET PIB is that of a"), ("c", "", "its t2f is that of a"),
        ("d", "", "its PET TAU is that of b"),
    ]  # fmt: skip
    assert without_doubles(records) == (records, []), "by what is stored alone all differ"


def test_the_files_of_a_data_set_are_compared_when_it_is_prepared(study, tmp_path, monkeypatch):
    out = shutil.copytree(study[1], tmp_path / "c")
    monkeypatch.setattr(module, "digest", lambda case, options, hashes: read_case(out, case.name)["digest"])
    monkeypatch.setattr(module, "file_hashes", lambda case: {"t2f": "the same"})
    prepare(read_table(study[1].parent / "people.csv"), out, HOW)
    assert open_cache(out).subjects == ["a"]
    assert "its t2f is that of a" in {line["subject"]: line["reason"] for line in listed(out / "failures.tsv")}["d"]


def test_a_header_that_people_share_makes_no_double(tmp_path):
    """Of a volume in two files the voxels count, too."""
    for name, value in (("a", 1), ("b", 2)):
        pair = nib.Nifti1Pair(np.full((2, 2, 2), value, np.uint8), np.eye(4))
        for kind in ("t1w", "t2f", "pet"):
            nib.save(pair, tmp_path / f"{name}_{kind}.hdr")
    a, b = (
        Case(name, name, tmp_path / f"{name}_t1w.hdr", tmp_path / f"{name}_t2f.img",
             {"TAU": PetScan("TAU", tmp_path / f"{name}_pet.hdr", {}, ())})
        for name in "ab"
    )  # fmt: skip
    assert (tmp_path / "a_t1w.hdr").read_bytes() == (tmp_path / "b_t1w.hdr").read_bytes()
    first, second = file_hashes(a), file_hashes(b)
    assert first.keys() == second.keys() == {"t1w", "t2f", "PET TAU"} and not set(first.values()) & set(second.values())
    assert module.digest(a, HOW) == module.digest(a, HOW, first) != module.digest(a, HOW, second)


def test_what_is_doubted_of_the_people_is_listed_and_counted(study, capsys):
    summary, out = study
    told = {(line["case"], line["warning"].partition(" '")[0]) for line in listed(out / "warnings.tsv")}
    assert {("a", "people.csv: age"), ("a", "people.csv: sex")} <= told
    assert summary.warnings == len(listed(out / "warnings.tsv"))
    words = ["--preprocessed", "--factor", "4", "--workers", "1", "--fractions", "1,0,0"]
    assert main(["prepare", "--source", str(out.parent / "people.csv"), "--out", str(out), *words]) == 0
    said = capsys.readouterr().out
    assert f"{summary.warnings} warnings, see {out / 'warnings.tsv'}" in said
    assert "known are age of 1, sex of 1, score of 0 of 2 subjects" in said


def test_a_mended_table_takes_its_warning_away_without_preparing_anew(study, tmp_path):
    text = (study[1].parent / "people.csv").read_text().splitlines()
    mended = study[1].parent / "mended.csv"
    mended.write_text("\n".join([text[0], text[4]]) + "\n")
    first = prepare(read_table(mended), tmp_path / "c", HOW)
    before = first.warnings
    mended.write_text("\n".join([text[0], text[4].replace(",64,", ",sixty,")]) + "\n")
    again = prepare(read_table(mended), tmp_path / "c", HOW)
    assert (again.prepared, again.kept, again.warnings) == (0, 1, before + 1)
    mended.write_text("\n".join([text[0], text[4]]) + "\n")
    assert prepare(read_table(mended), tmp_path / "c", HOW).index == first.index


@contextmanager
def no_file_beyond(size):
    """As on a full disk, writing stops in the middle of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_ends_prepare_at_once_and_says_so(study, tmp_path):
    said = []
    with no_file_beyond(4000), pytest.raises(OutputError, match=r"cannot write the cache .*: File too large"):
        prepare(read_table(study[1].parent / "people.csv"), tmp_path / "c", HOW, progress=said.append)
    assert said == [] and not list((tmp_path / "c").rglob("*.npy"))


def test_a_full_disk_is_named_where_a_checkpoint_does_not_fit(tmp_path):
    for number in (1_000, 100_000):  # torch finds out in the middle of a tensor, or at the end of its archive
        with no_file_beyond(1500), pytest.raises(OutputError, match=r"cannot write checkpoint .*: File too large$"):
            checkpoints.save(tmp_path / "x.pt", {"tensor": torch.zeros(number)})
    assert not list(tmp_path.iterdir())


def test_a_split_that_is_there_is_not_passed_off_as_the_one_that_is_asked_for(study, tmp_path, capsys):
    out = study[1]
    (out / FILE).unlink(missing_ok=True)
    words = ["prepare", "--source", str(out.parent / "people.csv"), "--out", str(out), "--preprocessed", "--factor",
             "4", "--workers", "1"]  # fmt: skip
    assert main([*words, "--fractions", "0.5,0.5,0"]) == 0
    kept = (out / FILE).read_bytes()
    assert main(words) == 0 and main([*words, "--fractions", "0.5,0.5,0"]) == 0
    assert capsys.readouterr().out.count("split kept") == 2
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"train": ["a", "d"]}))
    for asked in (["--split-lists", str(lists)], ["--fractions", "1,0,0"]):
        assert main([*words, *asked]) == 2 and "another split than the one" in capsys.readouterr().err
        assert (out / FILE).read_bytes() == kept
    assert main([*words, "--split-lists", str(lists), "--new-split"]) == 0
    assert main([*words, "--split-lists", str(lists)]) == 0


@pytest.mark.parametrize("asked", ["--seed 0", "--fractions 0.7,0.15,0.15"])
def test_a_split_that_is_asked_for_in_the_words_of_the_default_is_asked_for(tmp_path, eight_people, capsys, asked):
    out = cases.simulated(tmp_path / "c", 8, eight_people)
    words = f"prepare --rendered 8 --rendered-seed {cases.SEED} --factor 10 --workers 1 --out".split() + [str(out)]
    assert main([*words, "--seed", "5"]) == 0
    kept = (out / FILE).read_bytes()
    assert main(words) == 0 and "split kept" in capsys.readouterr().out
    assert main([*words, *asked.split()]) == 2 and "another split than the one" in capsys.readouterr().err
    assert (out / FILE).read_bytes() == kept
    assert main([*words, *asked.split(), "--new-split"]) == 0 and (out / FILE).read_bytes() != kept


def test_splits_are_the_same_by_who_is_where():
    drawn = Split(("a",), ("b",), ("c",), seed=3, method="drawn")
    check_same(drawn, explicit_split("abc", {"train": ["a"], "validation": ["b"], "test": ["c"]}), FILE)
    with pytest.raises(InputError, match="--new-split"):
        check_same(drawn, explicit_split("abc", {"train": ["a"], "validation": ["c"], "test": ["b"]}), FILE)


def test_suvr_of_another_region_is_doubted():
    """SUV and SUVR by the pons have values that SUVR has, and a sidecar that says SUVR is believed else."""
    from RelAPETLib.grid import array_to_image
    from RelAPETLib.synthesis.reference import ReferenceUnits
    from RelAPETLib.volumes.frames import PetScan
    from training.data.cache import block_mask
    from training.data.pet import suvr_of

    brain = block_mask(1).astype(np.float32)
    seen, scan = array_to_image(brain), PetScan("PIB", Path("p.nii"))
    for level, units, doubted in ((1.1, "said", 0), (0.6, "said", 1), (1.6, "said", 1), (1.6, "region", 0)):
        told = []
        with listening(told.append):
            known = ReferenceUnits(units, "cerebellar_grey" if units == "region" else None)
            suvr_of(array_to_image(level * brain), seen, known, scan, force=False)
        assert len(told) == doubted and all(f"cerebellar_grey is {level:.2f}" in line for line in told)


def test_whoever_has_left_the_data_set_is_told_of(study, tmp_path, capsys):
    out = study[1]
    text = (out.parent / "people.csv").read_text().splitlines()
    fewer = out.parent / "fewer.csv"
    fewer.write_text("\n".join([text[0], text[4]]) + "\n")
    words = ["prepare", "--out", str(out), "--preprocessed", "--factor", "4", "--workers", "1", "--new-split",
             "--fractions", "1,0,0"]  # fmt: skip
    assert main([*words, "--source", str(fewer)]) == 0
    assert f"3 in {out / 'cases'} are not in this data set, first a: not used" in capsys.readouterr().out
    assert main([*words, "--source", str(out.parent / "people.csv")]) == 0
    assert "are not in this data set" not in capsys.readouterr().out


def test_lists_that_cannot_be_read_are_refused_before_the_long_work(study, tmp_path, capsys):
    words = ["prepare", "--source", str(study[1].parent / "people.csv"), "--preprocessed", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "c"), "--split-lists", str(tmp_path / "no.json")]) == 2
    assert "no.json" in capsys.readouterr().err and not (tmp_path / "c").exists()


def test_a_pet_that_is_not_there_is_not_asked_for_its_unit(tmp_path):
    from RelAPETLib.volumes.frames import PetScan
    from training.data.pet import pet_units

    pointer, there = tmp_path / "pointer.nii.gz", tmp_path / "there.nii"
    pointer.symlink_to("../.git/annex/objects/x/y.nii.gz")
    there.write_bytes(b"a volume")
    for path, says in (
        (tmp_path / "no.nii", r"no\.nii: no such file"),
        (pointer, "pointer.nii.gz: .*git annex get"),
        (there, r"there\.json: no field 'Units', which there\.nii needs; --units suvr .* --reference-region"),
    ):
        with pytest.raises(InputError, match=says):
            pet_units(PetScan("PIB", path), None, None)
