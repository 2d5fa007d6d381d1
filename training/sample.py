"""Synthetic PET for the people of a cache, by a model bundle: what `evaluate` measures.

::

    OUT/CASE_trc-TRACER_pet.nii.gz    on the model grid, SUVR or relative (0 to 1), 0 outside the brain
    OUT/samples.json                  model, settings, and of every volume the seconds it took
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from RelAPETLib.errors import InputError
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.methods.base import SEQUENCES

from .data.cache import Cache, Item, alone_in, pretty_json, sweep, write_whole
from .data.split import Split
from .origins import source_sha256

if TYPE_CHECKING:
    from RelAPETLib.synthesis.options import Options

RECORD = "samples.json"
#: What tells data apart, in a bundle's ``training_data`` and in ``samples.json``.
DATA = ("cache_sha256", "split_sha256")


@dataclass(frozen=True)
class Drawing:
    """How volumes are drawn; None takes the bundle's default.

    Attributes:
        device: as `RelAPETLib.devices.resolve_device` takes it.
        samples: how many are averaged to one volume.
        steps, sampler: of the sampler.
        seed: every case's own seed follows from it and the case's name; see `case_seed`.
        without_t2f: from the T1w alone, by a bundle that can do without the T2-FLAIR.
    """

    device: str = "auto"
    samples: int = 1
    steps: int | None = None
    sampler: str | None = None
    seed: int = 0
    without_t2f: bool = False

    def options(self, tracers: str | Sequence[str]) -> Options:
        """The same as the library's `Options`. Raises `InputError` for what no model could do."""
        from RelAPETLib.synthesis.options import Options

        return Options(
            tracers=tracers, sampler=self.sampler, steps=self.steps, samples=self.samples, seed=self.seed,
            device=self.device, yes=True,
        )  # fmt: skip


def case_seed(seed: int, case: str) -> int:
    """Seed of one case's volumes, whatever else is drawn: another for every case, one for all tracers of a case.

    So the tracers of a case share their noise and are drawn jointly, as `RelAPETLib.synthesis` draws them.
    """
    return int(hashlib.sha256(f"{seed}:{case}".encode()).hexdigest()[:7], 16)


def sample_cache(
    bundle: str | Path,
    cache: Cache,
    split: Split,
    part: str,
    out: Path | str,
    drawing: Drawing,
    *,
    tracers: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Draw a volume for every PET of a part of the split, going on where an earlier call stopped.

    Args:
        bundle: folder of a bundle, or a catalogue name.
        part: ``train``, ``validation`` or ``test``.
        tracers: None for all that the bundle knows.
        limit: at most so many volumes; None for all.
        progress: called with a line for every volume.

    Returns:
        The contents of ``samples.json``.

    Raises:
        InputError: nothing to draw, a cache of blocks, a bundle that needs the T2-FLAIR where it is left out, or the
            folder holds volumes of another model or other settings.
        ModelError, DeviceError: as `load_model`.
    """
    from RelAPETLib.models import load_model, locate
    from RelAPETLib.synthesis.options import resolve

    cache.check_whole()
    options = drawing.options(tracers or "all")
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit} is out of range; use at least 1")
    place = Path(bundle) if Path(bundle).is_dir() else str(bundle)
    if drawing.without_t2f:
        check_without_t2f(locate(place).metadata)  # before the weights are loaded
    model = load_model(place, drawing.device)
    plans = resolve(options, model)
    wanted = [plan.tracer.name for plan in plans]
    resolved = replace(drawing, sampler=plans[0].sampler, steps=plans[0].steps)
    items = cache.items(split.part(part), wanted)[:limit]
    if not items:
        raise InputError(f"no PET of {', '.join(wanted)} in the {part} part of the split")
    with alone_in(Path(out)):
        sweep(Path(out), progress)
        record = _record(Path(out), model, cache, split, part, resolved)
        record["volumes"] = [volume for volume in record["volumes"] if (Path(out) / volume["file"]).is_file()]
        done = {(volume["case"], volume["tracer"]) for volume in record["volumes"]}
        inside = cache.mask()
        for number, item in enumerate(items, start=1):
            if (item.case, item.tracer) in done:
                continue
            pet, seconds = draw_volume(model, cache, item, drawing, inside)
            name = f"{item.case}_trc-{item.tracer}_pet.nii.gz"
            _write_volume(pet, Path(out) / name)
            record["volumes"].append({**asdict(item), "file": name, "seconds": round(seconds, 4)})
            write_whole(Path(out) / RECORD, pretty_json(record))
            progress(f"{number} of {len(items)}: {item.case} {item.tracer} {seconds:.2f} s")
        return record


def check_without_t2f(metadata: Mapping) -> None:
    """Raise `InputError` where a model, by its metadata, was not trained to do without the T2-FLAIR."""
    if "t2f" in metadata["inputs"] and "t2f" not in metadata.get("optional_inputs", ()):
        raise InputError(
            f"--without-t2f: model {metadata['name']} was not trained to do without the T2-FLAIR; leave --without-t2f "
            "out, or train one with data.drop_t2f"
        )


def draw_volume(model, cache: Cache, item: Item, drawing: Drawing, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """One volume [160, 180, 160] in the model's units, and the seconds from MRI in memory to PET in memory."""
    import torch

    from RelAPETLib.networks.blocks import BACKGROUND
    from RelAPETLib.scaling import to_units
    from RelAPETLib.synthesis.options import resolve
    from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples

    (plan,) = resolve(drawing.options(item.tracer), model)
    mri = np.stack([cache.array(item.case, name).astype(np.float32) for name in SEQUENCES])
    if drawing.without_t2f:
        mri[SEQUENCES.index("t2f")] = BACKGROUND
    begin = time.perf_counter()
    conditioned = ConditionedModel(model, torch.from_numpy(mri)[None])
    draw = draw_samples(conditioned, replace(plan, seed=case_seed(drawing.seed, item.case)), yes=True)
    seconds = time.perf_counter() - begin
    return np.where(inside, to_units(draw.mean, plan.window), 0).astype(np.float32), seconds


def _record(out: Path, model, cache: Cache, split: Split, part: str, drawing: Drawing) -> dict:
    """The record to go on with: that of an earlier call with the same settings, or a new one."""
    settings = {
        "model": {"name": model.name, "version": model.version, "weights_sha256": model.weights_sha256},
        "source_sha256": source_sha256(model.metadata["source"]),
        "output": {name: facts["output"] for name, facts in model.metadata["tracers"].items()},
        "metrics": model.metadata["source"].get("config", {}).get("preset", {}).get("metrics", "both"),
        "windows": {name: facts["window"] for name, facts in model.metadata["tracers"].items()},
        "trained_on": {key: model.metadata["training_data"].get(key) for key in DATA},
        "cache_sha256": cache.sha256,
        "split_sha256": split.sha256,
        "part": part,
        "sampler": drawing.sampler,
        "steps": drawing.steps,
        "samples": 1 if model.method.defaults.deterministic else drawing.samples,
        "seed": drawing.seed,
        "noise": "by case",  # in folders of earlier versions, by case and tracer
        "without_t2f": drawing.without_t2f,
        "device": str(model.device),
        "device_name": _device_name(str(model.device)),
    }
    path = out / RECORD
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return {**settings, "volumes": []}
    kept = read_record(out)
    # Folders of earlier versions do not say these; of the last two their weights tell as much.
    told = {key: settings[key] for key in ("source_sha256", "trained_on")}
    kept = {"without_t2f": False, **told, **kept}
    other = [key for key, value in settings.items() if kept.get(key) != value]
    if other:
        raise InputError(f"{path}: made with another {other[0]}; choose another --out, or remove that folder")
    return kept


def _device_name(device: str) -> str:
    from RelAPETLib.devices import describe_devices

    return next((known["name"] for known in describe_devices() if known["device"] == device), device)


#: What ``samples.json`` holds, with types.
_RECORD = {
    "volumes": list,
    "model": dict,
    "output": dict,
    "windows": dict,
    "sampler": (str, type(None)),
    "steps": int,
    "samples": int,
}
_RECORD |= dict.fromkeys(("metrics", "cache_sha256", "split_sha256", "part", "device_name"), str)
_VOLUME = {"case": str, "subject": str, "tracer": str, "file": str, "seconds": (int, float)}


def read_record(folder: Path) -> dict:
    """Contents of ``samples.json``. Raises `InputError` when there is none or it is damaged."""
    path, advice = folder / RECORD, "sample again into another folder"
    if not path.exists():
        raise InputError(f"{folder}: no {RECORD}; make the volumes with 'python -m training sample'")
    record = read_json_object(path, advice=advice)
    if not _is_whole(record):
        raise InputError(f"{path}: not what 'python -m training sample' writes; {advice}")
    return record


def _is_whole(record: dict) -> bool:
    """Whether a record has what `evaluate` reads, and names no file elsewhere."""
    if not all(isinstance(record.get(key), kind) for key, kind in _RECORD.items()):
        return False
    if not all(isinstance(record["model"].get(key), str) for key in ("name", "version")):
        return False
    for volume in record["volumes"]:
        if not isinstance(volume, dict) or not all(isinstance(volume.get(key), kind) for key, kind in _VOLUME.items()):
            return False
        window = record["windows"].get(volume["tracer"])
        numbers = isinstance(window, list) and [type(n) in (int, float) for n in window] == [True, True]
        if not numbers or volume["tracer"] not in record["output"] or Path(volume["file"]).name != volume["file"]:
            return False
    return True


def _write_volume(pet: np.ndarray, path: Path) -> None:
    from RelAPETLib.grid import array_to_image
    from RelAPETLib.volumes import mark_synthetic, write_volume

    write_volume(mark_synthetic(array_to_image(pet)), path, overwrite=True)
