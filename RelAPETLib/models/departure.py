"""A bundle's norms of departure: mean and SD of what it draws of the people it was trained on, on a 4 mm grid.

An optional part of a bundle, closed and plain as its calibration is: ``departure`` in ``configs/metadata.json`` and
three arrays a tracer in ``departure.safetensors``, [40, 45, 40] float32 with axes to R, A, S, 0 outside the brain:

- ``mean_TRACER``: M, mean over people of the mean of their samples, in the PET's units;
- ``sd_TRACER``: SD of the same over people, not below the floor that the metadata tell;
- ``noise_TRACER``: SD of the mean of one mirrored pair of samples about the same person's expectation.

The noise is there because the SD holds it: a mean of few samples varies between draws as well as between people, and a
synthesis with another number of samples has another S (`Departures.sd_of_means`). The arrays' SHA-256 stands in the
metadata, whose fingerprint stands in the weights' header. Nothing in it is executed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..grid import block_grid
from .calibration import loaded_arrays, verified_content

if TYPE_CHECKING:
    import numpy as np

DEPARTURE_FILE = "departure.safetensors"
#: Side of the blocks, mm.
FACTOR = 4
SHAPE = block_grid(FACTOR).shape
KINDS = ("mean", "sd", "noise")
MAX_DEPARTURE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Departures:
    """What was read.

    Attributes:
        facts: ``departure`` of the metadata.
        arrays: by name, [40, 45, 40] float32.
    """

    facts: dict
    arrays: dict[str, np.ndarray]

    @property
    def tracers(self) -> tuple[str, ...]:
        """Tracers that have norms."""
        return tuple(self.facts["tracers"])

    def mean(self, tracer: str) -> np.ndarray:
        """M [40, 45, 40] in the PET's units, 0 outside the brain."""
        return self.arrays[f"mean_{tracer}"]

    def sd_of_means(self, tracer: str, samples: int) -> np.ndarray:
        """S [40, 45, 40] of means of so many samples, in the PET's units, 0 outside the brain.

        With V the variance of a mirrored pair's mean, a mean of n samples has the noise (4 p V + q r V) / n^2, of p
        pairs, q = n mod 2 single samples, and r the variance of one sample in units of V. What the norms' own people
        had on average is taken off their variance, that of `samples` is added.
        """
        import numpy as np

        facts = self.facts["tracers"][tracer]
        sd, noise = self.arrays[f"sd_{tracer}"], self.arrays[f"noise_{tracer}"]
        own, wanted = self.facts["noise"]["share"], _noise_of(samples, facts["single_to_pair"])
        people = np.maximum(sd.astype(np.float64) ** 2 - own * noise.astype(np.float64) ** 2, 0)
        found = np.sqrt(people + wanted * noise.astype(np.float64) ** 2)
        return np.where(sd > 0, np.maximum(found, facts["floor"]), 0).astype(np.float32)


def _noise_of(samples: int, single: float) -> float:
    """Variance of the mean of so many samples in units of that of one pair's mean."""
    return (4 * (samples // 2) + samples % 2 * single) / samples**2


def read_departures(folder: Path, metadata: dict) -> Departures | None:
    """The norms of a bundle whose metadata are valid; None without them.

    Raises:
        ModelError: their file is missing, changed, no safetensors file, or not what the metadata say.
    """
    facts, path = metadata.get("departure"), folder / DEPARTURE_FILE
    if facts is None:
        if path.exists():
            raise ModelError(f"{path}: the model's metadata know of no such file; get the model again")
        return None
    return Departures(facts, checked_norms(verified_content(path, facts["sha256"]), path, facts))


def checked_norms(content: bytes, path: Path, facts: dict) -> dict[str, np.ndarray]:
    """The arrays of a file whose hash is right, checked against what the metadata say of them."""
    import numpy as np

    arrays = loaded_arrays(content, path)
    wanted = {f"{kind}_{tracer}" for kind in KINDS for tracer in facts["tracers"]}
    if set(arrays) != wanted or any(
        array.dtype != np.float32 or array.shape != SHAPE or not np.isfinite(array).all() for array in arrays.values()
    ):
        raise ModelError(f"{path} does not hold the arrays that the model's metadata say; get the model again")
    for tracer, own in facts["tracers"].items():
        sd, noise = arrays[f"sd_{tracer}"], arrays[f"noise_{tracer}"]
        if (noise < 0).any() or not (sd > 0).any() or ((sd != 0) & (sd < own["floor"] * (1 - 1e-5))).any():
            raise ModelError(f"{path}: the SDs of {tracer} are not what the metadata say; get the model again")
    return arrays
