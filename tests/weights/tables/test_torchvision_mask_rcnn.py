"""Published files of Mask R-CNN and Keypoint R-CNN: each tensor has its place, rows say what torchvision says."""

import re

import pytest
import torch
from torchvision.models import detection

from vidi.segmentation import keypoint_rcnn, mask_rcnn
from vidi.weights.published import Published
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_keypoint_rcnn, torchvision_mask_rcnn
from vidi.weights.tables.torchvision_mask_rcnn import MASK_RCNN, without_background

PUBLISHED = {**torchvision_mask_rcnn.PUBLISHED, **torchvision_keypoint_rcnn.PUBLISHED}
THEIRS = {
    "maskrcnn_resnet50_fpn/torchvision/coco_v1": detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "keypointrcnn_resnet50_fpn/torchvision/coco_v1": detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1,
    "keypointrcnn_resnet50_fpn/torchvision/coco_legacy": detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY,
}


def shapes(tensors):
    return {name: tuple(value.shape) for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


def built(source: Published):
    builder = {**vars(mask_rcnn), **vars(keypoint_rcnn)}[source.model]
    with torch.device("meta"):
        return builder(categories=source.categories(), **source.arguments)


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
    """It was written before torchvision 0.13: the convolutions of the mask head had numbers of their own."""
    theirs = theirs_of(PUBLISHED["maskrcnn_resnet50_fpn/torchvision/coco_v1"])
    old = {
        re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", name): value
        for name, value in theirs.items()
    }
    assert "roi_heads.mask_head.mask_fcn4.bias" in old
    assert renamed(old, MASK_RCNN).keys() == renamed(theirs, MASK_RCNN).keys()


def test_the_mask_of_the_background_is_dropped():
    tensors = {
        f"region_head.predict.{layer}.{kind}": torch.zeros(16, 2)[:, : 2 if kind == "weight" else 1]
        for layer in ("classes", "deltas")
        for kind in ("weight", "bias")
    }
    rows = torch.arange(4.0)
    tensors |= {"mask_head.predict.bias": rows, "mask_head.predict.weight": rows[:, None, None, None]}
    moved = without_background(tensors)
    assert moved["mask_head.predict.bias"].tolist() == [1, 2, 3]
    assert moved["mask_head.predict.weight"].flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", PUBLISHED)
def test_sources_say_what_torchvision_says(name):
    ours, theirs = PUBLISHED[name], THEIRS[name]
    assert THEIRS.keys() == PUBLISHED.keys()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].sha256 in ours.files[0].name
    metrics = theirs.meta["_metrics"]["COCO-val2017"]
    other = "mask" if "mask" in name else "keypoint"
    assert ours.score == {"ap": metrics["box_map"], f"{other}_ap": metrics["mask_map" if other == "mask" else "kp_map"]}


def test_what_the_weights_were_trained_with():
    model = built(PUBLISHED["maskrcnn_resnet50_fpn/torchvision/coco_v1"])
    assert {m.eps for m in model.modules() if hasattr(m, "running_var")} == {0.0}
    network = model.network
    assert (network.anchors.as_torchvision, network.pooling.aligned, network.further_pooling.aligned) == (
        True,
        False,
        False,
    )
    assert (model.criterion.aligned, model.decode.pasting) == (False, "rounded")
    assert network.mask_head.predict.out_channels == 90
    for version in ("coco_v1", "coco_legacy"):
        model = built(PUBLISHED[f"keypointrcnn_resnet50_fpn/torchvision/{version}"])
        theirs = detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"]
        assert list(model.decode.skeleton.joints) == theirs
        assert (model.decode.categories, model.decode.jointed) == (("person",), (0,))
        assert (model.network.pooling.aligned, model.network.further_pooling.aligned) == (False, False)
