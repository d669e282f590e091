"""How systems of depth are trained that have no recipe of their own."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

DEPTH_FROM_SCRATCH = Recipe(epochs=40, batch_size=8, learning_rate=3e-4, augment="flip")
DEPTH_FINE_TUNED = replace(DEPTH_FROM_SCRATCH, epochs=20, learning_rate=1e-4)

STEREO_FROM_SCRATCH = replace(DEPTH_FROM_SCRATCH, augment="none")
STEREO_FINE_TUNED = replace(DEPTH_FINE_TUNED, augment="none")
"""A mirror exchanges the pictures of a pair, and most data sets know the disparity of the left one alone."""
