"""Hostile bundles, pickles and archives: nothing in them runs, nothing lands outside, and each is refused."""

import io
import json
import os
import pickle
import stat
import zipfile

import pytest
import torch
from cases import write_tiny_voxel
from forgery import forge, read_metadata, write_metadata

from RelAPETLib.errors import ModelError
from RelAPETLib.models import fetch, import_release_checkpoint, load_model
from RelAPETLib.models.download import extract_bundle
from RelAPETLib.volumes import file_sha256


class Touch:
    """A pickle that makes a file when it is loaded by a reader that runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def canary(tmp_path):
    """A file that must never come to be."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code from a hostile file ran"


def test_the_hostile_pickle_is_hostile(tmp_path):
    """Otherwise the tests below could not fail."""
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


# Pickles


def as_checkpoint(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


HOSTILE_FILES = {
    "bare pickle": lambda path: pickle.dumps(Touch(path)),
    "oldest pickle": lambda path: pickle.dumps(Touch(path), protocol=0),
    "checkpoint": lambda path: as_checkpoint(Touch(path)),
    "weight": lambda path: as_checkpoint({"model_state_dict": {"out.2.conv.bias": Touch(path)}, "epoch": 99}),
    "epoch": lambda path: as_checkpoint({"model_state_dict": {}, "epoch": Touch(path)}),
    "old format": lambda path: as_checkpoint(
        {"model_state_dict": {}, "epoch": Touch(path)}, _use_new_zipfile_serialization=False
    ),
    "whole network": lambda path: as_checkpoint(torch.nn.Linear(2, 2)),
}


@pytest.mark.parametrize("kind", HOSTILE_FILES)
def test_a_hostile_pickle_runs_nothing(tmp_path, canary, kind, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    file = tmp_path / "epoch99_checkpoint.pt"
    file.write_bytes(HOSTILE_FILES[kind](canary))
    with pytest.raises(ModelError, match=r"nothing in it was run|damaged or not a PyTorch file"):
        import_release_checkpoint(file, tmp_path / "out")
    with pytest.raises(ModelError):
        fetch("rela-diffusion", from_file=file)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_unpacks_to_far_too_much_is_refused(tmp_path):
    """100 MB of zeros, packed into less than one."""
    file = tmp_path / "bomb.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        with archive.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(100):
                member.write(bytes(2**20))
    assert file.stat().st_size < 2**20
    with pytest.raises(ModelError, match="unpacks to more than 64 MiB"):
        import_release_checkpoint(file, tmp_path / "out")


# Bundles


@pytest.fixture
def bundle(tmp_path):
    return write_tiny_voxel(tmp_path / "bundle")


def shell(path):
    return f"$__import__('os').system(\"touch '{path}'\")"


HOSTILE_METADATA = {
    "expression in the title": lambda m, p: m.update(title=shell(p)),
    "expression in free text": lambda m, p: m["training_data"].update(more=[{"deep": shell(p)}]),
    "expression as argument": lambda m, p: m["network"]["arguments"].update(channels=shell(p)),
    "expression as key": lambda m, p: m.update(metrics={shell(p): 1}),
    "target in arguments": lambda m, p: m["network"]["arguments"].update(
        channels={"_target_": "os.system", "command": f"touch '{p}'"}
    ),
    "target in metrics": lambda m, p: m.update(metrics={"_target_": "os.system", "command": f"touch '{p}'"}),
    "target at the top": lambda m, p: m.update({"_target_": "os.system", "command": f"touch '{p}'"}),
    "other class": lambda m, p: m.update(network={"class": "os.system", "arguments": {"command": f"touch '{p}'"}}),
    "class by path": lambda m, p: m["network"].update({"class": "..models.release.VoxelDiffusion"}),
    "reference": lambda m, p: m.update(description="@network#arguments"),
    "file elsewhere": lambda m, p: m["weights"].update(file="/etc/passwd"),
}


@pytest.mark.parametrize("kind", HOSTILE_METADATA)
def test_hostile_metadata_run_nothing(bundle, canary, kind):
    def change(metadata):
        HOSTILE_METADATA[kind](metadata, canary)

    forge(bundle, change)
    with pytest.raises(ModelError) as raised:
        load_model(bundle)
    assert "\n" not in str(raised.value)


def test_files_beside_the_metadata_are_never_read(bundle, canary):
    hostile = {"imports": [shell(canary)], "network": {"_target_": "os.system", "command": f"touch '{canary}'"}}
    for name in ("inference.json", "train.json", "initialize.yaml"):
        (bundle / "configs" / name).write_text(json.dumps(hostile))
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes(pickle.dumps(Touch(canary)))
    (bundle / "__init__.py").write_text(f"import os\nos.system(\"touch '{canary}'\")\n")
    assert load_model(bundle).name == "tiny-voxel"


def test_a_pickle_in_place_of_the_weights_runs_nothing(bundle, canary):
    (bundle / "model.safetensors").write_bytes(as_checkpoint(Touch(canary)))
    metadata = read_metadata(bundle)
    metadata["weights"]["sha256"] = file_sha256(bundle / "model.safetensors")
    write_metadata(bundle, metadata)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(bundle)


# Archives


def pack(file, extra=(), top=""):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{top}configs/metadata.json", "{}")
        for member, content in extra:
            archive.writestr(member, content)
    return file


def link_to(target):
    member = zipfile.ZipInfo("model.safetensors")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member, str(target)


def test_a_plain_archive_is_unpacked(tmp_path):
    """Otherwise a refusal below would mean nothing."""
    extract_bundle(pack(tmp_path / "plain.zip", [("model.safetensors", "x")]), tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_text() == "x"
    assert (tmp_path / "out" / "configs" / "metadata.json").read_text() == "{}"


@pytest.mark.parametrize(
    "name",
    [
        "../canary",
        "configs/../../canary",
        "/tmp/canary",
        "C:\\canary",
        "..\\canary",
        "model.py",
        "configs/metadata.json",
        "MODEL.SAFETENSORS",
        "other/model.safetensors",
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_archive_with_a_foreign_member_is_refused(tmp_path, canary, name):
    file = pack(tmp_path / "hostile.zip", [(name, "x")])
    for unpack in (lambda: extract_bundle(file, tmp_path / "out"), lambda: fetch("rela-diffusion", from_file=file)):
        with pytest.raises(ModelError) as raised:
            unpack()
        assert str(raised.value).endswith(f"is not a zipped model: it holds '{name}'; refused")
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.zip"]


def test_an_archive_with_a_link_is_refused(tmp_path):
    file = pack(tmp_path / "hostile.zip", [link_to(tmp_path)])
    with pytest.raises(ModelError, match="is not a zipped model: it holds 'model.safetensors'"):
        extract_bundle(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("top", ["../", "./", "/tmp/", "a/b/", "C:/"])
def test_an_archive_whose_folder_is_elsewhere_is_refused(tmp_path, top):
    file = pack(tmp_path / "hostile.zip", top=top)
    with pytest.raises(ModelError, match="is not a zipped model: its metadata are at"):
        extract_bundle(file, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.zip"]


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("RelAPETLib.models.bundle.MAX_WEIGHTS_BYTES", 2**20)
    file = pack(tmp_path / "bomb.zip", [("model.safetensors", bytes(2**21))])
    assert file.stat().st_size < 10_000
    with pytest.raises(ModelError, match="unpacks to more than"):
        extract_bundle(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_that_is_longer_than_it_says_is_refused(tmp_path):
    file = pack(tmp_path / "liar.zip", [("model.safetensors", bytes(5000))])
    content = file.read_bytes()
    assert content.count((5000).to_bytes(4, "little")) == 2  # in the member's and in the central directory's header
    file.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(ModelError, match="damaged or encrypted zip archive"):
        extract_bundle(file, tmp_path / "out")


def test_a_damaged_archive_is_refused(tmp_path):
    file = pack(tmp_path / "damaged.zip", [("model.safetensors", os.urandom(5000))])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or encrypted zip archive"):
        extract_bundle(file, tmp_path / "out")
