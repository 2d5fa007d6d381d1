"""Training of RelAPET's models, run from a checkout as ``python -m training ...``."""
