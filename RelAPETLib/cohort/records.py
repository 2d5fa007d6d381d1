"""Completion records: one file a person, session, tracer and model, beside the results it speaks of, written last.

They lie with the results because then they share their fate: who copies, deletes or merges a person's folder does the
same to what is known of it, and jobs on clones or in arrays have nothing else to agree on. A record holds the hashes
of inputs, model and results, the options, what sidecars say and the code's revisions; what it was made from is compared
by one fingerprint (`origin`). All tables of the group level are made from records alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..jsonfiles import read_json_object
from ..tracers import get_tracer
from ..volumes import file_sha256
from .origin import Origin
from .request import fingerprint
from .visits import Visit

SCHEMA_VERSION = 1
DONE, FAILED = "done", "failed"
SUFFIX = "_record.json"
#: What records of earlier versions lack.
LATER = {"said", "code", "notes"}
#: Files of at most as many bytes are compared by their hashes whenever a record is asked.
SMALL = 1 << 20
#: What inputs are called; the others are measured PET.
INPUTS = {"t1w": "T1w", "t2f": "T2-FLAIR", "case": "saved case"}


@dataclass(frozen=True)
class Record:
    """What became of one person, session, tracer and model.

    Attributes:
        participant_id, session, tracer: whose; ``session`` is ``n/a`` without sessions.
        model: name, version and hashes.
        status: ``done`` or ``failed``.
        reason: one line, of a failure; empty of a success.
        fingerprint: of inputs, model, tracer and options.
        inputs: SHA-256 by role.
        options: as asked for.
        outputs: by name in the same folder, ``{"sha256", "bytes"}``.
        metrics: against the measured PET, as in the provenance; None without one.
        regions: rows of the regional table, with their ``units``; records of earlier versions have none.
        verdict: of the result, as in the provenance; None where it has none.
        warnings: of the synthesis, one line each; in records of earlier versions the notes, too.
        notes: what was chosen among the visit's files, or is doubted of them, one line each.
        left_out: why a measured PET was not compared with; empty where it was, or where there is none.
        seconds: time by stage.
        said, code: as in `origin.Origin`; these and `notes` are empty in records of earlier versions.
    """

    participant_id: str
    session: str
    tracer: str
    model: dict
    status: str
    reason: str
    fingerprint: str
    inputs: dict
    options: dict
    outputs: dict = field(default_factory=dict)
    metrics: dict | None = None
    regions: list[dict] = field(default_factory=list)
    verdict: dict | None = None
    warnings: list[str] = field(default_factory=list)
    left_out: str = ""
    seconds: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)
    code: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The file's content."""
        content = {"schema_version": SCHEMA_VERSION, "relapet": __version__, **asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def stem(visit: Visit, tracer: str) -> str:
    """What the names of all files of a visit and tracer begin with: ``sub-01_ses-2_trc-AV1451``."""
    return f"{visit.name}_trc-{get_tracer(tracer).bids[0]}"


def record_name(visit: Visit, tracer: str, model: dict) -> str:
    """Name of a record's file; of the model's name the letters and digits."""
    return f"{stem(visit, tracer)}_model-{re.sub('[^A-Za-z0-9]', '', model['name']) or 'model'}{SUFFIX}"


def hashes(visit: Visit, tracers: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of a visit's inputs by role: ``t1w``, ``t2f`` and ``pet_TAU`` ..., or of a saved case's record.

    Raises:
        InputError: a file cannot be read.
    """
    from .visits import CASE_RECORD

    if visit.case is not None:
        return {"case": file_sha256(visit.case / CASE_RECORD)}
    files = {"t1w": visit.t1w, "t2f": visit.t2f}
    found = {role: _hash(path) for role, path in files.items() if path is not None}
    for tracer in tracers:
        if tracer in visit.pets:
            scan = visit.pets[tracer]
            units = fingerprint({"sidecar": scan.sidecar})
            found[f"pet_{tracer}"] = fingerprint({"image": _pet_hash(scan.path), "sidecar": units})
    return found


def _hash(path: Path) -> str:
    from ..volumes import second_file

    other = second_file(path)
    return fingerprint({"files": [file_sha256(path), file_sha256(other)]}) if other else file_sha256(path)


def _pet_hash(path: Path) -> str:
    """Hash of a measured PET; one that cannot be read is left out of the comparison and stops nobody."""
    try:
        return _hash(path)
    except InputError:
        return "unreadable"


def is_done(folder: Path, name: str, wanted: Origin) -> bool:
    """Whether a record says that a result of this origin is there, and its files are as they were written."""
    return judge(folder, name, wanted)[0]


def judge(folder: Path, name: str, wanted: Origin) -> tuple[bool, str]:
    """Whether a result of this origin is there, and in words why one that is there has to be made anew.

    Records of earlier versions do not tell ``said`` and ``code``; they count where all else is the same. The words are
    empty where the result counts, and where there is none.
    """
    try:
        record = read_record(folder / name)
    except InputError:
        return False, "its record cannot be read" if (folder / name).is_file() else ""
    if record.status != DONE:
        return False, ""
    if record.fingerprint != (wanted.fingerprint if record.code else wanted.earlier_fingerprint):
        return False, differences(record, wanted)
    changed = _changed(folder, name, record.outputs)
    return not changed, changed


def differences(record: Record, wanted: Origin) -> str:
    """What a record's result came from otherwise than is wanted, in words without any path."""
    found = [f"another {INPUTS.get(role, 'measured PET')}" for role in _different(record.inputs, wanted.inputs)]
    if record.code:
        roles = _different(record.said, wanted.said)
        found += [f"the name or sidecar of the {INPUTS[role]} says otherwise" for role in roles]
        found += [
            f"{what} of revision {record.code.get(what, 'none')}, now {wanted.code.get(what, 'none')}"
            for what in _different(record.code, wanted.code)
        ]
    for option in _different(record.options, wanted.options):
        before, now = (str(options.get(option, "as usual")) for options in (record.options, wanted.options))
        found.append(f"{option} was {before}, now {now}")
    found += ["another model"] if record.model != wanted.model else []
    return ", ".join(dict.fromkeys(found)) or "another age, sex or score"


def _different(before: Mapping, now: Mapping) -> list[str]:
    """Names whose contents differ as JSON."""
    return [name for name in sorted({**before, **now}) if json.dumps(before.get(name)) != json.dumps(now.get(name))]


def _changed(folder: Path, name: str, outputs: Mapping[str, Mapping]) -> str:
    """What became of files of a result that are not what its record says, in words; empty where all are.

    Small files are compared by their hashes. A volume is read only where it was changed after the record, which is
    written last: of thousands of people that would take longer than finding their inputs the same.
    """
    written = (folder / name).stat().st_mtime_ns
    for file, facts in outputs.items():
        try:
            found = (folder / file).stat()
            same = found.st_size == facts["bytes"]
            if same and (found.st_size <= SMALL or found.st_mtime_ns > written):
                same = file_sha256(folder / file) == facts["sha256"]
        except (OSError, InputError):
            return "a file is missing or cannot be read"
        if not same:
            return "a file was changed"
    return ""


def read_record(path: Path) -> Record:
    """A record.

    Raises:
        InputError: missing, damaged or of another version.
    """
    content = read_json_object(path, "record", advice="remove it and run the person again")
    names = set(Record.__dataclass_fields__)
    if content.pop("schema_version", None) != SCHEMA_VERSION or not names - LATER <= content.keys():
        raise InputError(f"record {path}: damaged or of another version; remove it and run the person again")
    return Record(**{name: content[name] for name in names & content.keys()})


def read_records(out: Path) -> Iterator[tuple[Path, Record | str]]:
    """Every record below a folder of derivatives in order of name, or why it cannot be read; no hidden file is one."""
    for path in sorted([*out.glob(f"sub-*/pet/sub-*{SUFFIX}"), *out.glob(f"sub-*/ses-*/pet/sub-*{SUFFIX}")]):
        try:
            yield path, read_record(path)
        except InputError as error:
            yield path, str(error)
