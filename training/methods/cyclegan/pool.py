"""The pool of earlier images that a discriminator is shown (Shrivastava et al., CVPR 2017; Zhu et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...stream import POOL, random_of


class ImagePool:
    """Up to `size` synthetic images of earlier steps.

    The first images of a run fill it. Of each later one a coin decides whether it takes the place of an image in the
    pool, which then is shown in its stead. Coin and place follow from seed and position, and what a step's images meet
    is the pool as it was before the step; so it is the same however a batch is laid out over ranks and micro-batches.

    Args:
        size: 0 shows every image itself.
        seed: of the run.
        number: of the pool, where there are several.
    """

    def __init__(self, size: int, seed: int, number: int = 0):
        self.size, self.seed, self.number = size, seed, number
        #: By place: label and image [C, X, Y, Z], float16 on the CPU; half as large, and exact to 5e-4.
        self._kept: dict[int, tuple[int, torch.Tensor]] = {}
        #: By position: place, label and image of this rank's images of the step.
        self._coming: dict[int, tuple[int, int, torch.Tensor]] = {}

    def place_of(self, position: int) -> int | None:
        """The place in the pool that the image at a position of the run takes; None where it takes none."""
        if position < self.size or not self.size:
            return position if self.size else None
        random = random_of(self.seed, position, POOL, self.number)
        return int(random.integers(self.size)) if random.random() < 0.5 else None

    def exchange(
        self, images: torch.Tensor, labels: torch.Tensor, positions: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, X, Y, Z] and labels [N] to show for those made at these positions; `settle` ends the step."""
        shown, labels_shown = list(images.detach()), labels.tolist()
        for n, position in enumerate(positions):
            if (place := self.place_of(position)) is None:
                continue
            # A copy, since the caller's batch may be small and its storage large.
            image = images[n].detach().to("cpu", torch.float16, copy=True)
            self._coming[position] = (place, int(labels[n]), image)
            if place in self._kept:
                labels_shown[n], earlier = self._kept[place]
                shown[n] = earlier.to(images)
        return torch.stack(shown), torch.tensor(labels_shown, device=labels.device)

    def settle(self, fabric) -> None:
        """Take in the step's images of all ranks, in the order of their positions. All ranks call it."""
        parts = [self._coming]
        if fabric.world_size > 1:
            parts = [{} for _ in range(fabric.world_size)]
            torch.distributed.all_gather_object(parts, self._coming)
        coming = {position: item for part in parts for position, item in part.items()}
        for position in sorted(coming):
            place, label, image = coming[position]
            self._kept[place] = (label, image)
        self._coming = {}

    def state(self) -> dict[str, Any]:
        """What `load_state` takes: of the pool between steps."""
        places = sorted(self._kept)
        images = [self._kept[place][1] for place in places]
        return {
            "places": places,
            "labels": [self._kept[place][0] for place in places],
            "images": torch.stack(images) if images else torch.empty(0),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put back what `state` gave. Raises `KeyError`, `TypeError` or `ValueError` where it is none."""
        found = zip(state["places"], state["labels"], state["images"], strict=True)
        self._kept = {place: (label, image.clone()) for place, label, image in found}
        self._coming = {}
