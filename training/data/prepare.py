"""From raw scans to the cache: every case once, in parallel, going on where an earlier call stopped.

A case is done when the cache holds all of it with the same digest of its files' contents, sidecars and the options.
Before a case takes the place of another the index goes: a cache is one again when all cases are done.
What fails is listed in ``failures.tsv`` and tried again by the next call; the rest goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from RelAPETLib.clinical import ClinicalValues
from RelAPETLib.cohort.cases import Case, Failure, RenderedCase, Source
from RelAPETLib.cohort.pool import run_tasks
from RelAPETLib.devices import free_host_memory
from RelAPETLib.errors import InputError, OutputError, RelAPETError
from RelAPETLib.notices import listening, warn
from RelAPETLib.registration import REVISION
from RelAPETLib.volumes.frames import Frames, PetScan, read_pet
from RelAPETLib.volumes.named_tracer import other_tracer

from . import cache as storage
from .cache import block_mask, block_means, stored
from .doubles import file_hashes, without_doubles
from .listing import FAILURES, warnings_of, write_lists
from .pet import pet_units, suvr_of, unseen_target
from .rendered import rendered_clinical, rendered_volumes

#: Raised whenever what the cache holds would come out otherwise.
RECIPE = 2
#: The same for what it holds of measured PET, in cases that have some; these are made anew whole.
PET_RECIPE = 2
DTYPES = ("float16", "float32")
_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS") if hasattr(errno, name)}


@dataclass(frozen=True)
class Options:
    """How volumes are made; all of it goes into every case's digest.

    Attributes:
        frames: by tracer, for dynamic PET.
        reference_region: region every PET is divided by (``tracer``: each tracer's own); None: PET come as SUVR.
        units: ``suvr`` where the user vouches for PET without a sidecar, else None.
        preprocessed: volumes are on the model grid already.
        method: registration, as `RelAPETLib.preprocessing.preprocess` has it.
        dtype: type of the stored arrays.
        force: take volumes that do not look like a brain's T1w and FLAIR, and PET that say they are of another tracer.
        factor: side in voxels of the blocks whose means are stored.
        mri_only: no PET is read or stored.
    """

    frames: dict[str, Frames] = field(default_factory=dict)
    reference_region: str | None = None
    units: str | None = None
    preprocessed: bool = False
    method: str = "auto"
    dtype: str = "float16"
    force: bool = False
    factor: int = 1
    mri_only: bool = False

    def record(self) -> dict:
        """JSON for the index and the digest; caches from before there were a factor and MRI alone keep theirs."""
        content = {**asdict(self), "frames": {tracer: str(frames) for tracer, frames in sorted(self.frames.items())}}
        later = {"factor": 1, "mri_only": False}
        return {key: value for key, value in content.items() if key not in later or value != later[key]}


@dataclass(frozen=True)
class Summary:
    """What a call of `prepare` did.

    Attributes:
        prepared, kept: cases made now, and found done.
        failures: what could not be used.
        index: contents of the index.
        warnings: lines of ``warnings.tsv``.
    """

    prepared: int
    kept: int
    failures: list[Failure]
    index: dict
    warnings: int = 0


def prepare(
    source: Source,
    out: Path | str,
    options: Options,
    *,
    workers: int = 1,
    progress: Callable[[str], None] = lambda message: None,
) -> Summary:
    """Bring a data set into a cache.

    Args:
        source: from `read_bids`, `read_table` or `rendered_people`.
        out: the cache's folder; made when missing.
        workers: processes, one thread each.
        progress: called with a line for every case.

    Raises:
        InputError: options that cannot be, nothing of the source could be used, or another process works in the cache.
        OutputError: the cache cannot be written.
    """
    _check_options(options)
    cache = Path(out)
    try:
        with storage.alone_in(cache):
            return _prepare(source, cache, options, workers, progress)
    except OSError as error:
        raise OutputError(f"cannot write the cache {cache}: {error.strerror or error}") from error


def _prepare(source: Source, cache: Path, options: Options, workers: int, progress) -> Summary:
    """`prepare` of a cache that nobody else writes to."""
    storage.sweep_cache(cache, progress)
    failures, made, kept = list(source.failures), 0, 0
    digests, hashes, waiting = {}, {}, []
    for case in source.cases:
        try:
            hashes[case.name] = file_hashes(case)
            digests[case.name] = digest(case, options, hashes[case.name])
        except RelAPETError as error:
            failures.append(Failure(case.subject, case.name, "", str(error)))
            continue
        if storage.whole_case(cache, case.name, digests[case.name], options.dtype):
            kept += 1
        else:
            waiting.append((case, options, cache, digests[case.name]))
    if kept:
        progress(f"{kept} of {len(source.cases)} cases are in the cache already")
    if any((cache / "cases" / case.name).exists() for case, *_ in waiting):
        # Interrupted from here on, the cache holds volumes that its index knows nothing of.
        (cache / storage.INDEX).unlink(missing_ok=True)
    with closing(_run(waiting, workers)) as finished:
        for number, (case, reason, seconds) in enumerate(finished, start=1):
            words = f"failed: {reason}" if reason else f"{seconds:.0f} s"
            progress(f"{number} of {len(waiting)}: {case.name} {words}")
            if reason:
                failures.append(Failure(case.subject, case.name, "", reason))
            made += not reason
    return Summary(made, kept, *_finish(source, cache, options, digests, hashes, failures))


def _check_options(options: Options) -> None:
    from RelAPETLib.preprocessing import METHODS
    from RelAPETLib.synthesis.reference import reference_units

    storage.check_factor(options.factor)
    if options.dtype not in DTYPES:
        raise InputError(f"unknown type '{options.dtype}'; use one of {', '.join(DTYPES)}")
    if options.method not in METHODS:
        raise InputError(f"unknown registration method '{options.method}'; use one of {', '.join(METHODS)}")
    if options.units not in (None, "suvr"):
        raise InputError(f"unknown unit '{options.units}'; only 'suvr' can be vouched for")
    if options.reference_region not in (None, "tracer"):
        reference_units(None, options.reference_region, relative=False)


def _run(waiting: list[tuple], workers: int) -> Iterator[tuple[Case | RenderedCase, str, float]]:
    """(case, reason of failure or "", seconds) of each case, as they finish."""
    for task, (reason, seconds), died in run_tasks(make_case, waiting, workers):
        yield task[0], f"its process died ({died}); perhaps out of memory" if died else reason, seconds


def _finish(
    source, cache: Path, options: Options, digests: dict, hashes: dict, failures: list[Failure]
) -> tuple[list, dict, int]:
    """Write failures, warnings and index from what the cache now holds of this source."""
    records = []
    for case in source.cases:
        record = storage.whole_case(cache, case.name, digests.get(case.name), options.dtype)
        if record is not None:
            clinical = clinical_of(case).record()
            # Choices among files and what a table says are, like these values, no part of the digest: as of today.
            told = [*(" ".join(note.split()) for note in getattr(case, "notes", ())), *record.get("warnings", ())]
            record |= {"warnings": list(dict.fromkeys(told))} if told else {}
            records.append(record | ({"clinical": clinical} if clinical else {}))
            failures += [Failure(case.subject, case.name, t, reason) for t, reason in record["failures"].items()]
    records, doubles = without_doubles(records, hashes)
    failures += doubles
    warnings = warnings_of(records)
    write_lists(cache, failures, warnings)
    if not records:
        first = f"; first: {failures[0].case}: {failures[0].reason}" if failures else ""
        raise InputError(f"nothing of the data set could be used, see {cache / FAILURES}{first}")
    facts = {
        "source": source.name,
        "simulated": source.simulated,
        "options": options.record() | source.options,
        "dtype": options.dtype,
    }
    return failures, storage.write_index(cache, facts, records, options.factor), len(warnings)


def clinical_of(case: Case | RenderedCase) -> ClinicalValues:
    """What is known of a case's person. It is no part of the digest: it stands in the index, beside the volumes."""
    return rendered_clinical(case) if isinstance(case, RenderedCase) else case.clinical


def digest(case: Case | RenderedCase, options: Options, hashes: Mapping[str, str] | None = None) -> str:
    """SHA-256 over what a case is made from: contents of its files, sidecars, options and recipe.

    Of a rendered person: seed, index, factor, type and recipe. `hashes` are `file_hashes`, where they are known.

    Raises:
        InputError: T1w or FLAIR cannot be read. (A PET that is missing fails by itself, later.)
    """
    content: dict = {"recipe": RECIPE}
    if isinstance(case, RenderedCase):
        content |= {"rendered": [case.seed, case.index], "factor": options.factor, "dtype": options.dtype}
        if case.law != 1:  # caches of the first law are as old as the digest
            content["law"] = case.law
        if options.mri_only:
            content["mri_only"] = True
        return hashlib.sha256(storage.canonical_json(content)).hexdigest()
    hashes = file_hashes(case) if hashes is None else hashes
    content |= {
        "options": options.record(),
        **({"strays": 2} if options.preprocessed else {"registration": REVISION}),
        **({"pet_recipe": PET_RECIPE} if case.pets else {}),
        "subject": case.subject,
        "t1w": hashes["t1w"],
        "t2f": hashes["t2f"],
        "pets": {name: [hashes.get(f"PET {name}"), scan.sidecar] for name, scan in case.pets.items()},
    }
    return hashlib.sha256(storage.canonical_json(content)).hexdigest()


def make_case(case: Case | RenderedCase, options: Options, cache: Path, case_digest: str) -> tuple[str, float]:
    """Prepare one case and put it into the cache; a PET that cannot be used is left out and noted.

    Returns:
        Why it failed ("" when it did not) and the seconds it took. Only bugs of ours leave a traceback, in
        ``CACHE/errors``.

    Raises:
        OutputError: the cache's disk is full.
    """
    begin = time.perf_counter()
    try:
        if isinstance(case, RenderedCase):
            arrays, record = rendered_volumes(case, options.factor, options.dtype, options.mri_only)
        else:
            arrays, record = _volumes(case, options)
        record = {"case": case.name, "subject": case.subject, "digest": case_digest, **record}
        storage.write_case(cache, record, arrays)
        reason = ""
    except RelAPETError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            raise  # nobody else's volumes could be written
        reason = str(error)
    except MemoryError:
        reason = "out of memory; use fewer --workers"
    except OSError as error:
        reason = f"{error.filename or cache}: {error.strerror or error}"
    except Exception as error:
        folder = cache / "errors"
        folder.mkdir(exist_ok=True)
        (folder / f"{case.name}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        reason = f"internal error ({type(error).__name__}: {error}); traceback in {folder / case.name}.txt"
    finally:
        arrays = None  # before what is free goes back
        free_host_memory()
    return " ".join(reason.split()), time.perf_counter() - begin


def _volumes(case: Case, options: Options) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays by file name and the case's entry (without name and digest)."""
    from RelAPETLib import preprocessing

    failures: dict[str, str] = {}
    heard: list[str] = []
    with listening(heard.append):
        mri = {name: _read_mri(path, options) for name, path in (("t1w", case.t1w), ("t2f", case.t2f))}
        if np.array_equal(*(_voxels(image) for image in mri.values())):
            raise InputError(f"{case.t1w} and {case.t2f} are the same volume; two different scans are wanted")
        pets, known = {}, {}
        for tracer, scan in case.pets.items():
            try:
                if not options.force and (why := other_tracer(scan.path, tracer, scan.sidecar)):
                    raise InputError(f"{scan.path}: {why}; --force takes it all the same")
                known[tracer] = pet_units(scan, options.reference_region, options.units)
                image, frames = read_pet(scan, options.frames)
                pets[tracer] = _on_model_grid(image, scan.path) if options.preprocessed else image
                known[tracer] = known[tracer], frames
            except RelAPETError as error:
                failures[tracer] = str(error)
        if not pets and not options.mri_only:
            raise InputError("; ".join(failures.values()))
        if options.preprocessed:
            ready = preprocessing.from_grid(mri["t1w"], mri["t2f"], pets=pets)
        else:
            ready = preprocessing.preprocess(mri["t1w"], mri["t2f"], pets=pets, method=options.method)
        doubts = preprocessing.doubts(ready.quality, "grid" if options.preprocessed else "raw")
        if doubts and not options.force:
            raise InputError(f"{'; '.join(doubts)}; --force takes it all the same")
        arrays, entries = _arrays(case, ready, known, options, failures)
    told = [*ready.warnings, *doubts, *heard]
    return arrays, {
        **entries,
        "failures": failures,
        "method": ready.method,
        "quality": {key: _finite(value) for key, value in ready.quality.items()},
        "warnings": [" ".join(line.split()) for line in dict.fromkeys(told)],
    }


def _arrays(case: Case, ready, known: dict, options: Options, failures: dict) -> tuple[dict, dict]:
    """Stored arrays and their entries; a PET that is doubted or whose values make no SUVR joins the failures."""
    from RelAPETLib import preprocessing
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.registration.uptake import seen_brain
    from RelAPETLib.volumes.synthetic import SYNTHETIC, says_synthetic

    arrays, entries = {}, {}
    factor, brain, inside = options.factor, block_mask(1), block_mask(options.factor)
    for name, image in (("t1w", ready.t1w), ("t2f", ready.t2f)):
        mri = block_means(image_to_array(image), factor)
        arrays[f"{name}.npy"], entries[name] = stored(mri, options.dtype, case.name)
    entries["pets"] = {}
    for tracer, pet in ready.pets.items():
        scan: PetScan = case.pets[tracer]
        units, frames = known[tracer]
        figures, kind = ready.pet_quality[tracer], "grid" if options.preprocessed else "raw"
        doubts = preprocessing.doubts(figures, kind) + unseen_target(figures["pet_coverage"])
        doubts += [SYNTHETIC] if says_synthetic(scan.path) else []
        if units.region is not None:
            doubts += preprocessing.reference_doubts(ready, units.region)
            doubts += preprocessing.reference_doubts(ready, units.region, tracer)
        if doubts and not options.force:
            failures[tracer] = f"{scan.path}: {'; '.join(doubts)}; --force takes it all the same"
            continue
        for line in doubts or preprocessing.cautions(figures, kind):
            warn(f"PET {tracer}: {line}")
        try:
            seen = seen_brain(ready.mask, ready.pet_views.get(tracer))
            suvr = image_to_array(suvr_of(pet, seen, units, scan, options.force))
            suvr = block_means(np.where(brain, suvr, 0), factor)
            array, entry = stored(suvr, options.dtype, str(scan.path))
        except RelAPETError as error:
            failures[tracer] = str(error)
            continue
        arrays[f"pet_{tracer}.npy"] = array
        facts = {"brain_mean": float(suvr[inside].mean()), "units_from": units.known_from, "frames": frames}
        entries["pets"][tracer] = entry | facts
    if not entries["pets"] and not options.mri_only:
        raise InputError("; ".join(failures.values()))
    return arrays, entries


def _read_mri(path: Path, options: Options):
    from RelAPETLib.volumes import check_volume, read_volume

    image = read_volume(path, name=path.name)
    check_volume(image, str(path))
    return _on_model_grid(image, path) if options.preprocessed else image


def _on_model_grid(image, path: Path):
    """The image, whose axes may be stored in another order. Raises `InputError` naming the file when it is off."""
    from RelAPETLib.grid import image_to_array
    from RelAPETLib.volumes import canonical

    try:
        image_to_array(canonical(image))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return image


def _voxels(image) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayViewFromImage(image)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def default_workers() -> int:
    """Processes to use when nobody says: the cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
