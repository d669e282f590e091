"""How Depth Pro is trained: by phases, of which the last has the field of view alone."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

_PUBLISHED = Recipe(
    epochs=250,
    batch_size=128,
    optimizer="adam",
    learning_rate=1.28e-4,
    backbone_rate=0.1,
    weight_decay=0.0,
    schedule="step",
    milestones=(0.81,),
    warmup=0.01,
    clip=0.2,
    augment="flip",
)
DEPTH_PRO_RECIPE = {
    "robust": _PUBLISHED,
    "sharp": replace(_PUBLISHED, epochs=100),
    "field_of_view": replace(_PUBLISHED, epochs=100, backbone_rate=1.0),
}
"""`vidi train depth_pro --data depth/`: table 16 of the paper, whose epochs have 72,000 pictures.

Without its changes of colours, blur and crops. The last phase, of which the paper says nothing, is as long as the
second.
"""

_TINY = Recipe(
    epochs=7,
    batch_size=8,
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
DEPTH_PRO_TINY = {
    "robust": _TINY,
    "sharp": replace(_TINY, epochs=5, learning_rate=4e-4),
    "field_of_view": replace(_TINY, epochs=8, validate_every=4),
}
"""`vidi train depth_pro_tiny` on the world: 40 minutes of one core."""
