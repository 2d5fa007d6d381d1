"""What the panel knows of models, without loading any: the library's list, and what each may be told."""

import math
import warnings

from slicer.i18n import tr as _

from .library import library
from .words import escaped


def listModels():
    """(entries, warnings): every model of the catalogue and of the user's folder.

    Before the install step the shipped catalogue alone: the library cannot check the user's models yet. So, too, with
    a warning, where the environment names a folder that cannot be.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return library("models.catalogue").list_models(), [str(w.message) for w in caught]
    except ImportError:
        return _shipped(), []
    except library("errors").RelAPETError as error:
        return _shipped(), [str(error)]


def _shipped():
    metadata, resources = library("models.metadata"), library("resources")
    content = metadata.load_json(resources.resource("models.json"), "model catalogue")
    return [
        {**entry, "installed": entry["shipped"], "path": "", "catalogued": True, "draw": None}
        for entry in content["models"]
    ]


def survey():
    """(models, refused folders, warnings) as `RelAPETLib.models.survey` has them, without reading whole weights."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            known, refused = library("models.survey").survey()
            return known, refused, [str(w.message) for w in caught]
    except (ImportError, library("errors").RelAPETError):  # before the install step, or as `listModels` tells
        entries, notes = listModels()
        return [{**entry, "problem": None, "place": None} for entry in entries], [], notes


def titleOf(row):
    """A model's title; with its name where that is a user's, since several may have one title."""
    title = row.get("title")
    if not title:
        return row["name"]
    return title if row.get("catalogued") else f"{title} [{row['name']}]"


def state(row):
    """Where a model of `survey` is, or why it would not be loaded."""
    if row.get("problem"):
        return _("not loaded: {why}").format(why=row["problem"])
    if not row.get("installed"):
        return _("not on this computer")
    places = {
        "shipped": _("comes with RelAPET"),
        "user": _("in your own folder"),
        "folder": _("in the models folder"),
    }
    words = places.get(row.get("place"), _("installed"))
    return _("{where}, whole").format(where=words) if row.get("checked") == "whole" else words


def resolution(row):
    """Size of a model's voxels, and of the blocks that it works on, where its settings say so."""
    words = _("{n:g} mm").format(n=max(row["grid"]["spacing_mm"]))
    blocks = row.get("working_mm")
    if blocks and blocks > max(row["grid"]["spacing_mm"]):
        words += _(", computed on blocks of {n:g} mm").format(n=blocks)
    return words


def doesWithout(name, sequence):
    """Whether a model was trained to do without an MRI sequence; of a bundle elsewhere the library says so itself."""
    entry = next((entry for entry in listModels()[0] if entry["name"] == name), None)
    return entry is None or sequence in entry.get("optional_inputs", ())


def usesClinical(entry):
    """Whether a model is told age, sex and score."""
    return bool(entry and entry.get("draw")) and "clinical" in entry["draw"]["inputs"]


def toldClinical(name):
    """Whether a model of the list is told age, sex and score."""
    return usesClinical(next((entry for entry in listModels()[0] if entry["name"] == name), None))


def clinicalProblems(age, sex, score):
    """Why clinical values cannot be used, in the library's words; None and empty texts are not known."""
    values, found = {"sex": sex or None}, []
    for name, value in (("age", age), ("score", score)):
        values[name] = None
        if value not in (None, ""):
            try:
                values[name] = float(value)
            except (TypeError, ValueError):
                values[name] = math.nan
            if not math.isfinite(values[name]):
                values[name] = None
                found.append(_("{name} '{value}' is no number").format(name=name, value=str(value)[:40]))
    try:
        library("clinical").ClinicalValues(**values)
    except library("errors").InputError as error:
        found.append(str(error))
    return found


def samplers(entry):
    """Names of a model's samplers, its own first; none where it draws at once or is not here."""
    return list(entry["draw"]["samplers"]) if entry and entry.get("draw") else []


def samplerTitle(name):
    """Words for a sampler; one without words here is shown by its name."""
    titles = {
        "dpmpp": _("DPM-Solver++ (few steps do)"),
        "unipc": _("UniPC (DPM-Solver++ corrected, fewer steps)"),
        "ddim": _("DDIM (same seed, same PET)"),
        "ddpm": _("DDPM (every step draws noise, slow)"),
        "ancestral": _("ancestral (the method's own chain)"),
        "pc": _("predictor-corrector"),
        "euler": _("Euler (first order)"),
        "heun": _("Heun (second order)"),
    }
    return f"{titles[name]} [{name}]" if name in titles else name


def qualities(entry):
    """Steps by name of the qualities that a model was measured for; none where it was not, or is not here."""
    return dict((entry.get("draw") if entry else None) or {}).get("quality") or {}


def qualityTitle(name, steps=None):
    """Words for a quality, with its number of steps where it is known."""
    titles = {"fast": _("fast"), "balanced": _("balanced"), "reference": _("reference")}
    title = titles.get(name, name)
    if not steps:
        return title
    return (_("{name}: 1 step") if steps == 1 else _("{name}: {n} steps")).format(name=title, n=steps)


def qualityTip(entry):
    """What the choice of a quality is for, or why a model has none."""
    draw = entry.get("draw") if entry else None
    if qualities(entry):
        return _(
            "In place of sampler and steps: as few steps as this model was measured to need, from a quick look to the "
            "standard it was measured by. Intervals and a probability of positivity are told for the model's own steps "
            "alone."
        )
    if not draw:
        return _("Which qualities this model has is not known yet: it, or RelAPET's packages, are not installed.")
    if not draw["samplers"]:
        return _("This model draws at once: it has no steps to choose between.")
    return _("How few steps this model needs was not measured, so it has no quality; choose sampler and steps.")


def stepsOf(entry, quality=None, sampler=None, steps=None):
    """How many steps a model draws by with such choices, in place of which None means its own; None if not known."""
    draw = entry.get("draw") if entry else None
    if not draw or not draw["samplers"]:
        return None
    if quality:
        return qualities(entry).get(quality)
    return steps or draw["samplers"].get(sampler or samplers(entry)[0])


def positivity(entry):
    """By each tracer whose share of draws a model calls a probability, its own cut-off in SUVR, or None."""
    return dict((entry.get("draw") if entry else None) or {}).get("positivity") or {}


def line(entry):
    """The one line on a model that stands below its name: what it was trained on, licence, work, and spread."""
    parts = [_("trained on simulated people only")] if entry["simulated"] else []
    parts.append(_("licence {name}").format(name=entry["licence"]))
    parts.append(
        _("1 network call a sample")
        if entry["steps"] == 1
        else _("{n} network calls a sample").format(n=entry["steps"])
    )
    draw = entry.get("draw")
    if draw and (draw["deterministic"] or draw["samples"] == 1):
        parts.append(_("one sample, no spread"))
    elif draw:
        parts.append(_("{n} samples").format(n=draw["samples"]))
    if "t2f" in entry.get("optional_inputs", ()):
        parts.append(_("T1w alone will do"))
    text = "; ".join(parts)
    return text[0].upper() + text[1:]


def facts(entry):
    """What one must know before using a model, as rich text."""
    units = {"suvr": "SUVR", "relative": _("relative (0 to 1), not SUVR")}
    draw, spread = entry.get("draw"), None
    if draw and draw["deterministic"]:
        spread = _("none: every sample is the same PET")
    elif draw and draw["samples"] == 1:
        spread = _("none unless more samples are asked for")
    elif draw:
        spread = _("of {n} samples").format(n=draw["samples"])
    rows = [
        (_("Name"), entry["name"]),
        (_("Description"), entry["description"]),
        (_("Tracers"), ", ".join(entry["tracers"])),
        (_("Network calls a sample"), entry["steps"]),
        (_("Quality"), "; ".join(qualityTitle(*each) for each in qualities(entry).items()) or None),
        (_("Spread"), spread),
        (_("Licence"), entry["licence"]),
        (_("Trained on"), entry["training_data"]),
        (_("Meant for"), entry["intended_use"]),
        (_("Output"), units.get(entry["output"], entry["output"])),
    ]
    text = "<br>".join(f"<b>{name}:</b> {escaped(str(value))}" for name, value in rows if value is not None)
    if entry["simulated"]:
        text = f"<b>{_('Trained on simulated people only: it says nothing about a real person.')}</b><br>{text}"
    return text
