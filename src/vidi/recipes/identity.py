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

IDENTITY_PRETRAINED = replace(IDENTITY_RECIPE, epochs=20, batch_size=32, backbone_rate=0.3)
"""`vidi train embedder_efficientnet_lite0 --backbone-weights efficientnet_lite0/pypi/imagenet1k --data people/`."""

IDENTITY_FINE_TUNED = replace(IDENTITY_RECIPE, epochs=10, learning_rate=2e-4, validate_first=True)
"""From weights: a lower rate, and the scores of the weights themselves first."""

SIAMESE_RECIPE = replace(IDENTITY_TINY, augment="none", world_size=(32, 32))
"""`vidi train siamese` on small pictures: seconds an epoch."""

CLASSIFIER_RECIPE = replace(IDENTITY_TINY, per_identity=None)
"""`vidi train identity_classifier --data faces`: people whom it will know, from other pictures of them."""

DEEPFACE_FEATURES = replace(IDENTITY_RECIPE, per_identity=None)
DEEPFACE_SIMILARITY = replace(IDENTITY_RECIPE, epochs=5, augment="none", weight_decay=0.0)
"""The two stages of `vidi train deepface --data people/ features.epochs=30`: of the network, and of the distance."""

DEEPFACE_TINY = replace(IDENTITY_TINY, per_identity=None, world_size=(80, 80))
DEEPFACE_TINY_SIMILARITY = replace(DEEPFACE_SIMILARITY, world_scenes=2000, world_size=(80, 80))
"""The two stages of `vidi train deepface_tiny`."""

DEEPID2_RECIPE = replace(IDENTITY_TINY, learning_rate=1e-3, augment="flip", world_size=(64, 64))
"""`vidi train deepid2`: minutes on a CPU."""

DEEPID2_CROPS_RECIPE = replace(DEEPID2_RECIPE, augment="resized_crop", world_size=(96, 96))
"""The network of `vidi train deepid2_crops`, which sees parts of faces while it trains, as in use."""
