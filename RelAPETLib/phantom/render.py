"""Rendering simulated people straight on the model grid, as if they had been scanned, registered and masked.

What registration would leave is simulated by the ``residual`` deformation of `people.displacement`; scanner effects by
random contrast, slice thickness, a small rest of bias field and noise. Raw scans are the business of `scanner`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .people import Maps, Person, grid_points, model_grid_at, person_maps, sample, smooth, template_maps

#: Resolution (FWHM, mm) and voxel noise (SD in SUVR, after smoothing over 4 mm) of the simulated PET.
PET_FWHM_MM, PET_NOISE_SUVR = 6.0, 0.04


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue in one MRI sequence, white matter of the T1w and grey matter of the FLAIR being 1."""

    grey: float
    white: float
    csf: float
    lesion: float
    halo: float

    def signal(self, maps: Maps) -> np.ndarray:
        """Noise-free signal [X, Y, Z]; outside the brain is CSF."""
        csf = np.clip(1 - maps.grey - maps.white, 0, 1)
        tissue = self.grey * maps.grey + self.white * maps.white + self.csf * csf
        return tissue + self.lesion * maps.lesion + self.halo * maps.halo * (1 - maps.lesion)


def draw_contrasts(person: Person, rng: np.random.Generator) -> tuple[Contrast, Contrast]:
    """Contrasts of the T1w and the FLAIR; the halo grows with white-matter disease."""
    halo = max(0.0, 0.07 + 0.05 * person.factors[3] + rng.normal(0, 0.015))
    t1w = Contrast(
        grey=rng.uniform(0.64, 0.74), white=1.0, csf=rng.uniform(0.2, 0.3), lesion=-rng.uniform(0.15, 0.35), halo=-halo
    )
    t2f = Contrast(
        grey=1.0, white=rng.uniform(0.74, 0.86), csf=rng.uniform(0.15, 0.3), lesion=rng.uniform(0.5, 0.9), halo=2 * halo
    )
    return t1w, t2f


def bias_field(shape, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Smooth multiplicative field [X, Y, Z] around 1: exp of a random quadratic polynomial of SD `strength`."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    terms = (x, y, z, x * y, y * z, x * z, x * x, y * y, z * z)
    field = sum(c * t for c, t in zip(rng.standard_normal(len(terms)), terms, strict=True))
    return np.exp(strength * field / field.std())


def rician(signal: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of the signal with complex Gaussian noise of this SD."""
    real = signal + sd * rng.standard_normal(signal.shape, np.float32)
    return np.hypot(real, sd * rng.standard_normal(signal.shape, np.float32))


def blur_slices(array: np.ndarray, thickness_mm: float, axis: int, spacing: float) -> np.ndarray:
    """Blur along one axis like slices of this thickness (a Gaussian of the same variance as the slab)."""
    import SimpleITK as sitk

    sigma = thickness_mm / np.sqrt(12) / spacing
    if sigma < 0.15:
        return array
    blur = sitk.RecursiveGaussianImageFilter()
    blur.SetSigma(sigma)
    blur.SetDirection(2 - axis)
    return sitk.GetArrayFromImage(blur.Execute(sitk.GetImageFromArray(np.ascontiguousarray(array, np.float32))))


def blur_pet(activity: np.ndarray, spacing: float) -> np.ndarray:
    """The PET scanner's resolution: a Gaussian of `PET_FWHM_MM`."""
    return smooth(activity, PET_FWHM_MM / 2.3548 / spacing)


def pet_noise(shape, rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Smooth voxel noise of SD `PET_NOISE_SUVR`."""
    noise = smooth(rng.standard_normal(shape), 4.0 / 2.3548 / spacing)
    return noise * (PET_NOISE_SUVR / noise.std())


@dataclass(frozen=True)
class Rendering:
    """One person on the model grid (1 mm) or its 2 mm blocks; float32 arrays [X, Y, Z].

    Attributes:
        t1w, t2f: [-1, 1], the background exactly -1, as `preprocessing.preprocess` returns them.
        pet: SUVR of each tracer, 0 outside the mask; every tracer, scanned or not.
        oracle: the mean of what the law holds possible given the factors that the MRI shows, without scanner noise.
    """

    t1w: np.ndarray
    t2f: np.ndarray
    pet: dict[str, np.ndarray]
    oracle: dict[str, np.ndarray]


def scale_mri(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mask, then per-volume min-max to [-1, 1]: the background is the volume's minimum."""
    masked = np.where(mask, array, 0)
    low, high = masked.min(), masked.max()
    return np.where(mask, 2 * (masked - low) / (high - low) - 1, -1).astype(np.float32)


def flattened(signal: np.ndarray, maps: Maps, strength: float) -> np.ndarray:
    """What bias correction does to the slow part of the true signal: it takes some of it for bias.

    The mean over tissue within about 30 mm, to the power `strength` (0 to 1), is divided out. A FLAIR loses the
    brightness of its cerebellum that way; a T1w, whose tissues stand apart, hardly anything.
    """
    spacing = maps.grid.spacing[0]
    tissue = maps.grey + maps.white
    local = smooth(signal * tissue, 30 / spacing) / np.maximum(smooth(tissue, 30 / spacing), 1e-3)
    field = local / local[tissue > 0.5].mean()
    return signal / np.clip(field, 0.5, 2) ** strength


def render(person: Person, *, view: int = 0, spacing: int = 2, oracle: bool = False, tracers=None) -> Rendering:
    """Render a person on the model grid.

    Args:
        view: which simulated scan of the same person; misregistration, contrast and noise differ between views.
        spacing: 1 or 2 mm.
        oracle: also render the law's mean given the factors.
        tracers: names of the tracers to render; all by default.
    """
    rng = person.rng(f"view-{view}")
    grid = model_grid_at(spacing)
    maps = person_maps(person, grid, kind="residual", spacing=spacing, view=view, tracers=tracers, expected=oracle)
    mask = template_maps(spacing)["brain"] > 0.5
    mris = []
    for contrast, mistaken_for_bias in zip(draw_contrasts(person, rng), ((0.0, 0.3), (0.6, 1.0)), strict=True):
        signal = contrast.signal(maps)
        if mris:
            signal = _shift(signal, grid, rng.normal(0, 0.4, 3))
        signal = blur_slices(signal, rng.uniform(1, 4.5), int(rng.integers(3)), spacing)
        bias = bias_field(signal.shape, rng, rng.uniform(0, 0.04))
        signal = flattened(signal, maps, person.rng(f"flattening-{view}-{len(mris)}").uniform(*mistaken_for_bias))
        # Noise is drawn for a 1 mm voxel; a larger one averages it.
        mris.append(scale_mri(rician(signal * bias, rng.uniform(0.01, 0.04) / spacing**1.5, rng), mask))
    pet = {
        tracer: np.where(mask, blur_pet(activity, spacing) + pet_noise(mask.shape, rng, spacing), 0).astype(np.float32)
        for tracer, activity in maps.activity.items()
    }
    expected = maps.expected_activity.items() if oracle else ()
    return Rendering(*mris, pet, {tracer: np.where(mask, blur_pet(a, spacing), 0) for tracer, a in expected})


def _shift(array: np.ndarray, grid, shift_mm: np.ndarray) -> np.ndarray:
    """The array moved by a few tenths of a millimetre: the FLAIR's own misregistration."""
    points = grid_points(grid) + np.asarray(shift_mm, np.float32)[:, None, None, None]
    return sample(array[None], points, grid, edge=True)[0]
