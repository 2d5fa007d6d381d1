"""Age, sex and score of the training people, for methods that are told them."""

from __future__ import annotations

import numpy as np
import torch

from RelAPETLib.clinical import CLINICAL

from ..data.dataset import PetDataset


def clinical_of(batch: dict) -> torch.Tensor:
    """Clinical values [N, 3], NaN where missing; all are where the items have none."""
    return batch.get("clinical", torch.full((len(batch["subject"]), len(CLINICAL)), torch.nan))


def hidden(clinical: torch.Tensor, seed: int, positions: list[int], share: float) -> torch.Tensor:
    """Clinical values [N, 3] of which this share is made NaN, by chance that follows from seed and positions."""
    chances = [np.random.default_rng([seed, position, 2]).random(clinical.shape[1]) for position in positions]
    return clinical.masked_fill(torch.from_numpy(np.stack(chances)) < share, torch.nan)


def clinical_moments(scans: PetDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [3] and SD [3] of the clinical values over the cases of a data set; 0 and 1 where nothing is known."""
    cases = dict.fromkeys(item.case for item in scans.items)
    values = torch.stack([scans.clinical(case) for case in cases]).double()
    mean = values.nanmean(0).nan_to_num()
    sd = (values - mean).square().nanmean(0).sqrt().nan_to_num()
    return mean.float(), torch.where(sd > 0, sd, 1.0).float()
