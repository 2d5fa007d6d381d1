"""Figures that tell whether a registered pair is a brain's T1w and T2-FLAIR, laid over the template as it should be.

Each is a plain float; none needs to know how the registration was done. Which values are suspicious stands in
``Resources/quality_thresholds.json``.
"""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk

from ..errors import RelAPETError
from ..grid import MNI_GRID, image_to_array
from ..resources import resource
from .fields import jacobian
from .mutual_information import on_grid
from .scans import Scan
from .template import Template

#: Distance between the place where a T2F was laid and those beside it that its agreement there is compared with.
SHIFT_MM = 4.0
#: An MRI whose voxels are larger than this along every axis may be as smooth as a PET (one of 3 mm had 8.1 mm).
COARSE_MM = 2.4


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two vectors; 0 when one is constant."""
    a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    norm = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b) / norm) if norm > 0 else 0.0


def normalised_mutual_information(a: np.ndarray, b: np.ndarray, bins: int = 48) -> float:
    """Mutual information over the mean entropy, 2 I(A, B) / (H(A) + H(B)): 0 unrelated, 1 a relabelling.

    Histogram bins hold equal shares of the voxels of each volume, so a few bright voxels do not count for much.
    """

    def ranked(x: np.ndarray) -> np.ndarray:
        few = x[:: max(1, x.size // 200_000)]
        edges = np.unique(np.quantile(few, np.linspace(0, 1, bins + 1)[1:-1]))
        return np.searchsorted(edges, x, side="right")

    def entropy(counts: np.ndarray) -> float:
        p = counts[counts > 0] / counts.sum()
        return float(-np.sum(p * np.log(p)))

    joint = np.bincount(ranked(a) * bins + ranked(b), minlength=bins * bins).reshape(bins, bins)
    total = entropy(joint.sum(0)) + entropy(joint.sum(1))
    return 2 * (total - entropy(joint)) / total if total > 0 else 0.0


def three_classes(values: np.ndarray, bins: int = 1024) -> np.ndarray:
    """Classes 0, 1, 2 in rising order of intensity, by k-means on the histogram clipped at its 99.5th percentile."""
    counts, edges = np.histogram(np.minimum(values, np.percentile(values, 99.5)), bins)
    level = (edges[1:] + edges[:-1]) / 2
    centres = np.interp((0.1, 0.5, 0.85), np.cumsum(counts) / counts.sum(), level)
    for _ in range(100):
        label = np.searchsorted((centres[1:] + centres[:-1]) / 2, level)
        weight = np.bincount(label, counts, 3)
        moved = np.where(weight > 0, np.bincount(label, counts * level, 3) / np.maximum(weight, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice overlap of two boolean arrays; 0 when both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 0.0


def field_of_view(image: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    """Where the model grid lies inside an image's field of view, boolean [X, Y, Z]."""
    inside = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    inside.CopyInformation(image)
    return image_to_array(on_grid(inside, MNI_GRID.reference_image(), transform)) > 0


def template_figures(t1w: np.ndarray, where: np.ndarray, template: Template) -> dict[str, float]:
    """Agreement of a T1w on the grid with the template.

    Args:
        t1w: [X, Y, Z], any units.
        where: voxels to look at: brain mask and field of view.

    Returns:
        ``template_ncc``, the correlation with the template's T1; ``grey_dice`` and ``white_dice`` of three k-means
        classes with the tissue maps; ``brain_overlap``, Dice of all that is brighter than fluid with grey or white.
    """
    values = t1w[where]
    grey, white, reference = (_inside(m, where) for m in (template.grey, template.white, template.t1))
    classes = three_classes(values)
    return {
        "template_ncc": correlation(values, reference),
        "grey_dice": dice(classes == 1, (grey > 0.5)),
        "white_dice": dice(classes == 2, (white > 0.5)),
        "brain_overlap": dice(classes >= 1, grey + white > 0.5),
    }


def tissue_contrast(volume: np.ndarray, where: np.ndarray, template: Template) -> float:
    """Correlation of a volume [X, Y, Z] with the template's white minus grey matter, in tissue among `where`."""
    return _contrast(volume[where], *(_inside(m, where) for m in (template.grey, template.white)))


def _contrast(values: np.ndarray, grey: np.ndarray, white: np.ndarray) -> float:
    """`tissue_contrast` of values among grey and white matter at the same places."""
    tissue = grey + white > 0.8
    return correlation(values[tissue], (white - grey)[tissue])


def _inside(template_map: sitk.Image, where: np.ndarray) -> np.ndarray:
    """Values of one of the template's maps where a boolean array [X, Y, Z] is true."""
    return sitk.GetArrayViewFromImage(template_map).transpose(2, 1, 0)[where]


def pair_figures(t1w: np.ndarray, t2f: np.ndarray, where: np.ndarray, template: Template) -> dict[str, float]:
    """Whether two volumes on the grid are a T1w and a T2F of the same brain.

    ``pair_mutual_information`` and ``pair_correlation`` compare the two; ``t1w_contrast`` and ``t2f_contrast`` are each
    volume's correlation with the template's white minus grey matter: clearly positive in a T1w (white matter is
    brighter), from clearly negative to a little positive in a FLAIR; ``contrast_order`` is their difference, positive
    unless the two are swapped or the same; ``t2f_fluid`` is the FLAIR's mean in fluid over its mean in tissue (fluid is
    dark in a FLAIR, bright in a plain T2w).
    """
    a, b = t1w[where], t2f[where]
    grey, white = (_inside(m, where) for m in (template.grey, template.white))
    tissue, fluid = grey + white > 0.8, grey + white < 0.1
    level = float(b[tissue].mean())
    contrasts = [_contrast(values, grey, white) for values in (a, b)]
    return {
        "pair_mutual_information": normalised_mutual_information(a, b),
        "pair_correlation": correlation(a, b),
        "t1w_contrast": contrasts[0],
        "t2f_contrast": contrasts[1],
        "contrast_order": contrasts[0] - contrasts[1],
        "t2f_fluid": float(b[fluid].mean()) / level if level > 0 and fluid.any() else 0.0,
    }


def pair_sharpness(
    t1w: Scan, t2f: Scan, brain: sitk.Image, rigid: sitk.Transform, shift_mm: float = SHIFT_MM
) -> dict[str, float]:
    """How much better two scans agree where they were laid than a little beside it.

    The mutual information inside the brain, over its mean with the T2F shifted along each axis, forwards and backwards.
    Scans of one head agree in every fold, and lose that at once; those of two people agree in the coarse only. Field
    strength, noise, contrast and slice thickness change both numbers alike.

    Args:
        t1w, t2f: bias-corrected scans.
        brain: mask (> 0) in the T1w's space, on any grid.
        rigid: T1w points to T2F points.

    Returns:
        ``pair_sharpness``: 1 when the place does not matter; 0 when too little brain is seen to tell.
    """
    fixed, moving = t1w.fine, t2f.fine
    inside = sitk.GetArrayFromImage(on_grid(brain, fixed)) > 0
    values = sitk.GetArrayFromImage(fixed)

    def information(shift: np.ndarray) -> float:
        chain = sitk.CompositeTransform([rigid, sitk.TranslationTransform(3, shift.tolist())])
        shifted = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, chain, sitk.sitkLinear, -1.0, sitk.sitkFloat32))
        seen = inside & (shifted >= 0)
        return normalised_mutual_information(values[seen], shifted[seen], 32) if seen.sum() > 1000 else 0.0

    beside = [information(sign * shift_mm * axis) for axis in np.eye(3) for sign in (-1, 1)]
    level = float(np.mean(beside))
    return {"pair_sharpness": information(np.zeros(3)) / level if level > 0 else 0.0}


def smoothness(image: sitk.Image, mask: sitk.Image) -> float:
    """Full width at half maximum in mm, along the sharpest axis, of a Gaussian that would make a picture so smooth.

    From the variance of differences between neighbours over that of the values (Forman et al., Magn Reson Med
    1995;33:636). Anatomy counts as noise does: an MRI has its folds, a PET has lost them along all three axes. Large
    voxels lose them, too, and noise of single voxels hides that a picture has lost them.

    Args:
        mask: where to look (> 0), on the image's own grid.

    Returns:
        0 where neighbours have nothing in common along some axis, and where nothing can be told: a constant picture, at
        most two voxels along each axis.
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0
    if not inside.any():
        return 0.0
    box = tuple(slice(found.min(), found.max() + 1) for found in np.nonzero(inside))
    inside, values = inside[box], sitk.GetArrayViewFromImage(image)[box]
    variance = float(values[inside].var(dtype=np.float64))
    widths = []
    for axis, spacing in zip((2, 1, 0), image.GetSpacing(), strict=True):
        both = np.delete(inside, 0, axis) & np.delete(inside, -1, axis)
        if values.shape[axis] > 2 and both.any() and variance > 0:
            steps = np.diff(values, axis=axis)[both]
            kept = 1 - float(np.mean(np.square(steps, dtype=np.float64))) / (2 * variance)
            if kept < 1:  # else nothing changes along it
                widths.append(spacing * np.sqrt(-2 * np.log(2) / np.log(kept)) if kept > 0 else 0.0)
    return float(min(widths, default=0.0))


def smoothness_figures(name: str, image: sitk.Image, mask: sitk.Image) -> dict[str, float]:
    """`smoothness` of a scan as ``NAME_smoothness``, or ``NAME_coarse_smoothness`` where voxels may be the cause."""
    kind = "smoothness" if min(image.GetSpacing()) <= COARSE_MM else "coarse_smoothness"
    return {f"{name}_{kind}": smoothness(image, mask)}


def field_figures(field: sitk.Image, mask: sitk.Image) -> dict[str, float]:
    """``folds_percent`` (brain voxels with a Jacobian <= 0) and ``sd_log_jacobian`` of a displacement field."""
    determinant = jacobian(field)[sitk.GetArrayFromImage(on_grid(mask, field)) > 0]
    return {
        "folds_percent": 100 * float(np.mean(determinant <= 0)),
        "sd_log_jacobian": float(np.std(np.log(np.maximum(determinant, 1e-3)))),
    }


def doubts(quality: dict[str, float], kind: str = "raw") -> list[str]:
    """One line for each figure outside what real and simulated brains give; an empty list when nothing is suspicious.

    Args:
        quality: figures by name, as `preprocess` or `from_grid` return them (`quality`, or one PET's of
            `pet_quality`); figures without a threshold are ignored.
        kind: ``raw`` (registered here) or ``grid`` (came preprocessed).

    Raises:
        RelAPETError: an unknown kind, or the thresholds file is missing.
    """
    return [line for _, line in findings(quality, kind)[0]]


def cautions(quality: dict[str, float], kind: str = "raw") -> list[str]:
    """As `doubts`, for what is odd without being a reason to refuse; empty where there are doubts."""
    return [line for _, line in findings(quality, kind)[1]]


def findings(quality: dict[str, float], kind: str = "raw") -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Lines of `doubts` and of `cautions`, each with the name of its figure."""
    doubtful = _outside("thresholds", quality, kind)
    return doubtful, [] if doubtful else _outside("cautions", quality, kind)


def _outside(rules: str, quality: dict[str, float], kind: str) -> list[tuple[str, str]]:
    document = json.loads(resource("quality_thresholds.json").read_text(encoding="utf-8"))
    if kind not in document["kinds"]:
        raise RelAPETError(f"unknown kind of quality figures '{kind}'; use one of {', '.join(document['kinds'])}")
    lines = []
    for rule in document[rules]:
        value = quality.get(rule["figure"])
        if value is None or kind not in rule["kinds"]:
            continue
        low, high = rule.get("minimum"), rule.get("maximum")
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            limit = f"at least {low:g}" if low is not None and not value >= low else f"at most {high:g}"
            lines.append((rule["figure"], f"{rule['says']} ({rule['figure']} {value:.3g}, expected {limit})"))
    return lines
