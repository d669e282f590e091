"""Tiles of large maps: what they give together, and mirrors at the border."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.closeness import assert_close
from vidi.ops.tiling import in_tiles, mirrored


@pytest.mark.system("5.1.4-TILING")
@pytest.mark.parametrize("sides", [(0, 0, 0, 0), (3, 1, 2, 4), (11, 30, 17, 25)])
def test_mirrors_are_those_of_numpy(sides: tuple[int, int, int, int]) -> None:
    """Also where more is asked for than the map is long."""
    x = torch.randn(2, 3, 5, 7)
    left, right, above, below = sides
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (above, below), (left, right)), mode="reflect")
    assert (mirrored(x, sides).numpy() == expected).all()


def test_a_single_pixel_is_repeated() -> None:
    assert mirrored(torch.full((1, 1, 1, 2), 5.0), (0, 0, 2, 1)).tolist() == [[[[5.0, 5.0]] * 4]]


def three_convolutions(x: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(-1, 1, 9, dtype=torch.float64).view(1, 1, 3, 3)
    for _ in range(3):
        x = F.conv2d(x, weights).relu()
    return x


@pytest.mark.system("5.1.4-TILING")
@pytest.mark.parametrize("size", [(4, 4), (8, 5), (16, 16), (40, 50)])
def test_tiles_give_what_the_mirrored_whole_gives(size: tuple[int, int]) -> None:
    images = torch.rand(2, 1, 21, 34, dtype=torch.float64)
    whole = three_convolutions(mirrored(images, (3, 3, 3, 3)))
    seen = []

    def network(window: torch.Tensor) -> torch.Tensor:
        seen.append(window.shape[2:])
        return three_convolutions(window)

    assert_close(in_tiles(network, images, size=size, margin=(3, 3)), whole)
    assert set(seen) == {(size[0] + 6, size[1] + 6)}
    assert len(seen) == -(-21 // size[0]) * -(-34 // size[1])


def test_a_network_that_loses_more_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(8, 8\)"):
        in_tiles(three_convolutions, torch.rand(1, 1, 20, 20, dtype=torch.float64), size=(8, 8), margin=(2, 2))
    for lost in ((slice(None), slice(1)), (slice(1), slice(None))):
        with pytest.raises(ValueError, match=r"expected \(8, 8\)"):
            in_tiles(lambda x, lost=lost: x[:, :, *lost], torch.rand(1, 1, 20, 20), size=(8, 8), margin=(0, 0))
