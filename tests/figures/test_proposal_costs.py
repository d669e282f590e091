"""The costs of table 4.1 against the worked example and the sums written out."""

import pytest

from vidi.figures.proposal_costs import CROP, SMALLEST, convolution_flops, crossover, linear_flops, proposal_costs

# channels in and out, kernel, stride, padding, whether a 3x3 pool of stride 2 follows
CONVOLUTIONS = (
    (3, 96, 11, 4, 0, True),
    (96, 256, 5, 1, 2, True),
    (256, 384, 3, 1, 1, False),
    (384, 384, 3, 1, 1, False),
    (384, 256, 3, 1, 1, True),
)


@pytest.mark.system("B4.12", "B4.13", "4.3.2-FLOPSTAB")
def test_the_worked_example() -> None:
    """C4.43: the image size that the table of the notes leaves out is about 604 x 604."""
    millions = {size: convolution_flops(size) / 1e6 for size in (CROP, (600, 600), (604, 604), (600, 800))}
    assert convolution_flops(CROP) == 2 * 1_076_634_144 + 96 * 55**2 + 256 * 27**2 + (384 + 384 + 256) * 13**2
    assert millions[CROP] == pytest.approx(2153.92, abs=0.005)
    assert [round(millions[size]) for size in ((600, 600), (604, 604), (600, 800))] == [16_106, 16_307, 21_541]
    assert linear_flops() == 2 * 58_621_952 + 4096 + 4096 + 1000
    assert linear_flops() / 1e6 == pytest.approx(117.25, abs=0.005)
    assert 16_310 / millions[CROP] == pytest.approx(7.57, abs=0.005)
    assert crossover((604, 604)) == 8
    costs = proposal_costs((604, 604), 2000)
    assert round(costs.linear / 1e6) == 234_506
    assert costs.linear > costs.fast_convolutions  # the bottleneck has moved
    assert proposal_costs((604, 604), 7).rcnn < proposal_costs((604, 604), 7).fast
    assert proposal_costs((604, 604), 8).rcnn > proposal_costs((604, 604), 8).fast


@pytest.mark.system("4.3.2-FLOPSTAB")
@pytest.mark.parametrize("size", [CROP, (350, 601)])
def test_operations_are_the_sums_over_the_layers(size: tuple[int, int]) -> None:
    (H, W), total = size, 0
    for in_channels, out_channels, kernel, stride, padding, pooled in CONVOLUTIONS:
        H, W = ((side + 2 * padding - kernel) // stride + 1 for side in (H, W))
        total += H * W * out_channels * (2 * in_channels * kernel**2 + 1)
        if pooled:
            H, W = ((side - 3) // 2 + 1 for side in (H, W))
    assert convolution_flops(size) == total


def test_impossible_images_and_numbers_are_refused() -> None:
    assert convolution_flops((SMALLEST, SMALLEST)) > 0
    with pytest.raises(ValueError, match="60 x 300 pixels"):
        convolution_flops((60, 300))
    with pytest.raises(ValueError, match="66 x 67 pixels"):
        convolution_flops((SMALLEST - 1, SMALLEST))
    with pytest.raises(ValueError, match="proposals=-1"):
        proposal_costs((600, 600), -1)
