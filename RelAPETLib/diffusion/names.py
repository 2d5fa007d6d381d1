"""Names that options, schemas and bundles share, without loading torch."""

#: Samplers, the default first: DPM-Solver++ 2M, deterministic DDIM, ancestral DDPM.
SAMPLERS = ("dpmpp", "ddim", "ddpm")
#: The sampler of a method with a chain of its own: each step is drawn from the chain's posterior.
ANCESTRAL = "ancestral"
#: The sampler of a method that learns the score: at every noise level a Langevin step, then one of reverse diffusion.
PREDICTOR_CORRECTOR = "pc"
#: Samplers of a path in continuous time: first order, and second order with a correction after each step.
EULER, HEUN = "euler", "heun"
#: Every sampler that a synthesis can be asked for; each model has some of them.
EVERY_SAMPLER = (*SAMPLERS, ANCESTRAL, PREDICTOR_CORRECTOR, EULER, HEUN)
#: Kinds of beta schedule: betas equally spaced, or their square roots equally spaced (the published weights' one).
SCHEDULES = ("linear", "scaled-linear")
#: What a network learns to predict, see `parametrization`.
PREDICTIONS = ("noise", "v", "x0", "edm")
#: Weights of its squared error by timestep: all alike, or Hang et al.'s (arXiv 2303.09556).
WEIGHTINGS = ("none", "min_snr")
