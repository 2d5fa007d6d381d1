"""``relapet synthesize``: one pair of MRIs to a synthetic PET."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from ..diffusion.names import EVERY_SAMPLER, QUALITIES
from ..errors import RelAPETError
from ..homes import given_path

#: Share of the whole that writing the files takes on the progress bar.
_SAVING = 0.05


def add_model_options(parser, whole_number) -> None:
    """Options of drawing, which ``synthesize`` and ``demo`` have alike."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="demo", type=given_path, metavar="NAME|DIR", help="catalogue name or bundle folder (demo)"
    )
    group.add_argument("--sampler", metavar="NAME", help=f"one of {', '.join(EVERY_SAMPLER)} (default: the model's)")
    group.add_argument(
        "--steps",
        type=whole_number,
        metavar="N",
        help="sampling steps (default: the model's; 20 with another --sampler)",
    )
    group.add_argument(
        "--quality",
        metavar="|".join(QUALITIES),
        help="in place of --sampler and --steps: as few steps as the model was measured to need (default: the model's)",
    )
    group.add_argument(
        "--samples",
        type=whole_number,
        metavar="K",
        help="samples; with more than 1 the PET is their mean (1 of a model that gives the same PET each time)",
    )
    group.add_argument("--seed", type=whole_number, default=0, metavar="S", help="random seed (default: 0)")
    group.add_argument(
        "--cutoff", action="append", metavar="TRACER=SUVR", help="count the samples whose composite reaches this; "
        "told of models alone whose samples mean a probability (default: the model's own cut-off, where it has one)",
    )  # fmt: skip
    group.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:i or mps (auto)")
    group.add_argument(
        "--precision",
        default="fp32",
        metavar="fp32|bf16",
        help="of the network; bf16 may be faster on a GPU, what it changes was not measured on trained models (fp32)",
    )
    group.add_argument("--yes", action="store_true", help="accept more than half an hour of drawing on a CPU")


def add_registration(group) -> None:
    """The option of registering that commands on raw scans have alike."""
    from ..registration import AUTO, METHODS

    group.add_argument(
        "--registration",
        default=AUTO,
        metavar="|".join(METHODS),
        help="how the T1w is deformed to the template: fine adds a level of 1 mm, so that registering takes over twice "
        "as long and a kept case half a gigabyte; affine does not deform (default: auto, which is torch)",
    )


def add_output_options(group) -> None:
    """Options of writing, which ``synthesize`` and ``demo`` have alike."""
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    group.add_argument(
        "--report",
        choices=("none", "png", "html", "pdf", "all"),
        default="png",
        help="report.png, and beside it report.html (interactive, one file, no network), report.pdf (one page to print)"
        " or both (png)",
    )
    group.add_argument(
        "--no-report", dest="report", action="store_const", const="none", help="the same as --report none"
    )
    group.add_argument("--report-label", metavar="TEXT", help="a name or code to print on report.html and report.pdf")


def add_parser(commands, common, tracers, whole_number) -> None:
    parser = commands.add_parser(
        "synthesize",
        parents=[common],
        help="make a synthetic PET from a T1w and a T2-FLAIR",
        description="Make a synthetic PET from a T1-weighted and a T2-FLAIR scan of one person. Models that are "
        "trained for it do without the T2-FLAIR.",
        usage="%(prog)s --t1w FILE [--t2f FILE] --tracer TRACER --out DIR [options]\n"
        "       %(prog)s --case DIR --tracer TRACER --out DIR [options]",
        allow_abbrev=False,
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "--t1w", type=given_path, metavar="FILE", help="T1-weighted scan (NIfTI, NRRD, MGH, DICOM folder)"
    )
    group.add_argument(
        "--t2f", type=given_path, metavar="FILE", help="T2-FLAIR scan of the same person; some models need none"
    )
    group.add_argument(
        "--case", type=given_path, metavar="DIR", help="a prepared case of --save-case, in place of the scans"
    )
    group.add_argument(
        "--tracer",
        action="append",
        metavar="|".join((*tracers, "all")),
        help="PET tracer to imitate; several, as in TAU,PIB, or all that the model has, go to folders of their names",
    )
    group.add_argument("--age", type=_number, metavar="YEARS", help="age, for models that use it (default: not known)")
    group.add_argument("--sex", metavar="F|M", help="sex, likewise")
    group.add_argument("--score", type=_number, metavar="X", help="cognitive score, on the scale of the training data")
    group.add_argument("--reference", type=given_path, metavar="PET", help="measured PET to compare with, in SUVR")
    group.add_argument(
        "--reference-region",
        metavar="REGION",
        help="scale the reference by its mean here, e.g. cerebellar_grey",
    )
    group.add_argument(
        "--norms",
        type=given_path,
        metavar="DIR|FILE",
        help="norms of measured PET in MNI space (norms.json), for z of --reference",
    )
    group.add_argument(
        "--reference-fwhm", type=_number, metavar="MM", help="resolution of --reference, to bring it to the norms'"
    )
    group.add_argument("--preprocessed", action="store_true", help="the volumes lie on the model grid already")
    add_registration(group)
    group.add_argument("--force", action="store_true", help="accept doubtful inputs, with a warning")
    add_model_options(parser, whole_number)
    _add_output(parser)
    parser.set_defaults(run=run, kept=None)  # kept: the models of a process that serves many requests


def _add_output(parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=given_path, metavar="DIR", help="folder to write to, made when missing")
    group.add_argument(
        "--save-case", type=given_path, metavar="DIR", help="keep the registered scans there, for --case"
    )
    group.add_argument(
        "--uncompressed", action="store_true", help="write volumes as .nii, larger and faster to read, not .nii.gz"
    )
    group.add_argument("--space", choices=("t1w", "mni", "both"), default="t1w", help="grid of the results (t1w)")
    add_output_options(group)


def writing(arguments) -> dict:
    """Keyword arguments of `Synthesis.save` from `add_output_options`; refuses a label without a page."""
    from ..errors import InputError

    if arguments.report_label is not None and arguments.report in ("none", "png"):
        raise InputError("--report-label is printed on report.html and report.pdf alone; add --report html, pdf or all")
    return {"overwrite": arguments.overwrite, "report": arguments.report, "label": arguments.report_label}


def _number(text: str) -> float:
    """argparse type of an option that is a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is wanted, not '{text}'") from None


def run(arguments, reporter) -> int:
    reporter.progress(0.0, "starting")  # before the heavy imports, so that nobody wonders whether anything happens
    from ..outputs import reserve
    from ..synthesis import Options, for_model

    _check_combination(arguments)
    writing(arguments)
    options = Options(
        tracers=arguments.tracer,
        reference=arguments.reference,
        reference_region=arguments.reference_region,
        norms=arguments.norms,
        reference_fwhm=arguments.reference_fwhm,
        space=arguments.space,
        preprocessed=arguments.preprocessed,
        registration=arguments.registration,
        age=arguments.age,
        sex=arguments.sex,
        score=arguments.score,
        force=arguments.force,
        **drawing(arguments),
    )
    silence_itk()
    options = for_model(options)  # the folders to write to are those of the model's tracers
    check_cutoffs(options.cutoffs, options.tracers)
    names, others = _output_names(options.tracers), _other_layout(Path(arguments.out), options.tracers)
    _keep_inputs(arguments, [*names, *others])
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(reserve(arguments.out, [*names, *others], overwrite=arguments.overwrite))
        on_case = _keeper(arguments, stack)
        results = _results(arguments, options, reporter, on_case)
        contents = _save(arguments, options.tracers, results, place, reporter, others)
    reporter.progress(1.0, "done")
    lines = [line for content in contents for line in as_text(content)]
    content = {"folder": str(Path(arguments.out).absolute()), "syntheses": contents}
    if len(contents) == 1:
        (content,) = contents
    if arguments.save_case:
        content["case"] = str(Path(arguments.save_case).absolute())
        lines += ["Prepared case, to be guarded as the scans are:", f"  {content['case']}"]
    reporter.result("synthesize", content, lines)
    return 0


def _check_combination(arguments) -> None:
    """Refuse options that exclude one another, or lack what they need."""
    from ..errors import InputError
    from ..registration import AUTO

    if arguments.t2f is not None and arguments.t1w is None and arguments.case is None:
        raise InputError("--t2f alone: everything is registered to the T1w; give --t1w too")
    scans = () if arguments.case is not None else ("t1w",)
    missing = [f"--{name}" for name in (*scans, "tracer", "out") if getattr(arguments, name) is None]
    if missing:
        instead = " (or --case in place of the scans)" if missing[0] == "--t1w" else ""
        raise InputError(
            f"the following arguments are required: {', '.join(missing)}{instead}; see 'relapet synthesize --help'"
        )
    if arguments.reference_region and not arguments.reference:
        raise InputError("--reference-region needs --reference; give the measured PET too")
    if arguments.norms and not arguments.reference:
        raise InputError("--norms gives z-scores of a measured PET alone; give it as --reference")
    if arguments.case is not None:
        for option in ("t1w", "t2f", "reference", "preprocessed", "registration", "save_case"):
            if getattr(arguments, option) not in (None, False, AUTO):
                name = option.replace("_", "-")
                raise InputError(f"--case goes on from scans that are prepared already; leave --{name} out, or --case")
        return
    if arguments.save_case and arguments.reference:
        raise InputError("--save-case keeps the MRI alone; leave --reference out, or --save-case")
    if arguments.save_case and Path(arguments.save_case).resolve() == Path(arguments.out).resolve():
        raise InputError("--save-case and --out are the same folder; choose two")


def check_cutoffs(cutoffs, tracers) -> None:
    """Refuse a cut-off of a tracer that is not asked for."""
    from ..errors import InputError

    for tracer in cutoffs:
        if tracer not in tracers:
            raise InputError(f"--cutoff {tracer}: {tracer} is not asked for; leave it out, or add the tracer")


def _output_names(tracers) -> list[str]:
    """Outputs by their paths in ``--out``: those of one tracer lie in it, of several in folders of their names."""
    from ..synthesis.result import OUTPUT_NAMES, output_names

    return list(OUTPUT_NAMES) if len(tracers) == 1 else output_names(tracers)


def _other_layout(out: Path, tracers) -> list[str]:
    """What is in ``--out`` of earlier results of these tracers where `_output_names` does not look for it."""
    from ..jsonfiles import read_json
    from ..synthesis.result import OUTPUT_NAMES, output_names

    if len(tracers) == 1:
        names = output_names(tracers)
    else:
        try:
            record = read_json(out / "synthetic_pet.json")
            names = OUTPUT_NAMES if record["tracer"]["name"] in tracers else ()
        except (RelAPETError, KeyError, TypeError):  # there is none, or it tells nothing
            names = ()
    return [name for name in names if os.path.lexists(out / name)]


def _tell_of_removed(out: Path, removed: list[str]) -> None:
    """Say that results of the other layout went, and remove folders that they leave empty."""
    from ..notices import warn

    for folder in dict.fromkeys((out / name).parent for name in removed):
        warn(f"the earlier result of this tracer in {folder} was removed; the new one stands for it")
        if folder != out:
            with contextlib.suppress(OSError):  # other files are in it
                folder.rmdir()


def _keeper(arguments, stack: contextlib.ExitStack):
    """What keeps the prepared case, in a folder that is reserved until the end; None where nobody wants it."""
    from ..outputs import reserve
    from ..synthesis import save_case
    from ..synthesis.saved import CASE_NAMES

    if not arguments.save_case:
        return None
    place = stack.enter_context(reserve(arguments.save_case, CASE_NAMES, overwrite=arguments.overwrite))
    return lambda case: save_case(case, place, overwrite=arguments.overwrite)


def _results(arguments, options, reporter, on_case):
    """Results, each made when it is asked for."""
    from ..synthesis import load_case, run_case, run_files

    def progress(fraction: float, message: str) -> None:
        reporter.progress(fraction * (1 - _SAVING), message)

    if arguments.case is not None:
        return run_case(load_case(arguments.case), options, progress, kept=arguments.kept)
    return run_files(arguments.t1w, arguments.t2f, options, progress, on_case, arguments.kept)


def _save(arguments, tracers, results, place, reporter, others) -> list[dict]:
    """Write the results and say what was written, a dictionary a tracer."""
    from ..synthesis import Syntheses, save_many

    out, contents = Path(arguments.out), []
    how = writing(arguments) | {"compress": not arguments.uncompressed, "further": others}

    def noted(results):
        for result in results:
            contents.append(summary(result, out if len(tracers) == 1 else out / result.tracer, {}))
            yield result

    if len(tracers) == 1:
        (result,) = noted(results)
        reporter.progress(1 - _SAVING, "writing the results")
        files = {tracers[0]: result.save(place, **how)}
    else:
        results = Syntheses(tracers, noted(results))
        files = save_many(results, place, **how)
    _tell_of_removed(out, others)
    for content in contents:
        content["files"] = {name: str(path) for name, path in files[content["tracer"]].items()}
    return contents


def _keep_inputs(arguments, names) -> None:
    from ..synthesis.saved import CASE_NAMES
    from .inputs import keep_inputs

    keep_inputs(arguments, (Path(arguments.out) / name for name in names))
    if arguments.save_case:
        keep_inputs(arguments, (Path(arguments.save_case) / name for name in CASE_NAMES), "--save-case")


def silence_itk() -> None:
    """ITK's C++ warnings go straight to stderr, where a user expects one line; what matters, our readers check."""
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()


def drawing(arguments) -> dict:
    """Keyword arguments of `synthesize` from `add_model_options`."""
    names = ("model", "sampler", "steps", "quality", "samples", "seed", "device", "precision", "yes")
    return {name: getattr(arguments, name) for name in names} | {"cutoffs": arguments.cutoff}


def summary(result, folder, files: dict[str, Path]) -> dict:
    """What a ``result`` line says of one synthesis."""
    record = result.provenance
    return {
        "folder": str(Path(folder).absolute()),
        "files": {name: str(path) for name, path in files.items()},
        "tracer": record["tracer"]["name"],
        "model": record["model"]["name"],
        "units": record["pet"]["units"],
        "metrics": result.metrics,
        "verdict": record["verdict"],
        "intervals": record["intervals"]["says"],
        "summary": record["summary"] and record["summary"]["says"],
        "departure": record["departure"]["says"],
        "warnings": result.warnings,
        "seconds": round(sum(record["seconds"].values()), 2),
    }


def as_text(content: dict) -> list[str]:
    """The same in lines for people."""
    lines = [f"Synthetic {content['tracer']} PET ({content['units']}, model {content['model']}), research only:"]
    lines += [f"  {path}" for path in content["files"].values()]
    lines += [f"  {content['verdict']['says']}", f"  {content['intervals']}", f"  {content['departure']}"]
    lines += [f"  {content['summary']}"] if content["summary"] else []
    if content["metrics"]:
        brain = content["metrics"]["brain"]
        level = "identical" if brain["psnr"] is None else f"PSNR {brain['psnr']:.2f} dB"
        lines.append(f"Against the reference, in the brain: {level}, SSIM {brain['ssim']:.3f}, MAE {brain['mae']:.4f}")
    return lines
