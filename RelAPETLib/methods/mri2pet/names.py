"""Words and bounds that the settings and the draws share."""

from ...diffusion.names import ANCESTRAL, SAMPLERS

#: Samplers that a model can be asked for.
OWN_SAMPLERS = (ANCESTRAL, *SAMPLERS)
#: The first timestep that is trained, and the last that is visited: t = 0 never is.
FIRST = 1
