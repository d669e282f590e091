"""Mask R-CNN against torchvision's, with equal weights, in float64: head, losses, gradients, selected and pasted masks.

Sampling is taken out by mini-batches that hold every anchor and every proposal, as in the test of Faster R-CNN.
"""

import copy
import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision.ops
from torch import Tensor
from torchvision.models import detection
from torchvision.models.detection import roi_heads
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.detection.scenes import boxes_of
from tests.parity import test_faster_rcnn as faster
from tests.parity.test_faster_rcnn import CHANNELS, EVERYTHING, SIZE, SIZES, TRAINED, K
from vidi.detection.regions.fast_rcnn import RegionCriterion, RegionDecode, Samples
from vidi.detection.regions.faster_rcnn import FasterCriterion
from vidi.detection.regions.region_proposals import ProposalCriterion, ProposalSelection
from vidi.model import Step, Supervised
from vidi.preprocess import MaskedBatch, Placement, Preprocess
from vidi.segmentation.mask_rcnn import MaskHead, MaskRCNN, MaskRCNNCriterion, MaskRCNNDecode, maskrcnn_resnet50_fpn
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.torchvision_mask_rcnn import MASK_RCNN, without_background

WIDTH = 12
NAMES = tuple(f"class {k}" for k in range(K))
CRITERION = (
    ProposalCriterion("keep", count=EVERYTHING),
    RegionCriterion(tuple(range(K)), EVERYTHING, 0.5, beta=1 / 9),
    ProposalSelection(TRAINED, TRAINED),
)


@pytest.fixture(scope="module")
def pair() -> SimpleNamespace:
    """torchvision's model and ours with equal weights, and images padded to one canvas."""
    torch.default_generator.manual_seed(3)
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    for image, (h, w) in zip(images, SIZES, strict=True):
        image[:, h:], image[:, :, w:] = 0, 0
    reference: Any = faster.torchvisions("pyramid")
    heads = reference.roi_heads
    heads.mask_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    heads.mask_head = MaskRCNNHeads(CHANNELS, (WIDTH,) * 4, 1)
    heads.mask_predictor = MaskRCNNPredictor(WIDTH, WIDTH, K + 1)
    reference.double().train()
    assign = reference.rpn.assign_targets_to_anchors  # gives float32, in which its loss would be computed
    reference.rpn.assign_targets_to_anchors = lambda *a: tuple([x.double() for x in part] for part in assign(*a))
    faster.spread(reference, images)

    select = RegionDecode(NAMES, detections_per_image=30)
    network = MaskRCNN(faster.our_network("pyramid"), select, MaskHead(CHANNELS, K, width=WIDTH), loss="sigmoid")
    network.double()
    rename = lambda tensors: without_background(renamed(tensors, MASK_RCNN))  # noqa: E731 - both steps, as a value
    load_strictly(network, rename(reference.state_dict()))
    criterion = FasterCriterion(*CRITERION)
    preprocess = Preprocess(*SIZE, stride=32, antialias=False, masked=True)
    ours = Supervised(
        network, MaskRCNNCriterion(criterion, aligned=False), MaskRCNNDecode(NAMES, pasting="rounded"), preprocess
    )
    return SimpleNamespace(reference=reference, ours=ours, images=images, rename=rename)


def targets(first_label: int) -> list[dict[str, Tensor]]:
    """Those of Faster R-CNN, with masks: an ellipse in each box, of a pixel at least."""
    found = faster.targets(first_label)
    for target, (h, w) in zip(found, SIZES, strict=True):
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        x1, y1, x2, y2 = target["boxes"][:, :, None, None].unbind(1)
        inside = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 <= 0.25
        target["masks"] = inside.view(-1, h, w)
    return found


def batch_of(pair: SimpleNamespace) -> MaskedBatch:
    images = pair.images
    return MaskedBatch(images, images[:, 0] != 0, [Placement(size, size) for size in SIZES], targets(0))


@pytest.mark.system("5.2.1-MASKHEAD")
def test_logits_of_all_classes(pair: SimpleNamespace) -> None:
    features, rows = pair.reference.backbone(pair.images), torch.tensor([0, 0, 2, 1] * 5)
    boxes = boxes_of(20, size=SIZE)
    heads = pair.reference.roi_heads
    with torch.no_grad():
        per_image = [boxes[rows == image] for image in range(3)]
        regions = heads.mask_roi_pool(features, per_image, SIZES)
        expected = heads.mask_predictor(heads.mask_head(regions))[:, 1:]
        order = torch.cat([(rows == image).nonzero()[:, 0] for image in range(3)])
        found = pair.ours.network.mask_stage(tuple(features.values()), boxes[order], rows[order])
    assert found.shape == (20, K, 28, 28)
    assert_close(found, expected, OUTPUTS)


@pytest.mark.system("5.2.1-MASKRCNN", "5.2.1-MASKLOSS")
def test_losses_and_gradients_in_training_mode(pair: SimpleNamespace) -> None:
    pair.reference.train()
    pair.ours.train()
    pair.reference.zero_grad()
    pair.ours.zero_grad()
    features = pair.reference.backbone(pair.images)
    boxes, expected = pair.reference.rpn(faster.image_list(pair.images), features, targets(1))
    _, of_regions = pair.reference.roi_heads(features, boxes, SIZES, targets(1))
    expected |= of_regions
    losses = pair.ours.losses("network", batch_of(pair), Step())
    names = {
        "objectness": "loss_objectness",
        "proposal": "loss_rpn_box_reg",
        "classification": "loss_classifier",
        "box": "loss_box_reg",
        "mask": "loss_mask",
    }
    assert losses.keys() == names.keys()
    for ours, theirs in names.items():
        assert_close(losses[ours].detach(), expected[theirs].detach(), NUMBERS)
        assert losses[ours] > 0
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = pair.rename({name: p.grad for name, p in pair.reference.named_parameters() if p.grad is not None})
    grown = {name: p.grad for name, p in pair.ours.network.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("5.2.1-MASKLOSS")
@pytest.mark.parametrize("aligned", [True, False])
def test_the_loss_of_the_same_samples(aligned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """C5.16: each positive sample's target is its object's mask inside it; torchvision's cells are not aligned."""
    truths, boxes = targets(0), boxes_of(13, 2, size=SIZE)
    parts = slice(0, 9), slice(9, 9), slice(9, 13)  # samples of each image
    rows = torch.cat((torch.arange(9) % 6, torch.zeros(4).long()))  # their objects
    labels = torch.cat([truth["labels"][rows[part]] for truth, part in zip(truths, parts, strict=True)])
    logits = torch.randn(13, K, 28, 28, dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(roi_heads, "roi_align", functools.partial(torchvision.ops.roi_align, aligned=aligned))
    expected = roi_heads.maskrcnn_loss(
        torch.cat((torch.zeros(13, 1, 28, 28).double(), logits), 1),
        [boxes[part] for part in parts],
        [truth["masks"] for truth in truths],
        [truth["labels"] + 1 for truth in truths],
        [rows[part] for part in parts],
    )
    images = torch.tensor([0] * 9 + [2] * 4)
    samples = Samples(boxes, images, labels, boxes, rows)
    criterion = MaskRCNNCriterion(FasterCriterion(*CRITERION), aligned=aligned)
    loss = criterion.of_samples(logits, samples, [truth["masks"] for truth in truths], Step())["mask"]
    assert_close(loss.detach(), expected.detach(), NUMBERS)
    wanted, grown = (torch.autograd.grad(value, logits)[0] for value in (expected, loss))
    assert_close(grown, wanted, GRADIENTS)


@pytest.mark.system("5.2.1-MASKRCNN", "5.2.1-PASTE", "5.2-INSTSEG")
def test_detections_and_their_masks_in_the_original_images(pair: SimpleNamespace) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        features = pair.reference.backbone(pair.images)
        boxes, _ = pair.reference.rpn(faster.image_list(pair.images), features)
        expected, _ = pair.reference.roi_heads(features, boxes, SIZES)
        outputs = pair.ours(*batch_of(pair).inputs)
    assert outputs.mask_logits.shape == (3, 30, 28, 28)
    for row, want in enumerate(expected):
        valid = outputs.valid[row]
        assert valid.sum() == len(want["boxes"]) > 5
        assert_close(outputs.boxes[row, valid], want["boxes"], OUTPUTS)
        assert_close(outputs.scores[row, valid], want["scores"], NUMBERS)
        assert torch.equal(outputs.labels[row, valid] + 1, want["labels"])
        assert_close(outputs.mask_logits[row, valid].sigmoid(), want["masks"][:, 0], OUTPUTS)

    originals = [(2 * h, 4 * w) for h, w in SIZES]  # factors that float32, which torchvision takes, can hold
    results = pair.ours.decode(outputs, [Placement(o, size) for o, size in zip(originals, SIZES, strict=True)])
    pasted = pair.reference.transform.postprocess(expected, SIZES, originals)
    for result, want in zip(results, pasted, strict=True):
        assert_close(result.boxes, want["boxes"], OUTPUTS)
        assert torch.equal(result.masks, want["masks"][:, 0] >= 0.5)
        assert result.masks.any()


@pytest.mark.system("5.2.1-MASKRCNN")
def test_prediction_of_images_of_other_sizes(pair: SimpleNamespace) -> None:
    """From pixels to masks of the original image, in float32; rounding may move a border here and there."""
    reference, ours = copy.deepcopy(pair.reference).float().eval(), copy.deepcopy(pair.ours).float().eval()
    generator = torch.Generator().manual_seed(2)
    images = [torch.rand(3, *size, generator=generator) for size in ((100, 151), (96, 96))]
    with torch.no_grad():
        expected = [reference([image])[0] for image in images]
    for result, want in zip(ours.predict(images), expected, strict=True):
        assert torch.equal(result.labels + 1, want["labels"])
        assert_close(result.scores, want["scores"], FLOAT32)
        assert (result.masks != (want["masks"][:, 0] >= 0.5)).float().mean() < 1e-3
        assert result.masks.any()


def test_parameter_count_of_the_published_weights() -> None:
    """torchvision's has four deltas and a mask for the background too."""
    with torch.device("meta"):
        model = maskrcnn_resnet50_fpn(norm="frozen")
    unused = 4 * (1024 + 1) + (256 + 1)
    theirs = detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["num_params"]
    assert sum(p.numel() for p in model.parameters()) == theirs - unused
