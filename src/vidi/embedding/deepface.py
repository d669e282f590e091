"""DeepFace: a network of locally connected layers, trained to name people, and a distance learnt on top (notes 7.2).

    images  B 3 152 152                                                                 aligned faces
    C1 M2 C3        B 32 142 142, B 32 71 71, B 16 63 63                                11x11, pool 3x3 of stride 2, 9x9
    L4 L5 L6        B 16 55 55, B 16 25 25, B 16 21 21                                  weights of their own everywhere
    F7              B 4096 -> dropout -> F8 B K                                         stage features: cross entropy
    f               F7 / its largest in the training, then divided by its length        in [0, 1]
    similarity      sum_i w_i (f_i - g_i)^2 / (f_i + g_i), or sum_i w_i |f_i - g_i|     stage similarity: w, on pairs

Taigman, Yang, Ranzato, Wolf 2014 ("DeepFace: closing the gap to human-level performance in face verification"), figure
2 and sections 3 and 4. In stage two the network stands still, as in the paper, where all of it "overfits". Weighted
distances are plain ones of weighted vectors, w f and w g, since each term grows with what multiplies both: so vectors
of a `vidi.results.embedding.Embedding` carry the weights, and its metric says the rest.

Differs from the paper: faces are not turned to the front by a model in three dimensions; w is not negative, or it
would be no distance; the hinge loss of its support vector machine, and the cross entropy of its siamese network, take
the pairs of a batch, those of one identity and those of two with equal weight.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.backbones.classifier import ClassificationCriterion, Logits
from vidi.embedding.criterion import labels_of
from vidi.embedding.vectors import EmbeddingDecode, EmbeddingModel, Embeddings, EmbedsPictures, Identified
from vidi.losses.reduction import full_precision
from vidi.model import Losses, Stage, Staged, Step, evaluating, of_family
from vidi.nn.local_convolution import LocallyConnected2d
from vidi.ops.neighbours import distances
from vidi.ops.similarity import normalized
from vidi.ops.triplets import pair_masks
from vidi.preprocess import AnyBatch, Prepares, Preprocess
from vidi.results.embedding import Embedding

SIMILARITIES = ("chi_square", "manhattan")
FULL_WIDTH = 16
SMALLEST = 0.05  # of what a feature is divided by: one that hardly ever fires stays small (section 3.3)
FIRST_REACH = 4.0  # times 1 / sqrt(D): the first weights, with which distances are at most twice that
BATCH = 64  # pictures whose features are looked at together

# ----------------------------------------------------------------------------------------------------------------------
# Network


class DeepFaceNetwork(nn.Module):
    """C1 to F8 of figure 2.

    Args:
        identities: K.
        size: (H, W) of the images.
        width: channels of all layers but the first, which has twice as many.
        hidden: units of F7.
        dropout: of F7, "only".
    """

    def __init__(self, identities: int, *, size: tuple[int, int], width: int, hidden: int, dropout: float):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv2d(3, 2 * width, 11),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.Conv2d(2 * width, width, 9),
            nn.ReLU(inplace=True),
        )
        with torch.no_grad():
            H, W = self.front(torch.zeros(1, 3, *size)).shape[2:]
        inside = (H, W)
        self.local = nn.Sequential()
        for kernel, stride in ((9, 1), (7, 2), (5, 1)):
            layer = LocallyConnected2d(width, width, kernel, inside, stride=stride)
            self.local.extend((layer, nn.ReLU(inplace=True)))
            inside = layer.size
        self.hidden = nn.Linear(width * inside[0] * inside[1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, identities)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return F7, not negative."""
        return self.hidden(self.local(self.front(images)).flatten(1)).relu()

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Identified:
        features = self.features(images)
        return Identified(features, self.linear(self.dropout(features)))


class IdentificationCriterion:
    """Softmax cross entropy of whom a picture shows."""

    def __call__(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    def compare(self, outputs: Identified, batch: AnyBatch, step: Step) -> Losses:
        """Return the mean over the pictures of a batch."""
        return ClassificationCriterion().compare(Logits(outputs.logits), batch, step)


# ----------------------------------------------------------------------------------------------------------------------
# Similarity


class WeightedSimilarity(nn.Module):
    """What brings features into [0, 1], weighs them, and says from which distance on two pictures show two people.

    Args:
        dimensions: D, of the features.
    """

    largest: Tensor

    def __init__(self, dimensions: int):
        super().__init__()
        self.register_buffer("largest", torch.ones(dimensions))  # of each feature, in the training
        self.weight = nn.Parameter(torch.full((dimensions,), FIRST_REACH / dimensions**0.5))
        self.threshold = nn.Parameter(torch.tensor(FIRST_REACH / 2))

    def normalise(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return features divided by the largest of the training, then by their length (section 3.3)."""
        return normalized(full_precision(features) / self.largest.clamp(min=SMALLEST))

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the vectors w f, whose distances are the weighted ones."""
        return self.weight * self.normalise(features)


class SimilarityNetwork(nn.Module):
    """The network as it stands, and the weights that are learnt."""

    def __init__(self, network: DeepFaceNetwork, similarity: WeightedSimilarity):
        super().__init__()
        self.network, self.similarity = network, similarity

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Embeddings:
        with torch.no_grad():
            features = self.network.features(images)
        return Embeddings(self.similarity(features))


def similarity_loss(
    apart: Float[Tensor, "B B"], identities: Int64[Tensor, " B"], threshold: Float[Tensor, ""], *, hinge: bool
) -> Float[Tensor, ""]:
    """Return the mean loss of the pairs of one identity, plus that of the pairs of two; 0 of a kind without pairs.

    Args:
        apart: the distance of each picture from each.
        identities: whom each shows.
        threshold: t; a pair's score is s = t - its distance, and y = 1 for one identity, -1 for two.
        hinge: max(0, 1 - y s) of a support vector machine, instead of the cross entropy ln(1 + exp(-y s)).
    """
    score = threshold - apart
    total = apart.new_zeros(())
    for sign, mask in zip((1, -1), pair_masks(identities, slice(0, len(identities))), strict=True):
        losses = (1 - sign * score).relu() if hinge else F.softplus(-sign * score)
        total = total + (losses * mask).sum() / mask.sum().clamp(min=1)
    return total


class SimilarityCriterion:
    """The loss of all pairs of a step, of all processes.

    Args:
        metric: "chi_square", learnt as by a support vector machine, or "manhattan", by cross entropy.
    """

    def __init__(self, metric: str):
        self.metric = metric

    def __call__(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        threshold = cast(SimilarityNetwork, network).similarity.threshold
        return self.compare_vectors(network(*batch.inputs).embeddings, threshold, batch, step)

    def compare_vectors(self, vectors: Tensor, threshold: Tensor, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of the joint batch, the same in every process."""
        vectors = step.gather(full_precision(vectors))
        identities = step.gather(labels_of(batch, vectors.device))
        with torch.autocast(vectors.device.type, enabled=False):
            apart = distances(vectors, vectors, metric=self.metric)
            loss = similarity_loss(apart, identities, full_precision(threshold), hinge=self.metric == "chi_square")
        return {"similarity": loss}


class SimilarityTraining(EmbeddingModel):
    """The second stage: only weights and threshold are learnt; weights stay at 0 or above."""

    network: SimilarityNetwork

    def parameters_of(self, turn: str) -> Any:
        return self.network.similarity.parameters()

    def after_step(self, turn: str, step: Step) -> None:
        with torch.no_grad():
            self.network.similarity.weight.clamp_(min=0)


# ----------------------------------------------------------------------------------------------------------------------
# The model


class DeepFace(Staged, EmbedsPictures):
    """The network, trained to name people; then the weights of a distance, trained on pairs of them."""

    def __init__(self, network: DeepFaceNetwork, metric: str, preprocess: Prepares):
        super().__init__()
        similarity = WeightedSimilarity(network.hidden.out_features)
        self.parts = nn.ModuleDict({"network": network, "similarity": similarity})
        self.metric = metric
        self.preprocess = preprocess

    def stages(self) -> list[Stage]:
        """Return the training of the network, and that of the distance."""
        network = cast(DeepFaceNetwork, self.parts["network"])
        similarity = cast(WeightedSimilarity, self.parts["similarity"])
        identification = EmbeddingModel(
            network, IdentificationCriterion(), self.preprocess, EmbeddingDecode(normalize=True)
        )
        weighing = SimilarityTraining(
            SimilarityNetwork(network, similarity),
            SimilarityCriterion(self.metric),
            self.preprocess,
            EmbeddingDecode(metric=self.metric),
        )
        return [Stage("features", identification), Stage("similarity", weighing, self._note_largest)]

    def same(self, first: Any, second: Any) -> list[bool]:
        """Say of pairs of pictures, as for `predict`, whether both show one person.

        Raises:
            ValueError: if there are more of one than of the other.
        """
        one, other = self.embed(first), self.embed(second)
        if len(one) != len(other):
            raise ValueError(f"received {len(one)} and {len(other)} pictures, expected pairs")
        threshold = float(cast(WeightedSimilarity, self.parts["similarity"]).threshold.detach())
        return [
            float(distances(a[None], b[None], metric=self.metric)) <= threshold for a, b in zip(one, other, strict=True)
        ]

    def predict_batch(self, batch: AnyBatch) -> list[Embedding]:
        return cast(SimilarityTraining, self.stages()[1].model).predict_batch(batch)

    def _note_largest(self, dataset: Any) -> Any:
        """Note how large each feature gets in the training; return the data set as it is."""
        network = cast(DeepFaceNetwork, self.parts["network"])
        similarity = cast(WeightedSimilarity, self.parts["similarity"])
        largest = torch.zeros_like(similarity.largest)
        with evaluating(self), torch.no_grad():
            for start in range(0, len(dataset), BATCH):
                samples = [dataset[row] for row in range(start, min(start + BATCH, len(dataset)))]
                batch = self.preprocess.collate([self.preprocess.place(*sample) for sample in samples])
                largest = torch.maximum(largest, network.features(batch.to(self.device).images).amax(0))
        similarity.largest.copy_(largest)
        return dataset


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def deepface_network(
    name: str,
    *,
    identities: int = 4030,
    size: tuple[int, int] = (152, 152),
    width: int = FULL_WIDTH,
    hidden: int = 4096,
    dropout: float = 0.5,
    similarity: str = "chi_square",
    aligned: bool = False,
) -> DeepFace:
    """Build a network of the family.

    Args:
        identities: K, that the training has. A training says its own.
        size: (H, W) that every image is resized to, at least 72 x 72.
        width: channels, of the first layer twice as many.
        hidden: D, units of F7.
        dropout: of F7.
        similarity: "chi_square", or "manhattan": the paper's siamese network.
        aligned: turn faces upright by five keypoints: those of the data set, or what `face_landmarks_tiny` finds.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"received similarity={similarity!r}, expected {' or '.join(map(repr, SIMILARITIES))}")
    network = DeepFaceNetwork(identities, size=size, width=width, hidden=hidden, dropout=dropout)
    return DeepFace(network, similarity, Preprocess(exact=size, aligned=aligned))


deepface = of_family(deepface_network, "deepface", "119 M parameters with 4,030 people")
deepface_tiny = of_family(
    deepface_network,
    "deepface_tiny",
    "for pictures of 80 pixels, on a CPU",
    identities=100,
    size=(80, 80),
    width=8,
    hidden=256,
)
