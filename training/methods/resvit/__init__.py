"""Training of ResViT."""
