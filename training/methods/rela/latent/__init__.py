"""The latent forms: autoencoders trained and frozen first, then Algorithm 1 in their latents."""
