"""The published implementation's own training loop, one step at a time, from a checkout that is not part of this one.

Its `mri_pet_synth.train.train` is called as it stands, with its own networks, scheduler, loss and optimisers
(`mri_pet_synth.modeling.build`) and a loader that gives a batch whenever it is told to. It needs torchmetrics (1.2.0)
beside the packages of ours. Of what it imports, lpips and torchvision belong to a loss that its training does not use,
and are stood in for where they are not installed; attention by xformers is for GPUs, and is left out on a CPU.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

#: Modules that its perceptual loss imports, with the names that it asks for.
UNUSED = {
    "lpips": ("LPIPS",),
    "torchvision": (),
    "torchvision.models": ("ResNet50_Weights", "resnet50"),
    "torchvision.models.feature_extraction": ("create_feature_extractor",),
}


class _Ended(Exception):
    """Ends the loop before it writes a checkpoint."""


class _Told:
    """A loader of one batch, again and again: one for every line, and its seconds once the next one is asked for."""

    def __init__(self, batch: dict, lines: Iterator[str], took: Callable[[float, float], None]):
        self._batch, self._lines, self._took = batch, lines, took

    def __len__(self) -> int:
        return 1_000_000

    def __iter__(self) -> Iterator[dict]:
        for _ in self._lines:
            began, busy = time.perf_counter(), time.process_time()
            yield copy.deepcopy(self._batch)
            self._took(time.perf_counter() - began, time.process_time() - busy)
        raise _Ended


def folder_of(release: Path) -> Path:
    """Where a checkout has its packages."""
    for folder in (release, release / "RelADiff"):
        if (folder / "mri_pet_synth" / "train.py").exists():
            return folder
    raise SystemExit(f"{release}: no checkout of the published implementation (mri_pet_synth/train.py)")


def _stand_in() -> None:
    with contextlib.suppress(ImportError):  # it looks for some of them, and must not find what is made here
        import torchmetrics.functional.image  # noqa: F401

    for name, wanted in UNUSED.items():
        if name.partition(".")[0] not in sys.modules and importlib.util.find_spec(name.partition(".")[0]):
            continue
        sys.modules.setdefault(name, types.ModuleType(name))
        for word in wanted:
            setattr(sys.modules[name], word, None)
    import monai

    if not hasattr(monai.config, "IgniteInfo"):  # moved since MONAI 1.3, which the release asks for
        monai.config.IgniteInfo = monai.utils.IgniteInfo


def take_steps(
    release: Path, shape: tuple[int, ...], device: str, lines: Iterator[str], took: Callable[[float, float], None]
) -> None:
    """A step of the published loop, adversarial part on, batch 1, for every line.

    Args:
        release: a checkout of its repository.
        shape: X, Y, Z of the images.
        device: cpu or cuda.
        lines: each asks for a step.
        took: called after each with its seconds by the clock and of the processor.
    """
    import torch

    sys.path.insert(0, str(folder_of(release).resolve()))
    _stand_in()
    from mri_pet_synth import modeling
    from mri_pet_synth.train import train

    network = modeling.DiffusionModelUNet
    if device == "cpu":
        modeling.DiffusionModelUNet = lambda **told: network(**told | {"use_flash_attention": False})
    names = "model", "discriminator", "scheduler", "inferer", "adv_loss", "optimizer", "optimizer_d"
    parts = dict(zip(names, modeling.build(torch.device(device)), strict=True))
    images = {name: {"data": torch.rand(1, 1, *shape) * 2 - 1} for name in ("source_1", "source_2", "target_modality")}
    loader = _Told(images | {"label": torch.tensor([2])}, lines, took)
    told = functools.partial(train, n_epochs=1, warmup_epochs=0, adv_weight=1.0, device=torch.device(device))
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(_Ended):
        os.chdir(scratch)
        try:
            told(train_loader=loader, **parts)
        finally:
            os.chdir(home)
