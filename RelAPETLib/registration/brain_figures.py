"""Figures that need the extracted brain and no deformation, and how much of the brain the MRI show."""

from __future__ import annotations

from collections.abc import Mapping

import SimpleITK as sitk

from .brain_extraction import Brain
from .coverage import Coverage, measure_coverage
from .mutual_information import on_grid
from .quality import pair_sharpness, smoothness_figures
from .scans import Scan
from .template import Template


def brain_figures(
    scans: Mapping[str, Scan], brain: Brain, affine: sitk.Transform, rigid: sitk.Transform | None, template: Template
) -> tuple[Coverage, dict[str, float]]:
    """How much of a brain its MRI show, and figures of the brain and of the pair by name.

    Args:
        scans: ``t1w``, and ``t2f`` where there is one.
        brain: of the T1w.
        affine: template points to T1w points.
        rigid: T1w points to T2F points; None without a T2F.
        template: from `load_template`.
    """
    images = [scans[name].image if name in scans else None for name in ("t1w", "t2f")]
    coverage = measure_coverage(brain, *images, affine, rigid, template)
    figures = {f"brain_missing_{name}": share for name, share in coverage.missing.items()}
    figures |= {"intracranial_ml": brain.volume_ml}
    if not brain.volume_ml:  # whatever this is, its other figures tell
        return coverage, figures
    t1w = scans["t1w"].image
    figures |= smoothness_figures("t1w", t1w, on_grid(brain.mask, t1w))
    if rigid is None:
        return coverage, figures
    t2f = scans["t2f"].image
    figures |= smoothness_figures("t2f", t2f, on_grid(brain.mask, t2f, rigid.GetInverse()))
    return coverage, figures | pair_sharpness(scans["t1w"], scans["t2f"], brain.mask, rigid)
