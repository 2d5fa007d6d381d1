"""From a synthetic PET on disk to a folder of DICOM files."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, OutputError, RelAPETError
from ..notices import warn
from ..outputs import reserve, write_set
from ..saved_pet import SyntheticPet, pet_of, read_synthetic_pet
from .planes import Planes, axial_planes, own_planes, planes_on
from .source import INVENTED_NAME, Source, invented_source, read_source

if TYPE_CHECKING:
    from ..report.saved_result import SavedResult

MAP_NAME, UNCERTAINTY_NAME = "synthetic_pet_map.dcm", "uncertainty_map.dcm"
REPORT_NAME = "report.dcm"
_PICTURE = "synthetic_pet_picture_{:04d}.dcm"
_PICTURE_PATTERN = re.compile(r"synthetic_pet_picture_\d{4}\.dcm")

#: Share of the PET's non-zero voxels that must lie in the source's field of view.
_INSIDE_SHARE = 0.99


def export_dicom(
    pet: str | os.PathLike,
    out: str | os.PathLike,
    *,
    provenance: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
    report: bool = False,
    t1w: str | os.PathLike | None = None,
    overwrite: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, Path]:
    """Write a synthetic PET as DICOM: a Parametric Map, one of the uncertainty, and a Secondary Capture series.

    The maps hold the volume's float32 values on its own grid (axes permuted or flipped, never resampled): on the
    source's frames when it has the same voxels. The pictures are axial, 8-bit, in the tracer's display window, with
    SYNTHETIC burned in.

    Args:
        pet: a synthetic PET as `Synthesis.save` wrote it; `uncertainty.nii.gz` beside it is exported too.
        out: folder, made when missing.
        provenance: its record; `synthetic_pet.json` beside the PET when None.
        source: folder of the T1w DICOM series. Patient, study and frame of reference are kept. When None the files
            belong to a new study of a patient who does not exist.
        report: write the one-page report too (`report.onepage`), as an Encapsulated PDF.
        t1w: the T1w that the report shows the PET over, on the PET's grid; None: the source series, brought to that
            grid where it has another. Patient and study are the source's all the same.
        overwrite: replace what an earlier export wrote into the folder.
        progress: called with a fraction from 0 to 1 and a message.

    Returns:
        Paths by file name: the maps, then the report, then the pictures from the lowest slice up.

    Raises:
        RelAPETError: pydicom, highdicom or Pillow is not installed; for the report, matplotlib.
        InputError: `pet` is not listed as a synthetic PET in its record, or the source is no T1w series, has no such
            place for the PET, or does not follow the standard.
        OutputError: a file exists and `overwrite` is False, or the folder is the source's or cannot be written to.

    Warns:
        RelAPETWarning: there is no source; the source's files are not the ones the PET was made from, or have another
            grid; elements of the source had to be left out.
    """
    _check_installed(report)
    pet, out = pet_of(Path(pet)), Path(out)
    progress = progress or (lambda fraction, message: None)
    notes: list[str] = []
    if source and Path(source).resolve() == out.resolve():
        raise OutputError(f"{out} is the source series' folder; choose another --out")
    names = [MAP_NAME, UNCERTAINTY_NAME, REPORT_NAME]
    with reserve(out, names, overwrite=overwrite) as place, _nothing_personal_in_logs():
        progress(0.0, "reading the synthetic PET")
        volumes = read_synthetic_pet(pet, Path(provenance) if provenance else None)
        progress(0.1, "reading the source series")
        reference, stack = _match(volumes, pet, Path(source) if source else None, notes)
        shown = _shown(pet, provenance, t1w, source) if report else None
        writers = _writers(volumes, reference, stack, shown, lambda part, words: progress(0.2 + 0.8 * part, words))
        paths = write_set(place, writers, owned=earlier_names(out), overwrite=overwrite)
    for note in notes:
        warn(note)
    progress(1.0, "done")
    return {path.name: path for path in paths}


def _check_installed(report: bool) -> None:
    missing = [name for name, module in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise RelAPETError(f"DICOM export needs {' and '.join(missing)}; install with: pip install 'relapet[dicom]'")
    if report and find_spec("matplotlib") is None:
        raise RelAPETError("the report needs matplotlib; install it with: pip install 'relapet[report]'")


def _shown(
    pet: Path,
    provenance: str | os.PathLike | None,
    t1w: str | os.PathLike | None,
    source: str | os.PathLike | None,
) -> SavedResult:
    """What the report is made of. A source, which may have another grid than the PET (`_match`), is brought to it."""
    from ..report.saved_result import read_result

    return read_result(pet, t1w or source, provenance=provenance, resample=not t1w)


_NEEDED = {"pydicom": "pydicom", "highdicom": "highdicom", "Pillow": "PIL"}


@contextlib.contextmanager
def _nothing_personal_in_logs() -> Iterator[None]:
    """pydicom and highdicom quote names and dates in what they warn of and log; nothing of it may reach a log."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [(logger, logger.level) for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in before:
                logger.setLevel(level)


def _match(
    volumes: SyntheticPet, pet: Path, folder: Path | None, notes: list[str]
) -> tuple[Source, Callable[..., Planes]]:
    """The source and how volumes become planes of it; what the user should know is added to `notes`."""
    if folder is None:
        notes.append(
            f"no --source series: the files belong to a new study of a patient who does not exist ({INVENTED_NAME})"
        )
        if volumes.space != "T1w":
            notes.append(
                f"{pet.name} lies in template space ({volumes.space}), on no scanner's grid; no viewer can lay it over "
                "the person's scans"
            )
        return invented_source(own_planes(volumes.pet)), own_planes
    if volumes.space != "T1w":
        raise InputError(
            f"{pet}: lies in {volumes.space} space, not in the scanner's; export the one on the T1w's grid"
        )
    source = read_source(folder)
    if source.left_out:
        notes.append(f"left empty, not valid DICOM in the source: {', '.join(source.left_out)}")
    if source.sha256 != volumes.record["inputs"]["t1w"]["sha256"]:
        notes.append(
            "the PET was not made from these very DICOM files; that they are the same person's only you can know"
        )
    if planes_on(volumes.pet, source.affine, source.shape) is not None:
        return source, lambda image: planes_on(image, source.affine, source.shape)
    inside = _share_inside(own_planes(volumes.pet), source)
    if inside < _INSIDE_SHARE:
        raise InputError(
            f"{pet}: only {100 * inside:.0f} % of it lies inside the series in {folder}; give the T1w series that it "
            "was made from"
        )
    notes.append("the PET has another grid than the source series; it lies inside that series' field of view")
    return source, own_planes


def _share_inside(planes: Planes, source: Source) -> float:
    """Share of the non-zero voxels whose centres lie in the source's field of view."""
    places = np.argwhere(planes.pixels > 0)[:, ::-1]  # column, row, slice
    if not len(places):
        return 0.0
    to_source = np.linalg.inv(source.affine) @ planes.affine
    there = places @ to_source[:3, :3].T + to_source[:3, 3]
    return float(((there > -1) & (there < np.array(source.shape))).all(axis=1).mean())


def _writers(
    volumes: SyntheticPet,
    source: Source,
    stack: Callable[..., Planes],
    shown: SavedResult | None,
    progress: Callable[[float, str], None],
) -> dict[str, Callable[[Path], None]]:
    """Functions that make and write each file; the objects are made one at a time, when they are written."""
    from .parametric_map import parametric_map
    from .secondary_capture import SecondaryCapture

    def write_map(path: Path, image, uncertainty: bool) -> None:
        progress(0.1 if uncertainty else 0.0, "writing the Parametric Map")
        result = parametric_map(stack(image), volumes.record, source, uncertainty)
        result.save_as(path, enforce_file_format=True)
        exported.append((str(result.SOPClassUID), str(result.SOPInstanceUID)))

    exported: list[tuple[str, str]] = []
    writers: dict[str, Callable[[Path], None]] = {MAP_NAME: lambda path: write_map(path, volumes.pet, False)}
    if volumes.uncertainty is not None:
        writers[UNCERTAINTY_NAME] = lambda path: write_map(path, volumes.uncertainty, True)
    if shown is not None:
        writers[REPORT_NAME] = lambda path: _write_report(path, shown, source, exported, progress)
    pictures = SecondaryCapture(axial_planes(volumes.pet), volumes.record, source)

    def write_picture(path: Path, index: int) -> None:
        progress(0.2 + 0.8 * index / len(pictures), "writing the pictures")
        pictures.save(index, path)

    for index in range(len(pictures)):
        writers[_PICTURE.format(index + 1)] = lambda path, index=index: write_picture(path, index)
    return writers


def _write_report(path: Path, shown: SavedResult, source: Source, exported: list, progress) -> None:
    """The page, made beside its DICOM file and removed again; the maps that it refers to have been written before."""
    from ..report import write_pdf_report
    from .encapsulated_pdf import encapsulated_pdf

    progress(0.15, "writing the report")
    page = path.with_suffix(".pdf")
    try:
        write_pdf_report(page, pictures=shown.pictures, record=shown.record, regions=shown.regions)
        document = encapsulated_pdf(page.read_bytes(), shown.record, source, exported)
    finally:
        page.unlink(missing_ok=True)
    document.save_as(path, enforce_file_format=True)


def earlier_names(out: Path) -> list[str]:
    """What an earlier export may have left in the folder."""
    pictures = [path.name for path in out.iterdir() if _PICTURE_PATTERN.fullmatch(path.name)] if out.is_dir() else []
    return [MAP_NAME, UNCERTAINTY_NAME, REPORT_NAME, *sorted(pictures)]
