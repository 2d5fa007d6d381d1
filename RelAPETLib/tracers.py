"""The tracers: every fact about one stands here and nowhere else, and one more is one more entry.

Class labels are those of the published network (0 = PBR, 1 = PIB, 2 = TAU). It has a fourth class, 3, that is no
tracer's: it stays free for "no tracer". The next tracer has label 4. A tracer without a law of uptake of its own
(`phantom.law2.LAWS`) is simulated as one whose uptake falls with atrophy.

The reference region is the cerebellar cortex for TAU, PIB and PBR, by convention. For TAU, Baker et al. use its
inferior part alone, since the superior part shows non-specific binding. No region is free of TSPO (Guo et al., J Cereb
Blood Flow Metab 2014;34:1162-1168), so for PBR it is a pseudo-reference. Where not marked otherwise, journal, year and
pages of the citations were verified, and their subject by the abstract or title. Windows and display ranges are our
choice.
"""

import re
from dataclasses import dataclass

from .errors import InputError

#: Stands for every tracer of the chosen model, which is known once the model is.
ALL = "all"
#: Class labels of the published network.
PUBLISHED_LABELS = 4


#: Colours by name, as whoever draws them knows them: grey that darkens with uptake; dark blue to yellow, lighter all
#: the way; and two families of colours that turn into each other in the middle of the window.
INVERSE_GREY, COLOUR_BLIND_SAFE, TURNING = "inverse_grey", "cividis", "turning"


@dataclass(frozen=True)
class Look:
    """Colours and window of a PET on the screen.

    Attributes:
        colours: name: ``rainbow``, ``hot_metal``, ``inverse_grey``, ``cividis`` or ``turning``.
        window: SUVR of the first and the last colour.
    """

    colours: str
    window: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """A published linear scale of uptake: ``slope * SUVR + intercept`` of a region, SUVR by the scale's own masks.

    Attributes:
        name: as people write it: ``Centiloid``.
        unit: of its values.
        lines: slope and intercept by region; each region has a mask of its own.
        regions: what each region's mask is, in words, and that of ``reference``.
        minutes: scanning times after injection that the equations were made for.
        source: publication of the equations.
        caution: what a value of it is not, in one sentence.
    """

    name: str
    unit: str
    lines: dict[str, tuple[float, float]]
    regions: dict[str, str]
    minutes: tuple[int, int]
    source: str
    caution: str


#: Zero is the mean of 34 young controls, 100 that of 45 people with mild Alzheimer's disease (SUVR 1.009 and 2.076).
CENTILOID = Scale(
    name="Centiloid",
    unit="CL",
    lines={"cortex": (100 / (2.076 - 1.009), -100 * 1.009 / (2.076 - 1.009))},
    regions={
        "cortex": "the standard cortical target (voi_ctx)",
        "reference": "the whole cerebellum (voi_WhlCbl)",
    },
    minutes=(50, 70),
    source="Klunk et al., Alzheimers Dement 2015;11:1-15 (11C-PiB)",
    caution="the equation holds for the standard SPM8 processing of GAAIN; no level-2 calibration of ours was made",
)
#: A z score against amyloid-negative, cognitively unimpaired people. The article itself was not to be had: the numbers
#: were checked against two independent public programs that cite it, which agree in all five regions.
CENTAURZ = Scale(
    name="CenTauRz",
    unit="CTRz",
    lines={
        "universal": (13.63, -15.85),
        "mesial_temporal": (10.42, -12.11),
        "meta_temporal": (12.95, -15.37),
        "temporo_parietal": (13.75, -15.92),
        "frontal": (11.61, -13.01),
    },
    regions={
        "universal": "CenTauR",
        "mesial_temporal": "Mesial_CenTauR",
        "meta_temporal": "Meta_CenTauR",
        "temporo_parietal": "TP_CenTauR",
        "frontal": "Frontal_CenTauR",
        "reference": "inferior cerebellar grey (voi_CerebGry_tau)",
    },
    minutes=(80, 100),
    source="Villemagne et al., Alzheimers Dement (Amst) 2023;15:e12454 (18F-flortaucipir)",
    caution="made to tell positive from negative, not to compare amounts of tau between tracers",
)


@dataclass(frozen=True)
class Composite:
    """Regions of `Resources/regions` whose means are told as one value too.

    Attributes:
        name: words for people, which begin a line: ``cortical composite``.
        regions: names of the regions; the value is the plain mean of their means, whatever their size.
        source: whose idea it is to look there, and how ours differs.
    """

    name: str
    regions: tuple[str, ...]
    source: str


#: The cortex in which amyloid is looked for first; striatum, mesial temporal and occipital lobe are left out.
CORTICAL = Composite(
    name="cortical composite",
    regions=("frontal", "parietal", "lateral_temporal", "precuneus_posterior_cingulate"),
    source="frontal, parietal, lateral temporal and cingulate cortex, as Klunk et al., Alzheimers Dement 2015;11:1-15 "
    "look there; our regions are whole lobes, not their target",
)
TEMPORAL = Composite(
    name="temporal composite",
    regions=("mesial_temporal", "lateral_temporal"),
    source="after the temporal meta-region of Jack et al., Alzheimers Dement 2017;13:205-216 (not verified); ours is "
    "the whole temporal lobe with the hippocampus, beside which the choroid plexus shows off-target binding",
)


@dataclass(frozen=True)
class Tracer:
    """A PET tracer.

    Attributes:
        name: short name on the command line and in metadata.
        label: integer class label of the network.
        radiopharmaceutical: full name, which begins with the radionuclide: ``18F-``.
        target: what its uptake stands for.
        bids: spellings of the BIDS ``trc-`` entity, the one we write first.
        suvr_window: SUVR range a SUVR model represents; values are clipped to it.
        display_window: SUVR range of the colour scale.
        reference_region: region of `Resources/regions` whose mean uptake is 1 by definition of SUVR.
        citations: sources of the uptake pattern and of what is special about the reference region.
        dicom_code: value, scheme and meaning of its code in DICOM's CID 4021 (PET Radiopharmaceutical); None for one
            that has no code.
        paper_column: place in the paper's tables, from 0; None for a tracer that the paper does not have.
        scale: published scale that its SUVR can be told on; None where there is none.
        contrast_window: SUVR range of the report's pictures, narrow enough to tell regions apart and the same for all
            people; None: each picture's own percentiles.
        composite: regions that are told as one value too; None where no such value is in use.
        looks: colours that the tracer's readers are used to, the first of them shown at first; `every_look` has more.
    """

    name: str
    label: int
    radiopharmaceutical: str
    target: str
    bids: tuple[str, ...]
    suvr_window: tuple[float, float]
    display_window: tuple[float, float]
    reference_region: str
    citations: tuple[str, ...]
    dicom_code: tuple[str, str, str] | None = None
    paper_column: int | None = None
    scale: Scale | None = None
    contrast_window: tuple[float, float] | None = None
    composite: Composite | None = None
    looks: tuple[Look, ...] = ()

    @property
    def every_look(self) -> tuple[Look, ...]:
        """The tracer's own looks, then those that every tracer has: inverse grey, and one safe for the colour-blind."""
        window = self.contrast_window or self.display_window
        shared = (Look("rainbow", window), Look(INVERSE_GREY, window), Look(COLOUR_BLIND_SAFE, window))
        known = {look.colours for look in self.looks}
        return (*self.looks, *(look for look in shared if look.colours not in known))

    @property
    def radionuclide(self) -> str:
        """As BIDS spells it: ``F18``."""
        mass, element = re.match(r"(\d+)([A-Z][a-z]?)-", self.radiopharmaceutical).groups()
        return f"{element}{mass}"


TRACERS = {
    tracer.name: tracer
    for tracer in (
        Tracer(
            name="TAU",
            label=2,
            radiopharmaceutical="18F-AV1451 (flortaucipir)",
            target="tau",
            bids=("AV1451", "FTP", "flortaucipir", "T807", "18FAV1451"),
            suvr_window=(0.0, 3.0),
            display_window=(0.0, 3.0),
            reference_region="cerebellar_grey",
            citations=(
                "Johnson et al., Ann Neurol 2016;79:110-119 (cortex, most of all inferior temporal)",
                "Baker et al., Data Brief 2017;15:648-657 (off-target binding, inferior cerebellar grey as reference)",
                "Lowe et al., Acta Neuropathol Commun 2016;4:58 (off-target binding)",
                "Fleisher et al., JAMA Neurol 2020;77:829-839 (reading by colours that turn at 1.65; not verified)",
            ),
            dicom_code=("879808000", "SCT", "Flortaucipir F^18^"),
            paper_column=0,
            scale=CENTAURZ,
            contrast_window=(0.6, 1.8),
            composite=TEMPORAL,
            looks=(Look("rainbow", (0.6, 1.8)), Look(TURNING, (0.0, 3.3))),
        ),
        Tracer(
            name="PIB",
            label=1,
            radiopharmaceutical="11C-PiB (Pittsburgh compound B)",
            target="amyloid",
            bids=("PIB", "PiB", "11CPIB"),
            suvr_window=(0.0, 3.0),
            display_window=(0.0, 3.0),
            reference_region="cerebellar_grey",
            citations=(
                "Klunk et al., Ann Neurol 2004;55:306-319",
                "Price et al., J Cereb Blood Flow Metab 2005;25:1528-1547 (cerebellum as reference)",
            ),
            dicom_code=("126500", "DCM", "Pittsburgh compound B C^11^"),
            paper_column=2,
            scale=CENTILOID,
            contrast_window=(0.6, 2.4),
            composite=CORTICAL,
            looks=(Look("rainbow", (0.6, 2.4)), Look("hot_metal", (0.6, 2.4))),
        ),
        Tracer(
            name="PBR",
            label=0,
            radiopharmaceutical="18F-PBR111",
            target="TSPO (neuroinflammation)",
            bids=("PBR111", "PBR", "18FPBR111"),
            suvr_window=(0.0, 3.0),
            display_window=(0.0, 2.5),
            reference_region="cerebellar_grey",
            citations=(
                "Colasanti et al., J Nucl Med 2014;55:1112-1118 (not verified)",
                "Guo et al., NeuroImage 2012;60:902-910 (TSPO genotype; a prediction by a model)",
            ),
            paper_column=1,
            contrast_window=(0.4, 1.2),
            looks=(Look("hot_metal", (0.4, 1.2)), Look("rainbow", (0.4, 1.2))),
        ),
    )
}


def label_count(least: int = PUBLISHED_LABELS) -> int:
    """Number of class labels that a new network of all tracers needs, at least `least`."""
    return max(least, *(tracer.label + 1 for tracer in TRACERS.values()))


def paper_order() -> list[str]:
    """Names of the tracers in the order of the paper's tables, then those that the paper does not have."""
    later = len(TRACERS)
    return sorted(TRACERS, key=lambda name: later if (c := TRACERS[name].paper_column) is None else c)


def get_tracer(name: str) -> Tracer:
    """Tracer by its short name or a BIDS ``trc-`` spelling, case ignored.

    Raises:
        InputError: no such tracer.
    """
    wanted = str(name).strip().lower()
    for tracer in TRACERS.values():
        if wanted in {tracer.name.lower(), *(spelling.lower() for spelling in tracer.bids)}:
            return tracer
    raise InputError(f"unknown tracer '{name}'; use one of {', '.join(TRACERS)}")


def told_tracers(*words: object) -> tuple[str, ...]:
    """Short names of the known tracers that words of a sidecar or a file's name mean, in their order, each once.

    Args:
        words: each a short name, a BIDS ``trc-`` spelling or a radiopharmaceutical: ``PiB``, ``[11C]PIB``, ``AV-1451``,
            ``11C-PiB (Pittsburgh compound B)``. Case, punctuation and radionuclide are ignored; other words mean none.
    """
    wanted = {_plain(word) for word in words if isinstance(word, str)} - {""}
    return tuple(name for name, tracer in TRACERS.items() if wanted & _spellings(tracer))


def _spellings(tracer: Tracer) -> set[str]:
    whole = tracer.radiopharmaceutical
    return {_plain(word) for word in (tracer.name, *tracer.bids, whole, *re.split(r"[()]", whole))} - {""}


def _plain(word: str) -> str:
    """Letters and digits in lower case, without the radionuclide in front: ``[18F]AV-1451`` is ``av1451``."""
    letters = re.sub(r"[^a-z0-9]", "", word.lower())
    return re.sub(r"^(?:18f|f18|11c|c11)", "", letters)
