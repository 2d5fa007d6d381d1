"""Training of SC-GAN."""
