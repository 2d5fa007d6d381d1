"""The configuration that a command line asks for, with what can be refused at once: before torch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from RelAPETLib.errors import InputError

from .config import TrainConfig, check, composed
from .data.cache import Cache, read_index
from .errors import ConfigError


def asked_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration, checked, and the cache with it: whether it is there, and the blocks that it holds.

    Raises:
        ConfigError: as `training.config.load_config`; a network for other blocks than the cache holds, with what
            else would be wrong with it on those.
        InputError: there is no cache where the words say, or one that is not whole.
    """
    config = composed(overrides)
    folder = Path(config.data.cache)
    factor = Cache(folder, read_index(folder)).factor
    if not config.network.factor % factor or config.network.factor < 1:
        check(config)
        return config
    said = (
        f"{folder}: holds means of {factor} x {factor} x {factor} voxels; network.factor={config.network.factor} must "
        f"be a multiple of {factor}"
    )
    fitting = deepcopy(config)
    fitting.network.factor = factor
    try:
        check(fitting)
    except InputError as error:
        said += f"; with network.factor={factor}: {error}"
    raise ConfigError(said)
