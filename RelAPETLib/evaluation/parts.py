"""What a user may ask of an evaluation beside images and regions, gathered for the command.

`read_parts` reads every table before the work begins, `Parts.pair` is called with each pair of volumes, and
`Parts.writers` gives the files in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..notices import warn
from . import positivity, regional_figure, scales, uncertainty
from .downstream import WARNING
from .downstream import people as downstream_people
from .downstream import results as downstream_results
from .downstream.training import Budget, Outcome, run
from .mri_baselines import fit_baselines, write_guesses
from .part_tables import positivity_table, scales_table, uncertainty_table
from .resampling import needs_statistics
from .told import Told
from .tsv import KEYS, MISSING, as_tsv, read_tsv
from .volume_table import COLUMNS, VolumeRow, read_volume_table

#: What is predicted where nothing is named, as far as the table has such columns; case of letters does not count.
TARGETS = ("age", "mmse", "moca")
#: Files that each part writes, and those of figures, which have the tracer (and model) in their names.
SCALES, SSIM, POSITIVITY = "scales.tsv", "regional_ssim.tsv", "positivity.tsv"
UNCERTAINTY, SUMMARY = "uncertainty.tsv", "uncertainty_summary.tsv"
DOWNSTREAM, PEOPLE = "downstream.tsv", "downstream_people.tsv"

PART_NAMES = (SCALES, SSIM, POSITIVITY, UNCERTAINTY, SUMMARY, DOWNSTREAM, PEOPLE)
FIGURE = re.compile(r"(regions|downstream)_[A-Za-z0-9._-]+\.png")

Writer = Callable[[Path], None]


@dataclass
class Parts:
    """What was asked for, and what pairs of volumes have brought so far.

    Attributes:
        cutoffs, masks, draws, couples: of `positivity`, `scales` and `uncertainty`.
        asked: places of those draws that the user's table has.
        regional_ssim: whether to measure SSIM in the masks too, which takes seconds a pair.
        uncertain: whether uncertainty is asked for.
        nominal: share that the intervals are meant to cover; None where it was not said.
        trained, mri: rows that the baselines are fitted on, and the MRI of those who are tested.
        predicted: rows of the downstream experiment, and its budget.
        notes: lines to print beside the results, each once.
        tables: Markdown of the results, once `writers` was called.
    """

    cutoffs: list[positivity.Cutoff] = field(default_factory=list)
    masks: scales.Masks = field(default_factory=dict)
    draws: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    couples: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    asked: frozenset[tuple[str, ...]] = frozenset()
    regional_ssim: bool = False
    uncertain: bool = False
    nominal: float | None = None
    trained: list[VolumeRow] = field(default_factory=list)
    mri: list[VolumeRow] = field(default_factory=list)
    predicted: list[VolumeRow] = field(default_factory=list)
    budget: Budget = Budget()
    notes: list[str] = field(default_factory=list)
    tables: str = ""
    _scales: list[dict] = field(default_factory=list)
    _ssim: list[dict] = field(default_factory=list)

    def guesses(self, pairs: Sequence[Mapping[str, str]], folder: Path) -> list[dict]:
        """Synthetic PET of the baselines, as `mri_baselines.write_guesses` writes them; none without their tables.

        Args:
            pairs: ``participant_id``, ``session`` and ``tracer`` of everybody who is tested.
            folder: for the files, which are needed as long as the pairs are measured.

        Raises:
            InputError: above all, somebody is both trained on and tested.
        """
        if not self.trained:
            return []
        tested = [pair["participant_id"] for pair in pairs]
        return write_guesses(fit_baselines(self.trained, tested, folder), pairs, self.mri, folder)

    def for_one_pair(self) -> Parts:
        """The same with no rows of pairs and no notes so far, to be given to `add` afterwards; draws are shared."""
        return replace(self, notes=[], _scales=[], _ssim=[])

    def add(self, other: Parts) -> None:
        """Take in what `for_one_pair` gave and has gathered since."""
        self._scales += other._scales
        self._ssim += other._ssim
        for line in other.notes:
            self.note(line)

    def pair(
        self,
        keys: Mapping[str, str],
        synthetic: np.ndarray,
        measured: np.ndarray,
        inside: np.ndarray,
        *,
        relative: bool = False,
        masks: scales.Masks | None = None,
        model_grid: bool = True,
    ) -> None:
        """Take in one pair of volumes.

        Args:
            keys: ``participant_id``, ``session``, ``tracer`` and ``model``.
            synthetic, measured: [X, Y, Z] on one grid, SUVR unless `relative`.
            inside: bool, the same shape: the brain in the field of view.
            relative: the synthetic PET has no SUVR; it has no scale then.
            masks: of the scale on that grid; None for those of the table, on `MNI_GRID`.
            model_grid: whether it is `MNI_GRID`; SSIM is taken there alone, since its window counts voxels.

        Raises:
            InputError: the mean of the scale's reference is not above 0.
        """
        scale = scales.scale_of(keys["tracer"], relative=relative)
        if scale is None or scale.name not in self.masks:
            if self.masks:
                what = "relative PET" if relative else keys["tracer"]
                why = "it has none" if scale is None else f"the table has no masks of {scale.name}"
                self.note(f"no values of {what} on a scale: {why}")
            return
        self.note(scales.words_of(scale))
        own = self.masks if masks is None else masks
        self._scales += scales.scale_rows(keys, synthetic, measured, own, inside, relative=relative)
        if self.regional_ssim and not model_grid:
            self.note("no SSIM in a scale's regions of PET that do not lie on the model grid")
        elif self.regional_ssim:
            targets = {name: mask for name, mask in own[scale.name].items() if name != scales.REFERENCE}
            self._ssim += regional_figure.regional_ssim_rows(keys, scale.name, synthetic, measured, targets)

    def take_draws(self, keys: Mapping[str, str], atlas: str, told: Told, divided: float = 1.0) -> None:
        """Take in the samples that a result's own table tells of; those of the user's table go before them.

        Args:
            keys: of the pair, to be called once.
            told: in the unit in which the PET are compared.
            divided: what the synthetic PET was divided by for that, as the user's samples of it are here.
        """
        own = tuple(keys[name] for name in KEYS)
        for place in self.asked:
            if place[: len(own)] == own and place[len(own)] not in self.masks:  # a scale has its own reference
                self.draws[place] = [value / divided for value in self.draws[place]]
        for region, values in told.draws.items():
            place = (*own, atlas, region)
            if place not in self.draws:
                self.draws[place] = values
                self.couples[place] = told.couples.get(region, [])

    def writers(
        self,
        regions: Sequence[Mapping],
        *,
        seed: int = 0,
        progress: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Writer]:
        """Files of all parts that were asked for, by name, for `outputs.write_set`.

        Args:
            regions: rows of ``regions.tsv`` of all models.
            seed: of everything random.
            progress: called with a line now and then.

        Raises:
            InputError: a cut-off of a region that is not there, or a downstream experiment that cannot be.
            LongRunError: the minutes allow no downstream experiment.
        """
        found: dict[str, Writer] = {}
        self.tables = scales_table(self._scales)
        if self._scales:
            found[SCALES] = _table(self._scales, scales.COLUMNS)
        if self._ssim:
            found[SSIM] = _table(self._ssim, regional_figure.SSIM_COLUMNS)
        if self.cutoffs:
            rows = positivity.positivity_rows([*regions, *self._scales], self.cutoffs, seed=seed)
            found[POSITIVITY] = _table(rows, positivity.COLUMNS)
            self.tables += positivity_table(rows)
        if self.uncertain:
            rows = uncertainty.uncertainty_rows(regions, self.draws, self.couples)
            if lost := len(self.asked - {tuple(row[name] for name in uncertainty.PLACE) for row in rows}):
                words = f"draws of {lost} of {len(self.asked)} places in the table are of no person, session, tracer, "
                self.note(words + "model, atlas and region that was measured")
            found[UNCERTAINTY] = _table(rows, uncertainty.COLUMNS)
            summary = uncertainty.summary_rows(rows, nominal=self.nominal, seed=seed)
            if not summary:
                self.note("uncertainty: the rows of regions have neither intervals nor spread, and there are no draws")
            found[SUMMARY] = _table(summary, uncertainty.SUMMARY_COLUMNS)
            self.tables += uncertainty_table(summary)
        if find_spec("matplotlib"):
            found |= self._figures(regions)
        else:
            warn("figures were left out: they need matplotlib; install it with: pip install 'relapet[report]'")
        return found | self._downstream(seed, progress)

    def _figures(self, regions: Sequence[Mapping]) -> dict[str, Writer]:
        found = {}
        for rows, ssim in ((regions, ()), (self._scales, self._ssim)):
            for tracer, atlas in dict.fromkeys((row["tracer"], row["atlas"]) for row in rows):
                own = [row for row in rows if (row["tracer"], row["atlas"]) == (tracer, atlas)]
                beside = [row for row in ssim if row["atlas"] == atlas]
                unit = own[0].get("unit", "SUVR")
                if not regional_figure.can_draw(own):
                    self.note(f"no figure of {tracer} in {atlas}: no measured values, or too many regions or models")
                    continue
                found[f"{_safe('regions', tracer, atlas)}.png"] = _figure(own, tracer, beside, unit)
        return found

    def _downstream(self, seed: int, progress: Callable[[str], None]) -> dict[str, Writer]:
        groups: dict[tuple[str, str], list[VolumeRow]] = {}
        for row in self.predicted:
            groups.setdefault((row.tracer, row.model), []).append(row)
        if not groups:
            return {}
        self.note(WARNING)
        budget = Budget(self.budget.epochs, self.budget.minutes / len(groups), self.budget.seeds)
        found, rows, by_person, outcomes = {}, [], [], []
        for (tracer, model), own in groups.items():
            outcome = run(downstream_people.load_cohort(own, seed), budget, seed=seed, progress=progress)
            summary = downstream_results.summary_rows(outcome, tracer, model, seed=seed)
            rows += summary
            keys = {"tracer": tracer, "model": model}
            by_person += [keys | row for row in downstream_results.person_rows(outcome)]
            outcomes.append(outcome)
            if find_spec("matplotlib"):
                name = f"{_safe('downstream', tracer, model)}.png"
                found[name] = lambda path, summary=summary: downstream_results.draw(summary, path)
        found[DOWNSTREAM] = _table(rows, downstream_results.COLUMNS)
        found[PEOPLE] = _table(by_person, _person_columns(outcomes))
        return found

    def note(self, line: str) -> None:
        """Keep a line for those who read the results, once."""
        if line not in self.notes:
            self.notes.append(line)


def read_parts(
    *,
    scale_masks: Path | str | None = None,
    regional_ssim: bool = False,
    cutoffs: Iterable[str] = (),
    uncertain: bool = False,
    draws: Path | str | None = None,
    nominal: float | None = None,
    baselines: Path | str | None = None,
    mri: Path | str | None = None,
    downstream: Path | str | None = None,
    targets: Iterable[str] = (),
    budget: Budget | None = None,
) -> Parts:
    """Read all that the parts need, so that a mistake shows before the work.

    Args:
        scale_masks: table of `scales.read_scale_masks`.
        regional_ssim: measure SSIM in these masks, too.
        cutoffs: texts of `positivity.parse_cutoff`.
        uncertain: ask for uncertainty; so do `draws` and `nominal`.
        draws: table with `uncertainty.DRAW_COLUMNS`.
        nominal: share that the intervals are meant to cover, between 0 and 1.
        baselines, mri: tables of `volume_table.read_volume_table` of the training people and of those tested; both or
            none.
        downstream: another such table.
        targets: columns of numbers to predict; those of `TARGETS` that are there by default.
        budget: of the downstream experiment.

    Raises:
        InputError: whatever cannot be read or used.
        RelAPETError: the packages of the statistics are missing.
    """
    if nominal is not None and not 0 < nominal < 1:
        raise InputError(f"the share that intervals are meant to cover is {nominal:g}; use a number between 0 and 1")
    if regional_ssim and not scale_masks:
        raise InputError("SSIM in a scale's regions needs the table of its masks")
    if bool(baselines) != bool(mri):
        raise InputError("baselines need two tables: that of the training people, and that of the tested people's MRI")
    drawn = read_tsv(draws, uncertainty.DRAW_COLUMNS) if draws else []
    by_place = uncertainty.draws_of(drawn)
    found = Parts(
        cutoffs=[positivity.parse_cutoff(text) for text in cutoffs],
        masks=scales.read_scale_masks(scale_masks) if scale_masks else {},
        regional_ssim=regional_ssim,
        draws=by_place,
        asked=frozenset(by_place),
        couples=uncertainty.couples_of(drawn),
        uncertain=uncertain or draws is not None or nominal is not None,
        nominal=nominal,
        trained=read_volume_table(baselines, ("t1w", "t2f", "measured")) if baselines else [],
        mri=read_volume_table(mri, ("t1w", "t2f")) if mri else [],
        predicted=_predicted(Path(downstream), list(targets)) if downstream else [],
        budget=budget or Budget(),
    )
    if found.cutoffs or found.uncertain or found.predicted:
        needs_statistics()
    return found


def _predicted(path: Path, targets: list[str]) -> list[VolumeRow]:
    if not targets:
        targets = [name for name in read_tsv(path, COLUMNS)[0] if name.lower() in TARGETS]
    if not targets:
        raise InputError(f"{path}: no column of {', '.join(TARGETS)}; name the columns to predict")
    return read_volume_table(path, ("t1w", "t2f", "synthetic"), targets)


def _person_columns(outcomes: Sequence[Outcome]) -> list[str]:
    columns = dict.fromkeys(column for outcome in outcomes for column in downstream_results.person_columns(outcome))
    return ["tracer", "model", *(column for column in columns if column != "warning"), "warning"]


def _table(rows: Sequence[Mapping], columns: Sequence[str]) -> Writer:
    content = as_tsv(rows, columns)
    return lambda path: path.write_bytes(content) and None


def _figure(rows: Sequence[Mapping], tracer: str, ssim: Sequence[Mapping], unit: str) -> Writer:
    return lambda path: regional_figure.draw_regions(rows, tracer, path, ssim, unit=unit)


def _safe(*words: str) -> str:
    """Words in one name of a file; those that are ``n/a`` are left out."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", word) for word in words if word != MISSING)
