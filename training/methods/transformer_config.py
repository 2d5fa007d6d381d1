"""Configuration of one-pass translators with a vision transformer between their convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from ..keys import Key, Rules, count
from ..sizes import MOST_BLOCKS, WIDEST
from . import translation_config


@dataclass
class Preset(translation_config.Preset):
    """The transformer's sizes; the defaults are those of ViT-B (Dosovitskiy et al., ICLR 2021)."""

    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_size: int = 3072
    dropout: float = 0.1


#: Those of its keys that are arguments of the network.
TRANSFORMER = ("hidden_size", "num_layers", "num_heads", "mlp_size", "dropout")
#: What the keys do; a method joins this table to its own.
RULES = Rules({
    "preset.hidden_size": count("numbers a token of the transformer", most=WIDEST),
    "preset.num_layers": count("layers of the transformer", most=MOST_BLOCKS),
    "preset.num_heads": count("heads of its attention; must divide preset.hidden_size"),
    "preset.mlp_size": count("width within a layer's perceptron", most=4 * WIDEST),
    "preset.dropout": Key("share dropped in the transformer, in training", least=0, below=1),
})  # fmt: skip


def transformer_problems(preset: Preset) -> list[str]:
    """The line that says that the heads do not share out the tokens' numbers; none where they do."""
    if preset.hidden_size % preset.num_heads == 0:
        return []
    return [f"preset.num_heads={preset.num_heads} must divide preset.hidden_size={preset.hidden_size}"]
