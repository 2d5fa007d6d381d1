"""The published generator in slabs and in tiles: memory of its tensors, and how far the answers lie from the plain one.

``python Testing/benchmarks/slabs.py`` prints both in a minute on a CPU. Memory is counted on tensors without values: by
MONAI's own forward, by ours on a CPU, and by ours slab by slab. The answers are of random weights and a volume of
64 x 48 x 48 whose MRI is background in its first planes, as a head's is: whole, in slabs, and in two tiles of 40 planes
of which 16 are in common, each half taken from its own tile. Seconds and peaks of processes are in `generator_cpu.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from RelAPETLib.counted_memory import peak_bytes, without_values
from RelAPETLib.networks.execution import in_slabs
from RelAPETLib.networks.generator import build_generator

TOLD = torch.tensor([500]), None, torch.tensor([2])  # timestep, no context, label


def counted(shape: tuple[int, ...]) -> dict[str, float]:
    """GB of the tensors that live at one time, by way."""
    network = without_values(build_generator().eval())
    x, found = torch.empty(1, 3, *shape, device="meta"), {}
    for way in ("MONAI", "fast", "slabs"):
        network.goes_fast = lambda x, way=way: way == "fast"
        with in_slabs(way == "slabs"):
            found[way] = peak_bytes(lambda: network(x, *TOLD)) / 1e9
    return found


def apart() -> dict[str, tuple[float, float]]:
    """Root mean square and largest difference from the whole volume's answer, in its standard deviations."""
    torch.manual_seed(0)
    network = build_generator().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(1, 3, 64, 48, 48, generator=torch.Generator().manual_seed(1))
    x[:, 1:, :20] = -1
    with torch.inference_mode():
        whole = network(x, *TOLD)
        tiles = torch.cat([network(x[:, :, :40], *TOLD)[:, :, :32], network(x[:, :, 24:], *TOLD)[:, :, 8:]], 2)
        with in_slabs():
            slabs = network(x, *TOLD)
    found = {}
    for name, made in (("slabs", slabs), ("tiles", tiles)):
        gap = (made - whole) / whole.std()
        found[name] = float(gap.square().mean().sqrt()), float(gap.abs().max())
    return found


def main() -> None:
    print("| voxels | MONAI, GB | fast, GB | slabs, GB |\n|---|---|---|---|")
    for shape in ((80, 88, 80), (160, 180, 160)):
        row = " | ".join(f"{gb:.2f}" for gb in counted(shape).values())
        print(f"| {'x'.join(map(str, shape))} | {row} |")
    print("\n| way | root mean square, SD | largest, SD |\n|---|---|---|")
    for name, (usual, most) in apart().items():
        print(f"| {name} | {usual:.1e} | {most:.1e} |")


if __name__ == "__main__":
    main()
