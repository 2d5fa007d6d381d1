"""The folder of results of many patients: who is who in it without any name, and what is done."""

import hashlib
import json
import os
import re
from pathlib import Path

from . import history
from .library import library
from .scene import FILES

#: Files ``sub-001_ses-1`` that say which scans these are, by a hash of their voxels. BIDS ignores hidden folders.
IDS = ".relapet-ids"
_ID = re.compile(r"(sub-\d{3,})_(ses-\d+)")


def keyOf(pair):
    """What tells the scans of a `pairs.Pair` from all others, in any scene: a hash of their voxels. It names nobody.

    None where a volume cannot be read where it stands.
    """
    prints = [history.fingerprint(volume) for volume in (pair.t1w, pair.t2f) if volume is not None]
    if not prints or None in prints:
        return None
    return hashlib.sha256(json.dumps([found["voxels"] for found in prints]).encode()).hexdigest()


def folderOf(parent, model):
    """The folder of one model's results: `relapet bids` keeps the models apart."""
    name = os.path.basename(os.path.normpath(model))
    return os.path.join(parent, f"relapet-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-') or 'model'}")


class BatchFolder:
    """Results of one model, as ``relapet bids`` writes them.

    Persons are numbers there. Which number is whose stands in the scene alone (the panel's table); the folder knows a
    number's scans by a hash, so that another run of the same scans, in any scene, finds what is done.
    """

    def __init__(self, path):
        self.path = Path(path)

    def known(self):
        """(subject, session) by key."""
        found = {}
        for file in sorted((self.path / IDS).glob("sub-*_ses-*")):
            match = _ID.fullmatch(file.name)
            if match:
                found.setdefault(_read(file), match.groups())
        found.pop("", None)
        return found

    def claim(self, key, subject=None):
        """(subject, session) for scans, of a new person or a known one, who has other scans here; made once.

        Two programs that work on one folder never get the same one. Raises OSError when it cannot be written to.
        """
        there = self.known().get(key)
        if there:
            return there
        (self.path / IDS).mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            number += 1
            who = (subject, f"ses-{number}") if subject else (f"sub-{number:03d}", "ses-1")
            taken = (self.path / who[0] / who[1]) if subject else (self.path / who[0])
            if taken.exists() or (not subject and any((self.path / IDS).glob(f"{who[0]}_*"))):
                continue
            try:
                with open(self.path / IDS / "_".join(who), "x", encoding="ascii") as stream:
                    stream.write(key)
            except FileExistsError:
                continue
            return who

    def records(self, who):
        """Records of what is done of (subject, session), by the tracer's name."""
        read, found = library("cohort.records").read_record, {}
        for path in sorted((self._folder(who)).glob("*_record.json")):
            try:
                record = read(path)
            except library("errors").InputError:
                continue
            if record.status == "done" and all((path.parent / name).is_file() for name in record.outputs):
                found[record.tracer] = record
        return found

    def files(self, who, record):
        """(folder, paths by the names that a synthesis has them by), as `resultfiles.reading` takes them."""
        derivatives, folder = library("cohort.derivatives"), self._folder(who)
        stem = next(name.split("_desc-")[0] for name in record.outputs if name.endswith("_provenance.json"))
        plain = [f"{name}.nii.gz" for name in FILES.values()] + ["synthetic_pet.json", "regions.tsv"]
        names = derivatives.derived_names(stem, plain)
        return folder, {name: str(folder / there) for name, there in names.items() if there in record.outputs}

    def _folder(self, who):
        return self.path / who[0] / who[1] / "pet"


def _read(file):
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
