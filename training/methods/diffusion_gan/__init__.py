"""Training of Diffusion-GAN."""
