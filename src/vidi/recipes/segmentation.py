"""Recipes of the segmenters: 2 CPU cores, random weights."""

from dataclasses import replace

from vidi.engine.recipe import NORM_MOMENTUM, Recipe
from vidi.recipes.detection import FROM_SCRATCH, TINY

SEMANTIC_TINY = replace(TINY, epochs=8, learning_rate=6e-3, world_scenes=1200)
"""`vidi train unet_tiny` on the world: minutes on 2 cores; mIoU 0.62 on held-out scenes."""

SEMANTIC_FROM_SCRATCH = replace(FROM_SCRATCH, epochs=60, validate_every=5)
"""`vidi train unet_small --data roads/ size=180,240`."""

COARSE_PHASE = replace(SEMANTIC_FROM_SCRATCH, batch_size=16)
FINE_PHASE = replace(SEMANTIC_FROM_SCRATCH, batch_size=8, learning_rate=SEMANTIC_FROM_SCRATCH.learning_rate / 7)
"""DeepLab v3 at stride 16 in larger batches, then at stride 8; the rates of its paper are 0.007 and 0.001 (4.1)."""

SEMANTIC_FINE_TUNED = replace(
    SEMANTIC_FROM_SCRATCH, epochs=40, learning_rate=2e-4, backbone_rate=0.1, weight_decay=1e-4
)
"""`vidi train deeplabv3_resnet50 --weights torchvision/coco_with_voc_labels_v1 --data roads/`."""

PANOPTIC = Recipe(
    epochs=50,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-4,
    backbone_rate=0.1,
    weight_decay=0.05,
    schedule="step",
    milestones=(0.9, 0.95),
    clip=0.01,
    norm_momentum=NORM_MOMENTUM,
    augment="resized_crop",
    validate_every=5,
)
"""`vidi train mask2former_resnet50 --backbone-weights resnet50/torchvision/imagenet1k_v1 --data coco/`: the paper's."""

PANOPTIC_FINE_TUNED = Recipe(
    epochs=20,
    batch_size=16,
    optimizer="adamw",
    learning_rate=5e-5,
    backbone_rate=0.1,
    weight_decay=0.05,
    warmup=0.05,
    clip=0.01,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    validate_every=2,
)
"""`vidi train mask2former_resnet50 --weights FILE --data photos/`: from weights that know segments."""

MASKS_TINY = Recipe(
    epochs=12,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=0.05,
    clip=1.0,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_scenes=1500,
    validate_every=3,
)
"""`vidi train mask2former_tiny` and `maskformer_tiny` on the world: minutes; PQ 0.66, docs/results/segmentation.md."""
