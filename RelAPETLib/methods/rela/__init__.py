"""RelA-Diffusion (arXiv 2602.21345) in its forms: voxels, the paper's latents, the demo models' latents."""

from .method import NETWORKS, RelaDiffusion, network_class

__all__ = ["NETWORKS", "RelaDiffusion", "network_class"]
