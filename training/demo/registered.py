"""What raw scanning and registration do to the MRI that rendering on the grid does not show.

Some of the training people are scanned raw (`phantom.scanner`) and go through `preprocessing.preprocess`. The
differences between their block features and those of the same people rendered on the grid are then added, at random,
to the features of everybody: the head and the U-Net learn to see past them.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from RelAPETLib.networks.latent import LatentDiffusion

from .cohort import Cohort, brain_mask, single_threaded


def _scan_and_register(arguments: tuple[int, int, Path]) -> None:
    from RelAPETLib.grid import image_to_tensor
    from RelAPETLib.phantom.head import make_head
    from RelAPETLib.phantom.people import make_person
    from RelAPETLib.phantom.scanner import scan_mri
    from RelAPETLib.preprocessing import preprocess

    seed, index, path = arguments
    head = make_head(make_person(seed, index))
    ready = preprocess(scan_mri(head, "T1w").image, scan_mri(head, "FLAIR").image)
    both = torch.cat([image_to_tensor(ready.t1w), image_to_tensor(ready.t2f)], 1)
    inner = torch.nn.functional.avg_pool3d(both, 2)[0].numpy()
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.save(file, inner[:, brain_mask()].astype(np.float16))
    os.replace(part, path)


def registered_people(folder: Path, seed: int, people: int, workers: int = os.cpu_count() or 1) -> np.ndarray:
    """MRI [people, 2, voxels] in [-1, 1] of the first people of `seed` from raw scans, kept one file a person."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"person-{index:03d}.npy" for index in range(people)]
    wanted = [(seed, index, path) for index, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(workers, initializer=single_threaded) as pool:
        for number, _ in enumerate(pool.map(_scan_and_register, wanted), start=1):
            print(f"registered: {people - len(wanted) + number} of {people} people", flush=True)
    return np.stack([np.load(path) for path in paths])


@torch.no_grad()
def feature_differences(model: LatentDiffusion, cohort: Cohort, registered: np.ndarray, features: torch.Tensor):
    """Features after raw scanning and registration minus rendered ones, [people, 24, 10, 12, 10]."""
    volumes = cohort.volume(registered.astype(np.float32), outside=-1.0)
    seen = torch.cat([model.inner_features(torch.from_numpy(volume)[None]) for volume in volumes])
    return seen - features[: len(registered)]


def as_if_registered(features: torch.Tensor, differences: torch.Tensor, seed: int) -> torch.Tensor:
    """Features [people, 24, 10, 12, 10] plus the difference of somebody drawn at random for each."""
    chosen = np.random.default_rng([seed, 9]).integers(len(differences), size=len(features))
    return features + differences[torch.from_numpy(chosen)]
