"""`report.html`: one person's synthetic PET to look through in a browser, in one file that asks nothing of a network.

The viewer is our own: nilearn's (brainsprite) shows one map in one window that is fixed when the page is made, on a
grid of its own, and NiiVue is no Python package. Here windows, opacity and what lies over what are switched while
looking, on the scan's own voxel planes, and values are read off.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, RelAPETError
from ..provenance import SIMULATED_STATEMENT, STATEMENT
from ..tracers import TRACERS
from . import web
from .notes import further_warnings
from .packing import Layer, coarser, grey_layer, small_enough, value_layer, where_known, white_layer
from .pictures import BURNED_IN, RIM_MM, SD_WINDOW, Volumes, grey_limits, own_window, prepare, round_limit

if TYPE_CHECKING:
    import SimpleITK as sitk

DISAGREE = (
    "Networks that predict amyloid from MRI fail where atrophy and amyloid disagree (arXiv 2605.11867), which is where "
    "a PET is wanted most. This guess may fail there too, and does not know it."
)
DEPARTURE = (
    "What this MRI changed against the mean of synthetic PET of the training people, in their SD: orange higher, "
    "purple lower. Not a disease map."
)
NOT_ERROR = "The spread of the samples is the spread of the model's guesses, not the error against a real PET."
MEASURED = "measured PET, research only"
_COLUMNS = {
    "synthetic_pet": "synthetic",
    "synthetic": "synthetic",
    "spread": "spread (SD)",
    "low": "interval, low",
    "high": "interval, high",
    "reference": "measured",
    "measured": "measured",
    "difference": "synthetic minus measured",
    "volume_ml": "volume, ml",
    "share_measured": "share measured",
    "share_in_view": "share in view",
    "in_field": "share in view",
}
#: Columns of an interval.
_ENDS = {"low", "high"}
#: Pictures of fewer voxels along each axis show nothing.
_LEAST_VOXELS = 16
_MAPS = ("inferno", "RdBu_r", "viridis", "PuOr_r")


def write_html_report(
    path: Path | str,
    *,
    pictures: dict[str, sitk.Image | None],
    record: dict,
    regions: Sequence[dict],
    notes: Sequence[str] = (),
    label: str | None = None,
) -> None:
    """Write the page of one synthesis.

    Args:
        path: file to write (replaced when it exists).
        pictures: volumes on one grid, the T1w's or the model's: ``t1w``, ``pet`` (0 outside the brain), and of ``t2f``,
            ``reference``, ``difference``, ``uncertainty``, ``departure``, ``reference_z``, ``template_white`` and
            ``t1w_white`` (shares of white matter, 0 to 1, whose edges the registration check shows) those that there
            are.
        record: what `synthetic_pet.json` holds; its ``verdict`` and ``warnings`` come first on the page.
        regions: rows of `regions.regional_rows`; columns such as ``low`` and ``high`` are shown when they are there.
        notes: one line each.
        label: a name or code to print on the page; None, and the page names nobody.

    Raises:
        InputError: the volumes are not on one grid, or the page cannot be kept below 10 MB.
        RelAPETError: matplotlib, an optional part of the installation, is missing.
    """
    volumes = small_enough(prepare(pictures))
    tracer, model = record["tracer"], record["model"]
    title = f"{tracer['name']}: {tracer['radiopharmaceutical']}, model {model['name']} {model['version']}"
    parts = [
        f"<h1>Synthetic {web.text(title)}</h1>",
        f'<p class="label" id="label">{web.text(label)}</p>' if label else "",
        web.verdict_box(record.get("verdict")),
        _warnings(further_warnings(record)),
        "{viewer}",
        _comparison([line for line in notes if line != (record.get("verdict") or {}).get("says")]),
        _regions(regions, record["pet"]["units"], record.get("intervals")),
        _model(record),
        _provenance(record),
    ]
    heading = f"{BURNED_IN}: {title}"
    while True:
        viewer = _viewer(volumes, record)
        body = "\n".join(part if part != "{viewer}" else viewer for part in parts)
        content = web.page(heading, body, "viewer.js").encode("utf-8")
        if len(content) <= web.MAX_BYTES:
            break
        if max(volumes.brain.shape) < _LEAST_VOXELS:
            raise InputError(f"report.html would have more than {web.MAX_BYTES / 1e6:g} MB even with coarse pictures")
        volumes = coarser(volumes, tuple(int(n) for n in 1 + (volumes.spacing == volumes.spacing.min())))
    Path(path).write_bytes(content)


def _viewer(volumes: Volumes, record: dict) -> str:
    """The viewer's place, and its data."""
    units, suvr = record["pet"]["units"], record["tracer"]["output"] == "suvr"
    layers = _layers(volumes, units, record["sampling"]["samples"])
    views = _views(volumes, layers, TRACERS.get(record["tracer"]["name"]) if suvr else None)
    data = {
        "shape": list(volumes.brain.shape),
        "spacing": [round(float(s), 4) for s in volumes.spacing],
        "affine": np.round(volumes.affine, 4).tolist(),
        "centre": list(volumes.centre),
        "banner": BURNED_IN,
        "layers": {name: layer.packed() for name, layer in layers.items()},
        "views": views,
        "colours": {name: _colours(name) for name in _MAPS},
    }
    tabs = "".join(
        f'<button type="button" role="tab" data-view="{n}" aria-selected="false">{web.text(view["title"])}</button>'
        for n, view in enumerate(views)
    )
    below = "".join(
        f'<option value="{name}">{web.text(layers[name].title)}</option>' for name in ("t1w", "t2f") if name in layers
    )
    planes = "".join(
        f'<figure><canvas data-plane="{name}" tabindex="0" role="img" aria-label="{name} slice"></canvas>'
        f'<figcaption><label>{name} <input type="range" data-slice="{name}" min="0" value="0"></label></figcaption>'
        "</figure>"
        for name in ("axial", "coronal", "sagittal")
    )
    size = " x ".join(f"{s:.2g}" for s in volumes.spacing)
    return f"""<section id="viewer" aria-label="viewer">
<div class="tabs" role="tablist">{tabs}</div>
<p id="caption"></p>
<div class="controls">
<span id="windows" role="group" aria-label="window"></span>
<label>opacity <input type="range" id="opacity" min="0" max="100" value="75"></label>
<label>below <select id="below">{below}<option value="">nothing</option></select></label>
<label><input type="checkbox" id="cross" checked> cross</label>
</div>
<div class="planes">{planes}</div>
<div class="bar"><span id="bar-low"></span><canvas id="bar" width="256" height="12"></canvas><span id="bar-high"></span>
<span id="bar-units"></span></div>
<p id="readout" aria-live="polite"></p>
<p class="small">Click or drag in a picture to move the other two there; turn the wheel, or press the arrow keys, for
the next slice. The subject's right (R) is on the left. Voxels of {web.text(size)} mm, the scan's own planes; only the
brain and a rim of {RIM_MM:g} mm are in this file. Values are rounded to 1/254 of their range.</p>
<noscript><p class="warning">The pictures need JavaScript; relapet report --pdf makes a page without.</p></noscript>
{web.data_block("volumes", data)}
</section>"""


def _layers(volumes: Volumes, units: str, samples: int) -> dict[str, Layer]:
    arrays, brain = volumes.arrays, volumes.brain
    guess = "Synthetic PET" if samples == 1 else f"Synthetic PET (mean of {samples})"
    titles = {
        "pet": guess,
        "reference": "Measured PET",
        "difference": "Synthetic minus measured",
        "uncertainty": f"Spread of {samples} samples (SD)",
        "departure": "Departure",
        "reference_z": "z-score of the measured PET",
    }
    unit_of = dict.fromkeys(titles, units) | {"departure": "SD", "reference_z": "SD of the norms"}
    layers = {"t1w": grey_layer("T1w", arrays["t1w"], grey_limits(arrays["t1w"], brain))}
    if "t2f" in arrays:
        layers["t2f"] = grey_layer("T2-FLAIR", arrays["t2f"], grey_limits(arrays["t2f"], brain))
    for name in filter(arrays.__contains__, titles):
        known = where_known(name, arrays[name], brain)
        layers[name] = value_layer(titles[name], unit_of[name], arrays[name], known)
    for name, words in (("template_white", "Template's grey-white edge"), ("t1w_white", "T1w's grey-white edge")):
        if name in arrays:
            layers[name] = white_layer(words, arrays[name])
    return layers


def _views(volumes: Volumes, layers: dict[str, Layer], tracer) -> list[dict]:
    """What the viewer's tabs show: a map over an MRI, or an edge over a picture, each with three windows."""
    arrays, views = volumes.arrays, []

    def add(top: str, colours: str, windows: list, words: str, measured: bool = False) -> None:
        banner = MEASURED if measured else ""
        views.append({"title": layers[top].title, "caption": words, "below": "t1w", "top": top, "colours": colours,
                      "windows": windows, "synthetic": not measured, "banner": banner})  # fmt: skip

    windows = _pet_windows(arrays["pet"], tracer)
    add("pet", "inferno", windows, "A model's guess from MRI, over the MRI it was made of.")
    if "reference" in layers:
        add("reference", "inferno", windows, "The measured PET, in the same windows.", measured=True)
    if "difference" in layers:
        limit = round_limit(arrays["difference"], 0.1)
        windows = [_window(name, -limit * k, limit * k) for name, k in (("normal", 1), ("narrow", 0.5), ("wide", 2))]
        add("difference", "RdBu_r", windows, "Red: the guess is higher than the measurement; blue: lower.")
    if "uncertainty" in layers:
        limit = round_limit(arrays["uncertainty"], 0.05)
        windows = [_window(name, 0, limit * k) for name, k in (("normal", 1), ("narrow", 0.5), ("wide", 2))]
        add("uncertainty", "viridis", windows, NOT_ERROR)
    ends = {"normal": SD_WINDOW, "narrow": SD_WINDOW / 2, "wide": 2 * SD_WINDOW}
    windows = [_window(name, -end, end) for name, end in ends.items()]
    if "departure" in layers:
        add("departure", "PuOr_r", windows, DEPARTURE)
    if "reference_z" in layers:
        add("reference_z", "PuOr_r", windows, "The measured PET against the norms that were given.", measured=True)
    checks = (
        ("t1w", "template_white", "Check: template on T1w", "The template's grey-white edge should follow the T1w's."),
        ("t2f", "t1w_white", "Check: T1w on T2-FLAIR", "The T1w's grey-white edge should follow the T2-FLAIR's."),
        (
            "reference",
            "t1w_white",
            "Check: T1w on measured PET",
            "The T1w's grey-white edge should fit the uptake.",
        ),
    )
    for below, edge, title, words in checks:
        if below in layers and edge in layers:
            views.append({"title": title, "caption": words, "below": below, "top": edge, "colours": None,
                          "windows": _below_windows(below, layers, arrays, tracer), "synthetic": False,
                          "banner": MEASURED if below == "reference" else ""})  # fmt: skip
    return views


def _window(name: str, low: float, high: float) -> dict:
    return {"name": name, "low": float(f"{low:.3g}"), "high": float(f"{high:.3g}")}


def _pet_windows(pet: np.ndarray, tracer) -> list[dict]:
    """The tracer's window for contrast, its full one, and this scan's own; percentiles for what has no tracer's."""
    own = own_window(pet)
    if tracer is None:
        low, high = own
        return [
            _window("this scan", low, high),
            _window("upper half", (low + high) / 2, high),
            _window("whole range", min(0.0, low), max(high, float(pet.max()))),
        ]
    contrast = tracer.contrast_window or own
    return [_window("contrast", *contrast), _window("full", *tracer.display_window), _window("this scan", *own)]


def _below_windows(name: str, layers: dict[str, Layer], arrays: dict[str, np.ndarray], tracer) -> list[dict]:
    if layers[name].clear:
        return _pet_windows(arrays[name], tracer)
    low, high = layers[name].low, layers[name].high
    third = (high - low) / 3
    return [_window("whole", low, high), _window("bright", low + third, high), _window("dark", low, high - third)]


def _colours(name: str) -> str:
    """256 colours of a matplotlib map as base64 of RGB bytes."""
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise RelAPETError("report.html needs matplotlib; install it with: pip install 'relapet[report]'") from error
    colours = np.rint(colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return base64.b64encode(colours.tobytes()).decode("ascii")


def _warnings(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f'<section class="warning" id="warnings"><h2>Warnings</h2><ul>{web.paragraphs(lines)}</ul></section>'


def _comparison(notes: Sequence[str]) -> str:
    return f'<section id="notes"><h2>How it was made and compared</h2><ul>{web.paragraphs(notes)}</ul></section>'


def _regions(rows: Sequence[dict], units: str, intervals: dict | None = None) -> str:
    """The regional table: the columns that we know in our order, and any other column of numbers.

    Args:
        intervals: what the record says of them: where they are withheld there are no columns of them, and the reason.
    """
    if not rows:
        return ""
    given = not (intervals or {}).get("withheld")
    known = [name for name in _COLUMNS if name in rows[0] and (given or name not in _ENDS)]
    skipped = {"label", "region", "title", "tissue", "atlas", "participant_id", "session", "tracer", "model", *_ENDS}
    columns = known + [name for name in rows[0] if name not in known and name not in skipped]
    head = ["region", "tissue", *(_COLUMNS.get(name, name) for name in columns)]
    body = [[row.get("title") or row["region"], row.get("tissue", ""), *(_cell(name, row[name]) for name in columns)]
            for row in rows]  # fmt: skip
    note = "Means inside the brain in approximate regions of the model grid; n/a: not in the scans' field of view."
    if not given:
        note += f" {intervals['says']}"
    elif not _ENDS & set(rows[0]):
        note += " No intervals were given: how far these means may be from a measured PET is not known."
    return (
        f'<section id="regions"><h2>Regions ({web.text(units)})</h2>{web.table(head, body, "regional")}'
        f'<p class="small">{web.text(note)}</p></section>'
    )


def _cell(name: str, value: object) -> str:
    """A number of the regional table; an interval may have an end that is no number."""
    try:
        endless = name in _ENDS and math.isinf(float(value))
    except (TypeError, ValueError):  # a saved table's "n/a", or nothing
        endless = False
    return "no bound" if endless else web.number(value)


def _model(record: dict) -> str:
    """What the model is, and what it is not."""
    model = record["model"]
    what = [
        f"Model {model['name']} {model['version']}, method {model.get('method') or model.get('kind') or 'not stated'}.",
        f"Training data: {model['training_data'] or 'not stated'}.",
        f"Intended use: {model['intended_use'] or 'not stated'}",
        f"Licence: {model['licence'] or 'not stated'}.",
    ]
    simulated = [SIMULATED_STATEMENT] if model["trained_on_simulated_data"] else []
    spread = [NOT_ERROR] if record["uncertainty"] else []
    isnt = list(dict.fromkeys([STATEMENT, *simulated, DISAGREE, *spread, *model["limitations"]]))
    return (
        f'<section id="model"><h2>What the model is</h2><ul>{web.paragraphs(what)}</ul>'
        f"<h2>What it is not</h2><ul>{web.paragraphs(isnt)}</ul></section>"
    )


def _provenance(record: dict) -> str:
    """Where the PET comes from: the facts that matter, and the whole record."""
    model, sampling = record["model"], record["sampling"]
    rows = [
        ("made", record["created"]),
        ("model weights, SHA-256", model["weights_sha256"]),
        *((f"{role}, SHA-256", facts["sha256"] if facts else "not given") for role, facts in record["inputs"].items()),
        ("sampler", f"{sampling['sampler'] or 'none'}, {sampling['steps']} steps, {sampling['samples']} samples"),
        ("seed, device", f"{sampling['seed']}, {sampling['device']}"),
        ("registration", record["preprocessing"]["method"]),
        *(("quality: " + name.replace("_", " "), _plain(value)) for name, value in _quality(record).items()),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
    ]
    whole = json.dumps(record, indent=2, ensure_ascii=False)
    lines = "\n".join(web.text(line) for line in whole.splitlines())
    return (
        f'<section id="provenance"><h2>Provenance</h2>{web.table(("fact", "value"), rows, numbers=False)}'
        f"<details><summary>The whole record (synthetic_pet.json, without the files' hashes)</summary>"
        f"<pre>{lines}</pre></details></section>"
    )


def _quality(record: dict) -> dict:
    return record["preprocessing"].get("quality") or {}


def _plain(value: object) -> str:
    if isinstance(value, float):
        return "n/a" if not math.isfinite(value) else f"{value:.4g}"
    return "n/a" if value is None else str(value)
