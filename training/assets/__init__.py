"""Scripts that make the data files under ``Resources/``."""
