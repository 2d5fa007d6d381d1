"""How many images a second come out of a cache on the whole grid, to be held against a training step's seconds.

``python Testing/benchmarks/loader.py CACHE [--items 12]``, CACHE being what ``python -m training prepare --rendered 3
--out CACHE`` or any other made. The images are read by the loader of a training, in this process and one by one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training.data.cache import open_cache
from training.data.dataset import PetDataset, StreamSampler, build_loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, metavar="CACHE")
    parser.add_argument("--items", type=int, default=12, help="images that are read, after a first one")
    options = parser.parse_args()
    cache = open_cache(options.cache)
    dataset = PetDataset(cache, cache.subjects, scaling="suvr", factor=1, crop=None)
    sampler = StreamSampler(len(dataset), seed=0, rank=0, ranks=1, draws=False)
    batches = iter(build_loader(dataset, sampler, batch_size=1, workers=0, pin_memory=False))
    shape = "x".join(map(str, next(batches)["pet"].shape[2:]))
    began, busy = time.perf_counter(), time.process_time()
    for _ in range(options.items):
        next(batches)
    clock, busy = time.perf_counter() - began, time.process_time() - busy
    print("| image | images/s by the clock | a processor second | processor s an image |\n|---|---|---|---|")
    print(f"| {shape} | {options.items / clock:.1f} | {options.items / busy:.1f} | {busy / options.items:.3f} |")


if __name__ == "__main__":
    main()
