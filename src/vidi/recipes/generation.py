"""Recipes of the generative models: 2 CPU cores, random weights; samples are in docs/results."""

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
