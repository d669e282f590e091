"""Pictures of a text from a generator that knows no texts: its codes are moved until CLIP agrees (notes 7.3.1).

    codes  N D -> generator, frozen -> pictures in [0, 1] -> image tower of CLIP, frozen -> unit vectors v
    text       -> text tower of CLIP, frozen -> unit vector t
    codes <- a step of Adam on 1 - v . t + weight |codes - first codes|^2

Patashnik et al. 2021 (StyleCLIP, arXiv 2103.17249), section 4, equation 1; of StyleGAN the codes are w, as there. With
cutouts, 1 - v . t is the mean over random squares of the picture, as in Murdock's BigSleep (2021), so that a pattern
that deceives the tower would have to do so in all of them.

Differs from the paper: no term of identity, which asks for a recogniser of faces; all layers of StyleGAN have one w.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.embedding.clip import ClipModel
from vidi.generative.gan.players import Gan
from vidi.losses.reduction import full_precision
from vidi.model import evaluating
from vidi.ops.similarity import normalized
from vidi.preprocess import from_signed

SMALLEST_CUTOUT = 0.5
"""Of the shorter side of a picture; the largest is all of it."""


class Guided(NamedTuple):
    """What guidance ends with, and how it got there."""

    codes: Float[Tensor, "N D"]
    images: Float[Tensor, "N C H W"]  # in [0, 1]
    similarity: Float[Tensor, "S+1 N"]  # cosine of what each step compares and the text, and at the end of the pictures


def guided_by_clip(
    model: Gan,
    clip: ClipModel,
    prompt: str,
    codes: Float[Tensor, "N D"],
    *,
    steps: int = 200,
    rate: float | int = 0.1,
    distance_weight: float | int = 0.008,
    cutouts: int = 0,
    seed: int = 0,
) -> Guided:
    """Move codes until their pictures show what a text says; neither network is changed.

    Args:
        model: the generator.
        clip: what compares pictures and texts, on the same device.
        prompt: the text.
        codes: to begin with, such as `model.codes([0, 1, 2])`; each goes its own way, whatever the others are.
        steps: of Adam.
        rate: of Adam.
        distance_weight: how much the squared distance to the first codes costs; 0 lets them go anywhere.
        cutouts: random squares of a picture that are compared at a step; 0: the picture itself.
        seed: of the squares.

    Raises:
        ValueError: for negative numbers or no step, or a text that spells a special token.
    """
    if steps < 1 or rate <= 0 or distance_weight < 0 or cutouts < 0:
        raise ValueError(
            f"received steps={steps}, rate={rate}, distance_weight={distance_weight}, cutouts={cutouts}, "
            "expected at least one step, a positive rate and no negative number"
        )
    text = clip.embed_text(prompt)[0].to(codes.device)
    generator = torch.Generator().manual_seed(seed)
    first = codes.detach()
    moving = first.clone().requires_grad_()
    optimizer = torch.optim.Adam([moving], lr=rate)
    similarity = []
    with evaluating(model), evaluating(clip):
        for _ in range(steps):
            parts = _cutouts(from_signed(model.player.render(moving)), cutouts, generator)
            near = torch.stack([_similarity(clip, part, text) for part in parts]).mean(0)  # N
            similarity.append(near.detach())
            total = (1 - near).sum() + distance_weight * (moving - first).square().sum()
            (moving.grad,) = torch.autograd.grad(total, moving)
            optimizer.step()
        images = model.images_of(moving.detach())
        with torch.no_grad():
            similarity.append(_similarity(clip, images, text))
    return Guided(moving.detach(), images, torch.stack(similarity))


def _similarity(clip: ClipModel, images: Tensor, text: Tensor) -> Float[Tensor, " N"]:
    """Return the cosines of pictures and the text; pictures are prepared as for `ClipModel.embed`, with a gradient."""
    placed = torch.stack([clip.preprocess.place(image, {})[0] for image in images])
    mean, std = (placed.new_tensor(numbers).view(3, 1, 1) for numbers in (clip.preprocess.mean, clip.preprocess.std))
    return normalized(full_precision(clip.network.image((placed - mean) / std))) @ text


def _cutouts(images: Tensor, count: int, generator: torch.Generator) -> list[Float[Tensor, "N C h w"]]:
    """Return random squares of pictures, the same places of all; the pictures themselves if `count` is 0."""
    if count == 0:
        return [images]
    H, W = images.shape[2:]
    parts = []
    for share, across, down in torch.rand(count, 3, generator=generator).tolist():
        side = round(min(H, W) * (SMALLEST_CUTOUT + (1 - SMALLEST_CUTOUT) * share))
        top, left = round(down * (H - side)), round(across * (W - side))
        parts.append(images[:, :, top : top + side, left : left + side])
    return parts
