"""The simulated cohort of the demo model, rendered on the model grid at 2 mm and kept on disk as float16."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from RelAPETLib.phantom.people import make_person, template_maps
from RelAPETLib.phantom.render import render
from RelAPETLib.tracers import TRACERS

#: Tracer names in the order of their labels.
TRACER_ORDER = sorted(TRACERS, key=lambda name: TRACERS[name].label)


@dataclass(frozen=True)
class Cohort:
    """Brain voxels of rendered people.

    Attributes:
        mri: memory map [people, 2, voxels] of T1w and T2F in [-1, 1].
        pet: memory map [people, 3, voxels], fractions of the tracer's SUVR window, in the order of the labels.
        scanned: [people, 3], whether the person was scanned with the tracer.
        mask: [80, 90, 80], the voxels' places.
    """

    mri: np.ndarray
    pet: np.ndarray
    scanned: np.ndarray
    mask: np.ndarray

    def volume(self, voxels: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """Voxels [..., voxels] as volumes [..., 80, 90, 80]."""
        out = np.full((*voxels.shape[:-1], *self.mask.shape), outside, np.float32)
        out[..., self.mask] = voxels
        return out


def brain_mask() -> np.ndarray:
    """The template's brain at 2 mm, [80, 90, 80] bool."""
    return template_maps(2)["brain"] > 0.5


def _render_one(arguments: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    seed, index = arguments
    mask = brain_mask()
    person = render(make_person(seed, index))
    mri = np.stack([person.t1w[mask], person.t2f[mask]]).astype(np.float16)
    pet = [(person.pet[t][mask] - TRACERS[t].suvr_window[0]) / np.ptp(TRACERS[t].suvr_window) for t in TRACER_ORDER]
    return mri, np.stack(pet).astype(np.float16)


def single_threaded() -> None:
    """Make a worker process use one thread."""
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def make_cohort(folder: Path, seed: int, people: int, workers: int = os.cpu_count() or 1) -> Cohort:
    """Render `people` people of `seed` into `folder`, going on where an earlier call stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = brain_mask()
    voxels = int(mask.sum())
    state = folder / "state.json"
    wanted = {"seed": seed, "people": people, "voxels": voxels}
    done = 0
    if state.exists():
        kept = json.loads(state.read_text())
        done = kept.pop("done")
        if kept != wanted:
            raise SystemExit(f"{folder}: holds another cohort ({kept}); choose another folder or delete it")
    arrays = {}
    for name, channels in (("mri", 2), ("pet", 3)):
        path = folder / f"{name}.npy"
        mode = "r+" if path.exists() and done else "w+"
        arrays[name] = np.lib.format.open_memmap(path, mode, np.float16, (people, channels, voxels))
    with ProcessPoolExecutor(workers, initializer=single_threaded) as pool:
        for first in range(done, people, 20):
            batch = range(first, min(first + 20, people))
            for index, (mri, pet) in zip(batch, pool.map(_render_one, [(seed, i) for i in batch]), strict=True):
                arrays["mri"][index], arrays["pet"][index] = mri, pet
            for array in arrays.values():
                array.flush()
            state.write_text(json.dumps({**wanted, "done": batch[-1] + 1}))
            print(f"cohort: {batch[-1] + 1} of {people} people", flush=True)
    scanned = np.array([[t in make_person(seed, i).scanned for t in TRACER_ORDER] for i in range(people)])
    return Cohort(arrays["mri"], arrays["pet"], scanned, mask)
