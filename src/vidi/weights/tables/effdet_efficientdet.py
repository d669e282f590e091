"""EfficientDet weights that R. Wightman publishes (effdet): COCO 2017, converted from the authors' or trained by him.

The converted ones, there named tf_efficientdet, need TensorFlow's padding and the biases before norms. The publisher
puts images in the top left of a square canvas. Their first classes are COCO's ids from 1 on.
"""

from torch import Tensor

from vidi.preprocess import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from vidi.weights.categories import coco_ids
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import Names, under
from vidi.weights.tables.timm_efficientnet import NAMES as CLASSIFIER

RELEASE = "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1"
DOWN = 4  # nodes of a cell before the way up begins
NODE = {
    # what a node of the first cell projects: C3, C4 or C5
    "combine.resample.0.conv.conv.*": "projections.0.conv.*",
    "combine.resample.0.conv.bn.*": "projections.0.norm.*",
    "combine.resample.1.conv.conv.*": "projections.0.conv.*",
    "combine.resample.1.conv.bn.*": "projections.0.norm.*",
    "combine.resample.2.conv.conv.*": "projections.0.conv.*",
    "combine.resample.2.conv.bn.*": "projections.0.norm.*",
    "combine.edge_weights": "fuse.weights",
    "after_combine.conv.conv_dw.weight": "conv.depthwise.weight",
    "after_combine.conv.conv_pw.*": "conv.pointwise.*",
    "after_combine.conv.bn.*": "norm.*",
}
NECK: Names = {
    "fpn.resample.3.conv.conv.*": "neck.extra.conv.*",
    "fpn.resample.3.conv.bn.*": "neck.extra.norm.*",
} | {
    f"fpn.cell.*.fnode.{start + node}.{old}": f"neck.cells.*.{way}.{node}.{new}"
    for way, start in (("down", 0), ("up", DOWN))
    for node in range(DOWN)
    for old, new in NODE.items()
}
HEAD = {
    "conv_rep.*.conv_dw.weight": "convs.*.depthwise.weight",
    "conv_rep.*.conv_pw.*": "convs.*.pointwise.*",
    "bn_rep.*.*.bn.*": "norms.*.*.*",
    "predict.conv_dw.weight": "predict.depthwise.weight",
    "predict.conv_pw.*": "predict.pointwise.*",
}
NAMES: Names = (
    under({old: new for old, new in CLASSIFIER.items() if new.startswith("backbone.")}, "backbone.", "")
    | NECK
    | under(HEAD, "class_net.", "class_head.")
    | under(HEAD, "box_net.", "box_head.")
)
BOX_ROWS = ("box_head.predict.pointwise.weight", "box_head.predict.pointwise.bias")


def xy_first(tensors: Tensors) -> Tensors:
    """Put the rows of the box head, in the file y, x, height, width for each anchor, into our order x, y, w, h."""
    return tensors | {name: swapped(tensors[name]) for name in BOX_ROWS}


def swapped(rows: Tensor) -> Tensor:
    """Exchange rows 0 and 1, 2 and 3 and so on."""
    return rows.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


LAYOUT = Layout(
    "effdet",
    NAMES,
    convert=xy_first,
    by_category=("class_head.predict.pointwise.weight", "class_head.predict.pointwise.bias"),
)


# version, file, AP on COCO val2017, side of the canvas
TRAINED = (
    ("coco", "efficientdet_d0-f3276ba8.pth", 33.6, 512),
    ("coco", "efficientdet_d1-bb7e98fe.pth", 39.4, 640),
)
CONVERTED = (
    ("tf_coco", "tf_efficientdet_d0_34-f153e0cf.pth", 34.2, 512),
    ("tf_coco", "tf_efficientdet_d1_40-a30f94af.pth", 40.1, 640),
    ("tf_coco", "tf_efficientdet_d2_43-8107aa99.pth", 43.4, 768),
    ("tf_coco", "tf_efficientdet_d3_47-0b525f35.pth", 47.1, 896),
    ("tf_coco", "tf_efficientdet_d4_49-f56376d9.pth", 49.2, 1024),
    ("tf_coco", "tf_efficientdet_d5_51-c79f9be6.pth", 51.2, 1280),
    ("tf_coco", "tf_efficientdet_d6_52-4eda3773.pth", 52.0, 1280),
    ("tf_coco", "tf_efficientdet_d7_53-6d1d7a95.pth", 53.1, 1536),
)
ADVERSARIAL = (  # trained on adversarial examples too (AdvProp)
    ("tf_ap_coco", "tf_efficientdet_d0_ap-d0cdbd0a.pth", 34.8, 512),
    ("tf_ap_coco", "tf_efficientdet_d1_ap-7721d075.pth", 40.8, 640),
    ("tf_ap_coco", "tf_efficientdet_d2_ap-a2995c19.pth", 44.2, 768),
    ("tf_ap_coco", "tf_efficientdet_d3_ap-e4a2feab.pth", 47.7, 896),
    ("tf_ap_coco", "tf_efficientdet_d4_ap-f601a5fc.pth", 50.2, 1024),
    ("tf_ap_coco", "tf_efficientdet_d5_ap-3673ae5d.pth", 52.1, 1280),
)
LITE = ("tf_coco", "tf_efficientdet_lite0-dfacfc78.pth", 27.1, 320)
LITE_ARGUMENTS = {"tensorflow": True, "bias": True, "fusion": "sum", "anchor_scale": 3.0}


def effdet_row(
    version: str, file: str, ap: float, side: int, *, centred: bool = False, **arguments: object
) -> Published:
    """Return a file of the release.

    Args:
        version, file: names; the file's tells the model and ends in a digest.
        ap: COCO AP on val2017 in per cent, from the publisher's table.
        side: of the square canvas.
        centred: whether pixels go from -1 to 1 instead of having the mean and deviation of ImageNet.
        arguments: of the builder.
    """
    return Published(
        model="_".join(file.rsplit("-", 1)[0].removeprefix("tf_").split("_")[:2]),
        version=f"effdet/{version}",
        files=(File.named_by_digest(f"{RELEASE}/{file}"),),
        licence="Apache-2.0",
        preprocess=Preprocess(
            longest=side,
            stride=side,
            mean=HALF if centred else IMAGENET_MEAN,
            std=HALF if centred else IMAGENET_STD,
        ),
        score={"ap": ap},
        layout=LAYOUT,
        categories=coco_ids,
        arguments=arguments,
    )


PUBLISHED = by_name(
    *(effdet_row(*row, tensorflow=False) for row in TRAINED),
    *(effdet_row(*row, tensorflow=True) for row in CONVERTED),
    *(effdet_row(*row, centred=True, tensorflow=True) for row in ADVERSARIAL),
    effdet_row(*LITE, centred=True, **LITE_ARGUMENTS),
)
