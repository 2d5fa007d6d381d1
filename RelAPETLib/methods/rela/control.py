"""A U-Net of latents that is trained without any MRI, and a ControlNet that tells it the MRI afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ...networks.generator import build_generator


class ControlledUNet(nn.Module):
    """A frozen U-Net whose features a copy of its encoder, which sees the MRI too, adds to.

    Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023 (arXiv 2302.05543). Called
    like a `DiffusionModelUNet` as ``network(x, timesteps, class_labels=labels)`` with x [N, C + K, X, Y, Z], the noisy
    latent and the latents of the MRI; answers [N, C, X, Y, Z]. What the ControlNet adds is zero when its training
    begins. The MRI lies on the grid of the latent already, so that it is embedded without halvings.

    Args:
        latent_channels: C.
        condition_channels: K.
        generator: arguments of `build_generator` beside the numbers of channels.
    """

    def __init__(self, *, latent_channels: int, condition_channels: int, **generator):
        from monai.networks.nets import ControlNet

        super().__init__()
        self.latent_channels = latent_channels
        self.unet = build_generator(in_channels=latent_channels, out_channels=latent_channels, **generator)
        width = generator["channels"][0]
        attending = generator.get("cross_attention_dim", 64)
        self.control = ControlNet(
            spatial_dims=3,
            in_channels=latent_channels,
            channels=tuple(generator["channels"]),
            num_res_blocks=generator.get("num_res_blocks", 2),
            attention_levels=tuple(generator["attention_levels"]),
            num_head_channels=generator.get("num_head_channels", 64),
            norm_num_groups=generator.get("norm_num_groups", 8),
            with_conditioning=attending is not None,
            cross_attention_dim=attending,
            num_class_embeds=self.unet.num_class_embeds,
            conditioning_embedding_in_channels=condition_channels,
            conditioning_embedding_num_channels=(width,),
            use_flash_attention=True,
        )

    def take_base(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Put a trained U-Net in place, freeze it, and start the ControlNet as a copy of its encoder."""
        self.unet.load_state_dict(weights)
        self.unet.requires_grad_(False)
        shared = self.control.state_dict().keys() & weights.keys()
        self.control.load_state_dict({name: weights[name] for name in shared}, strict=False)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        noisy, condition = x.tensor_split((self.latent_channels,), 1)
        below, middle = self.control(noisy, timesteps, condition, class_labels=class_labels)
        return self.unet(
            noisy,
            timesteps,
            class_labels=class_labels,
            down_block_additional_residuals=tuple(below),
            mid_block_additional_residual=middle,
        )
