"""``relapet dicom``: a synthetic PET as DICOM files."""

from __future__ import annotations

from pathlib import Path

from ..homes import given_path
from .synthesize import silence_itk


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "dicom",
        parents=[common],
        help="write a synthetic PET as DICOM",
        description=(
            "Write a synthetic PET as a DICOM Parametric Map (its values) and a Secondary Capture series (pictures "
            "for any viewer, SYNTHETIC burned in), on request with its report as an Encapsulated PDF. Needs: pip "
            "install 'relapet[dicom]'."
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--pet",
        required=True,
        type=given_path,
        metavar="FILE",
        help="a result's folder, or its PET",
    )
    parser.add_argument(
        "--provenance",
        type=given_path,
        metavar="FILE",
        help="its record (default: synthetic_pet.json in the PET's folder)",
    )
    parser.add_argument(
        "--source",
        type=given_path,
        metavar="DIR",
        help="folder of the T1w DICOM series, whose patient, study and frame of reference are kept (default: a new "
        "study of a patient who does not exist)",
    )
    parser.add_argument(
        "--report", action="store_true", help="the one-page report too, as an Encapsulated PDF (needs relapet[report])"
    )
    parser.add_argument(
        "--t1w",
        type=given_path,
        metavar="FILE",
        help="T1w on the PET's grid that the report shows it over (default: the --source series, on another grid "
        "resampled); patient and study are the source's all the same",
    )
    parser.add_argument("--out", required=True, type=given_path, metavar="DIR", help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in that folder")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..dicom_export import MAP_NAME, REPORT_NAME, UNCERTAINTY_NAME, earlier_names, export_dicom
    from ..errors import InputError
    from .inputs import keep_inputs

    silence_itk()
    if arguments.t1w and not arguments.report:
        raise InputError("--t1w is for the report alone; add --report, or leave it out")
    keep_inputs(arguments, (Path(arguments.out) / name for name in earlier_names(Path(arguments.out))))
    files = export_dicom(
        arguments.pet,
        arguments.out,
        provenance=arguments.provenance,
        source=arguments.source,
        report=arguments.report,
        t1w=arguments.t1w,
        overwrite=arguments.overwrite,
        progress=reporter.progress,
    )
    maps = {name: str(path) for name, path in files.items() if name in (MAP_NAME, UNCERTAINTY_NAME)}
    report = {name: str(path) for name, path in files.items() if name == REPORT_NAME}
    pictures = [str(path) for name, path in files.items() if name not in maps | report]
    folder = Path(arguments.out).absolute()
    content = {"folder": str(folder), "maps": maps, "report": report.get(REPORT_NAME), "pictures": pictures}
    content["instances"] = {name: _instance(path) for name, path in (maps | report).items()}
    lines = ["Synthetic PET as DICOM, research only:", *(f"  {path}" for path in (maps | report).values())]
    lines.append(f"  {len(pictures)} pictures: {Path(pictures[0]).name} to {Path(pictures[-1]).name} in {folder}")
    reporter.result("dicom", content, lines)
    return 0


def _instance(path: str) -> str:
    """SOP instance UID of a file that was just written."""
    import pydicom

    return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
