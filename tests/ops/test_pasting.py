"""Pasting of masks against torchvision's, slow loops and simple truths."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from vidi.ops.pasting import paste_masks

SIZE = (90, 120)


def drawn(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth masks, and boxes of all sizes that lie in the picture, some along its border."""
    generator = torch.Generator().manual_seed(seed)
    masks = F.interpolate(torch.rand(count, 1, 6, 6, generator=generator).double(), (28, 28), mode="bicubic")[:, 0]
    sides = torch.exp(torch.rand(count, 2, generator=generator).double() * 4.5)
    corner = torch.rand(count, 2, generator=generator).double() * torch.tensor(SIZE).flip(0) - sides / 2
    boxes = torch.cat((corner, corner + sides), 1)
    limits = torch.tensor([SIZE[1], SIZE[0]] * 2)
    return masks.clamp(0.01, 0.99), boxes.clamp(min=0).minimum(limits)


@pytest.mark.system("5.2.1-PASTE")
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_rounded_masks_are_torchvisions(threshold: float) -> None:
    masks, boxes = drawn(200)
    special = [[0, 0, 120, 90], [3, 4, 3, 4], [10, 10, 11, 11], [119.2, 89.1, 120, 90], [20.2, 30.7, 50.1, 31.2]]
    masks, boxes = torch.cat((masks, masks[:5])), torch.cat((boxes, torch.tensor(special, dtype=torch.float64)))
    expected = paste_masks_in_image(masks[:, None], boxes, SIZE)[:, 0] >= threshold
    found = paste_masks(masks, boxes, SIZE, threshold=threshold, rounded=True).dense()
    assert torch.equal(found, expected)
    assert 50 < expected.flatten(1).any(1).sum() < 205


@pytest.mark.system("5.2.1-PASTE")
@pytest.mark.parametrize("shape", [(28, 28), (6, 9)])
def test_exact_masks_have_the_probability_of_the_centre_of_each_pixel(shape: tuple[int, int]) -> None:
    """By slow loops: bilinear between the centres of cells, with cells of 0 around the mask."""
    masks, boxes = drawn(12, 1)
    masks = F.interpolate(masks[:, None], shape)[:, 0]
    expected = torch.zeros(12, *SIZE, dtype=torch.bool)
    for k, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        cells = F.pad(masks[k], (1, 1, 1, 1)).tolist()
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                v = (y + 0.5 - y1) / (y2 - y1) * shape[0] + 0.5  # 1 is the centre of the first cell
                u = (x + 0.5 - x1) / (x2 - x1) * shape[1] + 0.5
                if not (0 <= v < shape[0] + 1 and 0 <= u < shape[1] + 1):
                    continue
                i, j = int(v), int(u)
                upper = cells[i][j] * (j + 1 - u) + cells[i][j + 1] * (u - j)
                lower = cells[i + 1][j] * (j + 1 - u) + cells[i + 1][j + 1] * (u - j)
                expected[k, y, x] = upper * (i + 1 - v) + lower * (v - i) >= 0.5
    assert torch.equal(paste_masks(masks, boxes, SIZE).dense(), expected)
    assert expected.flatten(1).any(1).sum() > 6


@pytest.mark.system("5.2.1-PASTE")
def test_a_full_mask_fills_its_box_and_nothing_else() -> None:
    """At an edge of the box the probability is half of that of the outer cells, at a corner a quarter."""
    boxes = torch.tensor([[10, 20, 66, 76], [0, 0, 120, 90], [-30, 70, 26, 126]])
    found = paste_masks(torch.ones(3, 28, 28), boxes.double(), SIZE).dense()
    for mask, (x1, y1, x2, y2) in zip(found, boxes.tolist(), strict=True):
        expected = torch.zeros(SIZE, dtype=torch.bool)
        expected[max(y1, 0) : y2, max(x1, 0) : x2] = True
        assert not mask[~expected].any()
        lost = (expected & ~mask).nonzero()
        corners = torch.tensor([[y, x] for y in (y1, y2) for x in (x1, x2)])
        assert (torch.cdist(lost.double() + 0.5, corners.double(), p=torch.inf).amin(1) < 2).all()


def test_nothing_is_pasted_without_masks_or_boxes_with_an_area() -> None:
    assert paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), SIZE).shape == (0, *SIZE)
    found = paste_masks(torch.ones(3, 28, 28), torch.tensor([[5.0, 5, 5, 9], [4, 4, 4, 4], [300, 300, 400, 400]]), SIZE)
    assert found.areas().tolist() == [0, 0, 0]
    assert paste_masks(torch.full((1, 28, 28), 0.49), torch.tensor([[5.0, 5, 50, 50]]), SIZE).areas().tolist() == [0]


def test_a_threshold_that_is_none_is_refused() -> None:
    masks, boxes = torch.ones(1, 28, 28), torch.tensor([[5.0, 5, 50, 50]])
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match=r"threshold=.*in \(0, 1\]"):
            paste_masks(masks, boxes, SIZE, threshold=wrong)
    with pytest.raises(ValueError, match="not finite"):
        paste_masks(masks, boxes * torch.inf, SIZE)
