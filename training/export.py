"""A trained model as a bundle that ``relapet synthesize --model DIR`` runs, saying what it is and came from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from RelAPETLib.errors import InputError
from RelAPETLib.grid import MNI_GRID
from RelAPETLib.jsonfiles import read_json_object
from RelAPETLib.methods.base import SEQUENCES
from RelAPETLib.tracers import TRACERS

from .methods.base import Bundle, Objective

REPOSITORY = Path(__file__).resolve().parents[1]
INTENDED_USE = "Research on image synthesis. Not for diagnosis, treatment or any clinical decision."
LIMITATIONS = (
    "MRI does not determine amyloid, tau or TSPO uptake: real abnormalities may be missing and absent ones may appear.",
    "It says nothing about people, scanners and sequences unlike those it was trained on.",
    "The spread of its samples is the spread of its guesses, not the error against a measured PET.",
)
#: Of fewer real people, the mean PET that a bundle holds, and a network that knows them by heart, are personal data.
FEW_PEOPLE = 10
SIMULATED_LIMITATION = (
    "It has seen simulated images only: on a real scan its output shows that the software works, nothing about the "
    "patient."
)
#: What a file of a baseline holds.
_OF_BASELINE = ("baseline", "significance")


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
    baseline_file: Path | None = None,
    positivity_file: Path | None = None,
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
        baseline_file: JSON with ``baseline`` and perhaps ``significance``, what the model was compared with elsewhere
            and how surely it is better, each an object or a text; None for what `metrics_file` has alone.
        positivity_file: JSON with ``positivity`` of tracers' metadata by tracer; None where nobody measured that the
            share of draws that reach a cut-off is a probability.
        half: store weights as float16.

    Returns:
        The metadata as written.

    Raises:
        RelAPETError: a checkpoint, cache or file that cannot be used, or a bundle that may not be replaced.
    """
    from . import checkpoints, methods, origins
    from .config import nested, typed
    from .data.cache import open_cache
    from .data.split import FILE, load_split
    from .words import say

    state = checkpoints.load(Path(checkpoint), checkpoints.EXPORTED)
    with checkpoints.restoring(Path(checkpoint)):
        config = typed(state["config"])
        trained_on, split_file = Path(config.data.cache), config.data.split
        weights = checkpoints.exported_weights(state)
        objective = methods.objective(config)
        objective.load_state(state["objective"])
        origin = origins.published(state.get("origin"))
    cache = open_cache(cache_folder or trained_on)
    split = load_split(split_file or cache.folder / FILE, cache)
    if state["split_sha256"] != split.sha256:
        raise InputError(f"{checkpoint}: trained with another split than {cache.folder} has now; restore that split")
    for line in checkpoints.check_cache(Path(checkpoint), state, cache.volumes_sha256(split.train, split.validation)):
        say(line)
    people, places = training_subjects(split, config.preset.held_out), config.rules.places
    for line in few_people(cache, people):
        say(line)
    source = _plain({
        **origin,
        "step": state["step"],
        "changed_on_resuming": origins.changes_without_places(state["history"], places),
        "config": origins.without_places(nested(state["config"]), places),
    })  # fmt: skip
    facts = {
        "name": name,
        "version": version,
        "licence": licence,
        "title": title,
        "text": text,
        "samples": samples,
        "training_data": describe_data(cache, split, config.preset.held_out),
        "tracers": _with_positivity(
            tracer_entries(cache, people, relative=config.preset.pet_intensity == "minmax"), positivity_file
        ),
        "source": source,
        "metrics": _metrics(metrics_file, baseline_file, state, source),
    }
    return export_model(objective, weights, facts, out, half=half, overwrite=overwrite)


def export_model(
    objective: Objective,
    weights: Mapping[str, dict[str, torch.Tensor]],
    facts: dict,
    out: Path | str,
    *,
    half: bool = False,
    overwrite: bool = False,
) -> dict:
    """Write what an objective trained as a bundle.

    Args:
        objective: with the state of the run's checkpoint.
        weights: of its players, by name.
        facts: ``name``, ``version``, ``licence``, ``samples``, ``title`` and ``text`` (None for a usual one),
            ``training_data``, ``tracers``, ``source``, ``metrics``.
        out: folder of the bundle.
        half: store weights as float16, but those that it would harm.
        overwrite: replace a bundle that is there.

    Returns:
        The metadata as written.

    Raises:
        InputError: weights that do not fit the configuration's network.
        ModelError, OutputError: as `write_bundle`.
    """
    from RelAPETLib.models import write_bundle

    from .methods import folder_of

    try:
        bundle = objective.bundle(weights, facts["training_data"]["description"], facts["samples"])
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        first = (str(error).splitlines() or [""])[-1].strip()
        raise InputError(f"export: the weights do not fit the configuration's network: {first}") from error
    optional = ["t2f"] if objective.config.data.drop_t2f or "t2f" in bundle.optional else []
    metadata = describe(facts, folder_of(objective.config.method.name), bundle, optional)
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8") if facts["licence"] == "Apache-2.0" else None
    return write_bundle(
        out, bundle.network, metadata, overwrite, half=tuple(bundle.half) if half else (), licence_text=text
    )


def _with_positivity(tracers: dict[str, dict], file: Path | None) -> dict[str, dict]:
    """Entries of tracers with what a file says of the probability that their draws mean."""
    if file is None:
        return tracers
    said = read_json_object(Path(file))
    for name in said:
        if name not in tracers:
            raise InputError(f"{file}: the model has no tracer {name}; it has {', '.join(tracers)}")
    return {name: facts | ({"positivity": said[name]} if name in said else {}) for name, facts in tracers.items()}


def describe_data(cache, split, held_out: str = "subjects") -> dict:
    """What the metadata say of the training data; names of subjects stay out of it."""
    index = cache.index
    parts = {part: list(getattr(split, part)) for part in ("train", "validation", "test")}
    parts["train"] = training_subjects(split, held_out)
    parts["validation"] = [subject for subject in parts["validation"] if subject not in parts["train"]]
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
        **(
            {"predictable_share_of_regional_variance": _predictable(counts, index["options"].get("law", 1))}
            if index["simulated"]
            else {}
        ),
    }


def training_subjects(split, held_out: str) -> list[str]:
    """Subjects that a run with this `preset.held_out` learned from."""
    return [*split.train, *(split.validation if held_out == "test_only" else ())]


def few_people(cache, subjects: Iterable[str]) -> list[str]:
    """A line for each tracer of which so few real people were trained on that the model may show one of them."""
    found = []
    for tracer in TRACERS:
        count = len({item.subject for item in cache.items(subjects, [tracer])})
        if 0 < count < FEW_PEOPLE and not cache.index["simulated"]:
            who = "1 person" if count == 1 else f"{count} people"
            found.append(
                f"{tracer}: trained on {who}; the bundle's weights and mean PET may show one of so few, so keep it "
                "as you keep their scans"
            )
    return found


def _predictable(tracers: Iterable[str], law: int) -> dict[str, float]:
    """What part of the simulated people's variance an MRI could show."""
    from RelAPETLib.phantom.law import law_tracers, predictable_share

    return {tracer: round(predictable_share(tracer, law), 3) for tracer in tracers if tracer in law_tracers(law)}


def tracer_entries(cache, subjects: Iterable[str], relative: bool) -> dict:
    """Metadata of the tracers that the model was trained on with these subjects; its output is SUVR or relative."""
    region = cache.index["options"]["reference_region"]
    entries = {}
    for tracer in TRACERS.values():
        if not cache.items(subjects, [tracer.name]):
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


def describe(facts: dict, method: str, bundle: Bundle, optional: Sequence[str] = ()) -> dict:
    """All metadata that `write_bundle` does not fill in; `optional` are the inputs that the model can do without."""
    data = facts["training_data"]
    return {
        "name": facts["name"],
        "version": facts["version"],
        "title": facts["title"] or bundle.title + " on simulated data" * data["simulated"],
        "description": facts["text"] or f"{bundle.description}. {data['description']}.",
        "grid": {
            "shape": list(MNI_GRID.shape),
            "spacing_mm": list(MNI_GRID.spacing),
            "origin_mm": list(MNI_GRID.origin),
            "axes": "RAS",
            "space": "ICBM 152 2009a symmetric",
        },
        "inputs": list(SEQUENCES),
        **({"optional_inputs": list(optional)} if optional else {}),
        "mri_scaling": {"method": "minmax", "range": [-1, 1]},
        "tracers": facts["tracers"],
        "method": {"name": method, "settings": dict(bundle.settings)},
        "training_data": data,
        "licence": facts["licence"],
        "intended_use": INTENDED_USE,
        "limitations": [*([SIMULATED_LIMITATION] if data["simulated"] else []), *LIMITATIONS],
        "differences_from_paper": list(bundle.differences),
        "source": _plain(facts["source"]),
        "metrics": _plain(facts["metrics"]),
    }


def _metrics(path: Path | None, baseline: Path | None, state: dict, source: dict) -> dict:
    """Figures for the metadata: of the test part and against a baseline, where measured, and of the run's validation.

    The model card looks for the names ``baseline`` and ``significance`` among them.

    Raises:
        InputError: a file that cannot be used, or figures of other models than the one from `source`.
    """
    from .evaluate import BASELINE, read_summary
    from .origins import source_sha256

    found: dict = {}
    if path is not None:
        found["held_out"], models = read_summary(path)
        own = [method for method, hashed in models.items() if hashed == source_sha256(source)]
        if models and not own and None not in models.values():
            raise InputError(
                f"{path}: figures of {', '.join(models)}, none of which was exported from this checkpoint; export it, "
                "'sample' and 'evaluate' with that bundle, and export again with --metrics"
            )
        found |= {"held_out_own": ", ".join(own)} if own else {}
        if own := [name for name in found["held_out"] if name.startswith(BASELINE)]:
            found["baseline"] = f"held_out has it: {', '.join(own)}, mean PET of the evaluated cache's training people"
    if baseline is not None:
        said = read_json_object(baseline)
        if "baseline" not in said or said.keys() - set(_OF_BASELINE) or not all(said.values()):
            raise InputError(
                f"{baseline}: an object with {' and perhaps '.join(_OF_BASELINE)} is wanted, neither empty"
            )
        found |= said
    best = state.get("best_psnr")
    if isinstance(best, float) and math.isfinite(best):
        found["validation_in_training"] = {"best_psnr_whole_image": float(best)}
    return found


def _plain(content):
    """JSON types only, without machine paths: text that is an absolute path keeps its last part."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, float) and content != content:
        return None
    if isinstance(content, str) and ("/" in content or "\\" in content):
        return " ".join(Path(word).name if Path(word).is_absolute() else word for word in content.split(" "))
    if isinstance(content, (str, int, float, bool)) or content is None:
        return content
    return str(content)
