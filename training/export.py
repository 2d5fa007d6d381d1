"""A trained generator as a bundle that ``relapet synthesize --model DIR`` runs, saying what it is and came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.jsonfiles import read_json_object
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
#: Tensors to store as float16, by beginning; all where nothing is said. A regression's weights are too small for it.
HALF = {
    "LatentDiffusion": (
        "autoencoder.", "unet.", "mri_", "pet_mean", "head_components", "head_mean", "mode_directions"
    ),
}  # fmt: skip
#: Keys of a preset that shape the model; the others say only how figures are made.
_SILENT = ("name", "metrics", "held_out")
#: Beginnings of those that act in adversarial training alone.
_ADVERSARIAL = ("adversarial_", "relativistic_", "penalty_", "discriminator_")


def export_checkpoint(
    checkpoint: Path | str,
    out: Path | str,
    *,
    cache_folder: Path | None = None,
    name: str = "own",
    version: str = "0.1.0",
    licence: str = "LicenseRef-unstated",
    title: str | None = None,
    text: str | None = None,
    samples: int = 1,
    metrics_file: Path | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> dict:
    """Export what a run saved.

    Args:
        checkpoint: file that the loop wrote.
        out: folder of the bundle.
        cache_folder: what it was trained on; None: as its configuration says.
        name, version, licence, title: of the metadata; `text` is its description.
        samples: how many samples a synthesis draws when nobody says.
        metrics_file: ``summary.json`` of `evaluate`; None for none.
        half: store weights as float16.

    Returns:
        The metadata as written.

    Raises:
        RelAPETError: a checkpoint, cache or file that cannot be used, or a bundle that may not be replaced.
    """
    from . import checkpoints, origins
    from .data.cache import open_cache
    from .data.split import FILE, load_split

    state = checkpoints.load(Path(checkpoint), checkpoints.EXPORTED)
    with checkpoints.restoring(Path(checkpoint)):
        config = nested(state["config"])
        trained_on, split_file = Path(config["data"]["cache"]), config["data"]["split"]
        weights = published_weights(state, config)
    cache = open_cache(cache_folder or trained_on)
    split = load_split(split_file or cache.folder / FILE, cache)
    if state["split_sha256"] != split.sha256:
        raise InputError(f"{checkpoint}: trained with another split than {cache.folder} has now; restore that split")
    facts = {
        "name": name,
        "version": version,
        "licence": licence,
        "title": title,
        "text": text,
        "samples": samples,
        "config": config,
        "training_data": describe_data(cache, split, config["preset"]["held_out"]),
        "tracers": tracer_entries(cache, split, config),
        "source": {
            **origins.published(state.get("origin")),
            "step": state["step"],
            "changed_on_resuming": state["history"],
            "config": config,
        },
        "metrics": _metrics(metrics_file, state),
    }
    return export_generator(weights, facts, out, frozen=state["frozen"], half=half, overwrite=overwrite)


def export_generator(
    state_dict: dict[str, torch.Tensor],
    facts: dict,
    out: Path | str,
    *,
    frozen: dict | None = None,
    half: bool = False,
    overwrite: bool = False,
) -> dict:
    """Write a generator as a bundle.

    Args:
        state_dict: of the generator with channels for all sequences and timesteps from 0.
        facts: ``name``, ``version``, ``licence``, ``samples``, ``title`` and ``text`` (None for a usual one),
            ``config`` (nested, as `training.config.TrainConfig` has it), ``training_data``, ``tracers``, ``source``,
            ``metrics``.
        out: folder of the bundle.
        frozen: of a latent run's checkpoint: what was frozen before the generator was trained.
        half: store weights as float16, but those that it would harm.
        overwrite: replace a bundle that is there.

    Returns:
        The metadata as written.

    Raises:
        InputError: weights that do not fit the configuration's network.
        ModelError, OutputError: as `write_bundle`.
    """
    from RelAPETLib.models import write_bundle

    try:
        if facts["config"]["method"]["latent"]:
            network, arguments = _latent_network(state_dict, frozen or {})
        else:
            arguments = network_arguments(facts["config"])
            network = VoxelDiffusion(**arguments)
            network.generator.load_state_dict(state_dict, strict=True)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        first = (str(error).splitlines() or [""])[-1].strip()
        raise InputError(f"export: the weights do not fit the configuration's network: {first}") from error
    metadata = describe(facts, network, arguments)
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8") if facts["licence"] == "Apache-2.0" else None
    halved = HALF.get(type(network).__name__, ("",)) if half else ()
    return write_bundle(out, network, metadata, overwrite, half=halved, licence_text=text)


def _latent_network(state_dict: dict[str, torch.Tensor], frozen: dict) -> tuple[torch.nn.Module, dict]:
    """The library's latent network with its frozen parts and the trained generator, and its arguments."""
    from .latent.encoded import TRAINED
    from .latent.stages import network_of

    network = network_of(frozen)
    prefix = TRAINED[frozen["class"]]
    network.load_state_dict(
        frozen["state"] | {prefix + name: tensor for name, tensor in state_dict.items()}, strict=True
    )
    return network, frozen["arguments"]


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
    from .config import Ablation, Autoencoder, Latent, Method, Network, Preset, TrainConfig
    from .networks import published_state_dict

    weights = checkpoints.exported_weights(state)
    groups = {"method": Method, "preset": Preset, "ablation": Ablation, "network": Network, "latent": Latent}
    groups |= {"autoencoder": Autoencoder}
    typed = TrainConfig(**{group: make(**config[group]) for group, make in groups.items() if group in config})
    return published_state_dict(typed, weights)


def network_arguments(config: dict) -> dict:
    """Arguments of `VoxelDiffusion` for a configuration."""
    arguments = {key: value for key, value in config["network"].items() if value is not None}
    seen = [name for name in SEQUENCES if config["ablation"][name]]
    if len(seen) < len(SEQUENCES):
        arguments["sequences"] = seen
    return arguments


def describe_data(cache, split, held_out: str = "subjects") -> dict:
    """What the metadata say of the training data; names of subjects stay out of it."""
    index = cache.index
    parts = {part: list(getattr(split, part)) for part in ("train", "validation", "test")}
    if held_out == "test_only":
        parts |= {"train": [*parts["train"], *parts["validation"]], "validation": []}
    counts = {tracer: len(cache.items(parts["train"], [tracer])) for tracer in TRACERS}
    scans = ", ".join(f"{count} {tracer}" for tracer, count in counts.items() if count)
    kind = "simulated people (relapet phantom), no real image of anybody" if index["simulated"] else "people"
    return {
        "description": f"{index['source']}: {len(parts['train'])} {kind}; PET: {scans}",
        "simulated": bool(index["simulated"]),
        "subjects": {part: len(subjects) for part, subjects in parts.items()},
        "scans": counts,
        "preprocessing": index["options"],
        "cache_sha256": cache.sha256,
        "split_sha256": split.sha256,
        **({"predictable_share_of_regional_variance": _predictable(counts)} if index["simulated"] else {}),
    }


def _predictable(tracers: Iterable[str]) -> dict[str, float]:
    """What part of the simulated people's variance an MRI could show."""
    from RelAPETLib.phantom.law import predictable_share

    return {tracer: round(predictable_share(tracer), 3) for tracer in tracers}


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


def describe(facts: dict, network: torch.nn.Module, arguments: dict) -> dict:
    """All metadata that `write_bundle` does not fill in."""
    config, preset = facts["config"], facts["config"]["preset"]
    simulated = facts["training_data"]["simulated"]
    words = [f"method {config['method']['name']}", f"preset {preset['name']}"]
    words += [f"ablation {config['ablation']['name']}"] if config["ablation"]["name"] != "none" else []
    latent = config["method"]["latent"]
    where = "Latent-space" if latent else "Voxel-space"
    return {
        "name": facts["name"],
        "version": facts["version"],
        "title": facts["title"]
        or f"RelA-Diffusion{'-Latent' * latent} ({', '.join(words)}){' on simulated data' * simulated}",
        "description": facts["text"]
        or f"{where} diffusion of PET from T1w and T2-FLAIR, trained by RelAPET's training package: "
        f"{', '.join(words)}. {facts['training_data']['description']}.",
        "kind": "latent" if latent else "voxel",
        "network": {"class": type(network).__name__, "arguments": arguments},
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
        "diffusion_space": {"channels": network.diffusion_shape[0], "shape": list(network.diffusion_shape[1:])},
        "schedule": {"kind": preset["beta_schedule"], **SCHEDULE},
        "prediction": "noise",
        "sampler": {
            "name": preset["sampler"],
            "steps": preset["sampler_steps"],
            "samples": facts["samples"],
            "clip": [-1, 1] if preset["sampler_clip"] and not latent else None,
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
    idle = _SILENT
    idle += () if config["method"]["adversarial"] else _ADVERSARIAL
    idle += ("clamp_clean_estimate", "sampler_clip") if config["method"]["latent"] else ()
    for group, paper in (("preset", asdict(PRESETS["paper"])), ("network", asdict(Network()))):
        lines += [
            f"{group}.{key}: {value} (paper: {paper[key]})"
            for key, value in config[group].items()
            if not key.startswith(idle) and value != paper.get(key) and (ablated or key != "missing_sequence")
        ]
    lines.append("bias correction of T1w and T2F (paper: T2F)")
    method = config["method"]
    if not method["adversarial"]:
        lines.append("no relativistic adversarial loss, no gradient penalty")
    if (method["noise_weight"], method["image_weight"]) != (1, 1):
        lines.append(
            f"weights of L_N and L_I: {method['noise_weight']:g} and {method['image_weight']:g} (paper: 1 and 1)"
        )
    if config["method"]["latent"]:
        lines += latent_differences(config)
    if ablated:
        lines.append(f"ablation {config['ablation']['name']} of section 5.3")
    if config["network"].get("factor", 1) > 1:
        lines.append(
            f"works on voxels of {config['network']['factor']} mm inside; input and output are on the 1 mm grid"
        )
    return lines


def latent_differences(config: dict) -> list[str]:
    """The same of the latent variant, which the paper describes in few words (section 5.2)."""
    coder, latent = config["autoencoder"], config["latent"]
    extra = [name for name in ("perceptual", "adversarial") if coder[f"{name}_weight"]]
    lines = [
        f"autoencoder: {coder['latent_channels']} latent channels, levels of {coder['channels']} behind blocks of "
        f"{coder['blocks']} voxels; loss L1 + {coder['l2_weight']:g} L2 + {coder['kl_weight']:g} KL"
        f"{''.join(f' + {name}' for name in extra)} (paper: not said)",
    ]
    if len(config["network"]["channels"]) == 2:
        lines.append("a generator of two levels: the paper's three do not fit a 10x12x10 latent")
    if latent["prediction"] == "v":
        lines.append("the generator predicts v, turned into noise outside; its error stands in for L_N")
    if latent["name"] == "regression":
        lines += [
            "the autoencoder codes the PET's difference from its tracer's mean in training, times 8",
            "the MRI is not autoencoded: robustly scaled, voxelwise z-scored, averaged over 4 mm blocks; a ridge "
            "regression on them predicts the latent, the generator diffuses what it leaves and sees the tracer but not "
            "the MRI",
        ]
    if latent["registered"]:
        lines.append(
            "MRI features in training carry the differences that raw scanning and registration made for some of the "
            "training people"
        )
    return lines


def _metrics(path: Path | None, state: dict) -> dict:
    """Figures for the metadata: of the test part, where they were measured, and of the validation in the run."""
    found: dict = {}
    if path is not None:
        found["held_out"] = read_json_object(path)
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
