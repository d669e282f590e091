"""What every detector promises, whatever it is: written once, run on each entry's tiny variant, in float64.

The networks are random all over, so that outputs differ from each other as those of a trained one do: as they begin,
all anchors say nearly the same.
"""

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.conftest import Learnt, Run
from tests.contracts.models import COMBINED, FIRST, DoublePreprocess, build, marked, without_draws
from tests.detection.pairing import assert_same_detections
from tests.detection.scenes import BOXES, OFF_CANVAS, SIZE, K, Target, batch_of, boxes_of, target
from vidi.catalog.table import CATALOG
from vidi.model import Losses, Staged, Step
from vidi.ops.boxes import box_iou
from vidi.preprocess import Batch, MaskedBatch, Placement
from vidi.results.detections import Detections

NAMES = [
    name
    for name, entry in CATALOG.items()
    if entry.task.name in ("detection", "pose", "detection_3d", "instance") and name not in COMBINED
]
SCENES = {**BOXES, "off the canvas": OFF_CANVAS, "three hundred": boxes_of(300, least=2, most=14).tolist()}
DEFORMABLE = {name for name in NAMES if name.startswith("centernet") and "resnet" in name}  # no bfloat16 on CPUs
SOFTMAX = (  # others: sigmoids
    *("localizer", "sliding_window", "rcnn", "fast_rcnn", "faster_rcnn", "mask_rcnn", "keypoint_rcnn", "ssd", "detr"),
    "mask2former",
)


def family(name: str) -> str:
    """Return the file that defines a detector."""
    return CATALOG[name].builder.__module__.rpartition(".")[2]


def but(*families: str) -> list[Any]:
    """Return the detectors that are in other files."""
    return marked([name for name in NAMES if family(name) not in families])


def detector(name: str, **arguments: Any) -> Any:
    """Return what is trained of a detector, in float64, with random weights in all layers, that give about 1."""
    return made(name, **arguments) if arguments else copy.deepcopy(usual(name))


@functools.lru_cache(maxsize=1)
def usual(name: str) -> Any:
    return made(name)


def made(name: str, **arguments: Any) -> Any:
    model: Any = build(name, **arguments)
    if isinstance(model, Staged):
        model = model.stages()[0].model
    torch.default_generator.manual_seed(0)
    model.double()
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        if layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.1)
    hooks = [layer.register_forward_hook(scaled) for layer in layers]
    with torch.no_grad():
        model(images(4, (64, 64)))
    for hook in hooks:
        hook.remove()
    if family(name).startswith("centernet"):
        nn.init.constant_(model.network.size[-1].bias, 20)  # no box without area
    return model


def scaled(layer: Any, _: Any, outputs: Tensor) -> Tensor:
    """Divide the weights of a layer by the deviation of its outputs."""
    deviation = outputs.std()
    for parameter in layer.parameters(recurse=False):
        parameter /= deviation
    return outputs / deviation


def images(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def scene(boxes: Any, labels: Sequence[int] | None = None, crowd: Sequence[bool] | None = None) -> Target:
    """Return a target that every task can be learnt from: its objects have three joints, and stand in space."""
    own = target(boxes, labels, crowd)
    corner, sides = own["boxes"][:, None, :2], (own["boxes"][:, 2:] - own["boxes"][:, :2])[:, None]
    joints = torch.tensor([[0.1, 0.1], [0.1, 0.6], [0.9, 0.6]], dtype=torch.float64)
    space = torch.tensor([[0.3, 0.2, 5.0, 1, 2, 0.5, 0.4]], dtype=torch.float64)
    return own | {
        "keypoints": corner + joints * sides,
        "visibility": torch.full((len(sides), 3), 2, dtype=torch.uint8),
        "boxes_3d": space.repeat(len(sides), 1),
    }


def with_masks(own: Target, size: Sequence[int]) -> Target:
    """Add the masks of rectangles that fill their boxes, as far as these lie in the picture."""
    if "boxes" not in own:
        return own
    y, x = (torch.arange(side)[None] + 0.5 for side in size)
    x1, y1, x2, y2 = own["boxes"][..., None].unbind(1)  # M 1 each
    rows, columns = (y > y1) & (y < y2), (x > x1) & (x < x2)
    return {**own, "masks": rows[:, :, None] & columns[:, None]}


def losses_of(model: Any, targets: Sequence[Target], pictures: Tensor, step: Step | None = None) -> Losses:
    targets = [with_masks(own, pictures.shape[2:]) for own in targets]
    batch = batch_of(targets, images=pictures, masked=model.preprocess.masked)
    return model.losses("network", batch, step or Step(generator=torch.Generator().manual_seed(3)))


def total_of(losses: Losses) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def deciding_otherwise(model: Any, **numbers: Any) -> Any:
    """Return a detector with other numbers in its decoder, or where it selects by itself."""
    if hasattr(model.network, "select"):
        other = copy.deepcopy(model)
        other.network.select = deciding(model.network.select, **numbers)
    else:
        other = copy.copy(model)
        other.decode = deciding(model.decode, **numbers)
    return other


def deciding(decode: Any, **numbers: Any) -> Any:
    """Return a decoder with other numbers, as far as it has them; that of poses and of space holds CenterNet's."""
    if "objects" in vars(decode):
        return replace(decode, objects=deciding(decode.objects, **numbers))
    return replace(decode, **{key: value for key, value in numbers.items() if key in vars(decode)})


# ----------------------------------------------------------------------------------------------------------------------
# Targets


@pytest.mark.parametrize("name", marked(NAMES))
def test_targets_that_cannot_be_learnt_are_refused(name: str) -> None:
    model = detector(name)
    whole = scene([[4, 4, 8, 9]])
    for wrong, message in (
        (scene([[4, 4, 4, 9]]), "x1 < x2"),
        (scene([[4, 4, 8, 2]]), "x1 < x2"),
        (scene([[4, 4, 8, 9]], [K]), r"expected 0\.\.2"),
        (scene([[4, 4, 8, 9]], [-1]), r"expected 0\.\.2"),
        ({key: value for key, value in whole.items() if key != "labels"}, "boxes and labels"),
        ({key: value for key, value in whole.items() if key != "boxes"}, "boxes and labels"),
    ):
        with pytest.raises(ValueError, match=message):
            losses_of(model, [whole, wrong], images(2))


@pytest.mark.parametrize("name", marked(NAMES))
def test_labels_count_the_outputs_that_have_a_category(name: str) -> None:
    """Of five outputs three have one. The others stay in a softmax; a sigmoid without category has no loss."""
    model, every = detector(name, categories=(None, "b", "c", None, "e")), detector(name, categories=5)
    every.load_state_dict(model.state_dict())  # heads that run on what was found were scaled by it
    if family(name) not in SOFTMAX:
        every.network.register_forward_hook(lambda _, inputs, outputs: silenced(outputs, [0, 3]))
    boxes, labels = BOXES["long"] + BOXES["one"], [2, 0, 1]
    losses = losses_of(model, [scene(boxes, labels)], images(1))
    outputs = [(1, 2, 4)[label] for label in labels]
    assert_close(losses, losses_of(every, [scene(boxes, outputs)], images(1)))


def silenced(outputs: Any, columns: list[int]) -> Any:
    """Have a network say of some sigmoids that they are surely off, which costs nothing."""
    maps = "heat_logits" in outputs._fields
    logits = (outputs.heat_logits if maps else outputs.class_logits).clone()
    logits.index_fill_(1 if maps else -1, torch.tensor(columns), -1e4)
    return outputs._replace(**{"heat_logits" if maps else "class_logits": logits})


# ----------------------------------------------------------------------------------------------------------------------
# Losses


@pytest.mark.parametrize("name", but("mask2former"))  # which draws other points for other batches
def test_two_processes_equal_one(name: str) -> None:
    """Losses of one image and of three, normalised by what both processes count, add up to those of the four."""
    model = detector(name, **({"window_sizes": (40,)} if family(name) == "sliding_window" else {}))
    model.criterion = without_draws(model.criterion)
    targets = [scene(BOXES["one"]), scene([]), scene(BOXES["long"], crowd=[False, True]), scene(BOXES["at the border"])]
    pictures = images(4)
    expected = losses_of(model, targets, pictures)
    parts = [(slice(0, 1), 0.25), (slice(1, 4), 0.75)]

    def of(part: slice, step: Step) -> Losses:
        return losses_of(model, targets[part], pictures[part], step)

    counts: list[list[Tensor]] = [[], []]
    for (part, share), own in zip(parts, counts, strict=True):
        of(part, Step(share=share, mean=lambda count, own=own: own.append(count.detach()) or count))
    totals = [one + other for one, other in zip(*counts, strict=True)]
    shares = []
    for part, share in parts:
        answers = (share * total for total in totals)
        losses = of(part, Step(share=share, mean=lambda _, answers=answers: next(answers)))
        shares.append({key: share * value for key, value in losses.items()})
    assert_close({key: value + shares[1][key] for key, value in shares[0].items()}, expected)


def of_boxes(losses: Losses) -> list[Tensor]:
    """Return the losses that there are of objects only: those of boxes, joints and the like."""
    return [value for name, value in losses.items() if not name.endswith(("classification", "objectness", "heatmap"))]


OPTIONS = [
    ("retinanet_tiny", {"box_loss": "l1"}),
    ("retinanet_tiny", {"box_loss": "giou"}),
    ("centernet_tiny", {"box_loss": "huber"}),
    ("detr_tiny", {"box_loss": "huber_iou"}),
]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(name, {}, marks=() if name in FIRST else pytest.mark.extended, id=name) for name in NAMES
    ] + [pytest.param(*case, id=f"{case[0]}-{case[1]['box_loss']}") for case in OPTIONS],
)  # fmt: skip
def test_losses_and_gradients_are_finite_whatever_the_objects(name: str, options: dict[str, Any]) -> None:
    """Without objects only classes have a loss; with some, boxes have one too, but for windows that find none."""
    model = detector(name, **options)
    for key, boxes in SCENES.items():
        model.zero_grad()
        losses = losses_of(model, [scene(boxes)], images(1))
        total_of(losses).backward()
        assert all(value.isfinite() for value in losses.values()), key
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()), key
        if family(name) != "sliding_window" or not boxes:
            assert all((value > 0) == bool(boxes) for value in of_boxes(losses)), (key, losses)


@pytest.mark.parametrize("name", marked(NAMES))
def test_crowds_alone_are_no_objects(name: str) -> None:
    losses = losses_of(detector(name), [scene(BOXES["long"], crowd=[True, True])], images(1))
    assert all(value.isfinite() for value in losses.values())
    assert all(value == 0 for value in of_boxes(losses))


@pytest.mark.parametrize("name", marked(NAMES))
def test_every_parameter_learns_on_any_canvas(name: str) -> None:
    model = detector(name)
    for size in ((32, 128), (128, 32), (96, 160), (50, 70), (32, 32)):
        model.zero_grad()
        total_of(losses_of(model, [scene([[2, 3, 20, 28]]), scene([])], images(2, size))).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters()), size


@pytest.mark.parametrize("name", marked([name for name in NAMES if name not in DEFORMABLE]))
def test_half_precision_losses_are_computed_in_float32(name: str) -> None:
    model = detector(name).float()
    pictures = images(2).float()
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(model, [scene(BOXES["one"]), scene([])], pictures)
        outputs = model(pictures)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(value.dtype == torch.float32 for value in outputs if value.is_floating_point())


def case(name: str, side: int, box: list[int], rate: float, steps: int, left: float, **options: Any) -> Any:
    return pytest.param(name, side, box, rate, steps, left, options, id=name)


@pytest.mark.parametrize(
    ("name", "side", "box", "rate", "steps", "left", "options"),
    [
        case("fasterrcnn_tiny", 96, [10, 12, 50, 60], 3e-3, 80, 0.3, width=16, hidden=64),
        case("ssd_tiny", 64, [10, 12, 50, 60], 3e-3, 40, 0.01),
        case("retinanet_tiny", 128, [10, 20, 60, 90], 3e-3, 40, 0.1, width=16),
        case("yolov3_small", 64, [10, 12, 34, 50], 1e-2, 60, 0.17, width=8),  # not 0: see `YoloCriterion`
        case("efficientdet_tiny", 64, [10, 20, 42, 56], 5e-3, 40, 0.1, head_depth=2),
        case("centernet_tiny", 64, [10, 20, 40, 50], 3e-3, 80, 0.05, width=16, hidden=32),
    ],
)
def test_one_batch_is_learnt(
    name: str,
    side: int,
    box: list[int],
    rate: float,
    steps: int,
    left: float,
    options: dict[str, Any],
    learnt: Learnt,
) -> None:
    """Two pictures of a rectangle whose colour is its class: their surest detections, and what is left of the loss."""
    model, pictures, truth = build(name, **options), torch.rand(2, 3, side, side), torch.tensor([box])
    x1, y1, x2, y2 = box
    for label, picture in enumerate(pictures):
        picture[:, y1:y2, x1:x2] = torch.tensor([1.0, 0.0, label]).view(3, 1, 1)
    targets = [{"boxes": truth.float(), "labels": torch.tensor([label])} for label in range(2)]
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    totals = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, 2 - 2 * step / steps)
        total = total_of(losses_of(model, targets, pictures, Step(generator=torch.Generator().manual_seed(step))))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    learnt("share of the loss that is left", totals[-1] / totals[0], most=left)
    with torch.no_grad():
        results = model.decode(model(pictures), [Placement((side, side), (side, side))] * 2)
    for label, result in enumerate(results):
        assert result.labels[0] == label
        learnt("score", float(result.scores[0]), least=0.5)
        learnt("overlap", float(box_iou(result.boxes[:1], truth.float())), least=0.7)


# ----------------------------------------------------------------------------------------------------------------------
# Detections

PLACEMENTS = [Placement((30, 40), (60, 80)), Placement((128, 64), (64, 32))]


def found(model: Any, placements: Sequence[Placement] = PLACEMENTS, **numbers: Any) -> list[Detections]:
    """Return what a detector with other numbers in its decoder finds in noise on one canvas."""
    decode = deciding_otherwise(model, **numbers)
    pictures = images(len(placements))
    mask = torch.zeros(len(placements), *SIZE, dtype=torch.bool)
    for row, placement in enumerate(placements):
        h, w = placement.resized
        mask[row, :h, :w] = True
        pictures[row][:, ~mask[row]] = 0
    with torch.no_grad():
        kind = MaskedBatch if model.preprocess.masked else Batch
        return decode.predict_batch(kind(pictures, mask, placements, [{}] * len(placements)))


@pytest.mark.parametrize("name", but("localizer"))  # which always gives one
def test_nothing_is_found_below_the_threshold(name: str) -> None:
    """And above it all that is found without one."""
    model = detector(name)
    everything = found(model, score_threshold=0.0)
    threshold = float(torch.cat([result.scores for result in everything]).median())
    for result, whole in zip(found(model, score_threshold=threshold), everything, strict=True):
        kept = whole.scores > threshold
        assert_close(result.scores, whole.scores[kept])
        assert_close(result.boxes, whole.boxes[kept])
        assert torch.equal(result.labels, whole.labels[kept])
    assert [len(result) for result in found(model, score_threshold=1.0)] == [0, 0]


@pytest.mark.parametrize("name", marked(NAMES))
def test_boxes_lie_in_the_original_image_and_few_are_given(name: str) -> None:
    """The surest first; queries come in their own order."""
    model = detector(name)
    for result, placement in zip(found(model, score_threshold=0.0, detections_per_image=7), PLACEMENTS, strict=True):
        H, W = placement.original
        assert len(result) > 0
        if family(name) != "detr":
            assert len(result) <= 7
            assert (result.scores.diff() <= 0).all()
        if family(name) in ("ssd", "retinanet", "yolo", "efficientdet"):  # of which no box is left out
            assert len(result) == 7
        assert (result.boxes >= 0).all()
        assert (result.boxes <= torch.tensor([W, H, W, H])).all()


@pytest.mark.parametrize("name", marked(NAMES))
def test_a_batch_equals_its_images_alone(name: str) -> None:
    """Images of several canvases, some of which are shared."""
    model = detector(name)
    numbers = {} if family(name) in ("localizer", "ssd") else {"exact": None, "shorter": None, "longest": 96}
    model.preprocess = DoublePreprocess(**{**vars(model.preprocess), **numbers})
    model = deciding_otherwise(model, detections_per_image=10_000)  # some of those of deep networks score the same
    pictures = [torch.rand(3, *size) for size in ((64, 96), (50, 75), (64, 96), (20, 80), (160, 40))]
    for picture, result in zip(pictures, model.predict(pictures), strict=True):
        (alone,) = model.predict(picture)
        assert len(result) == len(alone) > 0
        assert_same_detections(result, alone)
        for key in ("keypoints", "boxes_3d"):
            one, other = getattr(result, key), getattr(alone, key)
            assert (one is None) == (other is None)
            if one is not None:
                assert_close(one, other, NUMBERS)


# ----------------------------------------------------------------------------------------------------------------------
# Export

EXPORT = """
import sys
import torch
from vidi.catalog.table import CATALOG

torch.set_num_threads(1)
for name, low in zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True):
    network = CATALOG[name].builder(**CATALOG[name].tiny).network.eval().double()
    B, h, w = (torch.export.Dim(axis, min=least, max=64) for axis, least in (("B", 1), ("h", low), ("w", low)))
    shapes = {"images": {0: B, 2: 32 * h, 3: 32 * w}}
    example = torch.randn(2, 3, 160, 192, dtype=torch.float64)
    program = torch.export.export(network, (example,), dynamic_shapes=shapes).module()
    for size in ((1, 3, 192, 160), (3, 3, 32 * low, 224)):
        images = torch.randn(size, dtype=torch.float64)
        for ours, exported in zip(network(images), program(images), strict=True):
            torch.testing.assert_close(ours, exported, msg=lambda text: f"{name}: {text}")
"""
FIVE_LEVELS = ("retinanet_tiny", "maskrcnn_tiny", "keypointrcnn_tiny")
EXPORTED = [name for name in NAMES if family(name) not in ("sliding_window", "rcnn", "fast_rcnn", "efficientdet")]
OF_OTHER_GRAPHS = [  # than the first of their families
    "localizer_alexnet",
    "fasterrcnn_resnet50",
    "fasterrcnn_resnet50_fpn_v2",
    "ssd300_vgg16",
    "retinanet_resnet50_fpn",
    "centernet_resnet18",
    "detr_resnet50_dc5",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
]


@pytest.mark.extended
@pytest.mark.parametrize("first", [True, False])
def test_networks_export_with_any_batch_height_and_width(first: bool, run_python: Run) -> None:
    """In one process without shape checks; every level of a pyramid may need more than one row and column."""
    arguments = []
    for name in [name for name in EXPORTED if name in FIRST] if first else OF_OTHER_GRAPHS:
        arguments += [name, "5" if "fpn" in name or name in FIVE_LEVELS else "2"]
    finished = run_python("-c", EXPORT, *arguments, timeout=900)
    assert finished.returncode == 0, finished.stderr
