"""The sliding-window detector: dense evaluation against cropped windows, counts by brute force, balanced batches."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import randomise
from vidi.detection.regions.fast_rcnn import TwoStageOutputs
from vidi.detection.sliding_window import (
    STEP,
    WINDOW,
    SlidingWindows,
    WindowCounts,
    WindowCriterion,
    WindowGrid,
    WindowLabels,
    WindowPredictions,
    count_windows,
    exhaustive_window_count,
    sliding_window,
    sliding_window_tiny,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.ops.matching import BACKGROUND, IGNORED

SIZE = (50, 70)
K = 3
GRID = WindowGrid((20, 36))


def network(grid: WindowGrid = GRID) -> SlidingWindows:
    detector = SlidingWindows(grid, K, width=4, hidden=8).double().eval()
    randomise(detector)
    return detector


def picture(count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def objects(boxes: list[list[float]], labels: list[int], crowd: list[list[float]] | None = None) -> Objects:
    rows, regions = (torch.tensor(b, dtype=torch.float32).view(-1, 4) for b in (boxes, crowd or []))
    return Objects(rows, torch.tensor(labels, dtype=torch.int64), regions)


def overlap(a: list[float], b: list[float]) -> float:
    """IoU of two boxes, written out."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union


# ----------------------------------------------------------------------------------------------------------------------
# Windows


@pytest.mark.system("4.3.1-SLIDING")
def test_windows_are_those_of_a_loop() -> None:
    H, W = SIZE
    expected = []
    for size in GRID.sizes:
        for ratio in (0.5, 1.0, 2.0):
            h, w = round(H * WINDOW / (size * math.sqrt(ratio))), round(W * WINDOW / (size / math.sqrt(ratio)))
            y = 0
            while y + WINDOW <= h:
                x = 0
                while x + WINDOW <= w:
                    expected.append([x * W / w, y * H / h, (x + WINDOW) * W / w, (y + WINDOW) * H / h])
                    x += STEP
                y += STEP
    windows = GRID.windows(SIZE)
    assert GRID.count(SIZE) == len(windows) == len(expected)
    torch.testing.assert_close(windows, torch.tensor(expected))
    sides = windows[:, 2:] - windows[:, :2]
    for area in sides.prod(1).sqrt():
        assert min(abs(float(area) - size) / size for size in GRID.sizes) < 0.05
    assert (windows[:, 2:] <= torch.tensor([W, H]) + 1e-4).all()


def test_a_window_that_does_not_fit_has_no_place() -> None:
    assert WindowGrid((100,), (1,)).count((98, 300)) == 0
    assert WindowGrid((100,), (1,)).count((100, 300)) == 11  # one row, a fifth of 100 pixels apart
    assert WindowGrid((100,)).windows((20, 20)).shape == (0, 4)
    model = sliding_window_tiny(categories=K, width=4, hidden=8, window_sizes=(100,), size=(32, 32))
    assert [len(r) for r in model.predict([torch.zeros(3, 40, 50, dtype=torch.uint8)])] == [0]
    with pytest.raises(ValueError, match="32 x 32 pixels"):
        model.loss(
            [torch.zeros(3, 40, 50, dtype=torch.uint8)], [{"boxes": torch.zeros(0, 4), "labels": torch.ones(0).long()}]
        )
    for wrong in ({"sizes": ()}, {"sizes": (0.0,)}, {"sizes": (5,), "aspect_ratios": (-1.0,)}):
        with pytest.raises(ValueError, match="all positive"):
            WindowGrid(**wrong)


@pytest.mark.system("4.3.1-SLIDING")
def test_the_number_of_all_windows_is_that_of_four_loops() -> None:
    H, W = 5, 7
    count = sum(1 for top in range(H) for bottom in range(top, H) for left in range(W) for right in range(left, W))
    assert exhaustive_window_count((H, W)) == count
    assert exhaustive_window_count((480, 640)) == 23_679_052_800


@pytest.mark.system("4.3.1-SLIDING")
def test_the_imbalance_is_counted_by_brute_force() -> None:
    samples = [
        (
            torch.zeros(3, *SIZE),
            {"boxes": torch.tensor([[5.0, 6, 27, 26], [30, 4, 62, 44]]), "labels": torch.tensor([2, 0])},
        ),
        (torch.zeros(3, 44, 40), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}),
        (
            torch.zeros(3, *SIZE),
            {
                "boxes": torch.tensor([[10.0, 10, 40, 40], [40.0, 0, 70, 50]]),
                "labels": torch.tensor([2, 1]),
                "crowd": torch.tensor([False, True]),
            },
        ),
    ]
    of_class, background, ignored = [0, 0, 0], 0, 0
    for image, target in samples:
        crowds = target.get("crowd", torch.zeros_like(target["labels"]).bool()).tolist()
        rows = list(zip(target["boxes"].tolist(), target["labels"].tolist(), crowds, strict=True))
        for x1, y1, x2, y2 in GRID.windows(tuple(image.shape[1:])).tolist():
            own = [(overlap([x1, y1, x2, y2], box), label) for box, label, crowd in rows if not crowd]
            best, label = max(own, default=(0.0, -1))
            covered = 0.0
            for box, _, crowd in rows:
                if crowd:
                    w, h = min(x2, box[2]) - max(x1, box[0]), min(y2, box[3]) - max(y1, box[1])
                    covered = max(0.0, w) * max(0.0, h) / ((x2 - x1) * (y2 - y1))
            if best >= 0.5:
                of_class[label] += 1
            elif best >= 0.4 or covered > 0.5:
                ignored += 1
            else:
                background += 1
    counts = count_windows(samples, GRID, K)
    assert counts == WindowCounts(3, tuple(of_class), background, ignored)
    assert min(of_class[0], of_class[2], background, ignored) > 0
    assert counts.total == 2 * GRID.count(SIZE) + GRID.count((44, 40))
    assert counts.imbalance == background / sum(of_class)
    table = counts.table(("a", "b", "c"))
    assert "background" in table
    assert f"{counts.imbalance:,.1f} of background" in table
    assert count_windows(samples[1:2], GRID, K).imbalance == math.inf
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        count_windows(samples, GRID, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("4.3.1-SLIDING")
def test_running_over_the_image_equals_running_on_every_window() -> None:
    detector, images = network(), picture()
    with torch.no_grad():
        outputs = detector(images)
        assert isinstance(outputs, TwoStageOutputs)
        N = outputs.proposals.shape[1]
        rows, windows = torch.arange(2).repeat_interleave(N), torch.arange(N).repeat(2)
        crops = detector.crops(images, rows, windows)
        seen = detector.see(crops)
    assert_close(outputs.class_logits.flatten(0, 1), seen.class_logits, NUMBERS)
    for k in range(K):
        assert_close(outputs.box_deltas[:, :, k].flatten(0, 1), seen.box_deltas, NUMBERS)
    assert seen.class_logits.std(0).min() > 1e-3


def test_crops_are_slices_of_the_resized_image() -> None:
    detector, images = network(WindowGrid((WINDOW,), (1,))), picture(2, (64, 80))  # a zoom of one
    windows = detector.grid.windows((64, 80))
    rows = torch.tensor([1, 0, 1])
    drawn = torch.tensor([0, 7, len(windows) - 1])
    for crop, row, (x1, y1, x2, y2) in zip(
        detector.crops(images, rows, drawn), rows, windows[drawn].int().tolist(), strict=True
    ):
        torch.testing.assert_close(crop, images[row, :, y1:y2, x1:x2])


def test_windows_over_padding_are_not_valid() -> None:
    mask = torch.zeros(2, *SIZE, dtype=torch.bool)
    mask[0], mask[1, :30, :40] = True, True
    valid = network()(picture(), mask).valid
    assert valid[0].all()
    x1, y1, x2, y2 = GRID.windows(SIZE).unbind(1)
    assert torch.equal(valid[1], ((x1 + x2) / 2 < 40) & ((y1 + y2) / 2 < 30))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


CRITERION = WindowCriterion((0, 1, 2), WindowLabels(), per_image=16, positive_share=0.25, box_weight=2.0)


@pytest.mark.system("4.3.1-SLIDING")
def test_mini_batches_are_balanced() -> None:
    """A quarter of the windows is of objects, where one in fifty is; an image without objects is all background."""
    windows = GRID.windows(SIZE)
    truth = [objects([[5, 6, 27, 26], [30, 4, 62, 44]], [2, 0]), objects([], [])]
    valid = [torch.ones(len(windows), dtype=torch.bool)] * 2
    samples = CRITERION.sample(windows, valid, truth, K, torch.Generator().manual_seed(0))
    assert len(samples.labels) == 32
    assert (samples.labels < K).sum() == 8
    assert (samples.labels[samples.images == 1] == K).all()
    for row in range(32):
        window = windows[samples.windows[row]].tolist()
        ious = [overlap(window, box) for box in truth[0].boxes.tolist()] if samples.images[row] == 0 else [0.0]
        if samples.labels[row] < K:
            best = max(range(2), key=ious.__getitem__)
            assert ious[best] >= 0.5
            assert samples.truths[row].tolist() == truth[0].boxes[best].tolist()
            assert samples.labels[row] == truth[0].labels[best]
        else:
            assert max(ious) < 0.4
    counts = count_windows([(torch.zeros(3, *SIZE), {"boxes": truth[0].boxes, "labels": truth[0].labels})], GRID, K)
    assert counts.imbalance > 10


def test_windows_that_are_not_valid_are_not_drawn() -> None:
    windows = GRID.windows(SIZE)
    valid = windows[:, 0] < 20
    samples = CRITERION.sample(windows, [valid], [objects([[30, 4, 62, 44]], [0])], K, None)
    assert valid[samples.windows].all()


@pytest.mark.system("4.3.1-SLIDING")
def test_the_loss_is_the_equation_by_slow_loops() -> None:
    windows, truth = GRID.windows(SIZE).double(), objects([[5, 6, 27, 26], [30, 4, 62, 44]], [2, 0])
    truth = Objects(truth.boxes.double(), truth.labels, truth.crowd.double())
    samples = CRITERION.sample(windows, [torch.ones(len(windows)).bool()], [truth], K, None)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(16, K + 1, generator=generator, dtype=torch.float64)
    deltas = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    losses = CRITERION.of_samples(WindowPredictions(logits, deltas), samples, windows, Step())
    log_loss = box_loss = 0.0
    for row in range(16):
        label = int(samples.labels[row])
        log_loss += math.log(sum(math.exp(x) for x in logits[row].tolist())) - logits[row, label].item()
        if label == K:
            continue
        (px1, py1, px2, py2), (gx1, gy1, gx2, gy2) = (
            windows[samples.windows[row]].tolist(),
            samples.truths[row].tolist(),
        )
        w, h = px2 - px1, py2 - py1
        wanted = [(gx1 + gx2 - px1 - px2) / 2 / w / 0.1, (gy1 + gy2 - py1 - py2) / 2 / h / 0.1]
        wanted += [math.log((gx2 - gx1) / w) / 0.2, math.log((gy2 - gy1) / h) / 0.2]
        box_loss += sum((a - b) ** 2 for a, b in zip(deltas[row].tolist(), wanted, strict=True)) / 4
    assert (samples.labels < K).sum() == 4
    assert losses["classification"].item() == pytest.approx(log_loss / 16, rel=1e-10)
    assert losses["box"].item() == pytest.approx(2 * box_loss / 16, rel=1e-10)


def test_assignment_on_boxes_made_by_hand() -> None:
    windows = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 22], [0, 0, 10, 26], [40, 40, 50, 50]])
    matches = WindowLabels().assign(windows, objects([[0, 0, 10, 10]], [1], crowd=[[39, 39, 60, 60]]))
    assert matches.tolist() == [0, 0, IGNORED, BACKGROUND, IGNORED]
    assert (WindowLabels().assign(windows, objects([], [])) == BACKGROUND).all()


# ----------------------------------------------------------------------------------------------------------------------
# The whole


def tiny(**options: Any) -> Any:
    return sliding_window_tiny(
        **{"categories": K, "width": 4, "hidden": 8, "window_sizes": (20, 36), "size": SIZE} | options
    )


def test_one_pixel_objects_and_images_without_any_train() -> None:
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    tiny_box = {"boxes": torch.tensor([[5.0, 5, 6, 6]]), "labels": torch.tensor([1])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = tiny().loss([image, image], [tiny_box, nothing])
    assert losses["box"] == 0
    assert losses["classification"].isfinite()


def test_suppression_ends_the_detection() -> None:
    """A network that sees one class everywhere keeps windows that overlap each other by the threshold at most."""
    model = tiny(nms_threshold=0.3)
    with torch.no_grad():
        for head in (model.network.classes, model.network.deltas):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        model.network.classes.bias[1] = 5.0
    (result,) = model.predict(torch.zeros(3, *SIZE, dtype=torch.uint8))
    assert (result.labels == 1).all()
    assert 3 < len(result) < GRID.count(SIZE) / 5
    boxes = result.boxes.tolist()
    assert max(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]) <= 0.3 + 1e-6


@pytest.mark.system("4.3.1-SLIDING")
def test_counts_of_the_builders() -> None:
    with torch.device("meta"):
        small, large = sliding_window_tiny(), sliding_window()
    assert sum(p.numel() for p in large.parameters()) == 699_737
    assert isinstance(small.network, SlidingWindows)
    assert isinstance(large.network, SlidingWindows)
    assert large.network.grid.count((480, 640)) == 19_284
