"""A process that does one person after the other does not keep what each of them needed."""

import json
import platform
import subprocess
import sys

import pytest
from cohorts import damage, many_cases, save_one

from RelAPETLib.cli import main
from RelAPETLib.cohort import visit_run

#: Blocks that lie in the heap, as volumes do once larger ones were freed, with small objects between that stay.
HEAP = """
import json, psutil
from RelAPETLib.devices import free_host_memory
here = psutil.Process()
def resident(): return here.memory_info().rss / 2**20
blocks, kept = [], []
for number in range(1500):
    block = bytearray(100_000)
    block[::4096] = bytes(len(block[::4096]))
    blocks.append(block)
    kept.append(bytes(5000))
before = resident()
del blocks, block
held = resident()
free_host_memory()
print(json.dumps([before, held, resident()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another heap than glibc's")
def test_what_is_free_between_small_objects_goes_back():
    said = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True).stdout
    before, held, after = json.loads(said)
    assert held > before - 20, "the heap shrinks by itself, so this shows nothing"
    assert after < before - 100


def test_each_person_is_followed_by_it_but_not_one_who_was_done(tmp_path, grid_case, tiny_latent, monkeypatch):
    calls = []
    monkeypatch.setattr(visit_run, "free_host_memory", lambda: calls.append(1))
    cases = many_cases(tmp_path / "cases", save_one(tmp_path / "one", grid_case), ["sub-1", "sub-2"])
    damage(cases / "sub-1")
    words = ["bids", str(cases), str(tmp_path / "out"), "participant", "--cases", str(cases), "--model",
             str(tiny_latent), "--tracer", "TAU", "--steps", "1", "--samples", "1", "--no-report"]  # fmt: skip
    assert main(words) == 3 and len(calls) == 2
    assert main(words) == 3 and len(calls) == 3
