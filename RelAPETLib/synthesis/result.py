"""What a synthesis gives: volumes, record, metrics, and saving them as one set of files."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .. import provenance as record
from ..errors import InputError
from ..notices import warn
from ..tracers import get_tracer
from ..volumes.synthetic import REFERENCE_MEANING

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..outputs import Reserved

_VOLUMES = ("synthetic_pet", "uncertainty", "departure", "difference", "reference", "reference_z")
#: Every file that `Synthesis.save` may write.
OUTPUT_NAMES = (
    *(f"{name}{space}{end}" for end in (".nii.gz", ".nii") for name in _VOLUMES for space in ("", "_space-MNI")),
    "regions.tsv",
    "samples.tsv",
    "synthetic_pet.json",
    "report.png",
    "report.html",
    "report.pdf",
)
#: What may be asked of a report: none, the picture, and beside it the page to look through, one to print, or both.
REPORTS = ("none", "png", "html", "pdf", "all")
#: Folder in the staging folder for results of several tracers until all are made.
_MADE = "results"
NO_MATPLOTLIB = "report.png was left out: it needs matplotlib; install it with: pip install 'relapet[report]'"
NO_PAGE = "{files} were left out: they need matplotlib; pip install 'relapet[report]' brings it"


@dataclass
class Synthesis:
    """A synthetic PET and what belongs to it.

    Attributes:
        pet: synthetic PET, float32, SUVR or relative (0 to 1), 0 outside the brain; on the T1w's grid, or on the
            model's when ``space="mni"``. The mean when several samples were drawn.
        uncertainty: standard deviation over the samples in the PET's units (their spread, not the error), or None.
        difference: synthetic minus reference, or None.
        departure: the mean of the samples against the training people's synthetic PET, in their SD; None where the
            model has no norms. Also the z-score of the measured PET, where norms of measured PET were given, is among
            the `volumes` (``reference_z``).
        provenance: what `synthetic_pet.json` holds; its ``outputs`` are filled by `save`.
        metrics: PSNR, SSIM and MAE as `comparison.compare` gives them, or None.
        warnings: one line each.
        regions: means of PET, reference, difference and spread in the approximate regions of the model grid, and the
            ends of their intervals, a row a region (`intervals.regional_table`); what `regions.tsv` holds.
        volumes: all volumes by file name without ending, e.g. ``"synthetic_pet_space-MNI"``.
        pictures: the volumes of the report, all on one grid.
        samples: regional means of the single samples, in the units of the PET (`maps.sample_rows`); what
            `samples.tsv` holds, if there are any.
        registration: gives white matter of template and T1w on that grid, for the page's registration check.
    """

    pet: sitk.Image
    uncertainty: sitk.Image | None
    difference: sitk.Image | None
    provenance: dict
    metrics: dict | None
    warnings: list[str]
    regions: list[dict] = field(repr=False)
    volumes: dict[str, sitk.Image] = field(repr=False)
    pictures: dict[str, sitk.Image] = field(repr=False)
    registration: Callable[[], dict[str, sitk.Image]] = field(default=dict, repr=False)
    samples: list[dict] = field(default_factory=list, repr=False)
    departure: sitk.Image | None = None

    def save(
        self,
        folder: str | os.PathLike,
        overwrite: bool = False,
        report: bool | str = True,
        label: str | None = None,
        compress: bool = True,
        further: Iterable[str] = (),
    ) -> dict[str, Path]:
        """Write volumes, record and report into a folder, all of them or none.

        Args:
            folder: made when missing. Files of other names in it are left alone.
            overwrite: replace what an earlier run wrote (also what this one would not write).
            report: one of `REPORTS`: ``html`` writes `report.html` and `report.png`, ``pdf`` `report.pdf` and
                `report.png`, ``all`` the three, ``png`` (or True) the picture alone, ``none`` (or False) nothing.
                Without matplotlib a warning says that they were left out.
            label: a name or code to print on `report.html` and `report.pdf`, which otherwise name nobody.
            compress: write volumes as ``.nii.gz``; else as ``.nii``, larger, and read many times as fast.
            further: more names in the folder, ``folder/name`` in one below, of an earlier result that goes when this
                one comes.

        Returns:
            Paths by file name.

        Raises:
            InputError: an unknown report.
            OutputError: an output exists and `overwrite` is False, or the folder cannot be written to.
        """
        from ..outputs import write_set
        from ..registration.beside import beside

        with beside() as start:
            writers = self.writers(report, label, compress, start)
            paths = write_set(folder, writers, owned=[*OUTPUT_NAMES, *further], overwrite=overwrite)
        return {path.name: path for path in paths}

    @property
    def tracer(self) -> str:
        """Short name of the tracer."""
        return self.provenance["tracer"]["name"]

    def writers(
        self,
        report: bool | str = True,
        label: str | None = None,
        compress: bool = True,
        start: Callable[[Callable[[], bytes]], Callable[[], bytes]] = functools.cache,
    ) -> dict[str, Callable[[Path], None]]:
        """By file name, what writes it to a path; the record comes last and reads the others beside it.

        `start` begins to draw `report.png` as soon as the first file is written (`registration.beside`); by itself it
        is drawn in its turn.
        """
        from ..volumes import write_volume

        messages, report, end = list(self.warnings), report_kind(report), ".nii.gz" if compress else ".nii"
        if report != "none" and find_spec("matplotlib") is None:
            files = " and ".join((*(f"report.{kind}" for kind in pages_of(report)), "report.png"))
            words = NO_PAGE.format(files=files) if pages_of(report) else NO_MATPLOTLIB
            report = "none"
            warn(words)
            messages.append(words)
        drawn = functools.cache(lambda: start(self._report) if report != "none" else None)

        def write(path: Path, image: sitk.Image) -> None:
            drawn()
            write_volume(image, path)

        writers: dict[str, Callable[[Path], None]] = {
            f"{name}{end}": functools.partial(write, image=image) for name, image in self.volumes.items()
        }
        outputs = {f"{name}{end}": self._describe(name) for name in self.volumes}
        writers["regions.tsv"] = lambda path: _write_rows(self.regions, path)
        units = self.provenance["pet"]["units"]
        outputs["regions.tsv"] = {"content": record.REGIONS_MEANING, "space": "MNI", "units": units}
        if self.samples:
            writers["samples.tsv"] = lambda path: _write_rows(self.samples, path)
            content = "the same means of each sample; samples of one pair have mirrored noise"
            outputs["samples.tsv"] = {"content": content, "space": "MNI", "units": units}
        if report != "none":
            writers["report.png"] = lambda path: path.write_bytes(drawn()())
            outputs["report.png"] = {"content": "pictures of inputs and results", "space": "none", "units": None}
        if "html" in pages_of(report):
            writers["report.html"] = lambda path: self._write_page(path, label)
            outputs["report.html"] = {"content": "page to look through the results", "space": "none", "units": None}
        if "pdf" in pages_of(report):
            writers["report.pdf"] = lambda path: self._write_pdf(path, label)
            outputs["report.pdf"] = {"content": "page to print of the results", "space": "none", "units": None}
        document = self.provenance | {"outputs": outputs, "warnings": messages}
        record.check_provenance(document)
        writers["synthetic_pet.json"] = lambda path: _write_record(document, path)
        return writers

    def _describe(self, name: str) -> dict:
        volume = name.removesuffix("_space-MNI")
        units = self.provenance["pet"]["units"]
        content = self.provenance["pet"]["content"]
        if volume == "uncertainty":
            content = record.UNCERTAINTY_MEANING
        if volume == "reference":
            content = REFERENCE_MEANING
        if volume == "difference":
            content, units = record.DIFFERENCE_MEANING, self.provenance["reference"]["difference_units"]
        if volume == "departure":
            content, units = record.DEPARTURE_MEANING, record.DEPARTURE_UNITS
        if volume == "reference_z":
            content, units = record.Z_MEANING, record.Z_UNITS
        return {"content": content, "space": "T1w" if volume == name else "MNI", "units": units}

    def _report(self) -> bytes:
        """Content of `report.png`."""
        from ..report import below_pictures, write_report

        model, tracer = self.provenance["model"], self.provenance["tracer"]
        suvr, content = tracer["output"] == "suvr", io.BytesIO()
        notes, warnings = below_pictures({**self.provenance, "warnings": self.warnings})
        write_report(
            content,
            **self.pictures,
            title=f"{tracer['name']}: {tracer['radiopharmaceutical']}, model {model['name']} {model['version']}",
            window=get_tracer(tracer["name"]).contrast_window if suvr else None,
            units=self.provenance["pet"]["units"],
            samples=self.provenance["sampling"]["samples"],
            notes=notes,
            warnings=warnings,
        )
        return content.getvalue()

    def _write_page(self, path: Path, label: str | None) -> None:
        from ..report import notes_of, write_html_report

        write_html_report(
            path,
            pictures=self.pictures | self.registration(),
            record=self.provenance | {"warnings": self.warnings},
            regions=self.regions,
            notes=notes_of(self.provenance),
            label=label,
        )

    def _write_pdf(self, path: Path, label: str | None) -> None:
        from ..report import write_pdf_report

        document = self.provenance | {"warnings": self.warnings}
        write_pdf_report(path, pictures=self.pictures, record=document, regions=self.regions, label=label)


def pages_of(report: str) -> tuple[str, ...]:
    """Endings of the pages that one of `REPORTS` brings beside the picture."""
    return {"html": ("html",), "pdf": ("pdf",), "all": ("html", "pdf")}.get(report, ())


def report_kind(asked: bool | str) -> str:
    """One of `REPORTS`, for True and False too. Raises `InputError` for anything else."""
    if isinstance(asked, bool):
        return "png" if asked else "none"
    if asked not in REPORTS:
        raise InputError(f"unknown report '{asked}'; use one of {', '.join(REPORTS)}")
    return asked


class Syntheses(Iterator[Synthesis]):
    """Results of one person's tracers, each made when it is asked for, but for samples that are drawn together.

    Attributes:
        tracers: short names of the tracers in the order of the results, known before anything is made.
    """

    def __init__(self, tracers: Iterable[str], results: Iterable[Synthesis]):
        self.tracers, self._results = tuple(tracers), iter(results)

    def __next__(self) -> Synthesis:
        return next(self._results)


def _write_rows(rows: list[dict], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    """A value as a table shows it; NaN as BIDS writes what is not there."""
    if not isinstance(value, float):
        return value
    return "n/a" if math.isnan(value) else f"{value:.6g}"


def _write_record(document: dict, path: Path) -> None:
    """The record, with the hashes of the files that were written beside it before."""
    from ..volumes import file_sha256

    outputs = {
        name: output | {"sha256": file_sha256(path.parent / name)} for name, output in document["outputs"].items()
    }
    text = json.dumps(document | {"outputs": outputs}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")


def save_many(
    results: Iterable[Synthesis],
    folder: str | os.PathLike,
    *,
    overwrite: bool = False,
    report: bool | str = True,
    label: str | None = None,
    compress: bool = True,
    further: Iterable[str] = (),
) -> dict[str, dict[str, Path]]:
    """Write results of several tracers into folders of their names, as `Synthesis.save` does, all of them or none.

    Each result is written, out of sight, as soon as it comes, so that one at a time is in memory.

    Args:
        results: from `synthesize_many`, or a list: outputs that exist already are then refused before the first one is
            made. Of any other iterable each result is checked when it comes, since its tracer is not known before.
        folder: gets a folder for each tracer; or what `outputs.reserve` gave for it.
        overwrite, report, label, compress, further: as for `Synthesis.save`.

    Returns:
        Paths by file name, by tracer.

    Raises:
        InputError: two results of one tracer.
        OutputError: as `Synthesis.save`; and whatever `results` raise, with nothing written.
    """
    from ..outputs import Reserved, reserve, write_set

    if isinstance(results, Sequence):
        results = Syntheses([result.tracer for result in results], results)
    known = results.tracers if isinstance(results, Syntheses) else ()
    if not isinstance(folder, Reserved):
        how = {"overwrite": overwrite, "report": report, "label": label, "compress": compress, "further": further}
        with reserve(folder, output_names(known), overwrite=overwrite) as place:
            return save_many(results, place, **how)
    try:
        writers = _made(results, known, folder, overwrite, (report_kind(report), label, compress))
        tracers = tuple(dict.fromkeys(name.split("/")[0] for name in writers))
        paths = write_set(folder, writers, owned=[*output_names(tracers), *further], overwrite=overwrite)
    finally:
        shutil.rmtree(folder.staging / _MADE, ignore_errors=True)
    return {t: {path.name: path for path in paths if path.parent.name == t} for t in tracers}


def output_names(tracers: Iterable[str]) -> list[str]:
    """What `save_many` may write of some tracers, by its path in the folder."""
    return [f"{tracer}/{name}" for tracer in tracers for name in OUTPUT_NAMES]


def _made(results: Iterable[Synthesis], known: Sequence[str], place: Reserved, overwrite: bool, report: tuple) -> dict:
    """Results made one after the other and written into the staging folder; returns what moves each file out of it."""
    from ..outputs import check_destination, shown_as
    from ..registration.beside import beside

    check_destination(place, output_names(known), overwrite)
    writers, tracers = {}, set()
    for result in results:
        tracer = result.tracer
        if tracer in tracers:
            raise InputError(f"two results of {tracer} would go to {place.folder / tracer}; save them apart")
        tracers.add(tracer)
        if tracer not in known:
            check_destination(place, output_names([tracer]), overwrite)
        made = place.staging / _MADE / tracer
        made.mkdir(parents=True)
        with shown_as({made: place.folder / tracer}), beside() as start:
            for name, write in result.writers(*report, start).items():
                write(made / name)
                writers[f"{tracer}/{name}"] = functools.partial(os.replace, made / name)
        del result
    return writers
