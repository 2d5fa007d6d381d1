"""Every choice the user makes, in a parameter node that is saved with the scene."""

import enum
import logging
from typing import Annotated, get_args, get_origin, get_type_hints

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.util import NodeModify

from .library import library

TRACERS, ALL = library("tracers").TRACERS, library("tracers").ALL


class _Labelled(enum.Enum):
    def label(self):
        if self.value == ALL:
            return _("all tracers of the model")
        facts = TRACERS[self.value]
        return f"{facts.name}: {facts.target}, {facts.radiopharmaceutical}"


#: Members carry the library's names; scenes keep the member's name.
Tracer = _Labelled("Tracer", {**{name: name for name in TRACERS}, ALL.upper(): ALL}, module=__name__)


class Sex(enum.Enum):
    UNKNOWN = None
    F = "F"
    M = "M"

    def label(self):
        return {Sex.UNKNOWN: _("not known"), Sex.F: _("female"), Sex.M: _("male")}[self]


def samplerOf(text):
    """A sampler as the library spells it, or "" for the model's own; scenes of earlier versions say MODEL or DDPM."""
    name = text.strip().lower()
    return "" if name == "model" else name


#: SUVR that a cut-off can be, and its decimals; 0 is none.
LEAST_CUTOFF, MOST_CUTOFF, CUTOFF_DECIMALS = 0.001, 100.0, 3


def cutoffsOf(text):
    """Cut-offs by tracer of a text such as "PIB=1.5,TAU=1.3".

    A scene may be changed by anyone: what cannot be a cut-off here is left out, as the panel's fields show.
    """
    found = {}
    for part in text.split(","):
        name, __, value = part.partition("=")
        tracer = TRACERS.get(name.strip())
        try:
            number = round(float(value), CUTOFF_DECIMALS)
        except (ValueError, OverflowError):
            continue
        if tracer is not None and tracer.composite is not None and LEAST_CUTOFF <= number <= MOST_CUTOFF:
            found[tracer.name] = number
    return found


def cutoffsText(cutoffs):
    """What `cutoffsOf` reads."""
    return ",".join(f"{name}={number:g}" for name, number in cutoffs.items())


#: The registration that `fineRegistration` asks for, as the command line and the records call it.
FINE = "fine"


def registrationOf(node):
    """The registration that a parameter node asks for; None for the library's own."""
    return FINE if node.fineRegistration else None


class Space(enum.Enum):
    T1W = "t1w"
    MNI = "mni"
    BOTH = "both"

    def label(self):
        return {
            Space.T1W: _("the T1w's own space"),
            Space.MNI: _("MNI template space"),
            Space.BOTH: _("both"),
        }[self]


class Shown(enum.Enum):
    """What lies over the MRI in the slice views."""

    NOTHING = "mri"
    PET = "pet"
    MEASURED = "measured"
    DIFFERENCE = "difference"
    UNCERTAINTY = "uncertainty"
    DEPARTURE = "departure"
    ZSCORE = "zscore"


class Background(enum.Enum):
    """What maps lie over when they are side by side."""

    T1W = "t1w"
    T2F = "t2f"

    def label(self):
        return {Background.T1W: _("T1w"), Background.T2F: _("T2-FLAIR, where its own header puts it")}[self]


class Plane(enum.Enum):
    AXIAL = "Axial"
    CORONAL = "Coronal"
    SAGITTAL = "Sagittal"

    def label(self):
        return {Plane.AXIAL: _("axial"), Plane.CORONAL: _("coronal"), Plane.SAGITTAL: _("sagittal")}[self]


class DicomTarget(enum.Enum):
    """Where DICOM files of a result go."""

    FOLDER = "folder"
    DATABASE = "database"

    def label(self):
        return {DicomTarget.FOLDER: _("a folder"), DicomTarget.DATABASE: _("Slicer's DICOM database")}[self]


@parameterNodeWrapper
class _Parameters:
    """
    t1w, t2f: the MRIs of one person; some models do without the T2-FLAIR.
    age, sex, score: of that person, for models that were told them; empty is not known.
    clinicalOf: the T1w of the person whose age, sex and score these are.
    tracer: the PET tracer to imitate, or all that the model has.
    model: name of a model of the catalogue or of the user's folder, or a bundle's folder.
    reference: a measured PET of the same person to compare with.
    norms, referenceFwhm: file of norms of measured PET, for z-scores of the reference, and the reference's own
        resolution in mm; empty and 0 mean none.
    scaleReference: make the reference SUVR by its mean in the tracer's reference region.
    output: the synthetic PET that is shown, and that the next run of its tracer replaces; made anew when empty.
    device, sampler, steps, quality, samples, seed, space: as the command line has them; an empty sampler or quality, 0
        steps or 0 samples mean the model's own. A quality stands in place of sampler and steps.
    fineRegistration: register the T1w to the template down to 1 mm.
    cutoffs: SUVR by tracer from which on its composite counts as positive, as `cutoffsOf` reads them; a tracer that is
        not in it has the model's own, or none.
    segmentation: segments whose mean SUVR is wanted; the shipped regions when empty.
    opacity: of the map over the MRI.
    shown: which map that is.
    background, plane: of the views side by side.
    dicomTarget, dicomReport: where DICOM files go, and whether the report goes with them.
    """

    t1w: vtkMRMLScalarVolumeNode
    t2f: vtkMRMLScalarVolumeNode
    age: str = ""
    sex: Sex = Sex.UNKNOWN
    score: str = ""
    clinicalOf: vtkMRMLScalarVolumeNode
    tracer: Tracer = next(iter(Tracer))
    model: str = "demo"
    reference: vtkMRMLScalarVolumeNode
    scaleReference: bool = False
    norms: str = ""
    referenceFwhm: Annotated[float, WithinRange(0, 30)] = 0.0
    output: vtkMRMLScalarVolumeNode
    device: str = "auto"
    sampler: str = ""
    steps: Annotated[int, WithinRange(0, 1000)] = 0
    quality: str = ""
    cutoffs: str = ""
    samples: Annotated[int, WithinRange(0, 64)] = 0
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    space: Space = Space.T1W
    fineRegistration: bool = False
    segmentation: vtkMRMLSegmentationNode
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    shown: Shown = Shown.PET
    background: Background = Background.T1W
    plane: Plane = Plane.AXIAL
    dicomTarget: DicomTarget = DicomTarget.FOLDER
    dicomReport: bool = False


def _forgetUnreadable(node):
    """Take out of a parameter node what this version cannot read, as a scene of a later one may have it.

    The wrapper of it would raise; what is taken out has its default again.
    """
    with NodeModify(node):
        for name, hint in get_type_hints(_Parameters, include_extras=True).items():
            kind, *limits = get_args(hint) if get_origin(hint) is Annotated else [hint]
            text = node.GetParameter(name)
            if not text or not issubclass(kind, enum.Enum | int | float):
                continue
            try:
                value = kind[text] if issubclass(kind, enum.Enum) else kind(text)
                for limit in limits:
                    limit.validate(value)
            except (KeyError, ValueError):
                logging.warning(f"RelAPET: this version does not know '{text[:40]}' as {name}, which is left out")
                node.UnsetParameter(name)


class RelAPETParameterNode(_Parameters):
    """The parameters of a node of whatever version, whose panel leaves nothing behind in the node.

    isNew: whether the node held none before.

    Slicer 5.10's `disconnectGui` leaves its observer there. Python's garbage collection empties that once nobody holds
    the wrapper, and VTK, which calls it all the same, crashes at the next change.
    """

    def __init__(self, parameterNode, prefix=None):
        _forgetUnreadable(parameterNode)
        self.__dict__["isNew"] = not parameterNode.GetParameter("model")
        super().__init__(parameterNode, prefix)

    def connectGui(self, gui):
        self.__dict__["_observers"] = []
        return super().connectGui(gui)

    def AddObserver(self, event, callback, priority=0.0):
        """Slicer's `connectGui` calls this."""
        self._observers.append(super().AddObserver(event, callback, priority))
        return self._observers[-1]

    def disconnectGui(self, guiTag):
        super().disconnectGui(guiTag)
        while self._observers:
            self.RemoveObserver(self._observers.pop())  # one that is gone already is none of VTK's business
