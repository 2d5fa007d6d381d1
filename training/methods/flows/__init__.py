"""Training of rectified flow and of the diffusion bridge."""
