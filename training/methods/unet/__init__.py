"""Training of the U-Net control."""
