"""The order of things: read, preprocess, draw, compare, bring back to the T1w; the model loads while scans are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import DeviceError, InputError
from ..methods.base import SEQUENCES
from ..notices import collected, warn
from .ahead import Ahead, Awaited
from .case import Case, check_t1w, make_case, read, register
from .described import describe
from .inputs import reference_role, without_paths
from .options import Options, Plan, check_sequences, for_model, resolve
from .result import Syntheses, Synthesis
from .stages import Clock, Progress, part_of, parts
from .verdict import check_case, judge

if TYPE_CHECKING:
    from pathlib import Path

    import SimpleITK as sitk

    from ..models import KeptModels, Model
    from .norms import Norms
    from .reference import ReferenceUnits
    from .sampling import ConditionedModel, Draw


def synthesize(
    t1w: str | os.PathLike | sitk.Image,
    t2f: str | os.PathLike | sitk.Image | None,
    tracer: str,
    *,
    progress: Progress | None = None,
    **options,
) -> Synthesis:
    """Make a synthetic PET of one tracer from a T1w and a T2-FLAIR of one person.

    Args:
        t1w, t2f: files (NIfTI, NRRD, MetaImage, MGH, a DICOM folder) or 3-D images; `t2f` is None where there is none
            and the model can do without (`Model.optional_inputs`).
        tracer: a name of `RelAPETLib.tracers.TRACERS`, or a BIDS ``trc-`` spelling of one.
        progress: called as progress(fraction, message).
        options: further fields of `Options`: model, reference, reference_region, norms, reference_fwhm, sampler, steps,
            quality, samples, seed, device, precision, space, preprocessed, registration, force, yes, age, sex, score,
            cutoffs.

    Warns:
        RelAPETWarning: what the user should know; the same lines stand in the result's `warnings`.

    Raises:
        InputError: an option or volume that cannot be used; `DoubtfulInputError` when `force` would accept it.
        ModelError: the model is unknown or damaged.
        DeviceError: unknown, absent or full device.

    Example:
        >>> result = synthesize("t1w.nii.gz", "flair.nii.gz", "TAU")  # doctest: +SKIP
        >>> result.save("out")  # doctest: +SKIP
    """
    chosen = Options(tracers=(tracer,), **options)
    if len(chosen.tracers) != 1:
        raise InputError(f"one tracer is wanted, not {', '.join(chosen.tracers)}; synthesize_many takes several")
    (result,) = run_files(t1w, t2f, chosen, progress)
    return result


def synthesize_many(
    t1w: str | os.PathLike | sitk.Image,
    t2f: str | os.PathLike | sitk.Image | None,
    tracers: str | Iterable[str] = "all",
    *,
    progress: Progress | None = None,
    **options,
) -> Syntheses:
    """The same for several tracers: the MRI are read, registered and encoded once, and all tracers get the same noise.

    Args:
        tracers: names, or ``"all"`` that the model has.
        options: as for `synthesize`; ``reference`` maps tracers to PET.

    Returns:
        A result for each tracer, in their order, each made when it is asked for; on a GPU the first brings the samples
        of all tracers of a latent model. The options are checked at once.

    Example:
        >>> save_many(synthesize_many("t1w.nii.gz", "flair.nii.gz", "TAU,PIB"), "out")  # doctest: +SKIP
    """
    return run_files(t1w, t2f, Options(tracers=tracers, **options), progress)


def run_files(
    t1w, t2f, options: Options, progress: Progress | None = None, on_case: Callable[[Case], object] | None = None,
    kept: KeptModels | None = None,
) -> Syntheses:  # fmt: skip
    """`synthesize_many` with options that are made already; `on_case` is given the case once it is accepted.

    `kept` is where the model is taken from and stays, in a process that serves many people.
    """
    check_t1w(t1w)
    _check_model(SEQUENCES if t2f is not None else ("t1w",), options)
    options = for_model(options)
    return Syntheses(options.tracers, _run_files(t1w, t2f, options, progress, on_case, kept))


def _run_files(t1w, t2f, options: Options, progress, on_case, kept) -> Iterator[Synthesis]:
    from ..devices import resolve_device
    from .norms import check_measured, norms_of
    from .reference import check_references

    part, clock, of_case, of_model = parts(progress), Clock(), [], []
    if options.device != "auto":
        resolve_device(options.device)  # a device that is not there is refused before anything is read
    check_references(options)
    with collected(of_model):
        norms = norms_of(options, options.reference)
    loading = Ahead(lambda: _load(options.model, resolve_device(options.device), kept))
    with collected(of_case):
        inputs = read(t1w, t2f, options.reference, part("read"), options.force)
    check_measured(norms, inputs.synthetic_pets)
    of_header, paths = list(of_case), inputs.paths
    clock.lap("reading")

    def settle(model: Model) -> tuple:
        plans = _plans(options, model, part("model"))
        units = {name: _units(name, paths, plans, options) for name in options.reference}
        return model, plans, units

    how = {"preprocessed": options.preprocessed, "registration": options.registration}
    chosen = Awaited(loading, settle, of_model)
    with collected(of_case), chosen.before_other_errors():
        device = resolve_device(options.device)
        ready = register(inputs, device, chosen.watched(part("preprocess")), **how)
    clock.lap("preprocessing")
    model, plans, units = chosen.get()
    of_case = [words for words in of_case if words not in of_model]  # told while the scans were registered
    clock.lap("model")
    case = make_case(inputs, ready, of_case, of_header, **how)
    del inputs, ready
    doubts = check_case(case, plans, options.force, units, norms)
    if on_case:
        on_case(case)
    yield from _results(case, model, plans, units, norms, options, of_model, doubts, clock.seconds, progress)


def run_case(
    case: Case,
    options: Options,
    progress: Progress | None = None,
    *,
    model: Model | None = None,
    kept: KeptModels | None = None,
) -> Syntheses:
    """Results for a case that is prepared already, as `synthesize_many` gives them from files.

    Args:
        case: from `prepare_case` or `load_case`. Of its references those of `options.tracers` are compared with.
        options: ``reference`` must be empty, ``preprocessed`` and ``registration`` are the case's; `force` accepts
            doubts about the case.
        model: a loaded one in place of ``options.model``, for many people; its tracers must be named.
        kept: as for `run_files`.

    Raises:
        InputError, ModelError, DeviceError: as `synthesize`.
    """
    if options.reference:
        raise InputError("a prepared case takes no other reference PET; give it to the one that prepares the case")
    if model is not None:
        check_sequences(case.sequences, model.metadata)
    else:
        _check_model(case.sequences, options)
        options = for_model(options)
    return Syntheses(options.tracers, _run_case(case, options, progress, model, kept))


def _run_case(case: Case, options: Options, progress, loaded: Model | None, kept) -> Iterator[Synthesis]:
    from ..devices import resolve_device
    from .norms import check_measured, norms_of

    clock, said = Clock(), []
    with collected(said):
        for words in case.warnings:
            warn(words)
        said.clear()  # `_results` has them from the case
        device = resolve_device(options.device)
        model = loaded or _load(options.model, device, kept)
        plans = _plans(options, model, parts(progress)("model"))
    units = {name: _units(name, case.paths, plans, options) for name in options.tracers if name in case.ready.pets}
    norms = norms_of(options, units)
    check_measured(norms, case.synthetic_pets)
    doubts = check_case(case, plans, options.force, units, norms)
    clock.lap("model")
    yield from _results(case, model, plans, units, norms, options, said, doubts, clock.seconds, progress)


def draw(
    case: Case,
    tracer: str,
    options: Options | None = None,
    *,
    model: Model | None = None,
    progress: Progress | None = None,
) -> Draw:
    """Samples of one tracer for a case; `finish` makes a `Synthesis` of them.

    Args:
        case: from `prepare_case` or `load_case`.
        options: None for the defaults; its tracers do not matter here.
        model: a loaded one in place of ``options.model``, for many calls.

    Raises:
        InputError, ModelError, DeviceError, LongRunError: as `synthesize`.
    """
    from ..devices import resolve_device
    from ..regions import RegionCounter
    from .sampling import ConditionedModel, check_duration, draw_samples

    options = replace(options, tracers=(tracer,), reference=None) if options else Options(tracers=(tracer,))
    said: list[str] = []
    with collected(said):
        model = model or _load(options.model, resolve_device(options.device))
        check_sequences(case.sequences, model.metadata)
        (plan,) = resolve(options, model)
        check_case(case, (plan,), options.force)
        check_duration(model, plan.label, plan.steps, plan.samples, options.yes, progress, plan.precision)
        conditioned = ConditionedModel(model, case.mri(), options.clinical)
        (verdict,) = judge(case, (plan,), conditioned, options.force).values()
        counter = RegionCounter(case.ready.mask, case.ready.in_view)
        drawn = draw_samples(conditioned, plan, yes=options.yes, progress=progress, counter=counter)
    return replace(drawn, said=tuple(said), verdict=verdict)


def finish(
    case: Case,
    drawn: Draw,
    *,
    units: ReferenceUnits | None = None,
    norms: Norms | None = None,
    force: bool = False,
    warnings: Iterable[str] | None = None,
    seconds: dict[str, float] | None = None,
    part: Callable[[str], Progress] | None = None,
) -> Synthesis:
    """Maps, comparison, regions, volumes in the space asked for, and the record of one draw.

    Args:
        units: how the unit of the case's reference of this tracer is known (`reference.reference_units`); None compares
            with nothing.
        norms: of measured PET of this tracer, against which the reference is scored.
        force: accept a reference whose values are hardly SUVR.
        warnings: what was said so far; None for what the case and the draw bring.
        seconds: time by stage so far.
        part: gives a progress callback for a stage, ``compare`` and ``return``.
    """
    from ..volumes import mark_synthetic
    from .intervals import regional_table
    from .maps import MEASURED, bring_back, make_maps, sample_rows
    from .norms import z_map
    from .summary import summary
    from .white_matter import white_matter

    part, clock = part or parts(None), Clock(seconds)
    own = case.warnings_of((drawn.plan.tracer.name,))
    messages = [*own, *drawn.said] if warnings is None else list(warnings)
    with collected(messages):
        maps, metrics = make_maps(case, drawn, units, force, part("compare"))
        zscore = None
        if norms is not None and units is not None and norms.tracer == drawn.plan.tracer.name:
            maps["reference_z"], zscore = z_map(case, norms)
        regions, intervals = regional_table(case, drawn, maps)
        samples = sample_rows(drawn)
        clock.lap("comparison")
        volumes, pictures = bring_back(maps, case, drawn.plan.tracer.name, drawn.plan.space, part("return"))
        clock.lap("return")
    for name, image in volumes.items():
        if name.removesuffix("_space-MNI") not in MEASURED:
            mark_synthetic(image)
    messages = without_paths(messages, case.paths)
    ending = "_space-MNI" if drawn.plan.space == "mni" else ""
    told = {"intervals": intervals, "summary": summary(case, drawn, regions, samples), "zscore": zscore}
    return Synthesis(
        pet=volumes[f"synthetic_pet{ending}"],
        uncertainty=volumes.get(f"uncertainty{ending}"),
        difference=volumes.get(f"difference{ending}"),
        departure=volumes.get(f"departure{ending}"),
        provenance=describe(case, drawn, units, metrics, messages, clock.seconds, **told),
        metrics=metrics,
        warnings=messages,
        regions=regions,
        volumes=volumes,
        pictures=pictures,
        registration=lambda: white_matter(case, drawn.plan.space),
        samples=samples,
    )


def _results(
    case: Case,
    model: Model,
    plans,
    units: dict,
    norms: Norms | None,
    options: Options,
    said: list[str],
    doubts: Mapping[str, list[str]],
    seconds: dict,
    progress,
) -> Iterator[Synthesis]:
    """A result for each plan; nothing of one is kept when the next begins, but mean and spread of those to come."""
    from .sampling import ConditionedModel, pays_together

    said = list(said)
    with collected(said):
        conditioned = ConditionedModel(model, case.mri(), options.clinical)
        verdicts = judge(case, plans, conditioned, options.force, units, norms)
    together = pays_together(conditioned.model, plans)
    drawings = _drawings(case, conditioned, plans, options, progress, together)
    for number, (plan, (drawn, meanwhile, spent)) in enumerate(zip(plans, drawings, strict=True)):
        yield finish(
            case,
            replace(drawn, verdict=verdicts[plan.tracer.name]),
            units=units.get(plan.tracer.name),
            norms=norms,
            force=options.force,
            warnings=[*case.warnings_of((plan.tracer.name,)), *doubts[plan.tracer.name], *said, *meanwhile],
            seconds={**seconds, "sampling": spent},
            part=parts(part_of(progress, number, len(plans), plan.tracer.name, together)),
        )


def _drawings(
    case: Case, conditioned: ConditionedModel, plans: Sequence[Plan], options: Options, progress, together: bool
) -> Iterator[tuple[Draw, list[str], float]]:
    """Each plan's samples, what was said while they were drawn, and seconds."""
    from ..regions import RegionCounter
    from .sampling import draw_tracers

    groups = [tuple(plans)] if together else [(plan,) for plan in plans]
    for number, group in enumerate(groups):
        part, said, clock = parts(part_of(progress, number, len(groups), group[0].tracer.name))("sample"), [], Clock()
        with collected(said):
            counters = [RegionCounter(case.ready.mask, case.ready.in_view) for _ in group]
            later = sum(plan.samples for others in groups[number + 1 :] for plan in others)
            draws = draw_tracers(conditioned, group, yes=options.yes, progress=part, counters=counters, later=later)
        clock.lap("sampling")
        draws.reverse()
        while draws:
            yield draws.pop(), said, round(clock.seconds["sampling"] / len(group), 3)


def _check_model(given: Iterable[str], options: Options) -> None:
    """Refuse, before anything is read or loaded, a model that cannot do with these sequences."""
    if set(given) == set(SEQUENCES):
        return  # every model can, and a large one's files are checked but once
    from ..models import locate

    check_sequences(given, locate(options.model).metadata)


def _plans(options: Options, model: Model, progress: Progress) -> tuple[Plan, ...]:
    """What a loaded model will do, refused before the long work when that takes too long."""
    from .sampling import check_duration

    plans = resolve(options, model)
    first, samples = plans[0], sum(plan.samples for plan in plans)
    check_duration(model, first.label, first.steps, samples, options.yes, progress, first.precision)
    return plans


def _units(tracer: str, paths: Mapping[str, Path], plans: Iterable[Plan], options: Options) -> ReferenceUnits:
    """How the unit of a tracer's reference is known."""
    from .reference import reference_units

    relative = any(plan.output == "relative" for plan in plans if plan.tracer.name == tracer)
    return reference_units(paths.get(reference_role(tracer)), options.reference_region, relative=relative)


def _load(name: str | os.PathLike, device: str, kept: KeptModels | None = None) -> Model:
    """The model on its device, or on the CPU when the device has no room even for the weights."""
    from ..models import load_model

    load = load_model if kept is None else kept.load
    try:
        return load(name, device=device)
    except DeviceError as error:  # the device is there: `resolve_device` has found it
        if device == "cpu":
            raise
        warn(f"{error}; going on on the CPU, which is slower")
    return load(name, device="cpu")
