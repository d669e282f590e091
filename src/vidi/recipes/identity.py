"""Recipes of networks that embed: batches of P identities with K pictures each, so that every batch has pairs."""

from dataclasses import replace

from vidi.engine.recipe import NORM_MOMENTUM, Recipe

IDENTITY_RECIPE = Recipe(
    epochs=30,
    batch_size=64,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-4,
    warmup=0.05,
    clip=1.0,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    per_identity=4,
    world_scenes=4000,
    world_size=(112, 112),
)
"""`vidi train facenet --data people/`: 16 people with 4 pictures each in a batch, from random weights."""

IDENTITY_TINY = replace(IDENTITY_RECIPE, epochs=15, learning_rate=3e-3, world_scenes=2000, world_size=(64, 64))
"""`vidi train embedder_tiny` on generated faces: minutes on a CPU."""

IDENTITY_FINE_TUNED = replace(IDENTITY_RECIPE, epochs=10, learning_rate=2e-4, validate_first=True)
"""From weights: a lower rate, and the scores of the weights themselves first."""
