"""What is asked of a synthesis: one frozen set of options for CLI, panel, Python and training, resolved once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..clinical import ClinicalValues
from ..devices import PRECISIONS, check_precision, resolve_device
from ..diffusion.names import EVERY_SAMPLER, QUALITIES
from ..errors import InputError, ModelError
from ..networks.execution import ways_asked_for
from ..notices import warn
from ..registration import AUTO, METHODS
from ..tracers import ALL, TRACERS, Tracer, get_tracer
from .inputs import title

if TYPE_CHECKING:
    import SimpleITK as sitk

    from ..methods.base import Defaults
    from ..models import Model

SPACES = ("t1w", "mni", "both")
MAX_SAMPLES = 64
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Options:
    """What is wanted of a synthesis; None leaves a choice to the model.

    Attributes:
        tracers: one or several, in any spelling: ``"TAU"``, ``"TAU,PIB"``, ``"all"``, or a sequence of such. They are
            kept as a tuple of short names, each once, or as ``("all",)``: every tracer of the model (`for_model`).
        model: name in the catalogue, or folder of a bundle.
        reference: a measured PET to compare with (file or image) where there is one tracer, else a mapping of tracers
            to such.
        reference_region: region whose mean sets the references' scale.
        norms: norms of measured PET (`synthesis.norms`), for z-scores of the reference.
        reference_fwhm: resolution of the reference, mm, so that it can be brought to the norms'.
        sampler, steps, samples: 1 to T steps; 1 to 64 samples. A model that gives the same PET each time draws one.
        quality: in place of sampler and steps, one of `QUALITIES`: as few steps as the model was measured to need for
            it (``python -m training steps``).
        seed: 0 to 2^63 - 1; the noise of sample k follows from (seed, k) alone, whatever the tracer.
        device: auto, cpu, cuda, cuda:i or mps.
        precision: fp32, or bf16: the network's products in bfloat16; noise, schedule, clean estimates and decoding stay
            in float32. What bf16 changes was not measured on trained models.
        space: grid of the results, one of `SPACES`.
        preprocessed: the volumes lie on the model grid already.
        registration: how the T1w is deformed to the template, one of `registration.METHODS`.
        force: accept inputs that look wrong, with a warning.
        yes: accept more than half an hour of drawing on a CPU.
        cutoffs: SUVR by tracer, from which on its composite (`tracers.Composite`) counts as positive; there is no
            default but a model's own. One text or several such as ``"PIB=1.5"`` will do.
        age, sex, score: what is known of the person, for models that use it (`RelAPETLib.clinical.ClinicalValues`).

    Raises:
        InputError: what no model could do; nothing has been read or loaded by then.
    """

    tracers: tuple[str, ...]
    model: str | os.PathLike = "demo"
    reference: str | os.PathLike | sitk.Image | Mapping | None = field(default=None, repr=False)
    reference_region: str | None = None
    norms: str | os.PathLike | None = field(default=None, repr=False)
    reference_fwhm: float | None = None
    sampler: str | None = None
    steps: int | None = None
    quality: str | None = None
    samples: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    space: str = "t1w"
    preprocessed: bool = False
    registration: str = AUTO
    force: bool = False
    yes: bool = False
    cutoffs: Mapping[str, float] | Iterable[str] | str | None = None
    age: float | None = field(default=None, repr=False)
    sex: str | None = field(default=None, repr=False)
    score: float | None = field(default=None, repr=False)

    @property
    def clinical(self) -> ClinicalValues:
        """Age, sex and score. Raises `InputError` for a value that cannot be."""
        return ClinicalValues(self.age, self.sex, self.score)

    def __post_init__(self):
        object.__setattr__(self, "sex", self.clinical.sex)
        object.__setattr__(self, "tracers", tracer_names(self.tracers))
        if self.space not in SPACES:
            raise InputError(f"unknown space '{self.space}'; use one of {', '.join(SPACES)}")
        check_registration(self.registration, self.preprocessed)
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision '{self.precision}'; use one of {', '.join(PRECISIONS)}")
        ways_asked_for()
        _check_number("steps", self.steps, 1, None)
        _check_number("samples", self.samples, 1, MAX_SAMPLES)
        _check_number("seed", self.seed, 0, MAX_SEED)
        if self.sampler is not None and self.sampler not in EVERY_SAMPLER:
            raise InputError(f"unknown sampler '{self.sampler}'; use one of {', '.join(EVERY_SAMPLER)}")
        if self.quality is not None:
            if self.quality not in QUALITIES:
                raise InputError(f"unknown quality '{self.quality}'; use one of {', '.join(QUALITIES)}")
            if self.sampler is not None or self.steps is not None:
                raise InputError("quality chooses sampler and steps", "give either --quality or --sampler and --steps")
        object.__setattr__(self, "reference", self._named_references())
        object.__setattr__(self, "cutoffs", self._named_cutoffs())
        if self.reference_fwhm is not None and self.norms is None:
            raise InputError("the reference's resolution matters to norms alone; give --norms too, or leave it out")

    def _named_cutoffs(self) -> dict[str, float]:
        """Cut-offs by tracer; one of a tracer that is not asked for does no harm."""
        found = {}
        for name, value in _pairs(self.cutoffs):
            tracer = get_tracer(name)
            if tracer.composite is None:
                raise InputError(f"{tracer.name} has no composite value; leave its cut-off out")
            found[tracer.name] = _suvr(value)
        return found

    def _named_references(self) -> dict:
        """References by tracer."""
        if self.reference is None:
            return {}
        if isinstance(self.reference, Mapping):
            named = {get_tracer(name).name: volume for name, volume in self.reference.items() if volume is not None}
            foreign = sorted(named.keys() - set(self.tracers)) if self.tracers != (ALL,) else ()
            if foreign:
                raise InputError(f"a reference of {foreign[0]} was given, which is not asked for")
            return named
        if len(self.tracers) > 1 or self.tracers == (ALL,):
            count = ALL if self.tracers == (ALL,) else len(self.tracers)
            raise InputError(f"one reference PET cannot be compared with {count} tracers; choose the tracer it is of")
        return {self.tracers[0]: self.reference}


@dataclass(frozen=True)
class Plan:
    """What will be done for one tracer by one model: nothing is left to a default.

    Attributes:
        tracer: the tracer asked for.
        label: the model's class label of it.
        output: "suvr" or "relative".
        window: SUVR range that the model's [-1, 1] stands for; None for a relative model.
        reference_region: region whose mean is 1 in the model's SUVR, or None.
        sampler: None for a method that draws at once, by 1 step.
        steps, samples, seed, clip: as `sampling.draw_samples` takes them.
        space: "t1w", "mni" or "both".
        cutoff: SUVR that the user gave for the tracer's composite; None without.
        precision: of the network's products, one of `PRECISIONS`.
    """

    tracer: Tracer
    label: int
    output: str
    window: tuple[float, float] | None
    reference_region: str | None
    sampler: str | None
    steps: int
    samples: int
    seed: int
    clip: tuple[float, float] | None
    space: str
    cutoff: float | None = None
    precision: str = "fp32"


def check_registration(method: str, preprocessed: bool) -> None:
    """Refuse a registration that there is not, or a choice of one where nothing is registered; `InputError`."""
    if method not in METHODS:
        raise InputError(f"unknown registration '{method}'; use one of {', '.join(METHODS)}")
    if preprocessed and method != AUTO:
        raise InputError(
            f"volumes on the model grid are not registered, so the registration '{method}' would do nothing",
            "leave --registration or --preprocessed out",
        )


def _pairs(cutoffs: Mapping[str, float] | Iterable[str] | str | None) -> list[tuple[str, object]]:
    """Tracers and cut-offs as they were given."""
    if isinstance(cutoffs, Mapping):
        return list(cutoffs.items())
    words = [cutoffs] if isinstance(cutoffs, str) else list(cutoffs or ())
    pairs = [part.partition("=") for text in words for part in str(text).split(",")]
    for name, equals, value in pairs:
        if not (name.strip() and equals):
            raise InputError(f"cannot read the cut-off '{(name + equals + value)[:60]}'; write it as TRACER=SUVR")
    return [(name, value) for name, _, value in pairs]


def _suvr(value: object) -> float:
    """A cut-off as a number. Raises `InputError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"cannot read the cut-off '{str(value)[:60]}'; give a number of SUVR above 0")
    return number


def tracer_names(asked: str | Iterable[str]) -> tuple[str, ...]:
    """Short names of tracers, each once, in the order asked for; ``("all",)`` where ``all`` is among them.

    Raises:
        InputError: none, or an unknown one.
    """
    words = [asked] if isinstance(asked, str) else list(asked)
    names: list[str] = []
    for word in (part.strip() for text in words for part in str(text).split(",")):
        names.append(ALL if word.lower() == ALL else get_tracer(word).name)
    if not names:
        raise InputError(f"no tracer was asked for; use {', '.join(TRACERS)} or {ALL}")
    return (ALL,) if ALL in names else tuple(dict.fromkeys(names))


def for_model(options: Options) -> Options:
    """The same options with names in place of ``all``: those of the tracers that their model has.

    The model's files are checked, its weights are not loaded; other options are given back as they are.

    Raises:
        InputError: a reference PET of a tracer that the model lacks.
        ModelError: the model is unknown or damaged.
    """
    if options.tracers != (ALL,):
        return options
    from ..models import locate

    return replace(options, tracers=_in_order(locate(options.model).metadata["tracers"]))


def _in_order(known: Iterable[str]) -> tuple[str, ...]:
    """A model's tracers in the program's order, whatever the order of its metadata."""
    return tuple(name for name in TRACERS if name in known)


def _check_number(name: str, value: int | None, lowest: int, highest: int | None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if value < lowest or (highest is not None and value > highest):
        limits = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise InputError(f"{name} {value} is out of range; use {limits}")


def resolve(options: Options, model: Model) -> tuple[Plan, ...]:
    """Complete options from a model's metadata and its method's defaults: a plan for each tracer, in their order.

    ``all`` is every tracer of the model.

    Raises:
        InputError: the model lacks a tracer, has fewer timesteps than steps asked for, draws without a sampler, does
            not use a clinical value that is given, or gives no SUVR of a tracer that has a cut-off.
        DeviceError: the model's device cannot compute in the precision asked for.
    """
    _check_clinical(options.clinical.known, model)
    _check_cutoffs(options, model.metadata)
    check_precision(options.precision, model.device)
    defaults, known = model.method.defaults, model.metadata["tracers"]
    sampler, steps = _sampler_and_steps(options, model.metadata, defaults)
    samples, plans = _samples(options, model.name, defaults), []
    for name in _in_order(known) if options.tracers == (ALL,) else options.tracers:
        entry = known.get(name)
        if entry is None:
            raise InputError(
                f"model {model.name} has no tracer {name}; it has {', '.join(known)}: choose one, or another model"
            )
        plans.append(
            Plan(
                tracer=get_tracer(name),
                label=entry["label"],
                output=entry["output"],
                window=tuple(entry["window"]) if entry["output"] == "suvr" else None,
                reference_region=entry.get("reference_region"),
                sampler=sampler,
                steps=steps,
                samples=samples,
                seed=options.seed,
                clip=defaults.clip,
                space=options.space,
                cutoff=options.cutoffs.get(name),
                precision=options.precision,
            )
        )
    return tuple(plans)


def _samples(options: Options, name: str, defaults: Defaults) -> int:
    """Samples to draw: one where all would be the same PET, whose spread would be no uncertainty but none."""
    if not defaults.deterministic:
        return options.samples or defaults.samples
    if (options.samples or 1) > 1:
        warn(f"model {name} gives the same PET each time: one sample is drawn, not {options.samples}, without a spread")
    return 1


def check_drawing(options: Options) -> None:
    """Refuse what `resolve` would refuse of sampler, steps, quality and cut-offs, by the model's metadata alone.

    For commands that work for minutes before they load a model's weights. Raises `InputError`, or `ModelError` for an
    unknown or damaged model.
    """
    from ..methods import method_class
    from ..models import locate
    from ..models.metadata import method_of

    metadata = locate(options.model).metadata
    _check_cutoffs(options, metadata)
    name, settings = method_of(metadata)
    _sampler_and_steps(options, metadata, method_class(name).defaults_of(settings))


def check_device(options: Options) -> None:
    """Raise `DeviceError` where this machine lacks the device asked for, or it cannot compute in the precision."""
    if options.device != "auto" or options.precision != "fp32":
        check_precision(options.precision, resolve_device(options.device))


def check_sequences(given: Iterable[str], metadata: Mapping) -> None:
    """Raise `InputError` where a model, by its metadata, cannot do without an MRI sequence that is not given."""
    optional = metadata.get("optional_inputs", ())
    for name in metadata["inputs"]:
        if name not in given and name not in optional:
            raise InputError(
                f"model {metadata['name']} needs a {title(name)} and none was given",
                f"add it (--{name}), or use a model that was trained to do without",
            )


def _check_clinical(given: tuple[str, ...], model: Model) -> None:
    """Refuse values that the model does not use, and say that those it uses count."""
    if not given:
        return
    if "clinical" not in model.method.defaults.inputs:
        options = " and ".join(f"--{name}" for name in given)
        raise InputError(f"model {model.name} does not use {' and '.join(given)}", f"leave {options} out")
    warn(f"the PET depends on the {' and '.join(given)} given; the record does not hold their values")


def _check_cutoffs(options: Options, metadata: Mapping) -> None:
    """Refuse a cut-off, which is an SUVR, of a tracer that is asked for and whose PET the model gives without unit."""
    known = metadata["tracers"]
    for tracer in known if options.tracers == (ALL,) else options.tracers:
        if tracer in options.cutoffs and known.get(tracer, {}).get("output") == "relative":
            raise InputError(
                f"a cut-off of {tracer} was given in SUVR, and the PET of model {metadata['name']} are relative",
                f"leave --cutoff {tracer} out, or choose a model with SUVR output",
            )


def _sampler_and_steps(options: Options, metadata: Mapping, defaults: Defaults) -> tuple[str | None, int]:
    name = metadata["name"]
    if not defaults.samplers:
        if options.sampler is not None or options.steps is not None or options.quality is not None:
            raise InputError(
                f"model {name} draws at once and takes neither sampler, steps nor quality",
                "leave --sampler, --steps and --quality out",
            )
        return None, 1
    if options.quality is not None:
        return _of_quality(options.quality, metadata, defaults)
    sampler = options.sampler or defaults.sampler
    if sampler not in defaults.samplers:
        raise InputError(f"model {name} has no sampler {sampler}; use one of {', '.join(defaults.samplers)}")
    steps = options.steps or defaults.samplers[sampler]
    if steps > defaults.longest:
        raise InputError(
            f"steps {steps} is out of range; model {name} has {defaults.longest} timesteps, use 1 to {defaults.longest}"
        )
    return sampler, steps


def _of_quality(quality: str, metadata: Mapping, defaults: Defaults) -> tuple[str, int]:
    """Sampler and steps that a model was measured to need."""
    name, known = metadata["name"], metadata.get("quality")
    if known is None:
        raise InputError(
            f"how few steps model {name} needs was not measured, so it has no quality '{quality}'",
            "leave --quality out, or give --steps",
        )
    sampler, steps = known["sampler"], known[quality]
    if sampler not in defaults.samplers or steps > defaults.longest:
        raise ModelError(f"model {name} has no {steps} steps of {sampler}, which its quality names; get it again")
    return sampler, steps
