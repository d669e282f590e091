"""SSD300 weights that torchvision publishes: COCO 2017, and the VGG-16 without head that SSD is trained from.

The latter fill the backbone only: everything on top of it is as random as before, so they are to begin a training
with. The numbers of their classifier, which the file has for its shape's sake, are no numbers.
"""

from vidi.detection.ssd import VGG_MEAN, VGG_STD
from vidi.preprocess import Preprocess
from vidi.weights.categories import coco_ids
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_vgg import TRUNK

# The sequence in the middle begins with VGG's fourth pool and ends with its last ReLU.
SSD300 = under(TRUNK, "backbone.", "pyramid.backbone.") | {
    "backbone.scale_weight": "rescale.scale",
    "backbone.extra.0.1.*": "pyramid.backbone.layers.24.*",
    "backbone.extra.0.3.*": "pyramid.backbone.layers.26.*",
    "backbone.extra.0.5.*": "pyramid.backbone.layers.28.*",
    "backbone.extra.0.7.*.*": "pyramid.stages.0.*.*",
    "backbone.extra.1.*.*": "pyramid.stages.1.*.*",
    "backbone.extra.2.*.*": "pyramid.stages.2.*.*",
    "backbone.extra.3.*.*": "pyramid.stages.3.*.*",
    "backbone.extra.4.*.*": "pyramid.stages.4.*.*",
    "head.classification_head.module_list.*.*": "class_heads.*.*",
    "head.regression_head.module_list.*.*": "box_heads.*.*",
}
LEVELS = 6
CLASSES = tuple(f"class_heads.{level}.{kind}" for level in range(LEVELS) for kind in ("weight", "bias"))

RESIZED = Preprocess(exact=(300, 300), mean=VGG_MEAN, std=VGG_STD, antialias=False)


def background_last(tensors: Tensors) -> Tensors:
    """Move the row of the background behind those of the classes, for each default box of a cell."""
    moved = {}
    for key, value in tensors.items():
        if key.startswith("class_heads."):
            boxes = len(tensors[key.replace("class", "box", 1)]) // 4
            moved[key] = value.unflatten(0, (boxes, -1)).roll(-1, 1).flatten(0, 1)
    return tensors | moved


WHOLE = Layout("torchvision", SSD300, convert=background_last, by_category=CLASSES)
FEATURES = Layout("torchvision", TRUNK | {"classifier.*.*": None}, into="network.pyramid.backbone", by_category=())

PUBLISHED = by_name(
    Published(
        model="ssd300_vgg16",
        version="torchvision/coco_v1",
        files=(File.named_by_digest("https://download.pytorch.org/models/ssd300_vgg16_coco-b556d3b4.pth"),),
        licence="BSD-3-Clause",
        preprocess=RESIZED,
        score={"ap": 25.1},
        layout=WHOLE,
        categories=coco_ids,
    ),
    Published(
        model="ssd300_vgg16",
        version="torchvision/imagenet1k_features",
        files=(File.named_by_digest("https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth"),),
        licence="BSD-3-Clause",
        preprocess=RESIZED,
        layout=FEATURES,
        categories=coco_ids,
    ),
)
