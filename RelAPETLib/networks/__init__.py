"""Networks that several methods share: the conditional U-Net, the discriminator, the autoencoder."""
