"""The generator G of RelA-Diffusion: MONAI's conditional 3-D U-Net, sized as in the published implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..tracers import PUBLISHED_LABELS

if TYPE_CHECKING:
    import torch
    from monai.networks.nets import DiffusionModelUNet


def build_generator(
    *,
    in_channels: int = 3,
    out_channels: int = 1,
    channels: Sequence[int] = (16, 32, 64),
    num_res_blocks: int = 2,
    attention_levels: Sequence[bool] = (False, False, True),
    num_head_channels: int = 64,
    norm_num_groups: int = 8,
    cross_attention_dim: int | None = 64,
    num_class_embeds: int = PUBLISHED_LABELS,
) -> DiffusionModelUNet:
    """The published generator (3,038,017 parameters), or one of another size.

    Called as ``generator(x, timesteps, class_labels=labels)`` with x [N, 3, X, Y, Z] = (x_t, T1w, T2F), timesteps [N]
    counting from 0 and labels [N]; returns the noise [N, 1, X, Y, Z]. X, Y, Z are multiples of
    2^(levels - 1). No context is ever passed: like the published network, a transformer block's second attention is
    then another self-attention (the paper says cross-attention), whose size `cross_attention_dim` must be that of the
    level; None leaves it out. On a CPU and without gradients it takes a faster way (`fast_unet`).
    """
    from .fast_unet import FastUNet

    return FastUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=tuple(channels),
        num_res_blocks=num_res_blocks,
        attention_levels=tuple(attention_levels),
        num_head_channels=num_head_channels,
        norm_num_groups=norm_num_groups,
        with_conditioning=cross_attention_dim is not None,
        cross_attention_dim=cross_attention_dim,
        num_class_embeds=num_class_embeds,
        # Without it the scores of the model grid's 72,000 tokens are one matrix of 20.7 GB.
        use_flash_attention=True,
    )


def release_name(name: str) -> str:
    """Name in the published implementation (MONAI Generative) of a tensor of `build_generator()`'s state dict."""
    if ".transformer_blocks." in name:
        name = name.replace(".out_proj.", ".to_out.0.")
    return name.replace(".postconv.", ".conv.")


def load_release_state_dict(generator: DiffusionModelUNet, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Load weights in the published implementation's names into a generator.

    Raises:
        ModelError: a tensor is missing, surplus, of another shape or not float32; nothing is loaded then.
    """
    import torch

    wanted = {release_name(name): tensor for name, tensor in generator.state_dict().items()}
    missing, surplus = sorted(wanted.keys() - state_dict.keys()), sorted(state_dict.keys() - wanted.keys())
    if missing or surplus:
        first = f"'{missing[0]}' is missing" if missing else f"'{surplus[0]}' is not one of its tensors"
        raise ModelError(
            f"not the weights of the published generator: {len(missing)} tensors missing, {len(surplus)} unknown; "
            f"{first}"
        )
    for name, tensor in wanted.items():
        given = state_dict[name]
        if given.shape != tensor.shape or given.dtype != torch.float32:
            raise ModelError(
                f"not the weights of the published generator: '{name}' is {given.dtype} {tuple(given.shape)}, "
                f"not torch.float32 {tuple(tensor.shape)}"
            )
    # MONAI's method empties the dict it is given.
    generator.load_old_state_dict(dict(state_dict))
