"""Import of the authors' published checkpoint, a PyTorch file, into a bundle."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..notices import warn
from ..resources import resource
from ..tracers import TRACERS
from .bundle import write_bundle
from .catalogue import RELEASE_NAME, get_entry

if TYPE_CHECKING:
    import torch

#: What metadata of a file say that fits the published network but is not the published one.
_UNKNOWN_ORIGIN = {
    "name": "rela-diffusion-other",
    "title": "Checkpoint of unknown origin in the form of RelA-Diffusion",
    "description": "Weights that fit the published voxel-space network but are not the authors' published ones.",
    "training_data": {"description": "Unknown.", "simulated": False},
    "licence": "LicenseRef-unknown",
    "limitations": [
        "Who trained it, on what, and whether as published is unknown; scaling and axes are taken to be as published.",
        "PET cannot be inferred from MRI with certainty; the output is a plausible image, not a measurement.",
    ],
}


def import_release_checkpoint(
    file: Path | str, out_dir: Path | str, *, overwrite: bool = False, entry: dict | None = None
) -> dict:
    """Turn the authors' ``epoch99_checkpoint.pt`` into a bundle that `load_model` accepts.

    The file must be ``{"model_state_dict": ..., "epoch": ...}`` with exactly the published generator's tensors. It is
    read with PyTorch's weights-only loader, so nothing in it is run. Its git blob id is recorded.

    Args:
        file: the checkpoint.
        out_dir: folder of the bundle.
        overwrite: replace a bundle that is there.
        entry: catalogue entry that says which file is the published one; None is the shipped catalogue's.

    Returns:
        The bundle's metadata.

    Raises:
        ModelError: not that kind of file, or other tensors, or values that are not finite; nothing is written.
        OutputError: `out_dir` exists or cannot be written.

    Warns:
        RelAPETWarning: the file is not the published one, by its git blob id.
    """
    from ..methods.rela.voxel import VoxelDiffusion
    from ..networks.generator import load_release_state_dict

    entry = entry or get_entry(RELEASE_NAME)
    file = Path(file)
    content = _read(file, entry["source"]["max_bytes"])
    weights, epoch = _unpickle(content, file, entry["source"]["max_bytes"])

    arguments = _generator_arguments()
    network = VoxelDiffusion(**arguments)
    try:
        load_release_state_dict(network.generator, weights)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error

    blob_id = git_blob_id(content)
    known = blob_id == entry["source"]["git_blob_id"]
    metadata = release_metadata(entry, arguments, network.diffusion_shape)
    if not known:
        metadata |= _UNKNOWN_ORIGIN
    metadata["source"] = {
        **({key: entry["source"][key] for key in ("repository", "commit", "path")} if known else {}),
        "git_blob_id": blob_id,
        "sha256": hashlib.sha256(content).hexdigest(),
        "epoch": epoch,
        "changes": "tensors renamed to MONAI core's names and stored as safetensors; no value changed",
    }
    licence_text = resource("licences", "Apache-2.0.txt").read_text(encoding="utf-8") if known else None
    metadata = write_bundle(out_dir, network, metadata, overwrite, licence_text=licence_text)
    if not known:
        warn(
            f"{file} is not the published checkpoint (git blob {blob_id}, published {entry['source']['git_blob_id']}); "
            f"its tensors fit, but who made it and from what is not known"
        )
    return metadata


def git_blob_id(content: bytes) -> str:
    """Git's name for a file's content: SHA-1 over ``b"blob <size>\\\\0"`` and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def release_metadata(entry: dict, arguments: dict, diffusion_shape: tuple[int, ...]) -> dict:
    """Bundle metadata of the published model; `source` is still to be added."""
    channels, *shape = diffusion_shape
    relative = {"output": "relative", "window": [0, 1], "units": "relative (0 to 1)", "reference_region": None}
    return {
        "name": entry["name"],
        "version": "1.0",
        "title": entry["title"],
        "description": entry["description"],
        "grid": entry["grid"],
        "inputs": ["t1w", "t2f"],
        "mri_scaling": {"method": "minmax", "range": [-1, 1]},
        "tracers": {name: {"label": TRACERS[name].label, **relative} for name in entry["tracers"]},
        "method": {
            "name": "rela",
            "settings": {
                "network": {"class": "VoxelDiffusion", "arguments": arguments},
                "diffusion_space": {"channels": channels, "shape": shape},
                "schedule": {"kind": "scaled-linear", "beta_start": 5e-4, "beta_end": 1.95e-2, "num_timesteps": 1000},
                "prediction": "noise",
                "sampler": {"name": "dpmpp", "steps": 20, "samples": 1, "clip": [-1, 1]},
            },
        },
        "training_data": {"description": entry["training_data"], "simulated": False},
        "licence": entry["licence"],
        "intended_use": entry["intended_use"],
        "limitations": [
            "The output is relative (0 to 1), not SUVR: every training PET was scaled by its own minimum and maximum.",
            "The direction of the left-right axis in training is not documented; towards the right is assumed.",
            "Trained on former football players; other people, scanners and protocols may give anything.",
            "PET cannot be inferred from MRI with certainty; the output is a plausible image, not a measurement.",
        ],
        "differences_from_paper": [
            "scaled-linear instead of linear noise schedule (as the authors' code)",
            "timesteps count from 0 (as the authors' code)",
            "tracer label added to the timestep embedding; no cross-attention (as the authors' code)",
            "sampled by DPM-Solver++ 2M in 20 steps by default; ddpm with 1000 steps is the authors' sampler",
        ],
    }


def _generator_arguments() -> dict:
    """The published network's arguments: the defaults of `build_generator`, written out for the metadata."""
    import inspect

    from ..networks.generator import build_generator

    defaults = {name: p.default for name, p in inspect.signature(build_generator).parameters.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}


def _read(file: Path, max_bytes: int) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise ModelError(f"checkpoint {file} is not a plain file; refused")
        if file.stat().st_size > max_bytes:
            raise ModelError(f"{file} is larger than {max_bytes // 2**20} MiB; it is not the published checkpoint")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelError(f"cannot read checkpoint {file}: {getattr(error, 'strerror', None) or error}") from error


def _unpickle(content: bytes, file: Path, max_bytes: int) -> tuple[dict[str, torch.Tensor], int]:
    """State dict and epoch of a checkpoint file; only plain tensors in plain containers come through."""
    import torch

    stream = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                if sum(member.file_size for member in archive.infolist()) > max_bytes:
                    raise ModelError(f"checkpoint {file} unpacks to more than {max_bytes // 2**20} MiB; refused")
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what cannot be read is refused below
            checkpoint = torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{file} is not plain weights in a PyTorch file; refused, nothing in it was run") from error
    except ModelError:
        raise
    except Exception as error:  # there is no telling what a damaged file makes the loader raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{file} is damaged or not a PyTorch file ({reason}); get it again") from error

    if not isinstance(checkpoint, dict) or checkpoint.keys() != {"model_state_dict", "epoch"}:
        raise ModelError(f"{file} is not a checkpoint of the published kind: a dict of model_state_dict and epoch")
    weights, epoch = checkpoint["model_state_dict"], checkpoint["epoch"]
    if not isinstance(weights, dict) or type(epoch) is not int:
        raise ModelError(f"{file}: model_state_dict is not a dict, or epoch is not an integer")
    _check_weights(weights, file, max_bytes)
    return {name: tensor.detach() for name, tensor in weights.items()}, epoch


def _check_weights(weights: dict, file: Path, max_bytes: int) -> None:
    """Raise `ModelError` unless these are plain finite tensors under plain names, no larger than the file may be."""
    import torch

    size = 0
    for name, tensor in weights.items():
        plain = isinstance(name, str) and type(tensor) in (torch.Tensor, torch.nn.Parameter)
        if not plain or tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
            raise ModelError(f"{file}: {str(name)[:60]!r} is not a plain tensor")
        # One stored number can be seen as a tensor of 2^40, and one storage by thousands of tensors.
        size += tensor.numel() * tensor.element_size()
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() or size > max_bytes:
            raise ModelError(f"{file}: {name[:60]!r} claims more values than the file holds; refused")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{file}: {name[:60]!r} holds values that are not finite")
    if weights and all(name.startswith("module.") for name in weights):
        raise ModelError(
            f"{file}: the tensors' names begin with 'module.', as PyTorch's DataParallel saves them; save the state "
            f"dict of the network's .module instead"
        )
