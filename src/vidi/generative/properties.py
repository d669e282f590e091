"""What one wants of a generative model, in numbers: cost, quality, coverage, smoothness, disentanglement (notes 8.0).

Kynkaanniemi et al. 2019 (arXiv 1904.06991), precision and recall; Karras et al. 2019 (arXiv 1812.04948), section 4:

    path length     mean |f(G(t)) - f(G(t + eps))|^2 / eps^2 along walks from one latent vector to another, f features
    separability    exp(sum over classes of H(Y | X)): how much is unknown of a classifier's opinion Y of a picture once
                    it is known on which side X of a plane its latent vector lies; 1 where planes tell all

Differs from the paper: f is any extractor's, where the paper takes VGG-16's maps; the classes are that extractor's own,
where the paper has 40 attributes of faces; the planes are fitted by logistic regression, not as support vectors.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.generative.gan.players import Gan
from vidi.metrics.generation import PrecisionRecall, precision_recall
from vidi.metrics.generation_score import Extractor, picture_set
from vidi.ops.latents import lerp, normal_latents, slerp

EPSILON = 1e-4
"""Of a walk, by which two pictures are apart whose distance is measured."""

KEPT = 0.5
"""Share of the pictures, those of which the classifier is surest, that separability is measured on."""


@dataclass(frozen=True)
class Properties:
    """What a model is worth."""

    seconds: float  # to make a picture
    precision: float  # quality: share of its pictures that lie among real ones
    recall: float  # coverage: share of real pictures that lie among its own
    path_length: float  # smoothness of what its interpolation walks in: less is smoother
    separability: float  # disentanglement of the vectors that it draws, from 1 on: less is better
    separability_of_codes: float  # the same of what the generator makes of them first, such as the w of StyleGAN


def properties(
    model: Gan, real: Sequence[Float[Tensor, "_ 3 _ _"]], extractor: Extractor, *, count: int = 500, seed: int = 0
) -> Properties:
    """Measure a model by `count` pictures.

    Args:
        model: that is to be measured.
        real: batches of real pictures in [0, 1].
        extractor: of features, and of opinions.
        count: of pictures, and of walks.
        seed: of the first picture.

    Raises:
        ValueError: if the extractor does not classify.
    """
    seeds = range(seed, seed + count)
    codes = model.codes(seeds)
    begun = time.perf_counter()
    images = model.images_of(codes)
    seconds = (time.perf_counter() - begun) / count
    made, truth = (picture_set(batches, extractor, "given").extracted for batches in ([images], real))
    if made.probabilities is None:
        raise ValueError(f"received the extractor {extractor.name}, which has no opinions; expected a classifier")
    shares = precision_recall(truth.features, made.features)
    latents = normal_latents(model.player.latent, seeds)
    return Properties(
        seconds,
        shares.precision,
        shares.recall,
        float(walked(model, extractor, codes, seed)),
        *(
            float(separability(vectors, made.probabilities))
            for vectors in (latents, codes[:, : latents.shape[1]].cpu())
        ),
    )


def truncation_curve(
    sample: Callable[[float], Float[Tensor, "N 3 H W"]],
    thresholds: Sequence[float],
    real: Sequence[Float[Tensor, "_ 3 _ _"]],
    extractor: Extractor,
) -> list[PrecisionRecall]:
    """Return realism and coverage of pictures at each threshold of truncation: the former is bought with the latter.

    Args:
        sample: from a threshold to as many pictures as there are real ones, always of the same seeds.
        thresholds: of the truncation.
        real: batches of real pictures in [0, 1].
        extractor: of features.
    """
    truth = picture_set(real, extractor, "real").extracted.features
    made = (picture_set([sample(threshold)], extractor, "generated").extracted.features for threshold in thresholds)
    return [precision_recall(truth, features) for features in made]


def walked(model: Gan, extractor: Extractor, codes: Float[Tensor, "N D"], seed: int) -> Float[Tensor, ""]:
    """Return the path length of a model between neighbouring codes."""
    half = len(codes) // 2
    t = torch.rand(half, generator=torch.Generator().manual_seed(seed)).to(codes)
    walk = slerp if model.player.spherical else lerp
    return path_length(
        lambda points: extractor.run(model.images_of(points).cpu()).features,
        codes[:half],
        codes[half : 2 * half],
        t,
        walk=walk,
    )


def path_length(
    features_of: Callable[[Tensor], Tensor],
    a: Float[Tensor, "N D"],
    b: Float[Tensor, "N D"],
    t: Float[Tensor, " N"],
    *,
    walk: Callable[[Tensor, Tensor, Tensor], Tensor] = slerp,
    epsilon: float = EPSILON,
) -> Float[Tensor, ""]:
    """Return the mean squared change of features along a walk, per squared step.

    Args:
        features_of: from points to features, N F.
        a, b: ends of the walks.
        t: the place on each where it is measured, 0 to 1.
        walk: from ends and places to points, as `vidi.ops.latents.slerp` and `lerp` are.
        epsilon: from one picture to the next.
    """
    here, there = (
        torch.stack([walk(a[row, None], b[row, None], t[row, None] + step)[0, 0] for row in range(len(a))])
        for step in (0.0, epsilon)
    )
    return (features_of(here) - features_of(there)).square().sum(1).mean() / epsilon**2


def separability(latents: Float[Tensor, "N D"], opinions: Float[Tensor, "N K"]) -> Float[Tensor, ""]:
    """Return exp(sum of H(Y | X)) over classes that some, but not all, of the surest pictures belong to."""
    sure, labels = opinions.max(1)
    kept = sure.argsort(descending=True)[: max(2, round(KEPT * len(sure)))].to(latents.device)
    rows, labels = latents[kept].double(), labels.to(latents.device)[kept]
    entropies = [torch.zeros((), dtype=torch.float64, device=rows.device)]
    for k in range(opinions.shape[1]):
        belongs = labels == k
        if belongs.any() and not belongs.all():
            entropies.append(conditional_entropy(belongs.long(), side_of_plane(rows, belongs.long())))
    return torch.stack(entropies).sum().exp()


def side_of_plane(rows: Float[Tensor, "N D"], labels: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return on which side, 0 or 1, of the plane that tells two labels apart best each row lies."""
    spread = (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-9)
    weights = spread.new_zeros(spread.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def score() -> Tensor:
        return spread @ weights[1:] + weights[0]

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(score(), labels.to(rows.dtype)) + 1e-4 * weights[1:].square().sum()
        wrong.backward()
        return wrong

    with torch.enable_grad():
        optimizer.step(loss)
    return (score().detach() > 0).long()


def conditional_entropy(y: Int64[Tensor, " N"], x: Int64[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return H(Y | X) in nats of two labels, each 0 or 1, from how often they come together."""
    joint = torch.bincount(2 * x + y, minlength=4).double().view(2, 2) / len(x)  # x y
    given = joint / joint.sum(1, keepdim=True).clamp(min=1e-12)
    return -torch.xlogy(joint, given).sum()
