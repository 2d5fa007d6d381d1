"""What the library wrote of a synthesis, read in steps, before anything of it is in the scene."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .attributes import KIND, MODEL, SD, SD_OF_NORMS, STATEMENT, SYNTHETIC, TRACER, UNITS, WINDOW
from .scene import FILES, MEASURED, MNI, SceneError, readVolume, titleOf

#: Endings of the names of volumes by the space that was asked for, that of the first PET first.
ENDINGS = {"t1w": [""], "mni": [MNI], "both": ["", MNI]}


@dataclass
class ResultFiles:
    """What the library wrote of one tracer, read, and not in the scene yet.

    record: what ``synthetic_pet.json`` holds; rows: of ``regions.tsv``; facts: attributes of nodes by kind.
    maps: volumes by kind, by the ending of their files' names, in the T1w's space before MNI space.
    """

    record: dict
    rows: list
    facts: dict
    maps: dict

    @property
    def tracer(self):
        return self.record["tracer"]["name"]


def reading(folder, files, space, geometry):
    """Read the results of one tracer in steps: a generator of what each volume is, before it is read.

    None is a further step of the same volume. Its return value is a `ResultFiles`. All tracers are read before anything
    is placed: a damaged file must not leave half a result in the scene.

    Args:
        folder, files: from the library's ``result`` line; `files` has the paths by name.
        space: what was asked for, "t1w", "mni" or "both".
        geometry: the T1w's world matrix when it was written.
    """
    folder = Path(folder)
    paths = {name: folder / files.get(name, name) for name in ("synthetic_pet.json", "regions.tsv")}
    record = json.loads(paths["synthetic_pet.json"].read_text(encoding="utf-8"))
    with open(paths["regions.tsv"], newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    facts, maps = {kind: _facts(kind, record) for kind in FILES}, {}
    for ending in ENDINGS[space]:
        maps[ending] = yield from _reading(folder, files, ending, geometry, record["tracer"]["name"])
    return ResultFiles(record, rows, facts, maps)


def readResults(folder, files, space, geometry):
    """`ResultFiles` of one tracer, all of `reading` at once."""
    steps = reading(folder, files, space, geometry)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def volumesIn(files, ending):
    """Names of the files by kind, of one space, among those that the library wrote, compressed or not."""
    names = {kind: (f"{stem}{ending}.nii", f"{stem}{ending}.nii.gz") for kind, stem in FILES.items()}
    found = {kind: [name for name in each if name in files] for kind, each in names.items()}
    return {kind: each[0] for kind, each in found.items() if each}


def _reading(folder, files, ending, geometry, tracer):
    """Volumes outside the scene by kind, of one space, one a step. Raises SceneError where no PET is among them."""
    maps = {}
    for kind, name in volumesIn(files, ending).items():
        yield titleOf(kind, tracer)
        maps[kind] = slicer.vtkMRMLScalarVolumeNode()
        readVolume(folder / files[name], maps[kind], None if ending else geometry)
        yield None
        maps[kind].GetImageData().GetScalarRange()  # VTK keeps it; its colours' window asks for it when it is placed
    if "pet" not in maps:
        raise SceneError(_("the program wrote no PET"))
    return maps


def _facts(kind, record):
    """Attributes of a result's node."""
    facts = {
        SYNTHETIC: "1",
        KIND: kind,
        TRACER: record["tracer"]["name"],
        MODEL: f"{record['model']['name']} {record['model']['version']}",
        UNITS: record["pet"]["units"],
        WINDOW: json.dumps(record["tracer"].get("window")),
        STATEMENT: record["statement"],
    }
    if kind in MEASURED:
        del facts[SYNTHETIC], facts[STATEMENT], facts[MODEL]
    if kind == "uncertainty":
        facts["RelAPET.Meaning"] = record["uncertainty"]
    if kind == "departure":
        facts |= {"RelAPET.Meaning": (record.get("departure") or {}).get("meaning"), UNITS: SD}
    if kind == "zscore":
        z = (record.get("reference") or {}).get("z") or {}
        facts |= {"RelAPET.Meaning": z.get("says"), UNITS: SD_OF_NORMS}
    return facts
