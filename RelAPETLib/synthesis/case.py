"""A case: one person's MRI, read and brought onto the model grid once, for every tracer and model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DoubtfulInputError, InputError
from ..grid import image_to_tensor
from ..methods.base import SEQUENCES
from ..notices import collected, warn
from ..registration import AUTO, REVISION, USUAL
from .inputs import Inputs, read_inputs, reference_role, without_paths
from .options import check_registration

if TYPE_CHECKING:
    import SimpleITK as sitk
    import torch

    from ..preprocessing import Preprocessed

#: How a line begins that tells of a doubt which force accepted.
_FORCED = "accepted by force: "
GO_ON = "check the files, or use --force to go on all the same"
WITHOUT_T2F = "no T2-FLAIR was given: the PET is drawn from the T1w alone, and checks that need both were left out"


@dataclass(frozen=True)
class Case:
    """A T1w and a T2F, or a T1w alone, of one person (and measured PET), ready for any number of syntheses.

    Attributes:
        ready: the volumes on the model grid and how they got there.
        t1w_space: an image of the raw T1w's geometry, in which results are wanted; its voxels are not looked at.
        sha256: by role (``t1w``, ``t2f``, ``reference_TAU`` ...), of each input's content.
        preprocessed: the inputs lay on the model grid already.
        registration: what was asked for, one of `registration.METHODS`; `ready.method` is what it came to.
        revision: `registration.REVISION` of the code that registered it.
        warnings: of reading and registering, one line each, without paths. What the quality figures say is said anew at
            each synthesis.
        raw: ``t1w`` and ``t2f`` as they were read, for the report's pictures; empty for a case from a folder.
        names: how messages call the inputs, by role.
        paths: of the inputs that came as files, by role. Nothing of them is ever written.
        second_sha256: by role, of the other file of an input that lies in two (a header and its voxels).
        header: those of the warnings that reading the files gave.
        doubted: what reading would have refused of the MRI and was accepted by force, a line each.
        pet_doubted: the same of measured PET, by tracer.
        synthetic_pets: tracers whose measured PET is a synthetic one, which force accepted: no z-scores are made of it.
        simulated: the MRI's files say that they are a simulated person's. A scan whose file lacks that word counts as
            real, for which less is shown.
        beside: what the MRI's names and sidecars said of them, by role (`inputs.told_beside`): their hashes do not tell
            of it, so a case that is kept for later is that of its scans only while they still say the same.
    """

    ready: Preprocessed
    t1w_space: sitk.Image
    sha256: Mapping[str, str]
    preprocessed: bool
    warnings: tuple[str, ...] = ()
    raw: Mapping[str, sitk.Image] = field(default_factory=dict, repr=False)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    paths: Mapping[str, Path] = field(default_factory=dict, repr=False)
    second_sha256: Mapping[str, str] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()
    simulated: bool = False
    beside: Mapping[str, Mapping] = field(default_factory=dict)
    registration: str = AUTO
    revision: int = REVISION
    pet_doubted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    synthetic_pets: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Whose thresholds the quality figures are held against: ``raw`` or ``grid``."""
        return "grid" if self.preprocessed else "raw"

    def mri(self) -> torch.Tensor:
        """T1w and T2F as [1, 2, 160, 180, 160] in [-1, 1]; a T2F that was not given is background throughout."""
        import torch

        from ..networks.blocks import BACKGROUND

        t1w = image_to_tensor(self.ready.t1w)
        t2f = torch.full_like(t1w, BACKGROUND) if self.ready.t2f is None else image_to_tensor(self.ready.t2f)
        return torch.cat([t1w, t2f], dim=1)

    def unlike(self, population: Mapping) -> str:
        """How this came onto the model grid in another way than the people of a bundle's ``population``.

        Returns:
            ``raw`` or ``grid``, its own `kind` where theirs is the other; ``registration`` where both were registered,
            not alike; empty where there is no difference.
        """
        if self.kind != population["kind"]:
            return self.kind
        theirs, came_to = population.get("registration", AUTO), self.ready.method
        asked = AUTO if self.registration == USUAL else self.registration
        if self.kind == "grid" or theirs == came_to:
            return ""
        if came_to == "affine":  # nothing deformed it
            return "registration"
        alike = theirs == asked or (theirs == AUTO and came_to != asked)  # it gave way to what auto gives
        return "" if alike else "registration"

    @property
    def sequences(self) -> tuple[str, ...]:
        """Which of `SEQUENCES` were given."""
        return tuple(name for name in SEQUENCES if getattr(self.ready, name) is not None)

    def warnings_of(self, tracers: Iterable[str]) -> tuple[str, ...]:
        """Its warnings without what force accepted of the measured PET of other tracers."""
        kept = {*self.doubted, *(line for name in tracers for line in self.pet_doubted.get(name, ()))}
        others = {line for lines in self.pet_doubted.values() for line in lines} - kept
        return tuple(line for line in self.warnings if line.removeprefix(_FORCED) not in others)

    def without_pet(self, tracer: str) -> Case:
        """The same without the measured PET of a tracer, and without what is doubted of it."""
        parts = ("pets", "pet_views", "pet_quality")
        ready = replace(self.ready, **{part: _without(getattr(self.ready, part), tracer) for part in parts})
        synthetic = tuple(name for name in self.synthetic_pets if name != tracer)
        doubted = _without(self.pet_doubted, tracer)
        warnings = self.warnings_of(doubted)
        return replace(self, ready=ready, warnings=warnings, pet_doubted=doubted, synthetic_pets=synthetic)


def _without(facts: Mapping[str, object], tracer: str) -> dict:
    return {name: fact for name, fact in facts.items() if name != tracer}


def prepare_case(
    t1w: str | os.PathLike | sitk.Image,
    t2f: str | os.PathLike | sitk.Image | None = None,
    *,
    references: Mapping[str, str | os.PathLike | sitk.Image] | None = None,
    preprocessed: bool = False,
    registration: str = AUTO,
    device: str = "auto",
    force: bool = False,
    progress: Callable[[float, str], None] | None = None,
    on_doubtful_pet: Callable[[str, str], object] | None = None,
) -> Case:
    """Read and register one person's scans.

    Args:
        t1w, t2f: files (NIfTI, NRRD, MetaImage, MGH, a DICOM folder) or 3-D images; `t2f` is None for a case of
            models that can do without.
        references: measured PET by tracer.
        preprocessed: all volumes lie on the model grid already.
        registration: how the T1w is deformed, one of `registration.METHODS`.
        device: where the registration may run; see `preprocessing.preprocess`.
        force: accept scans that look wrong, with a warning.
        progress: called as progress(fraction, message).
        on_doubtful_pet: called with the tracer and the reason for each measured PET that lies over the brain as no PET
            of this person would, which is then left out. None refuses the case.

    Raises:
        InputError: a volume cannot be used; `DoubtfulInputError` when `force` would accept it.
        DeviceError: unknown or absent device.

    Example:
        >>> case = prepare_case("t1w.nii.gz", "flair.nii.gz")  # doctest: +SKIP
        >>> pets = [draw(case, tracer) for tracer in ("TAU", "PIB")]  # doctest: +SKIP
    """
    from ..devices import resolve_device
    from ..preprocessing import doubts

    check_registration(registration, preprocessed)
    how = {"preprocessed": preprocessed, "registration": registration}
    report, messages = progress or (lambda fraction, message: None), []
    device = resolve_device(device)
    with collected(messages):
        inputs = read(t1w, t2f, references or {}, lambda part, words: report(0.1 * part, words), force)
        of_header = list(messages)
        ready = register(inputs, device, lambda part, words: report(0.1 + 0.9 * part, words), **how)
    case = make_case(inputs, ready, messages, of_header, **how)
    if on_doubtful_pet is not None and not force:
        for tracer, figures in ready.pet_quality.items():
            if found := doubts(figures, case.kind):
                on_doubtful_pet(tracer, "; ".join(found))
                case = case.without_pet(tracer)
    settle_doubts(case, case.ready.pet_quality, force)
    return case


def read(t1w, t2f, references: Mapping[str, object], progress, force: bool) -> Inputs:
    """See `read_inputs`. Raises `InputError` without a T1w, too."""
    check_t1w(t1w)
    given = {"t1w": t1w, "t2f": t2f, **{reference_role(name): volume for name, volume in references.items()}}
    return read_inputs(given, progress, force)


def check_t1w(t1w: object) -> None:
    """Raise `InputError` where there is no T1w."""
    if t1w is None:
        raise InputError("no T1w was given, to which everything else is registered", "give --t1w too")


def register(inputs: Inputs, device: str, progress, *, preprocessed: bool, registration: str) -> Preprocessed:
    """Bring the inputs onto the model grid; what is odd about it becomes warnings."""
    from .. import preprocessing

    t1w, t2f = inputs.images["t1w"], inputs.images.get("t2f")
    pets = {role: image for role, image in inputs.images.items() if role not in SEQUENCES}
    if t2f is None:
        warn(WITHOUT_T2F)
    # A single PET is called "PET" in messages, several by their tracers.
    given = {"pet": next(iter(pets.values()))} if len(pets) == 1 else {"pets": _by_tracer(pets)}
    if preprocessed:
        progress(0.0, "checking the preprocessed volumes")
        ready = preprocessing.from_grid(t1w, t2f, **given)
    else:
        ready = preprocessing.preprocess(t1w, t2f, device=device, method=registration, progress=progress, **given)
    if len(pets) == 1:
        (tracer,) = _by_tracer(pets)
        ready.pets, ready.pet = {tracer: ready.pet}, None
        ready.pet_views, ready.pet_view = {tracer: ready.pet_view}, None
        ready.pet_quality = {tracer: ready.pet_quality["PET"]}
    for words in ready.warnings:
        warn(words)
    return ready


def _by_tracer(volumes: Mapping[str, object]) -> dict:
    return {role.removeprefix(reference_role("")): volume for role, volume in volumes.items()}


def settle_doubts(case: Case, tracers: Iterable[str], force: bool) -> None:
    """Refuse scans that are probably not a brain's T1w and T2-FLAIR, or a PET of another one; warn when forced.

    Args:
        tracers: whose measured PET matter.

    Raises:
        DoubtfulInputError: there are doubts, and `force` is False.
    """
    from ..preprocessing import cautions, doubts

    every = (case.ready.quality, *(case.ready.pet_quality.get(tracer, {}) for tracer in tracers))
    found = [line for figures in every for line in doubts(figures, case.kind)]
    if found and not force:
        raise DoubtfulInputError("; ".join(found), GO_ON)
    for words in found:
        warn(f"{_FORCED}{words}")
    for words in (line for figures in every for line in cautions(figures, case.kind)):
        warn(words)


def make_case(
    inputs: Inputs,
    ready: Preprocessed,
    messages: list[str],
    of_header: list[str] = (),
    *,
    preprocessed: bool,
    registration: str,
) -> Case:
    """The case of inputs that are registered; `of_header` are those of the messages that reading gave."""
    doubted = [*inputs.doubted, *(line for lines in inputs.pet_doubted.values() for line in lines)]
    accepted = {f"{_FORCED}{line}" for line in doubted}
    return Case(
        ready=ready,
        t1w_space=inputs.images["t1w"],
        sha256=inputs.sha256,
        second_sha256=inputs.second_sha256,
        preprocessed=preprocessed,
        registration=registration,
        warnings=tuple(without_paths(messages, inputs.paths)),
        raw={role: inputs.images[role] for role in SEQUENCES if role in inputs.images},
        names=inputs.names,
        paths=inputs.paths,
        header=tuple(without_paths([line for line in of_header if line not in accepted], inputs.paths)),
        doubted=tuple(without_paths(list(inputs.doubted), inputs.paths)),
        pet_doubted={
            tracer: tuple(without_paths(list(lines), inputs.paths)) for tracer, lines in inputs.pet_doubted.items()
        },
        simulated=inputs.simulated,
        beside=inputs.beside,
        synthetic_pets=inputs.synthetic_pets,
    )
