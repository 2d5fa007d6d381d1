"""Data of the training: what `RelAPETLib.cohort` found, through `prepare` into a `cache`, a `split`, a `dataset`."""
