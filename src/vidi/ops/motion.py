"""How far a picture has moved to the next one: patches with structure, looked for around their place."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

PATCH = 11  # pixels, odd
LEAST_STRUCTURE = 0.02  # standard deviation of a patch, pictures in [0, 1]


def sparse_flow(
    first: Float[Tensor, "H W"], second: Float[Tensor, "h w"], *, spacing: int = 24, reach: int = 24
) -> Float[Tensor, "N 2"]:
    """Return by how many pixels (x, y) patches moved from the first grey picture to the second.

    Patches around points of a grid are compared by the sum of absolute differences with all places up to `reach` pixels
    away; those without structure, whose best place is any, are left out.

    Raises:
        ValueError: if the pictures differ in size.
    """
    if first.shape != second.shape:
        raise ValueError(f"received pictures of {tuple(first.shape)} and {tuple(second.shape)}, expected one size")
    margin = PATCH // 2
    H, W = first.shape
    rows, columns = torch.meshgrid(
        torch.arange(margin, H - margin, spacing), torch.arange(margin, W - margin, spacing), indexing="ij"
    )
    points = torch.stack((rows.flatten(), columns.flatten()), 1)  # N 2: the middles of the patches
    wide = F.pad(second[None, None], [reach] * 4, value=2.0)[0, 0]  # beyond the picture nothing is alike
    moved = []
    for row, column in points.tolist():
        patch = first[row - margin : row + margin + 1, column - margin : column + margin + 1]
        if patch.std() < LEAST_STRUCTURE:
            continue
        window = wide[row - margin : row + margin + 1 + 2 * reach, column - margin : column + margin + 1 + 2 * reach]
        candidates = window.unfold(0, PATCH, 1).unfold(1, PATCH, 1)  # 2 reach + 1, 2 reach + 1, PATCH, PATCH
        costs = (candidates - patch).abs().sum((2, 3))
        best = int(costs.argmin())
        moved.append((best % (2 * reach + 1) - reach, best // (2 * reach + 1) - reach))
    return torch.tensor(moved, dtype=torch.float32).reshape(-1, 2)
