"""The seam between the library and its methods: what a bundle says of its method, and who may know one by name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forgery import forge, read_metadata

import RelAPETLib
from RelAPETLib.errors import ModelError
from RelAPETLib.methods import METHODS, UNNAMED, method_class
from RelAPETLib.methods.base import Defaults, DrawOptions, Method
from RelAPETLib.models import import_model, load_model, show
from RelAPETLib.models.metadata import check_metadata, method_of
from RelAPETLib.resources import resources_dir

ROOT = Path(RelAPETLib.__file__).parent.parent


def as_version_1(metadata):
    """What the library wrote before methods had names: the settings beside everything else, and a kind."""
    settings = metadata.pop("method")["settings"]
    kind = "voxel" if settings["network"]["class"] == "VoxelDiffusion" else "latent"
    metadata |= {"schema_version": 1, "kind": kind, **settings}


@pytest.fixture
def version_1(tiny_latent, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(tiny_latent, folder)
    forge(folder, as_version_1)
    return folder


def drawn(model):
    """Two samples of one step, of an MRI that is the same at every call."""
    mri = torch.rand((1, 2, 160, 180, 160), generator=torch.Generator().manual_seed(1)) * 2 - 1
    start = torch.randn((2, *model.method.diffusion_shape), generator=torch.Generator().manual_seed(2))
    encoded = model.method.encode(mri)
    return model.method.draw(encoded, 2, 2, DrawOptions("dpmpp", 2), lambda index, shape: start).numpy()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_whole(name):
    method = method_class(name)
    assert issubclass(method, Method) and method.name == name and method.title
    assert method.schema["additionalProperties"] is False
    assert not method.__abstractmethods__


def test_what_models_may_be_told_is_known_without_torch():
    """The panel asks in Slicer's own process, where loading torch would be felt."""
    script = (
        "import sys; from RelAPETLib.methods import METHODS, method_class; method_class('flows').defaults_of("
        "{'arguments': {'clinical': True}, 'path': {'kind': 'bridge'}, 'steps': 3, 'samples': 2}); "
        "[method_class(name).defaults_of for name in METHODS]; raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120).returncode == 0


def test_a_bundle_of_version_1_loads_and_draws_the_same(version_1, tiny_latent):
    old, new = load_model(version_1), load_model(tiny_latent)
    assert "method" not in read_metadata(version_1) and read_metadata(version_1)["kind"] == "latent"
    assert old.metadata["schema_version"] == 1 and new.metadata["schema_version"] == 2
    assert method_of(old.metadata) == method_of(new.metadata) and old.method.defaults == new.method.defaults
    np.testing.assert_array_equal(drawn(old), drawn(new))


def test_a_bundle_of_version_1_is_imported_and_shown(version_1, tmp_path, monkeypatch):
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "home"))
    import_model(version_1)
    assert show("tiny-latent")["method"] == "rela"


def test_the_shipped_demo_says_which_method_it_is():
    metadata = json.loads((resources_dir() / "models" / "demo" / "configs" / "metadata.json").read_text("utf-8"))
    check_metadata(metadata, "the demo")
    name, settings = method_of(metadata)
    assert name in METHODS and settings.keys() <= method_class(name).schema["properties"].keys()
    assert show("demo")["method"] == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["sampler"].update(colour="red"), r"not valid at \$\.sampler: "),
        (lambda m: m.pop("schedule"), "'schedule' is a required property"),
        (lambda m: m["schedule"].update(beta_start=0.5), r"\$\.schedule: beta_start is larger than beta_end"),
        (lambda m: m.update(method={"name": "rela", "settings": {}}), "not valid at "),
        (lambda m: m.update(surprise=1), "surprise"),
    ],
)
def test_version_1_is_as_strict_as_it_was(version_1, change, message):
    forge(version_1, change)
    with pytest.raises(ModelError, match=message) as raised:
        load_model(version_1)
    assert "\n" not in str(raised.value)


def test_a_method_that_draws_at_once_has_no_sampler():
    assert Defaults().sampler is None and Defaults().longest == 1


#: Where a method's name or network may stand outside its folder, and why.
KNOWN = {
    "RelAPETLib/methods/__init__.py": "the registry",
    "RelAPETLib/models/release.py": "imports the authors' checkpoint, which is of this method",
}
NAMES = re.compile(
    r"VoxelDiffusion|LatentDiffusion|AutoencodedDiffusion|RelaDiffusion|methods\.rela"
    r"|[\"'](voxel|latent|rela)[\"']|\bkind\b.{0,8}(voxel|latent)"
)


def test_nobody_but_the_registry_and_the_folder_knows_a_method():
    """Neither the method nor its networks, in any form: what one method is must be asked of it."""
    files = [*ROOT.glob("RelAPETLib/**/*.py"), *ROOT.glob("RelAPET/**/*.py")]
    assert len(files) > 100
    found = {}
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        if not name.startswith("RelAPETLib/methods/rela/") and (match := NAMES.search(file.read_text("utf-8"))):
            found[name] = match.group()
    assert found.keys() == KNOWN.keys(), found
    assert UNNAMED in METHODS
