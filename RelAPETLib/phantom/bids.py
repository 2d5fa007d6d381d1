"""A simulated cohort as a BIDS data set, and one simulated case for the demo.

BIDS: Gorgolewski et al., Sci Data 2016;3:160044; PET: Norgaard et al., Sci Data 2022;9:65. Subject i of a seed is the
same whatever the number of subjects; the data set appears whole or not at all, and a run that was stopped is gone on
with (`unfinished`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .. import __version__
from ..errors import InputError, OutputError
from ..jsonfiles import parse_json
from ..outputs import STAGING, Reserved, check_destination, reserve, write_set
from ..tracers import TRACERS
from ..volumes.sidecar import SIMULATED, SIMULATION_KEY
from .head import COARSE_GRID, Head, make_head
from .law import LATEST, check_law, law_tracers
from .people import Person, make_person
from .scanner import RawScan, scan_mri, scan_pet, true_pet
from .tables import (
    SOURCE_FOLDER,
    TRUTH_FILES,
    TruthTable,
    participant,
    participant_columns,
    subject_label,
    table,
    truth,
    write_truth,
)
from .unfinished import UNFINISHED, Unfinished

BIDS_VERSION = "1.10.0"
GENERATOR = "relapet phantom"
#: Raised whenever what is kept of a person, scans or rows of the tables, would come out otherwise.
RECIPE = 1
#: Places of what makes up a simulated data set, in its folders.
_OURS = re.compile(
    r"(sub-\d{4,})(/anat(/\1_(T1w|FLAIR)\.(json|nii\.gz))?|/pet(/\1_trc-[A-Za-z0-9]+_pet\.(json|nii\.gz))?)?"
    rf"|{SOURCE_FOLDER}(/({'|'.join(map(re.escape, TRUTH_FILES))}))?"
)
Progress = Callable[[float, str], None]

README = f"""Simulated brain MRI and PET
===========================

{SIMULATED} Made for training and testing software; nothing can be learned from it about any disease.

Every subject has a T1w, a FLAIR and PET (SUVR) of one tracer or more, each in a scanner space of its own. Brains
are the ICBM 152 2009a template's tissue maps after random changes; skull, scalp, neck and face are drawn around them.
Uptake follows from four factors that show in the anatomy (participants.tsv) and from a part that no MRI shows; the law
and its sources stand in RelAPETLib/phantom/law%d.py. participants.tsv gives the true regional SUVR before blurring,
also of tracers that a subject was not scanned with, and what could at best be expected from the MRI. Partial volume
changes what a region measures in the images: cerebellar grey matter, 1 by definition, shows about 0.9 where fluid
around it takes less up, and about 1.05 of PIB, whose white matter shines into it.
"""

README_TRUTH = f"""
{SOURCE_FOLDER}/truth.tsv gives each subject's amyloid status and level, its probability given the MRI, and regional
SUVR as the images show them, blurred; {SOURCE_FOLDER}/truth_draws.tsv draws of all that the MRI (and the clinical
values) leave possible, blurred alike. Age, sex and memory score in participants.tsv are simulated too.
"""


def write_cohort(
    out_dir: Path | str,
    subjects: int,
    seed: int,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    law: int = LATEST,
) -> Path:
    """Write a BIDS data set of simulated people: subjects 0 to `subjects` - 1 of the cohort `seed`.

    Args:
        out_dir: made when missing; must be missing or empty, or with `overwrite` hold an earlier simulated data set.
        subjects: how many, at least 1. Those whom an earlier run of this seed and law into this folder finished before
            it was stopped are not made again.
        seed: integer >= 0.
        progress: called with the fraction done and a message.
        law: version of the law of uptake, one of `law.VERSIONS`.

    Returns:
        The folder.

    Raises:
        InputError: `subjects` or `seed` out of range, or no such law.
        OutputError: the folder holds something else, or cannot be written.
    """
    _check_numbers(subjects, seed)
    check_law(law)
    out = Path(out_dir).absolute()
    described = _description(law, seed)
    people = Unfinished(out, described | {"recipe": RECIPE})

    def check() -> list[str]:
        people.check(overwrite)
        return _earlier(out, overwrite)

    with reserve(out, check=check) as place:
        rows = _simulate_all(place, people, range(subjects), seed, law, progress)
        truths = [TruthTable(**row["truth"]) for row in rows.values()] if law > 1 else []
        writers = {
            "dataset_description.json": _json_writer(described),
            "README": _text_writer(README % law + (README_TRUTH if law > 1 else "")),
            "participants.json": _json_writer(participant_columns(law)),
            **{label: functools.partial(people.copy, label) for label in rows},
            "participants.tsv": _text_writer(table([row["participant"] for row in rows.values()])),
            **({SOURCE_FOLDER: lambda folder: write_truth(folder, truths)} if law > 1 else {}),
        }
        earlier = _earlier(out, overwrite)
        folders = [*rows, SOURCE_FOLDER, *(name for name in earlier if name.startswith("sub-"))]
        write_set(place, writers, owned=earlier, overwrite=overwrite, folders=folders)
        people.remove(needed=False)  # the data set is whole
    if progress:
        progress(1.0, f"wrote {subjects} simulated subject{'s' * (subjects > 1)} to {out}")
    return out


def _simulate_all(
    place: Reserved, people: Unfinished, indices: range, seed: int, law: int, progress: Progress | None
) -> dict[str, dict]:
    """Rows of the tables by label, of all people of a data set; whoever an earlier run finished is not made again."""
    try:
        kept, rows = people.finished(), {}
        for index in indices:
            label = subject_label(index)
            if label in kept:
                rows[label] = kept[label]
                continue
            if progress:
                progress(index / len(indices), f"simulating {label} ({index + 1} of {len(indices)})")
            person = make_person(seed, index, law)
            known = truth(person, COARSE_GRID) if law > 1 else None
            rows[label] = {"participant": participant(person), "truth": known and vars(known)}
            people.add(label, rows[label], functools.partial(_write_subject, person=person), place.staging)
        return rows
    except BaseException as error:
        done = people.count()
        kept = f"finished people kept: {done}; the same command goes on after them" if done else ""
        if isinstance(error, OSError | OutputError):
            said = isinstance(error, OutputError)
            why = error if said else f"cannot write to {place.folder}: {error.strerror or error}"
            raise OutputError(f"{why}; {kept}" if kept else str(why)) from error
        if kept and not isinstance(error, Exception):
            error.args = (kept,)  # what the program says of an interrupt
        raise


def write_case(
    out_dir: Path | str,
    seed: int,
    *,
    index: int = 0,
    oracle: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    law: int = LATEST,
) -> dict[str, Path]:
    """Write one simulated person's raw scans into a folder: T1w, FLAIR and the PET of every tracer.

    Args:
        out_dir: made when missing.
        seed, index: which person; index 0 of a seed is that cohort's first subject.
        oracle: also write, on the T1w's grid, what the law lets one expect from the MRI, without scanner noise.
        overwrite: replace files of these names.
        law: version of the law of uptake, one of `law.VERSIONS`.

    Returns:
        Paths by ``t1w``, ``t2f``, ``pet_TAU``, ... (``oracle_TAU``, ... if asked for) and ``truth``.

    Raises:
        InputError: `seed` or `index` is negative, or no such law.
        OutputError: a file exists already, or the folder cannot be written.
    """
    _check_numbers(index + 1, seed)
    tracers = law_tracers(law)
    files = {"t1w": "T1w.nii.gz", "t2f": "FLAIR.nii.gz"} | {f"pet_{t}": f"pet_{t}.nii.gz" for t in tracers}
    oracles = {f"oracle_{t}": f"oracle_{t}.nii.gz" for t in tracers}
    files = files | (oracles if oracle else {}) | {"truth": "truth.json"}
    sidecars = [name.replace(".nii.gz", ".json") for name in (*files.values(), *oracles.values())]
    check_destination(Path(out_dir), [*files.values(), *sidecars], overwrite)
    steps = {"t1w": "T1w", "t2f": "FLAIR"} | {f"pet_{tracer}": tracer for tracer in tracers}
    person = replace(make_person(seed, index, law), scanned=tracers)
    if progress:
        progress(0.0, "simulating a head")
    head = make_head(person, expected=oracle)
    writers: dict[str, Callable[[Path], None]] = {}
    for done, (key, scan) in enumerate(steps.items()):
        if progress:
            progress(0.5 + 0.4 * done / len(steps), f"simulating the {scan} scan")
        raw = _scan(head, scan)
        writers[files[key]] = _volume_writer(raw.image)
        writers[files[key].replace(".nii.gz", ".json")] = _json_writer(_sidecar(scan, raw, law))
        if scan == "T1w" and oracle:
            for tracer in tracers:
                writers[oracles[f"oracle_{tracer}"]] = _volume_writer(true_pet(head, tracer, raw.image))
    known = truth(person, COARSE_GRID).case() if law > 1 else {}
    writers["truth.json"] = _json_writer(
        {"Description": SIMULATED, "Law": law, "Seed": seed, "Index": index, **participant(person), **known}
    )
    write_set(out_dir, writers, owned=[*oracles.values(), *sidecars], overwrite=overwrite)
    if progress:
        progress(1.0, "wrote a simulated case")
    return {key: Path(out_dir) / name for key, name in files.items()}


def _check_numbers(subjects: int, seed: int) -> None:
    if int(subjects) != subjects or subjects < 1:
        raise InputError(f"the number of subjects must be a whole number above 0, not {subjects}")
    if int(seed) != seed or seed < 0:
        raise InputError(f"the seed must be a whole number of 0 or more, not {seed}")
    if seed >= 2**64:  # no JSON of ours holds more
        raise InputError(f"the seed must lie below 2**64, not {seed}")


def _earlier(out: Path, overwrite: bool) -> list[str]:
    """Names of a simulated data set that is there and may be replaced. Raises `OutputError` for anything else."""
    found = [path.name for path in out.iterdir() if path.name not in (STAGING, UNFINISHED)]
    if not found:
        return []
    if not overwrite:
        raise OutputError(f"{out} is not empty; use --overwrite to replace a simulated data set, or another --out")
    try:
        made_by = parse_json((out / "dataset_description.json").read_bytes())["GeneratedBy"][0]["Name"]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        made_by = None
    if made_by != GENERATOR:
        raise OutputError(
            f"{out} holds something other than a simulated data set and stays as it is; use another --out"
        )
    files = ("participants.tsv", "participants.json", "README", "dataset_description.json", SOURCE_FOLDER)
    earlier = [name for name in found if name in files or name.startswith("sub-")]
    ours = [
        path
        for name in earlier
        if name.startswith("sub-") or name == SOURCE_FOLDER
        for path in (out / name, *(out / name).rglob("*"))
    ]
    if strange := [path for path in ours if not _OURS.fullmatch(path.relative_to(out).as_posix())]:
        raise OutputError(f"{strange[0]} is not ours and would be lost; move it away, or use another --out")
    return earlier


def _write_subject(folder: Path, person: Person) -> None:
    """One subject's folder."""
    subject = subject_label(person.index)
    head = make_head(person, tracers=person.scanned, expected=False)
    for scan in ("T1w", "FLAIR", *person.scanned):
        raw = _scan(head, scan)
        kind = f"trc-{TRACERS[scan].bids[0]}_pet" if scan in TRACERS else scan
        part = folder / ("pet" if scan in TRACERS else "anat")
        part.mkdir(parents=True, exist_ok=True)
        _volume_writer(raw.image)(part / f"{subject}_{kind}.nii.gz")
        _json_writer(_sidecar(scan, raw, person.law))(part / f"{subject}_{kind}.json")


def _scan(head: Head, scan: str) -> RawScan:
    return scan_pet(head, scan) if scan in TRACERS else scan_mri(head, scan)


def _volume_writer(image) -> Callable[[Path], None]:
    from ..volumes import write_volume

    return lambda path: write_volume(image, path)


def _text_writer(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(text.encode("utf-8"))


def _json_writer(content: dict) -> Callable[[Path], None]:
    return _text_writer(json.dumps(content, indent=2) + "\n")


def _description(law: int, seed: int) -> dict:
    return {
        "Name": "RelAPET simulated cohort (no real people)",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "Apache-2.0",
        "Authors": ["RelAPET", "Simulated data"],
        "GeneratedBy": [
            {"Name": GENERATOR, "Version": __version__, "Description": SIMULATED, "Law": law, "Seed": seed}
        ],
    }


def _sidecar(scan: str, raw: RawScan, law: int) -> dict:
    """JSON beside an image. What a scanner would know and a simulation does not is n/a or 0."""
    common = {"Manufacturer": "n/a (simulated)", "ManufacturersModelName": f"{GENERATOR} {__version__}"}
    simulation = {SIMULATION_KEY: SIMULATED, "SimulationLaw": law, "SimulationSettings": raw.settings}
    if scan not in TRACERS:
        thickness = {"SliceThickness": raw.settings["slice_thickness_mm"]}
        return {"Modality": "MR", **common, **thickness, **simulation}
    tracer = TRACERS[scan]
    return {
        "Modality": "PT",
        **common,
        "Units": "unitless",
        "TracerName": tracer.radiopharmaceutical,
        "TracerRadionuclide": tracer.radionuclide,
        "InjectedRadioactivity": 0,
        "InjectedRadioactivityUnits": "MBq",
        "InjectedMass": "n/a",
        "InjectedMassUnits": "n/a",
        "SpecificRadioactivity": "n/a",
        "SpecificRadioactivityUnits": "n/a",
        "ModeOfAdministration": "n/a (simulated)",
        "TimeZero": "00:00:00",
        "ScanStart": 0,
        "InjectionStart": 0,
        "FrameTimesStart": [0],
        "FrameDuration": [0],
        "AcquisitionMode": "n/a (simulated static image)",
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "ReconMethodName": "none (simulated)",
        "ReconMethodParameterLabels": ["none"],
        "ReconMethodParameterUnits": ["none"],
        "ReconMethodParameterValues": [0],
        "ReconFilterType": "Gaussian",
        "ReconFilterSize": raw.settings["resolution_fwhm_mm"],
        "AttenuationCorrection": "none needed (simulated)",
        "QuantityDescription": f"SUVR; true uptake of {tracer.reference_region} is 1 before blurring",
        **simulation,
    }
