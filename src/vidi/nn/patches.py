"""Patches: an image as a sequence of squares, each flattened and multiplied by one matrix (notes 3.2).

    images    B C H W
    patches   B N F           N = H/P x W/P squares of P x P pixels, F = P^2 C numbers each
    tokens    B N D           times W_E, F x D

Dosovitskiy et al. 2021, 2010.11929, equation 1. What runs is the convolution of stride P whose filters are the columns
of W_E; `projection_matrix` and `projection_filters` turn one into the other.
"""

from jaxtyping import Float
from torch import Tensor, nn


def patches(images: Float[Tensor, "B C H W"], patch: int) -> Float[Tensor, "B N F"]:
    """Cut images into squares, row by row, and flatten each: pixel by pixel, P^2 C numbers.

    Raises:
        ValueError: if the sides are no multiples of `patch`.
    """
    rows, columns = grid_of((images.shape[2], images.shape[3]), patch)
    squares = images.unflatten(3, (columns, patch)).unflatten(2, (rows, patch))  # B C rows P columns P
    return squares.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # B rows columns P P C -> B N P^2 C


def grid_of(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Return how many rows and columns of patches an image of `size` (H, W) has.

    Raises:
        ValueError: if there is no such grid.
    """
    if patch < 1 or min(size) < patch or size[0] % patch or size[1] % patch:
        raise ValueError(f"received {size[0]} x {size[1]} pixels, expected sides that are multiples of patch={patch}")
    return size[0] // patch, size[1] // patch


def projection_matrix(weight: Float[Tensor, "D C P P"]) -> Float[Tensor, "F D"]:
    """Return W_E (P^2 C x D) of a convolution of stride P: `patches(images) @ W_E` is its output."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2)  # P P C D -> P^2 C D


def projection_filters(matrix: Float[Tensor, "F D"], patch: int) -> Float[Tensor, "D C P P"]:
    """Return the filters of the convolution of stride P that W_E (P^2 C x D) is.

    Raises:
        ValueError: if the rows of W_E are no multiple of P^2.
    """
    if matrix.shape[0] % patch**2:
        raise ValueError(f"received a matrix of {matrix.shape[0]} rows, expected a multiple of {patch}^2")
    return matrix.unflatten(0, (patch, patch, -1)).permute(3, 2, 0, 1)  # P^2 C D -> P P C D -> D C P P


class PatchEmbedding(nn.Module):
    """One token of D numbers for every square of P x P pixels."""

    def __init__(self, patch: int, width: int, *, channels: int = 3, bias: bool = True):
        super().__init__()
        self.patch = patch
        self.projection = nn.Conv2d(channels, width, patch, stride=patch, bias=bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Return the tokens, row by row.

        Raises:
            ValueError: if the sides are no multiples of P.
        """
        grid_of((images.shape[2], images.shape[3]), self.patch)
        return self.projection(images).flatten(2).transpose(1, 2)  # B D h w -> B N D
