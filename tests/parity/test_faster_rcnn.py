"""Faster R-CNN against torchvision's: on one map, on a pyramid, and the second version, with equal weights, in float64.

Sampling is taken out by mini-batches that hold every anchor and every proposal; its own tests are elsewhere.
"""

import copy
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    AnchorGenerator,
    FasterRCNN,
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    RPNHead,
    TwoMLPHead,
)
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from vidi.backbones.resnet import trunk
from vidi.detection import candidates
from vidi.detection.anchors import LevelAnchors
from vidi.detection.regions import faster_rcnn
from vidi.detection.regions.fast_rcnn import (
    BoxPredictor,
    ConvolutionalHead,
    LinearHead,
    RegionCriterion,
    RegionDecode,
    RegionPooling,
)
from vidi.detection.regions.faster_rcnn import FasterCriterion, NormedPyramid, SingleMapFasterRCNN, pyramid_network
from vidi.detection.regions.region_proposals import ProposalCriterion, ProposalHead, ProposalSelection
from vidi.detection.targets import Objects
from vidi.model import Step, Supervised
from vidi.necks.feature_pyramid import FeaturePyramid
from vidi.nn.cost import count_cost
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Batch, MaskedBatch, Placement, Preprocess
from vidi.weights.renaming import renamed, under
from vidi.weights.strict import load_strictly
from vidi.weights.tables.torchvision_faster_rcnn import FASTER_RCNN, FASTER_RCNN_V2, STAGES, background_last
from vidi.weights.tables.torchvision_resnet import TRUNK

K = 6
SIZE = (64, 96)
SIZES = [SIZE, (48, 96), (64, 70)]  # of the images, on one canvas
CHANNELS, HIDDEN = 16, 24
ANCHORS = (8, 16, 32, 64, 128)
EVERYTHING = 10**6  # more than there are anchors and proposals
FIRST, KEPT = 60, 40  # anchors of a level that become proposals, and proposals of an image
TRAINED = 40  # the same in training, both
REGION = 4  # cells of C4 that a region becomes, for the detector of one map
SINGLE_MAP = under(TRUNK, "backbone.", "backbone.") | {
    "roi_heads.box_head.layer*.*.conv*.weight": "backbone.stage*.*.conv*.weight",
    "roi_heads.box_head.layer*.*.bn*.*": "backbone.stage*.*.norm*.*",
    "roi_heads.box_head.layer*.*.downsample.0.weight": "backbone.stage*.*.skip.conv.weight",
    "roi_heads.box_head.layer*.*.downsample.1.*": "backbone.stage*.*.skip.norm.*",
    **{old: new.replace("region_head.predict", "region_head") for old, new in STAGES.items()},
}


# ----------------------------------------------------------------------------------------------------------------------
# Both detectors


class UpToC4(nn.Module):
    """torchvision's ResNet-18 up to its third stage."""

    out_channels = 256

    def __init__(self, resnet: Any):
        super().__init__()
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.layer1, self.layer2, self.layer3 = resnet.layer1, resnet.layer2, resnet.layer3

    def forward(self, x: Any) -> Any:
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        return OrderedDict([("0", self.layer3(self.layer2(self.layer1(x))))])


class C5Head(nn.Module):
    def __init__(self, resnet: Any):
        super().__init__()
        self.layer4 = resnet.layer4

    def forward(self, x: Any) -> Any:
        return self.layer4(x).mean((2, 3))


def torchvisions(kind: str) -> FasterRCNN:
    resnet = torchvision.models.resnet18(weights=None)
    if kind == "single map":
        parts: dict[str, Any] = {
            "backbone": UpToC4(resnet),
            "rpn_anchor_generator": AnchorGenerator((ANCHORS[1:4],), ((0.5, 1.0, 2.0),)),
            "box_roi_pool": MultiScaleRoIAlign(["0"], REGION, 2),
            "box_head": C5Head(resnet),
            "box_predictor": FastRCNNPredictor(512, K + 1),
        }
    else:
        norm = nn.BatchNorm2d if kind == "second version" else None
        layers = {f"layer{i + 1}": str(i) for i in range(4)}
        fpn = BackboneWithFPN(resnet, layers, [64, 128, 256, 512], CHANNELS, norm_layer=norm)
        head = TwoMLPHead(CHANNELS * 49, HIDDEN)
        if norm is not None:
            head = FastRCNNConvFCHead((CHANNELS, 7, 7), [CHANNELS] * 4, [HIDDEN], norm_layer=norm)
        parts = {
            "backbone": fpn,
            "rpn_anchor_generator": AnchorGenerator(tuple((s,) for s in ANCHORS), ((0.5, 1.0, 2.0),) * 5),
            "rpn_head": RPNHead(CHANNELS, 3, conv_depth=2 if norm is not None else 1),
            "box_head": head,
            "box_predictor": FastRCNNPredictor(HIDDEN, K + 1),
        }
    return FasterRCNN(
        **parts,
        min_size=SIZE[0],
        max_size=SIZE[1],
        rpn_pre_nms_top_n_train=TRAINED,
        rpn_post_nms_top_n_train=TRAINED,
        rpn_pre_nms_top_n_test=FIRST,
        rpn_post_nms_top_n_test=KEPT,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        box_positive_fraction=0.5,
        box_detections_per_img=30,
    )


def our_network(kind: str) -> Any:
    backbone = trunk("resnet18")
    selection = ProposalSelection(FIRST, KEPT)
    if kind == "single map":
        anchors = LevelAnchors([ANCHORS[1:4]], (16,), "torchvision")
        head = BoxPredictor(512, K)
        pooling = RegionPooling((16,), (REGION, REGION), aligned=False)
        return SingleMapFasterRCNN(backbone, anchors, ProposalHead(256, 9), head, pooling, selection)
    second = kind == "second version"
    norm = norm_layer("batch")
    network = pyramid_network(
        backbone,
        NormedPyramid(backbone.channels, CHANNELS, norm=norm)
        if second
        else FeaturePyramid(backbone.channels, CHANNELS, extra="pool"),
        ConvolutionalHead(CHANNELS, K, norm=norm, hidden=HIDDEN) if second else LinearHead(CHANNELS, K, hidden=HIDDEN),
        ANCHORS,
        "torchvision",
        proposals=KEPT,
        depth=2 if second else 1,
        aligned=False,
    )
    network.selection = selection
    return network


def tables(kind: str) -> tuple[Any, Any]:
    """Return the rename table and what follows it."""
    if kind == "single map":
        return SINGLE_MAP, lambda tensors: {
            key: value.roll(-1, 0) if ".classes." in key else value[4:] if "region_head.deltas" in key else value
            for key, value in tensors.items()
        }
    return (FASTER_RCNN_V2 if kind == "second version" else FASTER_RCNN), background_last


def spread(reference: Any, images: torch.Tensor) -> None:
    """Give random weights that detect: statistics of the images, objectness and classes that differ."""
    with torch.no_grad():
        for value in reference.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
        norms = [m for m in reference.modules() if isinstance(m, nn.BatchNorm2d)]
        for layer in norms:
            layer.momentum = 1.0
        features = reference.backbone(images)
        for layer in norms:
            layer.momentum = 0.1
        head, heads = reference.rpn.head, reference.roi_heads
        for layer in head.conv.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        x = head.conv(next(iter(features.values())))
        head.cls_logits.weight.mul_(1.5 / head.cls_logits(x).std())
        head.bbox_pred.weight.mul_(0.4 / head.bbox_pred(x).std())
        boxes = [torch.tensor([[4.0, 4, 60, 50], [30, 10, 50, 40], [0, 0, 90, 60]], dtype=torch.float64)] * len(images)
        x = heads.box_head(heads.box_roi_pool(features, boxes, [SIZE] * len(images)))
        heads.box_predictor.cls_score.weight.mul_(2.0 / heads.box_predictor.cls_score(x).std())
        heads.box_predictor.bbox_pred.weight.mul_(2.0 / heads.box_predictor.bbox_pred(x).std())


@pytest.fixture(
    scope="module",
    params=["pyramid", "single map", pytest.param("second version", marks=pytest.mark.extended)],
)
def pair(request: pytest.FixtureRequest) -> SimpleNamespace:
    """torchvision's model and ours with equal weights, and images padded to one canvas."""
    torch.default_generator.manual_seed(3)
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    for image, (h, w) in zip(images, SIZES, strict=True):
        image[:, h:], image[:, :, w:] = 0, 0
    reference: Any = torchvisions(request.param).double().train()
    assign = reference.rpn.assign_targets_to_anchors  # gives float32, in which its loss would be computed
    reference.rpn.assign_targets_to_anchors = lambda *a: tuple([x.double() for x in part] for part in assign(*a))
    spread(reference, images)
    network = our_network(request.param).double()
    table, convert = tables(request.param)
    load_strictly(network, convert(renamed(reference.state_dict(), table)))
    criterion = FasterCriterion(
        ProposalCriterion("keep", count=EVERYTHING),
        RegionCriterion(tuple(range(K)), EVERYTHING, 0.5, beta=1 / 9),
        ProposalSelection(TRAINED, TRAINED),
    )
    names = tuple(f"class {k}" for k in range(K))
    preprocess = Preprocess(*SIZE, stride=32, antialias=False, masked=True)
    ours = Supervised(network, criterion, RegionDecode(names, detections_per_image=30), preprocess)
    rename = lambda tensors: convert(renamed(tensors, table))  # noqa: E731 - both steps, as a value
    return SimpleNamespace(reference=reference, ours=ours, images=images, rename=rename)


def image_list(images: torch.Tensor) -> ImageList:
    return ImageList(images, SIZES)


def targets(first_label: int) -> list[dict[str, torch.Tensor]]:
    """Several boxes (at the border, of one pixel, around everything), none, and one; torchvision has labels from 1."""
    several = [[0, 0, 20, 30], [70, 40, 96, 64], [30, 20, 31, 21], [2, 3, 90, 60], [40, 10, 60, 58], [41, 12, 59, 58]]
    boxes = [torch.tensor(rows, dtype=torch.float64).view(-1, 4) for rows in (several, [], [[10, 5, 50, 40]])]
    labels = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 5, 3, 2, 1, 1], [], [4])]
    return [{"boxes": b, "labels": k + first_label} for b, k in zip(boxes, labels, strict=True)]


def batch_of(images: torch.Tensor) -> Batch:
    return MaskedBatch(images, images[:, 0] != 0, [Placement(size, size) for size in SIZES], targets(0))


# ----------------------------------------------------------------------------------------------------------------------
# Stage by stage


@pytest.mark.system("4.3.2-RPN", "4.3.2-ANCHORS", "4.3.2-TWOSTAGE")
def test_first_stage(pair: SimpleNamespace) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        features = pair.reference.backbone(pair.images)
        maps = list(features.values())
        logits, deltas = pair.reference.rpn.head(maps)
        anchors = pair.reference.rpn.anchor_generator(image_list(pair.images), maps)[0]
        expected, _ = pair.reference.rpn(image_list(pair.images), features)
        first = pair.ours.network.first_stage(pair.images)
        sizes = torch.tensor(SIZES, dtype=torch.float64)
        proposals = pair.ours.network.selection(first.predictions, sizes)
    for ours, theirs in zip(first.features, maps, strict=True):
        assert_close(ours, theirs, OUTPUTS)
    for ours, theirs in zip(first.predictions.objectness, logits, strict=True):
        assert_close(ours, theirs.permute(0, 2, 3, 1).flatten(1), OUTPUTS)
    for ours, theirs in zip(first.predictions.deltas, deltas, strict=True):
        assert_close(ours.flatten(1), theirs.permute(0, 2, 3, 1).flatten(1), OUTPUTS)
    assert torch.equal(torch.cat(first.predictions.anchors), anchors)
    assert [len(boxes) for boxes in expected] == proposals.valid.sum(1).tolist()
    for image, boxes in enumerate(expected):
        assert_close(proposals.boxes[image, proposals.valid[image]], boxes, OUTPUTS)
    assert (proposals.scores.diff(dim=1) <= 0).all()


@pytest.mark.system("4.3.2-RPNASSIGN", "4.3.2-FASTRCNN")
def test_assignments_of_both_stages(pair: SimpleNamespace) -> None:
    with torch.no_grad():
        anchors = torch.cat(pair.ours.network.first_stage(pair.images).predictions.anchors)
    objects = [Objects.of(target, like=anchors) for target in targets(0)]
    labels, boxes = pair.reference.rpn.assign_targets_to_anchors([anchors] * 3, targets(1))
    for own, label, box, size in zip(objects, labels, boxes, SIZES, strict=True):
        matches = pair.ours.criterion.anchors.assign(anchors, own, anchors.new_tensor(size))
        assert torch.equal((matches >= 0).double() - (matches == -2).double(), label.double())
        assert torch.equal(own.boxes[matches[matches >= 0]], box[matches >= 0])
    heads = pair.reference.roi_heads
    _, labels = heads.assign_targets_to_proposals(
        [anchors] * 3, [o.boxes for o in objects], [o.labels + 1 for o in objects]
    )
    for own, label in zip(objects, labels, strict=True):
        matches = pair.ours.criterion.regions.assign(anchors, own)
        found = torch.zeros_like(label)
        found[matches >= 0] = own.labels[matches[matches >= 0]] + 1
        assert torch.equal(found, label)
    assert (labels[0] > 0).any()


@pytest.mark.system("4.3.2-FASTERRCNN", "4.3.3-FRCNNFPN", "4.3.2-FASTRCNN")
def test_losses_and_gradients_in_training_mode(pair: SimpleNamespace) -> None:
    pair.reference.train()
    pair.ours.train()
    pair.reference.zero_grad()
    pair.ours.zero_grad()
    features = pair.reference.backbone(pair.images)
    boxes, expected = pair.reference.rpn(image_list(pair.images), features, targets(1))
    _, of_regions = pair.reference.roi_heads(features, boxes, SIZES, targets(1))
    expected |= of_regions
    losses = pair.ours.losses("network", batch_of(pair.images), Step())
    names = {
        "objectness": "loss_objectness",
        "proposal": "loss_rpn_box_reg",
        "classification": "loss_classifier",
        "box": "loss_box_reg",
    }
    assert losses.keys() == names.keys()
    for ours, theirs in names.items():
        torch.testing.assert_close(losses[ours], expected[theirs], atol=0, rtol=1e-10)
        assert losses[ours] > 0

    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = pair.rename({name: p.grad for name, p in pair.reference.named_parameters() if p.grad is not None})
    grown = {name: p.grad for name, p in pair.ours.network.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("4.3.2-FASTERRCNN", "4.3.3-FRCNNFPN", "4.3.2-TWOSTAGE")
def test_detections(pair: SimpleNamespace) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        features = pair.reference.backbone(pair.images)
        boxes, _ = pair.reference.rpn(image_list(pair.images), features)
        expected, _ = pair.reference.roi_heads(features, boxes, SIZES)
        outputs = pair.ours(*batch_of(pair.images).inputs)
    assert torch.equal(outputs.valid.sum(1), torch.tensor([len(b) for b in boxes]))
    results = pair.ours.decode(outputs, [Placement(size, size) for size in SIZES])
    assert min(len(result) for result in results) > 5
    for result, want in zip(results, expected, strict=True):
        assert_close(result.boxes, want["boxes"], OUTPUTS)
        assert_close(result.scores, want["scores"], NUMBERS)
        assert torch.equal(result.labels + 1, want["labels"])


@pytest.mark.system("4.3.3-FRCNNFPN")
def test_prediction_of_images_of_other_sizes(pair: SimpleNamespace) -> None:
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
        assert torch.equal(result.labels + 1, want["labels"])


def test_parameter_counts_of_the_published_weights() -> None:
    """torchvision's detectors have four deltas for the background too."""
    weights = detection.FasterRCNN_ResNet50_FPN_Weights, detection.FasterRCNN_ResNet50_FPN_V2_Weights
    with torch.device("meta"):
        models = faster_rcnn.fasterrcnn_resnet50_fpn(norm="frozen"), faster_rcnn.fasterrcnn_resnet50_fpn_v2()
    unused = 4 * (1024 + 1)
    for model, source in zip(models, weights, strict=True):
        count = sum(p.numel() for p in model.parameters())
        assert count == source.COCO_V1.meta["num_params"] - unused


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_multiply_adds_of_the_published_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an image of 800 x 800; what suppression keeps depends on numbers, which a count does not have."""
    monkeypatch.setattr(candidates, "suppress", lambda boxes, scores, labels, valid, *, threshold: valid)
    with torch.device("meta"):
        network = getattr(faster_rcnn, name)().network
    theirs = torchvision.models.get_model_weights(name)["COCO_V1"]
    unused = 1000 * 4 * 1024
    assert (count_cost(network, 800).macs + unused) / 1e9 == pytest.approx(theirs.meta["_ops"], abs=0.006)
