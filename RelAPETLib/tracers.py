"""The three tracers: every fact about one stands here and nowhere else.

Class labels are those of the published network (0 = PBR, 1 = PIB, 2 = TAU; class 3 unused).

The reference region is the cerebellar cortex for all three, by convention. For TAU, Baker et al. use its inferior part
alone, since the superior part shows non-specific binding. No region is free of TSPO (Guo et al., J Cereb Blood Flow
Metab 2014;34:1162-1168), so for PBR it is a pseudo-reference. Where not marked otherwise, journal, year and pages of
the citations were verified, and their subject by the abstract or title. Windows and display ranges are our choice.
"""

from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class Tracer:
    """A PET tracer.

    Attributes:
        name: short name on the command line and in metadata.
        label: integer class label of the network.
        radiopharmaceutical: full name.
        target: what its uptake stands for.
        bids: spellings of the BIDS ``trc-`` entity, the one we write first.
        suvr_window: SUVR range a SUVR model represents; values are clipped to it.
        display_window: SUVR range of the colour scale.
        reference_region: region of `Resources/regions` whose mean uptake is 1 by definition of SUVR.
        citations: sources of the uptake pattern and of what is special about the reference region.
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
            ),
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
        ),
    )
}


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
