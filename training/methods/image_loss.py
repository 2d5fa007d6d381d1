"""The weight of L_I, the mean absolute error of the clean estimate, which all compared methods can be given.

RelA-Diffusion's authors give it to those they compare (section 4.1.2). A preset has a weight of its own, which the key
``method.image_weight`` overrides.
"""

from __future__ import annotations

from .. import config
from ..errors import ConfigError
from ..keys import Key, Rules, weight

RULES = Rules({
    "method.image_weight": Key("weight of L_I, the mean absolute error; null: preset.image_weight"),
    "preset.image_weight": weight("weight of L_I, the mean absolute error, unless method.image_weight says another"),
})  # fmt: skip


class ImageLossConfig(config.TrainConfig):
    """A configuration whose ``method`` and ``preset`` have an ``image_weight``."""

    rules = config.TrainConfig.rules | RULES

    @property
    def image_weight(self) -> float:
        """Weight of L_I."""
        own = self.method.image_weight
        return self.preset.image_weight if own is None else own

    @property
    def image_difference(self) -> list[str]:
        """The line of a bundle on L_I, of a method whose paper has none; no line where it has no weight."""
        weight = self.image_weight
        return [f"a mean absolute error of weight {weight:g} joins the loss (paper: none)"] if weight else []

    def check(self) -> None:
        """See `TrainConfig.check`."""
        own = self.method.image_weight
        if own is not None and own < 0:
            raise ConfigError(f"method.image_weight={own} must be at least 0, or null")
