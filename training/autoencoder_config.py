"""Configuration of an autoencoder, for methods that code volumes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .config import Rules
from .errors import ConfigError
from .sizes import COARSEST, WIDEST, check_levels


@dataclass
class Autoencoder:
    """Autoencoders, trained first and then frozen: AdamW, warm-up, cosine, norm clipped at 1."""

    #: Folder of another run whose autoencoders are taken; empty: train them here.
    source: str = ""
    steps: int = 20000
    #: Images in a step, over all ranks.
    batch: int = 2
    learning_rate: float = 1e-4
    latent_channels: int = 4
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 64, 64])
    #: Side of the blocks of voxels that become channels before the first level; 1 for none.
    blocks: int = 1
    num_res_blocks: int = 1
    norm_num_groups: int = 8
    #: Mean squared error beside the mean absolute one.
    l2_weight: float = 0.0
    kl_weight: float = 1e-6
    #: Distance of the features of a ResNet-10 (MedicalNet's) whose state dict `perceptual_network` is.
    perceptual_weight: float = 0.0
    perceptual_network: str = ""
    #: Relativistic loss of a discriminator of its own, with the preset's penalty.
    adversarial_weight: float = 0.0
    #: Mirror half of the images left to right.
    mirror: bool = False


RULES = Rules(
    at_least_one=tuple("autoencoder.steps autoencoder.batch autoencoder.latent_channels autoencoder.blocks".split()),
    not_negative=tuple(
        "autoencoder.l2_weight autoencoder.kl_weight autoencoder.perceptual_weight "
        "autoencoder.adversarial_weight".split()
    ),
    positive=("autoencoder.learning_rate",),
    at_most={"autoencoder.batch": 65536},
    free=("autoencoder.source", "autoencoder.perceptual_network"),
)


def check_autoencoder(coder: Autoencoder, blocks: Sequence[int]) -> None:
    """Raise `ConfigError` naming the key unless the autoencoder can be built and codes volumes of this shape."""
    check_levels("autoencoder", coder.channels, coder.num_res_blocks, coder.norm_num_groups)
    for key, highest in (("latent_channels", WIDEST), ("blocks", COARSEST)):
        if not 1 <= getattr(coder, key) <= highest:
            raise ConfigError(f"autoencoder.{key}={getattr(coder, key)} must lie between 1 and {highest}")
    reduction = coder.blocks * 2 ** (len(coder.channels) - 1)
    if reduction > min(blocks):
        raise ConfigError(
            f"autoencoder.channels, autoencoder.blocks: {len(coder.channels)} levels behind blocks of {coder.blocks} "
            f"reduce {reduction} voxels to one; volumes of {tuple(blocks)} have no more than {min(blocks)}"
        )
    if coder.perceptual_weight and not coder.perceptual_network:
        raise ConfigError(
            "autoencoder.perceptual_weight needs autoencoder.perceptual_network, a state dict of a 3-D ResNet-10"
        )
