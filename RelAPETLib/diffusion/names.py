"""Names that options, schemas and bundles share, without loading torch."""

#: Samplers, the default first: DPM-Solver++ 2M, UniPC of order 2, deterministic DDIM, ancestral DDPM.
SAMPLERS = ("dpmpp", "unipc", "ddim", "ddpm")
#: The own sampler of a method whose steps are drawn otherwise: from the posterior of its own chain, or with another
#: variance.
ANCESTRAL = "ancestral"
#: The sampler of a method that learns the score: at every noise level a Langevin step, then one of reverse diffusion.
PREDICTOR_CORRECTOR = "pc"
#: Samplers of a path in continuous time: first order, and second order with a correction after each step.
EULER, HEUN = "euler", "heun"
#: Every sampler that a synthesis can be asked for; each model has some of them.
EVERY_SAMPLER = (*SAMPLERS, ANCESTRAL, PREDICTOR_CORRECTOR, EULER, HEUN)
#: What may be asked for in place of a number of steps, of a model that knows how few it needs.
QUALITIES = ("fast", "balanced", "reference")
#: Kinds of beta schedule: betas equally spaced, or their square roots equally spaced (the published weights' one).
SCHEDULES = ("linear", "scaled-linear")
#: What a network learns to predict, see `parametrization`.
PREDICTIONS = ("noise", "v", "x0", "edm")
#: Weights of its squared error by timestep: all alike, or Hang et al.'s (arXiv 2303.09556).
WEIGHTINGS = ("none", "min_snr")
