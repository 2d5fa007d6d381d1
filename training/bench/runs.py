"""One method on the bench: a training in a process of its own, then its draws of the test people, also in full."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.whole_files import write_whole

from .. import checkpoints
from ..data.cache import canonical_json
from ..errors import DivergedError
from ..methods.base import GAP
from ..reports import LOG
from .figures import Drawer, figures_of, measured, noise_seed
from .people import Cohort
from .settings import COMMON, SAMPLES, Setting, lengths, overrides

#: What a run keeps: cost of its training, figures, and those of the draws in full with a folder of single ones.
COST, FIGURES, FULL, SINGLE = "cost.json", "figures.json", "full.json", "full"
#: The key that its training was begun with.
BEGUN = "begun.txt"
PICTURES = "pictures.npz"
#: Test people who are drawn in full.
PEOPLE_IN_FULL = 6


@dataclass(frozen=True)
class Run:
    """One training of the bench.

    Attributes:
        name: of its setting.
        setting: what it is told.
        seed: of weights, order and noise.
        minutes: CPU minutes that its number of steps stands for.
    """

    name: str
    setting: Setting
    seed: int
    minutes: float

    def folder(self, out: Path) -> Path:
        """Its folder in that of the bench."""
        return out / "runs" / f"{self.name}-{self.minutes:g}min-{self.seed}"

    @property
    def steps(self) -> dict[str, int]:
        """Steps of its stages and of its training, see `lengths`."""
        return lengths(self.setting, self.minutes)

    def words(self, cohort: Cohort, out: Path) -> list[str]:
        """Words of ``train``."""
        folder = self.folder(out)
        return overrides(self.name, self.setting, cohort.cache, cohort.split, folder, self.steps, self.seed)


def carry_out(run: Run, cohort: Cohort, out: Path) -> dict:
    """Train, draw and measure, unless that is done; goes on where an earlier call stopped.

    Returns:
        The content of ``figures.json``: ``name``, ``seed``, ``minutes``, ``steps`` (in all), ``stages`` (of them, by
        key), ``diverged``, ``gap`` (`last_gap`), ``cost``, ``parameters``, and ``rows``, figures of test scans
        (`figures_of`).

    Raises:
        InputError: the folder holds figures of other people or settings.
        SystemExit: the training ended otherwise than by success or divergence; it has said why.
    """
    folder = run.folder(out)
    path = folder / FIGURES
    setting, words = run.setting, run.words(cohort, out)
    key = key_of(words, setting, cohort)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["key"] != key:
            raise InputError(
                f"{path}: of other people, steps or settings than these; use another --out, or remove {folder}"
            )
        return found
    check_begun(folder, key)
    code = train(words, folder)
    if code not in (0, DivergedError.exit_code):
        raise SystemExit(code)
    found = {
        "key": key,
        "name": run.name,
        "seed": run.seed,
        "minutes": run.minutes,
        "steps": sum(run.steps.values()),
        "stages": {name: number for name, number in run.steps.items() if name != "run.steps"},
        "diverged": bool(code),
        "gap": last_gap(folder / LOG),
        "cost": json.loads((folder / COST).read_text(encoding="utf-8")),
        "rows": [],
    }
    if not code:
        drawn = Drawer(checkpoints.saved(folder)[-1], setting.calls, setting.sampler)
        found["parameters"] = drawn.parameters
        found["rows"], found["seconds"] = measured(drawn, cohort, setting.samples, run.seed)
        drawn.pictures(cohort, run.seed, folder / PICTURES)
    write_whole(path, json.dumps(found).encode())
    return found


def check_begun(folder: Path, key: str) -> None:
    """Note before a training what it is known by, so that no later version's figures are of weights that it left.

    Words alone do not tell: with another `Setting.revision` the same words train otherwise.

    Raises:
        InputError: the folder holds a training of another key, perhaps unfinished.
    """
    path = folder / BEGUN
    if path.exists() and path.read_text(encoding="utf-8") != key:
        raise InputError(f"{folder}: a training of other people, steps or settings was begun there; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, key.encode())


def last_gap(log: Path) -> float | None:
    """How far the discriminator told real from fake in the last half of a log's steps; None where it has none.

    The mean of what is logged; see `training.methods.adversarial.gap`.
    """
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    last = max((line["step"] for line in lines), default=0)
    gaps = [line[GAP] for line in lines if GAP in line and line["step"] > last / 2]
    return sum(gaps) / len(gaps) if gaps else None


def key_of(words: list[str], setting: Setting, cohort: Cohort) -> str:
    """Hash of all that a run's figures depend on, but for where its folders are.

    It tells a finished run from another: the same words and people must go on giving the same hash.
    """
    parts = (cohort.train, cohort.validation, cohort.test)
    people = [[item.case, item.tracer] for data in parts for item in data.items]
    caches = [data.cache.sha256 for data in parts]
    content = {"words": plain(words), "draws": draws_of(setting), "people": people, "caches": caches}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def key_in_full(run: Run, cohort: Cohort, out: Path) -> str:
    """The same for the draws in full, of a run whose setting has some."""
    key = key_of(run.words(cohort, out), run.setting, cohort)
    content = {"run": key, "full": asdict(run.setting.full), "samples": SAMPLES}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def draws_of(setting: Setting) -> list:
    """How a setting draws, as hashes of runs have it."""
    told = [setting.calls, setting.samples, *([setting.sampler] if setting.sampler else [])]
    return [*told, f"revision {setting.revision}"] if setting.revision else told


def plain(words: list[str]) -> list[str]:
    """Words of ``train`` without those that say where folders are."""
    return [word for word in words if not word.startswith(("data.cache=", "data.split=", "out="))]


def train(words: list[str], folder: Path) -> int:
    """``train`` in a process of one thread; adds its CPU seconds and peak memory to the run's ``cost.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "training", "train", *words], environment)
    _, status, usage = os.wait4(pid, 0)
    path = folder / COST
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cpu_s": 0.0, "peak_mb": 0.0}
    scale = 2**20 if sys.platform == "darwin" else 2**10
    spent = usage.ru_utime + usage.ru_stime
    cost = {"cpu_s": before["cpu_s"] + spent, "peak_mb": max(before["peak_mb"], usage.ru_maxrss / scale)}
    write_whole(path, json.dumps(cost).encode())
    return os.waitstatus_to_exitcode(status)


def carry_out_in_full(run: Run, cohort: Cohort, out: Path, progress=lambda message: None) -> dict | None:
    """Draw the first `PEOPLE_IN_FULL` test people as the method's paper does; goes on at the scan where it stopped.

    Returns:
        The content of ``full.json``: ``key``, ``name``, ``seed``, ``minutes``, ``calls``, ``sampler``, ``seconds`` (a
        draw) and ``rows`` as of `figures_of`; None where that is no other than on the bench, or the run diverged or is
        not done yet.

    Raises:
        InputError: what is there is of other people or settings.
    """
    folder, full = run.folder(out), run.setting.full
    if full is None:
        return None
    if not (folder / FIGURES).exists():
        progress(f"{folder}: not done yet, so left out; --in-full draws from runs that are")
        return None
    if carry_out(run, cohort, out)["diverged"]:
        return None
    if not checkpoints.saved(folder):
        progress(f"{folder}: its figures were taken over without its weights, so left out")
        return None
    key, drawn, rows, seconds = key_in_full(run, cohort, out), None, [], 0.0
    cases = list(dict.fromkeys(item.case for item in cohort.test.items))[:PEOPLE_IN_FULL]
    scans = [scan for scan in cohort.scans(cohort.test) if scan.case in cases]
    for number, scan in enumerate(scans, start=1):
        path = folder / SINGLE / f"{scan.case}-{scan.tracer}.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if found is not None and found["key"] != key:
            raise InputError(f"{path}: of other people, steps or settings than these; remove {path.parent}")
        if found is None:
            drawn = drawn or Drawer(checkpoints.saved(folder)[-1], full.calls, full.sampler)
            begin = time.process_time()
            made = drawn.draw(cohort.test[scan.place], SAMPLES, noise_seed(run.seed, scan.place))
            spent = (time.process_time() - begin) / SAMPLES
            found = {"key": key, "seconds": spent, "row": figures_of(scan, made, None, cohort)}
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps(found).encode())
            progress(f"{run.name} in full: {number} of {len(scans)}, {spent:.1f} s a draw of {full.calls} calls")
        rows.append(found["row"])
        seconds += found["seconds"] / len(scans)
    whole = {"key": key, "name": run.name, "seed": run.seed, "minutes": run.minutes, **asdict(full)}
    whole |= {"seconds": seconds, "rows": rows}
    write_whole(folder / FULL, json.dumps(whole).encode())
    return whole


def paces(name: str, setting: Setting, people, out: Path, common: tuple[str, ...] = COMMON) -> dict[str, float]:
    """Steps of each stage and of the training (``run.steps``) in a minute of CPU time of one thread.

    From a run of `FEW` steps of everything, and one for each with `MANY` of it.

    Args:
        name, setting: of the method.
        people: with `cache` and `split`, such as a `Cohort`.
        out: folder that the runs are in for a while.
        common: what every method is told.
    """
    names = [*(stage.key for stage in setting.before), "run.steps"]
    few = dict.fromkeys(names, FEW)
    with tempfile.TemporaryDirectory(dir=out) as folder:

        def cost(where: str, steps: Mapping[str, int]) -> float:
            here = Path(folder) / where
            words = overrides(name, setting, people.cache, people.split, here, steps, 0, common)
            if train([*words, "run.checkpoint_every=9999"], here):
                raise SystemExit(f"{name}: the training failed")
            return json.loads((here / COST).read_text(encoding="utf-8"))["cpu_s"]

        base = cost("few", few)
        costs = {key: cost(key, {**few, key: MANY}) for key in names}
    return {key: (MANY - FEW) * 60 / max(cost - base, 1e-3) for key, cost in costs.items()}


#: Steps of the runs that are compared.
FEW, MANY = 2, 12
