"""How systems of depth are trained that have no recipe of their own."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

DEPTH_FROM_SCRATCH = Recipe(epochs=40, batch_size=8, learning_rate=3e-4, augment="flip")
DEPTH_FINE_TUNED = replace(DEPTH_FROM_SCRATCH, epochs=20, learning_rate=1e-4)

STEREO_FROM_SCRATCH = replace(DEPTH_FROM_SCRATCH, augment="none")
STEREO_FINE_TUNED = replace(DEPTH_FINE_TUNED, augment="none")
"""A mirror exchanges the pictures of a pair, and most data sets know the disparity of the left one alone."""

DEPTH_TINY = Recipe(
    epochs=12,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=0.05,
    clip=1.0,
    ema=0.99,
    augment="flip",
    world_scenes=1800,
    validate_every=3,
)
"""`vidi train depth_tiny` on the world: minutes on a CPU."""

STEREO_TINY = replace(DEPTH_TINY, augment="none")
"""`vidi train stereo_tiny` on the world."""

MONODEPTH_TINY = replace(DEPTH_TINY, augment="none")
"""`vidi train monodepth_tiny` on the world's pairs, without depth."""

MONODEPTH_RECIPE = Recipe(epochs=50, batch_size=8, learning_rate=1e-4, augment="none")
"""`vidi train monodepth_vgg --data pairs/`: Adam, rate and epochs of the paper (section 4.1)."""

SFM_TINY = replace(DEPTH_TINY, augment="none", learning_rate=5e-4)
"""`vidi train sfm_learner_tiny` on the world's videos, without depth or poses."""

SFM_RECIPE = Recipe(epochs=50, batch_size=4, learning_rate=2e-4, augment="none")
"""`vidi train sfm_learner --data sequences/`: rate and batch of the paper (section 4)."""
