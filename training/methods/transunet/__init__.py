"""Training of TransUNet."""
