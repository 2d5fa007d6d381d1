"""Registration: a T1w to the template (affine, then deformable), another scan to the T1w (rigid), and how well it went.

All transforms are SimpleITK's: LPS millimetres, from fixed to moving points, as a resampling wants them. What was
measured, and on which scans, stands in ``Testing/benchmarks/results/registration.md``.
"""

#: How a T1w may be deformed: ``torch`` by local correlation, ``fine`` by the same with a further level of 1 mm,
#: ``demons``, ``affine`` not at all; ``auto`` is ``torch``. What folds gives way to the next coarser one.
AUTO, USUAL = "auto", "torch"
METHODS = (AUTO, "fine", USUAL, "demons", "affine")
