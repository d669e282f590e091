"""How systems of depth are trained that have no recipe of their own."""

from dataclasses import replace

from vidi.engine.recipe import Recipe
from vidi.recipes.detection import TINY

DEPTH_FROM_SCRATCH = Recipe(epochs=40, batch_size=8, learning_rate=3e-4, augment="flip")
DEPTH_FINE_TUNED = replace(DEPTH_FROM_SCRATCH, epochs=20, learning_rate=1e-4)

STEREO_FROM_SCRATCH = replace(DEPTH_FROM_SCRATCH, augment="none")
STEREO_FINE_TUNED = replace(DEPTH_FINE_TUNED, augment="none")
"""A mirror exchanges the pictures of a pair, and most data sets know the disparity of the left one alone."""

DEPTH_TINY = replace(TINY, epochs=12, learning_rate=1e-3, warmup=0.05, validate_every=3)
"""`vidi train depth_tiny` on the world: minutes on a CPU."""

STEREO_TINY = replace(DEPTH_TINY, augment="none")
"""`vidi train stereo_tiny` on the world."""

MONODEPTH_TINY = replace(DEPTH_TINY, epochs=7, batch_size=8, world_scenes=7200, validate_every=1)
"""`vidi train monodepth_tiny` on the world's pairs, without depth, in an hour; a mirror exchanges their pictures."""

MONODEPTH_RECIPE = Recipe(
    epochs=50,
    batch_size=8,
    optimizer="adam",
    learning_rate=1e-4,
    weight_decay=0.0,
    schedule="step",
    milestones=(0.6, 0.8),
    decay=0.5,
    augment="flip",
)
"""`vidi train monodepth_vgg --data pairs/`: the paper's (section 4) but for its changes of colours.

The rate is halved after 30 and 40 of its 50 epochs; a mirror exchanges the pictures.
"""

SFM_TINY = replace(DEPTH_TINY, epochs=5, augment="none", world_scenes=10_000, world_size=(64, 64), validate_every=1)
"""`vidi train sfm_learner_tiny` on the world's videos, without depth or poses."""

SFM_RECIPE = Recipe(
    epochs=50,
    batch_size=4,
    optimizer="adam",
    learning_rate=2e-4,
    weight_decay=0.0,
    schedule="constant",
    augment="none",
)
"""`vidi train sfm_learner --data sequences/`: the paper's (section 4), which counts steps: 150,000."""
