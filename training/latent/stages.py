"""The stages of a latent run before Algorithm 1: autoencoders, frozen parts, coded data; each once, resumable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from RelAPETLib.methods.rela import network_class

from .. import checkpoints
from ..config import TrainConfig
from ..data.cache import canonical_json, open_cache
from ..errors import ConfigError, ResumeError
from ..faults import StopRequest
from ..trainer import RunData
from .autoencoded import Autoencoded
from .autoencoder import AutoencoderTrainer, build_autoencoder, shaping
from .encoded import LatentDataset, Latents, LatentSpace
from .regression import Regression

FOLDER, FILE = "latent", "coded.pt"
_KINDS = {"autoencoded": Autoencoded, "regression": Regression}


def prepare_latents(
    fabric, config: TrainConfig, data: RunData, stop: StopRequest, quiet: bool = False
) -> tuple[LatentSpace, RunData] | None:
    """Train the autoencoders and code the data set, or take what an earlier call left in the run's folder.

    Args:
        data: of `PetDataset`s.

    Returns:
        The space, and the coded data; None when asked to stop before.

    Raises:
        ConfigError, ResumeError, DivergedError: as the stages do.
    """
    path = Path(config.out) / FOLDER / FILE
    key = hashlib.sha256(canonical_json(_key(config, data))).hexdigest()
    kind = _KINDS[config.latent.name](fabric, config, data.train, data.validation)
    if not fabric.broadcast(path.exists()):
        coders = {}
        for name in kind.names:
            coder = _autoencoder(fabric, config, kind.images(name, data.split_sha256), stop, quiet)
            if coder is None:
                return None
            coders[name] = coder
        if fabric.is_global_zero:
            _code(fabric, config, kind, coders, path, key)
        fabric.barrier()
    saved = checkpoints.load(path, checkpoints.CODED)
    if saved["key"] != key:
        raise ResumeError(
            f"{path} was coded from another configuration or data set; use another out, or remove that folder"
        )
    volumes = config.method.adversarial
    with checkpoints.restoring(path):
        kind.network.load_state_dict(saved["frozen"]["state"], strict=False)
        train = LatentDataset(Latents(**saved["train"]), data.train, volumes)
        validation = saved["validation"] and LatentDataset(Latents(**saved["validation"]), data.validation, True)
    space = LatentSpace(fabric, kind.network, kind.arguments, kind.decoder)
    return space, RunData(train, validation or None, data.split_sha256)


def _key(config: TrainConfig, data: RunData) -> dict:
    """What the coded data depend on."""
    registered = config.latent.registered
    return {
        **shaping(config),
        "components": config.latent.components,
        "registered": open_cache(registered).sha256 if registered else "",
        "ablation": [config.ablation.t1w, config.ablation.t2f, config.preset.missing_sequence],
        "split": data.split_sha256,
        "cache": data.train.cache.sha256,
    }


def _autoencoder(fabric, config: TrainConfig, images, stop: StopRequest, quiet: bool) -> torch.nn.Module | None:
    """The trained autoencoder, of this run or of the one that it is taken from."""
    source = config.autoencoder.source
    if not source:
        folder = Path(config.out) / "autoencoder" / images.name
        fabric.print(f"{images.name} autoencoder: {config.autoencoder.steps} steps in {folder}")
        return AutoencoderTrainer(fabric, config, images, folder, quiet).train(stop)
    found = checkpoints.latest(Path(source) / "autoencoder" / images.name, checkpoints.AUTOENCODER)
    if found is None:
        raise ConfigError(f"autoencoder.source={source}: no {images.name} autoencoder there")
    path, saved = found
    with checkpoints.restoring(path):
        unfinished = saved["step"] < saved["shaping"]["autoencoder.steps"]
    if unfinished:
        raise ConfigError(f"{path}: that autoencoder is not trained to its end yet")
    if saved["split_sha256"] != images.split_sha256:
        raise ConfigError(f"{path}: trained on another split; its test subjects may be among this one's training")
    coder = build_autoencoder(config)
    try:
        coder.load_state_dict(saved["autoencoder"])
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not the autoencoder that the configuration describes") from error
    return coder.to(fabric.device).eval().requires_grad_(False)


def _code(fabric, config: TrainConfig, kind, coders: dict, path: Path, key: str) -> None:
    """Freeze everything, code all volumes, and write it down whole."""
    fabric.print("coding the data set")
    train, validation = kind.freeze(coders)
    space = LatentSpace(fabric, kind.network, kind.arguments, kind.decoder)
    content = {
        "key": key,
        "frozen": space.frozen(),
        "train": train.state(),
        "validation": validation.state() if validation else None,
    }
    checkpoints.save(path, content)


def network_of(frozen: dict) -> torch.nn.Module:
    """The library's network of a checkpoint's frozen parts; its generator is untrained."""
    network = network_class(frozen["class"])(**frozen["arguments"])
    network.load_state_dict(frozen["state"], strict=False)
    return network
