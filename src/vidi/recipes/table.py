"""The recipe of every system, by stage; systems without stages have one, named "".

A recipe's numbers are the defaults of `vidi train NAME key=value`.
"""

from dataclasses import replace

from vidi.catalog import CATALOG
from vidi.engine.recipe import Recipe
from vidi.recipes.classification import FINE_TUNED, HIGH_STAGE, LOW_STAGE, PHOTOS, SMALL_PICTURES, VISION_TRANSFORMER
from vidi.recipes.detection import ANCHORS, CASCADE, DETR, DETR_TINY, FINE_TUNED_3D, FROM_SCRATCH, TINY
from vidi.recipes.detection import FINE_TUNED as DETECTION_FINE_TUNED
from vidi.recipes.generation import GAN
from vidi.recipes.translation import FINE_TUNED as TRANSLATION_FINE_TUNED
from vidi.recipes.translation import SMALL_LANGUAGE

CIFAR = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
VITS = ("vit_tiny", "vit_small", "vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
WIDE_CIFAR = ("wide_resnet16_4", "wide_resnet28_10", "wide_resnet40_4")
TINY_DETECTORS = (
    "localizer_tiny",
    "sliding_window_tiny",
    "rcnn_tiny",
    "fasterrcnn_tiny",
    "ssd_tiny",
    "retinanet_tiny",
    "yolov3_small",
    "centernet_tiny",
    "centernet_pose_tiny",
    "centernet_3d_tiny",
    "efficientdet_tiny",
)
OWN: dict[str, dict[str, Recipe]] = {
    **{name: {"": SMALL_PICTURES} for name in (*CIFAR, *WIDE_CIFAR)},
    **{name: {"": VISION_TRANSFORMER} for name in VITS},
    "progressive_resnet18": {"low": LOW_STAGE, "high": HIGH_STAGE},
    "anchor_kmeans": {"": ANCHORS},
    **{name: {"": TINY} for name in TINY_DETECTORS},
    "rcnn_svm_tiny": {"network": TINY, "regions": Recipe(world_scenes=TINY.world_scenes)},
    "rcnn_svm_alexnet": {"network": FROM_SCRATCH, "regions": Recipe()},
    "detr_tiny": {"": DETR_TINY},
    **{name: {"": DETR} for name in ("detr_resnet50", "detr_resnet50_dc5", "detr_resnet101")},
    "viola_jones": {"": CASCADE},
    "gan": {"": GAN},
}
OF_TASK: dict[str, Recipe] = {
    "classification": PHOTOS,
    "detection": FROM_SCRATCH,
    "pose": FROM_SCRATCH,
    "detection_3d": replace(FROM_SCRATCH, augment="flip"),
    "generation": GAN,
    "translation": SMALL_LANGUAGE,
}

RECIPES: dict[str, dict[str, Recipe]] = {
    name: OWN.get(name) or {"": OF_TASK[entry.task]} for name, entry in CATALOG.items()
}

FINE_TUNING: dict[str, Recipe] = {
    "classification": FINE_TUNED,
    "detection": DETECTION_FINE_TUNED,
    "pose": DETECTION_FINE_TUNED,
    "detection_3d": FINE_TUNED_3D,
    "translation": TRANSLATION_FINE_TUNED,
}
"""By task: the recipe of a training that begins with weights, instead of the system's own."""


def fine_tuning(task: str, usual: Recipe) -> Recipe:
    """Return the recipe for a system that begins with weights: its task's, on as much of the world as `usual`."""
    recipe = FINE_TUNING.get(task, usual)
    return replace(recipe, world_scenes=usual.world_scenes, world_size=usual.world_size)
