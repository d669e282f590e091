"""RetinaNet against torchvision's, both versions, with the same random weights, in float64."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from vidi.detection import retinanet
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.torchvision_retinanet import RETINANET

CLASSES = 6
SIZE = (64, 96)  # P6 of 1 x 2 and P7 of 1 x 1 cells: torchvision's strides there are not the nominal ones
BOX_LOSS = {"retinanet_resnet50_fpn": "l1", "retinanet_resnet50_fpn_v2": "giou"}


@pytest.fixture(scope="module", params=BOX_LOSS)
def pair(request):
    """torchvision's model and ours with equal weights, random in all parts and spread enough to detect things."""
    torch.default_generator.manual_seed(1)
    build = getattr(detection, request.param)
    options = {"min_size": SIZE[0], "max_size": SIZE[1], "detections_per_img": 40, "topk_candidates": 100}
    reference = build(weights=None, weights_backbone=None, num_classes=CLASSES, **options).double().train()
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        for name, value in reference.named_parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
            elif name.startswith("head") and "conv" in name:
                torch.nn.init.kaiming_normal_(value)
        for layer in reference.modules():  # the running statistics of these images
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        features = list(reference.backbone(images).values())
        for layer in reference.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 0.1
        head = reference.head
        for part, last in ((head.classification_head, "cls_logits"), (head.regression_head, "bbox_reg")):
            last = getattr(part, last)
            last.weight.mul_(0.7 / part(features).std())
        head.classification_head.cls_logits.bias.fill_(-2.5)
    ours = getattr(retinanet, request.param)(
        categories=CLASSES,
        anchor_style="torchvision",
        box_loss=BOX_LOSS[request.param],
        normalise="image",
        shorter=SIZE[0],
        longest=SIZE[1],
        detections_per_image=40,
    ).double()
    ours.decode = retinanet.RetinaDecode(ours.decode.categories, 0.05, 0.5, 40, candidates_per_level=100)
    load_strictly(ours.network, renamed(reference.state_dict(), RETINANET))
    return SimpleNamespace(reference=reference, ours=ours, images=images)


def reference_outputs(reference, images):
    features = list(reference.backbone(images).values())
    anchors = reference.anchor_generator(ImageList(images, [SIZE] * len(images)), features)
    return reference.head(features), anchors, [f.shape[2] * f.shape[3] * 9 for f in features]


def targets():
    """Several boxes (at the border, of one pixel, around everything), none, and one."""
    several = [[0, 0, 20, 30], [70, 40, 96, 64], [30, 20, 31, 21], [2, 3, 90, 60], [40, 10, 60, 58], [41, 12, 59, 58]]
    boxes = [torch.tensor(rows, dtype=torch.float64).view(-1, 4) for rows in (several, [], [[10, 5, 50, 40]])]
    labels = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 5, 3, 2, 1, 1], [], [4])]
    return [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]


def batch_of(images):
    mask = torch.ones(len(images), *SIZE, dtype=torch.bool)
    return Batch(images, mask, [Placement(SIZE, SIZE)] * len(images), targets())


@pytest.mark.system("4.3.4-RETINANET")
def test_head_outputs_and_anchors(pair):
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        heads, anchors, rows = reference_outputs(pair.reference, pair.images)
        outputs = pair.ours(pair.images)
    assert_close(outputs.class_logits, heads["cls_logits"], OUTPUTS)
    assert_close(outputs.box_deltas, heads["bbox_regression"], OUTPUTS)
    assert torch.equal(outputs.anchors, anchors[0])
    assert outputs.levels.bincount().tolist() == rows


@pytest.mark.system("4.3.4-RETINALOSS")
def test_losses_and_gradients_in_training_mode(pair):
    pair.reference.train()
    pair.ours.train()
    pair.reference.zero_grad()
    pair.ours.zero_grad()
    heads, anchors, _ = reference_outputs(pair.reference, pair.images)
    expected = pair.reference.compute_loss(targets(), heads, anchors)
    losses = pair.ours.losses("network", batch_of(pair.images), Step())
    torch.testing.assert_close(losses["classification"], expected["classification"], atol=0, rtol=1e-10)
    torch.testing.assert_close(losses["box"], expected["bbox_regression"], atol=0, rtol=1e-10)

    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = renamed({name: p.grad for name, p in pair.reference.named_parameters()}, RETINANET)
    grown = {name: p.grad for name, p in pair.ours.network.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("4.3.4-RETINANET")
def test_detections(pair):
    pair.reference.eval()
    pair.ours.eval()
    sizes = [SIZE, (48, 96), (64, 70)]  # smaller images on the same canvas: boxes are clipped to each
    with torch.no_grad():
        heads, anchors, rows = reference_outputs(pair.reference, pair.images)
        heads["cls_logits"][1] -= 8  # nothing is found here
        outputs = pair.ours(pair.images)
        outputs.class_logits[1] -= 8
    levels = {name: list(value.split(rows, 1)) for name, value in heads.items()}
    expected = pair.reference.postprocess_detections(levels, [list(a.split(rows)) for a in anchors], sizes)
    results = pair.ours.decode(outputs, [Placement(size, size) for size in sizes])
    assert [len(r) for r in results] == [len(e["scores"]) for e in expected]
    assert len(results[0]) == 40
    assert len(results[1]) == 0
    for result, want in zip(results, expected, strict=True):
        assert_close(result.boxes, want["boxes"], OUTPUTS)
        assert_close(result.scores, want["scores"], NUMBERS)
        assert torch.equal(result.labels, want["labels"])


@pytest.mark.system("4.3.4-RETINANET")
def test_prediction_of_images_of_other_sizes(pair):
    """From pixels to boxes in the original image, in float32: resizing, normalisation, padding and scaling back."""
    reference, ours = copy.deepcopy(pair.reference).float().eval(), copy.deepcopy(pair.ours).float().eval()
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(3, *size, generator=generator) for size in ((100, 151), (96, 96))]
    with torch.no_grad():
        expected = [reference([image])[0] for image in images]
    results = ours.predict(images)
    assert all(len(result) for result in results)
    for result, want in zip(results, expected, strict=True):
        assert_close(result.scores, want["scores"], FLOAT32)
        assert_close(result.boxes, want["boxes"], 3e-4)  # exp and the way back to the original multiply the rounding
        assert torch.equal(result.labels, want["labels"])


@pytest.mark.parametrize("size", [(800, 1216), (736, 1344), (64, 32), (1344, 416)])
def test_anchors_of_large_canvases(size):
    generator = detection.retinanet._default_anchorgen()
    maps = [torch.zeros(1, 1, -(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32, 64, 128)]
    expected = generator(ImageList(torch.zeros(1, 3, *size), [size]), maps)[0]
    anchors = retinanet.Anchors((32, 64, 128, 256, 512), (8, 16, 32, 64, 128), "torchvision")
    assert torch.equal(anchors(size, [m.shape[2:] for m in maps])[0], expected)


def test_parameter_counts_of_the_published_weights():
    weights = detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1, detection.RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1
    with torch.device("meta"):
        models = retinanet.retinanet_resnet50_fpn(norm="frozen"), retinanet.retinanet_resnet50_fpn_v2()
    for model, source in zip(models, weights, strict=True):
        assert sum(p.numel() for p in model.parameters()) == source.meta["num_params"]
