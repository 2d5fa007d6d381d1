"""The networks: generator, discriminator, and the two diffusion models made of them."""
