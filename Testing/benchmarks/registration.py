"""How well and how fast the T1w of a real pair is registered, and how exactly its FLAIR is laid over it.

python Testing/benchmarks/registration.py [T1W FLAIR] > Testing/benchmarks/results/registration.md

Without files, the real pair in RELAPET_SHARED (or ../shared) is used. Deformable rows start from the affine, their
seconds exclude it and N4. NCC and Dice (three k-means classes of the warped T1w against the template's tissue maps) are
inside the template's brain and the field of view. Both reward violent warps: read folds and sdlogJ (the SD of the log
Jacobian) beside them. "Back" is the error of grid -> T1w -> grid.
"""

from __future__ import annotations

import datetime
import itertools
import os
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from RelAPETLib.grid import image_to_array  # noqa: E402
from RelAPETLib.preprocessing import preprocess  # noqa: E402
from RelAPETLib.registration import quality  # noqa: E402
from RelAPETLib.registration.affine import register_affine  # noqa: E402
from RelAPETLib.registration.copies import working_copy  # noqa: E402
from RelAPETLib.registration.mutual_information import mask_points, on_grid  # noqa: E402
from RelAPETLib.registration.rigid import register_rigid  # noqa: E402
from RelAPETLib.registration.scans import Scan, prepare  # noqa: E402
from RelAPETLib.registration.template import Template, load_template  # noqa: E402
from RelAPETLib.registration.warp import fit_warp, resample_to_grid  # noqa: E402
from RelAPETLib.volumes import read_volume  # noqa: E402

#: Known motions given to the FLAIR's header: degrees about x, y, z and mm along them.
MOTIONS = (
    ((0, 0, 0), (0, 0, 0)),
    ((10, 0, 0), (20, 0, 0)),
    ((0, -10, 0), (0, 25, 0)),
    ((0, 0, 20), (0, 0, 30)),
    ((-20, 0, 10), (-20, 20, 10)),
    ((10, 20, -10), (30, -20, 20)),
    ((-20, -20, 20), (25, 25, -20)),
    ((20, -10, -20), (-40, 0, 0)),
)


class Clock:
    """Wall and CPU seconds since it was made; on a busy machine the second says more."""

    def __init__(self):
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> str:
        return f"{time.perf_counter() - self._wall:.1f} / {time.process_time() - self._cpu:.1f}"


def deformable_row(method: str, t1w: sitk.Image, affine: sitk.AffineTransform, template: Template) -> str:
    clock = Clock()
    warp = fit_warp(t1w, affine, template, method)
    seconds = clock.read()
    where = (image_to_array(template.mask) > 0) & quality.field_of_view(t1w, warp.to_t1w)
    figures = quality.template_figures(image_to_array(resample_to_grid(t1w, warp.to_t1w)), where, template)
    points = mask_points(template.mask)[::997].tolist()
    back = [warp.to_grid.TransformPoint(warp.to_t1w.TransformPoint(p)) for p in points]
    error = np.linalg.norm(np.subtract(back, points), axis=1)
    folds, spread = (warp.quality.get(name, 0.0) for name in ("folds_percent", "sd_log_jacobian"))
    return (
        f"| {method} | {seconds} | {figures['template_ncc']:.3f} | {figures['grey_dice']:.3f} | "
        f"{figures['white_dice']:.3f} | {folds:.4f} | {spread:.3f} | "
        f"{error.mean():.2f} / {np.percentile(error, 99):.2f} |"
    )


def corners(image: sitk.Image) -> list[tuple[float, ...]]:
    last = [n - 1 for n in image.GetSize()]
    return [image.TransformIndexToPhysicalPoint([f * n for f, n in zip(c, last, strict=True)])
            for c in itertools.product((0, 1), repeat=3)]  # fmt: skip


def moved(scan: Scan, motion: sitk.Euler3DTransform) -> Scan:
    """The same scan whose header says that it lies elsewhere."""
    rotation = np.reshape(motion.GetMatrix(), (3, 3))
    images = []
    for image in (scan.image, scan.head):
        image = sitk.Image(image)
        image.SetOrigin(motion.TransformPoint(image.GetOrigin()))
        image.SetDirection((rotation @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
        images.append(image)
    return Scan(*images)


def rigid_rows(t1w: Scan, t2f: Scan, brain: sitk.Image) -> list[str]:
    """Mean distance of the T1w's corners from where the unmoved FLAIR's registration puts them, for every motion."""
    places, rows = corners(t1w.image), []
    centre = mask_points(brain).mean(axis=0).tolist()
    first = None
    for degrees, shift in MOTIONS:
        motion = sitk.Euler3DTransform()
        motion.SetCenter(centre)
        motion.SetRotation(*np.radians(degrees).tolist())
        motion.SetTranslation([float(s) for s in shift])
        clock = Clock()
        found = register_rigid(t1w, brain, moved(t2f, motion), "T2F")
        seconds = clock.read()
        back = motion.GetInverse()
        ends = np.array([back.TransformPoint(found.TransformPoint(p)) for p in places])
        first = ends if first is None else first
        error = np.linalg.norm(ends - first, axis=1).mean()
        rows.append(f"| {degrees} | {shift} | {seconds} | {error:.2f} |")
    return rows


def main() -> None:
    shared = Path(os.environ.get("RELAPET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    pair = sys.argv[1:3] or [shared / "data" / "open_ms" / f"patient01_study1_{n}.nii.gz" for n in ("T1W", "FLAIR")]
    raw_t1w, raw_t2f = (read_volume(Path(path)) for path in pair)
    template = load_template()
    clock = Clock()
    ready = preprocess(raw_t1w, raw_t2f)
    whole = clock.read()
    t1w, t2f = prepare(raw_t1w, "T1w"), prepare(raw_t2f, "T2F")
    clock = Clock()
    affine = register_affine(t1w, template)
    seconds = clock.read()
    print("# Registration of a real pair\n")
    print(f"Made by `python Testing/benchmarks/registration.py` on {datetime.date.today()}, {os.cpu_count()} cores.")
    print(f"Seconds are wall / CPU (all threads); the load before the run was {os.getloadavg()[0]:.1f}.\n")
    print(f"Pair: {', '.join(Path(path).name for path in pair)}. `preprocess` in all: {whole} s, {ready.method}; ")
    print(f"the affine alone: {seconds} s. Doubts: {quality.doubts(ready.quality) or 'none'}.\n")
    print("| method | s | NCC | GM Dice | WM Dice | folds % | sdlogJ | back mm, mean / 99th |")
    print("|---|---|---|---|---|---|---|---|")
    for method in ("affine", "demons", "torch"):
        print(deformable_row(method, t1w.image, affine, template), flush=True)
    print(
        "\nFLAIR laid over the T1w when its header is wrong by a known motion: mean distance in mm at the T1w's corners"
    )
    print("from where the same FLAIR with its own header lands.\n")
    print("| rotation, degrees | shift, mm | s | error mm |\n|---|---|---|---|")
    brain = on_grid(sitk.BinaryDilate(template.mask, [4] * 3), working_copy(t1w.image, 2.0), affine.GetInverse())
    print("\n".join(rigid_rows(t1w, t2f, brain)))


if __name__ == "__main__":
    main()
