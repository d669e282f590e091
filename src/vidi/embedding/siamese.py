"""A siamese network: one network, two inputs, and a distance between what it makes of them (notes 7.2.1).

    first  B 1 32 32 -> network -> B D \\
                        (shared)        distance B, small for what is alike
    second B 1 32 32 -> network -> B D /

Bromley et al. 1994 had two copies with shared weights; Hadsell, Chopra, LeCun 2006 ("Dimensionality reduction by
learning an invariant mapping", section 3.3) the convolutional network below, and the contrastive loss. As the weights
are shared, a picture's vector is the same in all of its pairs: it is computed once, and all pairs are compared. That is
the loss of the pairs handed in one by one, with the same gradients.

Differs from the papers: every pair of a batch counts, those of one identity and those of two with equal weight; tanh
squashes, sub-sampling has no weights; colours are averaged; larger pictures are averaged behind C3.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess
from vidi.embedding.choices import criterion_of
from vidi.embedding.vectors import EmbeddingModel, Embeddings
from vidi.model import builder
from vidi.ops.similarity import paired_squared_distances, root

SIDE = 32
MAPS, DEEP_MAPS = 15, 30


class SiameseNetwork(nn.Module):
    """Hadsell's network: C1 of 6x6, S2 averages 3x3, C3 of 9x9 over what is left, a linear layer to D.

    Args:
        dimensions: D; 2 in the paper, which draws them.
        width: times the paper's 15 and 30 maps.
    """

    def __init__(self, dimensions: int, width: int = 1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, MAPS * width, 6),  # 27 27
            nn.Tanh(),
            nn.AvgPool2d(3),  # 9 9
            nn.Conv2d(MAPS * width, DEEP_MAPS * width, 9),  # 1 1
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(DEEP_MAPS * width, dimensions),
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Embeddings:
        return Embeddings(self.layers(images.mean(1, keepdim=True)))

    def distances(self, first: Float[Tensor, "B 3 H W"], second: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        """Return how far the two of each pair are apart: both go through the same weights."""
        return root(paired_squared_distances(self(first).embeddings, self(second).embeddings))


class Siamese(EmbeddingModel):
    """A siamese network: embeds pictures, and says how far those of a pair are apart."""

    network: SiameseNetwork

    def distances(self, first: Any, second: Any, *, batch_size: int = 16) -> Float[Tensor, " N"]:
        """Return the distance of each picture from its partner; both sequences as for `predict`.

        Raises:
            ValueError: if there are more of one than of the other.
        """
        one, other = self.embed(first, batch_size=batch_size), self.embed(second, batch_size=batch_size)
        if len(one) != len(other):
            raise ValueError(f"received {len(one)} and {len(other)} pictures, expected pairs")
        return root(paired_squared_distances(one, other))


@builder
def siamese(*, dimensions: int = 2, width: int = 1, margin: float = 1.0) -> Siamese:
    """Build Hadsell's siamese network: 37 thousand parameters.

    Args:
        dimensions: D, of the vectors.
        width: times the maps of the paper.
        margin: the distance from which two identities leave each other alone.
    """
    criterion = criterion_of("contrastive", {"margin": margin}, identities=0, dimensions=dimensions)
    return Siamese(SiameseNetwork(dimensions, width), criterion, image_preprocess((SIDE, SIDE)))
