"""What a run took the last time on this computer, against what is free: said before the click, kept in the settings."""

import json

import slicer
from slicer.i18n import tr as _

from . import models
from .library import library
from .parameters import FINE

_SETTING = "RelAPET/LastRuns"
GB = 1e9


def remember(request, seconds, memory, tracers):
    """Keep what a run took.

    seconds: from click to results; memory: most bytes that its process was seen to hold, 0 where nobody could look;
    tracers: how many it made.
    """
    runs = _runs()
    runs[_name(request)] = {
        "seconds": seconds, "memory": memory, "tracers": tracers, "samples": request.samples, "steps": request.steps,
        "quality": request.quality, "sampler": request.sampler, "registration": request.registration,
    }  # fmt: skip
    slicer.app.userSettings().setValue(_SETTING, json.dumps(runs))


def of(request):
    """What the last run with this model and device took, or None."""
    return ofModel(request.model, request.device)


def ofModel(model, device):
    """As `of`, by the model's name."""
    last = _runs().get(_key(model, device))
    numbers = isinstance(last, dict) and all(isinstance(last.get(key), (int, float)) for key in ("seconds", "memory"))
    return last if numbers else None


def lastTime(model, device):
    """How long the last run of a model took on this computer, in words."""
    last = ofModel(model, device)
    return duration(last["seconds"]) if last else _("not run with this device")


def words(request, free=None, entry=None):
    """(line on time and memory, whether more may be needed than is free).

    free: bytes; asked of the system when None. entry: the library's facts of the model, by which another number of
    steps than the last time's is told.
    """
    last, free = of(request), freeMemory() if free is None else free
    now = _("{n:.1f} GB of memory are free").format(n=free / GB) if free else ""
    if last is None:
        unknown = _("Not run on this computer yet with this model and device, so its time is not known")
        return f"{unknown}; {now}." if now else f"{unknown}.", False
    line = _("Last time here: {time}").format(time=duration(last["seconds"]))
    if last["memory"]:
        line += _(" and {n:.1f} GB").format(n=last["memory"] / GB)
    finer = request.registration == FINE != last.get("registration")
    line += f" ({_how(last)})" + _otherSteps(request, last, entry)
    line += _(", now registered down to 1 mm") if finer else ""
    more = library("registration").FINE_BYTES if finer else 0
    scarce = bool(free and last["memory"] and last["memory"] + more > free)
    if scarce:
        now += _(", which may be too little")
    return f"{line}; {now}." if now else f"{line}.", scarce


def _otherSteps(request, last, entry):
    """That the model draws by another number of steps than the last time, on which the time depends."""
    before = {key: last.get(key) for key in ("quality", "sampler", "steps")}
    kinds = {"quality": str, "sampler": str, "steps": int}
    if any(value is not None and not isinstance(value, kinds[key]) for key, value in before.items()):
        return ""
    then, now = models.stepsOf(entry, **before), models.stepsOf(entry, request.quality, request.sampler, request.steps)
    return _(", now {n} steps in place of {then}").format(n=now, then=then) if then and now and then != now else ""


def _how(last):
    count = last.get("tracers") or 1
    parts = [_("1 tracer") if count == 1 else _("{n} tracers").format(n=count)]
    for key, what in (("samples", _("{n} samples")), ("steps", _("{n} steps"))):
        if last.get(key):
            parts.append(what.format(n=last[key]))
    if isinstance(last.get("quality"), str):
        parts.append(_("quality {name}").format(name=models.qualityTitle(last["quality"])))
    if last.get("registration") == FINE:
        parts.append(_("registered down to 1 mm"))
    return ", ".join(parts)


def duration(seconds):
    """Seconds or minutes, rounded."""
    return _("{n} s").format(n=round(seconds)) if seconds < 90 else _("{n} min").format(n=round(seconds / 60))


def freeMemory():
    """Bytes that are free, or 0 where psutil is not installed yet."""
    try:
        import psutil
    except ImportError:
        return 0
    return psutil.virtual_memory().available


def _name(request):
    return _key(request.model, request.device)


def _key(model, device):
    return f"{model} on {device}"


def _runs():
    try:
        runs = json.loads(slicer.app.userSettings().value(_SETTING) or "{}")
    except (TypeError, ValueError):
        return {}
    return runs if isinstance(runs, dict) else {}
