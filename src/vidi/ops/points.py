"""Maps at points: values between pixels, and points where a mask is least certain.

Kirillov, Wu, He, Girshick 2020, "PointRend", arXiv 1912.08193, section 3.1; the losses of Mask2Former (notes 5.3.3).
Points are (x, y) as shares of a map's sides: (0, 0) is the top left corner of its first pixel.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sample_points(maps: Float[Tensor, "B C H W"], points: Float[Tensor, "B P 2"]) -> Float[Tensor, "B C P"]:
    """Return the values of maps at points, interpolated bilinearly; beyond the border they fall to zero."""
    return F.grid_sample(maps, (2 * points - 1)[:, :, None], align_corners=False)[..., 0]


def random_points(
    rows: int, count: int, *, like: Tensor, generator: torch.Generator | None = None
) -> Float[Tensor, "R P 2"]:
    """Draw `count` points for each of some maps, uniformly, in the precision of `like` and on its device."""
    return torch.rand(rows, count, 2, dtype=like.dtype, device=like.device, generator=generator)


@torch.no_grad()
def uncertain_points(
    logits: Float[Tensor, "R H W"],
    count: int,
    *,
    oversampling: float | int = 3.0,
    share: float | int = 0.75,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "R P 2"]:
    """Draw `count` points for each mask: most of them where its logit is near zero, the others anywhere.

    Args:
        logits: of the masks.
        count: P.
        oversampling: how many times P points are drawn, of which the least certain are taken.
        share: of the P points that are taken so.
        generator: of the draws; None: torch's global one.

    Raises:
        ValueError: if `oversampling` is below 1, or `share` not in [0, 1].
    """
    if oversampling < 1 or not 0 <= share <= 1:
        given = f"oversampling={oversampling}, share={share}"
        raise ValueError(f"received {given}, expected at least 1, and a number in [0, 1]")
    candidates = random_points(len(logits), int(count * oversampling), like=logits, generator=generator)
    certainty = sample_points(logits[:, None], candidates)[:, 0].abs()  # R 3P
    chosen = int(share * count)
    rows = certainty.topk(chosen, largest=False).indices  # R .75P
    least = candidates.gather(1, rows[..., None].expand(-1, -1, 2))
    return torch.cat((least, random_points(len(logits), count - chosen, like=logits, generator=generator)), 1)
