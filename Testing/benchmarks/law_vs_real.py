"""How the phantom's laws compare with real people: law 1 beside law 2 beside measured regional SUVR.

python Testing/benchmarks/law_vs_real.py --pbr28 DIR [--people 60] [--cache FILE.npz]

writes ``results/law_vs_real.md`` and ``results/pbr28_regions.tsv``. DIR holds the 14 CC0 volumes of 11C-PBR28 of Lois
et al. (github.com/hookerlab/huntington-with-pbr28, ``data/func``; Zenodo 1174364), named control01 to control06 and
patient01 to patient08. They were smoothed by 6 mm; phantoms are smoothed by the same 6 mm before they are compared with
them. All SUVR are regional means over that of cerebellar grey. The rows of other tracers are figures only, from
dcccpy's and rPOP's mean maps, whose licence forbids more.
"""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import date
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from RelAPETLib.phantom import hidden, law, law2, truth  # noqa: E402
from RelAPETLib.phantom.factors import CORTEX, FACTORS, REGIONS, draw_factors  # noqa: E402
from RelAPETLib.phantom.people import make_person  # noqa: E402
from RelAPETLib.phantom.render import blur_pet  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
SEED, MANY = 77, 20_000
SHORT = ("front.", "pariet.", "lat. temp.", "occip.", "mes. temp.", "precun.", "striat.", "thal.", "brainst.", "white",
         "cer. white")  # fmt: skip
REFERENCE = REGIONS.index("cerebellar_grey")
KEPT = [number for number in range(len(REGIONS)) if number != REFERENCE]
#: Figures of dcccpy's and rPOP's mean maps on our regions, over cerebellar grey; in the order of `SHORT`.
FLORTAUCIPIR_NORMAL = (1.00, 0.98, 1.13, 1.06, 1.18, 1.10, 1.35, 1.27, 1.05, 1.17, 1.15)
FLORBETAPIR_NEGATIVE = (1.04, 1.04, 1.08, 1.10, 1.11, 1.19, 1.31, 1.23, 1.61, 1.68, 1.65)
FLUTEMETAMOL_NEGATIVE = (1.05, 1.06, 1.08, 1.09, 1.21, 1.22, 1.46, 1.63, 2.06, 1.80, 2.10)
FLORBETABEN_DIFFERENCE = (0.45, 0.39, 0.43, 0.29, 0.19, 0.58, 0.29, 0.10, -0.03, 0.29, -0.05)


def read_pbr28(folder: Path) -> dict[str, np.ndarray]:
    """Regional SUVR [12] over cerebellar grey of each volume, by file name."""
    import SimpleITK as sitk

    from RelAPETLib.grid import MNI_GRID, image_to_array

    weights, found = truth.region_weights(1), {}
    for path in sorted(folder.glob("*.nii.gz")):
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        array = image_to_array(sitk.Resample(image, MNI_GRID.reference_image(), sitk.Transform(), sitk.sitkLinear))
        means = truth.regional_means(array[None], weights)[:, 0]
        found[path.name.removesuffix(".nii.gz")] = means / means[REFERENCE]
    names = [f"control{n:02d}" for n in range(1, 7)] + [f"patient{n:02d}" for n in range(1, 9)]
    if sorted(found) != names:
        sys.exit(f"{folder}: 14 volumes control01.nii.gz to patient08.nii.gz are wanted, {len(found)} are there")
    return found


def write_regions(found: dict[str, np.ndarray], path: Path) -> None:
    """The shipped table: one row a person."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["person", "group", "tracer", *REGIONS])
        for name, values in found.items():
            group = "control" if name.startswith("control") else "huntington"
            writer.writerow([name, group, "11C-PBR28", *(f"{value:.4f}" for value in values)])


def matrices(people: int, cache: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Linear maps [people, 12, 15] from uptake to regional SUVR: as rendered, and smoothed by another 6 mm."""
    if cache is not None and cache.exists():
        with np.load(cache) as kept:
            return kept["rendered"], kept["smoothed"]
    rendered, smoothed, weights = [], [], truth.region_weights(2)
    for index in range(people):
        maps = truth.component_maps(make_person(SEED, index))
        rendered.append(truth.regional_means(maps, weights))
        smoothed.append(truth.regional_means(np.stack([blur_pet(array, 2) for array in maps]), weights))
        print(f"{index + 1} of {people}", file=sys.stderr, flush=True)
    if cache is not None:
        np.savez(cache, rendered=rendered, smoothed=smoothed)
    return np.stack(rendered), np.stack(smoothed)


def phantoms(tracer: str, version: int, maps: np.ndarray) -> np.ndarray:
    """Regional SUVR [people, 11] over cerebellar grey."""
    uptake = [make_person(SEED, index, version).uptake[tracer].vector() for index in range(len(maps))]
    suvr = np.einsum("nij,nj->ni", maps, np.stack(uptake))
    return suvr[:, KEPT] / suvr[:, [REFERENCE]]


def components(values: np.ndarray) -> float:
    """Share of the variance over people [people, regions] that the first principal component has."""
    squares = np.linalg.svd(values - values.mean(0), compute_uv=False) ** 2
    return float(squares[0] / squares.sum())


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, by ranks."""
    from scipy.stats import rankdata

    ones = positive.sum()
    ranks = rankdata(score)[positive].sum()
    return float((ranks - ones * (ones + 1) / 2) / (ones * (len(positive) - ones)))


def auc_interval(score: np.ndarray, positive: np.ndarray) -> tuple[float, float, float]:
    """AUC with its 95 % interval over people (bootstrap, 200 times)."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(score), len(score)) for _ in range(200)]
    low, high = np.quantile([auc(score[i], positive[i]) for i in drawn], (0.025, 0.975))
    return auc(score, positive), float(low), float(high)


def row(name: str, values, digits: int = 2) -> str:
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |"


def heading(first: str) -> list[str]:
    return ["", f"| {first} | " + " | ".join(SHORT) + " |", "|---" * (len(SHORT) + 1) + "|"]


def tables(real: dict[str, np.ndarray], rendered: np.ndarray, smoothed: np.ndarray) -> list[str]:
    """The regional tables, law 1 beside law 2."""
    controls, patients = (
        np.stack([values[KEPT] for name, values in real.items() if name.startswith(group)])
        for group in ("control", "patient")
    )
    lines = heading("PBR, smoothed by another 6 mm")
    for name, values in (
        *((f"law {version}", phantoms("PBR", version, smoothed)) for version in law.VERSIONS),
        ("11C-PBR28, 6 controls", controls),
        ("11C-PBR28, 8 with Huntington's disease", patients),
    ):
        lines += [row(f"{name}, mean", values.mean(0)), row(f"{name}, SD", values.std(0, ddof=1), 3)]
    positive = np.array([make_person(SEED, index).hidden.positive for index in range(len(rendered))])
    lines += heading("TAU, as rendered")
    first, second = (phantoms("TAU", version, rendered) for version in law.VERSIONS)
    lines += [
        row("law 1, 5th percentile", np.quantile(first, 0.05, axis=0)),
        row(f"law 2, {(~positive).sum()} amyloid-negative, mean", second[~positive].mean(0)),
        row("flortaucipir, normal mean (dcccpy)", FLORTAUCIPIR_NORMAL),
        row(f"law 2, {positive.sum()} positive - negative", second[positive].mean(0) - second[~positive].mean(0)),
    ]
    lines += heading("PIB, as rendered")
    first, second = (phantoms("PIB", version, rendered) for version in law.VERSIONS)
    pib = np.array(FLORBETABEN_DIFFERENCE) * 1.067 / np.mean([FLORBETABEN_DIFFERENCE[i] for i in (0, 1, 2, 5)])
    centiloid = np.array([make_person(SEED, index).hidden.centiloid for index in range(len(rendered))])
    step = (centiloid[positive].mean() - centiloid[~positive].mean()) / 100
    difference = second[positive].mean(0) - second[~positive].mean(0)
    lines += [
        row("law 1, 5th percentile", np.quantile(first, 0.05, axis=0)),
        row(f"law 2, {(~positive).sum()} amyloid-negative, mean", second[~positive].mean(0)),
        row("florbetapir, negative (rPOP, dcccpy)", FLORBETAPIR_NEGATIVE),
        row("flutemetamol, negative (rPOP, dcccpy)", FLUTEMETAMOL_NEGATIVE),
        row(f"law 2, {positive.sum()} positive - negative, for 100 Centiloid", difference / step),
        row("florbetaben, positive - negative (rPOP, dcccpy), as PiB for 100 Centiloid", pib),
    ]
    return lines


def checks(real: dict[str, np.ndarray], rendered: np.ndarray, smoothed: np.ndarray) -> list[str]:
    """What was asked of the law, and what it does."""
    lines = ["", "| asked | law 1 | law 2 |", "|---|---|---|"]
    lines += [f"| {asked} | {first} | {second} |" for asked, first, second in _pbr(real, smoothed)]
    lines += [f"| {asked} | {first} | {second} |" for asked, first, second in _amyloid(rendered)]
    lines += [f"| {asked} | {first} | {second} |" for asked, first, second in _tau()]
    lines += [f"| {asked} | - | {second} |" for asked, second in _clinical()]
    return lines


def _pbr(real: dict[str, np.ndarray], smoothed: np.ndarray) -> list[tuple[str, str, str]]:
    from scipy.stats import f

    controls = np.stack([values[KEPT] for name, values in real.items() if name.startswith("control")])
    everyone = np.stack([values[KEPT] for values in real.values()])
    sd, n = controls.std(0, ddof=1), len(smoothed)
    made = {version: phantoms("PBR", version, smoothed) for version in law.VERSIONS}
    away = {v: np.abs(values.mean(0) - controls.mean(0)) / sd for v, values in made.items()}
    ratio = {v: values.std(0, ddof=1) / sd for v, values in made.items()}
    low, high = (np.sqrt(1 / f.ppf(q, n - 1, len(controls) - 1)) for q in (0.975, 0.025))
    spread = "{:.2f} to {:.2f}; {} of 11 within .5 and 2"
    return [
        (
            "PBR: every region's mean within 2 control SD of the controls': largest distance in SD",
            *(f"{values.max():.1f} ({(values <= 2).sum()} of 11 within)" for values in away.values()),
        ),
        (
            f"PBR: SD over {n} people .5 to 2 times the controls' (n = 6: each ratio is uncertain by a factor of "
            f"{low:.2f} to {high:.2f}, 95 %)",
            *(spread.format(r.min(), r.max(), ((r >= 0.5) & (r <= 2)).sum()) for r in ratio.values()),
        ),
        ("PBR: no genotype factor in SUVR: ratio of the two genotypes' uptake", "1.37", "none: 1"),
        (
            f"PBR: more than one component: share of the first (real: {components(controls):.2f} in the controls, "
            f"{components(everyone):.2f} in all 14)",
            *(f"{components(values):.2f}" for values in made.values()),
        ),
    ]


def _amyloid(rendered: np.ndarray) -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(1)
    factors = draw_factors(rng, MANY)
    clinical, found = hidden.draw_people(factors, rng)
    positive, level = found.positive, found.centiloid
    share = positive.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / MANY)
    mri = auc_interval(hidden.probability_positive(factors), positive)
    both = auc_interval(hidden.probability_positive(factors, clinical), positive)
    one = phantoms("PIB", 1, rendered)
    two = phantoms("PIB", 2, rendered)
    negative = np.array([not make_person(SEED, index).hidden.positive for index in range(len(rendered))])
    deep = [SHORT.index(name) for name in ("striat.", "thal.", "brainst.", "cer. white")]
    target = np.array(FLORBETAPIR_NEGATIVE)[deep]
    off = [np.quantile(one, 0.05, axis=0)[deep] - target, two[negative].mean(0)[deep] - target]
    words = ["; ".join(f"{SHORT[i]} {value:+.2f}" for i, value in zip(deep, values, strict=True)) for values in off]
    steps = (-99, 20, 40, 60, 199)
    inside = np.quantile(level[positive], (0.025, 0.5, 0.975))
    return [
        ("PIB: negative people's deep regions as in florbetapir: difference", *words),
        (
            "PIB: hidden status, prevalence as in an elderly cohort",
            "no status",
            f"{share:.3f} (95 % {share - half:.3f} to {share + half:.3f}, n = {MANY})",
        ),
        (
            "PIB: most people near 0 Centiloid, positives 30 to 110",
            "one hump",
            f"negative: {level[~positive].mean():.0f} +- {level[~positive].std():.0f}; positive: median "
            f"{inside[1]:.0f}, 95 % {inside[0]:.0f} to {inside[2]:.0f}",
        ),
        (
            "PIB: two humps: share of people below 20, 20 to 40, 40 to 60, above 60 Centiloid",
            "-",
            ", ".join(f"{np.mean((level >= a) & (level < b)):.2f}" for a, b in zip(steps, steps[1:], strict=False)),
        ),
        (
            "PIB: status predictable from the MRI factors at an ideal AUC of .70 to .75",
            "-",
            f"{mri[0]:.3f} (95 % {mri[1]:.3f} to {mri[2]:.3f}, n = {MANY})",
        ),
        (
            "the same with age, sex and memory score, where recorded",
            "-",
            f"{both[0]:.3f} ({both[1]:.3f} to {both[2]:.3f})",
        ),
        (
            "share of the variance of cortical SUVR that the MRI shows, TAU, PIB, PBR",
            *(", ".join(f"{law.predictable_share(t, v):.2f}" for t in ("TAU", "PIB", "PBR")) for v in law.VERSIONS),
        ),
    ]


def _tau() -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(2)
    factors = draw_factors(rng, MANY)
    _, found = hidden.draw_people(factors, rng)
    positive = found.positive
    cortex = law2.uptake_vectors("TAU", found, rng)[:, : len(CORTEX)].mean(1)
    limit = cortex[~positive].mean() + 2.5 * cortex[~positive].std()
    rise = [cortex[~positive].max(), *np.quantile(cortex[positive], (0.5, 0.95))] - cortex[~positive].mean()
    atrophy = factors[:, FACTORS.index("cortical_atrophy")]
    r = [np.corrcoef(cortex[group], atrophy[group])[0, 1] for group in (positive, ~positive)]
    sd = [cortex[group].std() for group in (positive, ~positive)]
    return [
        (
            "TAU: high only where amyloid is positive: share above the negative people's mean + 2.5 SD (cortex)",
            "amyloid and tau are tied by atrophy alone",
            f"{np.mean(cortex[positive] > limit):.2f} of positive, {np.mean(cortex[~positive] > limit):.3f} of "
            f"negative people; above the negative mean lie the highest negative by {rise[0]:.2f} SUVR, the "
            f"positive median by {rise[1]:.2f} and their 95th percentile by {rise[2]:.2f}",
        ),
        (
            "TAU: then tied to atrophy: r of cortical SUVR with cortical atrophy",
            "-",
            f"{r[0]:.2f} in positive people (SD {sd[0]:.2f} SUVR), {r[1]:.2f} in negative ones (SD {sd[1]:.3f})",
        ),
        (
            "regional noise by region: smallest to largest SD of TAU, PIB, PBR before blurring",
            "0.04 everywhere",
            "; ".join(
                "{:.2f} to {:.2f}".format(*(f([law2.LAWS[t].noise[i] for i in KEPT]) for f in (min, max)))
                for t in ("TAU", "PIB", "PBR")
            ),
        ),
    ]


def _clinical() -> list[tuple[str, str]]:
    rng = np.random.default_rng(3)
    factors = draw_factors(rng, MANY)
    values, found = hidden.draw_people(factors, rng)

    def r(one, two) -> float:
        known = ~np.isnan(one) & ~np.isnan(two)
        return float(np.corrcoef(one[known], two[known])[0, 1])

    by_factor = {
        name: ", ".join(f"{r(getattr(values, name), factors[:, i]):+.2f}" for i in range(4))
        for name in ("age", "memory")
    }
    old, young = (found.positive[(values.age >= a) & (values.age < b)].mean() for a, b in ((80, 90), (55, 65)))
    return [
        (
            "age, sex, memory score: values missing",
            ", ".join(f"{np.isnan(getattr(values, name)).mean():.3f}" for name in ("age", "female", "memory")),
        ),
        (
            "age: mean and SD; r with mesial and cortical atrophy, ventricles, white-matter disease; amyloid-positive "
            "below 65 and from 80 on",
            f"{np.nanmean(values.age):.1f} +- {np.nanstd(values.age):.1f}; {by_factor['age']}; {young:.2f}, {old:.2f}",
        ),
        (
            "memory score: mean and SD; r with the same; negative and positive people's mean",
            f"{np.nanmean(values.memory):.2f} +- {np.nanstd(values.memory):.2f}; {by_factor['memory']}; "
            f"{np.nanmean(values.memory[~found.positive]):+.2f}, {np.nanmean(values.memory[found.positive]):+.2f}",
        ),
        (
            "tau level of amyloid-positive women and men",
            ", ".join(f"{found.tau[found.positive & (values.female == sex)].mean():.2f}" for sex in (1, 0)),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pbr28", type=Path, required=True, help="folder of the 14 volumes")
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--cache", type=Path, help="keep the people's linear maps in this file")
    options = parser.parse_args()
    real = read_pbr28(options.pbr28)
    write_regions(real, RESULTS / "pbr28_regions.tsv")
    rendered, smoothed = matrices(options.people, options.cache)
    lines = [
        "# The phantom's laws beside real people",
        "",
        f"Made by `python Testing/benchmarks/law_vs_real.py` on {date.today()}: {len(rendered)} simulated people of",
        f"seed {SEED}, rendered on the model grid at 2 mm, the same people under both laws. SUVR over cerebellar grey;",
        "mean and SD over people. Law 2 was calibrated on the same six controls and the same figures: its means",
        "agree by construction. Positive minus negative lies 10 to 23 % below its target in the",
        "cortex and 30 % in the thalamus; the cause was not looked for. In white matter it lies 30 % below on purpose.",
        "",
        "Real people: 11C-PBR28 of Lois et al., CC0 (github.com/hookerlab/huntington-with-pbr28, Zenodo 1174364),",
        "smoothed by 6 mm; regional means of all 14 in `pbr28_regions.tsv` (CC0). That tracer is PBR28, not",
        "PBR111. The rows of flortaucipir, florbetapir, flutemetamol and florbetaben are figures from",
        "dcccpy's and rPOP's mean maps.",
        *tables(real, rendered, smoothed),
        *checks(real, rendered, smoothed),
        "",
    ]
    (RESULTS / "law_vs_real.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
