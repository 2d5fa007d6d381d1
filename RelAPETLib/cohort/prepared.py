"""A visit's MRI on the model grid: from a saved case, from one kept in the work folder, or registered now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BusyError, InputError, OutputError
from ..registration import REVISION
from .cases import PetScan
from .reasons import recordable
from .request import Request
from .visits import CASE_RECORD, Visit

if TYPE_CHECKING:
    from ..models import Model
    from ..synthesis import Case

Progress = Callable[[float, str], None]


def prepared_case(
    request: Request, visit: Visit, tracers: tuple[str, ...], model: Model, progress: Progress
) -> tuple[Case, dict[str, str]]:
    """The case of a visit, with its measured PET of these tracers, and by tracer why a measured PET was left out.

    A measured PET that cannot be used is left out; it stops nobody, and spoils no other tracer's.

    Raises:
        InputError: the MRI cannot be used, or the model needs a sequence that is not there.
    """
    from ..synthesis import load_case
    from ..synthesis.options import check_sequences

    if visit.case is not None:
        return load_case(visit.case), {}
    check_sequences(["t1w"] if visit.t2f is None else ["t1w", "t2f"], model.metadata)
    lost = {failure.tracer: recordable(failure.reason, request, visit) for failure in visit.lost}
    pets = {}
    for tracer in tracers:
        if tracer in visit.pets:
            if reason := _unusable(visit.pets[tracer], _relative(model, tracer), request.options.force):
                lost[tracer] = recordable(reason, request, visit)
            else:
                pets[tracer] = visit.pets[tracer].path
    if not pets:
        return _mri_alone(request, visit, progress), lost
    case, spoilt = _with_pets(request, visit, pets, progress)
    return case, lost | spoilt


def _with_pets(
    request: Request, visit: Visit, pets: dict[str, Path], progress: Progress
) -> tuple[Case, dict[str, str]]:
    """The case with those of its measured PET that can be used, and by tracer why the others cannot."""
    spoilt: dict[str, str] = {}

    def spoil(tracer: str, reason: str) -> None:
        spoilt[tracer] = recordable(reason, request, visit)

    try:
        return _registered(request, visit, pets, progress, spoil), spoilt
    except InputError as error:
        # Either the MRI or a PET is to blame: with the MRI alone it fails again, or a PET was.
        alone, reason = _mri_alone(request, visit, progress), str(error)
    good: dict[str, Case] = {}
    for tracer, path in pets.items() if len(pets) > 1 else ():
        try:
            good[tracer] = _registered(request, visit, {tracer: path}, progress, spoil)
        except InputError as error:
            spoil(tracer, str(error))
    good = {tracer: case for tracer, case in good.items() if tracer not in spoilt}
    if len(good) == 1:
        return good.popitem()[1], spoilt
    if good and len(good) < len(pets):
        try:
            return _registered(request, visit, {name: pets[name] for name in good}, progress, spoil), spoilt
        except InputError as error:
            reason = str(error)
    for tracer in good or pets.keys() - spoilt.keys():  # alone each would do, as when one file is given twice
        spoil(tracer, reason)
    return alone, spoilt


def _relative(model: Model, tracer: str) -> bool:
    return model.metadata["tracers"][tracer]["output"] == "relative"


def _unusable(scan: PetScan, relative: bool, force: bool) -> str:
    """Why a measured PET cannot be compared with, as far as that is known without registering it."""
    from ..synthesis.inputs import REFERENCE
    from ..synthesis.reference import reference_units
    from ..volumes import check_volume, read_volume, says_synthetic
    from ..volumes.named_tracer import other_tracer
    from ..volumes.synthetic import SYNTHETIC

    path = scan.path
    if not force and (why := other_tracer(path, scan.tracer, scan.sidecar)):
        return f"{REFERENCE} {path}: {why}; --force compares with it all the same"
    if not force and says_synthetic(path):
        return f"{REFERENCE} {path}: {SYNTHETIC}"
    try:
        reference_units(path, None, relative=relative)
        check_volume(read_volume(path, name=REFERENCE), f"{REFERENCE} {path}")
    except InputError as error:
        return str(error)
    return ""


def _registered(
    request: Request, visit: Visit, pets: dict[str, Path], progress: Progress,
    on_doubtful_pet: Callable[[str, str], object] | None = None,
) -> Case:  # fmt: skip
    from ..synthesis import prepare_case

    options = request.options
    return prepare_case(
        visit.t1w, visit.t2f, references=pets, preprocessed=options.preprocessed, registration=options.registration,
        device=options.device, force=options.force, on_doubtful_pet=on_doubtful_pet,
        progress=lambda fraction, message: progress(0.6 * fraction, message),
    )  # fmt: skip


def _mri_alone(request: Request, visit: Visit, progress: Progress) -> Case:
    """The case of the MRI alone: one that an earlier run kept and that is of these files, else a new one."""
    from ..synthesis import load_case, save_case

    folder = case_folder(request, visit)
    if folder is None:
        return _registered(request, visit, {}, progress)
    if (folder / CASE_RECORD).is_file():
        try:
            kept = load_case(folder)
            if _is_of(kept, visit, request):
                return kept
        except InputError:
            pass  # damaged: made anew
    case = _registered(request, visit, {}, progress)
    try:
        save_case(case, folder, overwrite=True)
    except BusyError:  # another run keeps the same
        pass
    except OutputError as error:
        raise OutputError(f"the prepared case cannot be kept: {error}") from error
    return case


def keep_case(request: Request, visit: Visit) -> None:
    """Register a visit's MRI and keep the case in the work folder, unless it is there.

    Raises:
        InputError: the MRI cannot be used.
        OutputError: the case cannot be kept.
    """
    from ..notices import listening

    with listening(lambda message: None):  # the case remembers its warnings
        _mri_alone(request, visit, lambda fraction, message: None)


def case_folder(request: Request, visit: Visit) -> Path | None:
    """Where a visit's prepared case is kept; None without a work folder."""
    if request.work is None:
        return None
    return request.work.joinpath("cases", *filter(None, (visit.participant, visit.session)))


def _is_of(case: Case, visit: Visit, request: Request) -> bool:
    """Whether a kept case was prepared, in the same way, from the files that the visit has now.

    Sidecars count by what is read of them: whether a scan is a simulated person's, and of a contrast agent. Cases of
    earlier code, which do not tell what was read, are of an earlier revision.
    """
    from ..synthesis.inputs import told_beside_all
    from ..volumes import file_sha256, second_file

    files = {"t1w": visit.t1w, "t2f": visit.t2f}
    found = {role: file_sha256(path) for role, path in files.items() if path is not None}
    seconds = {role: file_sha256(o) for role, path in files.items() if path is not None and (o := second_file(path))}
    same = dict(case.sha256) == found and dict(case.second_sha256) == seconds and case.beside == told_beside_all(files)
    asked, how = request.options, (case.preprocessed, case.registration, case.revision)
    return same and how == (asked.preprocessed, asked.registration, REVISION)
