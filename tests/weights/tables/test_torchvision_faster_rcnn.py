import pytest
import torch
from torchvision.models import detection

from vidi.detection.regions import faster_rcnn
from vidi.weights.categories import coco_ids
from vidi.weights.published import Published
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_faster_rcnn import FASTER_RCNN, PUBLISHED, background_last

THEIRS = {
    "fasterrcnn_resnet50_fpn/torchvision/coco_v1": detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
    "fasterrcnn_resnet50_fpn_v2/torchvision/coco_v1": detection.FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}


def shapes(tensors):
    return {name: tuple(value.shape) for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def built(source: Published):
    with torch.device("meta"):
        return getattr(faster_rcnn, source.model)(categories=source.categories(), **source.arguments)


def theirs_of(source: Published):
    with torch.device("meta"):
        return getattr(detection, source.model)(weights=None, weights_backbone=None).state_dict()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(name):
    source = PUBLISHED[name]
    ours = source.layout.convert(renamed(theirs_of(source), source.layout.names))
    assert shapes(ours) == shapes(built(source).network.state_dict())
    assert set(source.layout.by_category) <= ours.keys()


def test_names_of_the_first_file_too():
    """It was written before torchvision 0.13: convolutions of pyramid and proposal head lie one level higher."""
    theirs = theirs_of(PUBLISHED["fasterrcnn_resnet50_fpn/torchvision/coco_v1"])
    old = {}
    for name, value in theirs.items():
        parts = name.split(".")
        if parts[2] in ("inner_blocks", "layer_blocks"):
            del parts[4]
        elif parts[:3] == ["rpn", "head", "conv"]:
            del parts[3:5]
        old[".".join(parts)] = value
    assert "rpn.head.conv.bias" in old
    assert "backbone.fpn.inner_blocks.2.weight" in old
    assert renamed(old, FASTER_RCNN).keys() == renamed(theirs, FASTER_RCNN).keys()


def test_the_background_moves_to_the_end_and_loses_its_deltas():
    rows = torch.arange(4.0)
    deltas = rows.repeat_interleave(4)
    tensors = {
        "region_head.predict.classes.bias": rows,
        "region_head.predict.classes.weight": rows[:, None].expand(4, 2),
        "region_head.predict.deltas.bias": deltas,
        "region_head.predict.deltas.weight": deltas[:, None].expand(16, 2),
        "region_head.hidden1.bias": rows,
    }
    moved = background_last(tensors)
    assert moved["region_head.predict.classes.bias"].tolist() == [1, 2, 3, 0]
    assert moved["region_head.predict.classes.weight"][:, 1].tolist() == [1, 2, 3, 0]
    assert moved["region_head.predict.deltas.bias"].view(-1, 4)[:, 0].tolist() == [1, 2, 3]
    assert moved["region_head.predict.deltas.weight"].shape == (12, 2)
    assert moved["region_head.hidden1.bias"] is rows


@pytest.mark.parametrize("name", PUBLISHED)
def test_sources_say_what_torchvision_says(name):
    ours, theirs = PUBLISHED[name], THEIRS[name]
    assert THEIRS.keys() == PUBLISHED.keys()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].sha256 in ours.files[0].name
    assert ours.score["ap"] == theirs.meta["_metrics"]["COCO-val2017"]["box_map"]


def test_categories_of_coco():
    names = coco_ids()
    assert len(names) == 90
    assert sum(name is not None for name in names) == 80
    assert (names[0], names[11], names[89]) == ("person", None, "toothbrush")
    model = built(PUBLISHED["fasterrcnn_resnet50_fpn/torchvision/coco_v1"])
    assert len(model.criterion.regions.named) == 80
    assert model.network.region_head.predict.classes.out_features == 91


def test_frozen_norms_of_the_first_weights_add_nothing_to_the_variance():
    model = built(PUBLISHED["fasterrcnn_resnet50_fpn/torchvision/coco_v1"])
    norms = [m for m in model.modules() if hasattr(m, "running_var")]
    assert {m.eps for m in norms} == {0.0}
    assert not any(list(m.parameters()) for m in norms)
    assert (model.network.anchors.as_torchvision, model.network.pooling.aligned) == (True, False)
