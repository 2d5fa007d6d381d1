"""The penalty on DDGAN's discriminator (Xiao et al., ICLR 2022).

D maps x_t, given x_{t+1}, t and the condition, to the logits of patches [N, 1, x, y, z]; each patch is judged for
itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def with_penalty(D: Callable[[torch.Tensor], torch.Tensor], x_t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """D(x_t), and R1 of x_t [N, 1, X, Y, Z]: the squared gradient of a logit with respect to the image.

    Of a D with many patches it is the squared gradient of their sum, divided by their number: the mean over patches,
    where patches see different voxels. So the weight means the same whatever the size of the volumes.

    Returns:
        Logits, and a number; both differentiable with respect to D's parameters, not to x_t.
    """
    x_t = x_t.detach().requires_grad_(True)
    logits = D(x_t)
    (gradient,) = torch.autograd.grad(logits.sum(), x_t, create_graph=True)
    return logits, gradient.square().sum() / logits.numel()
