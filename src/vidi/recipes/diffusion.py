"""Recipes of the diffusion models: random weights; samples and scores are in docs/results."""

from dataclasses import replace

from vidi.engine.recipe import Recipe
from vidi.recipes.image_text import CLIP_TINY

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
    epochs=12,
    batch_size=64,
    learning_rate=1e-3,
    schedule="cosine",
    warmup=0.02,
    ema=0.999,
    augment="none",
    validate_every=4,
    judged_pictures=200,
)
"""`vidi train ddpm_class_tiny --data mnist.npz size=28,28`: half an hour of one core, digits that one can read."""

ENLARGER = replace(TINY, judge=None)
"""`vidi train enlarger_tiny`: makes larger pictures of others, so that nobody judges what it makes of none."""

WORDS = replace(TINY, epochs=40, world_scenes=4000, judge=None)
"""`vidi train text_to_image_tiny`: scenes of 32 pixels and their captions."""

SCENES = replace(TINY, world_scenes=4000, world_size=(64, 64), judge=None)

SMALL_SCENES = replace(WORDS, world_scenes=20_000)

LATENT_RECIPES = {
    "autoencoder": replace(SMALL_SCENES, epochs=7, batch_size=4, learning_rate=2e-3),
    "diffusion": replace(SMALL_SCENES, epochs=34, batch_size=32),
}
"""`vidi train latent_diffusion_tiny`: scenes of 32 pixels in latents of 16 by 16; under two hours of a core."""

IMAGEN_RECIPES = {
    "text": replace(CLIP_TINY, world_scenes=SCENES.world_scenes),
    "base": replace(SCENES, epochs=60),
    "first_enlarger": replace(SCENES, epochs=20),
    "second_enlarger": replace(SCENES, epochs=10),
}
"""`vidi train imagen_tiny`: scenes of 16, 32 and 64 pixels, of a text encoder that learns first."""
