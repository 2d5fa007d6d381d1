"""What a run is, in a few lines: said when it starts, and by ``--dry-run``."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Dataset

from .config import TrainConfig
from .networks import build_networks
from .precision import Precision
from .schedules import total_steps
from .trainer import RunData

MIB = 2**20


def header(config: TrainConfig, data: RunData, kind: str, ranks: int, precision: Precision) -> list[str]:
    """Lines about device, networks, people, images, steps and memory.

    Args:
        data: what is trained on, not coded yet.
        kind: cpu, cuda or mps.
    """
    preset, images = config.preset, len(data.train)
    steps = total_steps(config.run.steps, preset.epochs, images, preset.global_batch)
    networks = sizes(config)
    counts = ", ".join(f"{name} {size.parameters:,}" for name, size in networks.items())
    validation = f", {_images(data.validation)} to validate on" if data.validation is not None else ", no validation"
    return [
        f"device: {device_name(kind)}, {ranks} rank{'s' * (ranks > 1)}, {precision.name}"
        f"{' with TF32' * (precision.tf32 and precision.name != 'tf32')}",
        f"parameters: {counts}",
        f"subjects: {_subjects(data.train)} to train on"
        + (f", {_subjects(data.validation)} to validate on" if data.validation is not None else ""),
        f"images: {_images(data.train)} to train on{validation}",
        f"steps: {steps} of {preset.global_batch} images ({steps * preset.global_batch / images:.1f} epochs)",
        f"memory a rank: {memory(config, networks, ranks) / MIB:.0f} MiB of weights, gradients, optimiser states and "
        "averages; activations come on top, --dry-run measures them",
    ]


@dataclass(frozen=True)
class Size:
    """Parameters of a network, and bytes of all that training keeps of them."""

    parameters: int
    kept: int


def sizes(config: TrainConfig) -> dict[str, Size]:
    """Every network of a run by its name."""
    with torch.random.fork_rng(devices=[]):
        generator, discriminator = build_networks(config)
        found = {"generator": _size(generator, copies=5 if config.preset.ema_decay else 4)}
        if discriminator is not None:
            found["discriminator"] = _size(discriminator)
        if config.method.latent:
            from .latent.autoencoder import build_autoencoder
            from .latent.stages import _KINDS

            coder = _size(build_autoencoder(config))
            found |= {f"{name} autoencoder": coder for name in _KINDS[config.latent.name].names}
    return found


def _size(network: nn.Module, copies: int = 4) -> Size:
    """Weights, gradients and the two moments of Adam are four copies of a network; a moving average is a fifth."""
    parameters = list(network.parameters())
    kept = copies * sum(p.numel() * p.element_size() for p in parameters)
    return Size(sum(p.numel() for p in parameters), kept + sum(b.nbytes for b in network.buffers()))


def memory(config: TrainConfig, networks: dict[str, Size], ranks: int) -> int:
    """Bytes that a rank keeps of the networks at once; autoencoders are trained before the others are built."""
    kept = {name: size.kept for name, size in networks.items()}
    if config.hardware.strategy == "fsdp":
        kept["generator"] //= ranks
    coders = [kept.pop(name) for name in list(kept) if "autoencoder" in name]
    return max([sum(kept.values()), *coders])


def device_name(kind: str) -> str:
    """The device in words."""
    if kind == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        return f"{torch.cuda.get_device_name(0)} ({total / 2**30:.0f} GiB)"
    return f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads a rank)" if kind == "cpu" else kind


def _subjects(dataset: Dataset) -> str:
    items = getattr(dataset, "items", None)
    return str(len({item.subject for item in items})) if items else "unknown"


def _images(dataset: Dataset) -> str:
    items = getattr(dataset, "items", None)
    counts = Counter(item.tracer for item in items or ())
    by = f" ({', '.join(f'{count} {tracer}' for tracer, count in sorted(counts.items()))})" if counts else ""
    return f"{len(dataset)}{by}"
