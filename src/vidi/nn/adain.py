"""Adaptive instance normalisation: content with the statistics of a style (notes 8.2.4).

    AdaIN(c, s) = sqrt(v_s) (c - m_c) / sqrt(v_c + eps) + m_s     means m and variances v over pixels, of each channel

Huang & Belongie 2017, arXiv 1703.06868: the style is a picture's map, equation 8. Karras et al. 2019, arXiv 1812.04948,
equation 1: the style is a vector, of which a learnt affine layer makes a scale and a shift.
"""

from jaxtyping import Float
from torch import Tensor

from vidi.nn.normalization import standardized


def adain(
    content: Float[Tensor, "B C H W"], style: Float[Tensor, "B C h w"], *, eps: float = 1e-5
) -> Float[Tensor, "B C H W"]:
    """Return content whose channels have mean and deviation of a style's."""
    deviation = style.var((2, 3), correction=0).sqrt()
    return styled(content, deviation, style.mean((2, 3)), eps=eps)


def styled(
    content: Float[Tensor, "B C H W"], scale: Float[Tensor, "B C"], shift: Float[Tensor, "B C"], *, eps: float = 1e-5
) -> Float[Tensor, "B C H W"]:
    """Return content whose channels have a given deviation and mean."""
    return scale[..., None, None] * standardized(content, (2, 3), eps=eps) + shift[..., None, None]
