"""Everything a user can get wrong: exit code 2, one line on stderr, nothing on stdout, nothing left behind."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from cases import write_tiny_latent
from forgery import forge, read_metadata, write_metadata

from RelAPETLib.cli import main
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.volumes import read_volume, write_volume

CUDA = torch.cuda.is_available()
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (80, 96, 80)


@pytest.fixture
def refused(tmp_path, capsys, tiny_latent, grid_case):
    """Runs ``relapet synthesize`` on the good case with some options replaced, and checks how it is refused."""

    def run(words, *, extra=(), **replaced):
        out = tmp_path / "out" / "here"
        options = {"t1w": grid_case["t1w"], "t2f": grid_case["t2f"], "tracer": "TAU", "model": tiny_latent}
        options |= {"device": "cpu", "steps": 1, "samples": 1, "out": out} | replaced
        argv = ["synthesize", "--preprocessed", *extra]
        argv += [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        before = sorted(tmp_path.rglob("*"))
        check_refusal(main(argv), capsys, words)
        assert sorted(tmp_path.rglob("*")) == before, "something was left behind"

    return run


def check_refusal(code, capsys, words):
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert code == 2, lines
    assert lines[0].startswith("relapet: error: ") and words in lines[0], lines


def _nifti(path, array, affine=AFFINE, **header):
    image = nib.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)


def _random(shape=SHAPE):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def _truncated(path):
    _nifti(path, _random())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _colour(path):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    _nifti(path, np.zeros(SHAPE, dtype))


def _poisoned(value):
    def write(path):
        array = _random()
        array[3, 4, 5] = value
        _nifti(path, array)

    return write


def _with_affine(change):
    def write(path):
        image = nib.Nifti1Image(_random(), AFFINE)
        affine = AFFINE.copy()
        change(affine)
        image.header.set_sform(affine, 1)
        image.header["qform_code"] = 0
        with gzip.open(path, "wb") as stream:
            stream.write(image.header.binaryblock + b"\0" * 4 + _random().tobytes(order="F"))

    return write


def _zero_spacing(path):
    image = nib.Nifti1Image(_random(), AFFINE)
    image.header["pixdim"][3] = 0
    with gzip.open(path, "wb") as stream:
        stream.write(image.header.binaryblock + b"\0" * 4 + _random().tobytes(order="F"))


BAD_VOLUMES = {
    "truncated gzip": (_truncated, "truncated"),
    "a text file": (lambda p: p.write_text("not an image"), "scan ü.nii.gz"),
    "empty": (lambda p: p.write_bytes(b""), "empty"),
    "2-D": (lambda p: _nifti(p, _random((80, 96))), "2-D"),
    "4-D": (lambda p: _nifti(p, _random((*SHAPE, 2))), "4-D"),
    "RGB": (_colour, "colour"),
    "constant": (lambda p: _nifti(p, np.full(SHAPE, 7.0)), "every voxel is 7"),
    "NaN": (_poisoned(np.nan), "NaN"),
    "infinite": (_poisoned(np.inf), "infinite"),
    "zero spacing": (_zero_spacing, "zero voxel spacing"),
    "sheared": (_with_affine(lambda a: a.__setitem__((0, 1), 0.8)), "sheared"),
    "singular": (_with_affine(lambda a: a.__setitem__((slice(None), 1), a[:, 0])), "singular"),
    "small field of view": (lambda p: _nifti(p, _random((30, 30, 30))), "field of view"),
    "a folder": (lambda p: p.mkdir(), "scan ü.nii.gz"),
}


#: All roles are read alike: all kinds for the T1w, some for the others.
ROLES = [("t1w", kind) for kind in BAD_VOLUMES]
ROLES += [(role, kind) for role in ("t2f", "reference") for kind in ("truncated gzip", "NaN", "4-D")]


@pytest.mark.parametrize(("role", "kind"), ROLES)
def test_a_volume_that_cannot_be_used(role, kind, refused, tmp_path):
    write, words = BAD_VOLUMES[kind]
    path = tmp_path / "scan ü.nii.gz"
    write(path)
    refused(words, **{role: path})


def test_an_unreadable_file(as_nobody, capsys, monkeypatch):
    path = as_nobody / "locked.nii.gz"
    path.write_bytes(b"x")
    path.chmod(0)
    monkeypatch.setenv("RELAPET_HOME", str(as_nobody / "home"))
    argv = ["synthesize", "--t1w", str(path), "--t2f", str(path), "--tracer", "TAU", "--out", str(as_nobody / "out")]
    check_refusal(main(argv), capsys, "Permission denied")
    assert not (as_nobody / "out").exists()


def test_a_missing_file(refused, tmp_path):
    refused("no such file", t1w=tmp_path / "nobody.nii.gz")


def test_the_same_file_twice(refused, grid_case):
    refused("is the same volume as", t2f=grid_case["t1w"])
    refused("is the same volume as", reference=grid_case["t2f"])


def test_swapped_scans(refused, grid_case):
    refused("--force", t1w=grid_case["t2f"], t2f=grid_case["t1w"])


def _changed(source, target, change):
    write_volume(array_to_image(np.ascontiguousarray(change(image_to_array(read_volume(source))))), target)
    return target


@pytest.mark.parametrize(
    "change",
    [
        lambda a: np.random.default_rng(1).random(a.shape, np.float32),
        lambda a: a[:, :, ::-1],
        lambda a: np.indices(a.shape).sum(axis=0).astype(np.float32),
    ],
    ids=["noise", "upside down", "a ramp"],
)
def test_what_is_no_brain(change, refused, grid_case, tmp_path):
    path = _changed(grid_case["t1w"], tmp_path / "odd.nii.gz", change)
    refused("--force", t1w=path)


def test_an_unrelated_flair(refused, grid_case, tmp_path):
    path = _changed(grid_case["t2f"], tmp_path / "odd.nii.gz", lambda a: a[::-1, ::-1, ::-1])
    refused("--force", t2f=path)


def test_a_volume_that_is_not_on_the_grid(refused, tmp_path):
    _nifti(tmp_path / "raw.nii.gz", _random())
    refused("not on the model grid", t1w=tmp_path / "raw.nii.gz")


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"tracer": "FDG"}, "unknown tracer 'FDG'; use one of TAU, PIB, PBR"),
        ({"sampler": "leapfrog"}, "unknown sampler 'leapfrog'"),
        ({"steps": 0}, "steps 0 is out of range"),
        ({"steps": 1001}, "has 1000 timesteps"),
        ({"steps": "many"}, "a whole number is wanted, not 'many'"),
        ({"samples": 0}, "samples 0 is out of range"),
        ({"samples": 65}, "samples 65 is out of range"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"space": "native"}, "invalid choice: 'native'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": "cuda:99"}, "use --device auto or cpu" if not CUDA else "no device cuda:99"),
        ({"model": "nobody"}, "unknown model 'nobody'"),
        ({"reference_region": "thalamus"}, "--reference-region needs --reference"),
        ({"progress": "loud"}, "invalid choice: 'loud'"),
    ],
    ids=str,
)
def test_options(replaced, words, refused):
    refused(words, **replaced)


def test_reference_units(refused, grid_case, tmp_path):
    pet = tmp_path / "pet.nii.gz"
    write_volume(read_volume(grid_case["pet"]) * 10000, pet)
    refused("not SUVR; give a SUVR volume, or have it divided by its mean", reference=pet)
    pet.with_name("pet.json").write_text(json.dumps({"Units": "Bq/mL"}))
    refused("unit 'Bq/mL', not SUVR", reference=pet)
    refused("unknown reference region 'nowhere'", reference=pet, reference_region="nowhere")


@pytest.mark.parametrize("told", ["sidecar", "name"])
def test_a_pet_of_another_tracer_is_no_reference(refused, monkeypatch, tmp_path, told):
    """Told before any volume is read: there is none here."""
    monkeypatch.setattr("RelAPETLib.volumes.read_volume", lambda *_, **__: pytest.fail("a volume was read"))
    pet = tmp_path / ("pet.nii.gz" if told == "sidecar" else "sub-1_trc-11CPIB_pet.nii.gz")
    if told == "sidecar":
        pet.with_name("pet.json").write_text(json.dumps({"TracerName": "11C-PiB (Pittsburgh compound B)"}))
    refused("says PIB, not TAU; give the tracer's own PET, or use --force", reference=pet)


def test_a_tracer_that_the_model_lacks(refused, tmp_path):
    refused(
        "has no tracer PBR; it has TAU, PIB",
        tracer="PBR",
        model=write_tiny_latent(tmp_path / "m", tracers=("TAU", "PIB")),
    )


@pytest.fixture
def own_model(tiny_latent, tmp_path):
    """A copy of the model to spoil."""
    return shutil.copytree(tiny_latent, tmp_path / "own model")


def test_corrupted_weights(refused, own_model):
    weights = own_model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    refused("corrupt or were changed", model=own_model)
    weights.write_bytes(bytes(content[: len(content) // 2]))
    refused("corrupt or were changed", model=own_model)
    weights.unlink()
    refused("weights missing", model=own_model)


def test_tampered_metadata(refused, own_model):
    metadata = read_metadata(own_model)
    write_metadata(own_model, metadata | {"version": "9.9"})
    refused("changed after the weights were written", model=own_model)
    write_metadata(own_model, metadata | {"title": "$__import__('os').system('touch pwned')"})
    refused("could run code", model=own_model)
    write_metadata(own_model, metadata)
    forge(own_model, lambda m: m["method"]["settings"]["network"].update({"class": "os.system"}))
    refused("$.method.settings.network.class", model=own_model)
    (own_model / "configs" / "metadata.json").write_text("{")
    refused("not valid JSON", model=own_model)


def test_a_folder_that_is_no_model(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("is not a model", model=tmp_path / "empty")


class _Bomb:
    def __reduce__(self):
        return (print, ("pwned",))


def test_a_pickle_that_is_not_plain_weights(tmp_path, capsys):
    file = tmp_path / "checkpoint.pt"
    torch.save({"model_state_dict": _Bomb(), "epoch": 99}, file)
    check_refusal(main(["models", "import", str(file), "--out", str(tmp_path / "model")]), capsys, "checkpoint.pt")
    assert not (tmp_path / "model").exists()


def test_an_existing_output(refused, tmp_path):
    out = tmp_path / "full"
    out.mkdir()
    (out / "uncertainty.nii.gz").write_text("old")
    refused("uncertainty.nii.gz exists already; use --overwrite", out=out)
    assert (out / "uncertainty.nii.gz").read_text() == "old"


def test_an_unwritable_output(as_nobody, monkeypatch, capsys):
    locked = as_nobody / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    monkeypatch.setenv("RELAPET_HOME", str(as_nobody / "home"))
    argv = ["synthesize", "--t1w", "a", "--t2f", "b", "--tracer", "TAU", "--out", str(locked / "out")]
    check_refusal(main(argv), capsys, "cannot write to")
    locked.chmod(0o700)


def test_an_input_that_would_be_replaced(refused, grid_case, tmp_path):
    earlier = shutil.copyfile(grid_case["pet"], tmp_path / "synthetic_pet.nii.gz")
    refused("is an input and would be replaced", extra=["--overwrite"], reference=earlier, out=tmp_path)


def test_an_output_below_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    refused("is not a folder", out=tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "required: COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["synthesize"], "required: --t1w, --tracer, --out"),
        (["models"], "required: ACTION"),
        (["models", "show", "nobody"], "no model 'nobody'"),
        (["models", "verify", "nobody"], "unknown model 'nobody'"),
        (["models", "remove", "demo"], "cannot be removed"),
        (["models", "import", "nowhere.pt", "--out", "x"], "nowhere.pt"),
        (["models", "fetch", "rela-diffusion", "--from-file", "nowhere.pt"], "nowhere.pt"),
        (["phantom", "--subjects", "0", "--out", "x"], "0"),
        (["phantom", "--subjects", "1", "--seed", "-1", "--out", "x"], "-1"),
        (["demo", "--tracer", "FDG"], "unknown tracer 'FDG'"),
        (["demo", "--person", "-1"], "-1"),
        (["doctor", "--log-file", "/proc/nowhere/log"], "log file"),
    ],
    ids=" ".join,
)
def test_commands(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refusal(main(argv), capsys, words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--steps", "0"], "steps 0 is out of range"),
        (["--steps", "100000"], "has 1000 timesteps"),
        (["--device", "xx"], "unknown device 'xx'"),
        (["--samples", "0"], "samples 0 is out of range"),
        (["--seed", "-1"], "seed -1 is out of range"),
        (["--sampler", "heun"], "model demo has no sampler heun"),
        (["--quality", "fast", "--steps", "3"], "quality chooses sampler and steps"),
    ],
    ids=" ".join,
)
def test_the_demo_looks_at_options_before_it_simulates(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("RelAPETLib.phantom.bids.write_case", lambda *_, **__: pytest.fail("a person was simulated"))
    check_refusal(main(["demo", *argv]), capsys, words)
    assert not list(tmp_path.iterdir())


def test_errors_keep_to_one_line_even_with_odd_names(refused, tmp_path):
    refused("no such file", t1w=tmp_path / "two\nlines.nii.gz")


def test_a_damaged_metaimage(refused, tmp_path):
    path = tmp_path / "scan.mha"
    sitk.WriteImage(sitk.GetImageFromArray(_random()), str(path))
    path.write_bytes(path.read_bytes()[:5000])
    refused("damaged or truncated", t1w=path)
