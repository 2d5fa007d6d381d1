"""Training of DDGAN."""
