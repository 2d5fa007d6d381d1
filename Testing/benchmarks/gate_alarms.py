"""How often does the outlier gate of the demo model alarm at simulated people whom it never saw?

``python Testing/benchmarks/gate_alarms.py CACHE...`` looks at the features of all people of caches, of whom nothing is
drawn, and writes ``results/gate_alarms.md``. A cache holds blocks of 2 mm, and other people than the recipe's own seeds
give (`training/recipes/demo.sh`)::

    python -m training prepare --rendered 604 --rendered-seed 21 --factor 2 --fractions 0.006623,0,0.993377 --out CACHE
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.evaluation.gate import ALARM  # noqa: E402
from RelAPETLib.synthesis.verdict import gate_of  # noqa: E402
from Testing.benchmarks.intervals import Shown, _alarms, mri_of  # noqa: E402
from training.data.cache import Cache, open_cache  # noqa: E402

RESULTS = Path(__file__).parent / "results"
#: ``--rendered-seed`` of the demo model's training and calibration, and of the people of ``intervals.md``.
KNOWN_SEEDS = {1: "training", 11: "calibration", 4: "earlier test"}


def rendered_seed(cache: Cache) -> int:
    """The seed of a cache's people. Ends the program where they are known, or of another law than the model's."""
    seed, law = (cache.index["options"].get(name) for name in ("rendered_seed", "law"))
    if law != 2:
        raise SystemExit(f"{cache.folder}: people of law {law}; the demo model's are of law 2")
    if seed is None or seed in KNOWN_SEEDS:
        raise SystemExit(f"{cache.folder}: people of the model's {KNOWN_SEEDS.get(seed, 'unknown')} seed {seed}")
    return seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("caches", type=Path, nargs="+", metavar="CACHE")
    options = parser.parse_args()
    caches = [open_cache(folder) for folder in options.caches]
    seeds = [rendered_seed(cache) for cache in caches]
    if len(set(seeds)) < len(seeds):
        raise SystemExit("two caches of one seed hold the same people")
    shown = Shown(ROOT / "Resources" / "models" / "demo")
    gate, p = gate_of(shown.model), []
    for cache in caches:
        for case in cache.cases:
            p.append(float(gate.p_value(shown.features(mri_of(cache, case)))))
            if len(p) % 50 == 0:
                print(len(p), flush=True)
    halves = [f"{np.mean(np.asarray(half) <= ALARM):.3f}" for half in np.array_split(p, 2)]
    lines = [
        f"# False alarms of the outlier gate (p <= {ALARM:g})", "", f"{date.today()}, CPU.", "",
        f"Model {shown.model.name} {shown.model.version}, whose gate was calibrated on {len(gate.distances)} people "
        "(seed 11; training: seed 1). Simulated people rendered on the model grid as they were, of "
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}.", "",
        _alarms("test people", np.asarray(p), len(gate.distances)),
        f"- first and second half of them: {' and '.join(halves)}.",
    ]  # fmt: skip
    (RESULTS / "gate_alarms.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
