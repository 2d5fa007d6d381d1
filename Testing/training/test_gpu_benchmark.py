"""The GPU's benchmark runs from end to end on a CPU, at a small size: it measures what it says it does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_runs_at_a_small_size_on_a_cpu(tmp_path):
    script, out = ROOT / "Testing" / "benchmarks" / "gpu_steps.py", tmp_path / "gpu.md"
    words = ["--size", "16", "--device", "cpu", "--repeats", "1", "--out", str(out)]
    done = subprocess.run([sys.executable, script, *words], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text.strip() == done.stdout.strip() and re.match(r"\s*20\d\d-\d\d-\d\d, .*, torch \d", text)
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if "|" in line]
    apart = {row[1]: float(row[5]) for row in rows if row[0] == "16x16x16" and len(row) == 6}
    assert apart["MONAI"] == 0 and apart["ours, fp32"] < 1e-4 < apart["ours, bf16"] < 0.2
    volumes = {(row[0], row[1], row[2]): row for row in rows if len(row) == 9 and row[2].isdigit()}
    assert len(volumes) == 6
    for (_, precision, _), row in volumes.items():
        assert float(row[4]) > 0 and float(row[6]) < float(row[7])
        assert float(row[8]) == 0 if precision == "fp32" else 0 < float(row[8]) < 0.5
    together = {row[0]: row for row in rows if row[0] in ("one after the other", "in one batch")}
    assert len(together) == 2 and all(float(row[1]) > 0 and float(row[4]) < 1e-4 for row in together.values())
    trained = [row for row in rows if len(row) == 5 and row[0] not in together and row[0] != "four samples of each"]
    assert [row[1] for row in trained if row[0] != "---"][1:] == [
        f"{who}, {precision}" for precision in ("fp32", "bf16") for who in ("transcription", "ours")
    ]
