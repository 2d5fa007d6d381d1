"""Words and bounds that the settings and the paths share."""

from ...diffusion.names import ANCESTRAL, EULER, HEUN

#: Samplers of each kind of path, the path's own first.
SAMPLERS = {"rectified_flow": (EULER, HEUN), "bridge": (HEUN, ANCESTRAL)}
#: The most network calls that a synthesis can ask for.
LONGEST = 1000
