"""A simulated cohort as a BIDS data set, and one simulated case for the demo.

BIDS: Gorgolewski et al., Sci Data 2016;3:160044; PET: Norgaard et al., Sci Data 2022;9:65. Subject i of a seed is the
same whatever the number of subjects; the data set appears whole or not at all.
"""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..errors import InputError, OutputError
from ..jsonfiles import parse_json
from ..outputs import STAGING, check_destination, reserve, write_set
from ..tracers import TRACERS
from .head import Head, make_head
from .law import FACTORS, REGIONS, predictable_share
from .people import Person, make_person
from .scanner import RawScan, scan_mri, scan_pet, true_pet

BIDS_VERSION = "1.10.0"
GENERATOR = "relapet phantom"
SIMULATED = "Simulated by relapet phantom: no person, no scanner, no radioactivity."
Progress = Callable[[float, str], None]

README = f"""Simulated brain MRI and PET
===========================

{SIMULATED} Made for training and testing software; nothing can be learned from it about any disease.

Every subject has a T1w, a FLAIR and PET (SUVR) of one to three tracers, each in a scanner space of its own. Brains
are the ICBM 152 2009a template's tissue maps after random changes; skull, scalp, neck and face are drawn around them.
Uptake follows from four factors that show in the anatomy (participants.tsv) and from a part that no MRI shows; the law
and its sources stand in RelAPETLib/phantom/law.py. participants.tsv gives the true regional SUVR before blurring, also
of tracers that a subject was not scanned with, and what could at best be expected from the MRI. Partial volume lowers
what a region measures in the images: cerebellar grey matter, 1 by definition, shows about 0.9.
"""


def subject_label(index: int) -> str:
    """``sub-0007`` for index 7."""
    return f"sub-{index:04d}"


def write_cohort(
    out_dir: Path | str, subjects: int, seed: int, progress: Progress | None = None, *, overwrite: bool = False
) -> Path:
    """Write a BIDS data set of simulated people: subjects 0 to `subjects` - 1 of the cohort `seed`.

    Args:
        out_dir: made when missing; must be missing or empty, or with `overwrite` hold an earlier simulated data set.
        subjects: how many, at least 1.
        seed: integer >= 0.
        progress: called with the fraction done and a message.

    Returns:
        The folder.

    Raises:
        InputError: `subjects` or `seed` out of range.
        OutputError: the folder holds something else, or cannot be written.
    """
    _check_numbers(subjects, seed)
    out = Path(out_dir).absolute()
    rows: list[dict] = []

    def simulate(folder: Path, index: int) -> None:
        if progress:
            progress(index / subjects, f"simulating {subject_label(index)} ({index + 1} of {subjects})")
        person = make_person(seed, index)
        rows.append(_row(person))
        _write_subject(folder, person)

    labels = [subject_label(index) for index in range(subjects)]
    writers = {
        "dataset_description.json": _json_writer(_description()),
        "README": _text_writer(README),
        "participants.json": _json_writer(_columns()),
        **{label: functools.partial(simulate, index=index) for index, label in enumerate(labels)},
        "participants.tsv": lambda path: _text_writer(_table(rows))(path),
    }
    with reserve(out, check=lambda: _earlier(out, overwrite)) as place:
        earlier = _earlier(out, overwrite)
        subject_folders = [*labels, *(name for name in earlier if name.startswith("sub-"))]
        write_set(place, writers, owned=earlier, overwrite=overwrite, folders=subject_folders)
    if progress:
        progress(1.0, f"wrote {subjects} simulated subject{'s' * (subjects > 1)} to {out}")
    return out


def write_case(
    out_dir: Path | str,
    seed: int,
    *,
    index: int = 0,
    oracle: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write one simulated person's raw scans into a folder: T1w, FLAIR and the PET of every tracer.

    Args:
        out_dir: made when missing.
        seed, index: which person; index 0 of a seed is that cohort's first subject.
        oracle: also write, on the T1w's grid, what the law lets one expect from the MRI, without scanner noise.
        overwrite: replace files of these names.

    Returns:
        Paths by ``t1w``, ``t2f``, ``pet_TAU``, ... (``oracle_TAU``, ... if asked for) and ``truth``.

    Raises:
        InputError: `seed` or `index` is negative.
        OutputError: a file exists already, or the folder cannot be written.
    """
    _check_numbers(index + 1, seed)
    files = {"t1w": "T1w.nii.gz", "t2f": "FLAIR.nii.gz"} | {f"pet_{t}": f"pet_{t}.nii.gz" for t in TRACERS}
    oracles = {f"oracle_{t}": f"oracle_{t}.nii.gz" for t in TRACERS}
    files = files | (oracles if oracle else {}) | {"truth": "truth.json"}
    sidecars = [name.replace(".nii.gz", ".json") for name in (*files.values(), *oracles.values())]
    check_destination(Path(out_dir), [*files.values(), *sidecars], overwrite)
    steps = {"t1w": "T1w", "t2f": "FLAIR"} | {f"pet_{tracer}": tracer for tracer in TRACERS}
    person = make_person(seed, index)
    if progress:
        progress(0.0, "simulating a head")
    head = make_head(person)
    writers: dict[str, Callable[[Path], None]] = {}
    for done, (key, scan) in enumerate(steps.items()):
        if progress:
            progress(0.5 + 0.4 * done / len(steps), f"simulating the {scan} scan")
        raw = _scan(head, scan)
        writers[files[key]] = _volume_writer(raw.image)
        writers[files[key].replace(".nii.gz", ".json")] = _json_writer(_sidecar(scan, raw))
        if scan == "T1w" and oracle:
            for tracer in TRACERS:
                writers[oracles[f"oracle_{tracer}"]] = _volume_writer(true_pet(head, tracer, raw.image))
    writers["truth.json"] = _json_writer({"Description": SIMULATED, **_row(person)})
    write_set(out_dir, writers, owned=[*oracles.values(), *sidecars], overwrite=overwrite)
    if progress:
        progress(1.0, "wrote a simulated case")
    return {key: Path(out_dir) / name for key, name in files.items()}


def _check_numbers(subjects: int, seed: int) -> None:
    if int(subjects) != subjects or subjects < 1:
        raise InputError(f"the number of subjects must be a whole number above 0, not {subjects}")
    if int(seed) != seed or seed < 0:
        raise InputError(f"the seed must be a whole number of 0 or more, not {seed}")


def _earlier(out: Path, overwrite: bool) -> list[str]:
    """Names of a simulated data set that is there and may be replaced. Raises `OutputError` for anything else."""
    found = [path.name for path in out.iterdir() if path.name != STAGING]
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
    files = ("participants.tsv", "participants.json", "README", "dataset_description.json")
    return [name for name in found if name in files or name.startswith("sub-")]


def _write_subject(folder: Path, person: Person) -> None:
    """One subject's folder."""
    subject = subject_label(person.index)
    head = make_head(person)
    for scan in ("T1w", "FLAIR", *person.scanned):
        raw = _scan(head, scan)
        kind = f"trc-{TRACERS[scan].bids[0]}_pet" if scan in TRACERS else scan
        part = folder / ("pet" if scan in TRACERS else "anat")
        part.mkdir(parents=True, exist_ok=True)
        _volume_writer(raw.image)(part / f"{subject}_{kind}.nii.gz")
        _json_writer(_sidecar(scan, raw))(part / f"{subject}_{kind}.json")


def _scan(head: Head, scan: str) -> RawScan:
    return scan_pet(head, scan) if scan in TRACERS else scan_mri(head, scan)


def _volume_writer(image) -> Callable[[Path], None]:
    from ..volumes import write_volume

    return lambda path: write_volume(image, path)


def _text_writer(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(text.encode("utf-8"))


def _json_writer(content: dict) -> Callable[[Path], None]:
    return _text_writer(json.dumps(content, indent=2) + "\n")


def _description() -> dict:
    return {
        "Name": "RelAPET simulated cohort (no real people)",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "Apache-2.0",
        "Authors": ["RelAPET", "Simulated data"],
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__, "Description": SIMULATED}],
    }


def _sidecar(scan: str, raw: RawScan) -> dict:
    """JSON beside an image. What a scanner would know and a simulation does not is n/a or 0."""
    common = {"Manufacturer": "n/a (simulated)", "ManufacturersModelName": f"{GENERATOR} {__version__}"}
    simulation = {"SimulationDescription": SIMULATED, "SimulationSettings": raw.settings}
    if scan not in TRACERS:
        thickness = {"SliceThickness": raw.settings["slice_thickness_mm"]}
        return {"Modality": "MR", **common, **thickness, **simulation}
    tracer = TRACERS[scan]
    return {
        "Modality": "PT",
        **common,
        "Units": "unitless",
        "TracerName": tracer.radiopharmaceutical,
        "TracerRadionuclide": "C11" if tracer.radiopharmaceutical.startswith("11C") else "F18",
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


def _row(person: Person) -> dict:
    """The truth about one person, flat: the columns of ``participants.tsv``."""
    row: dict = {"participant_id": subject_label(person.index)}
    row |= {f"factor_{name}": round(float(value), 4) for name, value in zip(FACTORS, person.factors, strict=True)}
    for tracer, uptake in person.uptake.items():
        row[f"scanned_{tracer}"] = "yes" if tracer in person.scanned else "no"
        row[f"predictable_share_{tracer}"] = round(predictable_share(tracer), 4)
        row[f"amplitude_{tracer}"] = round(uptake.amplitude, 4)
        row |= {f"suvr_{tracer}_{region}": round(uptake.regional[region], 4) for region in REGIONS}
        row |= {f"expected_suvr_{tracer}_{region}": round(uptake.predictable[region], 4) for region in REGIONS}
    return row


def _columns() -> dict:
    """``participants.json``: what every column of `_row` means."""
    columns = {
        f"factor_{name}": {"Description": f"Standard-normal factor of the simulation: {name.replace('_', ' ')}"}
        for name in FACTORS
    }
    for tracer, facts in TRACERS.items():
        name = facts.radiopharmaceutical
        columns[f"scanned_{tracer}"] = {
            "Description": f"Whether the data set holds a simulated PET with {name}",
            "Levels": {"yes": "it does", "no": "it does not; the true values are given all the same"},
        }
        columns[f"predictable_share_{tracer}"] = {
            "Description": f"Share of the between-subject variance of cortical SUVR of {name} that shows in the MRI; "
            "a property of the law, the same for every subject"
        }
        columns[f"amplitude_{tracer}"] = {"Description": f"Amplitude of the uptake of {name}; 1 is average"}
        for region in REGIONS:
            words = f"{region.replace('_', ' ')} of {name}"
            columns[f"suvr_{tracer}_{region}"] = {"Description": f"True SUVR, before blurring, in {words}"}
            columns[f"expected_suvr_{tracer}_{region}"] = {
                "Description": f"SUVR expected from the MRI (the law without its noise) in {words}"
            }
    return columns


def _table(rows: list[dict]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
