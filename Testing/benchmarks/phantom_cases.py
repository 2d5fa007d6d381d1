"""Unseen simulated people, from raw files to the model grid, kept in a cache folder for the benchmarks.

The PET and the oracle (the law without its noise) are placed by the phantom's known pose, then follow the T1w's
registration like everything else, so that a benchmark sees the model's and the registration's errors and no other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from RelAPETLib.grid import image_to_array  # noqa: E402
from RelAPETLib.phantom.people import Person, make_person  # noqa: E402
from RelAPETLib.preprocessing import preprocess  # noqa: E402
from RelAPETLib.tracers import TRACERS  # noqa: E402
from RelAPETLib.volumes import read_volume, write_volume  # noqa: E402

#: Seed of the people no model was trained on.
UNSEEN_SEED = 1000
#: The law of uptake that the shipped demo model was trained on, by which alone it can be judged.
LAW = 2
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Case:
    """One person on the model grid; float32 arrays [160, 180, 160].

    Attributes:
        t1w, t2f: [-1, 1], as preprocessed from the raw files.
        pet, oracle: SUVR by tracer, as scanned and as the law without its noise has it; 0 outside the brain mask.
        brain: share of the person's own brain in every voxel.
        quality: figures of the registration.
    """

    person: Person
    t1w: np.ndarray
    t2f: np.ndarray
    pet: dict[str, np.ndarray]
    oracle: dict[str, np.ndarray]
    brain: np.ndarray
    quality: dict[str, float]


def load_case(index: int, cache: Path, seed: int = UNSEEN_SEED, lesions: bool = True) -> Case:
    """Person `index` of `seed`, made at the first call and read from `cache` afterwards.

    `lesions=False` gives the same person, pose and noise with a FLAIR that shows no lesions and no halo.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"case-{seed}-{index:03d}{'' if lesions else '-without-lesions'}.npz"
    if not path.exists():
        _make(index, seed, lesions, path)
    with np.load(path) as kept:
        names, figures = kept["quality_names"], kept["quality_figures"]
        return Case(
            person=make_person(seed, index, LAW),
            t1w=kept["t1w"].astype(np.float32),
            t2f=kept["t2f"].astype(np.float32),
            pet={t: kept[f"pet {t}"].astype(np.float32) for t in TRACERS},
            oracle={t: kept[f"oracle {t}"].astype(np.float32) for t in TRACERS},
            brain=kept["brain"].astype(np.float32),
            quality=dict(zip(names.tolist(), figures.tolist(), strict=True)),
        )


def _make(index: int, seed: int, lesions: bool, path: Path) -> None:
    from dataclasses import replace

    from RelAPETLib.phantom.head import make_head
    from RelAPETLib.phantom.scanner import scan_mri, scan_pet, true_pet

    head = make_head(make_person(seed, index, LAW))
    t1w = scan_mri(head, "T1w")
    shown = head
    if not lesions:
        none = np.zeros_like(head.maps.lesion)
        shown = replace(head, maps=replace(head.maps, lesion=none, halo=none))
    t2f = scan_mri(shown, "FLAIR")
    images = []
    for name, scan in (("t1w", t1w), ("t2f", t2f)):
        file = path.with_name(f"{path.stem}-{name}.nii.gz")
        write_volume(scan.image, file, overwrite=True)
        images.append(read_volume(file))
        file.unlink()
    ready = preprocess(*images)
    mask = image_to_array(ready.mask) > 0
    volumes = {"t1w": image_to_array(ready.t1w), "t2f": image_to_array(ready.t2f)}
    for tracer in TRACERS:
        scan = scan_pet(head, tracer)
        oracle = true_pet(head, tracer, scan.image, tracer, expected=True)
        for name, image in (("pet", scan.image), ("oracle", oracle)):
            volumes[f"{name} {tracer}"] = np.where(mask, _on_grid(image, scan.to_scanner, t1w.to_scanner, ready), 0)
    from RelAPETLib.grid import array_to_image
    from RelAPETLib.whole_files import write_whole

    brain = array_to_image(head.maps.brain, head.maps.grid)
    volumes["brain"] = np.where(mask, _on_grid(brain, np.eye(4), t1w.to_scanner, ready), 0)
    names, figures = zip(*sorted(ready.quality.items()), strict=True)
    content = {name: volume.astype(np.float16) for name, volume in volumes.items()}
    content |= {"quality_names": np.array(names), "quality_figures": np.array(figures)}
    write_whole(path, lambda part: np.savez_compressed(part, **content), suffix=".npz")


def _on_grid(image, to_scanner: np.ndarray, t1w_to_scanner: np.ndarray, ready) -> np.ndarray:
    """An image placed by its known pose and resampled onto the grid through the T1w's registration."""
    import SimpleITK as sitk

    from RelAPETLib.registration.warp import resample_to_grid

    t1w_to_image = _LPS @ to_scanner @ np.linalg.inv(t1w_to_scanner) @ _LPS
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(t1w_to_image[:3, :3].ravel().tolist())
    affine.SetTranslation(t1w_to_image[:3, 3].tolist())
    return image_to_array(resample_to_grid(image, sitk.CompositeTransform([affine, ready.grid_to_t1w])))


if __name__ == "__main__":
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for number in range(first, last):
        case = load_case(number, folder)
        print(number, {name: round(value, 3) for name, value in case.quality.items()}, flush=True)
