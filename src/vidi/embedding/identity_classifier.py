"""A plain classifier of identities: a network with one output a person (notes 7.1.1).

    images    B 3 H W
    backbone  B C h w         a ResNet's last map
    head      B D -> B K      average over all positions, a hidden layer, one score for each of K people
    loss      softmax cross entropy
    decode    Classification

Taigman et al. 2014 (DeepFace), section 3.2, train so. It can name only those that it was trained with: whoever comes is
one of them, and a new person needs another output and another training. Its hidden layer is a vector for anybody;
with `embed` and `vidi.embedding.recognition.recognise` a gallery takes new people without training.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import (
    ClassificationCriterion,
    ClassificationDecode,
    Classifier,
    image_preprocess,
)
from vidi.backbones.resnet import trunk
from vidi.losses.reduction import full_precision
from vidi.model import Embeds, Supervised, builder, evaluating
from vidi.ops.similarity import normalized
from vidi.preprocess import in_batches
from vidi.results.categories import category_names


class HiddenHead(nn.Module):
    """Average a map over all positions, a hidden layer, and the scores."""

    def __init__(self, channels: int, outputs: int, dimensions: int):
        super().__init__()
        self.hidden = nn.Linear(channels, dimensions)
        self.linear = nn.Linear(dimensions, outputs)

    def vectors(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """Return what the scores are made of."""
        return self.hidden(x.mean((2, 3))).relu()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        return self.linear(self.vectors(x))


class IdentityClassifier(Supervised, Embeds):
    """A classifier of people whose hidden layer embeds."""

    network: Classifier

    def embed(self, images: Any, *, batch_size: int = 16) -> Float[Tensor, "N D"]:
        """Return the hidden layer of each image, divided by its length, in input order; images as for `predict`."""
        head: Any = self.network.head

        def run(batch: Any) -> Tensor:
            maps = self.network.features(batch.to(self.device).images)
            return normalized(full_precision(head.vectors(maps[-1]))).cpu()

        with evaluating(self), torch.no_grad():
            found = dict(in_batches(self.preprocess, self.samples(images), batch_size, run))
        return torch.stack([found[row] for row in range(len(found))]) if found else torch.zeros(0, 0)


@builder
def identity_classifier(
    *,
    categories: int | tuple[str | None, ...] = 100,
    size: tuple[int, int] = (64, 64),
    width: int = 16,
    dimensions: int = 128,
    smoothing: float = 0.0,
) -> IdentityClassifier:
    """Build a small classifier of people: a narrow ResNet-18, 0.7 M parameters.

    Args:
        categories: how many people, or their names.
        size: (H, W) that every image is resized to.
        width: channels of stage 1, at least 16.
        dimensions: of the hidden layer.
        smoothing: of the labels, in [0, 1).
    """
    names = category_names(categories)
    backbone = trunk("resnet18", width=width)
    network = Classifier(backbone, len(names), lambda channels, outputs: HiddenHead(channels, outputs, dimensions))
    return IdentityClassifier(
        network, ClassificationCriterion(smoothing), ClassificationDecode(names), image_preprocess(size)
    )
