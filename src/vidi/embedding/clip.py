"""CLIP: a tower for images and one for texts, trained so that what belongs together is near (notes 7.3.1).

    images  B 3 H W -> image tower   -> B E, unit vectors      a vision transformer's [CLS], or a pooled ResNet
    tokens  B T     -> text tower    -> B E, unit vectors      a transformer's [EOS], or a bag of words
    loss    B x B cosines times exp(t); the cross entropy of the right partner, over rows and over columns
    use     any set of sentences is a classifier: probabilities are the softmax of exp(t) times the cosines

Radford et al. 2021, 2103.00020. The temperature is learnt: t starts at ln(1 / 0.07), and is kept in [0, ln 100] after
each update.

Differs from the notes: the text encoder is causal (C7.13, `text="bidirectional"` is theirs), released ResNets pool by
attention (C7.14), the bag of words was no better text encoder, it was compared (C7.15).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.data.tokenizer import PUBLISHED_IDS, tokenizer_of
from vidi.embedding.cached_forward import in_parts
from vidi.embedding.captions import CaptionPreprocess, padded
from vidi.embedding.image_tower import ResNetTower, TransformerTower
from vidi.embedding.prompts import PHOTO, sentences_of
from vidi.embedding.text_tower import BagOfWords, QuickGELU, TextTower, TextTransformer
from vidi.losses.image_text import symmetric_contrastive
from vidi.losses.reduction import full_precision
from vidi.model import Embeds, Losses, Step, Supervised, evaluating, in_float32, of_family
from vidi.nn.convolution import Activation
from vidi.ops.similarity import normalized
from vidi.preprocess import AnyBatch, Placement
from vidi.results.classification import Classification
from vidi.results.image_text import ImageText

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
FIRST_LOG_SCALE = math.log(1 / 0.07)
LARGEST_LOG_SCALE = math.log(100)

TEXTS = ("causal", "bidirectional", "bag_of_words")
ACTIVATIONS: dict[str, Activation] = {"quick_gelu": QuickGELU, "gelu": nn.GELU}

# ----------------------------------------------------------------------------------------------------------------------
# Network


class ClipOutputs(NamedTuple):
    """Unit vectors of images and texts, and what their cosines are multiplied by."""

    image: Float[Tensor, "B E"]
    text: Float[Tensor, "M E"]  # M = B, or 0 without texts
    scale: Float[Tensor, ""]  # exp(t), the inverse of the temperature


class Clip(nn.Module):
    """Two towers and a temperature.

    Args:
        image: from images to B x E.
        text: from ids to M x E.
    """

    def __init__(self, image: nn.Module, text: TextTower):
        super().__init__()
        self.image = image
        self.text = text
        self.log_scale = nn.Parameter(torch.tensor(FIRST_LOG_SCALE))

    def forward(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "M T"] | None = None, *, part: int | None = None
    ) -> ClipOutputs:
        """Return the vectors of images and texts.

        Args:
            images: normalised.
            tokens: ids, padded after [EOS].
            part: how many rows go through a tower at once, to be computed again for the gradient; None: all.
        """

        def run(tower: nn.Module, inputs: Tensor) -> Tensor:
            return normalized(full_precision(tower(inputs) if part is None else in_parts(tower, inputs, part)))

        image = run(self.image, images)
        text = image.new_zeros(0, image.shape[1]) if tokens is None else run(self.text, tokens)
        return ClipOutputs(image, text, self.log_scale.exp())


# ----------------------------------------------------------------------------------------------------------------------
# Criterion and decoder


@dataclass(frozen=True)
class ClipCriterion:
    """The symmetric cross entropy over the pairs of all processes.

    Args:
        part: how many images and texts go through the towers at once; None: all of a batch.
    """

    part: int | None = None

    def __call__(self, network: nn.Module, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of a batch.

        Raises:
            ValueError: if an image has no caption.
        """
        batch.require("tokens")
        return self.compare(network(*batch.inputs, part=self.part), batch, step)

    @in_float32
    def compare(self, outputs: ClipOutputs, batch: AnyBatch, step: Step) -> Losses:
        """Return the loss of vectors: the same number in every process."""
        image, text = step.gather(outputs.image), step.gather(outputs.text)
        return {"contrastive": symmetric_contrastive(image, text, outputs.scale)}


@dataclass(frozen=True)
class ClipDecode:
    """Vectors to one result per image."""

    def __call__(self, outputs: ClipOutputs, placements: Sequence[Placement]) -> list[ImageText]:
        texts = [*outputs.text] if len(outputs.text) else [None] * len(placements)
        return [ImageText(image, text) for image, text in zip(outputs.image, texts, strict=True)]


# ----------------------------------------------------------------------------------------------------------------------
# The model


class ClipModel(Supervised, Embeds):
    """A CLIP: embeds images and texts, and classifies by sentences."""

    network: Clip
    preprocess: CaptionPreprocess

    def __init__(self, network: Clip, preprocess: CaptionPreprocess, part: int | None = None):
        super().__init__(network, ClipCriterion(part), ClipDecode(), preprocess)

    def after_step(self, turn: str, step: Step) -> None:
        """Keep the temperature in bounds, as the paper does "to prevent scaling the logits by more than 100"."""
        with torch.no_grad():
            self.network.log_scale.clamp_(0, LARGEST_LOG_SCALE)

    def judge_batch(self, batch: AnyBatch, steps: Sequence[Step], note: Any) -> list[ImageText]:
        """Return the results of a batch: the loss of one pair alone is 0, and says nothing."""
        return self.predict_batch(batch)

    def embed(self, images: Any, *, batch_size: int = 16) -> Float[Tensor, "N E"]:
        """Return one unit vector per image, in input order; images as for `predict`."""
        vectors = [result.image for result in self.predict(images, batch_size=batch_size)]
        return torch.stack(vectors) if vectors else torch.zeros(0, self.width)

    def embed_text(self, texts: str | Sequence[str], *, batch_size: int = 64) -> Float[Tensor, "M E"]:
        """Return one unit vector per text, in input order.

        Of a text that is too long the end is not read; an empty one has a vector too.

        Raises:
            TypeError: for anything that is no text.
            ValueError: if a text spells a special token.
        """
        tokens = [self.preprocess.tokens(text) for text in ([texts] if isinstance(texts, str) else texts)]
        with evaluating(self), torch.no_grad():
            found = [
                self.network.text(padded(tokens[row : row + batch_size]).to(self.device)).cpu()
                for row in range(0, len(tokens), batch_size)
            ]
        return normalized(full_precision(torch.cat(found))) if found else torch.zeros(0, self.width)

    def classify(
        self,
        images: Any,
        prompts: Sequence[str],
        *,
        templates: Sequence[str] = PHOTO,
        batch_size: int = 16,
    ) -> list[Classification]:
        """Say which of some names each image is called by, without having been trained on them.

        Args:
            images: as for `predict`.
            prompts: a name for each class.
            templates: sentences with `{}` for the name; a class is the mean of its sentences' vectors.
            batch_size: the most images that go through the network at once.

        Raises:
            ValueError: without a name or a template, or for a template without `{}`.
        """
        classes = self.embed_classes(prompts, templates)
        return self.compared(self.embed(images, batch_size=batch_size), classes, prompts)

    def compared(
        self, images: Float[Tensor, "N E"], classes: Float[Tensor, "K E"], names: Sequence[str]
    ) -> list[Classification]:
        """Return how probable each class is for each image: the softmax of exp(t) times the cosines of unit vectors."""
        logits = float(self.network.log_scale.detach().exp()) * images @ classes.T  # N K
        return [Classification(row, tuple(names)) for row in logits.softmax(1)]

    def embed_classes(self, prompts: Sequence[str], templates: Sequence[str] = PHOTO) -> Float[Tensor, "K E"]:
        """Return a unit vector for each name: the mean of the unit vectors of its sentences, made of length 1."""
        if isinstance(prompts, str) or isinstance(templates, str):
            raise TypeError("received one text, expected a sequence of them")
        vectors = self.embed_text(sentences_of(prompts, templates))
        return normalized(vectors.unflatten(0, (len(prompts), len(templates))).mean(1))

    @property
    def width(self) -> int:
        """E, how many numbers a vector has."""
        return self.network.text.projection.out_features


# ----------------------------------------------------------------------------------------------------------------------
# Variants


@dataclass(frozen=True)
class Variant:
    """What tells the published sizes apart (paper, tables 19 and 20); a head of any attention has 64 channels."""

    embedding: int
    size: int  # side of the images
    width: int  # of the image tower: of its tokens, or of the first stage
    blocks: tuple[int, ...]  # layers; of a ResNet in each stage
    patch: int = 0  # side of a patch; 0: a ResNet
    text_width: int = 512


VARIANTS: dict[str, Variant] = {
    # table 19
    "clip_rn50": Variant(embedding=1024, size=224, width=64, blocks=(3, 4, 6, 3)),
    "clip_rn101": Variant(embedding=512, size=224, width=64, blocks=(3, 4, 23, 3)),
    "clip_rn50x4": Variant(embedding=640, size=288, width=80, blocks=(4, 6, 10, 6), text_width=640),
    "clip_rn50x16": Variant(embedding=768, size=384, width=96, blocks=(6, 8, 18, 8), text_width=768),
    "clip_rn50x64": Variant(embedding=1024, size=448, width=128, blocks=(3, 15, 36, 10), text_width=1024),
    # table 20
    "clip_vit_b_32": Variant(embedding=512, size=224, width=768, blocks=(12,), patch=32),
    "clip_vit_b_16": Variant(embedding=512, size=224, width=768, blocks=(12,), patch=16),
    "clip_vit_l_14": Variant(embedding=768, size=224, width=1024, blocks=(24,), patch=14, text_width=768),
    "clip_vit_l_14_336": Variant(embedding=768, size=336, width=1024, blocks=(24,), patch=14, text_width=768),
    # of this package: for small pictures, on a CPU
    "clip_tiny": Variant(embedding=64, size=64, width=96, blocks=(4,), patch=8, text_width=96),
    "clip_rn_tiny": Variant(embedding=64, size=64, width=16, blocks=(2, 2, 2, 2), text_width=96),
}


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def clip(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    embedding: int | None = None,
    width: int | None = None,
    blocks: tuple[int, ...] | None = None,
    patch: int | None = None,
    pool: str = "attention",
    text: str = "causal",
    text_width: int | None = None,
    text_layers: int = 12,
    context: int = 77,
    head: int = 64,
    activation: str = "quick_gelu",
    part: int | None = None,
    merges: str | None = None,
) -> ClipModel:
    """Build a network of the family by its name in `VARIANTS`.

    Files of weights do not tell quick GELU from GELU: OpenAI's have the first, most others (LAION's) the second.

    Args:
        size: (H, W) that every image is resized to; None: the shorter side to the variant's, then the central square.
        embedding: numbers of a vector; None: the variant's.
        width: of the image tower's tokens, or of the first stage of its ResNet; None: the variant's.
        blocks: layers of the image tower, of a ResNet in each stage; None: the variant's.
        patch: side of a patch in pixels; None: the variant's.
        pool: of a ResNet's map: "attention", or "average".
        text: the text tower: a "causal" transformer, a "bidirectional" one, or a "bag_of_words".
        text_width: of the text tower's tokens; None: the variant's.
        text_layers: of the text tower.
        context: most ids of a text.
        head: channels of a head of the attentions, in both towers.
        activation: of transformers: "quick_gelu" or "gelu".
        part: how many images and texts go through the towers at once while training; None: the whole batch.
        merges: of the tokenizer, a line for each join; None: the published ones. A training says its own.
    """
    variant = VARIANTS[name]
    embedding = variant.embedding if embedding is None else embedding
    width = variant.width if width is None else width
    blocks = variant.blocks if blocks is None else blocks
    text_width = variant.text_width if text_width is None else text_width
    numbers = {"embedding": embedding, "width": width, "text_width": text_width, "text_layers": text_layers}
    _check({**numbers, "head": head, "blocks": min(blocks, default=0)}, text, activation)
    side = size or (variant.size, variant.size)
    image: nn.Module
    if variant.patch:
        image = TransformerTower(
            side,
            variant.patch if patch is None else patch,
            width=width,
            depth=sum(blocks),
            heads=_heads(width, head),
            embedding=embedding,
            activation=ACTIVATIONS[activation],
        )
    else:
        image = ResNetTower(side, blocks, width=width, head=head, embedding=embedding, pool=pool)
    vocabulary = PUBLISHED_IDS if merges is None else len(tokenizer_of(merges))
    tower: TextTower = BagOfWords(vocabulary, text_width, embedding)
    if text != "bag_of_words":
        tower = TextTransformer(
            vocabulary,
            text_width,
            embedding,
            context=context,
            depth=text_layers,
            heads=_heads(text_width, head),
            activation=ACTIVATIONS[activation],
            causal=text == "causal",
        )
    sizes: dict[str, Any] = {"exact": size} if size else {"shorter": variant.size, "crop": side}
    preprocess = CaptionPreprocess(**sizes, mean=MEAN, std=STD, interpolation="bicubic", context=context, merges=merges)
    return ClipModel(Clip(image, tower), preprocess, part)


def _check(numbers: dict[str, int], text: str, activation: str) -> None:
    """Refuse what no tower can be built of."""
    low = {key: value for key, value in numbers.items() if value < 1}
    if low:
        raise ValueError(f"received {', '.join(f'{key}={value}' for key, value in low.items())}, expected at least 1")
    if text not in TEXTS:
        raise ValueError(f"received text={text!r}, expected one of {', '.join(map(repr, TEXTS))}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"received activation={activation!r}, expected one of {', '.join(map(repr, ACTIVATIONS))}")


def _heads(width: int, head: int) -> int:
    """Return how many heads of so many channels there are in a width."""
    if width % head:
        raise ValueError(f"received a width of {width} and head={head}, expected heads that divide it")
    return width // head


OF_A_RESNET, OF_A_TRANSFORMER = ("patch", "merges"), ("pool", "merges")
"""What members do not take: an argument of the other kind, and the tokenizer of the published ones."""

clip_rn50 = of_family(clip, "clip_rn50", "102.0 M parameters, ImageNet zero-shot 59.6 %", without=OF_A_RESNET)
clip_rn101 = of_family(clip, "clip_rn101", "119.7 M parameters, ImageNet zero-shot 62.2 %", without=OF_A_RESNET)
clip_rn50x4 = of_family(clip, "clip_rn50x4", "178.3 M parameters, ImageNet zero-shot 65.8 %", without=OF_A_RESNET)
clip_rn50x16 = of_family(clip, "clip_rn50x16", "291.0 M parameters, ImageNet zero-shot 70.5 %", without=OF_A_RESNET)
clip_rn50x64 = of_family(clip, "clip_rn50x64", "623.3 M parameters, ImageNet zero-shot 73.6 %", without=OF_A_RESNET)
clip_vit_b_32 = of_family(
    clip, "clip_vit_b_32", "151.3 M parameters, ImageNet zero-shot 63.2 %", without=OF_A_TRANSFORMER
)
clip_vit_b_16 = of_family(
    clip, "clip_vit_b_16", "149.6 M parameters, ImageNet zero-shot 68.6 %", without=OF_A_TRANSFORMER
)
clip_vit_l_14 = of_family(
    clip, "clip_vit_l_14", "427.6 M parameters, ImageNet zero-shot 75.3 %", without=OF_A_TRANSFORMER
)
clip_vit_l_14_336 = of_family(
    clip, "clip_vit_l_14_336", "427.9 M parameters, ImageNet zero-shot 76.2 %", without=OF_A_TRANSFORMER
)
clip_tiny = of_family(
    clip,
    "clip_tiny",
    "about 1 M parameters, for small pictures and a tokenizer of their captions: learns in minutes on a CPU",
    without=("pool",),
    text_layers=4,
    head=32,
    merges="",
)
clip_rn_tiny = of_family(
    clip,
    "clip_rn_tiny",
    "about 2 M parameters, likewise; sees shapes after far fewer pictures than a transformer",
    without=("patch",),
    text_layers=4,
    head=32,
    merges="",
)
