"""What the network is shown: a torch data set over the cache, and a sampler that remembers where it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from RelAPETLib.clinical import ClinicalValues
from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.networks.blocks import BACKGROUND
from RelAPETLib.networks.shapes import central
from RelAPETLib.scaling import to_network
from RelAPETLib.tracers import TRACERS

from .cache import Cache, Item, block_grid, check_factor

SCALINGS = ("suvr", "minmax")
#: Index of the voxel at x = 0 mm, between the hemispheres.
MIDLINE = round(-MNI_GRID.origin[0] / MNI_GRID.spacing[0])


@dataclass(frozen=True)
class Augmentation:
    """Changes that keep geometry honest: the same for all volumes of an item, one interpolation at most.

    Attributes:
        flip: mirror left and right at x = 0 mm, half of the time.
        rotation_deg: largest rotation about each axis; 0 for none.
        translation_mm: largest shift along each axis; 0 for none.
    """

    flip: bool = True
    rotation_deg: float = 5.0
    translation_mm: float = 3.0


class PetDataset(Dataset):
    """One item per (case, tracer) of the given subjects.

    An item is a dictionary: ``t1w``, ``t2f``, ``pet`` float32 [1, X, Y, Z] in [-1, 1], ``label`` int, ``subject``,
    ``case`` and ``tracer`` str, ``clinical`` float32 [3], see `clinical`.

    Args:
        cache: from `open_cache`.
        subjects: e.g. ``split.train``.
        scaling: PET to [-1, 1] by the tracer's window of ``suvr`` (clipped), or by ``minmax`` of each volume (release).
        factor: side in voxels of the model grid of the blocks that are averaged into one; a multiple of the cache's.
        crop: central part (X, Y, Z) of the blocks, as `VoxelDiffusion` takes it; None for all.
        tracers: short names; None for all.
        augmentation: None for none. With it, indices are (index, draw), as `StreamSampler(draws=True)` gives them;
            a plain index is not augmented.
        seed: of the augmentation.

    Raises:
        InputError: nothing to show, an unknown scaling, tracer, factor or crop, or a cache too coarse for the factor
            or for augmentation.

    Example:
        >>> data = PetDataset(open_cache("cache"), load_split("cache/split.json").train)  # doctest: +SKIP
        >>> data[0]["pet"].shape  # doctest: +SKIP
        torch.Size([1, 160, 180, 160])
    """

    def __init__(
        self,
        cache: Cache,
        subjects: Iterable[str],
        *,
        scaling: str = "suvr",
        factor: int = 1,
        crop: Sequence[int] | None = None,
        tracers: Iterable[str] | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ):
        if scaling not in SCALINGS:
            raise InputError(f"unknown PET scaling '{scaling}'; use one of {', '.join(SCALINGS)}")
        unknown = sorted(set(tracers or ()) - TRACERS.keys())
        if unknown:
            raise InputError(f"unknown tracer '{unknown[0]}'; use one of {', '.join(TRACERS)}")
        self.shape = pooled_shape(factor, crop)
        check_blocks(cache, factor)
        if augmentation is not None and cache.factor > 1:
            raise InputError(f"{cache.folder}: augmentation needs the whole grid; run prepare with --factor 1")
        self.cache, self.scaling, self.factor = cache, scaling, factor
        self.augmentation, self.seed = augmentation, seed
        self.items = cache.items(subjects, tracers)
        self._records = cache.cases
        if not self.items:
            raise InputError(f"{cache.folder}: these subjects have no PET of {', '.join(tracers or TRACERS)}")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        index, draw = index if isinstance(index, tuple) else (index, None)
        item = self.items[index]
        t1w, t2f, pet = self.prepared([*self.mri(item.case), self.pet(item)], index, draw).split(1)
        return {
            "t1w": t1w,
            "t2f": t2f,
            "pet": pet,
            "label": TRACERS[item.tracer].label,
            "subject": item.subject,
            "case": item.case,
            "tracer": item.tracer,
            "clinical": self.clinical(item.case),
        }

    def clinical(self, case: str) -> torch.Tensor:
        """Clinical values of a case, float32 [3] in the order of `CLINICAL`, NaN where one is not known."""
        return torch.tensor(ClinicalValues(**self._records[case].get("clinical", {})).numbers())

    def mri(self, case: str) -> list[torch.Tensor]:
        """T1w and T2F of a case, [X, Y, Z] in [-1, 1] as the cache has them."""
        return [torch.from_numpy(self.cache.array(case, name).astype(np.float32)) for name in ("t1w", "t2f")]

    def pet(self, item: Item) -> torch.Tensor:
        """PET of an item, [X, Y, Z] in [-1, 1]."""
        window = TRACERS[item.tracer].suvr_window
        if self.scaling == "minmax":
            facts = self._records[item.case]["pets"][item.tracer]
            window = facts["min"], facts["max"]
        pet = self.cache.array(item.case, f"pet_{item.tracer}").astype(np.float32)
        return torch.from_numpy(to_network(pet, window))

    def prepared(self, volumes: Sequence[torch.Tensor], index: int, draw: int | None) -> torch.Tensor:
        """C volumes of the cache [X, Y, Z] augmented together, pooled, cropped and stacked.

        Args:
            index: number of what they belong to; the augmentation follows from it, from `draw` and from the seed.
            draw: place in the stream; None for no augmentation.
        """
        if self.augmentation is not None and draw is not None:
            volumes = augment(
                torch.stack(tuple(volumes)), self.augmentation, np.random.default_rng([self.seed, index, draw])
            )
        blocks = self.factor // self.cache.factor
        if blocks > 1:
            volumes = [functional.avg_pool3d(volume[None], blocks)[0] for volume in volumes]
        return central(torch.stack(tuple(volumes)), self.shape).contiguous()


def few_of_each_tracer(dataset: PetDataset, scans: int) -> PetDataset:
    """The first so many items of each tracer of a data set."""
    by_tracer: dict[str, list] = {}
    for item in dataset.items:
        by_tracer.setdefault(item.tracer, []).append(item)
    fewer = copy.copy(dataset)
    fewer.items = [item for own in by_tracer.values() for item in own[:scans]]
    return fewer


def check_blocks(cache: Cache, factor: int) -> None:
    """Raise `InputError` where blocks of `factor` voxels cannot be made of what a cache holds."""
    if factor % cache.factor:
        raise InputError(
            f"{cache.folder}: holds means of {cache.factor} x {cache.factor} x {cache.factor} voxels; "
            f"network.factor={factor} must be a multiple of {cache.factor}"
        )


def pooled_shape(factor: int, crop: Sequence[int] | None) -> tuple[int, int, int]:
    """Shape (X, Y, Z) of a volume after pooling by `factor` and cropping. Raises `InputError` where that cannot be."""
    check_factor(factor)
    blocks = block_grid(factor).shape
    shape = blocks if crop is None else tuple(int(n) for n in crop)
    if len(shape) != 3 or any(not 0 < n <= whole for n, whole in zip(shape, blocks, strict=True)):
        raise InputError(f"crop {shape} is no part of the grid's {blocks} voxels at factor {factor}")
    return shape


def augment(stack: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Volumes [C, 160, 180, 160] in [-1, 1] flipped and moved together; what comes from outside is background."""
    if how.flip and rng.random() < 0.5:
        stack = mirrored(stack)
    if how.rotation_deg or how.translation_mm:
        angles = np.deg2rad(rng.uniform(-how.rotation_deg, how.rotation_deg, 3))
        stack = moved(stack, angles, rng.uniform(-how.translation_mm, how.translation_mm, 3))
    return stack


def mirrored(stack: torch.Tensor) -> torch.Tensor:
    """Left and right exchanged at x = 0 mm, not at the middle of the grid (which is at 0.5 mm); exact."""
    out = torch.full_like(stack, BACKGROUND)
    last = 2 * MIDLINE
    out[:, : last + 1] = stack[:, : last + 1].flip(1)
    return out


def moved(stack: torch.Tensor, angles: np.ndarray, shift_mm: np.ndarray) -> torch.Tensor:
    """Volumes rotated about x, y, z (radians) around the grid's centre and shifted, by one linear interpolation."""
    cosines, sines = np.cos(angles), np.sin(angles)
    rotation = np.eye(3)
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[a, a] = step[b, b] = cosines[axis]
        step[a, b], step[b, a] = -sines[axis], sines[axis]
        rotation = step @ rotation
    # grid_sample's coordinates go from -1 to 1 between the outer voxels' centres, in the order z, y, x.
    half = (np.array(stack.shape[1:]) - 1) / 2
    matrix = np.concatenate([rotation * half[None] / half[:, None], (shift_mm / MNI_GRID.spacing / half)[:, None]], 1)
    matrix = matrix[::-1][:, [2, 1, 0, 3]].copy()
    theta = torch.from_numpy(matrix).to(stack.dtype)[None]
    places = functional.affine_grid(theta, [1, *stack.shape], align_corners=True)
    return functional.grid_sample(stack[None] - BACKGROUND, places, align_corners=True)[0] + BACKGROUND


class StreamSampler(Sampler):
    """An endless, seeded stream of item numbers that can be left and taken up again exactly.

    The stream is one permutation of all items after another, each from (seed, epoch), whatever the number of ranks.
    Of `ranks` processes, rank r gets places r, r + ranks, ...: every global batch is the same set of items, nobody's
    twice. Reading ahead (workers) does not move the position: the loop calls `advance` for what it has used.

    Args:
        size: number of items.
        seed: of the permutations.
        rank, ranks: this process and how many.
        draws: give (item, place in the stream), as an augmented `PetDataset` wants it.
        shuffle: False gives 0, 1, 2, ... in every epoch.

    Attributes:
        epoch: how many times all items were used.
        position: items used of the present epoch, by all ranks together.
    """

    def __init__(
        self, size: int, *, seed: int, rank: int = 0, ranks: int = 1, draws: bool = False, shuffle: bool = True
    ):
        if size < 1:
            raise InputError("a sampler of no items: the data set is empty")
        if not 0 <= rank < ranks:
            raise InputError(f"rank {rank} is none of {ranks} ranks")
        self.size, self.seed, self.rank, self.ranks = size, seed, rank, ranks
        self.draws, self.shuffle = draws, shuffle
        self.epoch = self.position = 0

    def order(self, epoch: int) -> np.ndarray:
        """The permutation [size] of an epoch."""
        return (
            np.random.default_rng([self.seed, epoch]).permutation(self.size) if self.shuffle else np.arange(self.size)
        )

    def __iter__(self) -> Iterator:
        place = self.epoch * self.size + self.position + self.rank
        known, order = None, None
        while True:
            epoch, within = divmod(place, self.size)
            if epoch != known:
                known, order = epoch, self.order(epoch)
            yield (int(order[within]), place) if self.draws else int(order[within])
            place += self.ranks

    def advance(self, items: int) -> None:
        """Count items as used: those of all ranks together, e.g. the global batch after every update."""
        used = self.epoch * self.size + self.position + items
        self.epoch, self.position = divmod(used, self.size)

    def state_dict(self) -> dict:
        """Where the stream is; goes into a checkpoint."""
        return {"size": self.size, "seed": self.seed, "epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was taken, also with another number of ranks.

        Raises:
            InputError: the state is of another number of items or another seed.
        """
        for key in ("size", "seed"):
            if state[key] != getattr(self, key):
                raise InputError(f"data position: {key} was {state[key]}, now it is {getattr(self, key)}")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


def build_loader(
    dataset: PetDataset, sampler: StreamSampler, *, batch_size: int, workers: int = 0, pin_memory: bool = False
) -> DataLoader:
    """Endless loader of batches [N, 1, X, Y, Z] of the sampler's stream; workers compute with one thread each.

    It has a random generator of its own: a loader that is made anew when a run goes on must not move torch's, which
    dropout draws from.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        generator=torch.Generator(),
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None,
    )


def population_mean(cache: Cache, subjects: Iterable[str], tracer: str) -> np.ndarray:
    """Mean PET in SUVR, float32 of the cache's shape, over these subjects' scans with a tracer.

    Raises:
        InputError: nobody was scanned with it.
    """
    items = cache.items(subjects, [tracer])
    if not items:
        raise InputError(f"nobody in the training part was scanned with {tracer}; there is no population mean")
    total = np.zeros(cache.shape, np.float64)
    for item in items:
        total += cache.array(item.case, f"pet_{tracer}")
    return (total / len(items)).astype(np.float32)
