"""Recipes of the detectors: 2 CPU cores, random weights; scores are in docs/results."""

from dataclasses import replace

from vidi.engine.recipe import NORM_MOMENTUM, Recipe

TINY = Recipe(
    epochs=5,
    batch_size=16,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    warmup=0.1,
    clip=1.0,
    ema=0.99,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_scenes=1800,
)
"""`vidi train retinanet_tiny` on the world: under five minutes on 2 cores, AP50 above 0.6 on held-out scenes."""

LANDMARKS_TINY = replace(TINY, epochs=8)
"""`vidi train face_landmarks_tiny` on drawn faces in rendered scenes: about eight minutes on 2 cores."""

FROM_SCRATCH = Recipe(
    epochs=40,
    batch_size=8,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=0.05,
    clip=1.0,
    ema=0.99,
    norm_momentum=NORM_MOMENTUM,
    augment="boxes",
    validate_every=2,
)
"""`vidi train retinanet_resnet18_fpn --data cells/ size=240,320`: AP50 0.9 on blood cells, see docs/results/bccd.md."""

FROM_SCRATCH_3D = replace(FROM_SCRATCH, augment="flip")
"""The same for boxes in space, which no other augmentation moves."""

FINE_TUNED = Recipe(
    epochs=20,
    batch_size=8,
    optimizer="adamw",
    learning_rate=2e-4,
    backbone_rate=0.1,
    weight_decay=1e-4,
    warmup=0.05,
    clip=1.0,
    ema=0.99,
    norm_momentum=NORM_MOMENTUM,
    augment="boxes",
    validate_every=2,
)
"""`vidi train fasterrcnn_resnet50_fpn --weights torchvision/coco_v1 --data cells/`: from weights that know objects.

One that begins with --backbone-weights only learns the rest from nothing, by the system's own recipe.
"""

FINE_TUNED_3D = replace(FINE_TUNED, augment="flip")
"""The same for boxes in space."""

DETR_PAPER = Recipe(
    epochs=300,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1e-4,
    backbone_rate=0.1,
    weight_decay=1e-4,
    schedule="step",
    milestones=(2 / 3,),
    clip=0.1,
    norm_momentum=NORM_MOMENTUM,
    augment="boxes",
    validate_every=5,
)
"""`vidi train detr_resnet50 --backbone-weights resnet50/torchvision/imagenet1k_v1 --data coco/`: the paper's (A.4)."""

DETR_TINY = Recipe(
    epochs=32,
    batch_size=16,
    optimizer="adamw",
    learning_rate=1.5e-3,
    weight_decay=1e-4,
    warmup=0.025,
    clip=1.0,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_scenes=2000,
    world_size=(64, 64),
    validate_every=4,
)
"""`vidi train detr_tiny` on the world at 64 pixels: a set prediction takes many epochs; AP50 above 0.3."""

REGIONS = Recipe()
"""The second stage of R-CNN, which is fitted at once."""

REGIONS_TINY = Recipe(world_scenes=TINY.world_scenes)
"""The same, on the scenes of the tiny detectors."""

CASCADE = Recipe(world_scenes=200)
"""`vidi train viola_jones --data faces/`: fitted stage by stage; minutes, see docs/results/viola_jones.md."""

ANCHORS = Recipe(world_scenes=500)
"""`vidi train anchor_kmeans --data photos/`: fitted at once; seconds."""
