"""Training of MTGD."""
