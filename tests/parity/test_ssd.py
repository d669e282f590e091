"""SSD300 against torchvision's, with the same random weights, in float64: maps, boxes, losses, gradients, detections.

torchvision's background is class 0, ours the last; its labels of objects are one larger than ours.
"""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.vgg import cfgs, make_layers
from torchvision.ops import box_iou

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from vidi.detection import ssd
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.nn.cost import count_cost
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.torchvision_ssd import SSD300, background_last

K = 4
WIDTH = 8  # of 64
SIDE = 300
SIZE = (SIDE, SIDE)
OBJECTS = (  # at the border, small, around everything, two that share a best default box; none; one
    [
        [0, 0, 60, 90],
        [250, 200, 300, 300],
        [90, 60, 99, 70],
        [10, 10, 290, 280],
        [150, 40, 190, 200],
        [151, 40, 190, 201],
    ],
    [],
    [[30, 15, 150, 120]],
)
LABELS = ([0, 3, 2, 1, 1, 0], [], [3])


def ours_from(tensors: Any) -> dict[str, torch.Tensor]:
    return background_last(renamed(tensors, SSD300))


class Narrow(nn.Conv2d):
    """A convolution with an eighth of the channels that it is asked for; those of images stay."""

    def __init__(self, in_channels: int, out_channels: int, *arguments: Any, **options: Any):
        super().__init__(
            in_channels if in_channels == 3 else in_channels // 8, out_channels // 8, *arguments, **options
        )


def torchvisions(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's own SSD300 but for its width; nothing else of it is changed."""
    with torch.device("meta"):
        full: Any = detection.ssd300_vgg16(weights=None, weights_backbone=None)
    monkeypatch.setattr(nn, "Conv2d", Narrow)
    extractor: Any = detection.ssd._vgg_extractor(SimpleNamespace(features=make_layers(cfgs["D"])), False, 5)  # type: ignore[arg-type]
    monkeypatch.undo()
    extractor.scale_weight = nn.Parameter(extractor.scale_weight[: 8 * WIDTH].detach())
    resize = full.transform
    return detection.ssd.SSD(
        extractor,
        full.anchor_generator,
        SIZE,
        K + 1,
        image_mean=resize.image_mean,
        image_std=resize.image_std,
    )


@pytest.fixture(scope="module")
def pair() -> SimpleNamespace:
    """torchvision's model and ours with equal weights, random in all parts and spread enough to detect things."""
    torch.default_generator.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:
        reference = torchvisions(patch).double()
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        for value in reference.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
        features = list(reference.backbone(images[:1]).values())
        for part in (reference.head.classification_head, reference.head.regression_head):
            for head, level in zip(part.module_list, features, strict=True):
                head.weight.mul_(1.5 / head(level).std())
    ours: Any = ssd.ssd300_vgg16(categories=K, width=WIDTH).double()
    load_strictly(ours.network, ours_from(reference.state_dict()))
    with torch.no_grad():
        expected = raw(reference, images)
    return SimpleNamespace(reference=reference, ours=ours, images=images, expected=expected)


def raw(reference: Any, images: torch.Tensor) -> SimpleNamespace:
    maps = list(reference.backbone(images).values())
    torch.set_default_dtype(images.dtype)  # the centres of torchvision's boxes are computed in it
    try:
        boxes = reference.anchor_generator(ImageList(images, [SIZE] * len(images)), maps)
    finally:
        torch.set_default_dtype(torch.float32)
    return SimpleNamespace(maps=maps, heads=reference.head(maps), boxes=boxes)


def targets(shift: int = 0) -> list[dict[str, torch.Tensor]]:
    """The objects; torchvision's labels with a shift of 1."""
    boxes = [torch.tensor(rows, dtype=torch.float64).view(-1, 4) for rows in OBJECTS]
    labels = [torch.tensor(rows, dtype=torch.int64) + shift for rows in LABELS]
    return [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]


def batch_of(images: torch.Tensor) -> Batch:
    mask = torch.ones(len(images), *SIZE, dtype=torch.bool)
    return Batch(images, mask, [Placement(SIZE, SIZE)] * len(images), targets())


@pytest.mark.system("4.3.3-CNNPYR", "4.3.3-SSD")
def test_maps_heads_and_default_boxes(pair: SimpleNamespace) -> None:
    with torch.no_grad():
        maps = pair.ours.network.features(pair.images)
        outputs = pair.ours(pair.images)
    assert [tuple(level.shape[2:]) for level in maps] == [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    assert pair.ours.network.pyramid.channels == tuple(level.shape[1] for level in maps)
    for level, expected in zip(maps, pair.expected.maps, strict=True):
        assert_close(level, expected, OUTPUTS)
    logits = pair.expected.heads["cls_logits"].roll(-1, 2)
    assert_close(outputs.class_logits, logits, OUTPUTS)
    assert_close(outputs.box_deltas, pair.expected.heads["bbox_regression"], OUTPUTS)
    assert outputs.default_boxes.shape == (8732, 4)
    assert_close(outputs.default_boxes, pair.expected.boxes[0], OUTPUTS)


@pytest.mark.system("4.3.3-SSD")
def test_assignment_of_default_boxes(pair: SimpleNamespace) -> None:
    boxes = pair.expected.boxes[0]
    crowded = torch.rand(200, 2, dtype=torch.float64) * 280
    many = torch.cat((crowded, crowded + 1 + 19 * torch.rand(200, 2, dtype=torch.float64)), 1)  # they contend for boxes
    for own in (*(t["boxes"] for t in targets() if len(t["boxes"])), many):
        expected = pair.reference.proposal_matcher(box_iou(own, boxes))
        objects = Objects(own, torch.zeros(len(own), dtype=torch.int64), own[:0])
        assert torch.equal(pair.ours.criterion.assign(boxes, objects), expected)


@pytest.mark.system("4.3.3-SSD")
def test_losses_and_gradients(pair: SimpleNamespace) -> None:
    expected = raw(pair.reference, pair.images)
    matches = [
        pair.reference.proposal_matcher(box_iou(t["boxes"], boxes))
        if len(t["boxes"])
        else torch.full((len(boxes),), -1)
        for t, boxes in zip(targets(), expected.boxes, strict=True)
    ]
    wanted = pair.reference.compute_loss(targets(1), expected.heads, expected.boxes, matches)
    losses = pair.ours.losses("network", batch_of(pair.images), Step())
    torch.testing.assert_close(losses["classification"], wanted["classification"], atol=0, rtol=1e-10)
    torch.testing.assert_close(losses["box"], wanted["bbox_regression"], atol=0, rtol=1e-10)

    torch.stack(list(wanted.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    gradients = ours_from({name: p.grad for name, p in pair.reference.named_parameters()})
    grown = {name: p.grad for name, p in pair.ours.network.named_parameters()}
    assert_close(grown, gradients, GRADIENTS, size=largest(*gradients.values()))


@pytest.mark.system("4.3.3-SSD")
def test_detections(pair: SimpleNamespace) -> None:
    """With many more pairs than 400 in a class, an image in which nothing is found, and images of other sizes."""
    with torch.no_grad():
        outputs = pair.ours(pair.images)
    heads = {name: value.detach().clone() for name, value in pair.expected.heads.items()}
    heads["cls_logits"][1, :, 0] += 60
    outputs.class_logits[1, :, -1] += 60
    sizes = [SIZE, SIZE, (200, 280)]  # boxes are clipped to each
    expected = pair.reference.postprocess_detections(heads, pair.expected.boxes, sizes)
    results = pair.ours.decode(outputs, [Placement(size, size) for size in sizes])
    assert [len(result) for result in results] == [200, 0, 200]
    shares = heads["cls_logits"].softmax(2)[[0, 2], :, 1:] > 0.01
    assert (shares.sum(1) > 400).all()
    for result, want in zip(results, expected, strict=True):
        assert_close(result.boxes, want["boxes"], OUTPUTS)
        assert_close(result.scores, want["scores"], NUMBERS)
        assert torch.equal(result.labels + 1, want["labels"])


@pytest.mark.system("4.3.3-SSD")
def test_prediction_of_images_of_other_sizes(pair: SimpleNamespace) -> None:
    """From pixels to boxes in the original image, in float32: resizing, normalisation and scaling back."""
    reference, ours = copy.deepcopy(pair.reference).float().eval(), copy.deepcopy(pair.ours).float().eval()
    images = [torch.rand(3, *size) for size in ((120, 480), (310, 200))]
    for model in (reference.head.classification_head.module_list, ours.network.class_heads):
        for head in model:  # pixels times 255 make larger maps
            head.weight.data.div_(20)
    with torch.no_grad():
        expected = reference(images)
    results = ours.predict(images)
    assert all(len(result) for result in results)
    for result, want in zip(results, expected, strict=True):
        assert_close(result.scores, want["scores"], FLOAT32)
        ours_of_class, theirs_of_class = (  # scores that differ in their last bit may change places
            torch.cat((boxes, 1000 * labels[:, None]), 1)
            for boxes, labels in ((result.boxes, result.labels + 1), (want["boxes"], want["labels"]))
        )
        distances = torch.cdist(ours_of_class, theirs_of_class, p=torch.inf)
        assert distances.amin(0).max() <= 3e-4 * largest(want["boxes"])
        assert distances.amin(1).max() <= 3e-4 * largest(want["boxes"])


@pytest.mark.parametrize("trained", [0, 2, 4, 5])
def test_the_same_layers_are_frozen(trained: int) -> None:
    with torch.device("meta"):
        theirs = SimpleNamespace(features=make_layers(cfgs["D"]))
        extractor = detection.ssd._vgg_extractor(theirs, False, trained)  # type: ignore[arg-type]
        ours: Any = ssd.ssd300_vgg16(trainable_backbone_layers=trained)
    expected = [p.shape for p in extractor.parameters() if p.requires_grad and p.ndim == 4]
    own = [p.shape for p in ours.network.pyramid.parameters() if p.requires_grad and p.ndim == 4]
    assert sorted(own) == sorted(expected)


def test_parameters_and_multiply_adds_of_the_published_weights() -> None:
    weights = detection.SSD300_VGG16_Weights.COCO_V1
    with torch.device("meta"):
        network = ssd.ssd300_vgg16().network
    assert sum(p.numel() for p in network.parameters()) == weights.meta["num_params"]
    assert count_cost(network, SIDE).macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.006)


@pytest.mark.extended
@pytest.mark.system("4.3.3-CNNPYR", "4.3.3-SSD")
def test_maps_at_full_width() -> None:
    reference: Any = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=K + 1)
    ours: Any = ssd.ssd300_vgg16(categories=K)
    load_strictly(ours.network, ours_from(reference.state_dict()))
    image = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        maps, expected = ours.network.features(image), reference.backbone(image).values()
    for level, want in zip(maps, expected, strict=True):
        assert_close(level, want, FLOAT32)
