"""Training of ResDM."""
