"""The stage before MRI2PET's training: the same network on MRI alone, whose targets are MRI in the style of a PET."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset

from RelAPETLib.errors import InputError

from ... import checkpoints
from ...config import flatten, layout
from ...data.cache import open_cache
from ...data.mri_dataset import MriDataset
from ...data.split import FILE, load_split
from ...errors import ConfigError
from ...plans import Plan, stage_plan
from ...stream import STYLE, random_of
from ...trainer import RunData, Trainer
from ..base import Losses, Place, Terms, Work
from .config import Mri2PetConfig
from .noise import Noise
from .style import brain_of, styled

FOLDER, NAME = "pretraining", "style-transferred pre-training"
#: Keys of the configuration that this training depends on.
SHAPING = ("seed", "method.", "preset.", "network.", "pretrain.", "data.augment", "data.drop_t2f", "run.weight_decay",
           "run.clip_gradients", "run.learning_rate", "run.warmup_steps")  # fmt: skip
#: Of them, what earlier checkpoints do not say.
UNSAID = ("data.drop_t2f",)
#: Those that only the training afterwards depends on.
_NOT_SHAPING = ("method.laplacian_weight", "method.image_weight", "method.pretrained", "preset.image_weight",
                "preset.sampler", "preset.sampler_steps", "preset.sampler_clip", "preset.epochs")  # fmt: skip


class StyledMri(Dataset):
    """MRI, each with a PET of somebody for its style: ``style`` and its person's T1w ``style_t1w``.

    Args:
        mri: items with ``t1w``, ``t2f`` and ``subject``.
        scans: items with ``t1w``, ``pet`` and ``label``; a random one gives the style.
        seed: of the choice, which follows from it and the place in the stream; an index is (index, place).
        draws: the MRI take such indices too, for their augmentation.
    """

    def __init__(self, mri: Dataset, scans: Dataset, seed: int, draws: bool = False):
        self.mri, self.scans, self.seed, self.draws = mri, scans, seed, draws

    def __len__(self) -> int:
        return len(self.mri)

    def __getitem__(self, index: tuple[int, int]) -> dict:
        number, place = index
        chosen = int(random_of(self.seed, place, STYLE).integers(len(self.scans)))
        own, style = self.mri[index if self.draws else number], self.scans[chosen]
        return {
            **{name: own[name] for name in ("t1w", "t2f", "subject")},
            "style": style["pet"],
            "style_t1w": style["t1w"],
            "label": style["label"],
        }


class OnePerCase(Dataset):
    """The items of a data set of scans, one a case: a case with several tracers has its MRI once."""

    def __init__(self, scans: Dataset):
        self.scans = scans
        items = getattr(scans, "items", range(len(scans)))
        cases = {getattr(item, "case", item): place for place, item in reversed(list(enumerate(items)))}
        self.places = sorted(cases.values())

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        if isinstance(index, tuple):
            return self.scans[self.places[index[0]], index[1]]
        return self.scans[self.places[index]]


class Pretraining(Noise):
    """The noise (or v, or x0) of MRI in the style of a PET, told the MRI itself: the first term of eq. 4 alone."""

    def losses(self, batch: dict, place: Place) -> tuple[Losses, Terms]:
        """See `Objective.losses`. The label is that of the PET that gives the style."""
        t1w, pet, pet_t1w = (batch[name].to(self.fabric.device) for name in ("t1w", "style", "style_t1w"))
        with torch.autocast(t1w.device.type, enabled=False):
            x0 = styled(t1w, brain_of(t1w), pet, brain_of(pet_t1w))
        *_, target, made = self.predicted(x0, batch, place)
        loss = functional.mse_loss(made, target)
        return {"network": loss}, {"L_eps": loss.detach()}


def pretrained(work: Work, config: Mri2PetConfig) -> tuple[bool, dict[str, torch.Tensor] | None]:
    """Pre-train, or take what this or another run has pre-trained.

    Returns:
        Whether the training can begin (False when asked to stop before), and the weights that it starts from: None
        where there is no pre-training, or where the training has begun and its checkpoints have weights of their own.

    Raises:
        ConfigError: no usable pre-training where `method.pretrained` says, or MRI that cannot be used.
        ResumeError, DivergedError: as the training does.
    """
    if work.fabric.broadcast(bool(checkpoints.saved(Path(config.out)))):
        return True, None
    if config.method.pretrained:
        return True, of_another_run(Path(config.method.pretrained), config, work.data)
    if not config.pretrain_steps:
        return True, None
    mri = mri_of(config, work.data)
    plan = plan_of_stage(config, work.fabric.world_size, mri.cache.sha256 if config.pretrain.cache else "")
    work.fabric.print(f"{NAME}: {plan.steps} steps on {len(mri)} MRI in {plan.out}")
    scans = work.data.train
    styles = StyledMri(mri, scans, config.seed, work.data.draws and not config.pretrain.cache)
    data = RunData(styles, None, work.data.split_sha256, draws=True, volumes_sha256=work.data.volumes_sha256)
    trainer = Trainer(work.fabric, Pretraining(config), data, plan, work.quiet, work.origin)
    if trainer.train(work.stop):
        return False, None
    return True, _weights(*checkpoints.latest(plan.out))


def plan_of_stage(config: Mri2PetConfig, ranks: int, mri: str) -> Plan:
    """Steps, batch and rhythm of the pre-training: those of the training, but for its length.

    Args:
        mri: hash of the cache of MRI; empty where there is none but the training's.
    """
    layout(config, ranks)
    run, hardware = config.run, config.hardware
    flat = flatten(config)
    plan = stage_plan(
        config,
        ranks,
        out=Path(config.out) / FOLDER,
        steps=config.pretrain_steps,
        batch=("preset.global_batch", config.preset.global_batch),
        identity={k: v for k, v in flat.items() if k.startswith(SHAPING) and k not in _NOT_SHAPING} | {"mri": mri},
        free=config.rules.free,
        unsaid=UNSAID,
        name=NAME,
        learning_rate=run.learning_rate,
        warmup_steps=run.warmup_steps,
        workers=config.data.workers,
    )
    return replace(plan, micro_batch=hardware.micro_batch)


def mri_of(config: Mri2PetConfig, data: RunData) -> Dataset:
    """The MRI to pre-train on: of the training people, or of `pretrain.cache` without those held out.

    Raises:
        ConfigError: the cache cannot be used, or has nobody else.
    """
    if not config.pretrain.cache:
        return OnePerCase(data.train)
    try:
        split = load_split(config.data.split or Path(config.data.cache) / FILE)
        held_out = {*split.validation, *split.test}
        cache = open_cache(config.pretrain.cache, mri_only=True)
        held_out |= cache.owners(open_cache(config.data.cache).scans(held_out))  # also under other names
        return MriDataset(cache, config.network.factor, config.network.crop, without=held_out)
    except InputError as error:
        raise ConfigError(f"pretrain.cache={config.pretrain.cache}: {error}") from error


def of_another_run(run: Path, config: Mri2PetConfig, data: RunData) -> dict[str, torch.Tensor]:
    """Weights that another run pre-trained, which fit this one's network. Raises `ConfigError` where there are none."""
    found = checkpoints.latest(run / FOLDER)
    if found is None:
        raise ConfigError(f"method.pretrained={run}: no pre-training there (no folder {FOLDER} with checkpoints)")
    path, saved = found
    own = saved["config"]
    steps = own.get("preset.pretrain_steps") if own.get("pretrain.steps") is None else own["pretrain.steps"]
    if not isinstance(steps, int) or saved["step"] < steps:
        raise ConfigError(f"{path}: that pre-training is not at its end yet")
    if saved["split_sha256"] != data.split_sha256:
        raise ConfigError(f"{path}: styled by PET of another split; its test subjects may be among them")
    checkpoints.check_cache(path, saved, data.volumes_sha256)
    weights, wanted = _weights(path, saved), Pretraining(config).build()["network"].module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
        raise ConfigError(f"{path}: not the network that the configuration describes")
    return weights


def _weights(path: Path, saved: dict[str, Any]) -> dict[str, torch.Tensor]:
    with checkpoints.restoring(path):
        return checkpoints.exported_weights(saved)["network"]
