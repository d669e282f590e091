import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import DeformConv2d

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.conftest import Learnt
from tests.detection.pairing import assert_same_detections
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
from vidi.ops.boxes import box_iou
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_resnet import TRUNK

K = 3
SIZE = (64, 96)
MAP = (16, 24)
NAMES = ("a", "b", "c")
BOXES = {
    "none": [],
    "one": [[20, 10, 52, 40]],
    "at the border": [[0, 0, 30, 30], [66, 34, 96, 64]],
    "of one pixel": [[40, 40, 41, 41], [0, 0, 1, 1], [95, 63, 96, 64]],
    "around everything": [[0, 0, 96, 64]],
    "long": [[0, 20, 96, 44], [10, 0, 16, 64]],
    "in one cell": [[20, 10, 52, 40], [21, 11, 51, 39]],
    "outside": [[90, 50, 140, 90]],
}


def target(boxes, labels=None, crowd=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float64).view(-1, 4)
    labels = torch.arange(len(boxes)) % K if labels is None else torch.tensor(labels)
    crowd = torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else torch.tensor(crowd)
    return {"boxes": boxes, "labels": labels, "crowd": crowd}


def batch_of(targets, size=SIZE):
    images = torch.zeros(len(targets), 3, *size, dtype=torch.float64)
    mask = torch.ones(len(targets), *size, dtype=torch.bool)
    return Batch(images, mask, [Placement(size, size)] * len(targets), targets)


def random_outputs(images, seed=0, outputs=K, size=MAP):
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels, scale):
        values = scale * torch.randn(images, channels, *size, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return CenterOutputs(draw(outputs, 1), draw(2, 1), draw(2, 20))


def rows(outputs, images):
    return CenterOutputs(*(value[images] for value in outputs))


def criterion(**options):
    return CenterCriterion(tuple(range(K)), **options)


def parts(targets, crowd):
    """Boxes or crowds of each image, as plain numbers."""
    return [[tuple(box) for box in t["boxes"][t["crowd"] == crowd].tolist()] for t in targets]


# ----------------------------------------------------------------------------------------------------------------------
# Targets and loss


@pytest.mark.system("4.3.5-CTTARGET")
def test_targets_are_those_of_slow_loops():
    boxes = [box for own in BOXES.values() for box in own]
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


@pytest.mark.system("4.3.5-CTHEAT", "4.3.5-CTBOX")
def test_two_processes_equal_one():
    targets = [target(boxes) for boxes in (BOXES["one"], [], BOXES["long"], BOXES["at the border"])]
    whole, halves = random_outputs(4), (slice(0, 2), slice(2, 4))
    shared = Step(mean=lambda count: torch.tensor(5.0, dtype=torch.float64) / 2)
    expected = criterion().compare(whole, batch_of(targets), Step())
    shares = [criterion().compare(rows(whole, half), batch_of(targets[half]), shared) for half in halves]
    for name, value in expected.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, value, atol=0, rtol=1e-12)


@pytest.mark.parametrize("box_loss", ["l1", "huber"])
@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_losses_and_gradients_are_finite(boxes, box_loss):
    outputs = random_outputs(1)
    losses = criterion(box_loss=box_loss).compare(outputs, batch_of([target(boxes)]), Step())
    sum(losses.values(), torch.zeros(())).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in outputs)
    assert (losses["size"] > 0) == bool(boxes)
    assert losses["heatmap"] > 0


def test_gradients_are_those_of_differences():
    batch = batch_of([target([[2, 3, 14, 13], [1, 6, 12, 16]])], (16, 16))
    outputs = random_outputs(1, size=(4, 4))

    def total(*values):
        return torch.stack(list(criterion(box_loss="huber").compare(CenterOutputs(*values), batch, Step()).values()))

    assert torch.autograd.gradcheck(total, tuple(outputs))


def test_three_hundred_objects():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, dtype=torch.float64, generator=generator) * torch.tensor([80, 50])
    sides = 2 + 12 * torch.rand(300, 2, dtype=torch.float64, generator=generator)
    losses = criterion().compare(random_outputs(1), batch_of([target(torch.cat((corner, corner + sides), 1))]), Step())
    assert all(value.isfinite() for value in losses.values())


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


def test_labels_count_the_outputs_that_have_a_category():
    outputs = random_outputs(1, outputs=5)
    batch = batch_of([target(BOXES["long"], [2, 0])])
    losses = CenterCriterion((1, 2, 4)).compare(outputs, batch, Step())
    kept = outputs._replace(heat_logits=outputs.heat_logits[:, [1, 2, 4]])
    assert losses == criterion().compare(kept, batch, Step())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (target([[4, 4, 4, 9]]), "x1 < x2"),
        (target([[4, 4, 8, 2]]), "x1 < x2"),
        (target([[4, 4, 8, 9]], [K]), "expected 0..2"),
        (target([[4, 4, 8, 9]], [-1]), "expected 0..2"),
        ({"boxes": torch.zeros(0, 4)}, "labels"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        criterion().compare(random_outputs(1), batch_of([wrong]), Step())


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


@pytest.mark.parametrize("size", [(64, 64), (32, 128), (128, 32)])
def test_every_parameter_learns_on_any_canvas(size):
    model: Any = centernet_tiny(categories=K, width=16, channels=(32,), hidden=16, deformable=True)
    boxes = torch.tensor([[2.0, 3.0, 20.0, 28.0]])
    batch = Batch(
        torch.randn(2, 3, *size),
        torch.ones(2, *size, dtype=torch.bool),
        [Placement(size, size)] * 2,
        [{"boxes": boxes, "labels": torch.tensor([1])}, {"boxes": boxes[:0], "labels": torch.tensor([1])[:0]}],
    )
    sum(model.losses("network", batch, Step()).values(), torch.zeros(())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


EXPORT = """
import torch
from vidi.detection.centernet import centernet_tiny

torch.set_num_threads(1)
network = centernet_tiny(categories=3, width=16, channels=(32,), hidden=16).network.eval()
B, h, w = torch.export.Dim("B", max=64), torch.export.Dim("h", min=2, max=64), torch.export.Dim("w", min=2, max=64)
shapes = {"images": {0: B, 2: 32 * h, 3: 32 * w}}
program = torch.export.export(network, (torch.randn(2, 3, 64, 96),), dynamic_shapes=shapes).module()
for size in ((1, 3, 96, 64), (3, 3, 64, 128)):
    images = torch.randn(size)
    for ours, exported in zip(network(images), program(images), strict=True):
        torch.testing.assert_close(ours, exported)
"""


def test_the_network_exports_with_any_batch_height_and_width(run_python):
    finished = run_python("-c", EXPORT)
    assert finished.returncode == 0, finished.stderr


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


def test_nothing_is_found_below_the_threshold():
    outputs = random_outputs(2)
    outputs = outputs._replace(heat_logits=outputs.heat_logits - 20)
    results = CenterDecode(NAMES, 0.05)(outputs, [Placement(SIZE, SIZE)] * 2)
    assert [len(result) for result in results] == [0, 0]


def test_boxes_lie_in_the_original_image():
    placements = [Placement((30, 40), (60, 80)), Placement((128, 64), (64, 32)), Placement((24, 96), (24, 96))]
    results = CenterDecode(NAMES)(random_outputs(3), placements)
    for result, placement in zip(results, placements, strict=True):
        H, W = placement.original
        assert 0 < len(result) <= 100
        assert (result.boxes >= 0).all()
        assert (result.boxes <= torch.tensor([W, H, W, H])).all()
        assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()


def test_outputs_without_a_category_are_dropped_before_they_take_a_place():
    outputs = random_outputs(1, outputs=4)
    louder = outputs._replace(heat_logits=outputs.heat_logits + torch.tensor([0, 9, 0, 0]).view(4, 1, 1))
    (result,) = CenterDecode(("a", None, "b", "c"))(louder, [Placement(SIZE, SIZE)])
    kept = outputs._replace(heat_logits=outputs.heat_logits[:, [0, 2, 3]])
    (expected,) = CenterDecode(NAMES)(kept, [Placement(SIZE, SIZE)])
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.labels, expected.labels)
    assert result.categories == NAMES


def test_a_batch_equals_its_images_alone():
    torch.default_generator.manual_seed(0)
    model: Any = centernet_tiny(categories=K, width=16, channels=(32,), hidden=16)
    nn.init.constant_(model.network.size[-1].bias, 9)
    images = [torch.rand(3, *size) for size in ((128, 128), (100, 150), (128, 128), (40, 160))]
    together = model.predict(images)
    for image, result in zip(images, together, strict=True):
        (alone,) = model.predict([image])
        assert len(result) == len(alone) > 0
        assert_same_detections(result, alone)


def test_one_batch_is_learnt(learnt: Learnt):
    model: Any = centernet_tiny(categories=K, width=16, channels=(32,), hidden=32)
    images = torch.rand(2, 3, 64, 64)
    targets = [{"boxes": torch.tensor([[10.0, 20.0, 40.0, 50.0]]), "labels": torch.tensor([i])} for i in range(2)]
    for image, t in zip(images, targets, strict=True):
        x1, y1, x2, y2 = t["boxes"][0].int().tolist()
        image[:, y1:y2, x1:x2] = torch.tensor([1.0, 0.0, float(t["labels"])]).view(3, 1, 1)
    batch = batch_of(targets, (64, 64))
    batch = Batch(images, batch.mask, batch.placements, targets)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    model.train()
    for _ in range(80):
        loss = sum(model.losses("network", batch, Step()).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        results = model.decode(model(images), batch.placements)
    for result, t in zip(results, targets, strict=True):
        assert result.labels[0] == t["labels"][0]
        learnt("overlap", float(box_iou(result.boxes[:1].float(), t["boxes"])), least=0.7)
