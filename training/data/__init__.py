"""Data of the training: from raw scans (`bids`, `table`) through `prepare` into a `cache`, a `split`, a `dataset`."""
