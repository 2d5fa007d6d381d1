"""What lies in a bench's folder and does not belong to its people."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from RelAPETLib.errors import InputError
from training.__main__ import main
from training.bench import four_mm, settings
from training.bench.command import check_done, read_runs
from training.bench.kept import keep, take_over
from training.bench.runs import FIGURES, FULL, Run, carry_out, check_begun, key_in_full, key_of, plain
from training.data.cache import canonical_json, open_cache
from training.data.prepare import Options, prepare
from training.data.rendered import rendered_people


def test_figures_of_other_people_stay_out_of_a_table(tmp_path, capsys):
    def people(sha256):
        part = SimpleNamespace(items=[SimpleNamespace(case="a", tracer="PIB")], cache=SimpleNamespace(sha256=sha256))
        return SimpleNamespace(train=part, validation=part, test=part, cache=Path("c"), split=Path("s"))

    def put(name, setting, cohort):
        run = Run(name, setting, 0, 1.0)
        kept = {"name": name, "seed": 0, "minutes": 1.0, "key": key_of(run.words(cohort, tmp_path), setting, cohort)}
        run.folder(tmp_path).mkdir(parents=True)
        (run.folder(tmp_path) / FIGURES).write_text(json.dumps(kept))
        if setting.full:
            key = key_in_full(run, cohort, tmp_path)
            (run.folder(tmp_path) / FULL).write_text(json.dumps({**kept, "key": key}))
        return run.folder(tmp_path)

    ours, others = people("1"), people("2")
    first = put("ddpm", settings.SETTINGS["ddpm"], ours)
    second = put("unet_l1", settings.SETTINGS["unet_l1"], others)
    third = put("full-v-residual", settings.ablations("v", "residual")["full-v-residual"], ours)
    assert read_runs(ours, tmp_path, FIGURES, 1.0).keys() == {first, third}
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(str(second)) and "left out of the tables" in line
    assert read_runs(others, tmp_path, FIGURES, 1.0).keys() == {second}
    assert read_runs(ours, tmp_path, FULL, 1.0).keys() == {first} and not read_runs(others, tmp_path, FULL, 1.0)
    assert not read_runs(ours, tmp_path, FIGURES, 2.0)


def test_draws_in_full_go_with_the_figures_into_a_folder_to_share(tmp_path):
    part = SimpleNamespace(
        items=[SimpleNamespace(case="a", tracer="PIB")], cache=SimpleNamespace(sha256="1", index={"options": {}})
    )
    cohort = SimpleNamespace(train=part, validation=part, test=part, cache=Path("c"), split=Path("s"))
    setting, here, there = settings.SETTINGS["ddpm"], tmp_path / "here", tmp_path / "there"
    run, share = Run("ddpm", setting, 0, 1.0), tmp_path / "share"
    content = {"name": "ddpm", "seed": 0, "minutes": 1.0}
    run.folder(here).mkdir(parents=True)
    for name, key in (
        (FIGURES, key_of(run.words(cohort, here), setting, cohort)),
        (FULL, key_in_full(run, cohort, here)),
    ):
        (run.folder(here) / name).write_text(json.dumps({"key": key, **content}))
    keep(run, cohort, here, share)
    assert take_over(run, cohort, there, share) and not take_over(run, cohort, there, share)
    for name in (FIGURES, FULL):
        assert (run.folder(there) / name).read_bytes() == (run.folder(here) / name).read_bytes()
        assert read_runs(cohort, there, name, 1.0)
    (run.folder(there) / FULL).unlink()
    other = replace(run, setting=replace(setting, full=settings.Full(5, "ddpm")))
    with pytest.raises(InputError, match="full.json.gz: of other people, steps or settings"):
        take_over(other, cohort, there, share)


def test_a_training_that_an_earlier_version_began_is_not_gone_on_with(tmp_path):
    """Another revision trains otherwise by the same words, which alone a checkpoint knows."""
    part = SimpleNamespace(items=[SimpleNamespace(case="a", tracer="PIB")], cache=SimpleNamespace(sha256="1"))
    cohort = SimpleNamespace(train=part, validation=part, test=part, cache=Path("c"), split=Path("s"))
    setting = settings.SETTINGS["pix2pix"]
    before, now = (Run("pix2pix", replace(setting, revision=n), 0, 1.0) for n in (0, 1))
    folder = now.folder(tmp_path)
    assert before.words(cohort, tmp_path) == now.words(cohort, tmp_path) and before.folder(tmp_path) == folder
    check_begun(folder, key_of(before.words(cohort, tmp_path), before.setting, cohort))
    check_begun(folder, key_of(before.words(cohort, tmp_path), before.setting, cohort))
    with pytest.raises(InputError, match="other people, steps or settings was begun there"):
        carry_out(now, cohort, tmp_path)
    assert not (folder / FIGURES).exists()


def test_a_bundle_of_4_mm_of_an_earlier_version_is_not_taken_for_todays(tmp_path):
    cache = tmp_path / "cache"
    prepare(rendered_people(1, 4), cache, Options(factor=10))
    people, setting = four_mm.Trained(cache, cache / "split.json"), settings.SETTINGS["pix2pix"]
    folder = tmp_path / "out" / "pix2pix-4min-0"
    folder.mkdir(parents=True)
    (folder / four_mm.PACES).write_text('{"run.steps": 60}')
    steps = settings.lengths(replace(setting, pace=60), 4)
    words = settings.overrides(
        "pix2pix", four_mm.fine("pix2pix")[1], cache, people.split, folder, steps, 0, four_mm.fine("pix2pix")[0]
    )
    (tmp_path / "out" / "pix2pix-4min-0.zip").write_bytes(b"")
    for revision, fits in ((["revision 1"], True), ([], False)):
        key = canonical_json([plain(words), open_cache(cache).sha256, *revision]).decode()
        (folder / four_mm.KEPT).write_text(json.dumps({"key": key}))
        if fits:
            assert four_mm.train_fine("pix2pix", 0, 1.0, people, tmp_path / "out").suffix == ".zip"
            continue
        with pytest.raises(InputError, match="of other people or settings"):
            four_mm.train_fine("pix2pix", 0, 1.0, people, tmp_path / "out")


def test_a_table_of_nothing_is_refused_before_anybody_is_rendered(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("training.bench.people.load_cohort", lambda *_: pytest.fail("people were made"))
    assert main(["bench", "--out", str(tmp_path / "mistyped"), "--table"]) == 2
    assert "no run of 15 minutes is done yet; leave --table out" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()
    folder = tmp_path / "runs" / "unet_l1-15min-0"
    folder.mkdir(parents=True)
    (folder / FIGURES).write_text("{}")
    check_done(tmp_path, None, 15)
    with pytest.raises(InputError, match="no run of 5 minutes"):
        check_done(tmp_path, tmp_path / "share", 5)
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "unet_l1-5min-0.json.gz").write_bytes(b"")
    check_done(tmp_path, tmp_path / "share", 5)
