"""Do the intervals cover, and does the outlier gate tell strange MRI, for people whom no training or calibration saw?

``python Testing/benchmarks/intervals.py --draw CACHE --out DRAWS`` draws people as ``python -m training calibrate``
does, but measures at 2 mm, before the PET is interpolated, and in bfloat16: a third of the time (``--check N`` prints
how far the two are apart). ``calibrate --draws DRAWS`` goes on from there. Then

``python Testing/benchmarks/intervals.py --model BUNDLE --training CACHE --test CACHE --draws DRAWS --registered CACHE
--registered-draws DRAWS`` writes ``results/intervals.md``. Caches hold blocks of 2 mm::

    python -m training prepare --rendered 270 --rendered-seed 11 --factor 2 --fractions 1,0,0 --out CALIBRATION
    python -m training prepare --rendered 304 --rendered-seed 4 --factor 2 --fractions 0.013158,0,0.986842 --out TEST
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from RelAPETLib.evaluation.conformal import calibrate, coverage_band  # noqa: E402
from RelAPETLib.evaluation.gate import ALARM  # noqa: E402
from RelAPETLib.methods.base import SEQUENCES  # noqa: E402
from training.calibrate import SEED, SETTINGS, Regions, _sampling, check_people, draw_person, stacked  # noqa: E402
from training.data.cache import open_cache, pretty_json, write_whole  # noqa: E402

RESULTS = Path(__file__).parent / "results"
#: Test people whose MRI are made strange, for each kind of strangeness.
STRANGE_PEOPLE = 25
VARIANTS = {
    "plain": (False, False), "asymmetric": (False, True), "normalised": (True, False),
    "normalised, asymmetric": (True, True),
}  # fmt: skip


class Shown:
    """A demo model, shown MRI [2, 80, 90, 80] in [-1, 1] at its own 2 mm."""

    def __init__(self, folder: Path):
        import torch

        from RelAPETLib.models import load_model
        from RelAPETLib.synthesis.options import Options, resolve

        torch.set_num_threads(1)
        self.model = load_model(folder)
        self.method, self.network = self.model.method, self.model.method.network
        self.plans = resolve(Options("all", seed=SEED), self.model)

    def encoded(self, mri: np.ndarray):
        """Encoded condition of an MRI."""
        import torch

        with torch.inference_mode():
            features = self.network.inner_features(torch.from_numpy(mri)[None])
            return self.network.encoded_of(self.network.scores(features), features)

    def features(self, mri: np.ndarray) -> np.ndarray:
        """Features of the outlier gate."""
        return self.method.features(self.encoded(mri)).numpy()

    def samples(self, encoded, plan) -> np.ndarray:
        """SUVR [K, 80, 90, 80] of the noise that a synthesis has."""
        import torch

        from RelAPETLib.diffusion import sample, seeded_noise

        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            z = sample(
                lambda x_t, t: self.method.denoise(x_t, encoded, t, plan.label).float(),
                (plan.samples, *self.method.diffusion_shape), self.method.schedule, gives="clean",
                sampler=plan.sampler, steps=plan.steps, noise=seeded_noise(SEED, mirrored=True), clip=plan.clip,
            )  # fmt: skip
            labels = torch.full((plan.samples,), plan.label)
            inner = self.network.decode_inner(z, labels).float().clamp(0, 1)[:, 0].numpy()
        return plan.window[0] + inner * (plan.window[1] - plan.window[0])


def mri_of(cache, case: str) -> np.ndarray:
    """T1w and T2F of a case, float32 [2, X, Y, Z]."""
    return np.stack([np.asarray(cache.array(case, name), np.float32) for name in SEQUENCES])


def draw(shown: Shown, cache, folder: Path, limit: int | None) -> None:
    """Files of `training.calibrate.draw_people`, measured at 2 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"weights_sha256": shown.model.weights_sha256, "cache_sha256": cache.sha256, "seed": SEED}
    write_whole(folder / SETTINGS, pretty_json(settings | _sampling(shown.model)))
    regions = Regions(cache)
    for case in list(cache.cases)[:limit]:
        if (folder / f"{case}.npz").exists():
            continue
        part = folder / f".{case}.part.npz"
        np.savez(part, **measured(shown, cache, case, regions))
        part.replace(folder / f"{case}.npz")
        print(case, flush=True)


def measured(shown: Shown, cache, case: str, regions: Regions) -> dict[str, np.ndarray]:
    """Regional means of one case, and its features."""
    encoded = shown.encoded(mri_of(cache, case))
    found = {"features": shown.method.features(encoded).numpy()}
    for plan in shown.plans:
        name = plan.tracer.name
        if name not in cache.cases[case]["pets"]:
            continue
        samples = shown.samples(encoded, plan)
        found[f"synthetic_{name}"] = regions.means(regions.whole(samples.mean(0)), stored=True)
        found[f"spread_{name}"] = regions.means(regions.whole(samples.std(0)), stored=True)
        found[f"measured_{name}"] = regions.means(regions.whole(cache.array(case, f"pet_{name}")), stored=True)
    return found


def check(shown: Shown, cache, people: int) -> list[str]:
    """How far the measuring at 2 mm is from what a synthesis gives."""
    regions, gaps = Regions(cache), {"synthetic": [], "spread": []}
    for case in list(cache.cases)[-people:]:
        ours, theirs = measured(shown, cache, case, regions), draw_person(shown.model, cache, case)
        for kind, values in gaps.items():
            values += [ours[name] - theirs[name] for name in ours if name.startswith(kind)]
    told = [f"{kind} {np.mean(v):+.4f} on average, at most {np.abs(v).max():.4f}" for kind, v in gaps.items()]
    return [f"Measured at 2 mm minus as a synthesis has it, SUVR, {people} people: {'; '.join(told)}."]


def read_draws(folder: Path) -> dict[str, dict]:
    """What lies in a folder of draws, by case."""
    found = {}
    for path in sorted(folder.glob("[!.]*.npz")):
        with np.load(path) as file:
            found[path.stem] = dict(file)
    return found


def coverage(facts: dict, drawn: dict, tracer: str):
    """Which test values [n, R] are inside, and the measured values; then whether whole people are, jointly."""
    from RelAPETLib.synthesis.intervals import intervals_of

    _, arrays = stacked(drawn, tracer)
    found = intervals_of(facts, tracer, region_names())
    low, high = found.of(arrays["synthetic"], arrays["spread"])
    inside = (low <= arrays["measured"]) & (arrays["measured"] <= high)
    near, far = found.joint_of(arrays["synthetic"], arrays["spread"])
    joint = ((near <= arrays["measured"]) & (arrays["measured"] <= far)).all(1)
    return found, inside, arrays["measured"], joint, (high - low).mean(0), (far - near).mean(0)


def region_names() -> list[str]:
    """Names of the regions in order of label."""
    from RelAPETLib.regions import load_regions

    return [region.name for region in load_regions()[1]]


def coverage_table(facts: dict, drawn: dict, tracers) -> list[str]:
    """A line a tracer and region, with the band that holds for all lines of a tracer at once."""
    ends = 2 if facts["intervals"]["asymmetric"] else 1
    lines = [
        "| tracer | region | covered | by tercile of the measured mean | width (SUVR) |", "|---|---|---|---|---|"
    ]  # fmt: skip
    said = []
    for tracer in tracers:
        found, inside, truth, joint, width, joint_width = coverage(facts, drawn, tracer)
        n, names = len(inside), region_names()
        low, high = coverage_band(found.n, n, found.level, groups=len(names) + 1, ends=ends)
        shares = inside.mean(0)
        for k, name in enumerate(names):
            thirds = [inside[part, k].mean() for part in np.array_split(np.argsort(truth[:, k], kind="stable"), 3)]
            mark = "" if low <= shares[k] <= high else " (outside the band)"
            terciles = " / ".join(f"{share:.2f}" for share in thirds)
            lines.append(f"| {tracer} | {name} | {shares[k]:.3f}{mark} | {terciles} | {width[k]:.2f} |")
        joint_low, joint_high = coverage_band(found.n, n, found.level, groups=len(names) + 1)
        mark = "" if joint_low <= joint.mean() <= joint_high else " (outside the band)"
        lines.append(f"| {tracer} | all together | {joint.mean():.3f}{mark} | | {joint_width.mean():.2f} |")
        within = int(((shares >= low) & (shares <= high)).sum())
        said.append(
            f"- {tracer}: {found.n} people calibrated, {n} tested. Simultaneous 95 % beta-binomial band of a region "
            f"{low:.3f} to {high:.3f}: {within} of {len(names)} regions within; mean {shares.mean():.3f}. "
            f"Jointly {joint_low:.3f} to {joint_high:.3f}: {joint.mean():.3f}."
        )
    return [*said, "", *lines]


def variant_table(facts: dict, calibration: dict, drawn: dict, tracers) -> list[str]:
    """What the four variants would have given."""
    lines = ["| variant | " + " | ".join(tracers) + " |", "|---" * (len(tracers) + 1) + "|"]
    for name, (normalised, asymmetric) in VARIANTS.items():
        cells = []
        for tracer in tracers:
            found = calibrate(
                **stacked(calibration, tracer)[1], level=facts["intervals"]["level"], normalised=normalised,
                asymmetric=asymmetric, floor=facts["intervals"]["floor"],
            )  # fmt: skip
            arrays = stacked(drawn, tracer)[1]
            low, high = found.of(arrays["synthetic"], arrays["spread"])
            inside = (low <= arrays["measured"]) & (arrays["measured"] <= high)
            joint_low, joint_high = found.joint_of(arrays["synthetic"], arrays["spread"])
            cells.append(f"{inside.mean():.3f}, {(high - low).mean():.3f}; {(joint_high - joint_low).mean():.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def smoothed(volume: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(volume, sigma)


def shifted(volume: np.ndarray, voxels: float) -> np.ndarray:
    from scipy.ndimage import shift

    return shift(volume, (0, voxels, 0), order=1, cval=-1.0)


def strangers() -> dict[str, tuple[str, object]]:
    """By name, near or far and what makes an MRI [2, X, Y, Z] strange: called with it, the brain and a generator."""

    def power(x, exponent):
        return 2 * ((x + 1) / 2).clip(0) ** exponent - 1

    def blobs(m, inside, rng):
        return np.stack([smoothed(rng.standard_normal(m.shape[1:]), 6) * 8 for _ in m])

    def tilted(m, inside, rng):
        ramp = np.linspace(0.75, 1.25, m.shape[2])[None, None, :, None]
        return (m + 1) * ramp - 1

    return {
        "FLAIR shifted by 3 mm": ("near", lambda m, i, r: np.stack([m[0], shifted(m[1], 1.5)])),
        "FLAIR shifted by 6 mm": ("near", lambda m, i, r: np.stack([m[0], shifted(m[1], 3.0)])),
        "noise, SD 0.1": ("near", lambda m, i, r: m + 0.1 * r.standard_normal(m.shape)),
        "noise, SD 0.3": ("near", lambda m, i, r: m + 0.3 * r.standard_normal(m.shape)),
        "T1w contrast, power 1.5": ("near", lambda m, i, r: np.stack([power(m[0], 1.5), m[1]])),
        "FLAIR contrast, power 0.5": ("near", lambda m, i, r: np.stack([m[0], power(m[1], 0.5)])),
        "bias of 25 % front to back": ("near", tilted),
        "blurred, 8 mm FWHM": ("near", lambda m, i, r: np.stack([smoothed(v, 1.7) for v in m])),
        "left and right exchanged": ("near", lambda m, i, r: m[:, ::-1]),
        "front and back exchanged": ("far", lambda m, i, r: m[:, :, ::-1]),
        "upside down": ("far", lambda m, i, r: m[..., ::-1]),
        "T1w and FLAIR swapped": ("far", lambda m, i, r: m[::-1]),
        "the T1w twice": ("far", lambda m, i, r: np.stack([m[0], m[0]])),
        "inverted T1w": ("far", lambda m, i, r: np.stack([-m[0], m[1]])),
        "another organ: smooth blobs": ("far", blobs),
        "white noise": ("far", lambda m, i, r: r.standard_normal(m.shape)),
    }


def strange_features(shown: Shown, cache, folder: Path) -> dict[str, np.ndarray]:
    """Features [n, D] of the first test people's MRI made strange, by the names of `strangers`; kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    inside, found = cache.mask(), {}
    for number, (name, (_, change)) in enumerate(strangers().items()):
        path, rng = folder / f"{number:02d}.npy", np.random.default_rng(0)
        if not path.exists():
            rows = []
            for case in list(cache.cases)[:STRANGE_PEOPLE]:
                strange = np.where(inside, np.asarray(change(mri_of(cache, case), inside, rng)), -1.0).clip(-1, 1)
                rows.append(shown.features(np.ascontiguousarray(strange, np.float32)))
            np.save(path, np.stack(rows))
        found[name] = np.load(path)
    return found


def gate_tables(shown: Shown, strange: dict, drawn: dict, registered: dict[str, np.ndarray]) -> list[str]:
    """False alarms of the test people, of registered ones, and what is found of strange MRI."""
    from RelAPETLib.synthesis.verdict import gate_of

    gate = gate_of(shown.model)
    usual = gate.p_value(np.stack([arrays["features"] for arrays in drawn.values()]))
    lines = [_alarms("test people, rendered as the calibration's", usual, len(gate.distances))]
    for name, features in registered.items():
        lines.append(f"{_alarms(name, gate.p_value(features), None)} Far: {int(gate.is_far(features).sum())}. So a "
                     "synthesis from raw scans is not checked by features, unless they are far.")  # fmt: skip
    lines += ["", "| MRI | kind | alarms | far (1.5 times the farthest) | median p |", "|---|---|---|---|---|"]
    totals: dict[str, list] = {"near": [], "far": []}
    for name, (kind, _) in strangers().items():
        p, far = gate.p_value(strange[name]), gate.is_far(strange[name])
        totals[kind].append(p <= ALARM)
        lines.append(f"| {name} | {kind} | {(p <= ALARM).mean():.2f} | {far.mean():.2f} | {np.median(p):.3f} |")
    summary = "; ".join(f"{kind} {np.mean(alarms):.2f}" for kind, alarms in totals.items())
    return [
        *lines,
        "",
        f"Alarms over all kinds: {summary}. A control that alarms at random would give 0.05 in each line.",
    ]


def _alarms(name: str, p: np.ndarray, calibrated: int | None) -> str:
    from scipy.stats import betabinom, binomtest

    alarms = int((p <= ALARM).sum())
    if calibrated is None:
        low, high = binomtest(alarms, len(p)).proportion_ci(0.95, "exact")
        return f"- {name}: {alarms} of {len(p)} alarms ({alarms / len(p):.3f}, 95 % interval {low:.3f} to {high:.3f})."
    k = int(ALARM * (calibrated + 1) + 1e-9)
    law = betabinom(len(p), k, calibrated + 1 - k)
    low, high = law.ppf(0.025) / len(p), law.isf(0.025) / len(p)
    return (
        f"- {name}: {alarms} of {len(p)} alarms ({alarms / len(p):.3f}; a valid gate gives {low:.3f} to {high:.3f} in "
        "95 % of calibrations and tests; goal 0.02 to 0.08)."
    )


def report(options, shown: Shown) -> list[str]:
    """The whole page."""
    facts = shown.model.calibration.facts
    trained, test = open_cache(options.training), open_cache(options.test)
    check_people(shown.model, test, trained)
    calibrating = open_cache(options.calibration)
    if facts["population"]["cache_sha256"] != calibrating.sha256:
        raise SystemExit("--calibration is not the cache that the bundle was calibrated on")
    shared = {c["t1w"]["sha256"] for c in calibrating.index["cases"]} & {
        c["t1w"]["sha256"] for c in test.index["cases"]
    }
    if shared:
        raise SystemExit("somebody calibrates and is tested")
    drawn, calibration = read_draws(options.draws), read_draws(options.calibration_draws)
    tracers = list(facts["intervals"]["tracers"])
    lines = [
        f"Model {shown.model.name} {shown.model.version}. Calibration: {facts['population']['description']}. Nobody is "
        "in two of training, calibration and test (by the hash of the stored T1w and FLAIR, checked). Every person is "
        f"drawn as a synthesis draws: {facts['sampling']['samples']} samples of {facts['sampling']['steps']} steps.",
        "",
        *(check(shown, test, options.check) if options.check else []),
        "", f"## Coverage of {100 * facts['intervals']['level']:.0f} % intervals", "",
        *coverage_table(facts, drawn, tracers),
        "", "Coverage is over people; within terciles of the measured mean nothing promises it, and the highest and "
        "lowest are those who matter.",
        "", "## Variants: coverage of a region, mean width; width that covers all regions together", "",
        *variant_table(facts, calibration, drawn, tracers),
    ]  # fmt: skip
    registered = {}
    if options.registered:
        own = read_draws(options.registered_draws)
        who = "training people again, simulated as raw scans and registered"
        registered = {who: np.stack([arrays["features"] for arrays in own.values()])}
        lines += ["", f"## {len(own)} {who}", "", *registered_lines(facts, own, tracers)]
    lines += ["", f"## Outlier gate: alarm at p <= {ALARM:g}", ""]
    strange = strange_features(shown, test, options.draws / "strange")
    lines += [f"Strange MRI are those of {STRANGE_PEOPLE} test people, changed at 2 mm inside the brain.", ""]
    lines += gate_tables(shown, strange, drawn, registered)
    return lines


def registered_lines(facts: dict, drawn: dict, tracers) -> list[str]:
    """Coverage where registration came between, which the calibration does not know."""
    lines = []
    for tracer in tracers:
        _, inside, _, joint, _, _ = coverage(facts, drawn, tracer)
        lines.append(f"- {tracer}: {len(inside)} people, {inside.mean():.3f} of the regional means covered, "
                     f"{int(joint.sum())} of {len(joint)} jointly.")  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, default=ROOT / "Resources" / "models" / "demo")
    add("--draw", type=Path, metavar="CACHE", help="draw the people of a cache into --out, and end")
    add("--out", type=Path)
    add("--limit", type=int)
    add("--training", type=Path, help="cache of the training people")
    add("--calibration", type=Path)
    add("--calibration-draws", type=Path)
    add("--test", type=Path)
    add("--draws", type=Path)
    add("--registered", type=Path)
    add("--registered-draws", type=Path)
    add("--check", type=int, default=4, help="people of whom both ways of measuring are compared")
    options = parser.parse_args()
    shown = Shown(options.model)
    if options.draw:
        draw(shown, open_cache(options.draw), options.out, options.limit)
        return
    lines = report(options, shown)
    head = ["# Intervals of regional SUVR, and the outlier gate", "", f"{date.today()}, CPU.", ""]
    (RESULTS / "intervals.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
