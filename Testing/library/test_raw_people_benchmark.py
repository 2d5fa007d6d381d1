"""Testing/benchmarks/raw_people.py from end to end, where both kinds of MRI are one."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import benchmark_script

from training.__main__ import main as training

DEMO = Path(__file__).parents[2] / "Resources" / "models" / "demo"


@pytest.fixture(scope="module")
def script():
    return benchmark_script("raw_people")


def test_figures_of_a_scan(script):
    """Draws of the ideal are at no distance from it, their intervals cover what they should, a shift shows in all."""
    generator = np.random.default_rng(0)
    ideal, measured = generator.normal(1.2, 0.1, (4000, 12)), generator.normal(1.2, 0.1, (400, 12))
    found = [script.scan_figures(generator.normal(1.2, 0.1, (39, 12)), ideal, scan) for scan in measured]
    shifted = script.scan_figures(generator.normal(1.5, 0.1, (39, 12)), ideal, measured[0])
    assert np.mean([scan["distance"] for scan in found]) == pytest.approx(0, abs=2e-4)
    assert np.mean([scan["inside 80%"] for scan in found]) == pytest.approx(0.8, abs=0.02)
    assert np.mean([scan["inside 90%"] for scan in found]) == pytest.approx(0.9, abs=0.02)
    assert shifted["distance"] > 0.1 and shifted["crps"] > found[0]["crps"] and shifted["inside 90%"] < 0.5


@pytest.mark.slow
def test_the_same_mri_twice_are_level(script, tmp_path, monkeypatch):
    """Both halves are drawn and measured; the table says so row by row, and that they differ by nothing."""
    cache, out = tmp_path / "people", tmp_path / "out"
    options = "--rendered 8 --rendered-seed 5 --factor 2 --fractions 0.625,0,0.375 --workers 1"
    assert training(["prepare", *options.split(), "--out", str(cache)]) == 0
    monkeypatch.setitem(script.run_control.__globals__, "COMPONENTS", 2)
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    caches = [word for kind in ("train", "rendered", "registered", "as-registered") for word in (f"--{kind}", cache)]
    settings = ["--out", out, "--seed", 5, "--bundle", f"demo={DEMO}", "--draws", 2, "--steps", 2]
    for last in ([], ["--table"]):
        monkeypatch.setattr(sys, "argv", ["raw_people.py", *map(str, [*caches, *settings, *last])])
        script.main()
    page = (tmp_path / "raw_people.md").read_text(encoding="utf-8")
    assert "3 unseen people" in page and "of 5 training people" in page
    figures = {}
    for tracer in ("TAU", "PIB", "PBR"):
        for row in ("mean PET", *script.CONTROLS, "demo", "ideal"):
            rendered, registered = re.findall(rf"\| {tracer} \| {row} \| re\w+ \| (.*)", page)
            assert rendered == registered and "nan" not in rendered
            figures[tracer, row] = rendered
            assert f"| {tracer} | {row} | +0.00 ± 0.00 | +0.00 ± 0.00 | +0.00 ± 0.00 |" in page
        assert len({figures[tracer, control] for control in script.CONTROLS}) == 1
