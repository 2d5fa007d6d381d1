"""What the training step is held against: the published implementation's own loop, called as it stands."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "Testing" / "benchmarks" / "train_step.py"
#: A loop and a network with the published ones' names and arguments, which spoils its batch and writes a checkpoint.
TRAIN = """
from pathlib import Path
import torch

def train(*, model, discriminator, scheduler, inferer, adv_loss, optimizer, optimizer_d, train_loader, device, n_epochs,
          warmup_epochs, adv_weight):
    print("a word of its own")
    for epoch in range(n_epochs):
        for step, batch in zip(range(len(train_loader)), train_loader):
            image = batch["target_modality"]["data"].to(device)
            assert epoch + 1 > warmup_epochs and adv_weight == 1.0 and batch["label"].tolist() == [2]
            assert image.shape == batch["source_1"]["data"].shape == batch["source_2"]["data"].shape == (1, 1, 6, 8, 4)
            assert image.abs().max() > 0, "spoilt by the step before"
            optimizer.zero_grad()
            model(image).square().mean().backward()
            optimizer.step()
            image.zero_()
        Path("written").mkdir()
"""
MODELING = """
import torch

class DiffusionModelUNet(torch.nn.Conv3d):
    def __init__(self, use_flash_attention):
        assert not use_flash_attention, "needs a GPU"
        super().__init__(1, 1, 1)

def build(device):
    model = DiffusionModelUNet(use_flash_attention=True).to(device)
    adam = torch.optim.Adam(model.parameters())
    return model, None, None, None, None, adam, None
"""


def called(*words, told=""):
    command = [sys.executable, str(SCRIPT), "--shapes", "6x8x4", *map(str, words)]
    return subprocess.run(command, input=told, capture_output=True, text=True, cwd=ROOT)


def test_its_own_loop_takes_a_step_when_told_to(tmp_path):
    package = tmp_path / "RelADiff" / "mri_pet_synth"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "train.py").write_text(TRAIN)
    (package / "modeling.py").write_text(MODELING)
    done = called("--side", "release", "--release", tmp_path, told="step\nstep\n")
    assert done.returncode == 0, done.stderr
    *steps, peak = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(steps) == 2 and all(len(step) == 2 and step[0] > 0 for step in steps) and 0.05 < peak[0] < 5
    assert not (ROOT / "written").exists() and not (tmp_path / "written").exists(), "its checkpoints are not wanted"


def test_a_folder_that_is_no_checkout_is_one_line(tmp_path):
    done = called("--release", tmp_path)
    assert done.returncode and done.stderr == f"{tmp_path}: no checkout of the published implementation " + (
        "(mri_pet_synth/train.py)\n"
    )
