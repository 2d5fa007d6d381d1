"""``preset=fair``: how every compared method is trained, so that a comparison tells of methods alone."""

from __future__ import annotations

#: What the preset says of any method; sizes, learning rates and weights of losses are each method's own.
FAIR = {"name": "fair", "global_batch": 3, "epochs": 100, "ema_decay": 0.999}
