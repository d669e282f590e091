"""What all networks that embed one picture have in common: their output, their result, and the model around them.

images B 3 H W -> network -> Embeddings B D -> one `Embedding` a picture
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import Backbone
from vidi.losses.reduction import full_precision
from vidi.model import Criterion, Decode, Embeds, Losses, Predicts, Step, Supervised
from vidi.ops.similarity import normalized
from vidi.preprocess import AnyBatch, Placement, Prepares
from vidi.results.embedding import Embedding


class Embeddings(NamedTuple):
    """One vector a picture, as the loss compares it."""

    embeddings: Float[Tensor, "B D"]


class Identified(NamedTuple):
    """One vector a picture, and what a layer over it says of whom it shows."""

    embeddings: Float[Tensor, "B D"]
    logits: Float[Tensor, "B K"]


class EmbeddingNetwork(nn.Module):
    """A backbone, a head from its last map to a vector, and, where vectors are compared on the sphere, their length.

    Args:
        backbone: from images to maps.
        head: from the last map B C h w to B D.
        normalize: divide vectors by their length.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, *, normalize: bool):
        super().__init__()
        self.backbone, self.head, self.normalize = backbone, head, normalize

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Embeddings:
        vectors = self.head(self.backbone(images)[-1])  # B D
        return Embeddings(normalized(full_precision(vectors)) if self.normalize else vectors)


@dataclass(frozen=True)
class EmbeddingDecode:
    """Vectors to one result a picture.

    Args:
        normalize: divide them by their length, where the network has not.
        metric: that they are compared by.
    """

    normalize: bool = False
    metric: str = "euclidean"

    def __call__(self, outputs: Embeddings | Identified, placements: Sequence[Placement]) -> list[Embedding]:
        vectors = full_precision(outputs.embeddings)
        return [Embedding(row, self.metric) for row in (normalized(vectors) if self.normalize else vectors).cpu()]


class EmbedsPictures(Predicts, Embeds):
    """Whatever predicts an `Embedding` a picture."""

    def embed(self, images: Any, *, batch_size: int = 16) -> Float[Tensor, "N D"]:
        """Return one vector per image, in input order, as `predict` has them; N = 0 gives 0 x 0."""
        found = self.predict(images, batch_size=batch_size)
        return torch.stack([result.vector for result in found]) if found else torch.zeros(0, 0)


class EmbeddingModel(Supervised, EmbedsPictures):
    """A network that embeds, with a loss of a batch: of its pairs, of its triplets, or against templates."""

    def __init__(self, network: nn.Module, criterion: Criterion, preprocess: Prepares, decode: Decode | None = None):
        super().__init__(network, criterion, decode or EmbeddingDecode(), preprocess)

    def judge_batch(
        self, batch: AnyBatch, steps: Sequence[Step], note: Callable[[Sequence[Losses]], None]
    ) -> list[Embedding]:
        """Return the results of a batch, without losses: one picture has no pairs, and strangers no templates."""
        return self.predict_batch(batch)
