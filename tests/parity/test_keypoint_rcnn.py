"""Keypoint R-CNN against torchvision's, with equal weights, in float64: head, losses, gradients, decoded joints.

Sampling is taken out by mini-batches that hold every anchor and every proposal, as in the test of Faster R-CNN.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import detection
from torchvision.models.detection import roi_heads
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.detection.scenes import boxes_of
from tests.parity import test_faster_rcnn as faster
from tests.parity.test_faster_rcnn import CHANNELS, SIZE, SIZES, K
from tests.parity.test_mask_rcnn import CRITERION, NAMES
from vidi.detection.regions.fast_rcnn import RegionDecode, Samples
from vidi.detection.regions.faster_rcnn import FasterCriterion
from vidi.detection.targets import joints_of
from vidi.model import Step, Supervised
from vidi.ops.skeletons import Skeleton
from vidi.preprocess import MaskedBatch, Placement, Preprocess
from vidi.segmentation.keypoint_rcnn import (
    KeypointCriterion,
    KeypointDecode,
    KeypointHead,
    KeypointRCNN,
    joint_places,
    joints_in_boxes,
    keypointrcnn_resnet50_fpn,
)
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.torchvision_faster_rcnn import background_last
from vidi.weights.tables.torchvision_keypoint_rcnn import KEYPOINT_RCNN

WIDTH, J = 12, 5
SKELETON = Skeleton(("head", "left_hand", "right_hand", "left_foot", "right_foot"))


@pytest.fixture(scope="module")
def pair() -> SimpleNamespace:
    """torchvision's model and ours with equal weights, and images padded to one canvas."""
    torch.default_generator.manual_seed(3)
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    for image, (h, w) in zip(images, SIZES, strict=True):
        image[:, h:], image[:, :, w:] = 0, 0
    reference: Any = faster.torchvisions("pyramid")
    heads = reference.roi_heads
    heads.keypoint_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    heads.keypoint_head = KeypointRCNNHeads(CHANNELS, (WIDTH,) * 8)
    heads.keypoint_predictor = KeypointRCNNPredictor(WIDTH, J)
    reference.double().train()
    assign = reference.rpn.assign_targets_to_anchors  # gives float32, in which its loss would be computed
    reference.rpn.assign_targets_to_anchors = lambda *a: tuple([x.double() for x in part] for part in assign(*a))
    faster.spread(reference, images)

    select = RegionDecode(NAMES, detections_per_image=30)
    network = KeypointRCNN(faster.our_network("pyramid"), select, KeypointHead(CHANNELS, J, width=WIDTH)).double()
    rename = lambda tensors: background_last(renamed(tensors, KEYPOINT_RCNN))  # noqa: E731 - both steps, as a value
    load_strictly(network, rename(reference.state_dict()))
    ours = Supervised(
        network,
        KeypointCriterion(FasterCriterion(*CRITERION)),
        KeypointDecode(NAMES, SKELETON, tuple(range(K))),
        Preprocess(*SIZE, stride=32, antialias=False, masked=True),
    )
    return SimpleNamespace(reference=reference, ours=ours, images=images, rename=rename)


def targets(first_label: int) -> list[dict[str, Tensor]]:
    """Those of Faster R-CNN, with joints in, on the edge of, and outside their boxes, some of them not labelled."""
    found = faster.targets(first_label)
    shares = torch.tensor([[0.45, 0.1], [0, 0], [1, 1], [0.2, 0.7], [1.4, 0.45]], dtype=torch.float64)
    for target in found:
        corner, other = target["boxes"][:, None, :2], target["boxes"][:, None, 2:]
        target["keypoints"] = corner + shares * (other - corner)
        target["visibility"] = torch.tensor([2, 1, 2, 0, 2], dtype=torch.uint8).repeat(len(corner), 1)
    return found


def theirs(found: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Put visibility where torchvision has it; it asks for joints in float32, which hold these exactly enough."""
    return [{**t, "keypoints": torch.cat((t["keypoints"], t["visibility"][..., None]), 2).float()} for t in found]


def rounded(found: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Give joints the values that float32 has for them."""
    return [{**t, "keypoints": t["keypoints"].float().double()} for t in found]


def batch_of(pair: SimpleNamespace) -> MaskedBatch:
    images = pair.images
    return MaskedBatch(images, images[:, 0] != 0, [Placement(size, size) for size in SIZES], rounded(targets(0)))


@pytest.mark.system("5.2.1-KEYPOINT")
def test_logits_of_all_places(pair: SimpleNamespace) -> None:
    features, rows = pair.reference.backbone(pair.images), torch.tensor([0] * 10 + [1] * 4 + [2] * 6)
    boxes, heads = boxes_of(20, size=SIZE), pair.reference.roi_heads
    with torch.no_grad():
        regions = heads.keypoint_roi_pool(features, list(boxes.split([10, 4, 6])), SIZES)
        expected = heads.keypoint_predictor(heads.keypoint_head(regions))
        found = pair.ours.network.keypoint_stage(tuple(features.values()), boxes, rows)
    assert found.shape == (20, J, 56, 56)
    assert_close(found, expected, OUTPUTS)


@pytest.mark.system("5.2.1-KEYPOINT")
def test_losses_and_gradients_in_training_mode(pair: SimpleNamespace) -> None:
    pair.reference.train()
    pair.ours.train()
    pair.reference.zero_grad()
    pair.ours.zero_grad()
    features = pair.reference.backbone(pair.images)
    boxes, expected = pair.reference.rpn(faster.image_list(pair.images), features, targets(1))
    _, of_regions = pair.reference.roi_heads(features, boxes, SIZES, theirs(targets(1)))
    expected |= of_regions
    losses = pair.ours.losses("network", batch_of(pair), Step())
    names = {
        "objectness": "loss_objectness",
        "proposal": "loss_rpn_box_reg",
        "classification": "loss_classifier",
        "box": "loss_box_reg",
        "keypoint": "loss_keypoint",
    }
    assert losses.keys() == names.keys()
    for own, other in names.items():
        assert_close(losses[own].detach(), expected[other].detach(), NUMBERS)
        assert losses[own] > 0
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = pair.rename({name: p.grad for name, p in pair.reference.named_parameters() if p.grad is not None})
    grown = {name: p.grad for name, p in pair.ours.network.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("5.2.1-KEYPOINT")
def test_places_are_torchvisions() -> None:
    """Joints anywhere, on all edges and corners of their boxes, and in boxes of a pixel; none between two cells."""
    boxes = torch.cat((boxes_of(40), torch.tensor([[3.0, 4, 4, 5]], dtype=torch.float64)))
    shares = torch.rand(41, 30, 2, dtype=torch.float64) * 1.6 - 0.3
    shares[:, :9] = torch.cartesian_prod(*[torch.tensor([0, 0.45, 1.0]).double()] * 2)
    points = boxes[:, None, :2] + shares * (boxes[:, None, 2:] - boxes[:, None, :2])
    points[:, :9] = torch.where(shares[:, :9] == 1, boxes[:, None, 2:].expand(-1, 9, -1), points[:, :9])
    seen = torch.cat((points, torch.ones(41, 30, 1)), 2)
    expected, valid = roi_heads.keypoints_to_heatmap(seen, boxes, 56)
    places, inside = joint_places(points, boxes, (56, 56))
    assert torch.equal(inside, valid.bool())
    assert torch.equal(places[inside], expected[inside])
    assert inside[:, :9].all()


@pytest.mark.system("5.2.1-KEYPOINT")
def test_the_loss_of_the_same_samples() -> None:
    truths, boxes = rounded(targets(0)), boxes_of(13, 2, size=SIZE)
    rows = torch.cat((torch.arange(9) % 6, torch.zeros(4).long()))
    images = torch.tensor([0] * 9 + [2] * 4)
    logits = torch.randn(13, J, 56, 56, dtype=torch.float64, requires_grad=True)
    expected = roi_heads.keypointrcnn_loss(
        logits,
        list(boxes.split([9, 0, 4])),
        [t["keypoints"].double() for t in theirs(truths)],
        list(rows.split([9, 0, 4])),
    )
    bodies = [joints_of(truth, like=boxes, joints=J) for truth in truths]
    samples = Samples(boxes, images, rows, boxes, rows)
    loss = KeypointCriterion(FasterCriterion(*CRITERION)).of_samples(logits, samples, bodies, Step())["keypoint"]
    assert_close(loss.detach(), expected.detach(), NUMBERS)
    wanted, grown = (torch.autograd.grad(value, logits)[0] for value in (expected, loss))
    assert_close(grown, wanted, GRADIENTS)


@pytest.mark.system("5.2.1-KEYPOINT")
def test_decoded_joints_are_torchvisions() -> None:
    """It computes in float32 what it makes of them."""
    logits = torch.randn(30, J, 56, 56, dtype=torch.float64)
    boxes = torch.cat((boxes_of(26), torch.tensor([[3.0, 4, 3.5, 4.2], [3, 4, 4, 5], [1, 2, 90, 2.5], [0, 0, 7, 60]])))
    expected, scores = roi_heads.heatmaps_to_keypoints(logits, boxes)
    points, largest_logits = joints_in_boxes(logits, boxes)
    assert_close(points, expected[..., :2].double(), FLOAT32)
    assert_close(largest_logits, scores.double(), FLOAT32)


@pytest.mark.system("5.2.1-KEYPOINT")
def test_detections_and_their_joints_in_the_original_images(pair: SimpleNamespace) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        features = pair.reference.backbone(pair.images)
        boxes, _ = pair.reference.rpn(faster.image_list(pair.images), features)
        expected, _ = pair.reference.roi_heads(features, boxes, SIZES)
        outputs = pair.ours(*batch_of(pair).inputs)
    originals = [(2 * h, 4 * w) for h, w in SIZES]
    results = pair.ours.decode(outputs, [Placement(o, size) for o, size in zip(originals, SIZES, strict=True)])
    placed = pair.reference.transform.postprocess(expected, SIZES, originals)
    for result, want in zip(results, placed, strict=True):
        assert len(result) == len(want["boxes"]) > 5
        assert_close(result.boxes, want["boxes"], OUTPUTS)
        assert torch.equal(result.labels + 1, want["labels"])
        assert_close(result.keypoints[..., :2], want["keypoints"][..., :2].double(), FLOAT32)
        assert_close(result.keypoints[..., 2], want["keypoints_scores"].double().sigmoid(), FLOAT32)


def test_parameter_count_of_the_published_weights() -> None:
    """torchvision's has four deltas for the background too."""
    with torch.device("meta"):
        model = keypointrcnn_resnet50_fpn(norm="frozen")
    theirs_has = detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["num_params"]
    assert sum(p.numel() for p in model.parameters()) == theirs_has - 4 * (1024 + 1)
