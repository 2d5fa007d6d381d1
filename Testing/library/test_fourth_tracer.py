"""A fourth tracer is one entry in ``RelAPETLib/tracers.py`` and a trained model: FDG, added to a copy of the tree."""

import ast
import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from copied_tree import ROOT, call, copy_tree, git
from training_runs import COMMON

from RelAPETLib.phantom.people import make_person
from RelAPETLib.tracers import TRACERS

ENTRY = """\
        Tracer(
            name="FDG",
            label=4,
            radiopharmaceutical="18F-FDG (fluorodeoxyglucose)",
            target="glucose metabolism",
            bids=("FDG", "18FFDG"),
            suvr_window=(0.0, 2.5),
            display_window=(0.0, 2.0),
            reference_region="cerebellar_grey",
            citations=(),
            dicom_code=("35321007", "SCT", "Fluorodeoxyglucose F^18^"),
        ),
    )
}"""
#: Of this seed's people the first two were scanned with FDG.
SEED = 0
#: Laws of uptake, which know their tracers by name.
LAWS = {"RelAPETLib/phantom/law1.py", "RelAPETLib/phantom/law2.py"}
#: Files that take TAU where nothing is asked for.
DEFAULTS = {"RelAPETLib/cli/demo.py", "RelAPET/RelAPETModule/selftest.py", "training/assets/make_icon.py"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The tree with the entry in it."""
    tree = copy_tree(tmp_path_factory.mktemp("copy") / "RelAPET")
    file = tree / "RelAPETLib/tracers.py"
    text = file.read_text(encoding="utf-8")
    assert text.count("        ),\n    )\n}") == 1
    file.write_text(text.replace("        ),\n    )\n}", f"        ),\n{ENTRY}"), encoding="utf-8")
    return tree


@pytest.fixture(scope="module")
def people(copy, tmp_path_factory) -> Path:
    """Two simulated people as a BIDS data set."""
    out = tmp_path_factory.mktemp("fourth") / "people"
    call(copy, "RelAPETLib", "phantom", "--subjects", 2, "--seed", SEED, "--out", out)
    return out


@pytest.fixture(scope="module")
def rendered(copy, tmp_path_factory) -> Path:
    """A cache of blocks of eight simulated people."""
    out = tmp_path_factory.mktemp("fourth_rendered") / "cache"
    call(copy, "training", "prepare", "--rendered", 8, "--rendered-seed", SEED, "--factor", 10, "--out", out)
    return out


@pytest.fixture(scope="module")
def bundle(copy, rendered, tmp_path_factory) -> Path:
    """A little diffusion of all four tracers, trained for two steps."""
    out = tmp_path_factory.mktemp("fourth_run")
    words = [*COMMON, "method=ddpm", f"data.cache={rendered}", f"out={out / 'run'}", "network.factor=10"]
    words += ["preset.global_batch=2", "hardware.micro_batch=2", "run.steps=2", "run.validate_every=2"]
    words += ["run.validation_steps=2", "run.validation_volumes=1", "run.checkpoint_every=2"]
    call(copy, "training", "train", *words)
    checkpoint = out / "run" / "checkpoints" / "step-00000002.pt"
    call(copy, "training", "export", "--checkpoint", checkpoint, "--out", out / "bundle", "--name", "four")
    return out / "bundle"


@pytest.mark.slow
def test_the_phantom_makes_its_pet_and_leaves_the_others_alone(people):
    for subject in ("sub-0000", "sub-0001"):
        (file,) = (people / subject / "pet").glob("*_trc-FDG_pet.json")
        sidecar = json.loads(file.read_text())
        assert sidecar["TracerName"].startswith("18F-FDG") and sidecar["TracerRadionuclide"] == "F18"
        assert file.with_suffix("").with_suffix(".nii.gz").is_file()
    with open(people / "participants.tsv", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    columns = json.loads((people / "participants.json").read_text())
    assert "atrophy" in columns["amplitude_FDG"]["Description"]
    for index, row in enumerate(rows):
        assert row["scanned_FDG"] == "yes" and float(row["suvr_FDG_frontal"]) > float(row["suvr_FDG_white_matter"])
        for tracer, uptake in make_person(SEED, index).uptake.items():
            assert float(row[f"suvr_{tracer}_frontal"]) == round(uptake.regional["frontal"], 4), "changed by FDG"


@pytest.mark.slow
def test_rendered_people_of_it_are_prepared(rendered):
    index = json.loads((rendered / "index.json").read_text())
    scans = [tracer for case in index["cases"] for tracer in case["pets"]]
    assert scans.count("FDG") >= 4 and {"TAU", "PIB", "PBR"} < set(scans)
    assert index["windows"]["FDG"] == [0.0, 2.5]


@pytest.mark.slow
def test_a_bids_data_set_of_it_is_prepared(copy, grid_case, tmp_path):
    """Volumes on the model grid, so that nothing is registered; a spelling of one's own in the name."""
    import nibabel as nib

    source = tmp_path / "bids"
    for number, subject in enumerate(("sub-1", "sub-2", "sub-3")):
        for part, name, key in (("anat", "T1w", "t1w"), ("anat", "FLAIR", "t2f"), ("pet", "trc-18FFDG_pet", "pet")):
            (source / subject / part).mkdir(parents=True, exist_ok=True)
            volume = nib.load(grid_case[key])
            data = volume.get_fdata(dtype=np.float32)
            data[60:70, 90:100, 80:90] *= 1 + 0.02 * number  # or they were one person
            nib.save(nib.Nifti1Image(data, volume.affine), source / subject / part / f"{subject}_{name}.nii.gz")
        sidecar = {"Units": "unitless", "QuantityDescription": "SUVR"}
        (source / subject / "pet" / f"{subject}_trc-18FFDG_pet.json").write_text(json.dumps(sidecar))
    (source / "dataset_description.json").write_text(json.dumps({"Name": "three", "BIDSVersion": "1.9.0"}))
    out = tmp_path / "cache"
    words = ["--preprocessed", "--units", "suvr", "--factor", 10, "--workers", 1, "--out", out]
    call(copy, "training", "prepare", "--source", source, *words)
    index = json.loads((out / "index.json").read_text())
    assert [list(case["pets"]) for case in index["cases"]] == [["FDG"]] * 3


@pytest.mark.slow
def test_a_model_of_it_is_trained_and_described(copy, bundle, tmp_path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["tracers"]["FDG"]["label"] == 4 and metadata["tracers"]["FDG"]["window"] == [0.0, 2.5]
    assert metadata["method"]["settings"]["network"]["arguments"]["num_class_embeds"] == 5
    assert metadata["training_data"]["scans"]["FDG"] >= 1
    call(copy, "RelAPETLib", "models", "import", bundle, home=tmp_path)
    (line,) = [
        text for text in call(copy, "RelAPETLib", "models", "list", home=tmp_path).splitlines() if "four" in text
    ]
    assert line


@pytest.mark.slow
def test_its_pet_goes_to_dicom(copy, bundle, grid_case, tmp_path):
    inputs = ["--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "18ffdg"]
    how = ["--model", bundle, "--device", "cpu", "--steps", 1, "--samples", 1, "--no-report", "--yes"]
    call(copy, "RelAPETLib", "synthesize", *inputs, *how, "--out", tmp_path / "pet")
    record = json.loads((tmp_path / "pet" / "synthetic_pet.json").read_text())
    assert record["tracer"]["name"] == "FDG" and record["pet"]["units"] == "SUVR"
    pet = tmp_path / "pet" / "synthetic_pet.nii.gz"
    call(copy, "RelAPETLib", "dicom", "--pet", pet, "--out", tmp_path / "dicom")
    (file,) = [f for f in (tmp_path / "dicom").rglob("*.dcm") if "Parametric" in pydicom.dcmread(f).SOPClassUID.name]
    shared = pydicom.dcmread(file).SharedFunctionalGroupsSequence[0]
    _, whose = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence
    (item,) = whose.ConceptCodeSequence
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("35321007", "SCT")
    window = shared.FrameVOILUTSequence[0]
    assert (float(window.WindowCenter), float(window.WindowWidth)) == (1.0, 2.0)


@pytest.mark.slow
def test_the_panel_shows_it(copy):
    """The module of the copy in the tests' stand-in of Slicer: what is shown, what the scene keeps."""
    probe = copy / "Testing" / "library" / "test_probe.py"
    probe.write_text(
        "def test_probe(widget):\n"
        "    box = widget.ui.tracerSelector\n"
        "    shown = [box.itemText(number) for number in range(box.count)]\n"
        "    assert [text.split(':')[0] for text in shown[:4]] == ['TAU', 'PIB', 'PBR', 'FDG']\n"
        "    assert shown[4:] == ['all tracers of the model']\n"
        "    assert shown[3] == 'FDG: glucose metabolism, 18F-FDG (fluorodeoxyglucose)'\n"
        "    assert widget.parameters.tracer.name == 'TAU'\n"
        "    box.currentIndex = 3\n"
        "    assert widget.parameters.parameterNode.GetParameter('tracer') == 'FDG'\n"
        "    assert \"model 'demo' has no FDG\" in widget.ui.synthesizeButton.toolTip\n",
        encoding="utf-8",
    )
    assert "1 passed" in call(copy, "pytest", "-q", probe)


@pytest.mark.slow
def test_what_was_made_before_goes_on(copy, tiny_latent, grid_case, tmp_path):
    """The shipped model and an old bundle, whose networks know three labels."""
    call(copy, "pytest", "-q", "Testing/library/test_own_models.py", "-m", "not slow")
    inputs = ["--preprocessed", "--t1w", grid_case["t1w"], "--t2f", grid_case["t2f"], "--tracer", "TAU"]
    for name, model in (("old", tiny_latent), ("demo", "demo")):
        how = ["--model", model, "--device", "cpu", "--steps", 1, "--samples", 1, "--no-report"]
        call(copy, "RelAPETLib", "synthesize", *inputs, *how, "--out", tmp_path / name)
        assert (tmp_path / name / "synthetic_pet.nii.gz").is_file()


def test_a_regression_has_room_for_a_label_that_is_no_tracers():
    from RelAPETLib.methods.rela.regression import LatentDiffusion
    from training.methods.rela.latent.ridge import fit_head

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 4], 6)
    features = rng.normal(size=(24, 5)).astype(np.float32)
    latents = torch.from_numpy(rng.normal(labels[:, None], 1, (24, 2 * 1200)).reshape(24, 2, 10, 12, 10)).float()
    head = fit_head(features, latents, labels, 5, 2, lambda words: None)
    network = LatentDiffusion(
        2, (16, 16), (16, 16), components=2, head_features=5, brain_voxels=8, schedule={}, labels=5
    )
    for name, buffer in head.buffers.items():
        getattr(network, name).copy_(buffer)
    network.head_index.copy_(torch.arange(5))
    found = network.head(torch.from_numpy(features))
    assert found.shape == (24, 5, 2, 10, 12, 10) and torch.isfinite(found).all()
    assert not found[:, 3].any() and found[:, 4].abs().mean() > 0.1
    assert network.unet.class_embedding.num_embeddings == 5
    again = network.whiten(network.whiten(latents, torch.from_numpy(labels)), torch.from_numpy(labels), inverse=True)
    torch.testing.assert_close(again, latents, rtol=1e-3, atol=1e-3)


def test_nothing_else_names_tracers():
    named = []
    for name in git("ls-files", "*.py").splitlines():
        if name.split("/")[0] not in ("RelAPETLib", "RelAPET", "training") or name == "RelAPETLib/tracers.py":
            continue
        allowed = set(TRACERS) if name in LAWS else {"TAU"} if name in DEFAULTS else set()
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in {*TRACERS} - allowed:
                named.append(f"{name}:{node.lineno} {node.value}")
    schemas = git("ls-files", "Resources/*.schema.json").splitlines()
    assert schemas
    named += [f"{s} {t}" for s in schemas for t in TRACERS if f'"{t}"' in (ROOT / s).read_text(encoding="utf-8")]
    assert not named
