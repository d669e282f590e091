"""Patches of images, and the matrix that embeds them."""

import pytest
import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from tests.closeness import assert_close
from vidi.backbones.vit import trunk
from vidi.nn.patches import PatchEmbedding, grid_of, patches, projection_filters, projection_matrix


def images(size: tuple[int, int], dtype: torch.dtype = torch.float64, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


@pytest.mark.system("3.2-PATCH", "B3.9")
def test_the_convolution_of_stride_p_is_the_product_with_flattened_patches() -> None:
    embedding = PatchEmbedding(4, 10).double()
    x = images((12, 20))
    matrix = projection_matrix(embedding.projection.weight)
    flat = patches(x, 4)
    assert flat.shape == (2, 15, 48)
    assert matrix.shape == (48, 10)
    bias = embedding.get_parameter("projection.bias")
    expected = flat @ matrix + bias
    assert_close(embedding(x), expected)
    assert torch.equal(projection_filters(matrix, 4), embedding.projection.weight)
    corner = x[1, :, 4:8, 8:12]  # second row, third column of five
    assert torch.equal(flat[1, 7], corner.permute(1, 2, 0).flatten())


@pytest.mark.system("3.2-PATCH", "B3.9")
def test_patch_embedding_equals_timm() -> None:
    ours, theirs = PatchEmbedding(16, 48).double(), PatchEmbed(224, 16, 3, 48).double()
    ours.projection.load_state_dict(theirs.proj.state_dict())
    x = images((224, 224))
    assert ours(x).shape == (2, 196, 48)
    assert_close(ours(x), theirs(x))
    assert trunk("tiny").positions.table.shape[1] == 197


def test_patches_of_any_number_of_channels() -> None:
    x = images((6, 4), channels=5)
    matrix = torch.randn(20, 3, dtype=torch.float64)
    expected = nn.functional.conv2d(x, projection_filters(matrix, 2), stride=2).flatten(2).transpose(1, 2)
    assert_close(patches(x, 2) @ matrix, expected)


@pytest.mark.parametrize("size", [(30, 32), (32, 33), (4, 8), (0, 8)])
def test_sides_that_patches_do_not_divide_are_refused(size: tuple[int, int]) -> None:
    message = rf"received {size[0]} x {size[1]} pixels, expected sides that are multiples of patch=8"
    with pytest.raises(ValueError, match=message):
        grid_of(size, 8)
    if size[0] > 4:
        with pytest.raises(ValueError, match=message):
            PatchEmbedding(8, 4)(images(size, torch.float32))


def test_a_matrix_that_is_not_of_such_patches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10 rows, expected a multiple of 3\^2"):
        projection_filters(torch.zeros(10, 2), 3)
