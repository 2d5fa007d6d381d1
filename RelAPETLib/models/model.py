"""A model ready for use, and the way from a name or folder to it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..devices import resolve_device
from ..errors import DeviceError, ModelError
from ..grid import MNI_GRID, ModelGrid
from ..methods import method_class
from ..methods.base import UNBUILDABLE
from .bundle import VerifiedBundle, verify_bundle
from .catalogue import check_entry, load_catalogue, model_path, own_models
from .metadata import method_of
from .places import found_models
from .trial import check_draws

if TYPE_CHECKING:
    import torch

    from ..methods.base import Method
    from .calibration import Calibration
    from .departure import Departures


@dataclass(frozen=True)
class Model:
    """A loaded model, in evaluation mode, without gradients.

    Attributes:
        method: what draws: `RelAPETLib.methods.base.Method`.
        metadata: contents of the bundle's configs/metadata.json, valid against `Resources/bundle.schema.json`.
        device: torch device it is on, e.g. ``"cpu"`` or ``"cuda:0"``.
        folder: the bundle.
        weights_sha256, metadata_sha256: hashes of the bundle's two files.
        calibration: what is known of its errors on people whom no training saw; None where nothing is.
        departures: mean and SD of what it draws of its training people; None where they are not in this model.
        ways: of `networks.execution` that its network goes on a GPU.
    """

    method: Method
    metadata: dict
    device: str
    folder: Path
    weights_sha256: str
    metadata_sha256: str
    calibration: Calibration | None = None
    departures: Departures | None = None
    ways: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the metadata."""
        return self.metadata["name"]

    @property
    def version(self) -> str:
        """Version in the metadata."""
        return self.metadata["version"]

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """MRI sequences that it was trained to do without; empty: it needs all."""
        return tuple(self.metadata.get("optional_inputs", ()))

    @property
    def grid(self) -> ModelGrid:
        """Grid of the MRI it takes and the PET it gives."""
        return MNI_GRID

    def to(self, device: str) -> Model:
        """The same model with its weights on another device; they leave the one they were on.

        On the CPU its network goes the plain way.
        """
        from ..networks.execution import take_ways

        self.method.network.to(device)
        if device == "cpu" and self.ways:
            take_ways(self.method.network, ())
            return replace(self, device=device, ways=())
        return replace(self, device=device)

    def brought_back(self) -> Model:
        """This model with its network on its device again, and on its ways there: `to` may have moved it meanwhile.

        Raises:
            RuntimeError: torch's own, when the device has no room.
        """
        from ..networks.execution import take_ways

        self.method.network.to(self.device)
        if self.ways:
            take_ways(self.method.network, self.ways)
        return self


def load_model(name_or_dir: str | Path, device: str = "cpu") -> Model:
    """Load a model from the catalogue by its name, or from a bundle's folder.

    Nothing of a bundle is executed: metadata are plain JSON against a schema, the network's class comes from a closed
    list, weights are safetensors of exactly the names, shapes and types that the network has.

    Args:
        name_or_dir: name in the catalogue or among the user's own models, else a folder (a `Path`, or
            ``"./demo"``, is always a folder).
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` or ``"auto"``.

    Raises:
        ModelError: unknown, not on this machine, corrupt, tampered with, or made for a newer RelAPET.
        DeviceError: unknown or absent device, or its memory is full.
        InputError: a way through the network is asked for that there is not (`networks.execution`).
    """
    device = resolve_device(device)
    return load_bundle(locate(name_or_dir), device)


def load_bundle(bundle: VerifiedBundle, device: str) -> Model:
    """The model of a verified bundle, on a device that `resolve_device` gave. Raises as `load_model` does."""
    from ..networks.execution import take_ways, ways_asked_for

    ways = ways_asked_for() if device.startswith("cuda") else ()
    method = _build(bundle)
    _load_weights(method.network, bundle)
    method.network.eval().requires_grad_(False)
    label = next(iter(bundle.metadata["tracers"].values()))["label"]
    check_draws(method, label, f"model {bundle.folder}")
    try:
        method.network.to(device)
    except RuntimeError as error:
        raise DeviceError(f"cannot put the model on {device}: {str(error).splitlines()[0]}") from error
    if ways:
        take_ways(method.network, ways)
    return Model(
        method=method,
        metadata=bundle.metadata,
        device=device,
        folder=bundle.folder,
        weights_sha256=bundle.weights_sha256,
        metadata_sha256=bundle.metadata_sha256,
        calibration=bundle.calibration,
        departures=bundle.departures,
        ways=ways,
    )


def locate(name_or_dir: str | Path) -> VerifiedBundle:
    """The verified bundle behind a catalogue name or a folder. Raises `ModelError` as `load_model` does."""
    entry = load_catalogue().get(name_or_dir) if isinstance(name_or_dir, str) else None
    if entry is not None:
        bundle = verify_bundle(model_path(entry["name"]))
        check_entry(bundle, entry)
        return bundle
    entries = load_catalogue()
    own = own_models(entries) if isinstance(name_or_dir, str) else {}
    if name_or_dir in own:
        return verify_bundle(own[name_or_dir]["path"])
    if not Path(name_or_dir).is_dir():
        for each in found_models():
            if each.folder.name == name_or_dir and each.problem:
                raise ModelError(each.problem)
        known = ", ".join([*entries, *own])
        raise ModelError(
            f"unknown model '{name_or_dir}': neither a folder nor one of {known}; see 'relapet models list'"
        )
    return verify_bundle(name_or_dir)


def verify(name_or_dir: str | Path) -> dict:
    """Check a model as thoroughly as loading it does.

    Returns:
        ``{"name", "version", "path", "weights_sha256", "metadata_sha256", "parameters"}``.

    Raises:
        ModelError: as `load_model`.
    """
    model = load_model(name_or_dir)
    return {
        "name": model.name,
        "version": model.version,
        "path": str(model.folder),
        "weights_sha256": model.weights_sha256,
        "metadata_sha256": model.metadata_sha256,
        "parameters": sum(p.numel() for p in model.method.network.parameters()),
    }


def _build(bundle: VerifiedBundle) -> Method:
    """The method that the metadata describe, its network's weights not yet filled."""
    import torch

    name, settings = method_of(bundle.metadata)
    make = method_class(name).build
    try:
        # First on the meta device, which takes no memory: absurd sizes end here.
        with torch.device("meta"), _without_random_weights():
            shell = make(settings)
        _check_tensors(shell.network, bundle)
        _check_labels(shell.network, bundle)
        with _without_random_weights():
            return make(settings)
    except ModelError:  # other tensors than the file has
        raise
    except UNBUILDABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {bundle.folder}: its settings make no {name} network: {reason}") from error


def _without_random_weights() -> AbstractContextManager:
    """While a network is built, leave out its random first weights, which the bundle's replace.

    Beside their time, a normal distribution on the meta device imports torch._dynamo, more than a second of CPU.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    init, plain = torch.nn.init, torch.Tensor
    random = {init.normal_, init.uniform_, init.kaiming_uniform_, plain.normal_, plain.uniform_}

    class Mode(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if function in random:
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            return function(*args, **kwargs)

    return Mode()


def _check_tensors(network: torch.nn.Module, bundle: VerifiedBundle) -> None:
    """Raise `ModelError` unless the weights file has the network's tensors, no more and no fewer."""
    import torch

    exact = {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
    wanted = network.state_dict()
    missing, surplus = sorted(wanted.keys() - bundle.tensors.keys()), sorted(bundle.tensors.keys() - wanted.keys())
    if missing or surplus:
        first = f"'{missing[0]}' is missing" if missing else f"{surplus[0][:80]!r} is unknown"
        raise ModelError(f"model weights {bundle.weights_path} do not fit the network: {first}")
    for name, tensor in wanted.items():
        shape, dtype = bundle.tensors[name]
        types = ("F32", "F16", "BF16") if tensor.is_floating_point() else (exact.get(tensor.dtype),)
        if shape != tuple(tensor.shape) or dtype not in types:
            raise ModelError(
                f"model weights {bundle.weights_path} do not fit the network: '{name}' is {dtype} {list(shape)}, "
                f"not {types[0]} {list(tensor.shape)}"
            )


def _check_labels(network: torch.nn.Module, bundle: VerifiedBundle) -> None:
    """Raise `ModelError` where a tracer's class label is beyond those that the network embeds."""
    embedded = [len(t) for name, t in network.state_dict().items() if name.endswith("class_embedding.weight")]
    for name, facts in bundle.metadata["tracers"].items():
        if embedded and facts["label"] >= min(embedded):
            raise ModelError(
                f"model {bundle.folder}: tracer {name} has label {facts['label']}, but the network knows "
                f"{min(embedded)} labels"
            )


def _load_weights(network: torch.nn.Module, bundle: VerifiedBundle) -> None:
    """Fill a network. Raises `ModelError` where the file is another one by now than the one that was verified."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(bundle.weights_path), strict=True)
    except (OSError, RuntimeError, SafetensorError):
        bundle.check_unchanged()
        raise
    bundle.check_unchanged()
