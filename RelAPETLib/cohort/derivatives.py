"""Names and sidecars of the derivatives: BIDS (Gorgolewski et al., Sci Data 2016;3:160044), derivatives, PET.

::

    OUT/dataset_description.json
    OUT/sub-01[/ses-1]/pet/sub-01[_ses-1]_trc-X_space-T1w_desc-synthetic_pet.nii.gz   synthetic PET, and its .json
    OUT/.../..._desc-spread_pet.nii.gz, ..._desc-difference_pet.nii.gz                over samples; from a measured PET
    OUT/.../..._desc-reference_pet.nii.gz                                             the measured PET on that grid
    OUT/.../..._desc-departure_pet.nii.gz                                             from the training people's
    OUT/.../..._desc-synthetic_provenance.json, _regions.tsv, _samples.tsv, _report.png      listed in .bidsignore, and
    OUT/.../..._record.json, ..._from-MNI152NLin2009aSym_to-T1w_mode-image_xfm.nii.gz        report.html

A sidecar says what the volume is and what it came from. Nothing was injected and nothing scanned, so fields of an
acquisition (times, doses, reconstruction) are not made up.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from .. import __version__
from ..errors import InputError, OutputError
from ..jsonfiles import read_json_object
from ..provenance import DEPARTURE_MEANING, DEPARTURE_UNITS, DIFFERENCE_MEANING, STATEMENT, UNCERTAINTY_MEANING
from ..whole_files import write_whole
from .request import Request
from .visits import Visit

BIDS_VERSION = "1.10.0"
GENERATOR = "RelAPET"
DESCRIPTION = "dataset_description.json"
#: What BIDS has no name for.
IGNORED = ("*_record.json", "*_provenance.json", "*_regions.tsv", "*_samples.tsv", "*_xfm.nii.gz",
           "*_report.png", "*_report.html", "*.html",
           "volumes.tsv", "regions.tsv", "failures.tsv", "notes.tsv", "volumes.json", "regions.json", "failures.json",
           "notes.json",
           "figures/", "logs/", ".relapet/")  # fmt: skip
#: What the name of a visit's transform ends with: a field of displacements (LPS, mm) on a coarse grid over the T1w.
TRANSFORM = "from-MNI152NLin2009aSym_to-T1w_mode-image_xfm.nii.gz"
#: ``desc-`` of a synthesis's volumes by their file names without space and ending.
_DESC = {"synthetic_pet": "synthetic", "uncertainty": "spread", "difference": "difference"}
_MEANING = {"spread": UNCERTAINTY_MEANING, "difference": DIFFERENCE_MEANING, "departure": DEPARTURE_MEANING}
_MNI = "_space-MNI"
#: What links to the scans begin with: BIDS URIs of the data set that ``DatasetLinks`` calls so.
RAW = "bids:raw:"
#: ``desc-`` of the measured PET as it was compared.
REFERENCE = "reference"
REFERENCE_SIDECAR = (
    "The measured PET, registered and brought to the synthetic one's grid and unit, as it was compared; 0 outside the "
    "brain and its own field of view. Not synthetic."
)
README = f"""Synthetic PET made from MRI by RelAPET {{version}}
=====================================================

{STATEMENT}

Each sub-*/[ses-*/]pet folder holds, by tracer (trc-): desc-synthetic, the model's PET on the T1w's grid; desc-spread,
the standard deviation over its samples, which is not its error; desc-departure, where the model has norms, how far the
PET lies from the synthetic PET of its training people, in their SD, which is no disease map; desc-difference, synthetic
minus measured, and desc-reference, the measured PET on that grid, where a measured PET was there.
*_provenance.json tells how each was made, *_record.json what became of each run, *_xfm.nii.gz
how points of the T1w lie in MNI space. volumes.tsv, regions.tsv, failures.tsv, notes.tsv and report.html are made by
"relapet bids ... group" from the records.
"""


def volume_name(stem: str, name: str) -> tuple[str, str]:
    """Name of a volume without ending, and its ``desc-`` label; `name` is as a synthesis has it."""
    base = name.removesuffix(_MNI)
    space = "T1w" if base == name else "MNI152NLin2009aSym"
    desc = _DESC.get(base) or re.sub("[^A-Za-z0-9]", "", base)
    return f"{stem}_space-{space}_desc-{desc}_pet", desc


def derived_names(stem: str, names: list[str]) -> dict[str, str]:
    """Names in the derivatives by the names of a synthesis's files (`synthesis.OUTPUT_NAMES` and others to come)."""
    found = {}
    for name in names:
        if name.endswith(".nii.gz"):
            found[name] = f"{volume_name(stem, name.removesuffix('.nii.gz'))[0]}.nii.gz"
        elif name == "synthetic_pet.json":
            found[name] = f"{stem}_desc-synthetic_provenance.json"
        else:
            found[name] = f"{stem}_desc-synthetic_{name.replace('_', '')}"
    return found


def sidecar(request: Request, visit: Visit, provenance: dict, desc: str, provenance_name: str) -> dict:
    """JSON beside a volume."""
    if desc == REFERENCE:
        return _measured_sidecar(request, visit, provenance, provenance_name)
    model = provenance["model"]
    units = DEPARTURE_UNITS if desc == "departure" else provenance["pet"]["units"]
    return {
        "Description": f"{_MEANING[desc][:1].upper()}{_MEANING[desc][1:]}. {provenance['statement']}"
        if desc in _MEANING
        else provenance["statement"],
        "Synthetic": True,
        "SkullStripped": True,  # 0 outside the brain
        "Units": "unitless",
        "QuantityDescription": units,
        "ImitatedTracer": provenance["tracer"]["radiopharmaceutical"],
        "Sources": _sources(request, visit, desc, provenance["tracer"]["name"]),
        "SpatialReference": _reference_of(request, visit),
        "Model": {
            "Name": model["name"],
            "Version": model["version"],
            "WeightsSHA256": model["weights_sha256"],
            "TrainedOnSimulatedData": model["trained_on_simulated_data"],
        },
        "Samples": provenance["sampling"]["samples"],
        "Seed": provenance["sampling"]["seed"],
        "InputSHA256": _input_hashes(provenance),
        "Provenance": provenance_name,
    }


def _measured_sidecar(request: Request, visit: Visit, provenance: dict, provenance_name: str) -> dict:
    """JSON beside the measured PET on the results' grid: no model made it."""
    tracer = provenance["tracer"]
    return {
        "Description": REFERENCE_SIDECAR,
        "Synthetic": False,
        "SkullStripped": True,
        "Units": "unitless",
        "QuantityDescription": provenance["pet"]["units"],
        "TracerName": tracer["radiopharmaceutical"],
        "Sources": _sources(request, visit, REFERENCE, tracer["name"]),
        "SpatialReference": _reference_of(request, visit),
        "InputSHA256": _input_hashes(provenance),
        "Provenance": provenance_name,
    }


def _reference_of(request: Request, visit: Visit) -> str:
    return _link(request, visit, visit.t1w, "T1w") if visit.t1w else "the T1w that the case was prepared from"


def _input_hashes(provenance: dict) -> dict[str, str]:
    return {role: facts["sha256"] for role, facts in provenance["inputs"].items() if facts}


def _sources(request: Request, visit: Visit, desc: str, tracer: str) -> list[str]:
    files = [(visit.t1w, "T1w"), (visit.t2f, "T2-FLAIR")]
    if desc in ("difference", REFERENCE) and tracer in visit.pets:
        files.append((visit.pets[tracer].path, "measured PET"))
    return [_link(request, visit, path, title) for path, title in files if path is not None]


def _link(request: Request, visit: Visit, path: Path, title: str) -> str:
    """BIDS URI of an input in its person's folder of the data set; of any other no more than what it is.

    Files that a table names, and their folders, may be called after a person.
    """
    root = request.source if request.source.is_dir() else request.source.parent
    own = root / visit.participant
    if request.linked and path.name.startswith(f"{visit.participant}_") and own in path.absolute().parents:
        return f"{RAW}{path.absolute().relative_to(root).as_posix()}"
    return title


def write_description(request: Request) -> None:
    """Make the output a data set of derivatives, of this one model; what is there already is checked and kept.

    Any number of runs may do so at once, since all write the same.

    Raises:
        InputError: the folder is a data set of something else, or of another model.
        OutputError: it cannot be written to.
    """
    path = request.out / DESCRIPTION
    if path.exists():
        _check_description(request, path)
    elif request.out.is_dir() and any(request.out.glob("sub-*")):
        raise InputError(f"{request.out}: holds sub-* folders, but no {DESCRIPTION}; choose another output folder")
    texts = {
        DESCRIPTION: json.dumps(_description(request), indent=2) + "\n",
        ".bidsignore": "".join(f"{line}\n" for line in IGNORED),
        "README": README.format(version=__version__),
    }
    try:
        request.out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if not (request.out / name).exists():
                write_whole(request.out / name, text.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"cannot write to {request.out}: {error.strerror or error}; choose another folder") from error


def _check_description(request: Request, path: Path) -> None:
    entries = read_json_object(path).get("GeneratedBy")
    ours = (
        [e for e in entries if isinstance(e, dict) and e.get("Name") == GENERATOR] if isinstance(entries, list) else []
    )
    if not ours:
        raise InputError(f"{path.parent}: a data set that RelAPET did not make; choose another output folder")
    if not request.linked and "DatasetLinks" in read_json_object(path):
        raise InputError(
            f"{path.parent}: its results point to the data set that they were made from; with --unlinked choose "
            "another output folder"
        )
    model = ours[0].get("Model")
    if model != request.model:
        name = f"{model.get('name')} {model.get('version')}" if isinstance(model, dict) else "another model"
        wanted = f"{request.model['name']} {request.model['version']}"
        raise InputError(
            f"{path.parent}: holds results of model {name}, and {wanted} is asked for (or its files have changed); "
            "file names do not tell models apart: give each model an output folder of its own"
        )


def _description(request: Request) -> dict:
    return {
        "Name": f"Synthetic PET by RelAPET, model {request.model['name']} {request.model['version']}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": GENERATOR, "Version": __version__, "Description": STATEMENT, "Model": request.model},
        ],
        **_links(request),
        "HowToAcknowledge": "Cite RelA-Diffusion (arXiv 2602.21345), this software and the model with their versions.",
    }


def _links(request: Request) -> dict:
    """Where the scans are, as seen from the results; nothing where no relative path leads there."""
    root = request.source if request.source.is_dir() else request.source.parent
    try:
        return {"DatasetLinks": {"raw": Path(os.path.relpath(root, request.out)).as_posix()}} if request.linked else {}
    except ValueError:  # two drives of Windows
        return {}
