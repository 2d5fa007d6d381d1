"""Training of MRI2PET."""
