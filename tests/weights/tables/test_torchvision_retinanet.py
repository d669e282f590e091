import pytest
import torch
from torchvision.models import detection

from vidi.detection import retinanet
from vidi.weights.categories import coco_categories
from vidi.weights.published import Published
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_retinanet import PUBLISHED, RETINANET


def shapes(tensors):
    return {name: tuple(value.shape) for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def built(source: Published):
    with torch.device("meta"):
        return getattr(retinanet, source.model)(categories=source.categories(), **source.arguments)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(name):
    source = PUBLISHED[name]
    with torch.device("meta"):
        theirs = getattr(detection, source.model)(weights=None, weights_backbone=None).state_dict()
    assert shapes(renamed(theirs, source.layout.names)) == shapes(built(source).network.state_dict())


def test_names_of_the_first_file_too():
    """It was written before torchvision 0.13: towers are flat rows, the pyramid's convolutions lie one level higher."""
    with torch.device("meta"):
        theirs = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    old = {}
    for name, value in theirs.items():
        parts = name.split(".")
        if parts[0] == "head" and parts[2] == "conv":
            parts[3:5] = [str(2 * int(parts[3]))]
        elif parts[2] in ("inner_blocks", "layer_blocks"):
            del parts[4]
        old[".".join(parts)] = value
    assert "head.regression_head.conv.6.bias" in old
    assert "backbone.fpn.inner_blocks.2.weight" in old
    assert renamed(old, RETINANET).keys() == renamed(theirs, RETINANET).keys()


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("retinanet_resnet50_fpn/torchvision/coco_v1", detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1),
        ("retinanet_resnet50_fpn_v2/torchvision/coco_v1", detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1),
    ],
)
def test_sources_say_what_torchvision_says(name, published):
    assert PUBLISHED[name].files[0].url == published.url
    assert PUBLISHED[name].score["ap"] == published.meta["_metrics"]["COCO-val2017"]["box_map"]


def test_categories_of_coco():
    names = coco_categories()
    assert len(names) == 91
    assert sum(name is not None for name in names) == 80
    assert (names[0], names[1], names[12], names[90]) == (None, "person", None, "toothbrush")
    model = built(PUBLISHED["retinanet_resnet50_fpn/torchvision/coco_v1"])
    assert len(model.criterion.named) == 80


def test_frozen_norms_of_the_first_weights_add_nothing_to_the_variance():
    norms = [
        m for m in built(PUBLISHED["retinanet_resnet50_fpn/torchvision/coco_v1"]).modules() if hasattr(m, "running_var")
    ]
    assert {m.eps for m in norms} == {0.0}
    assert not any(list(m.parameters()) for m in norms)
