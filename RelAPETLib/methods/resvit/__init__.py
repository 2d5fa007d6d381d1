"""ResViT (Dalmaz et al., IEEE TMI 2022): residual convolutions and a vision transformer, against patches. One PET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..one_pass import OnePass
from ..schema import arguments, closed

if TYPE_CHECKING:
    import torch

__all__ = ["ZEROS", "ResViT"]

#: What stands for a sequence that is not there, of a network that learned to do without one.
ZEROS = "zeros"


class ResViT(OnePass):
    """A model of ResViT.

    Attributes:
        settings: ``arguments`` of the network and, where it learned to do without a sequence, ``missing``.
    """

    name = "resvit"
    title = "ResViT"
    schema = closed({"arguments": arguments(), "missing": {"enum": [ZEROS]}}, optional=("missing",))
    network_name = "ResViTNetwork"

    def encode(self, mri: torch.Tensor, clinical: torch.Tensor | None = None) -> torch.Tensor:
        """See `Method.encode`. A sequence that is background throughout was not given: the network gets zeros."""
        blocks = super().encode(mri, clinical)
        if self.settings.get("missing") != ZEROS:
            return blocks
        from ...networks.blocks import BACKGROUND
        from .network import available

        return available(blocks, (blocks != BACKGROUND).flatten(2).any(2))
