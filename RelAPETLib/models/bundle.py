"""Model bundles: a folder of metadata and weights, whole and consistent or refused.

::

    NAME/configs/metadata.json    everything the library needs to know (`Resources/bundle.schema.json`)
    NAME/configs/inference.json   the same for a reader in a hurry; never read by the library
    NAME/model.safetensors        weights; the header holds the metadata's fingerprint
    NAME/calibration.safetensors  perhaps: see `models.calibration`
    NAME/departure.safetensors    perhaps: see `models.departure`
    NAME/LICENSE
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError, OutputError
from ..methods import method_class
from ..methods.base import UNBUILDABLE
from ..notices import printable
from ..outputs import Reserved, reserve, write_set
from .calibration import CALIBRATION_FILE, MAX_CALIBRATION_BYTES, Calibration, read_calibration
from .departure import DEPARTURE_FILE, MAX_DEPARTURE_BYTES, Departures, read_departures
from .metadata import MAX_JSON_BYTES, SCHEMA_VERSION, check_metadata, fingerprint, load_hashed_json, method_of

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "configs/metadata.json"
#: All that a bundle may hold.
BUNDLE_FILES = (METADATA_FILE, "configs/inference.json", WEIGHTS_FILE, CALIBRATION_FILE, DEPARTURE_FILE, "LICENSE")
MAX_WEIGHTS_BYTES = 2 * 1024**3
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_FINGERPRINT_KEY = "metadata_sha256"


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle whose metadata are valid and whose files belong together.

    Attributes:
        folder: where it is.
        metadata: contents of configs/metadata.json.
        weights_sha256, metadata_sha256: hashes of the two files.
        tensors: by name, shape and type (safetensors' spelling, e.g. ``"F16"``) of every stored tensor.
        calibration: what is known of its errors; None where nothing is.
        departures: mean and SD of what it draws of its training people; None where they are not in it.
        weights_state: which file it was that the hash is of, see `check_unchanged`.
    """

    folder: Path
    metadata: dict
    weights_sha256: str
    metadata_sha256: str
    tensors: dict[str, tuple[tuple[int, ...], str]]
    calibration: Calibration | None = None
    departures: Departures | None = None
    weights_state: tuple[int, ...] = ()

    @property
    def weights_path(self) -> Path:
        """Path of the weights file."""
        return self.folder / WEIGHTS_FILE

    def check_unchanged(self) -> None:
        """Raise `ModelError` where the weights file is not the one that was verified; asked after it was read."""
        if _state(self.weights_path) != self.weights_state:
            raise ModelError(f"model {self.folder} was changed while it was loaded; begin again")


def verify_bundle(folder: Path | str) -> VerifiedBundle:
    """Check a bundle without loading its weights: metadata, hash of the weights, and that the two belong together.

    Raises:
        ModelError: something is missing, corrupt, tampered with, or made for a newer RelAPET.
    """
    from ..volumes import file_sha256

    folder = Path(folder)
    metadata, checksum, weights = _checked_parts(folder)
    state = _state(weights)
    found = file_sha256(weights)
    if found != metadata["weights"]["sha256"]:
        raise ModelError(
            f"model weights {weights} are corrupt or were changed: SHA-256 {found[:12]}..., metadata say "
            f"{metadata['weights']['sha256'][:12]}...; get the model again"
        )
    tensors = _stored(folder, metadata)
    parts = read_calibration(folder, metadata), read_departures(folder, metadata)
    return VerifiedBundle(folder, metadata, found, checksum, tensors, *parts, state)


def _state(path: Path) -> tuple[int, ...]:
    """What changes where another file comes in a file's place, or something is written into it."""
    try:
        facts = path.stat()
    except OSError as error:
        raise ModelError(f"cannot read model weights {path}: {error.strerror or error}") from error
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def check_bundle(folder: Path | str) -> None:
    """What can be checked of a bundle without reading its weights: all that `verify_bundle` does but their hash.

    Raises:
        ModelError: something is missing, cut short, no plain file, contradictory, or made for a newer RelAPET.
    """
    folder = Path(folder)
    metadata = _checked_parts(folder)[0]
    _stored(folder, metadata)
    read_calibration(folder, metadata)
    read_departures(folder, metadata)


def _checked_parts(folder: Path) -> tuple[dict, str, Path]:
    """Valid metadata, the hash of their file, and the path of a weights file that is there."""
    if not folder.is_dir():
        raise ModelError(f"no model folder at {folder}")
    if any("\udc80" <= letter <= "\udcff" for letter in str(folder)):  # safetensors opens no such file
        raise ModelError(f"{printable(folder)}: a model's path must be UTF-8; rename the folder")
    check_files(folder)
    path = folder / METADATA_FILE
    if not path.is_file():
        raise ModelError(f"{folder} is not a model: it has no {METADATA_FILE}")
    metadata, checksum = load_hashed_json(path, "model metadata")
    check_metadata(metadata, f"model metadata {path}")
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"model weights missing: {weights}; get the model again")
    refuse_lfs_pointer(weights, weights)
    return metadata, checksum, weights


def _stored(folder: Path, metadata: dict) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of every stored tensor, from a weights file whose header has the fingerprint of the metadata."""
    from safetensors import SafetensorError, safe_open

    weights = folder / WEIGHTS_FILE
    try:
        with safe_open(weights, framework="numpy") as file:
            header = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}
            tensors = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except SafetensorError as error:
        raise ModelError(
            f"model weights {weights} are not a safetensors file ({error}); get the model again"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read model weights {weights}: {error.strerror or error}") from error
    if header.get(_FINGERPRINT_KEY) != fingerprint(metadata):
        raise ModelError(
            f"model metadata {folder / METADATA_FILE} were changed after the weights were written; get the model "
            f"again, or write it anew with write_bundle"
        )
    return tensors


def max_bytes(name: str) -> int:
    """How large one of the `BUNDLE_FILES` may be."""
    of_arrays = {CALIBRATION_FILE: MAX_CALIBRATION_BYTES, DEPARTURE_FILE: MAX_DEPARTURE_BYTES}
    return {WEIGHTS_FILE: MAX_WEIGHTS_BYTES, **of_arrays}.get(name, MAX_JSON_BYTES)


def check_files(folder: Path) -> None:
    """Raise `ModelError` when one of the `BUNDLE_FILES` is a link, no plain file, or too large.

    A link would bring another file of the machine into a copy of the model, and a pipe or device would never end.
    """
    try:
        for name in ("configs", *BUNDLE_FILES):
            path = folder / name
            if not os.path.lexists(path):
                continue
            facts = path.lstat()
            if not (stat.S_ISDIR if name == "configs" else stat.S_ISREG)(facts.st_mode):
                raise ModelError(f"{path} is a link or another special file; a model holds plain files only; refused")
            if name != "configs" and facts.st_size > max_bytes(name):
                raise ModelError(f"{path} has {facts.st_size} bytes, more than {max_bytes(name)}; refused")
    except OSError as error:
        raise ModelError(f"cannot read model {folder}: {error.strerror or error}") from error


def refuse_lfs_pointer(file: Path, shown: object, error_class: type[ModelError] = ModelError) -> None:
    """Raise `ModelError` (or a child of it) when Git has left a pointer in place of a large file."""
    try:
        with open(file, "rb") as stream:
            start = stream.read(len(_LFS_POINTER))
    except OSError as error:
        raise ModelError(f"cannot read {shown}: {error.strerror or error}") from error
    if start == _LFS_POINTER:
        raise error_class(f"{shown} is a Git LFS pointer, not the file itself; get the file with 'git lfs pull'")


def write_bundle(
    out_dir: Path | str,
    network: torch.nn.Module,
    metadata: dict,
    overwrite: bool = False,
    *,
    half: Sequence[str] = (),
    licence_text: str | None = None,
) -> dict:
    """Write a network and its metadata as a bundle, all of it or nothing.

    Args:
        out_dir: the bundle's folder; missing parents are made.
        network: the method's module; its whole state dict is stored.
        metadata: all keys of `Resources/bundle.schema.json` but `weights` and `made_with`, which are filled in here;
            `schema_version` is the newest where it is left out.
        overwrite: replace a bundle that is there; a folder that is no bundle is never replaced.
        half: beginnings of the names of floating-point tensors to store as float16; ``("",)`` means all.
        licence_text: contents of LICENSE.

    Returns:
        The metadata as written.

    Raises:
        ModelError: metadata are not valid or do not fit the network, or weights are not finite (also after `half`).
        OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    from safetensors.torch import save

    metadata = json.loads(json.dumps(metadata, allow_nan=False))
    metadata |= {"schema_version": metadata.get("schema_version", SCHEMA_VERSION), "made_with": _versions()}
    tensors = _stored_tensors(network, tuple(half))
    weights = save(tensors, metadata={_FINGERPRINT_KEY: fingerprint(metadata)})
    metadata["weights"] = {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(weights).hexdigest()}
    check_metadata(metadata, f"metadata for {out_dir}")
    _check_fits(network, metadata, f"metadata for {out_dir}")

    files = {
        METADATA_FILE: _pretty(metadata),
        "configs/inference.json": _pretty(_inference_summary(metadata)),
        WEIGHTS_FILE: weights,
    }
    if licence_text is not None:
        files["LICENSE"] = licence_text.encode()
    write_folder(Path(out_dir), files, overwrite)
    return metadata


def rewrite_bundle(source: Path, out: Path, changes: dict, files: dict[str, bytes], *, overwrite: bool = False) -> dict:
    """Write a copy of a bundle with other metadata and further files, all of it or nothing.

    The weights' values stay as they are; their header gets the new metadata's fingerprint.

    Args:
        changes: metadata to replace.
        files: contents by their path in the bundle, beside metadata, weights and licence. Arrays of the source's
            calibration and departure stay as long as the metadata know of them.

    Returns:
        The metadata as written.

    Raises:
        ModelError: the source is damaged, or the changed metadata are not valid.
        OutputError: `out` exists and may not be replaced, or cannot be written.
    """
    from safetensors.torch import load_file, save

    bundle = verify_bundle(source)
    metadata = json.loads(json.dumps({**bundle.metadata, **changes}, allow_nan=False))
    weights = save(load_file(bundle.weights_path), metadata={_FINGERPRINT_KEY: fingerprint(metadata)})
    bundle.check_unchanged()
    metadata["weights"] = {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(weights).hexdigest()}
    check_metadata(metadata, f"metadata for {out}")
    content = {
        METADATA_FILE: _pretty(metadata),
        "configs/inference.json": _pretty(_inference_summary(metadata)),
        WEIGHTS_FILE: weights,
        **files,
    }
    kept = {"LICENSE": True, CALIBRATION_FILE: gate_of(metadata), DEPARTURE_FILE: "departure" in metadata}
    for name, wanted in kept.items():
        if wanted and name not in content and (source / name).is_file():
            content[name] = (source / name).read_bytes()
    write_folder(out, content, overwrite)
    return metadata


def gate_of(metadata: dict) -> dict | None:
    """What metadata say of the calibration's arrays; None without them."""
    return (metadata.get("calibration") or {}).get("gate")


def _check_fits(network: torch.nn.Module, metadata: dict, what: str) -> None:
    """Raise `ModelError` when the settings of the method make another network than the given one."""
    import torch

    name, settings = method_of(metadata)
    try:
        with torch.device("meta"):
            made = method_class(name).build(settings).network
    except UNBUILDABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{what}: its settings make no {name} network: {reason}") from error
    if type(made) is not type(network):
        raise ModelError(f"{what}: its settings make a {type(made).__name__}, not a {type(network).__name__}")
    shapes, given = ({key: tensor.shape for key, tensor in n.state_dict().items()} for n in (made, network))
    differing = [key for key in sorted(shapes.keys() | given.keys()) if shapes.get(key) != given.get(key)]
    if differing:
        raise ModelError(f"{what}: its settings make another network than the given one, see '{differing[0]}'")


@contextlib.contextmanager
def reserve_bundle(target: Path, overwrite: bool) -> Iterator[Reserved]:
    """Keep a bundle's folder for this run until it is in place (`place_bundle`); other bundles beside it stay free.

    Raises:
        OutputError: the folder exists and may not be replaced, cannot be written, or another run writes it.
    """
    target = target.absolute()
    if target.name in ("", ".."):
        raise OutputError(f"{target} exists and is not a model folder; choose another one")
    with reserve(target.parent, entry=target.name, check=lambda: _check_target(target, overwrite)) as place:
        yield place


def place_bundle(place: Reserved, target: Path, fill: Callable[[Path], None]) -> None:
    """Put what `fill` writes into a new folder in place of `target`."""
    write_set(place, {target.name: fill}, overwrite=True, folders=[target.name])


def write_folder(target: Path, files: dict[str, bytes], overwrite: bool) -> None:
    """Write a bundle's files, by relative path, all of them or none."""

    def fill(built: Path) -> None:
        for name, content in files.items():
            path = built / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    with reserve_bundle(target, overwrite) as place:
        place_bundle(place, target.absolute(), fill)


def _check_target(target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if target.is_dir() and not target.is_symlink():
        if not any(target.iterdir()):
            return
        if (target / METADATA_FILE).is_file():
            others = {path.name for path in target.iterdir()} - {name.split("/")[0] for name in BUNDLE_FILES}
            if others and overwrite:
                raise OutputError(f"{target} holds {min(others)} beside a model, which would be lost; move it away")
            if overwrite:
                return
            raise OutputError(f"model folder {target} exists already; choose another one or allow overwriting")
    raise OutputError(f"{target} exists and is not a model folder; choose another one")


def _stored_tensors(network: torch.nn.Module, half: tuple[str, ...]) -> dict[str, torch.Tensor]:
    import torch

    stored = {}
    for name, tensor in network.state_dict().items():
        tensor = tensor.detach().cpu()
        if half and tensor.is_floating_point() and name.startswith(half):
            tensor = tensor.half()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"tensor '{name}' of the network is not finite as {tensor.dtype}; no model was written")
        stored[name] = tensor.contiguous().clone()  # safetensors refuses tensors that share memory
    return stored


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from .. import __version__

    return {"relapet": __version__, **{package: version(package) for package in ("torch", "monai", "safetensors")}}


def _inference_summary(metadata: dict) -> dict:
    tracer = next(iter(metadata["tracers"]))
    return {
        "about": "Summary for readers, without expressions. RelAPET reads configs/metadata.json, not this file.",
        "model": metadata["name"],
        "command": f"relapet synthesize --model FOLDER --t1w T1W --t2f T2F --tracer {tracer} --out OUT",
        **{key: metadata[key] for key in ("inputs", "optional_inputs") if key in metadata},
        "tracers": list(metadata["tracers"]),
        "method": method_of(metadata)[0],
    }


def _pretty(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
