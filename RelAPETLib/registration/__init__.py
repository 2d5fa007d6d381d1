"""Registration: a T1w to the template (affine, then deformable), another scan to the T1w (rigid), and how well it went.

All transforms are SimpleITK's: LPS millimetres, from fixed to moving points, as a resampling wants them. What was
measured, and on which scans, stands in ``Testing/benchmarks/results/registration.md``.
"""

#: How a T1w may be deformed: ``torch`` by local correlation, ``fine`` by the same with a further level of 1 mm,
#: ``demons``, ``affine`` not at all; ``auto`` is ``torch``. Of ``fine`` and ``auto`` what folds gives way to ``torch``,
#: then ``demons``; whatever else folds, to the affine.
AUTO, USUAL = "auto", "torch"
METHODS = (AUTO, "fine", USUAL, "demons", "affine")
#: Raised when the transforms of the same scans change, so that cases kept by earlier code are prepared anew.
REVISION = 5
#: Memory that the 1 mm level of ``fine`` takes beside the rest.
FINE_BYTES = 1_500_000_000
