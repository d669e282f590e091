"""Pooling of regions against torchvision's operators, the worked examples and simple truths."""

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from torchvision.ops.poolers import LevelMapper

from tests.closeness import FLOAT32, NUMBERS, assert_close
from vidi.ops import roi
from vidi.ops.roi import box_levels, crop_and_warp, roi_align, roi_align_levels, roi_align_masks, roi_pool

STRIDE = 16
SQUARE = torch.arange(64.0).view(1, 1, 8, 8)
WRONG = (ValueError, TypeError)


def features(*, dtype: torch.dtype = torch.float64, channels: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 13, 20, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def regions(count: int = 60, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of all sizes, many of them across the border, some outside, of one pixel, or without area."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([360, 250]) - 30
    boxes = torch.cat([corner, corner + 300 * torch.rand(count, 2, generator=generator, dtype=torch.float64) ** 3], 1)
    special = [[0, 0, 320, 208], [10, 10, 11, 11], [50, 60, 50, 60], [-90, -90, -40, -40], [400, 300, 500, 400]]
    boxes = torch.cat([boxes, torch.tensor(special, dtype=torch.float64), 16 * boxes[:9].div(16).round()])
    return boxes.to(dtype), torch.randint(2, (len(boxes),), generator=generator)


def rows_of(boxes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([images[:, None].to(boxes.dtype), boxes], 1)


def assert_same_with_gradient(
    ours: torch.Tensor, theirs: torch.Tensor, leaf: torch.Tensor, *, outputs: float, gradients: float
) -> None:
    assert_close(ours, theirs, outputs)
    direction = torch.randn_like(theirs)
    mine, expected = (torch.autograd.grad((pooled * direction).sum(), leaf)[0] for pooled in (ours, theirs))
    assert_close(mine, expected, gradients)


# ----------------------------------------------------------------------------------------------------------------------
# Against torchvision


@pytest.mark.system("4.3.2-ROIPOOL")
@pytest.mark.parametrize("size", [(7, 7), (2, 3), (6, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roi_pool_is_torchvisions(size: tuple[int, int], dtype: torch.dtype) -> None:
    x, (boxes, images) = features(dtype=dtype), regions(dtype=dtype)
    theirs = torchvision.ops.roi_pool(x, rows_of(boxes, images), size, 1 / STRIDE)
    ours = roi_pool(x, boxes, images, size, stride=STRIDE)
    assert_same_with_gradient(ours, theirs, x, outputs=0, gradients=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.system("5.2.1-ROIALIGN")
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
def test_roi_align_is_torchvisions(sampling_ratio: int, aligned: bool) -> None:
    x, (boxes, images) = features(), regions()
    theirs = torchvision.ops.roi_align(x, rows_of(boxes, images), (7, 5), 1 / STRIDE, sampling_ratio, aligned)
    ours = roi_align(x, boxes, images, (7, 5), stride=STRIDE, sampling_ratio=sampling_ratio, aligned=aligned)
    assert_same_with_gradient(ours, theirs, x, outputs=1e-12, gradients=1e-12)


@pytest.mark.system("5.2.1-ROIALIGN")
def test_aligned_samples_lie_half_a_cell_further_up_and_left() -> None:
    """C5.21: cell (0, 0) has its centre at (0.5, 0.5); unaligned boxes are pooled half a cell too low and right."""
    image, boxes, rows = SQUARE.double(), torch.tensor([[2.0, 1, 4, 3]]).double(), torch.zeros(1).long()
    aligned = roi_align(image, boxes, rows, (2, 2), sampling_ratio=1)[0, 0]
    assert_close(aligned, image[0, 0, 1:3, 2:4])
    other = roi_align(image, boxes, rows, (2, 2), sampling_ratio=1, aligned=False)[0, 0]
    assert_close(other, aligned + 0.5 + 4)  # half a column of 1, half a row of 8
    assert torch.equal(roi_align(image, boxes, rows, (2, 2), sampling_ratio=1, aligned=True)[0, 0], aligned)


@pytest.mark.system("5.2.1-ROIALIGN")
@pytest.mark.parametrize("aligned", [True, False])
def test_the_largest_sample_of_a_bin(aligned: bool) -> None:
    """By slow loops: bilinear samples at the centres of the parts of a bin, the largest of which is taken."""
    x, boxes = features(), torch.tensor([[33.0, 20, 200, 150], [10, 10, 60, 70]], dtype=torch.float64)
    rows, (h, w), ratio = torch.tensor([1, 0]), (2, 3), 2
    pooled = roi_align(x, boxes, rows, (h, w), stride=STRIDE, sampling_ratio=ratio, aligned=aligned, pool="max")
    expected = torch.empty(2, 5, h, w, dtype=torch.float64)
    for r, (x1, y1, x2, y2) in enumerate((boxes / STRIDE - 0.5 * aligned).tolist()):
        for i in range(h):
            for j in range(w):
                samples = []
                for a in range(ratio):
                    for b in range(ratio):
                        y = y1 + (i + (a + 0.5) / ratio) * (y2 - y1) / h
                        u = x1 + (j + (b + 0.5) / ratio) * (x2 - x1) / w
                        top, left = int(y), int(u)
                        cells = x[rows[r], :, top : top + 2, left : left + 2]
                        weights = torch.tensor([[top + 1 - y], [y - top]]) * torch.tensor([left + 1 - u, u - left])
                        samples.append((cells * weights).sum((1, 2)))
                expected[r, :, i, j] = torch.stack(samples).amax(0)
    assert_close(pooled, expected, 1e-6)  # the weights of the loop are float32
    for wrong in ({"pool": "least"}, {"pool": "max", "sampling_ratio": 0}):
        with pytest.raises(WRONG, match=r"pool|sampling_ratio"):
            roi_align(x, boxes, rows, (h, w), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_are_pooled_as_maps_of_numbers(
    aligned: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision's `project_masks_on_boxes`, which makes numbers of all pixels of all masks."""
    masks = torch.rand(3, 250, 360, generator=torch.Generator().manual_seed(4)) < 0.5
    boxes, _ = regions(dtype=dtype)
    rows = torch.arange(len(boxes)) % 3
    theirs = torchvision.ops.roi_align(masks[:, None].to(dtype), rows_of(boxes, rows), (28, 28), 1.0, -1, aligned)
    ours = roi_align_masks(masks, boxes, rows, (28, 28), aligned=aligned)
    assert ours.dtype == dtype
    assert_close(ours, theirs[:, 0], FLOAT32 if dtype == torch.float32 else NUMBERS)
    assert roi_align_masks(masks[:0], boxes[:0], rows[:0], (28, 28)).shape == (0, 28, 28)
    with pytest.raises(ValueError, match=r"mask 3 of a box, expected 0\.\.2"):
        roi_align_masks(masks, boxes, rows + 1, (28, 28))
    monkeypatch.setattr(roi, "_operator_runs", lambda features: True)
    assert_close(roi_align_masks(masks, boxes, rows, (28, 28), aligned=aligned), theirs[:, 0])


def test_float32_differs_by_its_rounding_only() -> None:
    x, (boxes, images) = features(dtype=torch.float32), regions(dtype=torch.float32)
    theirs = torchvision.ops.roi_align(x, rows_of(boxes, images), (7, 7), 1 / STRIDE, 2, aligned=True)
    ours = roi_align(x, boxes, images, (7, 7), stride=STRIDE)
    assert_same_with_gradient(ours, theirs, x, outputs=2e-5, gradients=5e-5)


def test_layouts_and_precisions() -> None:
    x, (boxes, images) = features(dtype=torch.float32), regions(dtype=torch.float32)
    expected = roi_align(x, boxes, images, (3, 3), stride=STRIDE)
    assert expected.is_contiguous(memory_format=torch.channels_last)
    last = x.detach().contiguous(memory_format=torch.channels_last)
    assert torch.equal(roi_align(last, boxes, images, (3, 3), stride=STRIDE), expected)
    assert torch.equal(
        roi_pool(last, boxes, images, (3, 3), stride=STRIDE), roi_pool(x, boxes, images, (3, 3), stride=16)
    )
    half = roi_align(x.detach().bfloat16(), boxes.bfloat16(), images, (3, 3), stride=STRIDE)
    assert half.dtype == torch.float32


def test_threads_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, (boxes, images) = features(), regions()
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(roi, "PARALLEL_FROM", 0)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        pooled = [roi_align(x, boxes, images, (3, 3), stride=16), roi_pool(x, boxes, images, (3, 3), stride=16)]
        results.append([*pooled, *(torch.autograd.grad(p.square().sum(), x)[0] for p in pooled)])
    assert all(torch.equal(one, three) for one, three in zip(*results, strict=True))


def test_the_operator_takes_over_on_other_devices_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, (boxes, images) = features(), regions()
    levels = torch.arange(len(boxes)) % 2
    maps, strides = [x, x[:, :, ::2, ::2]], (16, 32)

    def pooled() -> list[torch.Tensor]:
        several = roi_align_levels(maps, boxes, images, levels, (3, 2), strides=strides)
        return [several, roi_align(x, boxes, images, (2, 2), stride=16), roi_pool(x, boxes, images, (2, 2), stride=16)]

    ours = pooled()
    monkeypatch.setattr(roi, "_operator_runs", lambda features: True)
    for mine, theirs in zip(ours, pooled(), strict=True):
        assert_same_with_gradient(mine, theirs, x, outputs=1e-12, gradients=1e-11)


# ----------------------------------------------------------------------------------------------------------------------
# Worked examples and simple truths


@pytest.mark.system("B4.14", "4.3.2-ROIPOOL")
def test_roi_pool_of_the_worked_example() -> None:
    box, image = torch.tensor([[0.0, 0.0, 6.0, 4.0]]), torch.tensor([0])
    assert roi_pool(SQUARE, box, image, (2, 2))[0, 0].tolist() == [[19, 22], [35, 38]]


@pytest.mark.system("B4.15")
def test_roi_align_of_the_worked_example() -> None:
    box, image = torch.tensor([[0.0, 0.0, 6.0, 4.0]]), torch.tensor([0])
    assert roi_align(SQUARE, box, image, (2, 2)).flatten().tolist() == [5, 8, 21, 24]


def test_bins_of_roi_pool_may_overlap() -> None:
    """C4.13: five cells in two bins: floor(i 5/2) to ceil((i+1) 5/2), which is 0..2 and 2..4."""
    line = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0]).view(1, 1, 1, 5)
    box, image = torch.tensor([[0.0, 0.0, 4.0, 0.0]]), torch.tensor([0])
    assert roi_pool(line, box, image, (1, 2)).flatten().tolist() == [9, 9]


def test_roi_align_of_a_slope_is_exact() -> None:
    """Bilinear samples of a linear map average to its value at the bins' centres; nothing is rounded."""
    y, x = torch.meshgrid(torch.arange(10.0) + 0.5, torch.arange(12.0) + 0.5, indexing="ij")
    box, image = torch.tensor([[1.7, 2.1, 9.3, 6.4]]), torch.tensor([0])
    pooled = roi_align((3 * x - 2 * y)[None, None], box, image, (3, 4))[0, 0]
    centre_x = 1.7 + 7.6 * (torch.arange(4) + 0.5) / 4
    centre_y = 2.1 + 4.3 * (torch.arange(3) + 0.5) / 3
    assert_close(pooled, 3 * centre_x - 2 * centre_y[:, None], 1e-5)


def test_positions_that_are_not_numbers_pool_nothing() -> None:
    x = features()
    boxes = torch.tensor([[torch.nan] * 4, [0, 0, torch.inf, torch.inf], [-torch.inf, 0, 9, 9]], dtype=torch.float64)
    images = torch.zeros(3, dtype=torch.int64)
    for sampling_ratio in (0, 2):
        assert roi_align(x, boxes, images, (2, 2), sampling_ratio=sampling_ratio).isfinite().all()
    assert roi_pool(x, boxes, images, (2, 2)).isfinite().all()


def test_no_region_gives_no_output_and_no_gradient() -> None:
    x = features()
    boxes, images = torch.zeros(0, 4, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    for pooled in (roi_align(x, boxes, images, (7, 7)), roi_pool(x, boxes, images, (7, 7))):
        assert pooled.shape == (0, 5, 7, 7)
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert not gradient.any()


# ----------------------------------------------------------------------------------------------------------------------
# Levels


@pytest.mark.system("B4.18", "4.3.3-LEVEL")
def test_levels_of_the_worked_example() -> None:
    """C4.22: rounded down, then clamped; a box of 300 pixels stays on level 4."""
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in (224, 112, 448, 300)])
    assert box_levels(boxes, first=2, last=5).tolist() == [4, 3, 5, 4]
    flat = torch.tensor([[0.0, 0.0, 0.0, 9.0], [0.0, 0.0, 9999.0, 9999.0]])
    assert box_levels(flat, first=2, last=5).tolist() == [2, 5]


@pytest.mark.system("4.3.3-LEVEL")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_are_torchvisions(dtype: torch.dtype) -> None:
    sides = torch.tensor([[2.0**k, 2.0**j] for k in range(11) for j in range(11)], dtype=dtype) * 7
    boxes = torch.cat([torch.zeros_like(sides), sides], 1)
    ours = box_levels(boxes, first=2, last=5)
    assert torch.equal(ours - 2, LevelMapper(2, 5)([boxes]))
    assert set(ours.tolist()) == {2, 3, 4, 5}
    canonical = box_levels(boxes, first=3, last=6, canonical_size=100, canonical_level=5)
    assert torch.equal(canonical - 3, LevelMapper(3, 6, 100, 5)([boxes]))


@pytest.mark.system("4.3.3-LEVEL", "4.3.3-FRCNNFPN")
def test_every_region_comes_from_its_level() -> None:
    maps = [features(channels=3, seed=seed) for seed in range(4)]
    maps = [m[:, :, : 13 - level, : 20 - level].detach().requires_grad_() for level, m in enumerate(maps)]
    boxes, images = regions()
    boxes, images = torch.cat([boxes, boxes[:3] * 9]), torch.cat([images, images[:3]])
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    pooler.scales, pooler.map_levels = [1 / s for s in (4, 8, 16, 32)], LevelMapper(2, 5)
    per_image = [boxes[images == image] for image in (0, 1)]
    expected = pooler({str(i): m for i, m in enumerate(maps)}, per_image, [(208, 320)])  # type: ignore[list-item]
    levels = box_levels(boxes, first=2, last=5) - 2
    assert set(levels.tolist()) == {0, 1, 2, 3}
    pooled = roi_align_levels(maps, boxes, images, levels, (7, 7), strides=(4, 8, 16, 32), aligned=False)
    ours = torch.cat([pooled[images == image] for image in (0, 1)])
    assert_close(ours, expected)
    direction = torch.randn_like(ours)
    mine, theirs = (torch.autograd.grad((x * direction).sum(), maps) for x in (ours, expected))
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other, 1e-11)


# ----------------------------------------------------------------------------------------------------------------------
# Crops


@pytest.mark.system("4.3.2-WARP")
def test_a_crop_of_the_whole_image_is_the_image_resized() -> None:
    image = torch.rand(1, 3, 12, 20, dtype=torch.float64)
    whole, row = torch.tensor([[0.0, 0.0, 20.0, 12.0]], dtype=torch.float64), torch.tensor([0])
    assert_close(crop_and_warp(image, whole, row, (12, 20)), image)
    larger = F.interpolate(image, (24, 60), mode="bilinear", align_corners=False)
    assert_close(crop_and_warp(image, whole, row, (24, 60)), larger)
    halves = F.avg_pool2d(image, (2, 4))
    assert_close(crop_and_warp(image, whole, row, (6, 5)), halves)


@pytest.mark.system("4.3.2-WARP")
def test_crops_are_torchvisions_at_the_level_of_the_image() -> None:
    x, (boxes, images) = features(), regions()
    boxes = boxes / STRIDE
    crops = crop_and_warp(x, boxes, images, (9, 6))
    expected = torchvision.ops.roi_align(x, rows_of(boxes, images), (9, 6), 1.0, 0, aligned=True)
    assert_close(crops, expected)


@pytest.mark.system("4.3.2-WARP")
def test_context_shows_what_surrounds_the_box() -> None:
    """With 2 pixels of context on each side of 10, the box keeps the inner 6 x 6; outside the image is the mean, 0."""
    image = torch.rand(1, 1, 30, 40, dtype=torch.float64) + 1
    box, row = torch.tensor([[0.0, 10.0, 12.0, 16.0]], dtype=torch.float64), torch.tensor([0])
    crop = crop_and_warp(image, box, row, (10, 10), context=2)
    tight = crop_and_warp(image, box, row, (6, 6))
    assert_close(crop[:, :, 2:-2, 2:-2], tight)
    expected = crop_and_warp(image, box + box.new_tensor([-4, -2, 4, 2]), row, (10, 10))
    assert_close(crop, expected)
    assert not crop[0, 0, :, 0].any()  # left of the image
    assert crop[0, 0, :, 2:].all()
    with pytest.raises(ValueError, match="context=5"):
        crop_and_warp(image, box, row, (10, 10), context=5)


# ----------------------------------------------------------------------------------------------------------------------
# Refusals


def test_impossible_arguments_are_refused() -> None:
    x, (boxes, images) = features(), regions()
    for pool in (roi_align, roi_pool):
        with pytest.raises(ValueError, match=r"the image 2 of a box, expected 0\.\.1"):
            pool(x, boxes, images + 1, (7, 7))
        with pytest.raises(ValueError, match="at least 1 x 1"):
            pool(x, boxes, images, (0, 7))
    with pytest.raises(ValueError, match=r"the level -1 of a box, expected 0\.\.0"):
        roi_align_levels([x], boxes, images, images - 1, (7, 7), strides=(4,))
    with pytest.raises(WRONG, match="1 maps and 2 strides"):
        roi_align_levels([x], boxes, images, images * 0, (7, 7), strides=(4, 8))
