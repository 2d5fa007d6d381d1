"""``relapet doctor``: what is installed, what the machine has, and whether the models are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..notices import printable

#: Below this a download or a cohort soon fails.
_LOW_DISK_GIB = 2.0


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="check this installation",
        description="Print versions, devices, models and folders; exit code 2 when something is wrong.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..devices import describe_devices
    from ..provenance import versions

    reporter.progress(0.0, "looking at versions and devices")
    content = {"versions": versions(), "devices": describe_devices()}
    reporter.progress(0.3, "verifying models")
    content["models"], content["refused"] = _models(), _refused()
    content["folders"] = [*_folders(), *_models_folder()]
    content["problems"] = _problems(content)
    reporter.progress(1.0, "done")
    reporter.result("doctor", content, _as_text(content))
    if content["problems"]:
        reporter.error(f"{len(content['problems'])} problem(s): {'; '.join(content['problems'])}", 2)
        return 2
    return 0


def _models() -> list[dict]:
    """Catalogue models, and whether those that are here are whole; one row for all where none can be looked for."""
    from ..errors import ModelError
    from ..models import list_models, verify

    try:
        entries, found = list_models(), []
    except ModelError as error:
        return [{"name": "all", "installed": False, "verified": None, "problem": str(error)}]
    for entry in entries:
        row = {"name": entry["name"], "installed": bool(entry["installed"]), "verified": None, "problem": None}
        if not row["installed"] and entry["shipped"]:
            row["problem"] = f"model {entry['name']} should come with relapet but is missing; reinstall relapet"
        if row["installed"]:
            try:
                verify(entry["name"])
                row["verified"] = True
            except ModelError as error:
                row |= {"verified": False, "problem": str(error)}
        found.append(row)
    return found


def _refused() -> list[dict]:
    """What lies among the user's own models and in the models folder and cannot be used; whole or not is `_models`'."""
    from ..errors import ModelError
    from ..models.places import found_models

    try:
        found = list(found_models())
    except ModelError:  # no models folder can be told, which is said of the folders
        return []
    return [
        {"name": each.folder.name, "path": str(each.folder), "place": each.place, "problem": each.problem}
        for each in found
        if each.problem
    ]


def _models_folder() -> list[dict]:
    """The models folder, where one is chosen: a row of the folders."""
    from ..errors import ModelError
    from ..models.places import models_folder

    row = {"what": "models folder, only read", "path": None, "writable": None, "free_gib": None}
    try:
        folder = models_folder()
    except ModelError as error:
        return [{**row, "problem": str(error)}]
    if folder is None:
        return []
    there = os.access(folder, os.R_OK | os.X_OK) and folder.is_dir()
    problem = None if there else f"the models folder {folder} is not there or cannot be read"
    return [{**row, "path": str(folder), "problem": problem}]


def _folders() -> list[dict]:
    from ..errors import ModelError
    from ..models import home
    from ..resources import resources_dir
    from .logs import default_log_file

    rows = [{"what": "data files", "path": str(resources_dir()), "writable": None, "free_gib": None}]
    for what, find in (
        ("models and logs (RELAPET_HOME)", home),
        ("log folder", lambda: default_log_file().parent),
        ("temporary files", lambda: Path(tempfile.gettempdir())),
    ):
        try:
            path = find()
        except (ModelError, OSError):  # no home is known, or no folder can be written
            rows.append({"what": what, "path": None, "writable": False, "free_gib": None})
            continue
        existing = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(existing).free / 1024**3
        rows.append({"what": what, "path": str(path), "writable": os.access(existing, os.W_OK), "free_gib": free})
    return rows


def _problems(content: dict) -> list[str]:
    problems = [f"{name} is not installed" for name, version in content["versions"].items() if version == "unknown"]
    rows = (*content["models"], *content["refused"], *content["folders"])
    problems += [row["problem"] for row in rows if row.get("problem")]
    for row in content["folders"]:
        if row["writable"] is False:
            problems.append(
                f"no folder is known for {row['what']}; set RELAPET_HOME or TMPDIR"
                if row["path"] is None
                else f"cannot write to {row['path']} ({row['what']})"
            )
        elif row["free_gib"] is not None and row["free_gib"] < _LOW_DISK_GIB:
            problems.append(f"only {row['free_gib']:.1f} GiB left at {row['path']} ({row['what']})")
    return list(dict.fromkeys(problems))


def _as_text(content: dict) -> list[str]:
    lines = ["Versions"]
    lines += [f"  {name:<12} {version}" for name, version in content["versions"].items()]
    lines.append("Devices")
    for device in content["devices"]:
        memory = "memory unknown"
        if device["total_gib"] is not None:
            memory = f"{device['free_gib']:.1f} of {device['total_gib']:.1f} GiB free"
        lines.append(f"  {device['device']:<12} {device['name']}; {memory}; attention: {device['attention']}")
    lines.append("Models")
    for row in content["models"]:
        state = "verified" if row["verified"] else "not installed"
        state = f"BAD: {row['problem']}" if row["problem"] else state
        lines.append(f"  {row['name']:<12} {state}")
    lines += [f"  {row['name']:<12} BAD: {row['problem']}" for row in content["refused"]]
    lines.append("Folders")
    for row in content["folders"]:
        state = "" if row["writable"] is None else "; writable" if row["writable"] else "; NOT writable"
        state += "; NOT there" if row.get("problem") else ""
        space = "" if row["free_gib"] is None else f"; {row['free_gib']:.0f} GiB free"
        lines.append(f"  {row['what']}: {row['path'] or 'none'}{state}{space}")
    lines.append("Problems found." if content["problems"] else "No problems found.")
    return [printable(line, None) for line in lines]  # some of it comes from folders that others fill
