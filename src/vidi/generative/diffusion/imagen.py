"""Imagen: a frozen text encoder, a model that makes small pictures of a text, and two that enlarge them (notes 8.3.6).

    captions -> CLIP                    first stage: its text tower learns from pairs, and then never again
    prompt   -> text tower              M T D, a row for each token, after the last norm
    x_t, t, rows -> U-Net               pictures of a quarter of the size; the words by cross-attention
    x_t, t, level, small, rows -> U-Net pictures twice as large: the small one beside x_t, the words as before; twice

Saharia et al. 2022, 2205.11487: the text encoder is large, trained before, and frozen, which matters more than the size
of the U-Nets (section 2.1); a share of the captions is hidden from all three, so that each is guided (2.2); both
models that enlarge know the level of noise that their small pictures have (2.4).

Differs from the paper: its encoder is T5-XXL, trained on text alone. Section 2.1 compares CLIP's text tower, as good on
COCO; here a CLIP learns from the captions that the pictures have. Sizes are 16, 32 and 64 pixels for a CPU, where the
paper's are 64, 256 and 1024, and values are clipped to [-1, 1], not at a percentile.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.embedding.captions import CaptionPreprocess
from vidi.embedding.clip import Clip, ClipModel, clip
from vidi.embedding.text_tower import TextTransformer
from vidi.generative.diffusion.cascade import Enlarger, EnlargingCriterion
from vidi.generative.diffusion.ddpm import Predicted, SamplerName, small_sizes
from vidi.generative.diffusion.guidance import classifier_free
from vidi.generative.diffusion.samplers import Denoiser
from vidi.generative.diffusion.text_to_image import TextCriterion, TextDenoiser, TextDiffusion, Texts
from vidi.generative.diffusion.unet import DenoisingUNet
from vidi.model import Samples, Stage, Staged, Step, builder, widened
from vidi.ops.diffusion import Denoised, Schedule, ScheduleName, Spacing, denoised
from vidi.ops.noise import picture_seeds
from vidi.preprocess import HALF, Batch

FACTOR = 2
"""By which each model enlarges."""

ENLARGERS = ("first_enlarger", "second_enlarger")

# ----------------------------------------------------------------------------------------------------------------------
# Enlarging with a text


class TextEnlargingNetwork(nn.Module):
    """A U-Net of x_t and of the enlarged small picture that looks at a text, with the frozen text tower."""

    def __init__(self, unet: DenoisingUNet, text: TextTransformer):
        super().__init__()
        self.unet, self.text = unet, text

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        times: Int64[Tensor, " B"],
        tokens: Int64[Tensor, "B T"],
        levels: Int64[Tensor, " B"],
        seen: Float[Tensor, "B C H W"],
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction for noisy pictures of texts."""
        with torch.no_grad():
            rows = self.text.sequence(tokens)
        return self.of_rows(x, times, rows, levels, seen)

    def of_rows(
        self, x: Tensor, times: Tensor, rows: Float[Tensor, "B M Y"], levels: Tensor, seen: Tensor
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction by the rows of texts."""
        return self.unet(torch.cat((x, seen), 1), times, levels, rows)


class TextEnlargingCriterion(EnlargingCriterion):
    """As `EnlargingCriterion`, with texts; a share of them is replaced by the empty one."""

    def __init__(self, schedule: Schedule, predicts: Predicted, levels: int, texts: Texts, *, hidden: float):
        super().__init__(schedule, predicts, FACTOR, levels)
        self.texts, self.hidden = texts, hidden

    def condition(self, batch: Batch, step: Step) -> tuple[Tensor, ...]:
        return self.texts.of(batch, step, self.hidden), *super().condition(batch, step)


class TextEnlarger(Enlarger):
    """Larger pictures of small ones and of a text."""

    network: TextEnlargingNetwork
    criterion: TextEnlargingCriterion

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        """Return those of the U-Net."""
        return self.network.unet.parameters()

    def rows_of(self, text: str) -> Float[Tensor, "1 T D"]:
        """Return the rows of a text."""
        with torch.no_grad():
            return self.network.text.sequence(self.criterion.texts.tokens(text).to(self.device)[None])

    def unconditional(self, x: Tensor, times: Tensor) -> Denoised:
        rows = self.rows_of("").expand(len(x), -1, -1)
        return self._told(x, times, rows, torch.zeros_like(times), torch.zeros_like(x))  # a grey picture

    def _told(self, x: Tensor, times: Tensor, rows: Tensor, levels: Tensor, seen: Tensor) -> Denoised:
        output = widened(self.network.of_rows(x, times, rows, levels, seen))
        return denoised(output, x, self.schedule.levels(times, x), self.criterion.predicts)

    def enlarge(
        self,
        pictures: Float[Tensor, "N C h w"],
        *,
        generator: torch.Generator | None = None,
        prompt: str = "",
        negative: str = "",
        guidance: float = 1.0,
        level: int = 1,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return pictures in [0, 1] at the model's size.

        Args:
            pictures: in [0, 1], small.
            prompt, negative, guidance: as `TextDiffusion.sample`.
            generator, level, steps, sampler, eta, spacing: as `Enlarger.enlarge`.
        """
        seeds = picture_seeds(generator, len(pictures))
        levels, seen = self.shown(pictures, level, seeds)
        wanted, other = self.rows_of(prompt), self.rows_of(negative)

        def denoiser_of(rows: slice) -> Denoiser:
            own_levels, own_seen = levels[rows], seen[rows]
            count = len(own_levels)

            def told(x: Tensor, times: Tensor, of_text: Tensor) -> Denoised:
                passes = len(x) // count  # one, or two with guidance
                return self._told(x, times, of_text, own_levels.repeat(passes), own_seen.repeat(passes, 1, 1, 1))

            return classifier_free(told, wanted.expand(count, -1, -1), other.expand(count, -1, -1), guidance)

        return self.drawn(self.planned(steps, sampler, eta, spacing), denoiser_of, seeds)


# ----------------------------------------------------------------------------------------------------------------------
# The pipeline


class Imagen(Staged, Samples):
    """A text encoder, a base model and two that enlarge, trained one after the other.

    Args:
        text: the CLIP whose text tower is used, with its own preparation of pictures.
        base: U-Net of the small pictures.
        enlargers: U-Nets of pictures that are twice as large, and twice as large again.
        texts: how captions become tokens.
        schedule: of the noise, of all three.
        predicts: what each U-Net gives.
        levels: of the noise of small pictures.
        hidden: the share of captions that are replaced by the empty one in training.
        preprocess: of the largest pictures.
    """

    def __init__(
        self,
        text: ClipModel,
        base: DenoisingUNet,
        enlargers: tuple[DenoisingUNet, DenoisingUNet],
        texts: Texts,
        schedule: Schedule,
        predicts: Predicted,
        levels: int,
        hidden: float,
        preprocess: CaptionPreprocess,
    ):
        super().__init__()
        unets = dict(zip(ENLARGERS, enlargers, strict=True))
        self.parts = nn.ModuleDict({"text": text.network, "base": base, **unets})
        self.clip_preprocess, self.texts, self.schedule, self.levels = text.preprocess, texts, schedule, levels
        self.predicts: Predicted = predicts
        self.hidden, self.preprocess = hidden, preprocess

    @property
    def tower(self) -> TextTransformer:
        """The text encoder."""
        return cast(TextTransformer, cast(Clip, self.parts["text"]).text)

    def base(self) -> TextDiffusion:
        """Return the model of the smallest pictures."""
        network = TextDenoiser(cast(DenoisingUNet, self.parts["base"]), self.tower, frozen=True)
        criterion = TextCriterion(self.schedule, self.predicts, self.texts, hidden=self.hidden)
        made = TextDiffusion(network, criterion, *self._sized(FACTOR ** len(ENLARGERS)))
        made.tell = self.tell
        return made

    def enlarger(self, name: str) -> TextEnlarger:
        """Return one of the models that enlarge."""
        network = TextEnlargingNetwork(cast(DenoisingUNet, self.parts[name]), self.tower)
        criterion = TextEnlargingCriterion(self.schedule, self.predicts, self.levels, self.texts, hidden=self.hidden)
        made = TextEnlarger(network, criterion, *self._sized(FACTOR ** (len(ENLARGERS) - 1 - ENLARGERS.index(name))))
        made.tell = self.tell
        return made

    def _sized(self, smaller: int) -> tuple[CaptionPreprocess, tuple[int, int]]:
        """Return how pictures are prepared that are so many times smaller than the largest, and their size."""
        size = cast("tuple[int, int]", self.preprocess.exact)
        size = (size[0] // smaller, size[1] // smaller)
        return replace(self.preprocess, exact=size), size

    def stages(self) -> list[Stage]:
        text = ClipModel(cast(Clip, self.parts["text"]), self.clip_preprocess)
        enlargers = (Stage(name, self.enlarger(name)) for name in ENLARGERS)
        return [Stage("text", text), Stage("base", self.base()), *enlargers]

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        prompt: str = "",
        negative: str = "",
        guidance: float = 3.0,
        level: int = 1,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1].

        Args:
            count, generator, prompt, negative, guidance, steps, sampler, eta, spacing: as `TextDiffusion.sample`, of
                each of the three models.
            level: of the noise that small pictures get before they are enlarged, from 0 (none).

        Raises:
            ValueError: for a level that there is not, and as `Diffusion.sample`.
        """
        asked: dict[str, Any] = {"prompt": prompt, "negative": negative, "guidance": guidance}
        asked |= {"steps": steps, "sampler": sampler, "eta": eta, "spacing": spacing}
        seed = torch.Generator(self.device).manual_seed(picture_seeds(generator, 1)[0])
        pictures = self.base().sample(count, generator=seed, **asked)
        for name in ENLARGERS:
            pictures = self.enlarger(name).enlarge(pictures, generator=seed, level=level, **asked)
        return pictures

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        asked = super().conditions(image, **given)
        of_base = {key: value for key, value in asked.items() if key != "level"}
        return {**asked, **self.base().conditions(image, **of_base)}


# ----------------------------------------------------------------------------------------------------------------------
# Builder


@builder
def imagen_tiny(
    *,
    size: tuple[int, int] = (64, 64),
    width: int = 32,
    levels: int = 6,
    embedding: int = 64,
    text_width: int = 96,
    text_layers: int = 4,
    context: int = 64,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
    untold: float = 0.1,
    merges: str | None = "",
) -> Imagen:
    """Build a small Imagen: a CLIP of captions, whose text tower is then frozen, a base model and two that enlarge.

    Args:
        size: (H, W) of the largest pictures, multiples of 32; the smallest have a quarter of it.
        width: channels of the finest level of each U-Net, a multiple of 8.
        levels: of the noise that small pictures get in training.
        embedding: numbers of a vector of the CLIP.
        text_width: of the text tower's tokens, a multiple of 32.
        text_layers: of the text tower, which is causal.
        context: most ids of a text.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what each U-Net gives: the noise, the picture, or the velocity.
        untold: the share of captions that are replaced by the empty one in training.
        merges: of the tokenizer, a line for each join; None: the published ones. A training says its own.
    """
    if any(side % 32 for side in size):
        raise ValueError(f"received size={size}, expected multiples of 32")
    words: dict[str, Any] = {"text_width": text_width, "text_layers": text_layers, "context": context, "head": 32}
    text = clip("clip_rn_tiny", size=size, width=width // 2, embedding=embedding, merges=merges, **words)
    coarse = replace(small_sizes(width), context=text_width)
    base = DenoisingUNet(replace(coarse, attends=(False, True, True), heads=(1, 4, 4)))
    first, second = (DenoisingUNet(coarse, in_channels=6, classes=levels) for _ in ENLARGERS)
    preprocess = CaptionPreprocess(exact=size, mean=HALF, std=HALF, context=context, merges=merges)
    schedule = Schedule.named(noise_schedule, diffusion_steps)
    texts = Texts(merges, context)
    return Imagen(text, base, (first, second), texts, schedule, predicts, levels, untold, preprocess)
