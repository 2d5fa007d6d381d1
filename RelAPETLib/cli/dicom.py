"""``relapet dicom``: a synthetic PET as DICOM files."""

from __future__ import annotations

from pathlib import Path

from .synthesize import silence_itk


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "dicom",
        parents=[common],
        help="write a synthetic PET as DICOM",
        description=(
            "Write a synthetic PET as a DICOM Parametric Map (its values) and a Secondary Capture series (pictures "
            "for any viewer, SYNTHETIC burned in). Needs: pip install 'relapet[dicom]'."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--pet", required=True, metavar="FILE", help="synthetic_pet.nii.gz of a synthesis")
    parser.add_argument(
        "--provenance", metavar="FILE", help="its record (default: synthetic_pet.json in the PET's folder)"
    )
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="folder of the T1w DICOM series, whose patient, study and frame of reference are kept (default: a new "
        "study of a patient who does not exist)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in that folder")
    parser.set_defaults(run=run)


def run(arguments, reporter) -> int:
    from ..dicom_export import MAP_NAME, UNCERTAINTY_NAME, export_dicom

    silence_itk()
    files = export_dicom(
        arguments.pet,
        arguments.out,
        provenance=arguments.provenance,
        source=arguments.source,
        overwrite=arguments.overwrite,
        progress=reporter.progress,
    )
    maps = {name: str(path) for name, path in files.items() if name in (MAP_NAME, UNCERTAINTY_NAME)}
    pictures = [str(path) for name, path in files.items() if name not in maps]
    folder = Path(arguments.out).absolute()
    content = {"folder": str(folder), "maps": maps, "pictures": pictures}
    lines = ["Synthetic PET as DICOM, research only:", *(f"  {path}" for path in maps.values())]
    lines.append(f"  {len(pictures)} pictures: {Path(pictures[0]).name} to {Path(pictures[-1]).name} in {folder}")
    reporter.result("dicom", content, lines)
    return 0
