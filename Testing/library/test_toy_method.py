"""A method of one's own touches its two folders, two registry lines and the CMake list: a toy, added to a copy.

The toy stands in ``Testing/toy_method/``. README's "A method of your own" names the lines that are added here.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as cases
from copied_tree import add_below, call, copy_tree, git

from training.data.split import explicit_split

TOY = Path(__file__).parents[1] / "toy_method"
#: (file, the line that is there, the line that is added below it)
LINES = [
    ("RelAPETLib/methods/__init__.py", '    "rela": "RelaDiffusion",', '    "toy": "Toy",'),
    (
        "training/methods/__init__.py",
        '    "rela": ("rela", "rela_latent", "ficd", "ddpm", "ldm"),',
        '    "toy": ("toy",),',
    ),
    ("RelAPETLib/CMakeLists.txt", "  methods/schema.py", "  methods/toy/__init__.py\n  methods/toy/network.py"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The tree with the toy in it."""
    tree = copy_tree(tmp_path_factory.mktemp("copy") / "RelAPET")
    shutil.copytree(TOY / "library", tree / "RelAPETLib/methods/toy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOY / "training", tree / "training/methods/toy", ignore=shutil.ignore_patterns("__pycache__"))
    for name, there, added in LINES:
        add_below(tree / name, there, added)
    git("init", "-q", folder=tree)
    git("add", "-A", folder=tree)
    return tree


@pytest.fixture(scope="module")
def cache(tmp_path_factory, grid_case) -> Path:
    """Five subjects, one of them for validation and one for the test."""
    folder = tmp_path_factory.mktemp("toy_cache")
    people = ["a", "b", "c", "d", "e"]
    rows = [(subject, tracer) for subject, tracer in zip(people, ("TAU", "PIB", "TAU", "TAU", "TAU"), strict=True)]
    cases.prepared(cases.write_table(folder, grid_case, rows), folder / "cache")
    split = {"train": people[:3], "validation": ["d"], "test": ["e"]}
    explicit_split(people, split).save(folder / "cache" / "split.json")
    return folder / "cache"


@pytest.fixture(scope="module")
def trained(copy, cache, tmp_path_factory) -> Path:
    """A run in two parts, and its bundle."""
    out = tmp_path_factory.mktemp("toy_run")
    words = ["method=toy", f"data.cache={cache}", f"out={out / 'run'}", "network.factor=10", "run.validate_every=20"]
    words += ["run.log_every=20", "data.workers=0", "hardware.accelerator=cpu", "method.rate=0.1"]
    for steps in (20, 60):
        call(copy, "training", "train", *words, f"run.steps={steps}")
    checkpoint = out / "run" / "checkpoints" / "step-00000060.pt"
    call(copy, "training", "export", "--checkpoint", checkpoint, "--out", out / "bundle", "--name", "my-toy")
    return out


@pytest.mark.slow
def test_it_trains_goes_on_and_is_validated(trained):
    lines = [json.loads(line) for line in (trained / "run" / "log.jsonl").read_text().splitlines()]
    errors = [line["L1"] for line in lines if line["group"] == "train"]
    judged = [(line["step"], line["psnr"]) for line in lines if line["group"] == "validation"]
    assert len(errors) == 3 and errors[-1] < errors[0]
    assert [step for step, _ in judged] == [10, 20, 40, 60] and judged[-1][1] > judged[0][1]


@pytest.mark.slow
def test_help_and_dry_run_know_it(copy, cache, tmp_path):
    said = call(copy, "training", "train", "method=toy", "--help")
    assert "rela|rela_latent|ficd|ddpm|ldm|toy" in said and "learning rate" in said and "discriminator" not in said
    words = ["method=toy", f"data.cache={cache}", f"out={tmp_path / 'run'}", "network.factor=10", "data.workers=0"]
    said = call(copy, "training", "train", *words, "hardware.accelerator=cpu", "--dry-run")
    assert "parameters: network " in said and "time of the whole run" in said and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_its_bundle_says_what_it_is(trained):
    metadata = json.loads((trained / "bundle" / "configs" / "metadata.json").read_text())
    assert metadata["method"] == {"name": "toy", "settings": {"factor": 10}}
    assert "saw 180 images" in metadata["description"] and metadata["title"] == "Toy on simulated data"


@pytest.mark.slow
def test_it_is_imported_listed_and_draws_the_test_subjects_pet(copy, cache, trained, tmp_path):
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.volumes import read_volume
    from training.data.cache import open_cache

    call(copy, "RelAPETLib", "models", "import", trained / "bundle", home=tmp_path)
    assert "my-toy" in call(copy, "RelAPETLib", "models", "list", home=tmp_path)
    call(copy, "training", "sample", "--bundle", "my-toy", "--cache", cache, "--out", tmp_path / "pet", home=tmp_path)
    (file,) = (tmp_path / "pet").glob("*.nii.gz")
    made, inside = image_to_array(read_volume(file)), open_cache(cache).mask()
    assert made.shape == (160, 180, 160) and not made[~inside].any()
    error = made[inside] - expected(trained / "bundle", open_cache(cache))[inside]
    assert abs(error.mean()) < 0.002 and 0.003 < error.std() < 0.016  # noise of .015 SUVR a block, interpolated


def expected(bundle: Path, cache) -> np.ndarray:
    """The toy's PET of subject e in SUVR without noise, from its weights."""
    from safetensors.torch import load_file

    weights = load_file(bundle / "model.safetensors")
    volumes = [torch.from_numpy(cache.array("e", name).astype(np.float32)) for name in ("t1w", "t2f")]
    t1w, t2f = torch.nn.functional.avg_pool3d(torch.stack(volumes)[None], 10)[0]
    a, b, c = weights["mix.weight"].flatten()
    coarse = torch.tanh(a * t1w + b * t2f + c * weights["tracer.weight"][2] + weights["mix.bias"])
    whole = torch.nn.functional.interpolate(coarse[None, None], cache.shape, mode="trilinear")[0, 0]
    return ((whole + 1) * 1.5).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("test", ["test_packaging.py", "test_imports.py"])
def test_the_copy_is_in_order(copy, test):
    call(copy, "pytest", "-q", "-m", "not slow", f"Testing/library/{test}")
