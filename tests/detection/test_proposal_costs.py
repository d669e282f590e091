"""The costs of table 4.1 against the cost counter and the worked example."""

import pytest
import torch
from torch import nn

from vidi.detection.proposal_costs import (
    CONVOLUTIONS,
    CROP,
    LINEAR,
    convolution_flops,
    crossover,
    linear_flops,
    proposal_costs,
)
from vidi.nn.cost import count_cost


@pytest.mark.system("B4.13", "4.3.2-FLOPSTAB")
def test_the_worked_example() -> None:
    """C4.43: the image size that the table of the notes leaves out is about 604 x 604."""
    millions = {size: convolution_flops(size) / 1e6 for size in (CROP, (600, 600), (604, 604), (600, 800))}
    assert millions[CROP] == pytest.approx(2153.92, abs=0.005)
    assert [round(millions[size]) for size in ((600, 600), (604, 604), (600, 800))] == [16_106, 16_307, 21_541]
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
def test_products_are_those_that_run(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        layers: list[nn.Module] = []
        for in_channels, out_channels, kernel, stride, padding, pooled in CONVOLUTIONS:
            layers += [nn.Conv2d(in_channels, out_channels, kernel, stride, padding), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if pooled else []
        layers += [nn.AdaptiveMaxPool2d(6), nn.Flatten()]
        report = count_cost(nn.Sequential(*layers, *(nn.Linear(*sides) for sides in LINEAR)), size)
    assert report.total.linear == 58_621_952
    assert linear_flops() - 2 * report.total.linear == 4096 + 4096 + 1000
    biases = convolution_flops(size) - 2 * report.total.convolution
    assert 0 < biases < 1e-3 * convolution_flops(size)
    if size == CROP:
        assert report.total.convolution == 1_076_634_144
        assert biases == 96 * 55**2 + 256 * 27**2 + (384 + 384 + 256) * 13**2


def test_impossible_images_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="60 x 30 pixels"):
        convolution_flops((60, 30))
    with pytest.raises(ValueError, match="proposals=-1"):
        proposal_costs((600, 600), -1)
