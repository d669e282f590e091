import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import DeformConv2d

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.detection.scenes import BOXES, OFF_CANVAS, SIZE, K, batch_of, target
from tests.parity.networks import assert_same_training
from tests.references import centernet as slow
from vidi.backbones.resnet import trunk
from vidi.detection.centernet import (
    CenterCriterion,
    CenterDecode,
    CenterNet,
    CenterOutputs,
    center_targets,
    centernet_resnet18,
    centernet_resnet50,
    centernet_tiny,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Placement
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_resnet import TRUNK

MAP = (16, 24)
NAMES = ("a", "b", "c")


def random_outputs(images, seed=0, outputs=K, size=MAP):
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels, scale):
        values = scale * torch.randn(images, channels, *size, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return CenterOutputs(draw(outputs, 1), draw(2, 1), draw(2, 20))


def criterion(**options):
    return CenterCriterion(tuple(range(K)), **options)


def parts(targets, crowd):
    """Boxes or crowds of each image, as plain numbers."""
    return [[tuple(box) for box in t["boxes"][t["crowd"] == crowd].tolist()] for t in targets]


# ----------------------------------------------------------------------------------------------------------------------
# Targets and loss


@pytest.mark.system("4.3.5-CTTARGET")
def test_targets_are_those_of_slow_loops():
    boxes: Any = [box for own in (*BOXES.values(), OFF_CANVAS) for box in own]
    labels = [i % K for i in range(len(boxes))]
    objects = Objects.of(target(boxes, labels), like=torch.zeros(1, dtype=torch.float64))
    targets = center_targets([objects], (K, *MAP), min_iou=0.3)
    expected = slow.heatmaps([tuple(box) for box in boxes], labels, K, MAP, 0.3)
    assert_close(targets.heat[0], torch.tensor(expected, dtype=torch.float64), NUMBERS)
    cells = [slow.cell_of(tuple(box), MAP) for box in boxes]
    assert targets.cells.tolist() == [list(cell) for cell in cells]
    ones = {(label, y, x) for label, (x, y) in zip(labels, cells, strict=True)}
    assert {tuple(place) for place in (targets.heat[0] == 1).nonzero().tolist()} == ones
    for offset, size, cell, box in zip(targets.offsets, targets.sizes, cells, boxes, strict=True):
        assert (4 * (offset + torch.tensor(cell))).tolist() == [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        assert size.tolist() == [box[2] - box[0], box[3] - box[1]]


@pytest.mark.system("4.3.5-CTHEAT", "4.3.5-CTBOX")
@pytest.mark.parametrize("box_loss", ["l1", "huber"])
def test_the_loss_is_that_of_the_paper_by_slow_loops(box_loss):
    targets = [
        target(BOXES["at the border"] + BOXES["one"], [0, 2, 1]),
        target([]),
        target(BOXES["long"] + [[50, 0, 90, 30], [0, 0, 20, 30]], [1, 0, 2, 0], [False, False, True, True]),
        target(BOXES["in one cell"], [1, 1]),
    ]
    outputs = random_outputs(4)
    losses = criterion(box_loss=box_loss).compare(outputs, batch_of(targets), Step())
    expected = slow.centernet_loss(
        outputs.heat_logits.tolist(),
        outputs.offsets.tolist(),
        outputs.sizes.tolist(),
        parts(targets, False),
        [t["labels"][~t["crowd"]].tolist() for t in targets],
        parts(targets, True),
        huber=box_loss == "huber",
    )
    received = [losses[name].item() for name in ("heatmap", "offset", "size")]
    assert received == pytest.approx(list(expected), rel=1e-10)


def test_gradients_are_those_of_differences():
    batch = batch_of([target([[2, 3, 14, 13], [1, 6, 12, 16]])], (16, 16))
    outputs = random_outputs(1, size=(4, 4))

    def total(*values):
        return torch.stack(list(criterion(box_loss="huber").compare(CenterOutputs(*values), batch, Step()).values()))

    assert torch.autograd.gradcheck(total, tuple(outputs))


@pytest.mark.system("4.3.5-CTTARGET")
def test_crowds_are_no_targets_and_their_cells_no_negatives():
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50], [8, 8, 24, 24]], [0, 1, 2], [True, False, False])
    outputs = random_outputs(1)
    losses = criterion().compare(outputs, batch_of([crowd]), Step())
    losses["heatmap"].backward()
    gradient = outputs.heat_logits.grad
    assert gradient is not None
    inside = torch.zeros(K, *MAP, dtype=torch.bool)
    inside[:, :, :12] = True
    inside[2, 4, 4] = False  # the object in the crowd
    assert not gradient[0][inside].any()
    assert gradient[0][~inside].all()


def test_unknown_options_are_refused():
    with pytest.raises((ValueError, TypeError)):  # a TypeError where the shape checks look at it first
        criterion(box_loss="l2")
    with pytest.raises(ValueError, match="one positive number for each doubling"):
        centernet_tiny(channels=(32, 32))


# ----------------------------------------------------------------------------------------------------------------------
# Network


class Published(nn.Module):
    """The published layers, put together from torchvision's: ResNet-18, (deformable) convolutions, heads."""

    def __init__(self, deformable: bool):
        super().__init__()
        body = torchvision.models.resnet18(weights=None)
        del body.fc
        self.body, self.deformable = body, deformable
        kind = DeformConv2d if deformable else nn.Conv2d
        ends = (512, 24, 16, 12)
        pairs = list(pairwise(ends))
        self.conv = nn.ModuleList(kind(a, b, 3, padding=1, bias=False) for a, b in pairs)
        self.sampling = nn.ModuleList(nn.Conv2d(a, 27, 3, padding=1) for a, _ in pairs if deformable)
        self.before = nn.ModuleList(nn.BatchNorm2d(b) for b in ends[1:])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, b, 4, 2, 1, bias=False) for b in ends[1:])
        self.after = nn.ModuleList(nn.BatchNorm2d(b) for b in ends[1:])
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, numbers, 1))
                for name, numbers in (("heat", K), ("offset", 2), ("size", 2))
            }
        )
        for layer in self.sampling:
            nn.init.normal_(layer.weight, std=0.02)  # type: ignore[union-attr, arg-type]

    def forward(self, images):
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        x = body.layer4(body.layer3(body.layer2(body.layer1(x))))
        for level in range(3):
            if self.deformable:
                first, second, mask = self.sampling[level](x).chunk(3, 1)
                x = self.conv[level](x, torch.cat((first, second), 1), torch.sigmoid(mask))
            else:
                x = self.conv[level](x)
            x = torch.relu(self.before[level](x))
            x = torch.relu(self.after[level](self.up[level](x)))
        return tuple(self.heads[name](x) for name in ("heat", "offset", "size"))


@pytest.mark.system("4.3.5-CENTERNET", "4.3.5-CTBACKBONE")
@pytest.mark.parametrize("deformable", [True, False])
def test_the_network_is_the_published_one(deformable):
    names = {f"body.{old}": f"backbone.{new}" for old, new in TRUNK.items()} | {
        "conv.*.weight": "ups.*.conv.conv.weight",
        "sampling.*.*": "ups.*.conv.conv.sampling.*",
        "before.*.*": "ups.*.conv.norm.*",
        "up.*.weight": "ups.*.up.weight",
        "after.*.*": "ups.*.norm.*",
        "heads.*.*.*": "*.*.*",
    }
    options: Any = {"channels": (24, 16, 12), "hidden": 8, "norm": norm_layer("batch"), "deformable": deformable}
    ours = CenterNet(trunk("resnet18"), K, **options)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    assert_same_training(
        ours,
        Published(deformable),
        lambda state: renamed(state, names),
        lambda network: torch.cat([value.flatten(1) for value in network(images)], 1),
        training=True,
    )


@pytest.mark.system("4.3.5-CENTERNET", "4.3.5-CTBACKBONE")
@pytest.mark.parametrize(("build", "trunk_end"), [(centernet_resnet18, 512), (centernet_resnet50, 2048)])
def test_outputs_and_layers_of_the_paper_s_network(build, trunk_end):
    with torch.device("meta"):
        model: Any = build()
        outputs = model.network(torch.zeros(2, 3, 512, 512))
    assert [tuple(value.shape) for value in outputs] == [(2, 80, 128, 128), (2, 2, 128, 128), (2, 2, 128, 128)]
    ends = (trunk_end, 256, 128, 64)
    per_level = [9 * a * b + 27 * (9 * a + 1) + 16 * b * b + 4 * b for a, b in pairwise(ends)]
    assert sum(p.numel() for p in model.network.ups.parameters()) == sum(per_level)
    heads = [model.network.heat, model.network.offset, model.network.size]
    counts = [sum(p.numel() for p in head.parameters()) for head in heads]
    assert counts == [64 * 64 * 9 + 64 + n * 65 for n in (80, 2, 2)]


def test_the_start_is_that_of_the_paper():
    model: Any = centernet_resnet18(categories=K, width=16, channels=(32, 32, 32), hidden=16)
    outputs = model(torch.randn(2, 3, 128, 128))
    assert outputs.heat_logits.sigmoid().mean().item() == pytest.approx(0.1, rel=0.25)
    assert outputs.offsets.abs().max() < 0.1
    assert outputs.sizes.abs().max() < 0.1
    smooth = model.network.ups[0].up(torch.ones(1, 32, 4, 4))
    torch.testing.assert_close(smooth[..., 1:-1, 1:-1], torch.ones(1, 32, 6, 6))
    x = torch.randn(1, 32, 5, 6)
    doubled = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(model.network.ups[0].up(x)[..., 1:-1, 1:-1], doubled[..., 1:-1, 1:-1])


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def outputs_of(targets):
    """What a perfect network would say."""
    heat = targets.heat.clamp(1e-12, 1 - 1e-12)
    offsets, sizes = (torch.zeros(len(heat), 2, *heat.shape[2:], dtype=heat.dtype) for _ in range(2))
    x, y = targets.cells.unbind(1)
    offsets[targets.images, :, y, x], sizes[targets.images, :, y, x] = targets.offsets, targets.sizes
    return CenterOutputs((heat / (1 - heat)).log(), offsets, sizes)


@pytest.mark.system("4.3.5-CTDECODE", "B4.24")
def test_the_worked_example():
    """Cell (10, 5) with the offset (0.25, 0.75) is the centre (41, 23)."""
    heat = torch.full((1, 1, *MAP), -9.0)
    offsets, sizes = torch.zeros(2, 1, 2, *MAP).unbind()
    heat[0, 0, 5, 10] = 3
    offsets[0, :, 5, 10], sizes[0, :, 5, 10] = torch.tensor([0.25, 0.75]), torch.tensor([30.0, 20.0])
    (result,) = CenterDecode(("a",), 0.5)(CenterOutputs(heat, offsets, sizes), [Placement(SIZE, SIZE)])
    assert result.boxes.tolist() == [[41 - 15, 23 - 10, 41 + 15, 23 + 10]]
    assert result.scores.item() == pytest.approx(1 / (1 + math.exp(-3)))


@pytest.mark.system("4.3.5-CTDECODE")
def test_decoding_the_targets_gives_the_objects_back():
    kinds = ("none", "one", "at the border", "of one pixel", "around everything", "long")
    objects = [Objects.of(target(BOXES[kind]), like=torch.zeros(1, dtype=torch.float64)) for kind in kinds]
    outputs = outputs_of(center_targets(objects, (K, *MAP), min_iou=0.3))
    results = CenterDecode(NAMES, 0.999)(outputs, [Placement(SIZE, SIZE)] * len(objects))
    for result, truth in zip(results, objects, strict=True):
        assert len(result) == len(truth.boxes)
        pairs = [(int(label), box) for label, box in zip(result.labels, result.boxes.tolist(), strict=True)]
        expected = [(int(label), box) for label, box in zip(truth.labels, truth.boxes.tolist(), strict=True)]
        assert sorted(pairs) == sorted(expected)


@pytest.mark.system("4.3.5-CTDECODE")
@pytest.mark.parametrize("count", [5, 100, 1000])
def test_detections_are_those_of_slow_loops(count):
    outputs = random_outputs(2)
    placements = [Placement(SIZE, SIZE), Placement((61, 50), (61, 50))]
    results = CenterDecode(NAMES, detections_per_image=count)(outputs, placements)
    for row, (result, placement) in enumerate(zip(results, placements, strict=True)):
        heat, offsets, sizes = (value[row].tolist() for value in outputs)
        expected = slow.decoded(heat, offsets, sizes, placement.original, count)
        assert result.labels.tolist() == [label for _, label, _ in expected]
        assert result.scores.tolist() == pytest.approx([score for score, _, _ in expected], rel=EXACT)
        boxes = torch.tensor([box for _, _, box in expected], dtype=torch.float64)
        assert_close(result.boxes, boxes, NUMBERS)


def test_outputs_without_a_category_are_dropped_before_they_take_a_place():
    outputs = random_outputs(1, outputs=4)
    louder = outputs._replace(heat_logits=outputs.heat_logits + torch.tensor([0, 9, 0, 0]).view(4, 1, 1))
    (result,) = CenterDecode(("a", None, "b", "c"))(louder, [Placement(SIZE, SIZE)])
    kept = outputs._replace(heat_logits=outputs.heat_logits[:, [0, 2, 3]])
    (expected,) = CenterDecode(NAMES)(kept, [Placement(SIZE, SIZE)])
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.labels, expected.labels)
    assert result.categories == NAMES
