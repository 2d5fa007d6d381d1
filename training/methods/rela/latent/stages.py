"""The stages of a latent run before Algorithm 1: autoencoders, frozen parts, coded data; each once, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from RelAPETLib.whole_files import write_whole

from .... import checkpoints
from ....autoencoding import FOLDER as AUTOENCODERS
from ....autoencoding import trained_autoencoder
from ....config import flatten
from ....data.cache import canonical_json, open_cache
from ....errors import ResumeError
from ....trainer import RunData
from ...base import Work
from ..adversary import RelativisticAdversary
from ..config import TARGETS, RelaConfig
from ..networks import sees_mean_pet
from .autoencoded import Autoencoded
from .base import trained_base
from .conditional import Conditional
from .encoded import LatentDataset, Latents, LatentSpace
from .modes import trained_modes
from .reconstruction import in_words, reconstruction
from .regression import Regression

FOLDER, FILE = "latent", "coded.pt"
FIGURES = "reconstruction.json"
CODED = {"key": str, "frozen": dict, "train": dict, "validation": (dict, type(None))}
#: Keys of the configuration that make an autoencoder another one; with where its images come from.
SHAPING = ("autoencoder.", "latent.name", "network.factor", "seed", "preset.pet_intensity")
_NOT_SHAPING = ("autoencoder.source", "autoencoder.perceptual_network")
#: Those of an autoencoder's own discriminator; checkpoints and coded data of earlier versions do not say them.
OF_ADVERSARY = ("preset.discriminator_norm", "preset.discriminator_learning_rate", "preset.penalty_gamma",
                "preset.penalty_reduction", "preset.penalty_one_by_one")  # fmt: skip
_KINDS = {"autoencoded": Autoencoded, "regression": Regression, "conditional": Conditional}


def autoencoders(config: RelaConfig) -> tuple[str, ...]:
    """Names of the autoencoders that a latent run needs, in the order in which they are trained."""
    return _KINDS[config.latent.name].names


def shaping(config: RelaConfig) -> dict:
    """The part of a configuration that an autoencoder depends on, flat."""
    flat = flatten(config)
    return {key: value for key, value in flat.items() if key.startswith(SHAPING) and key not in _NOT_SHAPING}


def of_adversary(config: RelaConfig) -> dict:
    """What an autoencoder that has a discriminator depends on besides, flat."""
    flat = flatten(config)
    judged = config.autoencoder.adversarial_weight and not config.autoencoder.source
    return {key: flat[key] for key in OF_ADVERSARY} if judged else {}


def prepare_latents(work: Work, config: RelaConfig) -> tuple[LatentSpace, RunData] | None:
    """Train the autoencoders and code the data set, or take what an earlier call left in the run's folder.

    Returns:
        The space, and the coded data; None when asked to stop before.

    Raises:
        ConfigError, ResumeError, DivergedError: as the stages do.
    """
    fabric, data = work.fabric, work.data
    path = Path(config.out) / FOLDER / FILE
    said, adversary = _key(config, data), of_adversary(config)
    key, earlier = (hashlib.sha256(canonical_json(content)).hexdigest() for content in (said | adversary, said))
    kind = _KINDS[config.latent.name](fabric, config, data.train, data.validation)
    if not fabric.broadcast(path.exists()):
        coders = {}
        for name in kind.names:
            coder = trained_autoencoder(
                work,
                config,
                config.autoencoder,
                kind.images(name),
                shaping(config) | adversary,
                RelativisticAdversary(config.preset),
                tuple(adversary),
            )
            if coder is None:
                return None
            coders[name] = coder
        if fabric.is_global_zero:
            _code(fabric, config, kind, coders, path, key)
        fabric.barrier()
    saved = checkpoints.load(path, CODED)
    if saved["key"] not in (key, earlier):
        raise ResumeError(
            f"{path} was coded from another configuration or data set; use another out, or remove that folder"
        )
    with checkpoints.restoring(path):
        _check_source(config, kind.names, saved["frozen"]["state"], path)
    judged = config.latent.judged == "image"
    volumes = config.method.adversarial and judged  # which the discriminator compares with
    with checkpoints.restoring(path):
        kind.network.load_state_dict(saved["frozen"]["state"], strict=False)
        train = LatentDataset(Latents(**saved["train"]), data.train, volumes)
        validation = saved["validation"] and LatentDataset(Latents(**saved["validation"]), data.validation, True)
    figures = saved["frozen"].get("reconstruction")  # which coded data of earlier versions do not have
    if figures:
        fabric.print(in_words(figures))
    modes = None
    if config.trains_modes:
        modes = trained_modes(work, config, train, kind.network.mode_directions, saved["key"])
        if modes is None:
            return None
    base = None
    if config.base_steps:
        base = trained_base(work, config, train, saved["key"])
        if base is None:
            return None
    space = LatentSpace(fabric, kind.network, kind.arguments, kind.decoder, judged, modes, figures, base)
    return space, RunData(train, validation or None, data.split_sha256)


def _check_source(config: RelaConfig, names: Sequence[str], frozen: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise `ResumeError` where data were coded by other autoencoders than the run has that the configuration names.

    Where that run is gone, nothing can be told of it, and nothing of it is needed.
    """
    source = config.autoencoder.source
    for name in names if source else ():
        found = checkpoints.latest(Path(source) / AUTOENCODERS / name, mapped=True)
        if found is None:
            continue
        prefix = "autoencoder." if len(names) == 1 else f"{name}_autoencoder."
        weights = found[1]["players"]["autoencoder"]["weights"]
        if not all(torch.equal(frozen[prefix + key], tensor) for key, tensor in weights.items()):
            raise ResumeError(
                f"{path} was coded by other autoencoders than those of autoencoder.source={source}; use another out, "
                "or remove that folder"
            )


def _key(config: RelaConfig, data: RunData) -> dict:
    """What the coded data depend on."""
    registered, mean = config.latent.registered, config.preset.mean_pet
    return {
        **shaping(config),
        **({"mean": mean} if sees_mean_pet(config) else {}),
        "components": config.latent.components,
        "embedding": [config.latent.embedding, config.latent.explained, config.latent.local_mri],
        "registered": open_cache(registered).sha256 if registered else "",
        "ablation": [config.ablation.t1w, config.ablation.t2f, config.preset.missing_sequence],
        "split": data.split_sha256,
        "cache": data.train.cache.sha256,
        # Keys that came later are said where they are not as before.
        **({"targets": config.latent.targets} if config.latent.targets != TARGETS[0] else {}),
    } | ({"control": True} if config.base_steps else {})


def _code(fabric, config: RelaConfig, kind, coders: dict, path: Path, key: str) -> None:
    """Freeze everything, code all volumes, measure what that loses, and write it down whole."""
    fabric.print("coding the data set")
    train, validation = kind.freeze(coders)
    parts = {"train": (kind.train, train)} | ({"validation": (kind.validation, validation)} if validation else {})
    figures = {name: reconstruction(fabric, kind.decoder, *part) for name, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path.with_name(FIGURES), json.dumps(figures, indent=1).encode())
    space = LatentSpace(fabric, kind.network, kind.arguments, kind.decoder, figures=figures)
    content = {
        "key": key,
        "frozen": space.frozen(),
        "train": train.state(),
        "validation": validation.state() if validation else None,
    }
    checkpoints.save(path, content)
