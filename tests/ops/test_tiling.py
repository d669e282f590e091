"""Tiles of large maps: what they give together, and mirrors at the border."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.closeness import assert_close
from vidi.ops.tiling import blending_weights, in_tiles, mirrored, overlapping


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


# ----------------------------------------------------------------------------------------------------------------------
# Tiles that overlap


def test_tiles_along_a_side_are_those_of_sahi() -> None:
    """Typed from what `sahi.slicing.get_slice_bboxes` 0.11.22 gives for these sides."""
    assert overlapping(1000, 512, 0.2) == [(0, 512), (410, 922), (488, 1000)]
    assert overlapping(1024, 256, 0.25) == [(0, 256), (192, 448), (384, 640), (576, 832), (768, 1024)]
    assert overlapping(7, 3, 0) == [(0, 3), (3, 6), (4, 7)]
    assert overlapping(512, 512, 0.5) == [(0, 512)]
    assert overlapping(100, 512, 0.5) == [(0, 100)]


def test_tiles_begin_where_pools_do() -> None:
    assert overlapping(100, 40, 0.25, phase=16) == [(0, 40), (16, 56), (32, 72), (48, 88), (64, 100)]
    assert overlapping(96, 48, 0.25, phase=16) == [(0, 48), (32, 80), (48, 96)]
    assert overlapping(20, 8, 0.5, phase=16) == [(0, 8), (4, 12), (8, 16), (12, 20)]
    assert overlapping(20, 8, 0.5, phase=4) == overlapping(20, 8, 0.5)


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0, 0.95), st.integers(1, 40))
def test_tiles_cover_a_side_with_the_overlap_that_was_asked_for(
    side: int, tile: int, overlap: float, phase: int
) -> None:
    tiles = overlapping(side, tile, overlap, phase=phase)
    firsts, lasts = zip(*tiles, strict=True)
    assert firsts[0] == 0
    assert lasts[-1] == side
    assert all(last - first == tile for first, last in tiles[:-1])
    assert min(tile - phase, side - 1) < lasts[-1] - firsts[-1] <= tile
    steps = [after - before for before, after in itertools.pairwise(firsts)]
    assert all(0 < step <= tile - int(overlap * tile) for step in steps)
    if phase <= tile - int(overlap * tile):
        assert all(first % phase == 0 for first in firsts)


def test_weights_are_those_of_monai() -> None:
    """Its `compute_importance_map((8,), "gaussian", 0.125)`, computed by hand: sigma 1, places -3.5 ... 3.5."""
    one, other = blending_weights([(0, 8), (6, 14)])
    assert_close(one[:6], torch.ones(6, dtype=torch.float64))
    # exp(-2.5^2 / 2) = 0.0439369336 and exp(-3.5^2 / 2) = 0.0021874911
    share = 0.0439369336 / (0.0439369336 + 0.0021874911)
    assert one[6:].tolist() == pytest.approx([share, 1 - share], rel=1e-8)
    assert_close(other, one.flip(0))


@given(st.integers(1, 200), st.integers(1, 60), st.floats(0, 0.9))
def test_weights_of_a_pixel_add_up_to_one(side: int, tile: int, overlap: float) -> None:
    tiles, total = overlapping(side, tile, overlap), torch.zeros(side, dtype=torch.float64)
    for (first, last), weights in zip(tiles, blending_weights(tiles), strict=True):
        assert (weights > 0).all()
        total[first:last] += weights
    assert_close(total, torch.ones(side, dtype=torch.float64))
