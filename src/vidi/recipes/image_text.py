"""Recipes of CLIP: from random weights on the world or one's own captions, and on from published weights."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

CLIP_RECIPE = Recipe(
    epochs=32,
    batch_size=256,
    optimizer="adamw",
    learning_rate=5e-4,
    betas=(0.9, 0.98),
    weight_decay=0.2,
    warmup=0.05,
    norm_momentum=0.1,
    augment="slight_crop",
    world_scenes=20_000,
)
"""`vidi train clip_vit_b_32 --data captions.jsonl part=64`: Radford et al. 2021, table 18, but for batches of 32,768.

Those, and 400 million pairs, took 256 GPUs for two weeks; `part` lets a large batch through in parts.
"""

CLIP_TINY = replace(
    CLIP_RECIPE,
    epochs=30,
    batch_size=128,
    learning_rate=1e-3,
    warmup=0.1,
    clip=1.0,
    world_scenes=4000,
    world_size=(64, 64),
)
"""`vidi train clip_tiny` on the world's captions: on a CPU."""

CLIP_RN_TINY = replace(CLIP_TINY, epochs=12, world_scenes=40_000)
"""`vidi train clip_rn_tiny` on more captions than can be learnt by heart: about an hour of one core."""

CLIP_FINE_TUNED = replace(
    CLIP_RECIPE,
    epochs=5,
    batch_size=64,
    learning_rate=1e-5,
    weight_decay=0.1,
    warmup=0.1,
    clip=1.0,
    validate_first=True,
    world_scenes=2000,
)
"""`vidi train clip_vit_b_32 --weights model.safetensors --data captions.jsonl`: the log begins with zero-shot scores.

The best weights by recall are kept; they are the published ones where tuning does not help.
"""
