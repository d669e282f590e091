"""DeepID2: vectors that name people and lie near each other for one of them, by two losses at once (notes 7.2.1).

    images         B 3 55 47
    conv 1 to 3    B 20 26 22, B 40 12 10, B 60 5 4       4x4, 3x3, 3x3, each with a pool of 2x2; the third has weights
                                                          in common in regions of 2x2 places only
    conv 4         B 80 4 3                               2x2, weights of its own everywhere
    DeepID2        B 160                                  of conv 3 and conv 4
    identification B K                                    one linear layer, softmax cross entropy
    verification   0.05 x the contrastive loss            (notes, figure 7.2)

Sun, Wang, Tang 2014 (arXiv 1406.4773), section 2. The margin of the contrastive loss is not learnt: it is the threshold
that was right about most of the last pairs of the training, and follows them.

Differs from the notes: see `vidi.embedding.deepid2_crops` for the crops (C7.7). Differs from the paper: every pair of a
batch counts, those of one identity and those of two with equal weight; the threshold follows the last 10,000 pairs
instead of 200,000, after every step.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones.classifier import ClassificationCriterion, Logits
from vidi.embedding.criterion import labels_of
from vidi.embedding.vectors import EmbeddingModel, Identified
from vidi.losses.embedding import batch_contrastive_loss, contrastive_loss
from vidi.losses.reduction import full_precision
from vidi.metrics.verification import fit_threshold
from vidi.model import Losses, Step, builder, in_float32
from vidi.nn.local_convolution import LocallyConnected2d
from vidi.ops.neighbours import distances
from vidi.preprocess import AnyBatch, Preprocess

SIZE = (55, 47)
DIMENSIONS = 160
CHANNELS = (20, 40, 60, 80)
WEIGHT = 0.05  # lambda: the best of section 4.1
REMEMBERED = 5000  # pairs of each kind
FIRST_MARGIN = 1.0
NONE = -1.0  # in the place of a distance

# ----------------------------------------------------------------------------------------------------------------------
# Network


class DeepID2Network(nn.Module):
    """Four convolutional layers, and a layer over the last two (figure 1).

    Args:
        identities: K.
        size: (H, W) of the images.
        channels: of the four layers.
        dimensions: D, of the vectors.
    """

    def __init__(self, identities: int, *, size: tuple[int, int], channels: tuple[int, ...], dimensions: int):
        super().__init__()
        first, second, third, fourth = channels
        self.front = nn.Sequential(
            nn.Conv2d(3, first, 4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        with torch.no_grad():
            h, w = self.front(torch.zeros(1, 3, *size)).shape[2:]
        self.conv3 = LocallyConnected2d(second, third, 3, (h, w), share=2)
        self.pool3 = nn.MaxPool2d(2)
        h, w = (side // 2 for side in self.conv3.size)
        self.conv4 = LocallyConnected2d(third, fourth, 2, (h, w))
        seen = third * h * w + fourth * self.conv4.size[0] * self.conv4.size[1]
        self.deepid2 = nn.Linear(seen, dimensions)
        self.linear = nn.Linear(dimensions, identities)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Identified:
        third = self.pool3(self.conv3(self.front(images)).relu())
        fourth = self.conv4(third).relu()
        vectors = self.deepid2(torch.cat((third.flatten(1), fourth.flatten(1)), 1)).relu()  # B D
        return Identified(vectors, self.linear(vectors))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class DeepID2Criterion(nn.Module):
    """Cross entropy, and the contrastive loss whose margin is the best threshold of the last pairs.

    Args:
        weight: lambda, of the contrastive loss.
    """

    margin: Tensor
    same: Tensor
    other: Tensor

    def __init__(self, weight: float | int = WEIGHT):
        super().__init__()
        self.weight = weight
        self.register_buffer("margin", torch.tensor(FIRST_MARGIN))
        for kind in ("same", "other"):  # distances of the last pairs of one identity, and of two
            self.register_buffer(kind, torch.full((REMEMBERED,), NONE))

    def forward(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: Identified, batch: AnyBatch, step: Step) -> Losses:
        """Return both losses: of this batch, and of the pairs of the joint batch; remember those in training."""
        vectors = step.gather(full_precision(outputs.embeddings))
        identities = step.gather(labels_of(batch, vectors.device))
        margin = self.margin.to(vectors.dtype)

        def pairs(squared: Tensor, same: Tensor, **options: Any) -> Tensor:
            return contrastive_loss(squared, same, margin=float(margin), factor=0.5, **options)

        if self.training:
            self._remember(vectors.detach(), identities)
        verification = self.weight * batch_contrastive_loss(vectors, identities, pairs)
        identification = ClassificationCriterion().compare(Logits(outputs.logits), batch, step)["cross_entropy"]
        return {"identification": identification, "verification": verification}

    @torch.no_grad()
    def _remember(self, vectors: Float[Tensor, "B D"], identities: Int64[Tensor, " B"]) -> None:
        """Note the distances of all pairs of one identity, and of as many others, evenly chosen."""
        first, second = torch.triu_indices(len(identities), len(identities), offset=1, device=vectors.device)
        alike = identities[first] == identities[second]
        apart = distances(vectors, vectors)[first, second]
        same, other = apart[alike], apart[~alike]
        if len(same) and len(other):
            other = other[:: max(len(other) // len(same), 1)][: len(same)]
        for kept, new in ((self.same, same), (self.other, other)):
            kept.copy_(torch.cat((new.to(kept.dtype), kept))[:REMEMBERED])

    @torch.no_grad()
    def update_margin(self) -> None:
        """Take the threshold that is right about most of the remembered pairs, if there is one above 0."""
        same, other = (kept[kept != NONE] for kept in (self.same, self.other))
        if not len(same) or not len(other):
            return
        is_same = torch.cat((torch.ones_like(same), torch.zeros_like(other))).bool()
        threshold = fit_threshold(torch.cat((same, other)), is_same)
        if 0 < threshold < torch.inf:
            self.margin.fill_(threshold)


class DeepID2(EmbeddingModel):
    """A network that names people, and embeds them."""

    criterion: DeepID2Criterion

    def after_step(self, turn: str, step: Step) -> None:
        self.criterion.update_margin()


# ----------------------------------------------------------------------------------------------------------------------
# Builder


@builder
def deepid2(
    *,
    identities: int = 8192,
    size: tuple[int, int] = SIZE,
    channels: tuple[int, int, int, int] = CHANNELS,
    dimensions: int = DIMENSIONS,
    weight: float = WEIGHT,
    aligned: bool = False,
) -> DeepID2:
    """Build DeepID2 of one crop: 1.0 M parameters beside its last layer, with 161 for each of its people.

    Args:
        identities: K, that the training has. A training says its own.
        size: (H, W) that every image is resized to, at least 31 x 31.
        channels: of the four convolutional layers.
        dimensions: D, of the vectors.
        weight: lambda, of the contrastive loss; 0 names people only.
        aligned: turn faces upright by five keypoints: those of the data set, or what `face_landmarks_tiny` finds.
    """
    network = DeepID2Network(identities, size=size, channels=channels, dimensions=dimensions)
    return DeepID2(network, DeepID2Criterion(weight), Preprocess(exact=size, aligned=aligned))
