"""What cannot be with a use of the mean PET, for the methods that have one."""

from __future__ import annotations

from ..errors import ConfigError
from ..groups import Data


def check_regression(mean_pet: str, data: Data, latent: bool = False) -> None:
    """Raise `ConfigError` where `preset.mean_pet=regression` cannot be. See `training.expectation`.

    Args:
        mean_pet: of the preset.
        latent: latents are what is diffused.
    """
    if mean_pet != "regression":
        return
    if latent:
        raise ConfigError(
            "preset.mean_pet=regression: it is of voxels; in latents use latent=conditional, which has a regression"
        )
    if data.augment:
        raise ConfigError(
            "data.augment: what the regression must forget of a training person holds for the volumes as they are; "
            "leave it off, or use preset.mean_pet=residual"
        )
    if data.drop_t2f:
        raise ConfigError(
            "data.drop_t2f: the regression wants both sequences of everybody; use 0, or preset.mean_pet=residual"
        )
