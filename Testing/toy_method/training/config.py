"""Configuration of the toy."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...config import Key, Method, Rules, TrainConfig


@dataclass
class ToyMethod(Method):
    """How the toy learns."""

    name: str = "toy"
    rate: float = 0.05


@dataclass
class ToyConfig(TrainConfig):
    """A run of the toy."""

    groups = {"method": {"toy": ToyMethod()}}
    rules = TrainConfig.rules | Rules({"method.rate": Key("learning rate", above=0)})

    method: ToyMethod = field(default_factory=ToyMethod)


CONFIG = ToyConfig
