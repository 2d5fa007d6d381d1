"""Several tracers of one person: one case, one noise, a folder each; and cases that are kept in a folder."""

import contextlib
import json
import shutil
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cases import write_tiny_voxel

from RelAPETLib import preprocessing
from RelAPETLib.cli import main
from RelAPETLib.cli.synthesize import _other_layout
from RelAPETLib.errors import DoubtfulInputError, InputError, OutputError, RelAPETWarning
from RelAPETLib.grid import image_to_array
from RelAPETLib.models import load_model
from RelAPETLib.notices import collected
from RelAPETLib.outputs import reserve, write_set
from RelAPETLib.regions import RegionCounter
from RelAPETLib.resources import resource
from RelAPETLib.synthesis import (
    OUTPUT_NAMES,
    Options,
    Syntheses,
    draw,
    finish,
    load_case,
    memory,
    prepare_case,
    run_case,
    sampling,
    save_case,
    save_many,
    synthesize,
    synthesize_many,
)
from RelAPETLib.synthesis.options import resolve
from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples, draw_tracers, pays_together
from RelAPETLib.synthesis.saved import CASE_NAMES

FAST = {"steps": 2, "samples": 2, "preprocessed": True, "device": "cpu"}
PETS = ("synthetic_pet.nii.gz", "synthetic_pet_space-MNI.nii.gz", "uncertainty.nii.gz")


@pytest.fixture
def command(grid_case, tiny_latent, tmp_path, capsys):
    """Run ``relapet synthesize`` with further words; returns the exit code and the last JSON line."""

    def run(*words, scans=True):
        given = ["--t1w", str(grid_case["t1w"]), "--t2f", str(grid_case["t2f"]), "--preprocessed"] if scans else []
        fast = ["--model", str(tiny_latent), "--device", "cpu", "--steps", "2", "--progress", "json", "--no-report"]
        code = main(["synthesize", *given, *fast, *map(str, words)])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def bent(case):
    """The same case as if it had been registered with a warp to a raw T1w of another grid."""
    field = sitk.Image((20, 22, 20), sitk.sitkVectorFloat64, 3)
    values = np.random.default_rng(0).normal(0, 1.3, (20, 22, 20, 3))
    field = sitk.GetImageFromArray(values, isVector=True)
    field.SetSpacing((9.1, 9.2, 9.3))
    field.SetOrigin((-85.0, -80.0, -75.0))
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((0.98, 0.03, 0.0, -0.03, 1.01, 0.02, 0.01, 0.0, 1.03))
    affine.SetTranslation((1.7, -2.3, 0.1))
    rigid = sitk.Euler3DTransform((0, 0, 0), 0.1, 0.0, 0.02, (1.0, 2.0, 3.0))
    case.ready.t1w_to_grid = sitk.CompositeTransform([sitk.DisplacementFieldTransform(field), affine])
    case.ready.grid_to_t1w, case.ready.t1w_to_t2f = affine.GetInverse(), rigid
    space = sitk.Image((91, 83, 77), sitk.sitkUInt8)
    space.SetSpacing((1.9, 2.1, 2.05))
    space.SetOrigin((80.25, 101.5, -70.0 / 3))
    space.SetDirection((-1, 0, 0, 0, -0.96, 0.28, 0, 0.28, 0.96))
    return type(case)(case.ready, space, case.sha256, False, ("thick slices",), {}, case.names, {})


@pytest.fixture(scope="module")
def case(grid_case):
    return prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu")


@pytest.fixture
def kept(case, tmp_path):
    save_case(case, tmp_path / "case")
    return tmp_path / "case"


def test_several_are_what_each_is_alone_and_the_mri_is_read_once(grid_case, tiny_latent, monkeypatch):
    calls, own = [], preprocessing.from_grid
    monkeypatch.setattr(preprocessing, "from_grid", lambda *a, **k: calls.append(1) or own(*a, **k))
    given = {"model": tiny_latent, "reference": {"TAU": grid_case["pet"]}, **FAST}
    many = list(synthesize_many(grid_case["t1w"], grid_case["t2f"], "all", **given))
    assert len(calls) == 1 and [result.tracer for result in many] == ["TAU", "PIB", "PBR"]
    assert many[0].metrics and many[0].difference is not None and "reference" in many[0].provenance["inputs"]
    assert many[1].metrics is None and "reference" not in many[1].provenance["inputs"]
    for result in many:
        alone = synthesize(grid_case["t1w"], grid_case["t2f"], result.tracer, model=tiny_latent, **FAST)
        np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.pet) for r in (result, alone)))
        np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.uncertainty) for r in (result, alone)))


def test_all_tracers_of_a_person_get_the_same_noise_and_one_encoding(case, tiny_latent, monkeypatch):
    from RelAPETLib.methods.rela import RelaDiffusion

    seen, encoded = {}, []
    own, encode = RelaDiffusion.draw, RelaDiffusion.encode

    def listening(self, shown, label, count, options, noise, progress=None):
        def heard(index, shape):
            numbers = noise(index, shape)
            if not numbers.is_meta:  # else memory is counted
                seen.setdefault(label, []).append(numbers)
            return numbers

        return own(self, shown, label, count, options, heard, progress)

    monkeypatch.setattr(RelaDiffusion, "draw", listening)

    def shown(self, mri, clinical=None):
        encoded.extend([] if mri.is_meta else [1])
        return encode(self, mri, clinical)

    monkeypatch.setattr(RelaDiffusion, "encode", shown)
    options = Options(tracers="all", model=tiny_latent, sampler="ddpm", steps=2, samples=3, seed=7, device="cpu")
    assert len(list(run_case(case, options))) == 3 and len(encoded) == 1
    first, *others = seen.values()
    assert len(first) == 2 and len(others) == 2
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.fixture
def telling(tiny_latent):
    """A model whose untrained network tells one tracer from another."""
    model = load_model(tiny_latent)
    with torch.no_grad():
        for index, weights in enumerate(model.method.network.unet.parameters()):
            weights.normal_(std=0.1, generator=torch.Generator().manual_seed(index))
    return model


def chosen(model, samples=3):
    return resolve(Options(tracers="all", steps=2, samples=samples, seed=7, device="cpu"), model)


def test_tracers_in_one_batch_are_each_tracers_own(case, telling):
    """In batches that hold several tracers, and such as begin amid one."""
    plans, counter = chosen(telling), RegionCounter(case.ready.mask)
    alone = [draw_samples(ConditionedModel(telling, case.mri()), plan, counter=counter) for plan in plans]
    for size in (9, 4):
        conditioned = ConditionedModel(telling, case.mri())
        conditioned.find_room = lambda plan, batch, size=size: (min(batch, size), None, "")
        for one, own in zip(draw_tracers(conditioned, plans, counters=[counter] * 3), alone, strict=True):
            assert one.plan == own.plan and one.batch == size and len(one.regions) == 3
            np.testing.assert_allclose(one.mean, own.mean, atol=2e-5)
            np.testing.assert_allclose(one.deviation, own.deviation, atol=2e-5)
            for ours, theirs in zip(one.regions, own.regions, strict=True):
                assert ours == pytest.approx(theirs, abs=2e-5)
    assert abs(alone[0].mean - alone[1].mean).max() > 1e-3


def test_a_gpu_draws_tracers_of_latents_together(tiny_latent, tmp_path):
    model, voxels = load_model(tiny_latent), load_model(write_tiny_voxel(tmp_path / "voxel"))
    on_gpu, of_voxels = (replace(one, device="cuda:0") for one in (model, voxels))
    assert pays_together(on_gpu, chosen(model)) and not pays_together(on_gpu, chosen(model)[:1])
    assert not pays_together(model, chosen(model)) and not pays_together(of_voxels, chosen(model))


def test_results_of_tracers_drawn_together(case, telling, monkeypatch):
    """In batches of nine and then four, since memory runs out; what is said on the way stands in each result."""
    from RelAPETLib.methods.rela import RelaDiffusion

    options = Options(tracers=("TAU", "PBR", "PIB"), steps=2, samples=3, seed=7, device="cpu")
    alone = list(run_case(case, options, model=telling))
    labels, own = [], RelaDiffusion.draw

    def counted(self, shown, label, *rest):
        labels.append(label)
        if len(labels) == 1:
            raise MemoryError
        return own(self, shown, label, *rest)

    monkeypatch.setattr(RelaDiffusion, "draw", counted)
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    monkeypatch.setattr(sampling, "pays_together", lambda model, plans: True)
    said, told = [], []
    with collected(said), pytest.warns(RelAPETWarning):
        many = list(run_case(case, options, lambda part, words: told.append((part, words)), model=telling))
    assert labels == [[2, 2, 2, 0, 0, 0, 1, 1, 1], [2, 2, 2, 0], [0, 0, 1, 1], 1]
    assert any(words.startswith("samples 5 to 8 of 9: ") for _, words in told)
    parts = [part for part, _ in told]
    assert parts == sorted(parts) and max(part for part, words in told if "of 9" in words) == pytest.approx(0.85)
    assert all(0.899 < part < 0.951 for part, words in told if words.startswith("PBR: "))
    for ours, theirs in zip(many, alone, strict=True):
        assert ours.tracer == theirs.tracer and len(ours.regions) == len(theirs.regions)
        np.testing.assert_allclose(image_to_array(ours.pet), image_to_array(theirs.pet), atol=1e-4)
        (words,) = [line for line in ours.warnings if "ran out of memory" in line]
        assert "going on with 4" in words and not any("ran out" in line for line in theirs.warnings)
        assert ours.provenance["seconds"].keys() == theirs.provenance["seconds"].keys()


def test_the_three_steps_apart_give_what_synthesize_gives(case, grid_case, tiny_latent):
    drawn = draw(case, "PIB", Options(tracers="PIB", model=tiny_latent, steps=2, samples=2, device="cpu"))
    result = finish(case, drawn)
    whole = synthesize(grid_case["t1w"], grid_case["t2f"], "PIB", model=tiny_latent, **FAST)
    np.testing.assert_array_equal(image_to_array(result.pet), image_to_array(whole.pet))
    assert result.provenance["sampling"] == whole.provenance["sampling"] and result.warnings == whole.warnings


def test_the_three_steps_apart_bring_along_what_was_said(case, tiny_latent, monkeypatch):
    """Warnings of registering, and doubts accepted by force, stand in the result and its record."""
    forced = replace(case, warnings=("thick slices",))
    odd = ([("template_ncc", "looks like no brain")], [])
    monkeypatch.setattr("RelAPETLib.registration.quality.findings", lambda figures, kind: odd)
    options = Options(tracers="TAU", model=tiny_latent, steps=2, samples=2, device="cpu")
    with pytest.raises(DoubtfulInputError, match="looks like no brain"):
        draw(forced, "TAU", options)
    result = finish(forced, draw(forced, "TAU", replace(options, force=True)))
    assert result.warnings[0] == "thick slices" and any("accepted by force" in line for line in result.warnings)
    assert result.provenance["warnings"] == result.warnings


def test_the_command_writes_a_folder_for_each(command, tmp_path):
    (tmp_path / "out" / "PIB").mkdir(parents=True)
    (tmp_path / "out" / "PIB" / "notes.txt").write_text("mine")
    code, line = command("--tracer", "TAU,pib", "--tracer", "TAU", "--out", tmp_path / "out", "--space", "both")
    assert code == 0 and line["folder"] == str(tmp_path / "out")
    jsonschema.validate(line, json.loads(resource("progress.schema.json").read_text()))
    assert [content["tracer"] for content in line["syntheses"]] == ["TAU", "PIB"]
    for content in line["syntheses"]:
        folder = tmp_path / "out" / content["tracer"]
        assert content["folder"] == str(folder) and all((folder / name).is_file() for name in content["files"])
        assert json.loads((folder / "synthetic_pet.json").read_text())["tracer"]["name"] == content["tracer"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["PIB", "TAU"]
    assert (tmp_path / "out" / "PIB" / "notes.txt").read_text() == "mine"
    code, line = command("--tracer", "TAU,PIB", "--out", tmp_path / "out")
    assert code == 2 and "exists already" in line["message"]
    code, line = command("--tracer", "TAU,PIB", "--out", tmp_path / "out", "--overwrite")
    assert code == 0
    assert not (tmp_path / "out" / "TAU" / "synthetic_pet_space-MNI.nii.gz").exists(), "of the earlier run"
    assert (tmp_path / "out" / "PIB" / "notes.txt").read_text() == "mine"


def test_one_tracer_keeps_its_place_however_often_it_is_named(command, tmp_path):
    code, line = command("--tracer", "TAU", "--tracer", "AV1451", "--out", tmp_path / "out")
    assert code == 0 and line["tracer"] == "TAU" and (tmp_path / "out" / "synthetic_pet.nii.gz").is_file()


def test_all_or_none_of_several(case, tiny_latent, tmp_path):
    options = Options(tracers="TAU,PIB", model=tiny_latent, steps=1, samples=1, device="cpu")
    save_many(run_case(case, options), tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    def failing():
        yield next(run_case(case, Options(tracers="TAU", model=tiny_latent, steps=1, seed=5, device="cpu")))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_many(failing(), tmp_path / "out", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    with pytest.raises(OSError, match="No space left"):
        save_many(failing(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_outputs_in_folders_below_come_whole_or_not(tmp_path):
    write_set(tmp_path / "out", {"a/x": lambda path: path.write_text("old")})

    def fail(path):
        raise OSError(28, "No space left on device")

    writers = {"a/x": lambda path: path.write_text("new"), "b/x": lambda path: path.write_text("new")}
    with pytest.raises(OutputError, match="No space left"):
        write_set(tmp_path / "out", writers | {"b/y": fail}, overwrite=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"] and (tmp_path / "out/a/x").read_text() == "old"
    write_set(tmp_path / "out", writers, overwrite=True)
    assert (tmp_path / "out/a/x").read_text() == (tmp_path / "out/b/x").read_text() == "new"
    (tmp_path / "out" / "c").write_text("a file")
    with pytest.raises(OutputError, match="c is not a folder"):
        write_set(tmp_path / "out", {"c/x": lambda path: path.write_text("new")})


@pytest.mark.parametrize("interrupt_at", [1, 2, 3])
def test_a_rename_that_fails_puts_folders_below_back(tmp_path, monkeypatch, interrupt_at):
    from RelAPETLib import outputs

    write_set(tmp_path / "out", {"a/x": lambda path: path.write_text("old")})
    own, count = outputs._rename_new, []

    def rename(source, target):
        count.append(target)
        if len(count) == interrupt_at:
            raise OSError(5, "Input/output error")
        own(source, target)

    monkeypatch.setattr(outputs, "_rename_new", rename)
    names = ("a/x", "b/x", "b/y")
    with pytest.raises(OutputError, match="nothing was changed"):
        write_set(tmp_path / "out", {n: lambda p: p.write_text("new") for n in names}, overwrite=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"] and (tmp_path / "out/a/x").read_text() == "old"


# Cases in a folder


@pytest.mark.parametrize("warped", [False, True])
def test_a_kept_case_gives_the_same_bytes(case, grid_case, tiny_latent, tmp_path, warped):
    given = bent(prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, device="cpu")) if warped else case
    save_case(given, tmp_path / "case")
    options = Options(tracers="TAU", model=tiny_latent, steps=2, samples=2, device="cpu", space="both", force=True)
    made = {"scans": given, "kept": load_case(tmp_path / "case")}
    for name, one in made.items():
        (result,) = run_case(one, options)
        result.save(tmp_path / name, report=name == "kept")
    for name in PETS:
        assert (tmp_path / "scans" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()
    records = [json.loads((tmp_path / name / "synthetic_pet.json").read_text()) for name in made]
    for key in ("inputs", "preprocessing", "warnings", "sampling", "pet", "tracer"):
        assert records[0][key] == records[1][key]
    assert (tmp_path / "kept" / "report.png").is_file()


def test_the_command_keeps_a_case_and_goes_on_from_it(command, tmp_path):
    code, line = command(
        "--tracer", "TAU", "--out", tmp_path / "one", "--save-case", tmp_path / "case", "--space", "both"
    )
    assert code == 0 and line["case"] == str(tmp_path / "case")
    jsonschema.validate(line, json.loads(resource("progress.schema.json").read_text()))
    code, line = command(
        "--case", tmp_path / "case", "--tracer", "TAU", "--out", tmp_path / "two", "--space", "both", scans=False
    )
    assert code == 0
    for name in PETS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    code, line = command("--case", tmp_path / "case", "--tracer", "all", "--out", tmp_path / "three", scans=False)
    assert code == 0 and len(line["syntheses"]) == 3


def test_nothing_in_a_kept_case_names_anybody(grid_case, tmp_path):
    for name in ("t1w", "t2f"):
        shutil.copy(grid_case[name], tmp_path / f"sub-Jane_{name}.nii.gz")
    case = prepare_case(tmp_path / "sub-Jane_t1w.nii.gz", tmp_path / "sub-Jane_t2f.nii.gz", preprocessed=True)
    files = save_case(case, tmp_path / "kept")
    assert files.keys() <= set(CASE_NAMES)
    for path in files.values():
        assert b"Jane" not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes()


def spoil(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DAMAGES = {
    "no record": (lambda f: (f / "case.json").unlink(), "not a prepared case, it has no case.json"),
    "no volume": (lambda f: (f / "t2f.nii.gz").unlink(), "t2f.nii.gz is missing"),
    "cut volume": (lambda f: (f / "t1w.nii.gz").write_bytes((f / "t1w.nii.gz").read_bytes()[:-9]), "was changed"),
    "cut transform": (lambda f: (f / "t1w_to_grid.h5").write_bytes(b"\x89HDF"), "was changed"),
    "cut record": (lambda f: (f / "case.json").write_text("{"), "damaged, not valid JSON"),
    "other number": (
        lambda f: spoil(f / "case.json", b'"skull_stripped": ', b'"skull_stripped":  !'),
        "not valid JSON",
    ),
    "other quality": (lambda f: spoil(f / "case.json", b'"template_ncc": 0.', b'"template_ncc": 1.'), "was changed"),
    "newer": (lambda f: spoil(f / "case.json", b'"schema_version": 1', b'"schema_version": 2'), "a case of version 2"),
    "foreign file": (lambda f: spoil(f / "case.json", b'"mask.nii.gz"', b'"../../x.gz"'), "damaged at $.files"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_case_is_refused(kept, damage):
    do, words = DAMAGES[damage]
    do(kept)
    with pytest.raises(InputError) as raised:
        load_case(kept)
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert "prepare the case again" in str(raised.value)


def test_what_a_case_does_not_go_with(command, grid_case, kept, tmp_path):
    out = ("--tracer", "TAU", "--out", tmp_path / "out")
    for words, says in (
        (("--case", kept, "--t1w", grid_case["t1w"]), "leave --t1w out"),
        (("--case", kept, "--reference", grid_case["pet"]), "leave --reference out"),
        (("--case", kept, "--preprocessed"), "leave --preprocessed out"),
        (("--case", kept, "--registration", "fine"), "leave --registration out"),
        (("--case", kept, "--save-case", tmp_path / "x"), "leave --save-case out"),
        (("--preprocessed",), "required: --t1w (or --case in place of the scans)"),
        (("--t2f", grid_case["t2f"]), "--t2f alone: everything is registered to the T1w; give --t1w too"),
        (("--case", tmp_path), "not a prepared case"),
    ):
        code, line = command(*words, *out, scans=False)
        assert code == 2 and says in line["message"], line
    code, line = command("--save-case", tmp_path / "x", "--reference", grid_case["pet"], *out)
    assert code == 2 and "keeps the MRI alone" in line["message"]
    code, line = command("--save-case", tmp_path / "out", *out)
    assert code == 2 and "the same folder" in line["message"]
    code, line = command("--save-case", kept, *out)
    assert code == 2 and "exists already" in line["message"]
    code, line = command("--save-case", grid_case["t1w"].parent, "--overwrite", *out)
    assert code == 2 and "would be replaced; choose another --save-case" in line["message"]
    assert not (tmp_path / "out").exists() and not (tmp_path / "x").exists()


def test_doubts_about_a_case_are_asked_again(grid_case, tiny_latent, tmp_path):
    with pytest.raises(DoubtfulInputError, match="swapped"):
        prepare_case(grid_case["t2f"], grid_case["t1w"], preprocessed=True)
    with pytest.warns(match="accepted by force"):
        case = prepare_case(grid_case["t2f"], grid_case["t1w"], preprocessed=True, force=True)
    save_case(case, tmp_path / "case")
    options = Options(tracers="TAU", model=tiny_latent, steps=1, samples=1, device="cpu")
    with pytest.raises(DoubtfulInputError, match="swapped.*--force") as raised:
        list(run_case(load_case(tmp_path / "case"), options))
    assert "--force" in raised.value.advice and "--force" not in raised.value.message


def test_a_case_with_a_measured_pet_compares_but_is_not_kept(grid_case, tiny_latent, tmp_path):
    case = prepare_case(grid_case["t1w"], grid_case["t2f"], references={"PIB": grid_case["pet"]}, preprocessed=True)
    options = Options(tracers="TAU,PIB", model=tiny_latent, steps=1, samples=1, device="cpu")
    tau, pib = run_case(case, options)
    assert tau.metrics is None and pib.metrics["brain"]["psnr"] > 0
    with pytest.raises(InputError, match="kept without measured PET"):
        save_case(case, tmp_path / "case")
    assert not (tmp_path / "case").exists() and len(OUTPUT_NAMES) == 30


# A model that has two of the three tracers


@pytest.fixture(scope="module")
def two_tracers(tmp_path_factory):
    """Bundle of a small model that knows TAU and PBR, named in another order than the program's."""
    from cases import write_tiny_latent

    return write_tiny_latent(tmp_path_factory.mktemp("models") / "two", tracers=("PBR", "TAU"))


def test_all_means_the_tracers_of_the_model(case, grid_case, two_tracers, tmp_path, capsys):
    given = ["--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--preprocessed", "--model", two_tracers]
    fast = ["--device", "cpu", "--steps", "1", "--samples", "1", "--no-report", "--progress", "json"]

    def command(tracer, out):
        code = main(["synthesize", *map(str, (*given, *fast)), "--tracer", tracer, "--out", str(tmp_path / out)])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    code, line = command("all", "out")
    assert code == 0 and [content["tracer"] for content in line["syntheses"]] == ["TAU", "PBR"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["PBR", "TAU"]
    code, line = command("TAU,all", "out")
    assert code == 2 and str(tmp_path / "out" / "TAU") in line["message"] and "use --overwrite" in line["message"]
    code, line = command("PIB", "named")
    assert code == 2 and "\n" not in line["message"] and not (tmp_path / "named").exists()
    assert line["message"].endswith("has no tracer PIB; it has PBR, TAU: choose one, or another model")
    code, line = command("TAU,PIB", "named")
    assert code == 2 and "has no tracer PIB" in line["message"] and not (tmp_path / "named").exists()
    options = Options(tracers="all", model=two_tracers, steps=1, samples=1, device="cpu")
    assert options.tracers == ("all",) and run_case(case, options).tracers == ("TAU", "PBR")


def test_all_of_a_model_with_one_tracer_is_that_one(case, tmp_path):
    from cases import write_tiny_latent

    model = write_tiny_latent(tmp_path / "one", tracers=("PIB",))
    (result,) = run_case(case, Options(tracers="all", model=model, steps=1, samples=1, device="cpu"))
    assert result.tracer == "PIB"


def test_the_demo_makes_what_person_and_model_have(two_tracers):
    from RelAPETLib.cli import build_parser
    from RelAPETLib.cli.demo import _chosen

    def chosen(tracer, model):
        return _chosen(build_parser().parse_args(["demo", "--tracer", tracer, "--model", str(model)]))

    assert chosen("all", two_tracers) == ("TAU", "PBR")
    assert chosen("all", "demo") == ("TAU", "PIB", "PBR") and chosen("pib", two_tracers) == ("PIB",)


def test_references_where_all_tracers_are_asked_for(grid_case, two_tracers):
    with pytest.raises(InputError, match="cannot be compared with all tracers; choose the tracer it is of"):
        Options(tracers="all", reference=grid_case["pet"])
    given = {"model": two_tracers, **FAST}
    with pytest.raises(InputError, match="a reference of PIB was given, which is not asked for"):
        synthesize_many(grid_case["t1w"], grid_case["t2f"], "all", reference={"PIB": grid_case["pet"]}, **given)
    tau, pbr = synthesize_many(grid_case["t1w"], grid_case["t2f"], reference={"TAU": grid_case["pet"]}, **given)
    assert tau.metrics and pbr.metrics is None


# What is there already


def listened(results, tracers=("TAU", "PIB")):
    """The results, and a list of what has been made of them so far."""
    made = []

    def making():
        for result in results:
            made.append(result.tracer)
            yield result

    return Syntheses(tracers, making()), made


@pytest.fixture(scope="module")
def pair_of_results(case, tiny_latent):
    return list(run_case(case, Options(tracers="TAU,PIB", model=tiny_latent, steps=1, samples=1, device="cpu")))


@pytest.mark.parametrize("place_of", [contextlib.nullcontext, reserve], ids=["folder", "reserved"])
@pytest.mark.parametrize("there", ["TAU/synthetic_pet.nii.gz", "PIB/regions.tsv"])
def test_outputs_that_exist_are_refused_before_anything_is_made(pair_of_results, tmp_path, place_of, there):
    old = tmp_path / there
    old.parent.mkdir()
    old.write_text("old")
    results, made = listened(pair_of_results)
    with pytest.raises(OutputError) as raised, place_of(tmp_path) as folder:
        save_many(results, folder)
    assert made == [] and str(raised.value) == (
        f"{old} exists already; use --overwrite to replace it, or another --out"
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [old] and old.read_text() == "old"
    files = save_many(results, tmp_path, overwrite=True, report=False)
    assert made == ["TAU", "PIB"] and list(files) == made and old.stat().st_size > 3


def test_a_file_in_the_place_of_a_tracers_folder_is_refused_before_anything_is_made(pair_of_results, tmp_path):
    (tmp_path / "PIB").write_text("a file")
    results, made = listened(pair_of_results)
    with pytest.raises(OutputError, match=r"PIB is not a folder; move it away or choose another --out"):
        save_many(results, tmp_path, overwrite=True)
    assert made == [] and (tmp_path / "PIB").read_text() == "a file"


def test_results_of_any_other_iterable_are_checked_as_they_come(pair_of_results, tmp_path):
    """A list names its tracers; a generator does not before it has made the first."""
    save_many(pair_of_results[1:], tmp_path, report=False)
    results, made = listened(pair_of_results)
    with pytest.raises(OutputError, match="PIB.* exists already; use --overwrite"):
        save_many((result for result in results), tmp_path)
    assert made == ["TAU", "PIB"] and not (tmp_path / "TAU").exists()


def test_two_results_of_one_tracer_have_no_two_places(pair_of_results, tmp_path):
    twice = [pair_of_results[0], pair_of_results[0]]
    for given in (twice, iter(twice)):
        with pytest.raises(InputError, match="two results of TAU would go to .*TAU; save them apart"):
            save_many(given, tmp_path / "out", report=False)
        assert not (tmp_path / "out").exists()


def test_a_reserved_folder_takes_results_twice(pair_of_results, tmp_path):
    with reserve(tmp_path / "out") as place:
        save_many(pair_of_results, place, report=False)
        with pytest.raises(OutputError, match="exists already; use --overwrite"):
            save_many(pair_of_results, place, report=False)
        assert list(save_many(pair_of_results, place, overwrite=True, report=False)) == ["TAU", "PIB"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["PIB", "TAU"]


def test_one_folder_never_holds_two_results_of_one_tracer(command, pair_of_results, tmp_path, monkeypatch):
    """One tracer's result lies in the folder, those of several in folders of their names."""
    out, one, both = tmp_path / "out", ("--tracer", "TAU"), ("--tracer", "TAU,PIB")
    chosen = {one: pair_of_results[:1], both: pair_of_results}
    words = one

    def results(arguments, options, *_):
        return iter(chosen[words])

    monkeypatch.setattr("RelAPETLib.cli.synthesize._results", results)
    save_many(pair_of_results, out, report=False)
    (out / "PIB" / "notes.txt").write_text("of value")
    code, line = command(*one, "--out", out)
    assert code == 2 and str(out / "TAU") in line["message"] and "use --overwrite" in line["message"]
    code, line = command(*one, "--out", out, "--overwrite")
    assert code == 0 and (out / "synthetic_pet.json").is_file() and not (out / "TAU").exists()
    assert (out / "PIB" / "synthetic_pet.json").is_file()  # of another tracer
    words = both
    code, line = command(*both, "--out", out)
    assert code == 2 and "exists already; use --overwrite" in line["message"]
    code, line = command(*both, "--out", out, "--overwrite")
    assert code == 0 and sorted(path.name for path in out.iterdir()) == ["PIB", "TAU"]
    assert (out / "PIB" / "notes.txt").read_text() == "of value"


def test_one_tracers_result_stays_beside_those_of_others(tmp_path):
    (tmp_path / "synthetic_pet.json").write_text('{"tracer": {"name": "PBR"}}')
    assert _other_layout(tmp_path, ("TAU", "PIB")) == []
    assert _other_layout(tmp_path, ("TAU", "PBR")) == ["synthetic_pet.json"]
    (tmp_path / "synthetic_pet.json").write_text("[]")
    assert _other_layout(tmp_path, ("TAU", "PIB")) == [] == _other_layout(tmp_path / "none", ("TAU",))
