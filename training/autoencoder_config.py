"""Configuration of an autoencoder, for methods that code volumes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .keys import MANY, Key, Rules, count, weight
from .sizes import COARSEST, WIDEST, level_problems


@dataclass
class Autoencoder:
    """Autoencoders, trained first and then frozen: AdamW, warm-up, cosine, norm clipped at 1."""

    source: str = ""
    steps: int = 20000
    batch: int = 2
    learning_rate: float = 1e-4
    latent_channels: int = 4
    channels: list[int] = field(default_factory=lambda: [16, 32, 64, 64, 64])
    blocks: int = 1
    num_res_blocks: int = 1
    norm_num_groups: int = 8
    l2_weight: float = 0.0
    kl_weight: float = 1e-6
    perceptual_weight: float = 0.0
    perceptual_network: str = ""
    adversarial_weight: float = 0.0
    mirror: bool = False


#: What the keys do; a method that has the group ``autoencoder`` joins this table to its own.
RULES = Rules({
    "autoencoder.source": Key(
        "folder of a run whose autoencoders are taken; empty: they are trained here", place=True, free=True
    ),
    "autoencoder.steps": count("steps of each autoencoder"),
    "autoencoder.batch": count("images in a step, over all ranks", most=MANY),
    "autoencoder.learning_rate": Key("highest learning rate, after a warm-up and before a cosine", above=0),
    "autoencoder.latent_channels": count("channels of a latent"),
    "autoencoder.channels": Key("channels of the autoencoder's levels"),
    "autoencoder.blocks": count("side of the blocks of voxels that become channels before the first level; 1 for none"),
    "autoencoder.num_res_blocks": Key("residual blocks a level"),
    "autoencoder.norm_num_groups": Key("groups of the autoencoder's normalisation"),
    "autoencoder.l2_weight": weight("weight of the squared error beside the absolute one"),
    "autoencoder.kl_weight": weight("weight of the latent's divergence from a standard normal one"),
    "autoencoder.perceptual_weight": weight("weight of the distance of a ResNet-10's features"),
    "autoencoder.perceptual_network": Key("file of that ResNet-10's state dict (MedicalNet's)", place=True, free=True),
    "autoencoder.adversarial_weight": weight("weight of a relativistic loss of the autoencoder's own discriminator"),
    "autoencoder.mirror": Key("mirror half of the images left to right"),
})  # fmt: skip


def reduction_of(coder: Autoencoder) -> int:
    """Voxels a side that the autoencoder makes one of."""
    return coder.blocks * 2 ** (len(coder.channels) - 1)


def autoencoder_problems(coder: Autoencoder, blocks: Sequence[int]) -> list[str]:
    """Everything that keeps the autoencoder from being built and from coding volumes of this shape, by its key."""
    found = level_problems("autoencoder", coder.channels, coder.num_res_blocks, coder.norm_num_groups)
    for key, highest in (("latent_channels", WIDEST), ("blocks", COARSEST)):
        if not 1 <= getattr(coder, key) <= highest:
            found.append(f"autoencoder.{key}={getattr(coder, key)} must lie between 1 and {highest}")
    reduction = reduction_of(coder) if coder.channels else 0
    if reduction > min(blocks):
        found.append(
            f"autoencoder.channels, autoencoder.blocks: {len(coder.channels)} levels behind blocks of {coder.blocks} "
            f"reduce {reduction} voxels to one; volumes of {tuple(blocks)} have no more than {min(blocks)}"
        )
    if coder.perceptual_weight and not coder.perceptual_network:
        found.append(
            "autoencoder.perceptual_weight needs autoencoder.perceptual_network, a state dict of a 3-D ResNet-10"
        )
    return found
