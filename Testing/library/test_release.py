"""Import of the published checkpoint: exactly that kind of file, and the network it makes computes as published."""

import warnings

import pytest
import torch
from golden import published_numbers, ruled_weights

from RelAPETLib.errors import ModelError, RelAPETWarning
from RelAPETLib.models import import_release_checkpoint, load_model
from RelAPETLib.models.catalogue import load_catalogue
from RelAPETLib.models.release import git_blob_id
from RelAPETLib.networks.generator import build_generator, release_name
from RelAPETLib.volumes import file_sha256


def checkpoint_like(path, weights):
    torch.save({"model_state_dict": weights, "epoch": 99}, path)
    return path


@pytest.fixture(scope="module")
def random_release_weights():
    torch.manual_seed(1)
    return {release_name(name): torch.randn(t.shape) for name, t in build_generator().state_dict().items()}


def test_an_imported_checkpoint_gives_the_published_networks_outputs(tmp_path):
    weights = ruled_weights()["generator"]
    file = checkpoint_like(tmp_path / "epoch99.pt", weights)
    with pytest.warns(RelAPETWarning, match="is not the published checkpoint"):
        metadata = import_release_checkpoint(file, tmp_path / "bundle")
    assert metadata["name"] == "rela-diffusion-other" and metadata["source"]["epoch"] == 99

    model = load_model(tmp_path / "bundle")
    assert {name: facts["label"] for name, facts in model.metadata["tracers"].items()} == {"PBR": 0, "PIB": 1, "TAU": 2}
    numbers = published_numbers()
    given = numbers["unet_input"]
    condition = model.method.encode(given[:, 1:])
    for label in (0, 1, 2):
        for t in (0, 37, 500, 999):
            ours = model.method.predict_noise(given[:, :1], condition, t, label)
            expected = numbers[f"unet_output_label{label}_t{t}"]
            assert float((ours - expected).abs().max()) < 1e-5


def test_the_known_blob_gives_no_warning_and_full_provenance(random_release_weights, tmp_path):
    file = checkpoint_like(tmp_path / "c.pt", random_release_weights)
    entry = load_catalogue()["rela-diffusion"]
    entry["source"]["git_blob_id"] = git_blob_id(file.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metadata = import_release_checkpoint(file, tmp_path / "bundle", entry=entry)
    assert metadata["name"] == "rela-diffusion" and metadata["licence"] == "Apache-2.0"
    assert metadata["source"]["commit"] == "3f5bb1d34a96c33d5a0adca731227df1c6570636"
    assert metadata["source"]["sha256"] == file_sha256(file)
    assert "Apache License" in (tmp_path / "bundle" / "LICENSE").read_text()
    assert metadata["grid"]["axes"] == "RAS (assumed)"
    assert {facts["output"] for facts in metadata["tracers"].values()} == {"relative"}


def test_git_blob_id_is_gits():
    assert git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # echo hello | git hash-object --stdin


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda w: {"model_state_dict": w}, "not a checkpoint of the published kind"),
        (lambda w: {"model_state_dict": w, "epoch": 99, "optimizer": 1}, "not a checkpoint of the published kind"),
        (lambda w: w, "not a checkpoint of the published kind"),
        (lambda w: {"model_state_dict": w, "epoch": "99"}, "epoch is not an integer"),
        (lambda w: {"model_state_dict": list(w), "epoch": 99}, "model_state_dict is not a dict"),
        (lambda w: {"model_state_dict": {}, "epoch": 99}, "367 tensors missing"),
        (lambda w: {"model_state_dict": w | {"more": torch.zeros(1)}, "epoch": 99}, "'more' is not one of its tensors"),
        (lambda w: {"model_state_dict": w | {"out.2.conv.bias": 3.0}, "epoch": 99}, "is not a plain tensor"),
        (lambda w: {"model_state_dict": w | {"out.2.conv.bias": torch.zeros(2)}, "epoch": 99}, r"\(2,\), not torch"),
        (lambda w: {"model_state_dict": w | {"out.2.conv.bias": torch.tensor([float("nan")])}, "epoch": 99}, "finite"),
        (lambda w: {"model_state_dict": w | {"out.2.conv.bias": torch.zeros(1).double()}, "epoch": 99}, "float64"),
        (
            lambda w: {"model_state_dict": w | {"out.2.conv.bias": torch.zeros(1).to_sparse()}, "epoch": 99},
            "plain tensor",
        ),
        (lambda w: {"model_state_dict": w | {"out.2.conv.bias": torch.zeros(1, device="meta")}, "epoch": 99}, "plain"),
    ],
)
def test_other_checkpoints_are_refused(random_release_weights, tmp_path, content, message):
    torch.save(content(random_release_weights), tmp_path / "c.pt")
    with pytest.raises(ModelError, match=message) as raised:
        import_release_checkpoint(tmp_path / "c.pt", tmp_path / "bundle")
    assert "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_checkpoint_is_refused(random_release_weights, tmp_path, share):
    file = checkpoint_like(tmp_path / "c.pt", random_release_weights)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match="c.pt is"):
        import_release_checkpoint(file, tmp_path / "bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_missing_or_huge_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot read checkpoint"):
        import_release_checkpoint(tmp_path / "none.pt", tmp_path / "bundle")
    with open(tmp_path / "huge.pt", "wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ModelError, match="larger than 64 MiB"):
        import_release_checkpoint(tmp_path / "huge.pt", tmp_path / "bundle")
