"""Recipes of the diffusion models: random weights; samples and scores are in docs/results."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

CIFAR = Recipe(
    epochs=2048,
    batch_size=128,
    optimizer="adam",
    learning_rate=2e-4,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.01,
    clip=1.0,
    ema=0.9999,
    augment="flip",
    world_size=(32, 32),
    validate_every=50,
)
"""Of Ho et al. 2020, appendix B: 800 thousand steps of 128 pictures of CIFAR-10."""

TINY = replace(
    CIFAR,
    epochs=20,
    batch_size=64,
    learning_rate=1e-3,
    schedule="cosine",
    warmup=0.02,
    ema=0.999,
    augment="none",
    validate_every=5,
)
"""`vidi train ddpm_class_tiny --data mnist.npz size=28,28`: less than an hour of one core, digits that one can read."""
