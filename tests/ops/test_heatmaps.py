"""Radii, Gaussians and peaks against slow loops and bisection."""

import pytest
import torch

from tests.references import centernet as slow
from vidi.ops.heatmaps import gaussian_radius, local_peaks, splat_gaussians


@pytest.mark.system("4.3.5-CTTARGET")
@pytest.mark.parametrize("min_iou", [0.1, 0.3, 0.7, 0.95])
def test_a_radius_is_the_farthest_that_any_corner_may_move(min_iou):
    sizes = [(10.0, 10.0), (10.0, 40.0), (50.0, 3.0), (0.25, 0.25), (0.1, 80.0)]
    radii = gaussian_radius(torch.tensor(sizes, dtype=torch.float64), min_iou=min_iou)
    for received, size in zip(radii.tolist(), sizes, strict=True):
        assert received == pytest.approx(slow.radius(*size, min_iou), rel=1e-10)
        assert received == pytest.approx(slow.cornernet_radius(*size, min_iou), rel=1e-10)


@pytest.mark.parametrize("min_iou", [0, 1, -0.3, float("nan")])
def test_an_iou_that_no_radius_has_is_refused(min_iou):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        gaussian_radius(torch.ones(1, 2), min_iou=min_iou)


def test_gaussians_merge_to_the_larger_one_in_their_channel():
    cells = torch.tensor([[3, 2], [5, 2], [0, 6]])
    sigmas = torch.tensor([1.0, 2.0, 1e-3], dtype=torch.float64)
    maps = splat_gaussians(cells, sigmas, torch.tensor([1, 1, 2]), (4, 7, 9))
    alone = [splat_gaussians(cells[[i]], sigmas[[i]], torch.tensor([0]), (1, 7, 9))[0] for i in range(3)]
    torch.testing.assert_close(maps[1], torch.maximum(alone[0], alone[1]), atol=0, rtol=0)
    torch.testing.assert_close(maps[2], alone[2], atol=0, rtol=0)
    assert not maps[[0, 3]].any()
    assert maps[1, 2, 3] == maps[1, 2, 5] == maps[2, 6, 0] == 1
    assert (maps == 1).sum() == 3
    assert alone[1][4, 6].item() == pytest.approx(2.718281828459045 ** (-5 / 8), rel=1e-12)
    assert not splat_gaussians(cells[:0], sigmas[:0], torch.tensor([0])[:0], (2, 3, 3)).any()


@pytest.mark.parametrize("window", [1, 3, 5])
def test_peaks_are_those_of_slow_loops(window):
    maps = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(0))
    maps[0, 0, :, 6:] = -torch.inf
    received = local_peaks(maps, window=window)
    reach = window // 2
    for b, k, y, x in torch.cartesian_prod(*(torch.arange(n) for n in maps.shape)).tolist():
        around = maps[b, k, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        expected = maps[b, k, y, x] == around.max() and maps[b, k, y, x] > -torch.inf
        assert received[b, k, y, x] == expected


@pytest.mark.parametrize("window", [0, 2, -3])
def test_a_window_without_a_middle_is_refused(window):
    with pytest.raises(ValueError, match="odd positive"):
        local_peaks(torch.zeros(1, 1, 4, 4), window=window)
