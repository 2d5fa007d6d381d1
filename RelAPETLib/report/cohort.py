"""The page of a cohort: distributions, agreement, best, median and worst result, failures, marks to export."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..notices import warn
from ..regions import load_regions
from ..unnamed import without_names
from . import web
from .cohort_figures import METRICS, bland_altman, distributions, regional, result_pictures
from .cohort_results import ResultFiles, find_results
from .cohort_tables import (
    LEAST_FOR_LIMITS,
    MISSING,
    Group,
    Key,
    Tables,
    agreements,
    by_region,
    figures_of,
    ranked,
    read_tables,
    regional_errors,
    units_of,
)
from .scorecard import scorecard

NOT_CHECKED = "not checked"
_BUTTONS = (
    '<td><button type="button" data-set="accept" aria-pressed="false">\u2713 accept</button> '
    '<button type="button" data-set="reject" aria-pressed="false">\u2717 reject</button></td>'
    '<td><input type="text" aria-label="note" maxlength="500"></td>'
)
#: Bytes that pictures and figures of a page may take, so that it stays below `web.MAX_BYTES`.
_ROOM_FOR_PICTURES = 5_000_000
_OWN_LEVEL = (
    "Pictures are of the results' own files. What relapet evaluate measured at another level or resolution "
    "(--reference-region, --fwhm) ranks them, and is not what they show."
)
_MAX_REGIONS_NOTE = "More than 40 regions: the figures show the first 40, the table all."


def write_cohort_report(
    source: str | os.PathLike | Mapping,
    path: str | os.PathLike,
    *,
    results: Mapping[Key, ResultFiles] | None = None,
    title: str = "Synthetic PET of a cohort",
) -> dict[str, int]:
    """Write the page of a cohort, one HTML file that asks nothing of a network.

    Args:
        source: a folder with the tables `volumes.tsv`, `regions.tsv`, `failures.tsv`, `notes.tsv`, `images.tsv` (those
            that there are), or the tables by name (`cohort_tables.read_tables`).
        path: file to write; it is replaced, whole, when it exists.
        results: files of the results, for pictures, verdicts and links; None looks for them below the folder.
        title: heading.

    Returns:
        Numbers of ``results``, ``people``, ``failures`` and ``pictures``.

    Raises:
        InputError: no table, or one that cannot be used.
        RelAPETError: matplotlib, an optional part of the installation, is missing.
        OSError: the disk refuses.
    """
    from ..whole_files import write_whole

    tables = read_tables(source)
    keys = tables.results()
    if results is None:
        results = find_results(source, keys) if isinstance(source, (str, os.PathLike)) else {}
    _tell_units(tables, results)
    levels = {key: _level(results.get(key)) for key in keys}
    people = len({key.participant_id for key in keys})
    room = _Room(_ROOM_FOR_PICTURES)
    sections = [_group(tables, group, results, room) for group in tables.groups()]
    body = "\n".join([
        f"<h1>{web.text(title)}</h1>",
        f"<p>{len(keys)} synthetic PET of {people} {'person' if people == 1 else 'people'}; "
        f"{len(tables.failures)} rows of failures. A visit of a person counts once for each tracer and model. "
        f"RelAPET {web.text(__version__)}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC.</p>",
        _failures(tables),
        _notes(tables),
        *sections,
        _marks(tables, levels, results, Path(path)),
        scorecard(tables, Counter(levels.values()), sum(bool(one.record) for one in results.values())),
        web.data_block("cohort", {"title": title, "relapet": __version__, "tables_sha256": _fingerprint(tables)}),
    ])  # fmt: skip
    content = web.page(f"SYNTHETIC: {title}", body, "marks.js").encode("utf-8")
    if len(content) > web.MAX_BYTES:
        raise InputError(
            f"the page of {len(keys)} results would have {len(content) / 1e6:.0f} MB, more than 10; "
            "give the tables of a part of them"
        )
    write_whole(path, content)
    return {"results": len(keys), "people": people, "failures": len(tables.failures), "pictures": room.pictures}


def _tell_units(tables: Tables, results: Mapping[Key, ResultFiles]) -> None:
    """The unit of regional rows whose table has none, as those of earlier versions, by the results' own records."""
    for row in tables.regions:
        if row["units"] == MISSING and row["key"] in results:
            pet = results[row["key"]].record.get("pet")
            if isinstance(units := pet.get("units") if isinstance(pet, dict) else None, str):
                row["units"] = units


class _Room:
    """What pictures may still take; they are left out, and it is said, once it is used up."""

    def __init__(self, size: int):
        self.left, self.pictures = size, 0

    def take(self, png: bytes, words: str) -> str:
        if len(png) * 4 / 3 > self.left:
            return f'<p class="warning">{web.text(words)}: left out, the page would grow beyond 10 MB.</p>'
        self.left -= len(png) * 4 / 3
        return web.image(png, words)


def _level(files: ResultFiles | None) -> str:
    verdict = files.record.get("verdict") if files else None
    level = verdict.get("level") if isinstance(verdict, dict) else None
    return level if level in web.VERDICTS else NOT_CHECKED


def _fingerprint(tables: Tables) -> str:
    regions = [{name: value for name, value in row.items() if name != "units"} for row in tables.regions]
    return hashlib.sha256(repr((tables.volumes, regions, tables.failures)).encode()).hexdigest()


def _failures(tables: Tables) -> str:
    if not tables.failures:
        return '<section id="failures"><h2>Failures</h2><p>None is recorded.</p></section>'
    rows = [(*row["key"], without_names(row["reason"])) for row in tables.failures]
    return (
        f'<section id="failures"><h2>Failures ({len(rows)})</h2>'
        f"{web.table(('participant', 'session', 'tracer', 'model', 'reason'), rows, numbers=False)}</section>"
    )


def _notes(tables: Tables) -> str:
    """What is to be known of people's files; nothing where there is nothing."""
    if not tables.notes:
        return ""
    rows = [(row["key"].participant_id, row["key"].session, without_names(row["note"])) for row in tables.notes]
    return (
        f'<section id="notes"><h2>Notes on the files ({len(rows)})</h2>'
        f"{web.table(('participant', 'session', 'note'), rows, numbers=False)}</section>"
    )


def _group(tables: Tables, group: Group, results: Mapping[Key, ResultFiles], room: _Room) -> str:
    """Everything of one tracer and model."""
    parts = [f"<section><h2>{web.text(group.tracer)}, model {web.text(group.model)}</h2>"]
    for region in dict.fromkeys(row["region"] for row in tables.volumes):
        figures = figures_of(tables, group, region)
        values = {name: [r[name] for r in figures.values() if r[name] is not None] for name in METRICS}
        if any(values.values()):
            words = f"{group.tracer}, {region.replace('_', ' ')}: synthetic against measured PET"
            parts += [f"<h3>{web.text(words)}</h3>", room.take(distributions(values), words), _summary(values)]
    parts += [_regional(tables, group, room), _agreement(tables, group, room), _cases(tables, group, results, room)]
    return "\n".join([*parts, "</section>"])


def _summary(values: Mapping[str, list[float]]) -> str:
    import numpy as np

    rows = []
    for name, numbers in values.items():
        if numbers:
            quarter, median, three = np.percentile(numbers, (25, 50, 75))
            row = (min(numbers), quarter, median, three, max(numbers))
            rows.append((METRICS[name], len(numbers), *(web.number(value) for value in row)))
    return web.table(("figure", "n", "least", "25 %", "median", "75 %", "most"), rows)


def _titles() -> dict[str, str]:
    return {region.name: region.title for region in load_regions()[1]}


def _regional(tables: Tables, group: Group, room: _Room) -> str:
    rows = {
        name: tuple([row[pet] for row in own if row[pet] is not None] for pet in ("synthetic", "measured"))
        for name, own in by_region(tables, group).items()
    }
    if not any(made or measured for made, measured in rows.values()):
        return ""
    units = units_of(tables, group)
    words = f"{group.tracer}: regional values, {units}"
    note = f'<p class="small">{_MAX_REGIONS_NOTE}</p>' if len(rows) > 40 else ""
    return f"<h3>{web.text(words)}</h3>{room.take(regional(rows, units), words)}{note}"


def _agreement(tables: Tables, group: Group, room: _Room) -> str:
    figures = [one for one in agreements(tables, group) if one.differences.size]
    if not figures:
        return "<p>No measured PET: agreement cannot be told.</p>"
    units, titles, rows = units_of(tables, group), _titles(), []
    words = f"{group.tracer}: Bland-Altman plots, {units}"
    for one in figures:
        low, high = one.limits or (None, None)
        covered = f"{one.inside} of {one.judged}" if one.judged else MISSING
        name = titles.get(one.region.replace(" ", "_"), one.region)
        rows.append((name, len(one.differences), one.people, web.number(one.bias, "+.3f"), web.number(one.sd),
                     web.number(low, "+.3f"), web.number(high, "+.3f"), covered))  # fmt: skip
    head = ("region", "PET", "people", "bias", "SD", "lower limit", "upper limit", "measured inside the interval")
    note = (
        "Bias: mean of synthetic minus measured (line); limits of agreement: bias -/+ 1.96 SD (dashed), from "
        f"{LEAST_FOR_LIMITS} PET on. They take visits as independent, which those of one person are not."
    )
    return (
        f"<h3>{web.text(words)}</h3>{room.take(bland_altman(figures, units), words)}"
        f'{web.table(head, rows)}<p class="small">{web.text(note)}</p>'
    )


def _cases(tables: Tables, group: Group, results: Mapping[Key, ResultFiles], room: _Room) -> str:
    """Best, median and worst result, with pictures where their files are found."""
    order, by = ranked(tables, group)
    if not order:
        return ""
    chosen = {order[0]: "best"}
    if len(order) > 2:
        chosen[order[(len(order) - 1) // 2]] = "median"
    if len(order) > 1:
        chosen[order[-1]] = "worst"
    else:
        chosen = {order[0]: "only result"}
    which = ("The only result", "Best and worst", "Best, median and worst")[min(len(order), 3) - 1]
    parts = [f"<h3>{which} by {web.text(by)}, of {len(order)}</h3>" if len(order) > 1 else f"<h3>{which}</h3>"]
    parts.append(f'<p class="small">{web.text(_OWN_LEVEL)}</p>')
    for key, rank in chosen.items():
        name = " ".join(part for part in (key.participant_id, key.session) if part != MISSING)
        words = f"{rank}: {name}, {key.tracer}"
        parts.append(f'<div class="case"><h4>{web.text(words)}</h4>{_pictures(key, words, results, room)}</div>')
    return "\n".join(parts)


def _pictures(key: Key, words: str, results: Mapping[Key, ResultFiles], room: _Room) -> str:
    files = results.get(key)
    if files is None or "pet" not in files.volumes:
        return "<p>No picture: its synthetic PET was not found.</p>"
    suvr = (files.record.get("tracer") or {}).get("output", "suvr") == "suvr"
    try:
        png = result_pictures(files.volumes, words, key.tracer, suvr)
    except InputError as error:
        warn(f"no picture of {key.participant_id}: {error}")
        return "<p>No picture: its volumes cannot be shown; see the warnings of the command.</p>"
    room.pictures += 1
    return room.take(png, f"{words}: SYNTHETIC PET, measured PET and their difference in three planes")


def _marks(tables: Tables, levels: Mapping[Key, str], results: Mapping[Key, ResultFiles], path: Path) -> str:
    """A row a result, with its figures, verdict, page, and buttons to accept or reject it."""
    rows = []
    for group in tables.groups():
        figures, errors = figures_of(tables, group), regional_errors(tables, group)
        for key in (key for key in levels if Group(key.tracer, key.model) == group):
            row = figures.get(key, {})
            numbers = (row.get("psnr"), row.get("ssim"), row.get("mae"), errors.get(key))
            rows.append((key, [web.number(value) for value in numbers], levels[key], _link(results.get(key), path)))
    body = "".join(
        f"<tr {_attributes(key)}>{web.paragraphs([*key, *numbers, level], 'td')}<td>{link}</td>{_BUTTONS}</tr>"
        for key, numbers, level, link in rows
    )
    heads = (
        "participant",
        "session",
        "tracer",
        "model",
        "PSNR, dB",
        "SSIM",
        "MAE",
        "regional error",
        "verdict",
        "page",
    )
    head = web.paragraphs([*heads, "mark", "note"], "th")
    return f"""<section id="marks"><h2>Accept or reject</h2>
<p>Marks stay in this window until they are exported; they change no file. <span class="counts" id="counts"></span></p>
<p><label>show <input type="text" id="filter" placeholder="participant, tracer ..."></label>
<label>reviewer <input type="text" id="reviewer" maxlength="100"></label>
<button type="button" id="export-json">export JSON</button> <button type="button" id="export-tsv">export TSV</button>
<label>go on from an export <input type="file" id="import" accept=".json"></label> <span id="told"></span></p>
<div class="wide"><table class="words" id="results"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
</section>"""


def _attributes(key: Key) -> str:
    """Of a row, whose result it is, as the page's script reads it."""
    return " ".join(f'data-{name.replace("_", "-")}="{web.text(value)}"' for name, value in key._asdict().items())


def _link(files: ResultFiles | None, path: Path) -> str:
    """A link to a person's own page, where it lies below the folder of this one: no path of a machine is given away."""
    if files is None or files.page is None:
        return MISSING
    try:
        place = files.page.resolve().relative_to(path.resolve().parent)
    except ValueError:
        return MISSING
    from urllib.parse import quote

    return f'<a href="{web.text(quote(place.as_posix()))}">{web.text(files.page.suffix[1:])}</a>'
