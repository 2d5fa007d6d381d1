"""Many people at once: what a BIDS data set or a table offers (`bids`, `table`, `cases`), and workers (`pool`)."""
