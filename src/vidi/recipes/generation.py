"""Recipes of the generative models: 2 CPU cores, random weights; samples are in docs/results.

A GAN's step is one turn of its discriminator, and for every or every fifth of them one of its generator. The averaged
generator is the one that is validated and saved; its decay warms up.
"""

from dataclasses import replace

from vidi.engine.recipe import Recipe

GAN = Recipe(
    epochs=60,
    batch_size=64,
    optimizer="adam",
    learning_rate=2e-4,
    betas=(0.5, 0.999),
    weight_decay=0.0,
    schedule="constant",
    ema=0.995,
    world_size=(32, 32),
    validate_every=5,
)
"""`vidi train gan --data mnist/`: digits that a person can read after about five minutes."""

DCGAN = replace(GAN, epochs=25, batch_size=128, world_size=(64, 64), validate_every=1)
"""Radford et al. 2016, section 4: Adam, 0.0002, beta1 = 0.5, batches of 128."""

WGAN = replace(GAN, epochs=100, optimizer="rmsprop", learning_rate=5e-5, momentum=0.0, world_size=(64, 64))
"""Arjovsky et al. 2017, algorithm 1: RMSProp, 0.00005, batches of 64."""

WGAN_GP = replace(GAN, epochs=100, learning_rate=1e-4, betas=(0.0, 0.9), world_size=(64, 64))
"""Gulrajani et al. 2017, algorithm 1: Adam, 0.0001, betas 0 and 0.9, batches of 64."""

PROGAN = replace(
    GAN, epochs=200, batch_size=16, learning_rate=1e-3, betas=(0.0, 0.99), ema=0.999, world_size=(1024, 1024)
)
"""Karras et al. 2018, appendix A.1: Adam, 0.001, betas 0 and 0.99, averages of 0.999, batches of 16 to 256 pixels."""

STYLEGAN = PROGAN
"""Karras et al. 2019, section 2 and appendix C: as ProGAN."""

DCGAN_TINY = replace(GAN, epochs=50, ema=0.999)
"""`vidi train dcgan_tiny --data mnist/`: about half an hour."""

WGAN_GP_TINY = replace(WGAN_GP, epochs=80, learning_rate=3e-4, ema=0.999, world_size=(32, 32))
"""`vidi train wgan_gp_tiny --data mnist/`: about three quarters of an hour."""

PROGAN_TINY = replace(PROGAN, epochs=150, batch_size=32, world_size=(32, 32))
"""`vidi train progan_tiny`: 4, 8, 16 and 32 pixels of the world, less than an hour."""

STYLEGAN_TINY = replace(STYLEGAN, epochs=36, batch_size=32, learning_rate=3e-3, world_size=(32, 32), validate_every=3)
"""`vidi train stylegan_tiny --data mnist/`: half an hour. Its layers learn slowly: three times the paper's rate."""

COLOURS = replace(GAN, epochs=15, batch_size=16, ema=None, world_size=(64, 64), validate_every=1)
"""Isola et al. 2017, section 3.3: Adam, 0.0002, beta1 = 0.5; batches of 1 there, which two cores take too long for."""

PIX2PIX = replace(COLOURS, epochs=200, batch_size=1, world_size=(256, 256))
"""Isola et al. 2017, appendix 6.2: batches of 1."""
