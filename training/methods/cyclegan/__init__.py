"""Training of CycleGAN."""
