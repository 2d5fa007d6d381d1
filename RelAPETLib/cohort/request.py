"""What is asked of a cohort, the same for every person and every runner; travels to other processes and machines."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..registration import AUTO
from ..synthesis.options import Options

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        source: the data set's folder or table, to name inputs by their place in it.
        out: folder of the derivatives.
        options: tracers by name, model, sampler, steps, samples, seed, device, force, yes; nothing of a person.
        work: folder for prepared cases, so that registering need not be done twice; None keeps none.
        report: draw a picture of each result.
        redo: do also what is done.
        linked: results point to the scans that they were made from; not to copies that will be removed.
        model: name, version and hashes of the model's two files.
    """

    source: Path
    out: Path
    options: Options
    work: Path | None = None
    report: bool = True
    redo: bool = False
    linked: bool = True
    model: dict = field(default_factory=dict)

    def choices(self) -> dict:
        """The options that shape a result, as JSON: what a record is compared by."""
        names = ("sampler", "steps", "samples", "seed", "space", "preprocessed", "force")
        # Only where they are asked for, so that records of earlier versions are still those of the same options.
        later = {"quality": self.options.quality} if self.options.quality else {}
        later |= {"precision": self.options.precision} if self.options.precision != "fp32" else {}
        later |= {"cutoffs": self.options.cutoffs} if self.options.cutoffs else {}
        later |= {"registration": self.options.registration} if self.options.registration != AUTO else {}
        return {name: getattr(self.options, name) for name in names} | later


def make_request(source: Path, out: Path, options: Options, **more) -> Request:
    """A request whose tracers are named and whose model is known to be whole; its weights are not loaded.

    Raises:
        ModelError: the model is unknown or damaged.
        InputError: the model lacks a tracer that is asked for, or cannot draw by these steps, sampler or quality.
    """
    from ..errors import InputError
    from ..models import locate
    from ..synthesis import for_model
    from ..synthesis.options import check_drawing

    bundle = locate(options.model)
    check_drawing(options)
    options = for_model(options)
    if bundle.folder == Path(options.model):  # a folder, which workers elsewhere may know by its whole path alone
        options = replace(options, model=bundle.folder.absolute())
    known = bundle.metadata["tracers"]
    for name in options.tracers:
        if name not in known:
            raise InputError(f"model {bundle.metadata['name']} has no tracer {name}; it has {', '.join(known)}")
    for name in options.cutoffs:
        if name not in options.tracers:
            raise InputError(f"a cut-off of {name} was given, which is not asked for; leave it out, or add the tracer")
    model = {
        "name": bundle.metadata["name"],
        "version": bundle.metadata["version"],
        "weights_sha256": bundle.weights_sha256,
        "metadata_sha256": bundle.metadata_sha256,
    }
    return Request(Path(source).absolute(), Path(out).absolute(), options, model=model, **more)


def for_visit(request: Request, tracers: tuple[str, ...], clinical, uses_clinical: bool) -> Options:
    """The options of one person: the tracers that are still to do, and the values that the model asks for."""
    values = clinical.record() if uses_clinical else {}
    return replace(request.options, tracers=tracers, reference=None, **values)


def without_roots(words: str, request: Request, case: Path | None = None) -> str:
    """A message with paths as they are inside the data set, the output or a saved case: no path of the machine."""
    root = request.source if request.source.is_dir() else request.source.parent
    for known in (case, request.out, request.work, root):
        if known is not None:
            words = words.replace(f"{known.absolute()}{os.sep}", "").replace(f"{known}{os.sep}", "")
    return words


def fingerprint(content: dict) -> str:
    """SHA-256 of what is plain JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def loaded_model(request: Request) -> Model:
    """The request's model, loaded once a process. Raises `ModelError` where it is not what it was any more.

    A full GPU may have handed it over to the CPU for one person: each synthesis brings it back (`ConditionedModel`).
    """
    return _loaded(request.options.model, request.options.device, request.model["weights_sha256"])


def forget_model() -> None:
    """Let go of the model that this process holds."""
    _loaded.cache_clear()


@lru_cache(maxsize=1)
def _loaded(name: str | Path, device: str, weights_sha256: str) -> Model:
    from ..errors import ModelError
    from ..models import load_model

    model = load_model(name, device=device)
    if model.weights_sha256 != weights_sha256:
        raise ModelError(f"model {model.name} was changed while the cohort ran; begin again")
    return model
