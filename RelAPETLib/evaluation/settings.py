"""What a user may choose of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InputError
from ..regions.atlas import SHIPPED
from ..tracers import TRACERS
from ..volumes.frames import Frames

#: Stands for each tracer's own reference region.
OF_TRACER = "tracer"
#: Resolution beyond which nothing of a brain is left, mm.
WIDEST_FWHM = 40.0


@dataclass(frozen=True)
class Settings:
    """Options of `run.evaluate`.

    Attributes:
        atlases: names of regions to measure in (`regions.stored.load`), or ``dseg`` for people's own.
        reference_region: the region, or several joined by ``+``, by its mean in which each PET is divided to be SUVR;
            ``tracer`` for each tracer's own; None: the PET are SUVR.
        other_references: reference regions to which all regional figures are taken once more.
        data_range: SUVR from and to that images are scaled by; None: the tracer's window.
        fwhm: resolution that both PET are brought to, mm; None: they stay as they are.
        fwhm_synthetic, fwhm_measured: resolution that they have, mm.
        frames: which frames of a dynamic PET are averaged, by tracer.
        measured_only: measure the measured PET alone.
        against: model that the others are tested against; None: the last one.
        resamples: of people, for intervals.
        seed: of these.
        register: lay each measured PET over the T1w by a rigid registration first.
        force: accept doubtful PET with a warning.

    Raises:
        InputError: a value that cannot be.
    """

    atlases: tuple[str, ...] = (SHIPPED,)
    reference_region: str | None = None
    other_references: tuple[str, ...] = ()
    data_range: tuple[float, float] | None = None
    fwhm: float | None = None
    fwhm_synthetic: float | None = None
    fwhm_measured: float | None = None
    frames: dict[str, Frames] = field(default_factory=dict)
    measured_only: bool = False
    against: str | None = None
    resamples: int = 1000
    seed: int = 0
    register: bool = False
    force: bool = False

    def __post_init__(self):
        if self.data_range is not None and not self.data_range[0] < self.data_range[1]:
            raise InputError("--data-range {:g},{:g}: the first has to be the smaller one".format(*self.data_range))
        if not 100 <= self.resamples <= 100_000:
            raise InputError(f"--resamples {self.resamples}: use 100 to 100000")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed {self.seed}: use 0 to {2**32 - 1}")
        if self.register and self.measured_only:
            raise InputError("--register lays measured PET over the synthetic ones' T1w; not with --measured-only")
        self._check_fwhm()

    def _check_fwhm(self) -> None:
        own = {"measured": self.fwhm_measured}
        if not self.measured_only:
            own["synthetic"] = self.fwhm_synthetic
        if self.fwhm is None:
            if any(value is not None for value in own.values()):
                raise InputError("--fwhm-synthetic and --fwhm-measured say what PET have; name the aim by --fwhm")
            return
        for name, value in own.items():
            if value is None:
                raise InputError(f"--fwhm needs the resolution that the {name} PET has: give --fwhm-{name}")
            if not 0 <= value <= self.fwhm <= WIDEST_FWHM:
                raise InputError(
                    f"--fwhm {self.fwhm:g} with --fwhm-{name} {value:g}: a PET can only be made blurrier, and no more "
                    f"than {WIDEST_FWHM:g} mm"
                )

    def window(self, tracer: str) -> tuple[float, float]:
        """SUVR range that a tracer's images are scaled by. Raises `InputError` where none is known."""
        if self.data_range is not None:
            return self.data_range
        if tracer not in TRACERS:
            raise InputError(f"no SUVR range is known for tracer '{tracer}'; give --data-range LOW,HIGH")
        return TRACERS[tracer].suvr_window

    def reference(self, tracer: str) -> str | None:
        """Reference region of a tracer's PET; None where they are SUVR. Raises `InputError` where none is known."""
        if self.reference_region != OF_TRACER:
            return self.reference_region
        if tracer not in TRACERS:
            raise InputError(f"no reference region is known for tracer '{tracer}'; name it by --reference-region")
        return TRACERS[tracer].reference_region
