"""Numbers made by running the published implementation on a CPU in float32, and the weights behind them.

What each array is, and where it comes from, stands in README.md beside this file.
"""

import json
from pathlib import Path

import numpy as np
import torch

from .weights_rule import tensor

_FOLDER = Path(__file__).parent


def published_numbers() -> dict[str, torch.Tensor]:
    """Every array of `rela_reference.npz` by name."""
    with np.load(_FOLDER / "rela_reference.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def published_layout() -> dict[str, list]:
    """``[name, shape]`` of every tensor of ``generator`` and ``discriminator``, in the published names."""
    return json.loads((_FOLDER / "state_dict_layout.json").read_text(encoding="utf-8"))


def ruled_weights() -> dict[str, dict[str, torch.Tensor]]:
    """State dicts of ``generator`` and ``discriminator``: their values follow from the tensors' names by a rule."""
    return {
        network: {name: torch.from_numpy(np.asarray(tensor(name, shape))) for name, shape in layout}
        for network, layout in published_layout().items()
    }
