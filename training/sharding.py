"""FSDP: a network's weights, gradients and optimiser state shared out over the ranks, whole in checkpoints.

It pays for networks that do not fit one card; the published generator (3 million weights) does, and trains faster
under DDP. A checkpoint does not know how its run was laid out: sharded and whole runs go on with each other's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard


def strategy(ranks: int):
    """Lightning Fabric's strategy for wrapped players shared out over all ranks."""
    from lightning_fabric.strategies import ModelParallelStrategy

    return ModelParallelStrategy(_shard, data_parallel_size=ranks, tensor_parallel_size=1)


def _shard(network: nn.Module, mesh) -> nn.Module:
    """Block by block, so that only one is whole at a time."""
    for block in blocks_of(network):
        fully_shard(block, mesh=mesh["data_parallel"])
    return fully_shard(network, mesh=mesh["data_parallel"])


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The large parts of a network that work one after the other: what its lists hold, and a U-Net's middle.

    Of a network inside another one too; lists inside such a part belong to it.
    """
    found: list[nn.Module] = []
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            found += child
        elif name == "middle_block":
            found.append(child)
        else:
            found += blocks_of(child)
    return found


def model_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Whole weights of a network that Fabric set up; all ranks call it, and rank 0 gets them."""
    if not isinstance(network.module, FSDPModule):
        return network.state_dict()
    return get_model_state_dict(network.module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_model_state(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put whole weights, the same on every rank, into a network that Fabric set up."""
    if not isinstance(network.module, FSDPModule):
        network.load_state_dict(state)
    else:
        set_model_state_dict(network.module, state, options=StateDictOptions(full_state_dict=True))


def optimizer_state(network: nn.Module, optimizer) -> dict[str, Any]:
    """Whole state of an optimiser, as torch numbers it without shards; all ranks call it, and rank 0 gets it."""
    if not isinstance(network.module, FSDPModule):
        return optimizer.state_dict()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    named = get_optimizer_state_dict(network.module, optimizer.optimizer, options=options)
    if not named:
        return {}
    names = [name for name, _ in network.module.named_parameters()]
    (group,) = named["param_groups"]
    groups = [{**group, "params": list(range(len(names)))}]
    return {"state": {n: named["state"][name] for n, name in enumerate(names)}, "param_groups": groups}


def load_optimizer_state(network: nn.Module, optimizer, state: dict[str, Any]) -> None:
    """Put an optimiser's whole state, the same on every rank, into one that Fabric set up."""
    if not isinstance(network.module, FSDPModule):
        optimizer.load_state_dict(state)
        return
    names = [name for name, _ in network.module.named_parameters()]
    (group,) = state["param_groups"]
    named = {
        "state": {name: state["state"][n] for n, name in enumerate(names)},
        "param_groups": [{**group, "params": names}],
    }
    options = StateDictOptions(full_state_dict=True)
    set_optimizer_state_dict(network.module, optimizer.optimizer, named, options=options)


def number(value: torch.Tensor) -> float:
    """A scalar, whole or shared out."""
    return float(value.full_tensor() if hasattr(value, "full_tensor") else value)
