"""Upsampling written to be read against torch's, and as a transposed convolution."""

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import assert_close
from vidi.ops.convolution import transposed_convolve
from vidi.ops.upsampling import bilinear_kernel, bilinear_rows, bilinear_upsampled, nearest_upsampled, stamped_bilinear

SIZES = [(10, 14), (7, 9), (5, 7), (3, 2), (1, 1), (23, 40)]


def draw() -> torch.Tensor:
    return torch.randn(2, 3, 5, 7, dtype=torch.float64)


@pytest.mark.system("5.1.3-UPNN")
@pytest.mark.parametrize("size", SIZES)
def test_nearest_is_torchs(size: tuple[int, int]) -> None:
    x = draw()
    assert torch.equal(nearest_upsampled(x, size), F.interpolate(x, size, mode="nearest"))


@pytest.mark.system("5.1.3-UPBIL")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_bilinear_is_torchs(size: tuple[int, int], align_corners: bool) -> None:
    x = draw()
    expected = F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
    assert_close(bilinear_upsampled(x, size, align_corners=align_corners), expected)


@pytest.mark.system("5.1.3-UPBIL")
@pytest.mark.parametrize("size", SIZES)
def test_rows_are_those_of_the_whole_and_need_no_more_than_their_neighbours(size: tuple[int, int]) -> None:
    x = draw()[0]
    expected = F.interpolate(x[None], size, mode="bilinear")[0]
    weights = F.interpolate(torch.eye(5)[None, None], (size[0], 5), mode="bilinear")[0, 0]  # of old rows in new ones
    asked: list[slice] = []

    def rows_of(rows: slice) -> torch.Tensor:
        asked.append(rows)
        return x[:, rows]

    for first in range(size[0]):
        for last in range(first + 1, min(first + 4, size[0] + 1)):
            assert_close(bilinear_rows(rows_of, 5, size, slice(first, last)), expected[:, first:last])
            (needed,) = (weights[first:last] > 1e-6).any(0).nonzero(as_tuple=True)
            assert asked[-1].start == needed[0]
            assert needed[-1] < asked[-1].stop <= min(needed[-1] + 2, 5)


@pytest.mark.system("5.1.4-BILINIT", "B5.4")
def test_kernels_of_the_paper() -> None:
    quarter, half = [0.25, 0.75, 0.75, 0.25], [0.5, 1, 0.5]
    assert bilinear_kernel(4).tolist() == [[a * b for a in quarter] for b in quarter]
    assert bilinear_kernel(3).tolist() == [[a * b for a in half] for b in half]
    assert bilinear_kernel(1).tolist() == [[1.0]]
    with pytest.raises(ValueError, match="at least 1"):
        bilinear_kernel(0)


@pytest.mark.system("5.1.4-BILINIT", "5.1.4-TCONV", "B5.3")
def test_the_example_of_the_notes_is_interpolation_of_corners_on_corners() -> None:
    x = torch.arange(1.0, 10, dtype=torch.float64).view(1, 1, 3, 3)
    result = transposed_convolve(x, bilinear_kernel(3)[None, None], stride=2, padding=1)
    rows = [[start + step / 2 for step in range(5)] for start in (1, 2.5, 4, 5.5, 7)]
    assert result[0, 0].tolist() == rows
    assert_close(result, F.interpolate(x, (5, 5), mode="bilinear", align_corners=True), 1e-6)


@pytest.mark.system("5.1.4-BILINIT")
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_stamped_tent_is_interpolation_of_centres_on_centres(factor: int) -> None:
    """Inside; within half a pixel of the border it fades to 0, where interpolation repeats the border."""
    x = draw()
    found, half = stamped_bilinear(x, factor), factor // 2
    assert found.shape == (2, 3, 5 * factor + factor, 7 * factor + factor)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    inner = found[:, :, half:-half, half:-half]
    assert_close(inner[:, :, half:-half, half:-half], expected[:, :, half:-half, half:-half])
    assert_close(found[:, :, :1, :1], x[:, :, :1, :1] * (0.5 / factor) ** 2)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_the_odd_tent_keeps_pixels_and_interpolates_between_them(factor: int) -> None:
    x = draw()
    found = stamped_bilinear(x, factor, kernel=2 * factor - 1)[:, :, factor - 1 :, factor - 1 :]
    assert_close(found[:, :, ::factor, ::factor][:, :, :5, :7], x)
    size = (4 * factor + 1, 6 * factor + 1)
    expected = F.interpolate(x, size, mode="bilinear", align_corners=True)
    assert_close(found[:, :, : size[0], : size[1]], expected)
