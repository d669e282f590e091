"""Faces upright, in one size and place: what a network sees of a head must not depend on where the camera was.

    points N 5 2, template 5 2 -> similarity N 2 3      scale, rotation, shift; the least squares of the five distances
    picture C H W              -> turned C h w          the template's points lie where the picture's were

Umeyama 1991, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", eq. 40 to 43: in a
plane a rotation with a scale is one complex number, and the best one a quotient of sums. Taigman et al. 2014 (DeepFace)
and Deng et al. 2019 (ArcFace, 1801.07698, section 3.1) align before they embed.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

TEMPLATE_SIDE = 112
"""Pixels of the square that the template lies in."""

FACE_TEMPLATE = (
    (38.7946, 52.1963),
    (74.0318, 52.0014),
    (56.5252, 72.2366),
    (42.0493, 92.8655),
    (71.2299, 92.7041),
)
"""x, y of eyes, nose and mouth corners, left ones of the picture first: those that ArcFace's pictures were aligned to.

The published numbers are half a pixel less: they count from the centre of the first pixel.
"""


def face_template(size: tuple[int, int]) -> Float[Tensor, "5 2"]:
    """Return the template for pictures of a size (H, W), in the middle of the longer side."""
    H, W = size
    side = min(H, W)
    corner = torch.tensor([(W - side) / 2, (H - side) / 2])
    return torch.tensor(FACE_TEMPLATE) * (side / TEMPLATE_SIDE) + corner


def similarity_between(source: Float[Tensor, "*B N 2"], target: Float[Tensor, "*B N 2"]) -> Float[Tensor, "*B 2 3"]:
    """Return the scale, rotation and shift that bring points nearest to others, without a mirror.

    Args:
        source: points (x, y).
        target: where they should come to.

    Returns:
        Matrices M: M[..., :2] @ (x, y) + M[..., 2].

    Raises:
        ValueError: if points are not finite, all of them are one, or no rotation is better than another.
    """
    if not (source.isfinite().all() and target.isfinite().all()):
        raise ValueError("received points that are not finite")
    from_centre, to_centre = source.mean(-2), target.mean(-2)
    x, y = (source - from_centre[..., None, :]).unbind(-1)
    u, v = (target - to_centre[..., None, :]).unbind(-1)
    spread, wanted = (x.square() + y.square()).sum(-1), (u.square() + v.square()).sum(-1)
    turned = torch.stack([(x * u + y * v).sum(-1), (x * v - y * u).sum(-1)], -1)  # *B 2, cos and sin, times scale
    tiny = torch.finfo(source.dtype).eps
    reach = source.abs().amax((-2, -1)).square() + target.abs().amax((-2, -1)).square()
    if (spread <= tiny * reach).any() or (turned.norm(dim=-1) <= 8 * tiny * (spread * wanted).sqrt()).any():
        raise ValueError("received points that say no rotation: they are all one, or mirror those they should come to")
    cos, sin = (turned / spread[..., None]).unbind(-1)
    linear = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # *B 2 2
    shift = to_centre - (linear @ from_centre[..., None])[..., 0]
    return torch.cat([linear, shift[..., None]], -1)


def moved_points(points: Float[Tensor, "*#B N 2"], matrix: Float[Tensor, "*#B 2 3"]) -> Float[Tensor, "*B N 2"]:
    """Return points (x, y) where a matrix moves them."""
    return points @ matrix[..., :2].mT + matrix[..., None, :, 2]


def warped(picture: Float[Tensor, "C H W"], matrix: Float[Tensor, "2 3"], size: tuple[int, int]) -> Tensor:
    """Return a picture C h w of a size (h, w), moved by a similarity; black where there was none.

    Bilinear; one that shrinks is made smaller first, so that no pixel is left out.
    """
    scale = float(matrix[:, :2].det().abs().sqrt())
    if scale < 1:
        H, W = picture.shape[1:]
        smaller = (max(round(H * scale), 1), max(round(W * scale), 1))
        picture = F.interpolate(picture[None], smaller, mode="bilinear", align_corners=False, antialias=True)[0]
        matrix = matrix.clone()
        matrix[:, :2] *= matrix.new_tensor([W / smaller[1], H / smaller[0]])
    H, W = picture.shape[1:]
    back = torch.linalg.inv(torch.cat([matrix, matrix.new_tensor([[0.0, 0.0, 1.0]])]))[:2]  # 2 3
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    seen = moved_points(torch.stack([x, y], -1).flatten(0, 1).to(back), back)  # h*w 2
    grid = (seen * 2 / seen.new_tensor([W, H]) - 1).view(1, *size, 2).to(picture)
    return F.grid_sample(picture[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def aligning(points: Float[Tensor, "5 2"], size: tuple[int, int]) -> Float32[Tensor, "2 3"]:
    """Return the matrix that brings five points nearest to the template's for pictures of a size (h, w).

    Args:
        points: x, y of eyes, nose and mouth corners, left ones of the picture first.
        size: of what is made.

    Raises:
        ValueError: as `similarity_between`.
    """
    return similarity_between(points.double(), face_template(size).double()).float()


def aligned_face(picture: Float[Tensor, "C H W"], points: Float[Tensor, "5 2"], size: tuple[int, int]) -> Tensor:
    """Return a picture C h w of a size (h, w) whose five points lie nearest to the template's.

    Raises:
        ValueError: as `similarity_between`.
    """
    return warped(picture, aligning(points, size), size)
