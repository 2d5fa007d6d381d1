"""An evaluation from pairs to figures: measure each pair, then people together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..notices import warn
from ..regions.atlas import NATIVE, SHIPPED, Atlas, cropped, with_sides
from ..regions.stored import load
from .baselines import MEAN, Training, is_baseline
from .brains import Brains, whose
from .figures import Row, image_figures
from .in_mni import tell_parts
from .pairs import Pair, recordable
from .reading import Loaded, load_pair, shown
from .regional import Means, asymmetries, has_region, in_view_of_mri, measure, reference_means, to_suvr
from .ridge import check_apart
from .settings import Settings
from .told import COLUMNS as TOLD
from .told import Told, read_told

if TYPE_CHECKING:
    from .parts import Parts

Progress = Callable[[float, str], None]
UNPLACED = (
    "regions are left out of PET that lie in T1w space without a known transform to MNI: name it (--cases DIR, a "
    "column to_mni), or label images of their own (--atlas dseg, a column dseg), or give PET in MNI space"
)


@dataclass(frozen=True)
class RegionValue:
    """One value of a pair in a region.

    Attributes:
        pair: whose.
        atlas, region: where.
        what: ``suvr``, or ``asymmetry`` for the asymmetry index of two sides, in %.
        reference: region that both PET were divided by for this value, each by its own mean; empty for the main one.
        synthetic, measured: the values; NaN where there is none.
        volume_ml, in_field: of the region; NaN for two sides.
        told: what the result's own table says of it, by ``spread``, ``low`` and ``high`` (SUVR).
    """

    pair: Pair
    atlas: str
    region: str
    what: str
    reference: str
    synthetic: float
    measured: float
    volume_ml: float = float("nan")
    in_field: float = float("nan")
    told: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict:
        """As a row of ``regions.tsv``."""
        return {
            **self.pair.key,
            "region": self.region,
            "atlas": self.atlas,
            "synthetic": self.synthetic,
            "measured": self.measured,
            **{name: self.told.get(name) for name in TOLD},
            "volume_ml": self.volume_ml,
            "in_field": self.in_field,
            "units": "SUVR",  # relative PET are divided by their reference region's mean, too (`regional.to_suvr`)
        }


@dataclass
class Measured:
    """Everything that was measured.

    Attributes:
        pairs: those that could be measured, baselines among them.
        images: figures of images.
        regions: values in regions.
        failures: pairs that could not, each with the reason.
        facts: of each pair: how its unit is known, what says where the brain is, its space.
        atlases: facts of the label images, by name.
    """

    pairs: list[Pair] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    regions: list[RegionValue] = field(default_factory=list)
    failures: list[tuple[Pair, str]] = field(default_factory=list)
    facts: list[dict] = field(default_factory=list)
    atlases: dict[str, dict] = field(default_factory=dict)

    @property
    def own_facts(self) -> list[dict]:
        """Facts of the pairs that are no baseline's."""
        return [fact for fact in self.facts if not is_baseline(fact["model"])]

    @property
    def models(self) -> list[str]:
        """Names of the models, in order of appearance."""
        return list(dict.fromkeys(pair.model for pair in self.pairs))

    def add(self, other: Measured) -> None:
        """Take in what was measured of other pairs, on the same label images."""
        for name in ("pairs", "images", "regions", "failures", "facts"):
            getattr(self, name).extend(getattr(other, name))


def measure_all(
    pairs: Sequence[Pair],
    settings: Settings,
    train: Sequence[Pair] = (),
    progress: Progress | None = None,
    parts: Parts | None = None,
) -> Measured:
    """Measure all pairs, and baselines of training people. A pair that cannot be measured becomes a failure.

    Args:
        pairs: to evaluate.
        train: measured PET of other people, for baselines.
        parts: what else is asked for; is given each pair of volumes, and the samples that results tell of.

    Raises:
        InputError: no pairs, two of them with one name, people in both, an atlas that is not there, or none of the
            pairs can be measured.
    """
    _check_pairs(pairs)
    check_apart([pair.participant for pair in train], [pair.participant for pair in pairs], "--train")
    common = {name: with_sides(cropped(load(name))) for name in settings.atlases if name != NATIVE}
    found = Measured(atlases={name: dict(atlas.facts) for name, atlas in common.items()})
    total = len(pairs) + len(train)
    tell = progress or (lambda fraction, message: None)
    trained, brains = Training(), Brains(pairs)
    for number, pair in enumerate(_together(train, lambda pair: pair.participant)):
        tell(number / total, f"training people: measuring {pair.name}")
        try:
            loaded, _, scaled, _ = _measure(pair, replace(settings, measured_only=True, register=False), common)
        except InputError as error:
            raise InputError(f"training people: {error}") from error
        regions = {(m.atlas, name): float(v) for m in scaled for name, v in zip(m.names, m.measured, strict=True)}
        trained.add(pair, regions, loaded.on_grid, shown(loaded.on_grid))
    each: dict[tuple, tuple[Measured, Parts | None]] = {}
    for number, pair in enumerate(_together(pairs, whose)):
        tell((len(train) + number) / total, f"measuring {pair.name}")
        own, beside = each[tuple(pair.key.values())] = Measured(), None if parts is None else parts.for_one_pair()
        try:
            _take(pair, settings, common, brains, own, beside)
        except InputError as error:
            warn(f"left out {pair.name}: {error}")
            own.failures.append((pair, recordable(error, pair.files)))
    for pair in pairs:
        own, beside = each.pop(tuple(pair.key.values()))
        found.add(own)
        if parts is not None:
            parts.add(beside)
    if all(is_baseline(pair.model) for pair in found.pairs):
        raise InputError(f"none of {len(pairs)} PET could be measured; the first: {found.failures[0][1]}")
    guessed = sum(fact["unit_guessed"] for fact in found.own_facts)
    if guessed:
        warn(
            f"{guessed} of {len(found.own_facts)} measured PET have no sidecar that says their unit; taken to be SUVR, "
            "since their values are those of SUVR"
        )
    if train:
        _add_baselines(found, trained, settings, common, brains, parts)
    return found


def _together(pairs: Sequence[Pair], what: Callable[[Pair], Hashable]) -> list[Pair]:
    """Pairs with those of which `what` is the same one after the other, in order of appearance."""
    order = {key: number for number, key in enumerate(dict.fromkeys(map(what, pairs)))}
    return sorted(pairs, key=lambda pair: order[what(pair)])


def _check_pairs(pairs: Sequence[Pair]) -> None:
    if not pairs:
        raise InputError("nothing to evaluate: no pair of PET was found")
    counts = Counter(tuple(pair.key.values()) for pair in pairs)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice:
        raise InputError(
            f"two rows are of one participant, session, tracer and model ({', '.join(twice)}); tell them apart, "
            "e.g. by a column session or model"
        )


def _measure(
    pair: Pair, settings: Settings, common: dict[str, Atlas], brains: Brains | None = None, parts: Parts | None = None
) -> tuple[Loaded, list[Means], list[Means], Told]:
    """Images of a pair in SUVR (`Loaded.measured` stays), regional means, both in SUVR, and what the result tells."""
    loaded = load_pair(pair, settings, brains)
    told = Told() if loaded.synthetic is None else read_told(pair.synthetic)
    needed = loaded.synthetic is None or settings.reference(pair.tracer) is not None
    needed |= parts is not None and any(cutoff.tracer == pair.tracer for cutoff in parts.cutoffs)
    means = measure(pair, loaded, settings.atlases, common, needed=needed)
    means = [in_view_of_mri(own, told.in_view) if own.atlas == SHIPPED else own for own in means]
    synthetic, measured, known = to_suvr(pair, loaded, means, settings)
    loaded = replace(
        loaded,
        synthetic=None if loaded.synthetic is None else loaded.synthetic / synthetic,
        on_grid=loaded.on_grid / measured,
        units_from=known.known_from,
        unit_guessed=known.plausibility_only,
        divided=synthetic,
    )
    return loaded, means, [m.over(synthetic, measured) for m in means], told.over(loaded.divided)


def _take(
    pair: Pair,
    settings: Settings,
    common: dict[str, Atlas],
    brains: Brains,
    found: Measured,
    parts: Parts | None = None,
) -> None:
    """Measure one pair; nothing is kept of one that fails half way."""
    loaded, means, scaled, told = _measure(pair, settings, common, brains, parts)
    images = [] if loaded.synthetic is None else _image_rows(pair, loaded, settings, told.seconds)
    values = []
    if loaded.relative or settings.fwhm is not None:
        told = Told()  # it is of another unit or resolution
    for own in scaled:
        rows = zip(own.names, own.synthetic, own.measured, own.volume_ml, own.in_field, strict=True)
        ends = told.ends if own.atlas == SHIPPED else {}
        values += [
            RegionValue(pair, own.atlas, name, "suvr", "", *map(float, numbers), ends.get(name, {}))
            for name, *numbers in rows
        ]
        values += [
            RegionValue(pair, own.atlas, name, "asymmetry", "", *both) for name, both in asymmetries(own).items()
        ]
    if len(means) < len(settings.atlases):
        (warn if parts is None else parts.note)(UNPLACED)
    for region in settings.other_references:
        if len(means) < len(settings.atlases) and not has_region(means, region):
            continue  # it went with the regions that were left out
        by = reference_means(means, region, pair.name)
        for own in (m.over(*by) for m in means):
            rows = zip(own.names, own.synthetic, own.measured, strict=True)
            values += [RegionValue(pair, own.atlas, name, "suvr", region, *map(float, both)) for name, *both in rows]
    if parts is not None and loaded.synthetic is not None:
        tell_parts(parts, pair, loaded)
        parts.take_draws(pair.key, SHIPPED, told, 1.0 if loaded.relative else loaded.divided)
    found.pairs.append(pair)
    found.images += images
    found.regions += values
    found.facts.append({
        **pair.key, "units_from": loaded.units_from, "brain_from": loaded.brain_from, "space": loaded.space,
        "unit_guessed": loaded.unit_guessed, "relative": loaded.relative,
        "registered": settings.register or loaded.registered,
    })  # fmt: skip


def _image_rows(pair: Pair, loaded: Loaded, settings: Settings, seconds: float) -> list[Row]:
    import SimpleITK as sitk

    window = None if loaded.relative else settings.window(pair.tracer)
    return _rows(pair, loaded, sitk.GetArrayFromImage(loaded.synthetic), window, seconds)


def _rows(
    pair: Pair, loaded: Loaded, made: np.ndarray, window: tuple[float, float] | None, seconds: float = np.nan
) -> list[Row]:
    import SimpleITK as sitk

    inside = sitk.GetArrayViewFromImage(loaded.brain) > 0
    inside &= sitk.GetArrayViewFromImage(loaded.in_field) > 0
    figures = image_figures(made, sitk.GetArrayFromImage(loaded.on_grid), inside, window)
    case = f"{pair.participant}_{pair.session}" if pair.session else pair.participant
    return [
        Row(pair.model, pair.participant, case, pair.tracer, region, seconds=seconds, session=pair.session, **numbers)
        for region, numbers in figures.items()
    ]


def _add_baselines(
    found: Measured,
    trained: Training,
    settings: Settings,
    common: dict[str, Atlas],
    brains: Brains,
    parts: Parts | None,
) -> None:
    """Evaluate the guesses for everybody who was measured, against their measured PET in its own SUVR."""
    import SimpleITK as sitk

    from .baselines import same_grid

    done = set()
    for pair in list(found.pairs):
        key = (pair.participant, pair.session, pair.tracer)
        if key in done:
            continue
        done.add(key)
        loaded = load_pair(pair, settings, brains)  # as for the models, so that the brain is the same as theirs
        region = settings.reference(pair.tracer)
        means = measure(pair, loaded, settings.atlases, common, needed=region is not None)
        own = 1.0 if region is None else reference_means(means, region, pair.name)[1]
        loaded, mean = replace(loaded, on_grid=loaded.on_grid / own), trained.mean_image(pair.tracer)
        for name, guesses in trained.predictions(pair).items():
            guess = replace(pair, model=name, synthetic=None)
            found.pairs.append(guess)
            for atlas in (m.over(1.0, own) for m in means):
                for region, *numbers in zip(atlas.names, atlas.measured, atlas.volume_ml, atlas.in_field, strict=True):
                    value = guesses.get((atlas.atlas, region), np.nan)
                    found.regions.append(
                        RegionValue(guess, atlas.atlas, region, "suvr", "", value, *map(float, numbers))
                    )
            if name == MEAN and mean is not None and same_grid(mean, loaded.on_grid):
                window = settings.window(pair.tracer)
                found.images += _rows(guess, loaded, sitk.GetArrayFromImage(mean), window)
                if parts is not None:
                    tell_parts(parts, guess, replace(loaded, synthetic=mean, relative=False))
