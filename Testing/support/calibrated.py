"""A tiny model with features and calibrations of it, for tests of intervals, gate and verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import SCHEDULE, _metadata, tiny_latent_network

from RelAPETLib.models.additions import write_calibrated
from RelAPETLib.regions import load_regions

NAMES = [region.name for region in load_regions()[1]]


def write_tiny_conditional(folder: Path, simulated: bool = True) -> Path:
    """A `ConditionalLatentDiffusion` with random weights around a flat mean PET, which has features."""
    from RelAPETLib.methods.rela.conditional import ConditionalLatentDiffusion
    from RelAPETLib.models import write_bundle

    own = {"embedding": 1, "width": 8, "local_mri": True, "prediction": "edm"}
    network, arguments = tiny_latent_network(ConditionalLatentDiffusion, **own)
    metadata = _metadata("latent", arguments, {"channels": 2, "shape": [10, 12, 10]}, "suvr", ("TAU", "PIB", "PBR"))
    settings = metadata["method"]["settings"]
    settings["network"]["class"], settings["prediction"] = "ConditionalLatentDiffusion", "edm"
    settings["schedule"] = SCHEDULE
    metadata["training_data"] |= {"simulated": simulated}
    write_bundle(folder, network, metadata)
    return folder


def features_of(bundle: Path, t1w, t2f) -> np.ndarray:
    """The model's features [D] of a pair on the model grid, as a synthesis computes them."""
    from RelAPETLib.models import load_model
    from RelAPETLib.synthesis import prepare_case
    from RelAPETLib.synthesis.sampling import ConditionedModel

    case = prepare_case(t1w, t2f, preprocessed=True)
    return ConditionedModel(load_model(bundle), case.mri()).features().numpy()


def facts(people: int = 50, *, simulated: bool = True, kind: str = "grid", end: float | None = 2.0) -> dict:
    """``calibration`` of a bundle's metadata without its gate: ends of plus and minus `end` scales."""
    ends = [None if end is None else -end, end]
    tracers = {
        name: {
            "people": people,
            "effective": None,
            "regions": dict.fromkeys(NAMES, ends),
            "joint": None if end is None else 2 * end,
            "coverage_95": [0.81, 0.96],
        }
        for name in ("TAU", "PIB")
    }
    return {
        "population": {
            "description": f"{people} people of a test",
            "simulated": simulated,
            "kind": kind,
            "people": people,
            "cache_sha256": "a" * 64,
            "training_sha256": "b" * 64,
        },
        "sampling": {"sampler": "dpmpp", "steps": 3, "samples": 2},
        "intervals": {"level": 0.9, "normalised": True, "asymmetric": True, "floor": 0.05, "tracers": tracers},
    }


def arrays(centre: np.ndarray, people: int = 50, radius: float = 1.0) -> dict[str, np.ndarray]:
    """A gate around some features: a distance is the largest unit one, people lie at up to `radius`."""
    return {
        "mean": centre,
        "whitening": np.eye(len(centre)),
        "distances": np.linspace(0.0, radius, people),
    }


def write_calibrated_tiny(bundle: Path, out: Path, centre: np.ndarray | None, radius: float = 1.0, **choices) -> Path:
    """A calibrated copy of a tiny bundle; without `centre` it has no gate."""
    gate = None if centre is None else arrays(centre, choices.get("people", 50), radius)
    write_calibrated(bundle, out, facts(**choices), gate)
    return out


def say_simulated(paths) -> None:
    """Write beside images what ``relapet phantom`` says there."""
    import json

    from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY

    for path in paths:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({SIMULATION_KEY: SIMULATED}))
