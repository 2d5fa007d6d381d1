"""Many people at once.

What a data set offers: `bids`, `table`, `cases` (with PET, for training), `visits` (PET or not, for synthesis),
`filters`, `validation`. What is asked and what becomes of it: `request`, `visit_run` (one visit, by any runner),
`prepared`, `derivatives` (names and sidecars), `records`, `reasons`, `group` (tables). Who does it: `pool` and `runner`
(processes), `dask_runner`.
"""
