"""RelA-Diffusion (arXiv 2602.21345): Algorithm 1 on voxels, in the paper's latents or in the demo's."""
