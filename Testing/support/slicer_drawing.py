"""A small model that was measured for qualities and calls its share of draws a probability, in the panel."""

import json
import shutil

import pytest
from slicer_cases import done
from slicer_module import FakeProcess

from RelAPETLib.tracers import TRACERS
from RelAPETLib.volumes.sidecar import SIMULATED, SIMULATION_KEY

MEASURED = {
    "people": 12,
    "samples": 8,
    "simulated": True,
    "cache_sha256": "0" * 64,
    "table": [{"steps": 2, "mean": 0.1, "spread": 0.1, "regional": 0.1, "error": 0.1}],
}
STEPS = {"fast": 1, "balanced": 2, "reference": 7}
QUALITY = {"sampler": "euler", **STEPS, "measured": MEASURED}
COMPOSITES = [name for name, tracer in TRACERS.items() if tracer.composite is not None]
ONE, OTHER = COMPOSITES
WITHOUT = next(name for name in TRACERS if name not in COMPOSITES)
#: What a scene may hold where a quality, cut-offs or a record of them are looked for.
DAMAGED = ("{", "[1]", "7", '{"fast": 1}', "fast,slow", "<b>", "=", "a=b=c", "\u00fc" * 5000)


@pytest.fixture(scope="module")
def meant(tmp_path_factory):
    """A model with random weights whose metadata say what the share of its draws means, and how few steps it needs."""
    from calibrated import write_tiny_conditional

    from RelAPETLib.models.bundle import rewrite_bundle

    folder = tmp_path_factory.mktemp("meant")
    plain = write_tiny_conditional(folder / "plain")
    metadata = json.loads((plain / "configs" / "metadata.json").read_text(encoding="utf-8"))
    own = {"positivity": {"meaning": "of a test", "cutoff": 1.25, "source": "people of a test"}}
    tracers = metadata["tracers"] | {ONE: metadata["tracers"][ONE] | own}
    changes = {"name": "meant", "tracers": tracers, "quality": QUALITY | {"sampler": "dpmpp"}}
    rewrite_bundle(plain, folder / "meant", changes, {})
    return folder / "meant"


@pytest.fixture
def chosen(widget, pair, meant, tmp_path):
    """That model in the user's folder, chosen, and two simulated MRI."""
    shutil.copytree(meant, tmp_path / "home" / "models" / "meant")
    widget.models.update()
    widget.parameters.model, widget.parameters.samples = "meant", 2
    for volume in pair:
        volume.SetAttribute("RelAPET.Sidecar", json.dumps({SIMULATION_KEY: SIMULATED}))
    return widget


def ask(widget, tracer):
    """Choose a tracer, or all."""
    kind = type(widget.parameters.tracer)
    widget.parameters.tracer = kind(tracer)


def cutoffs(process):
    """What a command line says of cut-offs."""
    words = process.arguments
    return [words[index + 1] for index, word in enumerate(words) if word == "--cutoff"]


def field(widget, tracer):
    """The field for a tracer's cut-off."""
    return widget.cutoffs.fields[tracer]


def synthesized(widget, capsys, *more):
    """Let the library do what a click asks for, and the panel take it over; the shown result."""
    from RelAPETLib.cli import main

    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    capsys.readouterr()
    assert main([*process.arguments, "--preprocessed", "--progress", "json", *more]) == 0, capsys.readouterr().out
    done(process, json.loads(capsys.readouterr().out.splitlines()[-1]))
    return widget.results.found


def told(widget):
    """What the panel says of the shown result."""
    return widget.ui.shownLabel.text
