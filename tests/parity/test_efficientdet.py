"""EfficientDet against effdet's, with the same random weights, in float64: network, targets, loss and detections.

effdet narrows to float32 in its loss and its decoder, and takes no other boxes: `wide` makes it widen instead.
"""

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from effdet import get_efficientdet_config
from effdet.anchors import AnchorLabeler, generate_detections
from effdet.bench import DetBenchPredict, _post_process
from effdet.efficientdet import EfficientDet as Reference
from effdet.loss import DetectionLoss
from effdet.object_detection import ArgMaxMatcher, BoxList, FasterRcnnBoxCoder, IouSimilarity, TargetAssigner
from torch import Tensor, nn

from tests.closeness import GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.parity.networks import assert_same_training, randomise
from vidi.detection import efficientdet
from vidi.detection.efficientdet import EfficientDetDecode
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.effdet_efficientdet import NAMES, xy_first

CLASSES = 4
SIZE = (128, 128)  # (H, W)


def config_of(name: str, **options: Any) -> Any:
    """effdet's configuration of a variant for small images and few classes, without draws in training."""
    config = get_efficientdet_config(name)
    config.update({"image_size": SIZE, "num_classes": CLASSES, "backbone_args": {"drop_path_rate": 0.0}, **options})
    return config


def ours_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return xy_first(renamed(tensors, NAMES))


class AnyBoxList(BoxList):
    """effdet's, which takes boxes of float32 only."""

    def __init__(self, boxes: Tensor):
        self.data = {"boxes": boxes}


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    for module in ("effdet.anchors", "effdet.object_detection.box_list"):
        monkeypatch.setattr(f"{module}.BoxList", AnyBoxList)


@pytest.fixture(scope="module")
def pair() -> SimpleNamespace:
    """effdet's D0 and ours with equal weights, random in all parts and spread enough to detect things."""
    torch.default_generator.manual_seed(1)
    reference: Any = Reference(config_of("efficientdet_d0", max_detection_points=600), pretrained_backbone=False)
    randomise(reference)
    with torch.no_grad():
        reference.class_net.predict.conv_pw.weight.mul_(0.5)
        reference.class_net.predict.conv_pw.bias.fill_(-2.0)
        reference.box_net.predict.conv_pw.weight.mul_(0.2)
    ours: Any = efficientdet.efficientdet_d0(categories=CLASSES, drop=0.0)
    ours.decode = EfficientDetDecode(ours.decode.categories, candidates=600)
    load_strictly(ours.network, ours_of(reference.state_dict()))
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return SimpleNamespace(reference=reference.double(), ours=ours.double(), images=images)


def flat(outputs: list[Tensor], numbers: int) -> Tensor:
    """effdet's maps of all levels as B A N."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers) for x in outputs], 1)


XY = [1, 0, 3, 2]  # effdet's rows are y, x, h, w


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("4.A-EFFDET")
def test_outputs_and_anchors(pair: SimpleNamespace, wide: None) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        classes, boxes = pair.reference(pair.images)
        outputs = pair.ours(pair.images)
    assert_close(outputs.class_logits, flat(classes, CLASSES), OUTPUTS)
    assert_close(outputs.box_deltas, flat(boxes, 4)[..., XY], OUTPUTS)
    anchors: Any = DetBenchPredict(pair.reference).anchors
    assert_close(outputs.anchors, anchors.boxes[:, XY], 1e-6)  # shapes in float32
    assert outputs.levels.bincount().tolist() == [9 * x.shape[2] * x.shape[3] for x in classes]


def training_outputs(network: nn.Module, images: Tensor) -> Tensor:
    """Class logits, then box corrections of all anchors in one row, in our order."""
    if isinstance(network, Reference):
        classes, boxes = network(images)
        return torch.cat((flat(classes, CLASSES).flatten(), flat(boxes, 4)[..., XY].flatten()))
    outputs = network(images)
    return torch.cat((outputs.class_logits.flatten(), outputs.box_deltas.flatten()))


VARIANTS: list[Any] = [
    pytest.param("efficientdet_d0", {}, {}, marks=pytest.mark.extended),
    pytest.param("tf_efficientdet_d0", {}, {"tensorflow": True}),
    pytest.param("tf_efficientdet_d1", {}, {"tensorflow": True}, marks=pytest.mark.extended),
    pytest.param("tf_efficientdet_d3", {}, {"tensorflow": True}, marks=pytest.mark.extended),
    pytest.param(
        "efficientdet_lite0", {"head_bn_level_first": False}, {"tensorflow": False}, marks=pytest.mark.extended
    ),
    pytest.param(
        "tf_efficientdet_lite0", {}, {"bias": True, "fusion": "sum", "anchor_scale": 3.0}, marks=pytest.mark.extended
    ),
]


@pytest.mark.system("4.A-EFFDET", "4.A-BIFPN")
@pytest.mark.parametrize(("name", "theirs", "ours"), VARIANTS)
def test_outputs_gradients_and_statistics_in_training_mode(name: str, theirs: dict, ours: dict) -> None:
    """Also of canvases that do not divide by the coarsest stride."""
    size = (128, 128) if name.startswith("tf") else (96, 160)
    builder = getattr(efficientdet, name.removeprefix("tf_"))
    network = builder(categories=CLASSES, drop=0.0, **ours).network
    reference = Reference(config_of(name, image_size=size, **theirs), pretrained_backbone=False)
    for module in reference.backbone.modules():
        if isinstance(module, nn.BatchNorm2d) and name.startswith("tf"):
            module.momentum = 0.01  # the authors'; effdet leaves it to timm, which has torch's
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    call = partial(training_outputs, images=images)
    assert_same_training(network, reference, as_gradients_or_weights, call, training=True)


def as_gradients_or_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename; rows of the box head are exchanged only where they are given."""
    named = renamed(tensors, NAMES)
    return xy_first(named) if "box_head.predict.pointwise.bias" in named else named


@pytest.mark.system("4.A-EFFDET", "4.A-EFFDETSCALE")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tf_efficientdet_d0", {"tensorflow": True}),
        ("efficientdet_d0", {}),
        *(
            pytest.param(f"tf_efficientdet_d{phi}", {"tensorflow": True}, marks=pytest.mark.extended)
            for phi in range(1, 8)
        ),
        *(pytest.param(f"efficientdet_d{phi}", {}, marks=pytest.mark.extended) for phi in range(1, 4)),
        pytest.param("efficientdet_lite0", {}, marks=pytest.mark.extended),
        pytest.param("tf_efficientdet_lite0", {"bias": True, "fusion": "sum"}, marks=pytest.mark.extended),
    ],
)
def test_parameter_counts(name: str, options: dict) -> None:
    with torch.device("meta"):
        ours = getattr(efficientdet, name.removeprefix("tf_"))(**options)
        theirs = Reference(get_efficientdet_config(name), pretrained_backbone=False)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


# ----------------------------------------------------------------------------------------------------------------------
# Loss


def targets() -> list[dict[str, Tensor]]:
    """Several boxes (at the border, of one pixel, around everything, two that overlap), none, and one."""
    several = [
        [0, 0, 20, 30],
        [70.5, 80.25, 128, 128],
        [30, 20, 31, 21],
        [2, 3, 120, 110],
        [40, 10.5, 90, 78],
        [41, 12, 89, 78.75],
    ]
    boxes = [torch.tensor(rows, dtype=torch.float64).view(-1, 4) for rows in (several, [], [[10.25, 5, 70, 60]])]
    labels = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 3, 2, 2, 1, 1], [], [3])]
    return [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)]


def batch_of(images: Tensor) -> Batch:
    mask = torch.ones(len(images), *SIZE, dtype=torch.bool)
    return Batch(images, mask, [Placement(SIZE, SIZE)] * len(images), targets())


def labeler_of(config: Any, anchors: Tensor) -> AnchorLabeler:
    """effdet's labeler on given anchors, without the 1e-7 pixels that it adds to the sides of boxes."""
    labeler = AnchorLabeler(DetBenchPredict(SimpleModel(config)).anchors, CLASSES)
    labeler.anchors.boxes = anchors[:, XY]
    matcher = ArgMaxMatcher(0.5, 0.5, True, True)
    labeler.target_assigner = TargetAssigner(IouSimilarity(), matcher, FasterRcnnBoxCoder(eps=0.0))
    return labeler


class SimpleModel(nn.Module):
    """What effdet's bench needs of a network."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config


def labelled(pair: SimpleNamespace, anchors: Tensor) -> Any:
    """effdet's targets of each level: classes, -1 where there is no object, and boxes; and counts of positives."""
    boxes = [t["boxes"][:, XY] for t in targets()]
    classes = [t["labels"] + 1 for t in targets()]
    return labeler_of(pair.reference.config, anchors).batch_label_anchors(boxes, classes)


@pytest.mark.system("4.A-EFFDET")
def test_assignments(pair: SimpleNamespace, wide: None) -> None:
    with torch.no_grad():
        anchors = pair.ours.eval()(pair.images).anchors
    classes, _, counts = labelled(pair, anchors)
    expected = torch.cat([x.flatten(1) for x in classes], 1)  # B A
    objects = [Objects.of(t, like=anchors) for t in targets()]
    matches = [pair.ours.criterion.assign(anchors, own) for own in objects]
    received = [torch.where(m >= 0, own.labels[m] if len(own.labels) else -1, -1)
                for m, own in zip(matches, objects, strict=True)]  # fmt: skip
    assert torch.equal(torch.stack(received), expected)
    assert [int((m >= 0).sum()) for m in matches] == counts.tolist()
    assert counts.tolist()[1] == 0
    assert counts[0] > 10
    assert all((matches[0] == row).any() for row in range(6))


@pytest.mark.system("4.A-EFFDET")
def test_losses_and_gradients_in_training_mode(pair: SimpleNamespace, wide: None) -> None:
    reference, ours = copy.deepcopy(pair.reference).train(), copy.deepcopy(pair.ours).train()
    classes, boxes = reference(pair.images)
    with torch.no_grad():
        anchors = ours(pair.images).anchors
    ours = copy.deepcopy(pair.ours).train()
    total, classification, box = DetectionLoss(reference.config)(classes, boxes, *labelled(pair, anchors))
    losses = ours.losses("network", batch_of(pair.images), Step())
    torch.testing.assert_close(losses["classification"], classification, atol=0, rtol=1e-10)
    torch.testing.assert_close(losses["box"], 50 * box, atol=0, rtol=1e-10)

    total.backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = ours_of({name: p.grad for name, p in reference.named_parameters()})
    grown = {name: p.grad for name, p in ours.network.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


# ----------------------------------------------------------------------------------------------------------------------
# Detections


@pytest.mark.system("4.A-EFFDET")
def test_detections(pair: SimpleNamespace, wide: None) -> None:
    pair.reference.eval()
    pair.ours.eval()
    sizes = [SIZE, (128, 100), (90, 128)]  # smaller images on the same canvas: boxes are clipped to each
    with torch.no_grad():
        outputs = pair.ours(pair.images)
        maps = pair.reference(pair.images)
    found = _post_process(*maps, num_levels=5, num_classes=CLASSES, max_detection_points=600)
    anchors = outputs.anchors[:, XY]
    limits = torch.tensor([[w, h] for h, w in sizes], dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    expected = [
        generate_detections(logits, boxes, anchors, indices, labels, one, limit)
        for logits, boxes, indices, labels, limit in zip(*found, limits, strict=True)
    ]
    results = pair.ours.decode(outputs, [Placement(size, size) for size in sizes])
    for result, want in zip(results, expected, strict=True):
        assert_close(result.scores, want[: len(result), 4], NUMBERS)
        assert_close(result.boxes, want[: len(result), :4], OUTPUTS)
        assert torch.equal(result.labels + 1, want[: len(result), 5].long())
        assert (want[len(result) :, 4] == 0).all()
        assert len(result) > 20
