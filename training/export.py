"""A trained generator as a bundle that ``relapet synthesize --model DIR`` runs, saying what it is and came from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.networks.voxel import SEQUENCES, VoxelDiffusion
from RelAPETLib.tracers import TRACERS

REPOSITORY = Path(__file__).resolve().parents[1]
SCHEDULE = {"beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000}
INTENDED_USE = "Research on image synthesis. Not for diagnosis, treatment or any clinical decision."
LIMITATIONS = (
    "MRI does not determine amyloid, tau or TSPO uptake: real abnormalities may be missing and absent ones may appear.",
    "It says nothing about people, scanners and sequences unlike those it was trained on.",
    "The spread of its samples is the spread of its guesses, not the error against a measured PET.",
)
SIMULATED_LIMITATION = (
    "It has seen simulated images only: on a real scan its output shows that the software works, nothing about the "
    "patient."
)
#: Keys of a preset that shape the model; the others say only how figures are made.
_SILENT = ("name", "metrics", "held_out")


def export_checkpoint(
    checkpoint: Path | str,
    out: Path | str,
    *,
    cache_folder: Path | None = None,
    name: str = "own",
    version: str = "0.1.0",
    licence: str = "LicenseRef-unstated",
    metrics_file: Path | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> dict:
    """Export what a run saved.

    Args:
        checkpoint: file that the loop wrote.
        out: folder of the bundle.
        cache_folder: what it was trained on; None: as its configuration says.
        name, version, licence: of the metadata.
        metrics_file: ``summary.json`` of `evaluate`; None for none.
        half: store weights as float16.

    Returns:
        The metadata as written.

    Raises:
        RelAPETError: a checkpoint, cache or file that cannot be used, or a bundle that may not be replaced.
    """
    from . import checkpoints
    from .data.cache import open_cache
    from .data.split import FILE, load_split

    state = checkpoints.load(Path(checkpoint))
    config = nested(state["config"])
    data = config.get("data", {})
    cache = open_cache(cache_folder or data["cache"])
    split = load_split(data.get("split") or cache.folder / FILE, cache)
    recorded = state.get("split_sha256")
    if recorded is not None and recorded != split.sha256:
        raise InputError(f"{checkpoint}: trained with another split than {cache.folder} has now; restore that split")
    facts = {
        "name": name,
        "version": version,
        "licence": licence,
        "config": config,
        "training_data": describe_data(cache, split),
        "tracers": tracer_entries(cache, split, config),
        "source": {
            "command": "python -m training train",
            "step": int(state.get("step", 0)),
            "changed_on_resuming": list(state.get("history", ())),
            "config": config,
        },
        "metrics": _metrics(metrics_file, state),
    }
    return export_generator(published_weights(state, config), facts, out, half=half, overwrite=overwrite)


def export_generator(
    state_dict: dict[str, torch.Tensor], facts: dict, out: Path | str, *, half: bool = False, overwrite: bool = False
) -> dict:
    """Write a generator as a bundle.

    Args:
        state_dict: of `build_generator` with three input channels (x_t, T1w, T2F) and timesteps from 0.
        facts: ``name``, ``version``, ``licence``, ``config`` (nested, as `training.config.TrainConfig` has it),
            ``training_data``, ``tracers``, ``source``, ``metrics``.
        out: folder of the bundle.
        half: store weights as float16.
        overwrite: replace a bundle that is there.

    Returns:
        The metadata as written.

    Raises:
        InputError: a latent model, or weights that do not fit the configuration's network.
        ModelError, OutputError: as `write_bundle`.
    """
    from RelAPETLib.models import write_bundle

    config = facts["config"]
    if config["method"]["latent"]:
        raise InputError("export: the latent variant cannot be exported yet; only voxel models can")
    arguments = network_arguments(config)
    try:
        network = VoxelDiffusion(**arguments)
        network.generator.load_state_dict(state_dict, strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        first = (str(error).splitlines() or [""])[-1].strip()
        raise InputError(f"export: the weights do not fit the configuration's network: {first}") from error
    metadata = describe(facts, arguments, network.diffusion_shape)
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8") if facts["licence"] == "Apache-2.0" else None
    return write_bundle(out, network, metadata, overwrite, half=("",) if half else (), licence_text=text)


def nested(config: dict) -> dict:
    """A configuration with ``a.b`` keys taken apart; one that is nested already is returned as it is."""
    result: dict = {}
    for key, value in config.items():
        group, _, rest = key.partition(".")
        if rest:
            result.setdefault(group, {})[rest] = value
        else:
            result[key] = value
    return result


def published_weights(state: dict, config: dict) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint in the shape of the published generator."""
    from . import checkpoints
    from .config import Ablation, Method, Network, Preset, TrainConfig
    from .networks import published_state_dict

    weights = state["generator_ema"] if "generator_ema" in state else checkpoints.exported_weights(state)
    groups = {"method": Method, "preset": Preset, "ablation": Ablation, "network": Network}
    typed = TrainConfig(**{group: make(**config[group]) for group, make in groups.items()})
    return published_state_dict(typed, weights)


def network_arguments(config: dict) -> dict:
    """Arguments of `VoxelDiffusion` for a configuration."""
    arguments = {key: value for key, value in config["network"].items() if value is not None}
    seen = [name for name in SEQUENCES if config["ablation"][name]]
    if len(seen) < len(SEQUENCES):
        arguments["sequences"] = seen
    return arguments


def describe_data(cache, split) -> dict:
    """What the metadata say of the training data; names of subjects stay out of it."""
    index = cache.index
    counts = {tracer: len(cache.items(split.train, [tracer])) for tracer in TRACERS}
    scans = ", ".join(f"{count} {tracer}" for tracer, count in counts.items() if count)
    kind = "simulated people (relapet phantom), no real image of anybody" if index["simulated"] else "people"
    return {
        "description": f"{index['source']}: {len(split.train)} {kind}; PET: {scans}",
        "simulated": bool(index["simulated"]),
        "subjects": {part: len(getattr(split, part)) for part in ("train", "validation", "test")},
        "scans": counts,
        "preprocessing": index["options"],
        "cache_sha256": cache.sha256,
        "split_sha256": split.sha256,
    }


def tracer_entries(cache, split, config: dict) -> dict:
    """Metadata of the tracers that the model was trained on."""
    relative = config["preset"]["pet_intensity"] == "minmax"
    region = cache.index["options"]["reference_region"]
    entries = {}
    for tracer in TRACERS.values():
        if not cache.items(split.train, [tracer.name]):
            continue
        own = tracer.reference_region if region in (None, "tracer") else region
        entries[tracer.name] = {
            "label": tracer.label,
            "output": "relative" if relative else "suvr",
            "window": [0, 1] if relative else list(tracer.suvr_window),
            "units": "relative (0 to 1)" if relative else "SUVR",
            "reference_region": None if relative else own,
        }
    return entries


def describe(facts: dict, arguments: dict, diffusion_shape: tuple[int, ...]) -> dict:
    """All metadata that `write_bundle` does not fill in."""
    config, preset = facts["config"], facts["config"]["preset"]
    simulated = facts["training_data"]["simulated"]
    words = [f"method {config['method']['name']}", f"preset {preset['name']}"]
    words += [f"ablation {config['ablation']['name']}"] if config["ablation"]["name"] != "none" else []
    return {
        "name": facts["name"],
        "version": facts["version"],
        "title": f"RelA-Diffusion ({', '.join(words)}){' on simulated data' if simulated else ''}",
        "description": f"Voxel-space diffusion of PET from T1w and T2-FLAIR, trained by RelAPET's training package: "
        f"{', '.join(words)}. {facts['training_data']['description']}.",
        "kind": "voxel",
        "network": {"class": "VoxelDiffusion", "arguments": arguments},
        "grid": {
            "shape": list(MNI_GRID.shape),
            "spacing_mm": list(MNI_GRID.spacing),
            "origin_mm": list(MNI_GRID.origin),
            "axes": "RAS",
            "space": "ICBM 152 2009a symmetric",
        },
        "inputs": ["t1w", "t2f"],
        "mri_scaling": {"method": "minmax", "range": [-1, 1]},
        "tracers": facts["tracers"],
        "diffusion_space": {"channels": diffusion_shape[0], "shape": list(diffusion_shape[1:])},
        "schedule": {"kind": preset["beta_schedule"], **SCHEDULE},
        "prediction": "noise",
        "sampler": {
            "name": preset["sampler"],
            "steps": preset["sampler_steps"],
            "samples": 1,
            "clip": [-1, 1] if preset["sampler_clip"] else None,
        },
        "training_data": facts["training_data"],
        "licence": facts["licence"],
        "intended_use": INTENDED_USE,
        "limitations": [*([SIMULATED_LIMITATION] if simulated else []), *LIMITATIONS],
        "differences_from_paper": differences_from_paper(config, facts["training_data"]["description"]),
        "source": _plain(facts["source"]),
        "metrics": _plain(facts["metrics"]),
    }


def differences_from_paper(config: dict, trained_on: str) -> list[str]:
    """One line for each thing that the paper does otherwise."""
    from .config import PRESETS, Network

    ablated = config["ablation"]["name"] != "none"
    lines = [f"trained on {trained_on} (paper: NFL-LONG, 142 participants)"]
    for group, paper in (("preset", asdict(PRESETS["paper"])), ("network", asdict(Network()))):
        lines += [
            f"{group}.{key}: {value} (paper: {paper[key]})"
            for key, value in config[group].items()
            if key not in _SILENT and value != paper.get(key) and (ablated or key != "missing_sequence")
        ]
    lines.append("bias correction of T1w and T2F (paper: T2F)")
    if config["method"]["name"] != "rela":
        lines.append(f"objective of method {config['method']['name']}, a competitor in the paper")
    if ablated:
        lines.append(f"ablation {config['ablation']['name']} of section 5.3")
    if config["network"].get("factor", 1) > 1:
        lines.append(
            f"works on voxels of {config['network']['factor']} mm inside; input and output are on the 1 mm grid"
        )
    return lines


def _metrics(path: Path | None, state: dict) -> dict:
    """Figures for the metadata: of the test part, where they were measured, and of the validation in the run."""
    found: dict = {}
    if path is not None:
        try:
            found["held_out"] = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable JSON ({error})") from error
    if state.get("best_psnr") is not None:
        found["validation_in_training"] = {"best_psnr_whole_image": float(state["best_psnr"])}
    return found


def _plain(content):
    """JSON types only, without machine paths: text that is an absolute path keeps its last part."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, float) and content != content:
        return None
    if isinstance(content, str) and ("/" in content or "\\" in content) and Path(content).is_absolute():
        return Path(content).name
    if isinstance(content, (str, int, float, bool)) or content is None:
        return content
    return str(content)
