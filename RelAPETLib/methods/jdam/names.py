"""Words and bounds that the settings, the network and the noise share."""

from __future__ import annotations

#: Predictors: Song et al.'s algorithm 2, and their appendix F, whose noise is that of the next level however far it is.
PREDICTORS = ("reverse", "ancestral")
#: What the U-Net gives: the score times sigma, the clean image, or what `ScoreNetwork` mixes with the noisy one.
OUTPUTS = ("score", "clean", "edm")
#: Network calls of the paper's 1000 steps, and the most that a synthesis can ask for.
LONGEST = 2000


def clip_of(predictor: str) -> tuple[float, float] | None:
    """Bounds on clean estimates where nobody says others: few steps by ancestral sampling need them."""
    return (-1.0, 1.0) if predictor == "ancestral" else None
