"""What RelA-Diffusion's paper (arXiv 2602.21345) reports, of other data: 10 people of NFL-LONG on the 1 mm grid."""

from __future__ import annotations

from collections.abc import Mapping

#: PSNR, SSIM and MAE of each tracer, in the paper's order: TAU, PBR, PIB.
Figures = tuple[tuple[float, float, float], ...]
_RELA = ((28.314, 0.898, 0.017), (29.324, 0.898, 0.015), (26.270, 0.861, 0.020))
#: Tables I and IV, by name on the bench. "StableDiff" is ldm, "DiffGAN" is Diffusion-GAN.
METHODS: Mapping[str, Figures] = {
    "cyclegan": ((27.506, 0.869, 0.017), (28.065, 0.833, 0.017), (24.954, 0.846, 0.024)),
    "ddgan": ((25.448, 0.892, 0.025), (25.201, 0.884, 0.027), (26.382, 0.870, 0.021)),
    "ldm": ((26.483, 0.881, 0.023), (28.845, 0.892, 0.015), (25.245, 0.852, 0.023)),
    "diffusion_gan": ((24.980, 0.884, 0.026), (23.112, 0.870, 0.034), (23.491, 0.855, 0.031)),
    "ficd": ((24.236, 0.883, 0.030), (25.594, 0.885, 0.025), (24.229, 0.860, 0.029)),
    "mtgd": ((24.998, 0.872, 0.026), (23.847, 0.859, 0.031), (25.677, 0.846, 0.023)),
    "rela": _RELA,
    "rela_latent": ((27.921, 0.900, 0.019), (28.823, 0.901, 0.015), (24.523, 0.865, 0.024)),
}
#: Table I, of what cannot be trained here; `training.methods.LEFT_OUT` says why.
LEFT_OUT: Mapping[str, Figures] = {"NFlow": ((27.615, 0.881, 0.019), (28.844, 0.887, 0.015), (24.522, 0.805, 0.024))}
#: Table III, by ablation.
ABLATIONS: Mapping[str, Figures] = {
    "none": _RELA,
    "wo_ra": ((28.156, 0.908, 0.019), (29.311, 0.912, 0.015), (25.408, 0.877, 0.022)),
    "wo_gp": ((18.401, 0.780, 0.061), (20.947, 0.786, 0.045), (16.855, 0.764, 0.066)),
    "wo_ra_gp": ((24.956, 0.877, 0.029), (29.261, 0.900, 0.016), (23.721, 0.850, 0.029)),
    "wo_t2f": ((28.109, 0.898, 0.019), (29.490, 0.905, 0.014), (25.366, 0.863, 0.022)),
    "wo_t1w": ((26.022, 0.887, 0.026), (29.894, 0.907, 0.014), (23.695, 0.851, 0.029)),
}
