"""Bundles, catalogue and the published checkpoint: what is whole loads, and what is not is refused in one line."""

import json
import os

import pytest
import torch
from cases import VOXEL, _metadata, write_tiny_voxel
from forgery import forge, read_metadata, write_metadata
from safetensors.torch import load_file, save_file

from RelAPETLib.errors import DeviceError, ModelError, OutputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.methods import method_class
from RelAPETLib.methods.rela.voxel import VoxelDiffusion
from RelAPETLib.models import (
    list_models,
    load_model,
    model_path,
    show,
    verify,
    verify_bundle,
    write_bundle,
)
from RelAPETLib.models import model as model_module
from RelAPETLib.models.catalogue import home, load_catalogue
from RelAPETLib.resources import resources_dir
from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes import file_sha256


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_voxel(tmp_path / "tiny modèle")


def refusal(folder, error=ModelError):
    """The one-line message with which loading a folder is refused."""
    with pytest.raises(error) as raised:
        load_model(folder)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 600
    return message


def test_a_written_bundle_loads_and_computes_the_same(bundle):
    model = load_model(bundle)
    assert (model.name, model.version, model.device) == ("tiny-voxel", "0.0.1", "cpu")
    assert model.grid == MNI_GRID and model.method.diffusion_shape == (1, 160, 180, 160)
    assert model.method.schedule.kind == "scaled-linear" and len(model.method.schedule.betas) == 1000
    assert {"relapet", "torch", "monai", "safetensors"} <= model.metadata["made_with"].keys()
    assert model.weights_sha256 == model.metadata["weights"]["sha256"] == file_sha256(bundle / "model.safetensors")
    assert model.metadata_sha256 == file_sha256(bundle / "configs" / "metadata.json")

    torch.manual_seed(0)
    network = VoxelDiffusion(**model.method.settings["network"]["arguments"])  # as write_tiny_voxel draws it
    x_t, condition = torch.randn(2, 1, 8, 8, 8), torch.randn(1, 2, 8, 8, 8)
    encoded = model.method.encode(condition)
    ours = model.method.predict_noise(x_t, encoded, 500, 2)
    assert not ours.requires_grad
    expected = network.predict_noise(
        x_t, condition.expand(2, -1, -1, -1, -1), torch.tensor([500, 500]), torch.tensor([2, 2])
    )
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        model.method.predict_noise(x_t, encoded, torch.tensor([500, 500]), torch.tensor([2, 2])), ours, rtol=0, atol=0
    )
    assert torch.equal(model.method.decode(x_t), x_t)


def test_half_precision_is_for_the_file_only(bundle, tmp_path):
    model = load_model(bundle)
    kept = {key: value for key, value in model.metadata.items() if key != "weights"}
    written = write_bundle(tmp_path / "half", model.method.network, kept, half=("generator.",))
    assert {dtype for _, dtype in verify_bundle(tmp_path / "half").tensors.values()} == {"F16"}
    again = load_model(tmp_path / "half")
    assert again.metadata == written
    for name, tensor in again.method.network.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.method.network.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_verify_says_what_it_checked(bundle):
    found = verify(str(bundle))
    assert found["name"] == "tiny-voxel" and found["weights_sha256"] == file_sha256(bundle / "model.safetensors")
    assert found["parameters"] == sum(t.numel() for t in load_file(bundle / "model.safetensors").values())


def test_nothing_is_replaced_unasked_and_nothing_but_a_bundle_ever(bundle, tmp_path):
    model = load_model(bundle)
    changed = {key: value for key, value in model.metadata.items() if key != "weights"} | {"version": "2"}
    with pytest.raises(OutputError, match="exists already"):
        write_bundle(bundle, model.method.network, changed)
    assert load_model(bundle).version == "0.0.1"
    write_bundle(bundle, model.method.network, changed, overwrite=True)
    assert load_model(bundle).version == "2"

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(OutputError, match="not a model folder"):
        write_bundle(tmp_path / "photos", model.method.network, changed, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", bundle.name]


def test_a_write_that_fails_leaves_the_old_bundle_and_no_scraps(bundle, tmp_path, monkeypatch):
    model = load_model(bundle)
    changed = {key: value for key, value in model.metadata.items() if key != "weights"} | {"version": "2"}

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OutputError, match="No space left on device"):
            write_bundle(bundle, model.method.network, changed, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [bundle.name]
    assert load_model(bundle).version == "0.0.1"


def test_weights_that_are_not_finite_are_not_written(bundle, tmp_path):
    model = load_model(bundle)
    kept = {key: value for key, value in model.metadata.items() if key != "weights"}
    model.method.network.generator.conv_in.conv.weight.fill_(1e5)
    with pytest.raises(ModelError, match="not finite as torch.float16"):
        write_bundle(tmp_path / "x", model.method.network, kept, half=("",))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("how", ["replaced", "changed", "gone"])
def test_weights_that_change_between_hash_and_reading_are_refused(bundle, monkeypatch, how):
    """The hashes of a model are in every record: they are those of the weights that drew."""
    model, build = load_model(bundle), model_module._build
    other = {key: value for key, value in model.metadata.items() if key != "weights"} | {"version": "2"}

    def meanwhile(verified):
        method, weights = build(verified), bundle / "model.safetensors"
        if how == "replaced":
            write_bundle(bundle, model.method.network, other, overwrite=True)
        elif how == "gone":
            weights.unlink()
        else:
            flip_byte(weights, -5)
            os.utime(weights, ns=(0, 0))
        return method

    monkeypatch.setattr(model_module, "_build", meanwhile)
    assert ("cannot read" if how == "gone" else "was changed while it was loaded; begin again") in refusal(bundle)


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


DAMAGES = {
    "no metadata": (
        lambda f: (f / "configs/metadata.json").unlink(),
        "is not a model: it has no configs/metadata.json",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model weights missing"),
    "weights cut": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "corrupt or were changed",
    ),
    "weights bit": (lambda f: flip_byte(f / "model.safetensors", -5), "corrupt or were changed"),
    "metadata cut": (
        lambda f: (f / "configs/metadata.json").write_bytes((f / "configs/metadata.json").read_bytes()[:-9]),
        "is not valid JSON",
    ),
    "metadata huge": (
        lambda f: (f / "configs/metadata.json").write_bytes(b" " * 1_000_001),
        "more than 1000000; refused",
    ),
    "metadata deep": (lambda f: (f / "configs/metadata.json").write_bytes(b"[" * 100_000), "is not valid JSON"),
    "metadata NaN": (lambda f: (f / "configs/metadata.json").write_bytes(b'{"a": NaN}'), "NaN is not a JSON number"),
    "metadata list": (lambda f: (f / "configs/metadata.json").write_bytes(b"[]"), "is not valid at $"),
    "metadata not text": (lambda f: (f / "configs/metadata.json").write_bytes(b"\xff\xfe\x00"), "is not valid JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused(bundle, damage):
    do, message = DAMAGES[damage]
    do(bundle)
    assert message in refusal(bundle)


def test_an_edited_window_is_noticed_although_the_weights_are_whole(bundle):
    metadata = read_metadata(bundle)
    metadata["tracers"]["TAU"]["window"] = [0, 30]
    write_metadata(bundle, metadata)
    assert "metadata" in refusal(bundle) and "changed after the weights were written" in refusal(bundle)


def settings_of(metadata):
    return metadata["method"]["settings"]


def arguments_of(metadata):
    return settings_of(metadata)["network"]["arguments"]


def widen(metadata, factor):
    arguments = arguments_of(metadata)
    arguments["channels"] = [factor * width for width in arguments["channels"]]


CONTRADICTIONS = {
    "schema_version 3": (
        lambda m: m.update(schema_version=3),
        "schema_version 3, made for a newer RelAPET; update relapet",
    ),
    "schema_version text": (lambda m: m.update(schema_version="1"), "not valid at $.schema_version"),
    "unknown key": (lambda m: m.update(surprise=1), "surprise"),
    "missing key": (lambda m: settings_of(m).pop("schedule"), "$.method.settings: 'schedule' is a required property"),
    "unknown setting": (
        lambda m: settings_of(m)["sampler"].update(colour="red"),
        "not valid at $.method.settings.sampler: ",
    ),
    "unknown method": (
        lambda m: m["method"].update(name="voodoo"),
        "is of the method 'voodoo', which this RelAPET does not know; update relapet",
    ),
    "no method": (lambda m: m.pop("method"), "'method' is a required property"),
    "settings of version 1": (lambda m: m.update(schedule=settings_of(m)["schedule"]), "False schema does not allow"),
    "unknown class": (
        lambda m: settings_of(m)["network"].update({"class": "Popen"}),
        "not valid at $.method.settings.network.class",
    ),
    "other grid": (lambda m: m["grid"].update(shape=[160, 180, 161]), "another grid"),
    "unknown tracer": (lambda m: m["tracers"].update(FDG=m["tracers"]["TAU"]), "$.tracers.FDG: no such tracer"),
    "label 64": (lambda m: m["tracers"]["TAU"].update(label=64), "not valid at $.tracers.TAU.label"),
    "empty window": (lambda m: m["tracers"]["TAU"].update(window=[3, 0]), "window [3, 0] is empty"),
    "relative window": (lambda m: m["tracers"]["TAU"].update(output="relative"), "has the window [0, 1]"),
    "no reference": (lambda m: m["tracers"]["TAU"].update(reference_region=None), "needs a reference_region"),
    "unknown reference": (
        lambda m: m["tracers"]["TAU"].update(reference_region="cerebellum, grey matter"),
        "$.tracers.TAU: unknown reference_region 'cerebellum, grey matter'; known are frontal",
    ),
    "label 63": (lambda m: m["tracers"]["TAU"].update(label=63), "tracer TAU has label 63, but the network knows 4"),
    "other prediction": (lambda m: settings_of(m).update(prediction="v"), "prediction is v, the network's is noise"),
    "other schedule": (
        lambda m: settings_of(m)["network"]["arguments"].update(schedule={"num_timesteps": 10**9}),
        "$.method.settings.schedule: it is not the one in network.arguments.schedule",
    ),
    "endless blocks": (
        lambda m: settings_of(m)["network"]["arguments"].update(num_res_blocks=10**9),
        "not valid at $.method.settings.network.arguments.num_res_blocks",
    ),
    "betas": (lambda m: settings_of(m)["schedule"].update(beta_start=0.5), "beta_start is larger"),
    "steps": (lambda m: settings_of(m)["sampler"].update(steps=1001), "more than schedule.num_timesteps"),
    "clip": (lambda m: settings_of(m)["sampler"].update(clip=[1, -1]), "$.method.settings.sampler.clip"),
    "other space": (
        lambda m: settings_of(m)["diffusion_space"].update(channels=2),
        "diffusion_space is (2, 160, 180, 160)",
    ),
    "other width": (lambda m: widen(m, 2), "do not fit the network"),
    "absurd width": (lambda m: widen(m, 10**6), "do not fit the network"),
    "unknown argument": (lambda m: arguments_of(m).update(colour=1), "make no rela network"),
    "wrong argument": (lambda m: arguments_of(m).update(norm_num_groups=7), "make no rela network"),
    "other weights file": (lambda m: m["weights"].update(file="../../x.safetensors"), "not valid at $.weights.file"),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_contradictions_are_refused_even_with_fitting_hashes(bundle, contradiction):
    change, message = CONTRADICTIONS[contradiction]
    forge(bundle, change)
    assert message in refusal(bundle)


UNFIT = {
    "levels": ({"factor": 4}, r"tensors to be joined do not fit: \[1, 16, 20, 24, 20\] and \[1, 16, 20, 23, 20\]"),
    "depth": ({"factor": 10, "channels": [8] * 6, "attention_levels": [False] * 6}, "Expected more than 1 value"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_a_network_that_can_be_built_but_draws_nothing_is_refused(tmp_path, unfit):
    """Its weights fit its settings; no size of the model grid fits its levels."""
    changes, reason = UNFIT[unfit]
    settings = {"arguments": {**VOXEL, **changes}}
    metadata = _metadata("voxel", {}, {}, "suvr", ("TAU",)) | {"method": {"name": "unet", "settings": settings}}
    write_bundle(tmp_path / "unfit", method_class("unet").build(settings).network, metadata)
    with pytest.raises(ModelError, match=rf"settings make a unet network that cannot draw: .*{reason}") as raised:
        verify(tmp_path / "unfit")
    assert "\n" not in str(raised.value)


def test_what_cannot_be_told_without_values_is_left_to_a_draw(bundle, monkeypatch):
    """Methods of others may ask for values, or use what this torch lacks on tensors that have none."""
    method = method_class("rela")
    for fault in (lambda self, mri, clinical=None: mri.sum().item(), lambda self, mri, clinical=None: 1 + None):
        monkeypatch.setattr(method, "encode", fault)
        assert load_model(bundle).version == "0.0.1"
    monkeypatch.undo()
    draw = method.draw
    monkeypatch.setattr(method, "draw", lambda *given, **more: draw(*given, **more)[..., :-1])
    with pytest.raises(ModelError, match=r"draws \[1, 1, 160, 180, 159\], not a PET"):
        load_model(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("generator.out.2.conv.bias"), "'generator.out.2.conv.bias' is missing"),
        (lambda w: w.update(surplus=torch.zeros(1)), "'surplus' is unknown"),
        (lambda w: w.update({"generator.out.2.conv.bias": torch.zeros(2)}), "is F32 [2], not F32 [1]"),
        (lambda w: w.update({"generator.out.2.conv.bias": torch.zeros(1).double()}), "is F64 [1], not F32 [1]"),
    ],
)
def test_other_tensors_are_refused_even_with_fitting_hashes(bundle, change, message):
    tensors = load_file(bundle / "model.safetensors")
    change(tensors)
    save_file(tensors, bundle / "model.safetensors")
    forge(bundle, lambda m: None)
    assert message in refusal(bundle)


def test_unknown_names_and_devices(bundle):
    assert "unknown model 'nix': neither a folder nor one of demo, rela-diffusion" in refusal("nix")
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        load_model(bundle, device="gpu")


def test_a_folder_called_like_a_model_needs_a_path(bundle, tmp_path, monkeypatch):
    bundle.rename(tmp_path / "rela-diffusion")
    monkeypatch.chdir(tmp_path)
    assert "is not on this machine; run 'relapet models fetch rela-diffusion'" in refusal("rela-diffusion")
    assert load_model("./rela-diffusion").name == "tiny-voxel"


# The catalogue


def test_the_shipped_catalogue():
    entries = load_catalogue()
    assert set(entries) == {"demo", "rela-diffusion"}
    assert entries["demo"]["shipped"] and entries["demo"]["simulated"]
    release = entries["rela-diffusion"]
    assert release["output"] == "relative" and release["licence"] == "Apache-2.0"
    source = release["source"]
    assert source["url"].endswith(f"/{source['commit']}/{source['path']}")
    assert [e["name"] for e in list_models()] == list(entries)
    for entry in entries.values():
        assert tuple(entry["grid"]["shape"]) == MNI_GRID.shape and tuple(entry["grid"]["origin_mm"]) == MNI_GRID.origin
        assert set(entry["tracers"]) == set(TRACERS)
        assert entry["shipped"] == (entry["source"] is None)
    with pytest.raises(ModelError, match="no model 'nix' in the catalogue; it has demo, rela-diffusion"):
        show("nix")


def test_the_demo_model_is_the_catalogued_one():
    if not (resources_dir() / "models" / "demo").is_dir():
        pytest.skip("Resources/models/demo is not there yet")
    entry = show("demo")
    assert entry["installed"] and model_path("demo") == resources_dir() / "models" / "demo"
    model = load_model("demo")
    assert model.weights_sha256 == entry["weights_sha256"]
    assert set(model.metadata["tracers"]) == set(entry["tracers"])
    assert model.method.default_steps(model.method.settings) == entry["steps"]
    defaults = model.method.defaults
    assert entry["draw"]["samplers"] == dict(defaults.samplers) and entry["draw"]["inputs"] == list(defaults.inputs)
    assert (entry["draw"]["samples"], entry["draw"]["longest"]) == (defaults.samples, defaults.longest)
    known = model.metadata["quality"]
    assert entry["draw"]["quality"] == {name: known[name] for name in ("fast", "balanced", "reference")}
    told = {name: facts["positivity"] for name, facts in model.metadata["tracers"].items() if "positivity" in facts}
    assert entry["draw"]["positivity"] == {name: facts["cutoff"] for name, facts in told.items()} and told
    assert entry["optional_inputs"] == [] and show("rela-diffusion")["draw"] is None
    assert model.metadata["training_data"]["simulated"] is True
    assert sum(p.stat().st_size for p in model.folder.rglob("*") if p.is_file()) <= 20e6


def test_another_catalogue_must_fit_its_schema(tmp_path):
    shipped = json.loads((resources_dir() / "models.json").read_text())
    shipped["models"][1]["source"]["url"] = "http://example.org/x.pt"
    (tmp_path / "models.json").write_text(json.dumps(shipped))
    with pytest.raises(ModelError, match=r"not valid at \$\.models\[1\]"):
        load_catalogue(tmp_path / "models.json")


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "RELAPET_HOME", "/data/relapet home", "/data/relapet home"),
        ("linux", "XDG_DATA_HOME", "/data/share", "/data/share/relapet"),
        ("linux", None, None, "/home/anna/.local/share/relapet"),
        ("darwin", None, None, "/home/anna/Library/Application Support/relapet"),
        ("win32", "LOCALAPPDATA", "/appdata", "/appdata/relapet"),
    ],
)
def test_home(monkeypatch, platform, variable, value, expected):
    for name in ("RELAPET_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr("sys.platform", platform)
    if variable:
        monkeypatch.setenv(variable, value)
    assert home().as_posix() == expected
