"""The commands beside ``train``: their options, and what they print."""

from __future__ import annotations

import argparse
from dataclasses import astuple
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.homes import given_path, given_place

from .bench.command import bench_arguments, run_bench
from .words import say

FRACTIONS = "0.7,0.15,0.15"
CACHE_HELP = "folder that 'prepare' wrote"
MODEL_HELP = "folder of a model bundle, or the name of a model of the catalogue"


def prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``prepare``."""
    add = parser.add_argument
    add("--source", type=given_place, help="BIDS folder, or CSV with subject,t1w,t2f,pet,tracer[,session]")
    add("--mri-only", action="store_true", help="no PET, also of people who have none: for 'pretrain'; no split")
    add("--rendered", type=int, metavar="N", help="instead: N simulated people, rendered straight on the model grid")
    add("--rendered-seed", type=int, metavar="S", help="which people: those of 'relapet phantom --seed S'; default 0")
    add("--law", type=int, choices=[1, 2], help="law of their uptake: 2 (default), or 1, of demo model 2")
    add("--out", type=given_place, required=True, help="folder of the cache (28 MB for a pair with one PET)")
    add("--factor", type=int, default=1, help="store means of blocks of so many voxels a side: 1, 2, 4, 5, 10 or 20")
    add("--workers", type=int, default=0, help="processes, one thread each; 0: as many as cores")
    add("--frames", action="append", default=[], metavar="[TRACER=]A-B", help="dynamic PET: minutes after injection")
    add("--reference-region", help="divide PET by its mean there; 'tracer': by each tracer's own region")
    add("--units", choices=["suvr"], help="what PET without a sidecar are")
    add("--preprocessed", action="store_true", help="volumes are on the model grid already")
    add("--method", default="auto", help="registration: auto, fine, torch, demons, affine")
    add("--dtype", default="float16", help="type of the stored arrays: float16 or float32")
    add("--force", action="store_true", help="take volumes that do not look like a brain's T1w and FLAIR")
    add("--simulated", action="store_true", help="the people of a table do not exist (BIDS says so itself)")
    add("--seed", type=int, help="of the split; default 0")
    add("--fractions", help=f"train, validation, test; default {FRACTIONS}")
    add("--complete-test", action="store_true", help="test only on subjects with every tracer, as the paper does")
    add("--split-lists", type=given_place, help='JSON {"train": [...], "validation": [...], "test": [...]} instead')
    add("--new-split", action="store_true", help="replace the split that is there")


def run_prepare(options: argparse.Namespace) -> None:
    """``prepare``: cache, list of failures, split."""
    from RelAPETLib.volumes.frames import parse_frames

    from .data import listing, prepare
    from .data.cache import open_cache
    from .data.split import read_lists

    if options.workers < 0:
        raise InputError(f"--workers {options.workers}: 0 or more")
    if options.mri_only:
        _refuse(options, _OF_PET, "is about PET or their split, which a cache of --mri-only does not have")
    how = prepare.Options(
        frames=parse_frames(options.frames),
        reference_region=options.reference_region,
        units=options.units,
        preprocessed=options.preprocessed,
        method=options.method,
        dtype=options.dtype,
        force=options.force,
        factor=options.factor,
        mri_only=options.mri_only,
    )
    fractions = _fractions(FRACTIONS if options.fractions is None else options.fractions)
    lists = read_lists(options.split_lists) if options.split_lists else None  # before the long work
    source = _source(options)
    workers = options.workers or prepare.default_workers()
    summary = prepare.prepare(source, options.out, how, workers=workers, progress=say)
    cache = open_cache(options.out, mri_only=options.mri_only)
    say(
        f"{len(cache.index['cases'])} cases, {len(cache.items())} PET in {options.out}: {summary.prepared} prepared "
        f"now, {summary.kept} kept; {len(summary.failures)} failures"
        + (f", see {options.out / listing.FAILURES}" if summary.failures else "")
        + (f"; {summary.warnings} warnings, see {options.out / listing.WARNINGS}" if summary.warnings else "")
    )
    say(listing.known_of(cache.index["cases"]))
    if left := listing.left_behind(options.out, source.cases):
        say(left)
    if not options.mri_only:
        _split(options, cache, fractions, lists)


def _refuse(options: argparse.Namespace, defaults: dict, why: str) -> None:
    """Raise `InputError` for the first of these options that is given."""
    for name, default in defaults.items():
        if getattr(options, name) != default:
            raise InputError(f"--{name.replace('_', '-')} {why}")


#: Options of `prepare` that say something about files, which rendered people do not have; with their defaults.
_OF_FILES = {
    "frames": [], "reference_region": None, "units": None, "preprocessed": False, "method": "auto", "force": False,
    "simulated": False,
}  # fmt: skip

#: Those that say something about PET, or about the split of people who have some.
_OF_PET = {
    "frames": [], "reference_region": None, "units": None, "seed": None, "fractions": None,
    "complete_test": False, "split_lists": None, "new_split": False,
}  # fmt: skip
_OF_SPLIT = ("seed", "fractions", "complete_test", "split_lists")


def _source(options: argparse.Namespace):
    """The data set that --source or --rendered names."""
    from RelAPETLib.cohort import bids, table

    from .data import rendered

    if (options.source is None) == (options.rendered is None):
        raise InputError("prepare wants one of --source (files) and --rendered (simulated people)")
    if options.source is None:
        _refuse(options, _OF_FILES, "goes with --source; --rendered people have no files")
        return rendered.rendered_people(options.rendered, options.rendered_seed or 0, options.law or 2)
    for name in ("rendered_seed", "law"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} goes with --rendered, not with --source")
    if options.source.is_dir():
        return bids.read_bids(options.source, mri_only=options.mri_only)
    return table.read_table(options.source, simulated=options.simulated, mri_only=options.mri_only)


def _fractions(words: str) -> tuple[float, ...]:
    from .data.split import check_fractions

    try:
        fractions = tuple(float(word) for word in words.split(","))
    except ValueError:
        raise InputError(f"--fractions {words}: three numbers with commas, e.g. 0.7,0.15,0.15") from None
    check_fractions(fractions)
    return fractions


def _split(options: argparse.Namespace, cache, fractions: tuple[float, ...], lists: dict | None) -> None:
    """Write the split, or see that the one that is there still fits, cache and options."""
    from .data import split

    path = options.out / split.FILE
    kept = split.load_split(path, cache) if path.exists() and not options.new_split else None
    asked = any(getattr(options, name) != _OF_PET[name] for name in _OF_SPLIT)
    if kept is None or asked:
        made = split.asked_split(cache, lists, options.seed or 0, fractions, options.complete_test)
        if kept is None:
            made.save(path)
            say(f"split: {_sizes(made)}, in {path}")
            return
        split.check_same(kept, made, path)
    say(f"split kept: {_sizes(kept)}")


def _sizes(split) -> str:
    return f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test subjects"


def sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sample``."""
    add = parser.add_argument
    add("--bundle", type=given_path, required=True, help=MODEL_HELP)
    add("--cache", type=given_place, required=True, help=CACHE_HELP)
    add("--split", default="test", help="train, validation or test")
    add("--split-file", type=given_place, help="default: split.json of the cache")
    add("--out", type=given_place, required=True, help="folder for the synthetic PET; volumes already there are kept")
    add("--device", default="auto")
    add("--samples", type=int, default=1, help="samples a volume; their mean is written")
    add("--steps", type=int, help="sampler steps; default: the bundle's, 20 with another --sampler")
    add("--sampler", help="dpmpp, unipc, ddim or ddpm; default: the bundle's")
    add("--seed", type=int, default=0)
    add("--tracers", nargs="+", action="extend", help="default: all of the bundle")
    add("--limit", type=int, help="at most so many volumes")
    add("--without-t2f", action="store_true", help="from the T1w alone, by a model that was trained for it")


def run_sample(options: argparse.Namespace) -> None:
    """``sample``: a synthetic PET for every measured one of a part of the split."""
    from .data.cache import open_cache
    from .data.split import FILE, load_split
    from .sample import Drawing, sample_cache

    cache = open_cache(options.cache)
    split = load_split(options.split_file or options.cache / FILE, cache)
    drawing = Drawing(
        options.device, options.samples, options.steps, options.sampler, options.seed, options.without_t2f
    )
    record = sample_cache(
        options.bundle, cache, split, options.split, options.out, drawing,
        tracers=options.tracers, limit=options.limit, progress=say,
    )  # fmt: skip
    say(f"{len(record['volumes'])} volumes of {record['model']['name']} in {options.out}")


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``evaluate``."""
    add = parser.add_argument
    add("--samples", nargs="+", action="extend", required=True, metavar="[NAME=]DIR", help="of 'sample', ours last")
    add("--cache", type=given_place, required=True, help=CACHE_HELP)
    add("--split-file", type=given_place, help="default: split.json of the cache")
    add("--out", type=given_place, required=True, help="folder for volumes.csv, summary.csv and tables.md")
    add("--metrics", choices=["both", "full_grid", "release"], help="default: preset.metrics of the last model")


def run_evaluate(options: argparse.Namespace) -> None:
    """``evaluate``: figures of what was sampled, as CSV and in the paper's tables."""
    from .data.cache import open_cache
    from .data.split import FILE, load_split
    from .evaluate import evaluate_folders

    cache = open_cache(options.cache)
    split = load_split(options.split_file or options.cache / FILE, cache)
    folders = [named_folder(word) for word in options.samples]
    text = evaluate_folders(named_once(folders), cache, split, options.out, metrics=options.metrics, progress=say)
    say(text)


def named_folder(word: str) -> tuple[str, Path]:
    """Name and folder of ``[NAME=]DIR``; a folder whose own path has a = in it is one all the same."""
    pieces = word.split("=")
    for count in range(len(pieces)):
        name, folder = "=".join(pieces[:count]), given_place("=".join(pieces[count:]))
        if folder.is_dir():
            return name or folder.name, folder
    name, _, folder = word.rpartition("=")
    return name or Path(folder).name, given_place(folder)


def named_once(folders: list[tuple[str, Path]]) -> dict[str, Path]:
    """Folders by name. Raises `InputError` for a name that two have, or that is the population mean's."""
    from .evaluate import BASELINE

    found: dict[str, Path] = {}
    for name, folder in folders:
        if name in found:
            raise InputError(f"--samples: {found[name]} and {folder} are both named {name}; name them, NAME={folder}")
        if name.startswith(BASELINE):
            raise InputError(f"--samples: {name} is the name of a row that every table has; use another, NAME={folder}")
        found[name] = folder
    return found


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``export``."""
    add = parser.add_argument
    add("--checkpoint", type=given_place, required=True, help="file of 'train'")
    add("--out", type=given_place, required=True, help="folder of the bundle")
    add("--cache", type=given_place, help="default: the one it was trained on, by its configuration")
    add("--name", default="own", help="name in the metadata: lower case letters, digits and . _ -")
    add("--version", default="0.1.0")
    add("--licence", default="LicenseRef-unstated", help="SPDX identifier of the weights")
    add("--title", help="default: says method, preset and ablation")
    add("--description", help="default: says that and what it was trained on")
    add("--samples", type=int, default=1, help="how many samples a synthesis draws when nobody says")
    add("--metrics", type=given_place, help="summary.json that 'evaluate' wrote for this model")
    add("--baseline", type=given_place, help="JSON: baseline and significance, what it was compared with, for its card")
    positivity = "JSON by tracer whose share of draws above a cut-off is a probability: meaning, cutoff, source"
    add("--positivity", type=given_place, help=positivity)
    add("--half", action="store_true", help="store weights as float16")
    add("--overwrite", action="store_true")


def run_export(options: argparse.Namespace) -> None:
    """``export``: a bundle that ``relapet synthesize --model DIR`` runs."""
    from .export import export_checkpoint

    metadata = export_checkpoint(
        options.checkpoint, options.out, cache_folder=options.cache, name=options.name, version=options.version,
        licence=options.licence, title=options.title, text=options.description, samples=options.samples,
        metrics_file=options.metrics, baseline_file=options.baseline, positivity_file=options.positivity,
        half=options.half, overwrite=options.overwrite,
    )  # fmt: skip
    say(f"{metadata['name']} {metadata['version']} in {options.out}; run it with relapet synthesize --model")


def calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``calibrate``."""
    add = parser.add_argument
    add("--model", type=given_path, required=True, help=MODEL_HELP)
    add("--data", type=given_place, required=True, help="cache of people whom no training saw; 200 or more")
    add("--training", type=given_place, required=True, help="cache it was trained on: nobody may be in both")
    add("--split-file", type=given_place, help="that it was trained with; default: split.json of that cache")
    add("--out", type=given_place, required=True, help="folder of the calibrated bundle")
    add("--draws", type=given_place, help="folder for what is drawn of each person; default: OUT-draws beside OUT")
    add("--level", type=float, default=0.9, help="coverage of the intervals; default 0.9")
    add("--floor", type=float, default=0.05, help="SUVR added to the spread that errors are divided by; default 0.05")
    add("--plain", action="store_true", help="do not divide errors by the spread")
    add("--symmetric", action="store_true", help="one bound for errors up and down")
    add("--weights", type=given_place, help="TSV of participant_id, weight: how much oftener people to come are such")
    add("--version", help="of the calibrated bundle; default: the model's")
    add("--overwrite", action="store_true")


def run_calibrate(options: argparse.Namespace) -> None:
    """``calibrate``: intervals of regional SUVR and an outlier gate, kept in a copy of the bundle."""
    from .calibrate import Choices, calibrate_bundle

    draws = options.draws or options.out.with_name(f"{options.out.name}-draws")
    metadata = calibrate_bundle(
        options.model, options.data, options.training, options.out, draws,
        Choices(options.level, not options.plain, not options.symmetric, options.floor),
        weights=options.weights, split_file=options.split_file, version=options.version, overwrite=options.overwrite,
        progress=say,
    )  # fmt: skip
    people = metadata["calibration"]["population"]["description"]
    say(f"{metadata['name']} {metadata['version']}, calibrated on {people}, in {options.out}")


def steps_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``steps``."""
    add = parser.add_argument
    add("--model", type=given_path, required=True, help=MODEL_HELP)
    add("--data", type=given_place, required=True, help="cache with MRI of some people, training people or others")
    add("--out", type=given_place, required=True, help="folder of the bundle that knows its steps")
    add("--draws", type=given_place, help="folder for what is drawn of each person; default: OUT-draws beside OUT")
    add("--people", type=int, default=12, help="how many, the first of the cache; default 12")
    add("--samples", type=int, default=8, help="of each person and tracer; default 8")
    add("--tried", type=int, nargs="+", action="extend", metavar="N", help="steps; default: a dozen from 3 to 50")
    add("--reference", type=int, default=100, metavar="N", help="steps that they are compared with; default 100")
    add("--version", help="of the new bundle; default: the model's")
    add("--overwrite", action="store_true")


def run_steps(options: argparse.Namespace) -> None:
    """``steps``: how few steps draw the same, kept in a copy of the bundle for ``relapet synthesize --quality``."""
    from .few_steps import FIGURES, TRIED, Choices, find_steps

    metadata = find_steps(
        options.model, options.data, options.out,
        options.draws or options.out.with_name(f"{options.out.name}-draws"),
        Choices(options.people, options.samples, tuple(options.tried or TRIED), options.reference),
        version=options.version, overwrite=options.overwrite, progress=say,
    )  # fmt: skip
    quality = metadata["quality"]
    for row in quality["measured"]["table"]:
        say(f"{row['steps']:4d} steps: " + ", ".join(f"{name} {row[name]:.3f}" for name in (*FIGURES, "error")))
    chosen = ", ".join(f"{name} {quality[name]}" for name in ("fast", "balanced", "reference"))
    say(f"{metadata['name']} {metadata['version']} in {options.out}: {chosen} steps of {quality['sampler']}")


def departure_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``departure``."""
    add = parser.add_argument
    add("--model", type=given_path, required=True, help=MODEL_HELP)
    add("--training", type=given_place, required=True, help="cache that the model was trained on")
    add("--split-file", type=given_place, help="that it was trained with; default: split.json of that cache")
    add("--out", type=given_place, required=True, help="folder of the bundle with norms of departure")
    add("--work", type=given_place, help="folder for what is kept between people; default: OUT-departure beside OUT")
    add("--people", type=int, default=150, help="training people to draw at most, 30 or more; default 150")
    add("--twice", type=int, default=40, help="so many of them by two pairs of samples, which tell chance; default 40")
    add("--version", help="of the new bundle; default: the model's")
    add("--overwrite", action="store_true")


def run_departure(options: argparse.Namespace) -> None:
    """``departure``: mean and SD of the training people's synthetic PET, kept in a copy of the bundle."""
    from .departure import departures_bundle

    work = options.work or options.out.with_name(f"{options.out.name}-departure")
    metadata = departures_bundle(
        options.model, options.training, options.out, work, people=options.people, twice=options.twice,
        split_file=options.split_file, version=options.version, overwrite=options.overwrite, progress=say,
    )  # fmt: skip
    people = metadata["departure"]["population"]["description"]
    say(f"{metadata['name']} {metadata['version']}, with norms of departure of {people}, in {options.out}")


def methods_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``methods``: none."""


def run_methods(options: argparse.Namespace) -> None:
    """``methods``: a line each, as a table; below it, those that are left out."""
    from .methods import LEFT_OUT, METHODS, config_class

    rows = [("method", "paper", "network calls", "licence of the authors' code", "needs")]
    for choice in (name for choices in METHODS.values() for name in choices):
        about = config_class(choice).about.get(choice)
        rows.append((choice, *(astuple(about) if about else ("-",) * 4)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    for name, why in LEFT_OUT.items():
        say(f"{name} is left out: {why}")


COMMANDS = {
    "methods": ("list the methods that can be trained", methods_arguments, run_methods),
    "bench": ("train and measure all methods on the same simulated people", bench_arguments, run_bench),
    "prepare": ("bring raw scans into a cache", prepare_arguments, run_prepare),
    "sample": ("synthesize the PET of a part of the split", sample_arguments, run_sample),
    "evaluate": ("PSNR, SSIM and MAE of synthetic PET, in the paper's tables", evaluate_arguments, run_evaluate),
    "calibrate": ("intervals and an outlier gate for a model", calibrate_arguments, run_calibrate),
    "steps": ("how few sampling steps of a model draw the same", steps_arguments, run_steps),
    "departure": ("mean and SD of the training people's synthetic PET", departure_arguments, run_departure),
    "export": ("write a trained model as a bundle", export_arguments, run_export),
}
