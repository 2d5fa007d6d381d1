"""Weights behind the reference numbers: they follow from the tensors' names by a rule that lies beside the numbers."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import torch


def ruled_weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts of ``generator`` and ``discriminator`` in the published names, from the reference folder."""
    spec = importlib.util.spec_from_file_location("weights_rule", folder / "weights_rule.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    layouts = json.loads((folder / "state_dict_layout.json").read_text())
    return {
        network: {name: torch.from_numpy(np.asarray(rule.tensor(name, shape))) for name, shape in layout}
        for network, layout in layouts.items()
    }
