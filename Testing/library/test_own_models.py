"""Models that a user brings: importing bundles, finding, using and removing them by name."""

import json
import shutil

import pytest
import torch

from RelAPETLib.cli import main
from RelAPETLib.errors import ModelError, OutputError, RelAPETWarning
from RelAPETLib.models import import_model, list_models, load_model, model_path, remove, show
from RelAPETLib.models.catalogue import home


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home ü"))


def zipped(folder, tmp_path):
    return shutil.make_archive(str(tmp_path / "packed"), "zip", folder)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_an_imported_bundle_is_known_by_its_name(tiny_latent, tmp_path, packed):
    folder = import_model(zipped(tiny_latent, tmp_path) if packed else tiny_latent)
    assert folder == home() / "models" / "tiny-latent" == model_path("tiny-latent")
    (entry,) = [entry for entry in list_models() if not entry["catalogued"]]
    assert entry == show("tiny-latent")
    assert entry["simulated"] and entry["tracers"] == ["TAU", "PIB", "PBR"] and entry["licence"] == "Apache-2.0"
    assert load_model("tiny-latent").weights_sha256 == load_model(tiny_latent).weights_sha256
    with pytest.raises(OutputError, match="exists already"):
        import_model(tiny_latent)
    assert import_model(tiny_latent, overwrite=True) == folder
    assert remove("tiny-latent") == folder and not folder.exists()
    with pytest.raises(ModelError, match="no model 'tiny-latent'"):
        show("tiny-latent")


def test_a_damaged_bundle_is_not_imported(tiny_latent, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(tiny_latent, bad)
    weights = bad / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")
    with pytest.raises(ModelError, match="SHA-256|hash|changed"):
        import_model(bad)
    assert not (home() / "models").exists() or not list((home() / "models").iterdir())


def test_a_name_of_the_catalogue_is_not_taken(tiny_latent, tmp_path, capsys):
    code = tmp_path / "demo.pt"
    torch.save({"model_state_dict": {}, "epoch": 1}, code)
    with pytest.raises(ModelError, match="'demo' is a model of the catalogue"):
        import_model(code)
    with pytest.raises(ModelError, match="no such file"):
        import_model(tmp_path / "none.zip")


def test_a_broken_folder_is_told_of_and_the_others_still_listed(tiny_latent):
    import_model(tiny_latent)
    broken = home() / "models" / "broken" / "configs"
    broken.mkdir(parents=True)
    (broken / "metadata.json").write_text("{")
    with pytest.warns(RelAPETWarning, match="broken.*not valid JSON"):
        names = [entry["name"] for entry in list_models()]
    assert names == ["demo", "rela-diffusion", "tiny-latent"]


def test_the_command_line_imports_and_says_how_to_use_it(tiny_latent, capsys):
    assert main(["models", "import", str(tiny_latent), "--progress", "json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["model"] == "tiny-latent"
    assert main(["models", "list"]) == 0
    assert "tiny-latent" in capsys.readouterr().out
