"""A folder of models that is only read, as hospitals without internet have one, and the list with what is refused."""

import json
import os
import re
import shutil

import pytest

from RelAPETLib.cli import main
from RelAPETLib.errors import InputError, ModelError, RelAPETWarning
from RelAPETLib.models import (
    import_model,
    list_models,
    load_model,
    model_path,
    models_folder,
    remove,
    set_models_folder,
    show,
    survey,
)
from RelAPETLib.models.bundle import rewrite_bundle
from RelAPETLib.models.catalogue import home
from RelAPETLib.models.places import VARIABLE


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home ü"))
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def share(tmp_path, tiny_latent):
    """A models folder with one sound model, chosen."""
    folder = tmp_path / "share of the clinic"
    shutil.copytree(tiny_latent, folder / "clinic-model")
    set_models_folder(folder)
    return folder


def problems(**how):
    return {each["name"]: each["problem"] for each in survey(**how)[1]}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_its_models_are_used_by_name_and_nothing_is_written_there(share, tiny_latent):
    before = contents(share)
    assert models_folder() == share and model_path("clinic-model") == share / "clinic-model"
    assert load_model("clinic-model").weights_sha256 == load_model(tiny_latent).weights_sha256
    entry = show("clinic-model")
    assert entry["place"] == "folder" and entry in list_models()
    assert entry["bytes"] == sum(p.stat().st_size for p in (share / "clinic-model").rglob("*") if p.is_file())
    with pytest.raises(ModelError, match="which relapet only reads"):
        remove("clinic-model")
    assert contents(share) == before


def test_the_variable_comes_before_the_setting_and_none_ends_it(share, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    with pytest.warns(RelAPETWarning, match="elsewhere is not there now"):
        assert "clinic-model" not in [entry["name"] for entry in list_models()]
    monkeypatch.delenv(VARIABLE)
    assert show("clinic-model")
    set_models_folder(None)
    assert models_folder() is None and "clinic-model" not in [entry["name"] for entry in list_models()]


def test_what_cannot_be_a_models_folder(share, tmp_path, tiny_latent):
    for folder, why in ((tmp_path / "none", "no folder at"), (tiny_latent, "is a model itself")):
        with pytest.raises(InputError, match=why):
            set_models_folder(folder)
    (home() / "models").mkdir()
    with pytest.raises(InputError, match="your own models"):
        set_models_folder(home() / "models")
    assert models_folder() == share


@pytest.mark.parametrize("content", [b"{", b"[1]", b'{"models_folder": 5}', b'{"models_folder": "not/absolute"}'])
def test_damaged_settings_do_not_count(share, content, recwarn):
    (home() / "settings.json").write_bytes(content)
    assert models_folder() is None
    assert [str(w.message) for w in recwarn if "settings.json" in str(w.message)] or content.startswith(b'{"models')
    if content.startswith(b'{"models'):
        set_models_folder(share)
        assert models_folder() == share
        return
    with pytest.raises(InputError, match="mend or delete it"):
        set_models_folder(share)
    assert (home() / "settings.json").read_bytes() == content, "what somebody wrote there is not lost"


def _cut_short(bundle):
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def _changed(bundle):
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"evil")


def _expression(bundle):
    path = bundle / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"title": "$__import__('os').system('true')"}), encoding="utf-8")


def _link(bundle):
    weights = bundle / "model.safetensors"
    weights.rename(bundle.parent / "secret.bin")
    weights.symlink_to(bundle.parent / "secret.bin")


def _pipe(bundle):
    (bundle / "model.safetensors").unlink()
    os.mkfifo(bundle / "model.safetensors")


def _edited(bundle):
    path = bundle / "configs" / "metadata.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"licence": "CC0-1.0"}), encoding="utf-8")


def _without_metadata(bundle):
    (bundle / "configs" / "metadata.json").unlink()


DAMAGE = {
    _cut_short: "not a safetensors file",
    _expression: "",
    _link: "is a link or another special file",
    _pipe: "is a link or another special file",
    _edited: "were changed after the weights were written",
    _without_metadata: "it has no configs/metadata.json",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_or_hostile_bundle_is_listed_with_its_reason_and_not_loaded(share, tiny_latent, damage):
    shutil.copytree(tiny_latent, share / "bad")
    damage(share / "bad")
    models, refused = survey()
    told = [each for each in [*models, *refused] if each["name"] == "bad" and each["problem"]]
    assert len(told) == 1 and DAMAGE[damage] in told[0]["problem"] and "\n" not in told[0]["problem"]
    with pytest.raises(ModelError, match="are corrupt or were changed|" + re.escape(told[0]["problem"])):
        load_model("bad")
    assert show("clinic-model")["installed"] and not [m for m in models if m["name"] == "clinic-model" and m["problem"]]


def test_changed_weights_are_found_by_the_whole_check_and_never_loaded(share, tiny_latent):
    _changed(share / "clinic-model")
    quick, whole = (next(m for m in survey(whole=w)[0] if m["name"] == "clinic-model") for w in (False, True))
    assert (quick["checked"], quick["problem"]) == ("quickly", None)
    assert whole["checked"] == "whole" and "corrupt or were changed" in whole["problem"]
    with pytest.raises(ModelError, match="corrupt or were changed"):
        load_model("clinic-model")


def test_names_that_others_have_already(share, tiny_latent):
    import_model(tiny_latent)
    for name in ("demo", "tiny-latent", "evil\x1b[31m"):
        shutil.copytree(tiny_latent, share / name)
    found = problems()
    assert (
        "a model that comes with relapet" in found["demo"] and "in your own folder comes first" in found["tiny-latent"]
    )
    assert "cannot be a model's name" in found["evil\x1b[31m"] and "\x1b" not in found["evil\x1b[31m"]
    assert model_path("tiny-latent") == home() / "models" / "tiny-latent"
    assert show("demo")["place"] == "shipped"


def test_a_damaged_model_of_ones_own_is_not_replaced_by_another_of_its_name(share, tiny_latent):
    import_model(tiny_latent)
    shutil.copytree(tiny_latent, share / "tiny-latent")
    (home() / "models" / "tiny-latent" / "configs" / "metadata.json").write_text("{")
    with pytest.warns(RelAPETWarning, match="not valid JSON"), pytest.raises(ModelError, match="not valid JSON"):
        load_model("tiny-latent")


def test_a_link_out_and_what_is_packed(share, tmp_path, tiny_latent):
    (share / "linked").symlink_to(tiny_latent)
    shutil.make_archive(str(share / "packed"), "zip", tiny_latent)
    (share / "notes").mkdir()
    found = problems()
    assert "is a link to another place" in found["linked"] and "unpack it there" in found["packed.zip"]
    assert set(found) == {"linked", "packed.zip"}


def test_a_model_of_the_catalogue_may_lie_there(share, tiny_latent):
    """The published model is what a clinic without internet wants there; another one of its name is refused."""
    rewrite_bundle(tiny_latent, share / "rela-diffusion", {"name": "rela-diffusion"}, {})
    entry = show("rela-diffusion")
    assert entry["installed"] and entry["place"] == "folder"
    assert next(m for m in survey(whole=True)[0] if m["name"] == "rela-diffusion")["problem"]
    with pytest.raises(ModelError, match="not made from the file the catalogue names"):
        load_model("rela-diffusion")


def test_command_line(share, tiny_latent, capsys):
    assert main(["models", "folder", "--none"]) == 0 and "models folder: none" in capsys.readouterr().out
    assert main(["models", "folder", str(share / "clinic-model")]) == 2
    assert "is a model itself" in capsys.readouterr().err
    assert main(["models", "folder", str(share), "--progress", "json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["path"] == str(share)
    shutil.copytree(share / "clinic-model", share / "bad")
    _changed(share / "bad")
    (share / "worse\x1b[31m").mkdir()
    (share / "worse\x1b[31m" / "model.safetensors").touch()
    assert main(["models", "list", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("bad ") and "damaged" in line and "corrupt" in line for line in lines)
    assert any("refused" in line and "\\x1b" in line for line in lines) and "\x1b" not in "".join(lines)
    assert any(line.startswith("clinic-model") and "in the models folder" in line for line in lines)
    assert main(["models", "install", str(tiny_latent)]) == 0, "another word for import"
    assert (home() / "models" / "tiny-latent").is_dir()


def test_the_list_says_what_a_person_chooses_by():
    (demo,) = [m for m in survey()[0] if m["name"] == "demo"]
    assert demo["method_title"] != demo["method"] and demo["problem"] is None and demo["checked"] == "quickly"
    assert demo["bytes"] > 1e6 and demo["grid"]["spacing_mm"] and demo["simulated"] is True


NOT_TEXT = os.fsdecode(b"clinic-\xff")


@pytest.mark.parametrize(
    ("words", "variable", "says"),
    [
        (["models", "list"], "~nosuchuser/models", f"{VARIABLE}: ~nosuchuser/models: there is no user of this name"),
        (["models", "folder", "~nosuchuser/models"], "", "~nosuchuser/models: there is no user of this name here"),
        (["models", "folder", NOT_TEXT], "", "clinic-\\xff: its name is not UTF-8; rename it"),
        (["models", "verify", NOT_TEXT], "", "clinic-\\xff: a model's path must be UTF-8; rename the folder"),
        (["models", "verify", "\ud800"], "", "the value of name holds half a surrogate pair"),
        (
            ["evaluate", "--bids", "b", "--derivatives", "\ud800", "--out", "o"],
            "",
            "the value of derivatives holds half",
        ),
    ],
)
def test_a_name_that_is_none_is_one_line(tmp_path, monkeypatch, capsys, words, variable, says):
    monkeypatch.chdir(tmp_path)
    os.mkdir(NOT_TEXT)
    if variable:
        monkeypatch.setenv(VARIABLE, variable)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_name_that_nothing_can_write_down_is_no_bug(monkeypatch, capsys):
    monkeypatch.setattr("RelAPETLib.cli.models._list", lambda *_: "a\udcff.nii".encode())
    assert main(["models", "list"]) == 2
    assert r"a\xff.nii holds bytes that are not UTF-8 and cannot be written down; rename it" in capsys.readouterr().err


def test_doctor_tells_of_a_folder_that_is_gone_and_of_what_is_refused_in_it(share, capsys, monkeypatch):
    monkeypatch.setattr("RelAPETLib.models.verify", lambda name: None)  # the shipped model is another test's
    assert main(["doctor", "--progress", "json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["refused"] == told["problems"] == [] and told["folders"][-1]["path"] == str(share)
    (share / "clinic-model" / "configs" / "metadata.json").write_text("{")
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert "BAD: model metadata" in said.out and str(share) in said.out and "is not valid JSON" in said.err
    assert "No problems found" not in said.out
    shutil.rmtree(share)
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert f"{share}; NOT there" in said.out and "models folder" in said.err.splitlines()[-1]


def test_doctor_tells_of_a_models_folder_that_cannot_be_and_of_all_else(capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "~nobody-of-this-name/models")
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("Versions") and "Devices" in said.out and "data files" in said.out
    assert said.err.splitlines()[-1].count(VARIABLE) == 1 and "1 problem(s)" in said.err and "reinstall" not in said.err
