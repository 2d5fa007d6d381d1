"""Loaded models kept for the next request, in a process that serves many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from ..devices import resolve_device
from ..errors import DeviceError
from .model import Model, load_bundle, locate


class KeptModels:
    """The models that were used last, each known by its bundle's hashes and its device.

    A bundle is verified at every use, so a changed one is loaded anew and a damaged one refused, as by `load_model`.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int = 1):
        self._most, self._models, self._lock = most, OrderedDict(), threading.Lock()

    def load(self, name_or_dir: str | Path, device: str = "cpu") -> Model:
        """As `load_model`, but at once where the model is kept. Raises what `load_model` raises."""
        with self._lock:  # the request before, refused early, may still be loading its model
            device = resolve_device(device)
            bundle = locate(name_or_dir)
            key = (bundle.weights_sha256, bundle.metadata_sha256, device)
            model = self._models.pop(key, None)
            if model is None:
                while len(self._models) >= self._most:
                    self._models.popitem(last=False)
                model = load_bundle(bundle, device)
            try:
                model.brought_back()  # a full GPU may have handed it over to the CPU meanwhile
            except RuntimeError as error:
                raise DeviceError(f"{device} has no room for model {model.name}") from error
            self._models[key] = model
            return replace(model, folder=bundle.folder, metadata=bundle.metadata, calibration=bundle.calibration)
