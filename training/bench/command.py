"""``python -m training bench``: trains and measures all methods, goes on where it stopped, and writes the tables."""

from __future__ import annotations

import argparse
import json
import math
from datetime import date
from pathlib import Path

from RelAPETLib.diffusion.names import PREDICTIONS
from RelAPETLib.errors import InputError
from RelAPETLib.homes import given_place
from RelAPETLib.methods.base import MEAN_PET
from RelAPETLib.tracers import paper_order

from ..data.cache import write_whole
from ..words import say
from .published import ABLATIONS
from .settings import (
    BARE,
    COMMON,
    FACTOR,
    MINUTES,
    MOST_CALLS,
    SAMPLES,
    SETTINGS,
    WHOLE,
    Setting,
    ablations,
    without_image_loss,
)

#: People to train on (the ridge regression beside the methods wants three scans), to validate and to test on.
LEAST_PEOPLE = (3, 2, 2)
SEEDS = (0, 1)
NOTHING_DONE = "no run of {:g} minutes is done yet; leave --table out"


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench``."""
    add = parser.add_argument
    add("--out", type=given_place, required=True, help="folder of people, runs and tables; the same one goes on")
    names = [*SETTINGS, WHOLE, *(name for name in ABLATIONS if name != "none")]
    add("--only", nargs="+", action="extend", choices=names, metavar="METHOD",
        help="methods (or ablations); default: all")  # fmt: skip
    add("--seeds", type=int, nargs="+", action="extend", help="seeds of weights, order and noise; default: 0 1")
    add("--minutes", type=float, default=MINUTES, help="CPU minutes of a training, as steps; default: 15")
    add("--part", default="1/1", metavar="I/N", help="only every N-th run, for jobs side by side (a Slurm array)")
    add("--train-people", type=int, default=400, help="default: 400")
    add("--validation-people", type=int, default=60, help="default: 60")
    add("--test-people", type=int, default=60, help="default: 60")
    add("--cache", type=given_place, help="training people that are there already; default: rendered into OUT")
    add("--test", type=given_place, help="test people that are there already; default: rendered into OUT")
    add("--kept", type=given_place, metavar="DIR",
        help="folder to share: figures of runs in it are taken over, those of runs done here are added")  # fmt: skip
    add("--ablations", action="store_true", help="RelA-Diffusion and its ablations instead of the methods")
    add("--prediction", choices=PREDICTIONS, default="v", help="what the generator of the ablations gives; default: v")
    add("--mean-pet", choices=MEAN_PET, default="regression", help="mean PET in the ablations; default: regression")
    add("--without-image-loss", action="store_true",
        help="instead: methods whose papers have no absolute error of the image, without it")  # fmt: skip
    add("--in-full", action="store_true", help="of runs that are done: 6 people by as many calls as the papers have")
    add("--four-mm", nargs="+", action="extend", choices=list(SETTINGS), metavar="METHOD",
        help="instead: train these on blocks of 4 mm with 4 times the minutes, as bundles to install")  # fmt: skip
    add("--pace", action="store_true", help="only measure steps a CPU minute of each method and its stages")
    add("--table", action="store_true", help="only write OUT/methods.md and pictures from the runs that are done")


def run_bench(options: argparse.Namespace) -> None:
    """``bench``: every run that is asked for, then the tables of all that are done."""
    from .kept import keep, take_over
    from .people import load_cohort
    from .runs import FIGURES, Run, carry_out, carry_out_in_full, paces

    part, parts = _part(options.part)
    options.seeds = options.seeds or list(SEEDS)
    check_wanted(options)
    if options.four_mm:
        make_fine(options, part, parts)
        return
    chosen = settings_of(options)
    if options.table:
        check_done(options.out, options.kept, options.minutes)
    people = (options.train_people, options.validation_people, options.test_people)
    cohort = load_cohort(options.out, options.cache, options.test, *people)
    if options.pace:
        for name, setting in chosen.items():
            told = ", ".join(f"{key} {pace:.1f}" for key, pace in paces(name, setting, cohort, options.out).items())
            say(f"{name}: {told} steps a CPU minute")
        return
    runs = [Run(name, setting, seed, options.minutes) for seed in options.seeds for name, setting in chosen.items()]
    taken = [run.name for run in runs if options.kept and take_over(run, cohort, options.out, options.kept)]
    if taken:
        say(f"bench: figures taken over from {options.kept}: {', '.join(taken)}")
    own = [] if options.table else runs[part - 1 :: parts]
    for number, run in enumerate(own, start=1):
        say(f"bench: run {number} of {len(own)}: {run.name}, seed {run.seed}{' in full' if options.in_full else ''}")
        if options.in_full:
            carry_out_in_full(run, cohort, options.out, say)
        else:
            carry_out(run, cohort, options.out)
        if options.kept and (run.folder(options.out) / FIGURES).exists():
            keep(run, cohort, options.out, options.kept)
    if parts == 1 or options.table:
        say(write_tables(cohort, options.out, options.minutes))


def check_wanted(options: argparse.Namespace) -> None:
    """Raise `InputError` for numbers that nothing can be measured with, before anybody is rendered."""
    people = (options.train_people, options.validation_people, options.test_people)
    wanted = (2, 2, 2) if options.four_mm else LEAST_PEOPLE  # which compares with nothing
    if not 0 < options.minutes < math.inf or min(options.seeds) < 0:
        raise InputError("bench: --minutes above 0 and seeds of 0 or more are wanted")
    for count, least, words in zip(people, wanted, ("train on", "validate on", "test on"), strict=True):
        if count < least:
            raise InputError(f"bench: {count} people to {words}; at least {least} are wanted")


def check_done(out: Path, kept: Path | None, minutes: float) -> None:
    """Raise `InputError` where no run of so many minutes can be done, before a table has anybody rendered.

    Args:
        out: folder of the bench.
        kept: folder to share, from which runs may be taken over; None without one.
    """
    from .runs import FIGURES

    ending = f"-{minutes:g}min-*"
    done = [*out.glob(f"runs/*{ending}/{FIGURES}"), *(kept.glob(f"*{ending}.json.gz") if kept is not None else ())]
    if not done:
        raise InputError(f"{out}: {NOTHING_DONE.format(minutes)}")


def make_fine(options: argparse.Namespace, part: int, parts: int) -> None:
    """Bundles of methods on blocks of 4 mm."""
    from .four_mm import people_of, train_fine

    unfit = ("only", "test", "kept", "ablations", "without_image_loss", "in_full", "pace", "table")
    other = [name for name in unfit if getattr(options, name)]
    if other:
        raise InputError(f"--four-mm: --{other[0].replace('_', '-')} does not go with it; leave it out")
    people = people_of(options.out, options.cache, options.train_people, options.validation_people)
    wanted = [(name, seed) for seed in options.seeds for name in options.four_mm]
    for name, seed in wanted[part - 1 :: parts]:
        file = train_fine(name, seed, options.minutes, people, options.out / "four_mm")
        say(f"{file}: install it with 'relapet models import {file}'")


def settings_of(options: argparse.Namespace) -> dict[str, Setting]:
    """The rows that are asked for, by name. Raises `InputError` on a method among ablations or the other way round."""
    end = ""
    if options.ablations and options.without_image_loss:
        raise InputError("bench: --ablations and --without-image-loss are two sets of runs; give one at a time")
    if options.ablations:
        end, there = f"-{options.prediction}-{options.mean_pet}", ablations(options.prediction, options.mean_pet)
    elif options.without_image_loss:
        end, there = BARE, without_image_loss()
    else:
        there = dict(SETTINGS)
    for name in options.only or ():
        if name + end not in there:
            raise InputError(f"--only {name}: {_elsewhere(name, options)}")
    return {name: there[name] for name in there if not options.only or name.removesuffix(end) in options.only}


def _elsewhere(name: str, options: argparse.Namespace) -> str:
    """What to do about a row that is not among those that the options are about."""
    if name not in SETTINGS:
        return "an ablation; give --ablations"
    if options.ablations:
        return "a method; leave --ablations out"
    return "has no image loss beside its paper's, or is RelA-Diffusion; leave --without-image-loss out"


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
    from .runs import FIGURES, FULL, PICTURES
    from .tables import ablation_tables, image_loss_table, tables

    done = read_runs(cohort, out, FIGURES, minutes)
    if not done:
        raise InputError(f"{out}: {NOTHING_DONE.format(minutes)}")
    people, controls = len({item.case for item in cohort.test.items}), control_rows(cohort)
    whole = list(done.values())
    lines = ["# Methods", "", *_head(people, minutes), *_missing(whole), ""]
    lines += tables(controls, whole, list(read_runs(cohort, out, FULL, minutes).values()))
    lines += image_loss_table(controls, whole)
    for prediction, mean_pet in _objectives(whole):
        rows = ablations(prediction, mean_pet)
        lines += [f"## Ablations, preset.prediction={prediction} preset.mean_pet={mean_pet}", ""]
        lines += ablation_tables(controls, whole, rows, next(iter(rows)))
    lines += ["## Settings", "", *_settings(whole)]
    first = {run["name"]: folder / PICTURES for folder, run in reversed(done.items()) if not run["diverged"]}
    kept = {name: first[name] for name in SETTINGS if name in first}
    for tracer in paper_order():
        draw_page(cohort, kept, tracer, out / f"methods_{tracer}.png")
    text = "\n".join(lines) + "\n"
    write_whole(out / "methods.md", text.encode())
    return text


def read_runs(cohort, out: Path, name: str, minutes: float) -> dict[Path, dict]:
    """What all runs of so many minutes keep under a name, by their folders.

    Those of other people or settings than today's are left out, with a line: a table compares what is alike.
    """
    from .runs import FULL, Run, key_in_full, key_of

    settings, found = SETTINGS | without_image_loss(), {}
    for prediction, mean_pet in _PAIRS:
        settings |= ablations(prediction, mean_pet)
    for path in sorted(out.glob(f"runs/*/{name}")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["minutes"] != minutes:
            continue
        setting, key = settings.get(kept["name"]), None
        if setting is not None and (name != FULL or setting.full):
            run = Run(kept["name"], setting, kept["seed"], minutes)
            key = key_in_full(run, cohort, out) if name == FULL else key_of(run.words(cohort, out), setting, cohort)
        if key is not None and kept.get("key") == key:
            found[path.parent] = kept
        else:
            say(f"{path}: of other people, steps or settings than these; left out of the tables")
    return found


#: Every objective that ablations can have.
_PAIRS = [(prediction, mean_pet) for prediction in PREDICTIONS for mean_pet in MEAN_PET]


def _objectives(runs: list[dict]) -> list[tuple[str, str]]:
    """Prediction and use of the mean PET of all ablations among runs."""
    names = {run["name"] for run in runs}
    return [pair for pair in _PAIRS if names & ablations(*pair).keys()]


def _head(people: int, minutes: float) -> list[str]:
    """What the tables are about."""
    return [
        f"{date.today()}, CPU, one thread. {people} simulated people that no training saw, blocks of {FACTOR} mm.",
        f"Trainings of {minutes:g} CPU minutes each, stages before included, as numbers of steps fixed beforehand;",
        f"at most {MOST_CALLS} network calls and {SAMPLES} samples a volume. PSNR, SSIM and MAE: of the samples' mean,",
        "in 3-D, inside the brain, data range 1 for the tracer's window. Mean ± standard error over people; the SD",
        "over seeds in brackets. Explained: 1 - the squared error of all people together / that of the population",
        "mean; the mean of people's PSNR favours the median, which is right for most. Sig.: PSNR above (+) or below",
        "(-) that of the row named, people paired, with Holm's correction over the methods, and not within the seeds'",
        "SD. Rows are in no order of merit, and there is no ranking within the seeds' spread. The paper's figures are",
        "of other data and of whole volumes (10 real people, 1 mm): they say what was reported there, and cannot be",
        "compared with ours in size. Distance to the ideal and share of it:",
        "`RelAPETLib/evaluation/scores.py`; methods without spread get their errors at held-out people as one.",
    ]


def _missing(runs: list[dict]) -> list[str]:
    """A line on the methods that no run is of."""
    names = [name for name in SETTINGS if name not in {run["name"] for run in runs}]
    return [f"**Not run yet**: {', '.join(names)}."] if names else []


def _settings(runs: list[dict]) -> list[str]:
    """What was chosen once for all, and what a method was told beside it."""
    lines = [
        "Learning rate, batch, clipping and averages were tuned once, for all. Every method:",
        "",
        f"`{' '.join(COMMON)}`",
        "",
    ]
    names = {run["name"] for run in runs}
    rows = [("method", "sampler", "its own words"), ("---", "---", "---")]
    every = SETTINGS | without_image_loss()
    for pair in _objectives(runs):
        every |= ablations(*pair)
    rows += [
        (name, setting.sampler or "its own", f"`{' '.join(setting.words)}`")
        for name, setting in every.items()
        if name in names
    ]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]
