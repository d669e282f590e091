"""What DeepID2 sees of a face in 200 fixed crops, of which 25 are chosen once, and made short (notes 7.2.1).

    image      -> 200 crops: 25 places x 2 sizes x colour or grey x as it is or mirrored     C 3 55 47 each
    crops      -> DeepID2                                                                   N 200 160
    on people to develop with: the 25 whose vectors together verify best, one more or one less at a time
    25 vectors -> 4,000 numbers -> principal components                                     N 180

Sun, Wang, Tang 2014 (arXiv 1406.4773), section 3, after Pudil et al. 1994 for the search forwards and backwards.

Differs from the notes: the 25 crops are chosen once, on other people, not for each image; those of the paper are 400 of
200 networks (C7.7), here all go through one. Differs from the paper: crops lie on a grid, not about landmarks; vectors
are compared by their cosines, without a joint Bayesian model behind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.utils.data import Dataset

from vidi.backbones.classifier import image_preprocess
from vidi.embedding.deepid2 import CHANNELS, DIMENSIONS, SIZE, WEIGHT, DeepID2, DeepID2Network, deepid2
from vidi.embedding.vectors import EmbeddingDecode, Embeddings, EmbedsPictures
from vidi.metrics.verification import equal_error_rate, roc
from vidi.model import Fitted, Stage, Staged, builder, evaluating
from vidi.ops.similarity import TINY, normalized
from vidi.preprocess import AnyBatch, Preprocess
from vidi.results.embedding import Embedding

GRID = 5  # places a side
SHARES = (0.6, 0.8)  # of the image's sides that a crop shows
CHOSEN = 25
WHOLE = (110, 94)  # twice a crop
DEVELOPED = 5  # one in so many people is held back from the network, for the choice of crops
BATCH = 32  # images whose crops are looked at together
COMPONENTS = 180


class Crop(NamedTuple):
    """One way of looking at a face."""

    top: float  # of the image's height
    left: float  # of its width
    share: float  # of both
    is_grey: bool
    is_mirrored: bool


def fixed_crops() -> list[Crop]:
    """Return the 200 crops: every place of a grid, size, colour and side."""
    places = [place / (GRID - 1) for place in range(GRID)]
    return [
        Crop(down * (1 - share), right * (1 - share), share, is_grey, is_mirrored)
        for share in SHARES
        for down in places
        for right in places
        for is_grey in (False, True)
        for is_mirrored in (False, True)
    ]


def cut(images: Float[Tensor, "N 3 H W"], crop: Crop, size: tuple[int, int]) -> Float[Tensor, "N 3 h w"]:
    """Return what a crop shows of images, resized to (h, w)."""
    H, W = images.shape[2:]
    top, left = round(crop.top * H), round(crop.left * W)
    seen = images[:, :, top : top + round(crop.share * H), left : left + round(crop.share * W)]
    seen = F.interpolate(seen, size, mode="bilinear", antialias=True)
    if crop.is_grey:
        seen = seen.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return seen.flip(3) if crop.is_mirrored else seen


@torch.no_grad()
def embed_crops(
    embed: Callable[[Tensor], Tensor],
    images: Float[Tensor, "N 3 H W"],
    crops: Sequence[Crop],
    size: tuple[int, int],
) -> Float[Tensor, "N C D"]:
    """Return the vector of each crop of each image.

    Args:
        embed: from images N 3 h w to N D.
        images: of one size.
        crops: C of them.
        size: (h, w) that the network takes.
    """
    return torch.stack([embed(cut(images, crop, size)) for crop in crops], 1)


# ----------------------------------------------------------------------------------------------------------------------
# Which crops


def joined(vectors: Float[Tensor, "N C D"], chosen: Sequence[int]) -> Float[Tensor, "N E"]:
    """Return the vectors of some crops one behind the other, E = len(chosen) D."""
    return vectors[:, list(chosen)].flatten(1)


class CropError:
    """How often the vectors of some crops together are wrong about two pictures: the rate of equal errors by cosines.

    Products of joined vectors are sums over their crops; so those of each crop are computed once.

    Args:
        vectors: of all crops, of people to develop with.
        identities: whom each picture shows.

    Raises:
        ValueError: if all pairs are of one kind.
    """

    def __init__(self, vectors: Float[Tensor, "N C D"], identities: Int64[Tensor, " N"]):
        first, second = torch.triu_indices(len(identities), len(identities), offset=1)
        self.same = identities[first] == identities[second]
        if self.same.all() or not self.same.any():
            raise ValueError(f"received {len(self.same)} pairs of one kind, expected those of one identity and of two")
        products = torch.einsum("ncd,mcd->cnm", vectors, vectors)
        self.lengths = products.diagonal(dim1=1, dim2=2)  # C N, squared
        self.products = products[:, first, second]  # C P
        self.first, self.second = first, second

    def __call__(self, chosen: Sequence[int]) -> float:
        places = list(chosen)
        length = self.lengths[places].sum(0).clamp(min=TINY).sqrt()
        cosines = self.products[places].sum(0) / (length[self.first] * length[self.second])
        return equal_error_rate(roc(1 - cosines, self.same))


def choose_crops(error: Callable[[Sequence[int]], float], crops: int, count: int = CHOSEN) -> list[int]:
    """Return the places of the crops that together err least, by search forwards and backwards (Pudil et al. 1994).

    The crop is added that leaves the least error; then crops are taken away as long as fewer err less than ever so
    many did. It ends with `count` crops.

    Args:
        error: of some crops, such as `CropError`.
        crops: how many there are.
        count: how many are chosen.

    Raises:
        ValueError: if there are fewer crops.
    """
    if not 1 <= count <= crops:
        raise ValueError(f"received count={count} and {crops} crops, expected 1 to {crops}")
    chosen: list[int] = []
    least: dict[int, float] = {}
    while len(chosen) < count:
        chosen = min(([*chosen, crop] for crop in range(crops) if crop not in chosen), key=error)
        least[len(chosen)] = min(error(chosen), least.get(len(chosen), 1.0))
        while len(chosen) > 2:
            fewer = min(([crop for crop in chosen if crop != out] for out in chosen), key=error)
            found = error(fewer)
            if found >= least[len(fewer)]:
                break
            chosen, least[len(fewer)] = fewer, found
    return chosen


# ----------------------------------------------------------------------------------------------------------------------
# Principal components


@dataclass(frozen=True)
class PrincipalComponents:
    """The directions in which vectors differ most, the greatest first."""

    mean: Float[Tensor, " E"]
    directions: Float[Tensor, "P E"]
    variances: Float[Tensor, " P"]

    @classmethod
    def of(cls, vectors: Float[Tensor, "N E"], count: int = COMPONENTS) -> "PrincipalComponents":
        """Find them; each points to where its number of largest absolute value is positive.

        Raises:
            ValueError: for more than min(N, E).
        """
        if not 1 <= count <= min(vectors.shape):
            raise ValueError(f"received count={count} and {tuple(vectors.shape)} numbers, expected 1 to the lesser")
        mean = vectors.mean(0)
        _, deviations, directions = torch.linalg.svd(vectors - mean, full_matrices=False)
        directions = directions[:count]
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        return cls(mean, directions * largest.sign(), deviations[:count].square() / max(len(vectors) - 1, 1))

    def reduced(self, vectors: Float[Tensor, "N E"]) -> Float[Tensor, "N P"]:
        """Return how far vectors lie in each direction."""
        return (vectors - self.mean) @ self.directions.T


# ----------------------------------------------------------------------------------------------------------------------
# The model


class SomePeople(Dataset[Any]):
    """The pictures of some of the people of a data set.

    Args:
        dataset: with `labels`.
        wanted: whether a label is one of theirs.
    """

    def __init__(self, dataset: Any, wanted: Callable[[Tensor], Tensor]):
        self.dataset, self.categories = dataset, dataset.categories
        self.rows = wanted(dataset.labels).nonzero()[:, 0]
        self.labels = dataset.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.rows[index])]


class CropEnsemble(Fitted):
    """Which crops are looked at, and what is made of their vectors.

    Args:
        network: DeepID2; not a part of this one.
        preprocess: of its whole images.
        size: (H, W) of a crop.
        count: crops that are chosen.
        components: P.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, size: tuple[int, int], count: int, components: int):
        super().__init__()
        self.network, self.preprocess, self.size = (network,), preprocess, size
        self.count, self.components, self.crops = count, components, fixed_crops()
        dimensions = cast(DeepID2Network, network).deepid2.out_features
        self.register_learnt("chosen", torch.arange(count))
        self.register_learnt("mean", torch.zeros(count * dimensions))
        self.register_learnt("directions", torch.eye(components, count * dimensions))

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Choose the crops on the people of a data set, and find the components of their vectors."""
        found = []
        for start in range(0, len(dataset), BATCH):
            samples = [dataset[row] for row in range(start, min(start + BATCH, len(dataset)))]
            batch = self.preprocess.collate([self.preprocess.place(*sample) for sample in samples])
            found.append(self._vectors(batch.to(self.device).images, self.crops).cpu())
        vectors = torch.cat(found)
        self.chosen = torch.tensor(choose_crops(CropError(vectors, dataset.labels), len(self.crops), self.count))
        together = joined(vectors, self.chosen.tolist())
        components = PrincipalComponents.of(together, min(self.components, *together.shape))
        self.mean, self.directions = components.mean, components.directions

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Embeddings:
        """Return the reduced vectors, divided by their length."""
        vectors = self._vectors(images, [self.crops[place] for place in self.chosen.tolist()]).flatten(1)
        return Embeddings(normalized((vectors - self.mean) @ self.directions.T))

    def _vectors(self, images: Tensor, crops: Sequence[Crop]) -> Tensor:
        (network,) = self.network
        with evaluating(network):
            return embed_crops(lambda seen: network(seen).embeddings, images, crops, self.size)


class DeepID2Crops(Staged, EmbedsPictures):
    """DeepID2 on most of the people of a training; crops and components on the others."""

    def __init__(self, model: DeepID2, whole: Preprocess, size: tuple[int, int], count: int, components: int):
        super().__init__()
        self.model = (model,)  # a tuple: its weights are those of the parts
        ensemble = CropEnsemble(model.network, whole, size, count, components)
        self.parts = nn.ModuleDict({"network": model.network, "criterion": model.criterion, "crops": ensemble})
        self.preprocess = whole

    def stages(self) -> list[Stage]:
        """Return the training of the network, and the choice of the crops."""

        def developed(labels: Tensor) -> Tensor:
            return labels % DEVELOPED == DEVELOPED - 1

        return [
            Stage("network", self.model[0], lambda dataset: SomePeople(dataset, lambda labels: ~developed(labels))),
            Stage("crops", cast(CropEnsemble, self.parts["crops"]), lambda dataset: SomePeople(dataset, developed)),
        ]

    def predict_batch(self, batch: AnyBatch) -> list[Embedding]:
        (images,) = batch.to(self.device).inputs
        return EmbeddingDecode()(cast(CropEnsemble, self.parts["crops"])(images), batch.placements)


@builder
def deepid2_crops(
    *,
    identities: int = 8192,
    size: tuple[int, int] = SIZE,
    whole: tuple[int, int] = WHOLE,
    channels: tuple[int, int, int, int] = CHANNELS,
    dimensions: int = DIMENSIONS,
    weight: float = WEIGHT,
    chosen: int = CHOSEN,
    components: int = COMPONENTS,
) -> DeepID2Crops:
    """Build DeepID2 with 25 of 200 crops and 180 components.

    Args:
        identities: K, that the training has. A training says its own.
        size: (H, W) of a crop, and of the images of the network's training, at least 31 x 31.
        whole: (H, W) of the image that crops are cut out of.
        channels: of the network's four convolutional layers.
        dimensions: D, of the vector of a crop.
        weight: lambda, of the contrastive loss; 0 names people only.
        chosen: how many crops are looked at.
        components: P, of the result; fewer where the crops were chosen on fewer pictures.
    """
    model = deepid2(identities=identities, size=size, channels=channels, dimensions=dimensions, weight=weight)
    return DeepID2Crops(model, image_preprocess(whole), size, chosen, components)
