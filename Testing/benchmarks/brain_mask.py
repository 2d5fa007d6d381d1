"""What the extracted brain changes as the mask of N4, of the registrations, and of the finished PET's edge.

cd Testing/benchmarks; python brain_mask.py --real DIR --cache DIR [--people N] > table.md

DIR of the real pairs: NAME_T1W.nii.gz, NAME_FLAIR.nii.gz and, where there is one, NAME_T1W_to_FLAIR.txt (the data set's
own registration); one pair a person, so that pairs are independent. Simulated people have a known bias field, pose,
deformation and PET. Every way is taken from the present way's results, one change at a time; a finished case is kept in
the cache. All figures are paired: mean of (way - present way) with its standard error over people.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from RelAPETLib import preprocessing  # noqa: E402
from RelAPETLib.grid import array_to_image, image_to_array, image_to_tensor  # noqa: E402
from RelAPETLib.models import load_model  # noqa: E402
from RelAPETLib.phantom import scanner  # noqa: E402
from RelAPETLib.phantom.head import HEAD_GRID, make_head  # noqa: E402
from RelAPETLib.phantom.people import FIELD_GRID, displacement, make_person, sample  # noqa: E402
from RelAPETLib.registration import quality  # noqa: E402
from RelAPETLib.registration.affine import register_affine  # noqa: E402
from RelAPETLib.registration.brain_extraction import extract_brain  # noqa: E402
from RelAPETLib.registration.copies import working_copy  # noqa: E402
from RelAPETLib.registration.mutual_information import mask_points, on_grid  # noqa: E402
from RelAPETLib.registration.rigid import register_rigid  # noqa: E402
from RelAPETLib.registration.scans import Scan, correct_bias, head_mask, upright_mri  # noqa: E402
from RelAPETLib.registration.template import load_template  # noqa: E402
from RelAPETLib.registration.warp import fit_warp, resample_to_grid  # noqa: E402
from RelAPETLib.synthesis import Options  # noqa: E402
from RelAPETLib.synthesis.options import resolve  # noqa: E402
from RelAPETLib.synthesis.sampling import ConditionedModel, draw_samples  # noqa: E402
from RelAPETLib.tracers import TRACERS  # noqa: E402
from RelAPETLib.volumes import canonical, read_volume  # noqa: E402

SEED = 1000
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Truth:
    """What is known of a simulated pair.

    Attributes:
        head: the person.
        scans: `RawScan` by ``t1w`` and ``t2f``.
        bias: the fields that the scans were multiplied with, on their own (upright) grids.
    """

    head: object
    scans: dict
    bias: dict


class Figures(dict):
    """Figures by (use, way, figure), and the CPU seconds of what is being measured."""

    def timed(self, use: str, way: str, call):
        begin = time.process_time()
        result = call()
        self[use, way, "CPU s"] = time.process_time() - begin
        return result

    def put(self, use: str, way: str, **figures: float) -> None:
        self.update({(use, way, name.replace("_", " ")): float(value) for name, value in figures.items()})


def linear(matrix: np.ndarray) -> sitk.AffineTransform:
    """A transform of LPS points from a 4x4 matrix of RAS points."""
    matrix = _LPS @ matrix @ _LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def simulate(index: int) -> tuple[sitk.Image, sitk.Image, Truth]:
    """T1w, FLAIR and the truth of a simulated person; the bias fields are noted as the scanner draws them."""
    head, scans, bias, drawn = make_head(make_person(SEED, index)), {}, {}, []
    plain = scanner.bias_field
    scanner.bias_field = lambda *arguments: drawn.append(plain(*arguments)) or drawn[-1]
    try:
        for name, sequence in (("t1w", "T1w"), ("t2f", "FLAIR")):
            scans[name] = scanner.scan_mri(head, sequence)
            field = sitk.GetImageFromArray(np.ascontiguousarray(drawn[-1].transpose(2, 1, 0), np.float32))
            field.CopyInformation(scans[name].image)
            bias[name] = canonical(field)
    finally:
        scanner.bias_field = plain
    return scans["t1w"].image, scans["t2f"].image, Truth(head, scans, bias)


def own_brain(truth: Truth, name: str, image: sitk.Image) -> sitk.Image:
    """Share of the person's brain in the voxels of a scan."""
    placed = linear(np.linalg.inv(truth.scans[name].to_scanner))
    return sitk.Resample(array_to_image(truth.head.maps.brain, HEAD_GRID), image, placed, sitk.sitkLinear, 0.0)


def dilated(mask: sitk.Image, mm: float) -> sitk.Image:
    return sitk.BinaryDilate(mask, [max(1, round(mm / s)) for s in mask.GetSpacing()])


def variation(values: np.ndarray) -> float:
    """Coefficient of variation, in percent, of the middle 98 % of the values."""
    low, high = np.percentile(values, (1, 99))
    values = values[(values >= low) & (values <= high)]
    return 100 * float(values.std() / values.mean())


def n4_figures(figures: Figures, scans: dict, raw: dict, chains: dict, template, truth: Truth | None) -> None:
    """Variation within tissues that the present way's registration points out; error against the known field."""
    for (way, name), image in scans.items():
        found = {}
        for tissue in ("white", "grey"):
            share = sitk.Resample(getattr(template, tissue), image, chains[name], sitk.sitkLinear, 0.0)
            found[tissue] = sitk.GetArrayFromImage(image)[sitk.GetArrayFromImage(share) > 0.95]
        joint = 100 * (found["white"].std() + found["grey"].std()) / abs(found["white"].mean() - found["grey"].mean())
        use = f"N4, {'T1w' if name == 't1w' else 'FLAIR'}"
        figures.put(use, way, CV_white=variation(found["white"]), CV_grey=variation(found["grey"]))
        if name == "t1w":
            figures.put(use, way, joint_CV=joint)
        if truth:
            brain = own_brain(truth, name, image)
            inside = (sitk.GetArrayFromImage(brain) > 0.5) & (sitk.GetArrayFromImage(image) > 0)
            inside &= sitk.GetArrayFromImage(raw[name]) > 0
            field = [sitk.GetArrayFromImage(i)[inside] for i in (raw[name], image, truth.bias[name])]
            figures.put(use, way, field_error=100 * np.std(np.log(field[0] / field[1]) - np.log(field[2])))


def template_figures(figures: Figures, use: str, way: str, t1w, transform, template, truth: Truth | None) -> None:
    """Agreement with the template inside its brain; the warp's error in mm, and Dice of the known tissues."""
    where = (image_to_array(template.mask) > 0) & quality.field_of_view(t1w, transform)
    found = quality.template_figures(image_to_array(resample_to_grid(t1w, transform)), where, template)
    figures.put(use, way, NCC=found["template_ncc"], GM_Dice=found["grey_dice"], WM_Dice=found["white_dice"])
    if truth is None:
        return
    to_person = linear(np.linalg.inv(truth.scans["t1w"].to_scanner))
    chain = sitk.CompositeTransform([to_person, transform])
    tissue = (template.grey + template.white) > 0.5
    points = mask_points(sitk.Cast(tissue, sitk.sitkUInt8))[::97]
    person = (np.array([chain.TransformPoint(p) for p in points.tolist()]) * (-1, -1, 1)).T.astype(np.float32)
    shift = sample(displacement(truth.head.person, "full"), person[..., None, None], FIELD_GRID, edge=True)
    error = np.linalg.norm((person + shift[..., 0, 0]).T - points * (-1, -1, 1), axis=1)
    figures.put(use, way, error_mm=error.mean(), error_95th_mm=np.percentile(error, 95))
    for name in ("grey", "white"):
        known = array_to_image(getattr(truth.head.maps, name), HEAD_GRID)
        overlap = quality.dice(image_to_array(resample_to_grid(known, chain)) > 0.5,
                               image_to_array(getattr(template, name)) > 0.5)  # fmt: skip
        figures.put(use, way, **{f"known_{name}_Dice": overlap})


def rigid_figures(figures: Figures, way: str, scans: dict, rigid, brain, known: sitk.Transform | None) -> None:
    """Mutual information inside the brain, and the distance from the known or the data set's own place."""
    fixed, moving = (working_copy(scans[name].image, 2.0) for name in ("t1w", "t2f"))
    placed = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, rigid, sitk.sitkLinear, -1.0))
    inside = (sitk.GetArrayFromImage(on_grid(brain, fixed)) > 0) & (placed >= 0)
    information = quality.normalised_mutual_information(sitk.GetArrayFromImage(fixed)[inside], placed[inside], 32)
    figures.put("T2F to T1w", way, mutual_information=information)
    if known is not None:
        points = mask_points(brain)[::1999].tolist()
        apart = [np.subtract(rigid.TransformPoint(p), known.TransformPoint(p)) for p in points]
        figures.put("T2F to T1w", way, error_mm=np.linalg.norm(apart, axis=1).mean())


def drawn(ready, model) -> dict[str, np.ndarray]:
    """The model's PET on the grid by tracer, SUVR, 0 outside the template's brain."""
    import torch

    condition = torch.cat([image_to_tensor(ready.t1w), image_to_tensor(ready.t2f)], dim=1)
    inside, result = image_to_array(ready.mask) > 0, {}
    conditioned = ConditionedModel(model, condition)
    for plan in resolve(Options(tracers=tuple(TRACERS), seed=0), model):
        mean, tracer = draw_samples(conditioned, plan, yes=True).mean, plan.tracer.name
        low, high = plan.window
        pet = np.clip(low + (mean + 1) / 2 * (high - low), low, high)
        result[tracer] = np.where(inside, pet, 0).astype(np.float32)
    return result


def pet_figures(figures: Figures, use: str, ready, pets: dict, raw: sitk.Image, cuts: dict, truth: Truth) -> None:
    """The PET in the T1w's space against the person's own, with each cut (a mask in that space, or None)."""
    brain = sitk.Cast(own_brain(truth, "t1w", raw) > 0.5, sitk.sitkUInt8)
    inside, wide = (sitk.GetArrayFromImage(m) > 0 for m in (brain, dilated(brain, 4)))
    rim = wide & (sitk.GetArrayFromImage(dilated(brain == 0, 4)) > 0)
    for tracer, pet in pets.items():
        real = sitk.GetArrayFromImage(scanner.true_pet(truth.head, tracer, raw, "T1w", expected=False))
        low, high = TRACERS[tracer].suvr_window
        made = sitk.GetArrayFromImage(preprocessing.to_t1w_space(array_to_image(pet), ready, raw))
        for way, cut in cuts.items():
            shown = made if cut is None else made * (sitk.GetArrayFromImage(cut) > 0)
            found = {}
            for name, where in (("brain", inside), ("rim", rim)):
                error = np.mean((np.clip(shown[where], low, high) - np.clip(real[where], low, high)) ** 2)
                found[f"PSNR_{name}_{tracer}"] = 10 * np.log10((high - low) ** 2 / error)
            figures.put(use, way, **found)


def edge_figures(figures: Figures, way: str, support: np.ndarray, t1w: sitk.Image, brain: np.ndarray, known) -> None:
    """Volume of the PET's support, what of it the brain mask leaves out, and Dice with the known brain."""
    cubic = np.prod(t1w.GetSpacing()) / 1000
    figures.put("edge", way, support_ml=support.sum() * cubic, outside_mask_ml=(support & ~brain).sum() * cubic)
    if known is not None:
        figures.put("edge", way, Dice=quality.dice(support, known), beyond_ml=(support & ~known).sum() * cubic,
                    lacking_ml=(known & ~support).sum() * cubic)  # fmt: skip


def linear_figures(figures: Figures, scans: dict, brain: sitk.Image, template, truth, own) -> tuple:
    """Both ways of the affine and of the T2F's rigid registration; returns the present ones."""
    t1w, affines, rigids = scans["t1w"].image, {}, {}
    stripped = Scan(sitk.Mask(t1w, brain), brain)
    for way, scan in (("present", scans["t1w"]), ("stripped", stripped)):
        affines[way] = figures.timed("affine", way, lambda scan=scan: register_affine(scan, template))
        template_figures(figures, "affine", way, t1w, affines[way], template, truth)
    affine, known = affines["present"], own
    if truth:
        known = linear(truth.scans["t2f"].to_scanner @ np.linalg.inv(truth.scans["t1w"].to_scanner))
    wider = on_grid(sitk.BinaryDilate(template.mask, [4] * 3), working_copy(t1w, 2.0), affine.GetInverse())
    for way, mask in (("present", wider), ("brain", brain)):
        rigids[way] = figures.timed(
            "T2F to T1w", way, lambda m=mask: register_rigid(scans["t1w"], m, scans["t2f"], "T2F")
        )
        rigid_figures(figures, way, scans, rigids[way], brain, known)
    return affine, rigids["present"]


def measure(raw_t1w, raw_t2f, truth: Truth | None, own: sitk.Transform | None, model) -> Figures:
    """All figures of one pair."""
    template, figures = load_template(), Figures()
    raw = {"t1w": upright_mri(raw_t1w, "T1w"), "t2f": upright_mri(raw_t2f, "T2F")}
    heads = {name: head_mask(image) for name, image in raw.items()}
    brains = {n: figures.timed(f"extraction {n}", "-", lambda n=n: extract_brain(raw[n]).mask) for n in raw}
    corrected = {
        (way, name): figures.timed(f"N4, {label}", way, lambda m=m, name=name: correct_bias(raw[name], m[name]))
        for way, m in (("present", heads), ("brain", brains))
        for name, label in (("t1w", "T1w"), ("t2f", "FLAIR"))
    }
    scans = {name: Scan(corrected["present", name], heads[name]) for name in raw}
    brain, t1w, warps = brains["t1w"], scans["t1w"].image, {}
    affine, rigid = linear_figures(figures, scans, brain, template, truth, own)
    for way, image in (("present", t1w), ("stripped T1w", sitk.Mask(t1w, brain))):
        warps[way] = figures.timed("deformation", way, lambda i=image: fit_warp(i, affine, template))
        template_figures(figures, "deformation", way, t1w, warps[way].to_t1w, template, truth)
        figures.put("deformation", way, sdlogJ=warps[way].quality.get("sd_log_jacobian", 0))

    back = warps["present"].to_grid
    chains = {"t1w": back, "t2f": sitk.CompositeTransform([back, rigid.GetInverse()])}
    n4_figures(figures, corrected, raw, chains, template, truth)
    support = sitk.GetArrayFromImage(on_grid(template.mask, raw["t1w"], back)) > 0
    cut, real = support & (sitk.GetArrayFromImage(brain) > 0), None
    if truth:
        real = sitk.GetArrayFromImage(own_brain(truth, "t1w", raw["t1w"])) > 0.5
    for way, shown in (("present", support), ("cut", cut)):
        edge_figures(figures, way, shown, raw["t1w"], sitk.GetArrayFromImage(brain) > 0, real)
    if truth:
        for way, cuts in (("present", {"present": None, "cut": brain}), ("stripped T1w", {"stripped T1w": None})):
            ready = preprocessing._on_grid(scans, {}, {"t2f": rigid}, warps[way], template)
            pet_figures(figures, "PET", ready, drawn(ready, model), raw["t1w"], cuts, truth)
    return figures


def cases(options) -> list[tuple[str, str]]:
    pairs = sorted(path.name.removesuffix("_T1W.nii.gz") for path in options.real.glob("*_T1W.nii.gz"))
    simulated = [("simulated", str(n)) for n in range(options.people)]
    return (
        simulated[:2]
        + [("real", pair) for pair in pairs[:3]]
        + simulated[2:3]
        + [("real", pair) for pair in pairs[3:]]
        + simulated[3:]
    )


def load(kind: str, name: str, options, model) -> Figures:
    """Figures of a case, from the cache when it was measured before."""
    kept = options.cache / f"{kind}-{name}.json"
    if not kept.exists():
        truth = own = None
        if kind == "simulated":
            t1w, t2f, truth = simulate(int(name))
        else:
            t1w, t2f = (read_volume(options.real / f"{name}_{s}.nii.gz") for s in ("T1W", "FLAIR"))
            file = options.real / f"{name}_T1W_to_FLAIR.txt"
            own = sitk.ReadTransform(str(file)).GetInverse() if file.exists() else None
        found = measure(t1w, t2f, truth, own, model)
        kept.write_text(json.dumps([[*key, value] for key, value in found.items()]))
    return Figures({tuple(key): value for *key, value in json.loads(kept.read_text())})


def rows(found: list[Figures]) -> list[str]:
    """A line for every figure: the present way's mean, and each other way's with its paired difference."""
    keys = list(dict.fromkeys(key for figures in found for key in figures))
    lines = []
    for use, way, name in keys:
        if way in ("present", "-"):
            continue
        pairs = [(f[use, way, name], f[use, "present", name]) for f in found if (use, way, name) in f]
        new, old = np.array(pairs).T
        error = (new - old).std(ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else float("nan")
        difference = (new - old).mean()
        mark = "*" if abs(difference) > 2 * error else ""
        lines.append(
            f"| {use} | {way} | {name} | {old.mean():.3f} | {new.mean():.3f} | {difference:+.3f} ± {error:.3f}{mark} | "
            f"{len(pairs)} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--people", type=int, default=4)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    model, found = load_model("demo", device="cpu"), {"real": [], "simulated": []}
    for kind, name in cases(options):
        begin = time.process_time()
        found[kind].append(load(kind, name, options, model))
        print(kind, name, f"{time.process_time() - begin:.0f} CPU s", file=sys.stderr, flush=True)
    for kind, figures in found.items():
        print(f"\n{len(figures)} {kind} people; * beyond two standard errors\n")
        print("| use | way | figure | present | way | difference | people |\n|---|---|---|---|---|---|---|")
        print("\n".join(rows(figures)))


if __name__ == "__main__":
    main()
