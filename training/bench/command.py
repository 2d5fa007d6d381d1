"""``python -m training bench``: trains and measures all methods, goes on where it stopped, and writes the tables."""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.tracers import paper_order

from ..data.cache import write_whole
from ..words import say
from .settings import FACTOR, MINUTES, SETTINGS


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench``."""
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the bench: people, runs, tables; the same one goes on")
    add("--only", nargs="+", choices=list(SETTINGS), metavar="METHOD", help="methods; default: all")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="seeds of weights, order and noise; default: 0 1")
    add("--minutes", type=float, default=MINUTES, help="CPU minutes of a training, as steps; default: 15")
    add("--part", default="1/1", metavar="I/N", help="only every N-th run, for jobs side by side (a Slurm array)")
    add("--train-people", type=int, default=400, help="default: 400")
    add("--validation-people", type=int, default=60, help="default: 60")
    add("--test-people", type=int, default=60, help="default: 60")
    add("--cache", type=Path, help="training people that are there already; default: rendered into OUT")
    add("--test", type=Path, help="test people that are there already; default: rendered into OUT")
    add("--pace", action="store_true", help="only measure optimiser steps a CPU minute of each method")
    add("--table", action="store_true", help="only write OUT/methods.md and pictures from the runs that are done")


def run_bench(options: argparse.Namespace) -> None:
    """``bench``: every run that is asked for, then the tables of all that are done."""
    from .people import load_cohort
    from .runs import Run, carry_out, pace

    part, parts = _part(options.part)
    if (
        options.minutes <= 0
        or min(options.train_people, options.validation_people, options.test_people) < 2
        or min(options.seeds) < 0
    ):
        raise InputError("bench: --minutes above 0, at least 2 people of each kind and seeds of 0 or more are wanted")
    people = (options.train_people, options.validation_people, options.test_people)
    cohort = load_cohort(options.out, options.cache, options.test, *people)
    if options.pace:
        for name in options.only or SETTINGS:
            say(f"{name}: {pace(name, cohort, options.out):.1f} steps a CPU minute")
        return
    runs = [Run(name, seed, options.minutes) for seed in options.seeds for name in options.only or SETTINGS]
    if not options.table:
        for number, run in enumerate(runs[part - 1 :: parts], start=1):
            say(f"bench: run {number} of {len(runs[part - 1 :: parts])}: {run.name}, seed {run.seed}")
            carry_out(run, cohort, options.out)
    if parts == 1 or options.table:
        text = write_tables(cohort, options.out, options.minutes)
        say(text)


def _part(words: str) -> tuple[int, int]:
    """I and N of ``I/N``. Raises `InputError` on anything else."""
    first, _, second = words.partition("/")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise InputError(f"--part {words}: I/N is wanted, such as 2/8")
    return int(first), int(second)


def write_tables(cohort, out: Path, minutes: float) -> str:
    """Tables and pictures of all runs of so many minutes that are done; returns what ``methods.md`` holds."""
    from .controls import control_rows
    from .pictures import draw_page
    from .runs import FIGURES
    from .tables import tables

    done = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob(f"runs/*/{FIGURES}"))}
    done = {folder: run for folder, run in done.items() if run["minutes"] == minutes}
    if not done:
        raise InputError(f"{out}: no run of {minutes:g} minutes is done yet; leave --table out")
    people = len({item.case for item in cohort.test.items})
    lines = ["# Methods", "", *_head(people, minutes), "", *tables(control_rows(cohort), list(done.values()))]
    first = {run["name"]: folder / "pictures.npz" for folder, run in reversed(done.items()) if not run["diverged"]}
    kept = {name: first[name] for name in SETTINGS if name in first}
    for tracer in paper_order():
        draw_page(cohort, kept, tracer, out / f"methods_{tracer}.png")
    text = "\n".join(lines) + "\n"
    write_whole(out / "methods.md", text.encode())
    return text


def _head(people: int, minutes: float) -> list[str]:
    """What the tables are about."""
    return [
        f"{date.today()}, CPU, one thread. {people} simulated people that no training saw, blocks of {FACTOR} mm.",
        f"Trainings of {minutes:g} CPU minutes each, as a number of steps fixed beforehand. Mean ± standard error over",
        "people; the SD over seeds in brackets. Sig.: PSNR above (+) or below (-) that of `ridge_head`, people paired,",
        "with Holm's correction over the methods, and not within the seeds' SD. Distance to the ideal and share of it:",
        "`RelAPETLib/evaluation/scores.py`; methods without spread get their errors at held-out people as one.",
    ]
