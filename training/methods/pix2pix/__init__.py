"""Training of Pix2Pix."""
