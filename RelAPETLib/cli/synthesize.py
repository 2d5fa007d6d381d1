"""``relapet synthesize``: one pair of MRIs to a synthetic PET."""

from __future__ import annotations

from pathlib import Path

#: Share of the whole that writing the files takes on the progress bar.
_SAVING = 0.05


def add_model_options(parser, whole_number) -> None:
    """Options of drawing, which ``synthesize`` and ``demo`` have alike."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default="demo", metavar="NAME|DIR", help="catalogue name or bundle folder (demo)")
    group.add_argument("--sampler", metavar="NAME", help="dpmpp, ddim or ddpm (default: the model's)")
    group.add_argument(
        "--steps",
        type=whole_number,
        metavar="N",
        help="sampling steps (default: the model's; 20 with another --sampler)",
    )
    group.add_argument(
        "--samples", type=whole_number, metavar="K", help="samples; with more than 1 the PET is their mean"
    )
    group.add_argument("--seed", type=whole_number, default=0, metavar="S", help="random seed (default: 0)")
    group.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:i or mps (auto)")
    group.add_argument(
        "--yes", action="store_true", help="accept more than half an hour of voxel-space synthesis on a CPU"
    )


def add_output_options(parser) -> None:
    """Options of writing, which ``synthesize`` and ``demo`` have alike."""
    group = parser.add_argument_group("output")
    group.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    group.add_argument("--no-report", action="store_true", help="write no report.png")


def add_parser(commands, common, tracers, whole_number) -> None:
    parser = commands.add_parser(
        "synthesize",
        parents=[common],
        help="make a synthetic PET from a T1w and a T2-FLAIR",
        description="Make a synthetic PET from a T1-weighted and a T2-FLAIR scan of one person.",
        allow_abbrev=False,
    )
    group = parser.add_argument_group("input")
    group.add_argument("--t1w", required=True, metavar="FILE", help="T1-weighted scan (NIfTI, NRRD, MGH, DICOM folder)")
    group.add_argument("--t2f", required=True, metavar="FILE", help="T2-FLAIR scan of the same person")
    group.add_argument("--tracer", required=True, metavar="|".join(tracers), help="PET tracer to imitate")
    group.add_argument("--reference", metavar="PET", help="measured PET to compare with, in SUVR")
    group.add_argument(
        "--reference-region",
        metavar="REGION",
        help="scale the reference by its mean here, e.g. cerebellar_grey",
    )
    group.add_argument("--preprocessed", action="store_true", help="the volumes lie on the model grid already")
    group.add_argument("--force", action="store_true", help="accept doubtful inputs, with a warning")
    add_model_options(parser, whole_number)
    add_output_options(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to, made when missing")
    parser.add_argument("--space", choices=("t1w", "mni", "both"), default="t1w", help="grid of the results (t1w)")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..errors import InputError
    from ..outputs import reserve
    from ..synthesis import OUTPUT_NAMES, synthesize

    if arguments.reference_region and not arguments.reference:
        raise InputError("--reference-region needs --reference; give the measured PET too")
    silence_itk()
    _keep_inputs(arguments, OUTPUT_NAMES)
    with reserve(arguments.out, OUTPUT_NAMES, overwrite=arguments.overwrite) as place:
        result = synthesize(
            arguments.t1w,
            arguments.t2f,
            arguments.tracer,
            reference=arguments.reference,
            reference_region=arguments.reference_region,
            space=arguments.space,
            preprocessed=arguments.preprocessed,
            force=arguments.force,
            progress=lambda fraction, message: reporter.progress(fraction * (1 - _SAVING), message),
            **drawing(arguments),
        )
        reporter.progress(1 - _SAVING, "writing the results")
        files = result.save(place, overwrite=arguments.overwrite, report=not arguments.no_report)
    reporter.progress(1.0, "done")
    content = summary(result, arguments.out, files)
    reporter.result("synthesize", content, as_text(content))
    return 0


def _keep_inputs(arguments, names) -> None:
    """Refuse to replace an input by an output, e.g. an earlier synthetic PET given as the reference."""
    from ..errors import OutputError

    outputs = {(Path(arguments.out) / name).resolve() for name in names}
    for given in (arguments.t1w, arguments.t2f, arguments.reference):
        if given and Path(given).resolve() in outputs:
            raise OutputError(f"{given} is an input and would be replaced; choose another --out")


def silence_itk() -> None:
    """ITK's C++ warnings go straight to stderr, where a user expects one line; what matters, our readers check."""
    import SimpleITK as sitk

    sitk.ProcessObject.GlobalWarningDisplayOff()


def drawing(arguments) -> dict:
    """Keyword arguments of `synthesize` from `add_model_options`."""
    names = ("model", "sampler", "steps", "samples", "seed", "device", "yes")
    return {name: getattr(arguments, name) for name in names}


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
        "warnings": result.warnings,
        "seconds": round(sum(record["seconds"].values()), 2),
    }


def as_text(content: dict) -> list[str]:
    """The same in lines for people."""
    lines = [f"Synthetic {content['tracer']} PET ({content['units']}, model {content['model']}), research only:"]
    lines += [f"  {path}" for path in content["files"].values()]
    if content["metrics"]:
        brain = content["metrics"]["brain"]
        level = "identical" if brain["psnr"] is None else f"PSNR {brain['psnr']:.2f} dB"
        lines.append(f"Against the reference, in the brain: {level}, SSIM {brain['ssim']:.3f}, MAE {brain['mae']:.4f}")
    return lines
