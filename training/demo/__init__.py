"""Training of the demo model on simulated people: ``python -m training.demo --out DIR``."""
