"""MRI of a cache, apart from its PET: for pre-training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from RelAPETLib.errors import InputError
from RelAPETLib.networks.shapes import central

from .cache import Cache
from .dataset import check_blocks, pooled_shape


class MriDataset(Dataset):
    """One item a case: ``t1w``, ``t2f`` float32 [1, X, Y, Z] in [-1, 1], ``subject`` and ``case`` str.

    Args:
        cache: from `open_cache`.
        factor, crop: of `PetDataset`.
        without: subjects to leave out.

    Raises:
        InputError: nobody is left, a factor or crop that cannot be, or a cache too coarse for the factor.
    """

    def __init__(self, cache: Cache, factor: int, crop: Sequence[int] | None, without: Iterable[str] = ()):
        self.shape = pooled_shape(factor, crop)
        check_blocks(cache, factor)
        self.cache, self.blocks, left_out = cache, factor // cache.factor, set(without)
        self.cases = [(case, record["subject"]) for case, record in cache.cases.items()]
        self.cases = [(case, subject) for case, subject in self.cases if subject not in left_out]
        if not self.cases:
            raise InputError(f"{cache.folder}: nobody in it but subjects that are held out")

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict:
        case, subject = self.cases[index]
        volumes = [torch.from_numpy(self.cache.array(case, name).astype(np.float32)) for name in ("t1w", "t2f")]
        stack = torch.stack(volumes)
        if self.blocks > 1:
            stack = functional.avg_pool3d(stack[None], self.blocks)[0]
        t1w, t2f = central(stack, self.shape).contiguous().split(1)
        return {"t1w": t1w, "t2f": t2f, "subject": subject, "case": case}
