"""A model card in Markdown: what a bundle's metadata say, by the items of MI-CLAIM-GEN (arXiv 2403.02558).

Where metadata say nothing it says "not stated": nothing is made up, and filling the list in is no endorsement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..notices import printable
from ..provenance import SIMULATED_STATEMENT, STATEMENT

NOT_STATED = "not stated"
NOTE = (
    "After the items of MI-CLAIM-GEN (Miao et al., arXiv 2403.02558), filled from the model's own metadata. Its "
    "authors have not seen, checked or endorsed this model. Items of a study are for the study that uses it."
)
STUDY = f"{NOT_STATED}; to be told by the study that uses the model"
#: Keys of ``training_data`` that the card tells of apart.
_TOLD = ("description", "simulated", "subjects", "scans", "preprocessing", "split_sha256", "cache_sha256")


def model_card(metadata: Mapping, *, installed: bool = True) -> str:
    """The card of one model.

    Args:
        metadata: of a bundle, or what the catalogue says of a model that is not on this machine.
        installed: whether it is a bundle's; the card says so where it is not.

    Returns:
        Markdown, with a line feed at its end.
    """
    parts = [
        f"# Model card: {_escaped(metadata.get('title') or metadata['name'])}",
        "",
        f"> {STATEMENT}" + (f" {SIMULATED_STATEMENT}" if _simulated(metadata) else ""),
        "",
        _escaped(metadata.get("description")),
        "",
    ]
    if not installed:
        parts += ["The model is not on this machine: this is what the catalogue says of it.", ""]
    parts += [NOTE, ""]
    for title, items in _sections(metadata):
        parts += [f"## {title}", "", *(line for item in items for line in _lines(*item)), ""]
    return "\n".join(parts)


def _sections(metadata: Mapping) -> list[tuple[str, list[tuple[str, object]]]]:
    return [
        ("The model", _identity(metadata)),
        ("Part 1: study design", _design(metadata)),
        ("Part 2: resources and optimization", _resources(metadata)),
        ("Parts 3 and 4: performance and evaluation", _performance(metadata)),
        ("Part 5: examination", _examination(metadata)),
        ("Part 6: reproducibility", _reproducibility(metadata)),
    ]


def _identity(metadata: Mapping) -> list:
    return [
        ("Name and version", f"{metadata['name']} {metadata.get('version') or '(version not stated)'}"),
        ("Input", metadata.get("inputs")),
        (
            "Input that it can do without",
            metadata.get("optional_inputs") or ("none" if metadata.get("inputs") else None),
        ),
        ("Output", {name: _output(facts) for name, facts in _tracers(metadata).items()}),
        ("Grid", metadata.get("grid")),
        ("Licence", metadata.get("licence")),
    ]


def _design(metadata: Mapping) -> list:
    return [
        ("Clinical problem", metadata.get("intended_use")),
        ("Research question", STUDY),
        ("Selection of the cohort and study design", _training(metadata).get("description")),
        ("How labels were made", _labels(metadata)),
        ("Type of output", "unstructured (an image), continuous values"),
        ("Characteristics of the cohorts, and whom they stand for", _training(metadata).get("subjects")),
    ]


def _resources(metadata: Mapping) -> list:
    training = _training(metadata)
    other = {name: value for name, value in training.items() if name not in _TOLD}
    return [
        ("Components (base models, auxiliary models)", _method(metadata)),
        ("Origin of all data", training.get("description")),
        ("Scans by tracer", training.get("scans")),
        ("Preprocessing of the data", training.get("preprocessing")),
        ("Scaling of the MRI", metadata.get("mri_scaling")),
        ("Independence of training, validation and test", _split(training)),
        ("More on the training data", other or None),
    ]


def _performance(metadata: Mapping) -> list:
    metrics = metadata.get("metrics")
    return [
        ("Baseline for comparison", _named(metrics, "baseline")),
        ("Comparison with the baseline, with its significance", _named(metrics, "significance")),
        ("Evaluations and why their metrics were chosen", metrics),
        ("Intervals of regional SUVR", _intervals(metadata)),
        ("Evaluation by people", _named(metrics, "reader")),
    ]


def _examination(metadata: Mapping) -> list:
    return [
        ("Interpretability and analysis of errors", _named(metadata.get("metrics"), "error")),
        ("Risks, as far as its limitations name them", metadata.get("limitations")),
        ("Bias, privacy, security and other harm", NOT_STATED),
        ("Shifts of distribution", _gate(metadata)),
        ("Evaluation after deployment", STUDY),
    ]


def _reproducibility(metadata: Mapping) -> list:
    source = metadata.get("source") or {}
    weights = metadata.get("weights") or {}
    return [
        ("Tier of transparency", NOT_STATED),
        ("Hyperparameters", _hyperparameters(metadata)),
        ("Differences from the paper", metadata.get("differences_from_paper")),
        ("Hardware, cost and time of training", source.get("hardware")),
        ("Software", source.get("versions") or metadata.get("made_with")),
        (
            "Code",
            {name: source[name] for name in ("repository", "git_commit", "commit", "command") if source.get(name)},
        ),
        ("Clinical model card", "this one"),
        ("Weights, SHA-256", weights.get("sha256") or metadata.get("weights_sha256")),
        ("Intended use", metadata.get("intended_use")),
        ("Limitations", metadata.get("limitations")),
    ]


def _training(metadata: Mapping) -> Mapping:
    """A bundle's training data; a catalogue's is a line of text."""
    training = metadata.get("training_data")
    return training if isinstance(training, Mapping) else {"description": training}


def _simulated(metadata: Mapping) -> bool:
    return bool(_training(metadata).get("simulated", metadata.get("simulated", False)))


def _tracers(metadata: Mapping) -> Mapping:
    tracers = metadata.get("tracers") or {}
    return tracers if isinstance(tracers, Mapping) else {name: {"output": metadata.get("output")} for name in tracers}


def _output(facts: Mapping) -> str:
    words = [str(facts.get("units") or facts.get("output") or NOT_STATED)]
    if facts.get("window"):
        words.append(f"{facts['window'][0]:g} to {facts['window'][1]:g}")
    if facts.get("reference_region"):
        words.append(f"reference region {facts['reference_region']}")
    return " ".join(words)


def _labels(metadata: Mapping) -> str:
    if _simulated(metadata):
        return "none by people: the PET of simulated people, by the law that made them"
    return "none by people: the PET itself is what is learned"


def _method(metadata: Mapping) -> object:
    method = metadata.get("method")
    if not isinstance(method, Mapping):
        return method or metadata.get("kind")
    network = method["settings"].get("network", {}) if isinstance(method.get("settings"), Mapping) else {}
    kind = network.get("class") if isinstance(network, Mapping) else None
    return f"method {method['name']}" + (f", network {kind}" if kind else "")


def _split(training: Mapping) -> object:
    if not training.get("subjects") and not training.get("split_sha256"):
        return None
    words = f"people: {_plain(training.get('subjects'))}"
    return f"{words}; split SHA-256 {training['split_sha256']}" if training.get("split_sha256") else words


def _intervals(metadata: Mapping) -> list[str] | None:
    """What a bundle's calibration says of its intervals: whose, how sure they are, and of how many people by tracer."""
    calibration = metadata.get("calibration")
    if not calibration:
        return None
    own, people = calibration["intervals"], calibration["population"]
    drawn = {name: value for name, value in calibration["sampling"].items() if value is not None}
    words = [
        f"{own['level']:.0%}, split-conformal, on average over people like those who calibrated them: "
        f"{people['description']}; sampling {_plain(drawn)}"
    ]
    if people["simulated"]:
        words.append("From simulated people: withheld for every scan that is not simulated")
    for tracer, facts in own["tracers"].items():
        low, high = facts["coverage_95"]
        words.append(f"{tracer}: {facts['people']} people; a calibration of so many covers {low:.3f} to {high:.3f}")
    return words


def _gate(metadata: Mapping) -> str | None:
    """How a bundle knows input unlike its own people."""
    gate = (metadata.get("calibration") or {}).get("gate")
    if not gate:
        return None
    return (
        f"inputs unlike {gate['people']} people are told by {gate['features']} features of the MRI, with one in twenty "
        "false alarms meant; what the PET is worth then was not measured"
    )


def _named(metrics: object, word: str) -> object:
    """Those of the free-form metrics whose name has a word in it."""
    if not isinstance(metrics, Mapping):
        return None
    return {name: value for name, value in metrics.items() if word in str(name).lower()} or None


def _hyperparameters(metadata: Mapping) -> object:
    method = metadata.get("method")
    settings = method.get("settings") if isinstance(method, Mapping) else None
    config = (metadata.get("source") or {}).get("config")
    found = {name: value for name, value in (("model", settings), ("training", config)) if value}
    return found or None


def _lines(item: str, value: object) -> list[str]:
    """An item of the card: one line, a list of sentences, or settings as JSON."""
    if isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values()):
        words = json.dumps(value, indent=2, ensure_ascii=True)
        return [f"- **{item}**:", "", "  ```json", *(f"  {line}" for line in words.splitlines()), "  ```", ""]
    if isinstance(value, (list, tuple)) and any(len(str(one)) > 30 for one in value):
        return [f"- **{item}**:", *(f"  - {_escaped(one)}" for one in value)]
    return [f"- **{item}**: {_escaped(value)}"]


def _plain(value: object, missing: str = NOT_STATED) -> str:
    """A value of metadata on one line; what is empty is not stated."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}, ()):
        return missing
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_plain(item, 'none')}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item, "none") for item in value)
    return printable(" ".join(str(value).split()), limit=None)


def _escaped(value: object) -> str:
    """A value as text of Markdown: no HTML, link or mark of the metadata's comes to life."""
    words = _plain(value)
    for letter in "\\`*[]":
        words = words.replace(letter, f"\\{letter}")
    return words.replace("<", "&lt;").replace(">", "&gt;")
