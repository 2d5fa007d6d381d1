"""Hostile bundles, pickles and archives: nothing in them runs, nothing lands outside, and each is refused."""

import io
import json
import os
import pickle
import random
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from cases import write_tiny_voxel
from forgery import forge, read_metadata, write_metadata

from RelAPETLib.errors import ModelError, RelAPETError
from RelAPETLib.jsonfiles import parse_json
from RelAPETLib.models import fetch, import_model, import_release_checkpoint, load_model
from RelAPETLib.models.catalogue import load_catalogue
from RelAPETLib.models.download import extract_bundle
from RelAPETLib.saved_pet import read_synthetic_pet
from RelAPETLib.synthesis.reference import sidecar_units
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
    "expression as argument": lambda m, p: m["method"]["settings"]["network"]["arguments"].update(channels=shell(p)),
    "expression as key": lambda m, p: m.update(metrics={shell(p): 1}),
    "target in arguments": lambda m, p: m["method"]["settings"]["network"]["arguments"].update(
        channels={"_target_": "os.system", "command": f"touch '{p}'"}
    ),
    "target in metrics": lambda m, p: m.update(metrics={"_target_": "os.system", "command": f"touch '{p}'"}),
    "target at the top": lambda m, p: m.update({"_target_": "os.system", "command": f"touch '{p}'"}),
    "other class": lambda m, p: m["method"]["settings"].update(
        network={"class": "os.system", "arguments": {"command": f"touch '{p}'"}}
    ),
    "class by path": lambda m, p: m["method"]["settings"]["network"].update(
        {"class": "..models.release.VoxelDiffusion"}
    ),
    "method by path": lambda m, p: m["method"].update(name="..models.release"),
    "method elsewhere": lambda m, p: m["method"].update(name="os"),
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
    file = pack(tmp_path / "damaged.zip", [("model.safetensors", random.Random(5).randbytes(5000))])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or encrypted zip archive"):
        extract_bundle(file, tmp_path / "out")


@pytest.mark.parametrize("version", [63 + 1, 101, 255])
def test_an_archive_for_a_newer_zip_is_refused(tmp_path, version):
    file = pack(tmp_path / "newer.zip")
    content = bytearray(file.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 6] = version
    file.write_bytes(content)
    for work in (import_model, lambda file: import_model(file, tmp_path / "out"), lambda f: fetch("rela-diffusion", f)):
        with pytest.raises(ModelError) as raised:
            work(file)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match="damaged or encrypted zip archive"):
        extract_bundle(file, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["newer.zip"]


def test_an_encrypted_archive_is_refused(tmp_path):
    file = pack(tmp_path / "secret.zip")
    content = bytearray(file.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.rfind(mark) + offset] |= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="no sound zipped model .*encrypted"):
        import_model(file, tmp_path / "out")


@pytest.mark.parametrize("name", ["LICENSE", "configs/inference.json", "configs/metadata.json"])
def test_a_small_archive_with_a_huge_text_is_refused(tmp_path, name):
    """2 GB of zeros are 2 MB in an archive; the archive here only says so, which is what is believed first."""
    file = pack(tmp_path / "huge.zip", [] if name == "configs/metadata.json" else [(name, bytes(1_000_001))])
    if name == "configs/metadata.json":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, bytes(1_000_001))
    with pytest.raises(ModelError, match=f"'{name}' unpacks to more than 1000000 bytes; refused"):
        import_model(file, tmp_path / "out")


# Special files in a bundle's folder


def _link(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/etc/hostname")


def _pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def _huge(path):
    with open(path, "wb") as stream:
        stream.truncate(2**31 + 1)  # a sparse file


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("spoil", [_link, _pipe, _folder, _huge])
@pytest.mark.parametrize("name", ["LICENSE", "model.safetensors", "configs/metadata.json", "configs/inference.json"])
def test_a_bundle_holds_plain_files_of_some_size_only(tiny_latent, tmp_path, name, spoil):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_latent, bundle)
    spoil(bundle / name)
    for work in (load_model, lambda bundle: import_model(bundle, tmp_path / "out")):
        with pytest.raises(ModelError, match=r"special file; a model holds plain files only|bytes, more than"):
            work(bundle)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    for work in (import_model, lambda f: fetch("rela-diffusion", f), lambda f: import_release_checkpoint(f, "out")):
        with pytest.raises(ModelError, match="not a plain file"):
            work(tmp_path / "model.pt")


# Texts and numbers that a reader chokes on

HOSTILE_JSON = {
    "deep list": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep enough for a schema": "[" * 500 + "]" * 500,
    "infinite": '{"x": 1e999}',
    "minus infinite": '{"x": -1e999}',
    "not a number": '{"x": NaN}',
    "long integer": '{"x": ' + "1" * 5001 + "}",
    "integer beyond floats": '{"x": ' + "1" * 400 + "}",
    "integer beyond 64 bits": '{"x": 9223372036854775808}',
    "no UTF-8": b'{"x": "\xff"}',
    "cut": '{"x": ',
    "empty": "",
}


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_hostile_json_is_refused_wherever_json_is_read(tiny_latent, tmp_path, kind, monkeypatch):
    text = HOSTILE_JSON[kind]
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError):
        parse_json(content)
    file = tmp_path / "x.json"
    file.write_bytes(content)
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_latent, bundle)
    (bundle / "configs" / "metadata.json").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("configs/metadata.json", content)
    (tmp_path / "pet.json").write_bytes(content)
    (tmp_path / "pet.nii.gz").touch()
    works = {
        "metadata": lambda: load_model(bundle),
        "import": lambda: import_model(bundle, tmp_path / "out"),
        "zip": lambda: import_model(tmp_path / "x.zip", tmp_path / "out"),
        "catalogue": lambda: load_catalogue(file),
        "provenance": lambda: read_synthetic_pet(tmp_path / "pet.nii.gz", file),
        "sidecar": lambda: sidecar_units(tmp_path / "pet.nii.gz"),
    }
    if "infinite" in kind or "number" in kind or "integer" in kind:  # a sidecar's odd numbers are read as null
        assert works.pop("sidecar")() is None
    for where, work in works.items():
        with pytest.raises(RelAPETError) as raised:
            work()
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 500, where


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(tmp_path):
    """2 kB that would be four terabytes, and one storage seen a thousand times."""
    whole = torch.zeros(2**18)
    many = {f"t{i}": whole.view(512, 512) for i in range(100)}
    for weights in ({"a": torch.zeros(1).expand(2**40)}, many):
        file = tmp_path / "claims.pt"
        torch.save({"model_state_dict": weights, "epoch": 1}, file)
        with pytest.raises(ModelError, match="claims more values than the file holds"):
            import_release_checkpoint(file, tmp_path / "out")


def test_the_true_cause_is_named(tiny_latent, tmp_path):
    file = tmp_path / "model.pt"
    torch.save({"model_state_dict": {"module.a": torch.zeros(2), "module.b": torch.zeros(2)}, "epoch": 1}, file)
    with pytest.raises(ModelError, match=r"begin with 'module\.', as PyTorch's DataParallel"):
        import_model(file)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    file.write_bytes(pointer)
    for work in (import_model, lambda f: fetch("rela-diffusion", f)):
        with pytest.raises(ModelError, match=r"model\.pt is a Git LFS pointer, .* 'git lfs pull'"):
            work(file)
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_latent, bundle)
    (bundle / "model.safetensors").write_bytes(pointer)
    with pytest.raises(ModelError, match=r"model\.safetensors is a Git LFS pointer"):
        load_model(bundle)


def test_a_mutated_model_is_taken_or_refused(tiny_latent, tmp_path, monkeypatch):
    """A slice of Testing/benchmarks/robustness_bundles.py."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setenv("RELAPET_HOME", "restored afterwards")
    robustness_bundles = pytest.importorskip("robustness_bundles", exc_type=ImportError)  # fork and limits: POSIX
    counts, wrong = robustness_bundles.fuzz(tiny_latent, tmp_path, 12, seed=7)
    assert wrong == [] and sum(counts.values()) == 12
