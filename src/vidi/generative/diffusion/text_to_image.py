"""Pictures of a text: words guide the U-Net by cross-attention, in pixels or in latents (notes 8.3.6, 8.3.7).

    prompt   -> tokens, M T     [SOS] words [EOS], padded to the context, cut where it is longer
    tokens   -> text tower      M T D, a row for each token, after the last norm
    x_t, t, rows -> U-Net       queries are places of the map, keys and values the rows; the small networks' last row,
                                which sums the text up, is added to the time, too
    latents  -> decoder         the picture, where diffusion runs in latents; encoder and scale in training

Rombach et al. 2022, 2112.10752 (latent diffusion, Stable Diffusion 1 and 2); Nichol et al. 2022, 2112.10741 (GLIDE: a
share of the captions is replaced by the empty one, for guidance; the last token is added to the time); Saharia et al.
2022, 2205.11487 (a frozen text encoder).

Stable Diffusion is this with CLIP's text tower, the autoencoder of factor 8, `scaled_linear` variances, times of
"leading" spacing with offset 1, and a last step that ends at the level of time 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.data.tokenizer import tokenizer_of
from vidi.embedding.captions import CaptionBatch, CaptionPreprocess
from vidi.embedding.text_tower import TextTransformer
from vidi.generative.diffusion.autoencoder import (
    Autoencoder,
    AutoencoderCriterion,
    AutoencoderNetwork,
    AutoencoderSizes,
)
from vidi.generative.diffusion.ddpm import Diffusion, DiffusionCriterion, Predicted, SamplerName, small_sizes
from vidi.generative.diffusion.guidance import classifier_free
from vidi.generative.diffusion.samplers import Denoiser
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.model import Samples, Stage, Staged, Step, builder, evaluating, widened
from vidi.ops.diffusion import Denoised, Schedule, ScheduleName, Spacing, denoised
from vidi.ops.noise import picture_seeds
from vidi.preprocess import HALF, Batch

# ----------------------------------------------------------------------------------------------------------------------
# Network


class TextDenoiser(nn.Module):
    """A U-Net that looks at a text, with the text tower, and the autoencoder in whose latents it works.

    Args:
        unet: with a context as wide as the tower's rows.
        text: the tower.
        autoencoder: None: diffusion is of pixels.
        scale: of latents, so that they have variance one.
        frozen: whether the tower was trained before, and learns no more.
    """

    scale: Tensor

    def __init__(
        self,
        unet: DenoisingUNet,
        text: TextTransformer,
        autoencoder: AutoencoderNetwork | None = None,
        scale: float = 0.18215,
        *,
        frozen: bool = False,
    ):
        super().__init__()
        self.unet, self.text, self.autoencoder, self.frozen = unet, text, autoencoder, frozen
        self.register_buffer("scale", torch.tensor(scale))

    def forward(
        self, x: Float[Tensor, "B C H W"], times: Int64[Tensor, " B"], tokens: Int64[Tensor, "B T"]
    ) -> Float[Tensor, "B D H W"]:
        """Return the prediction for noisy pictures, or latents, of texts."""
        return self.unet(x, times, context=self.rows(tokens))

    def rows(self, tokens: Int64[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Return the rows of texts; those of a frozen tower have no gradient."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.text.sequence(tokens)

    def inside(self, pictures: Float[Tensor, "B 3 H W"], noise: Tensor | None = None) -> Float[Tensor, "B C h w"]:
        """Return pictures in [-1, 1] as diffusion sees them; latents are means, or draws by `noise`."""
        if self.autoencoder is None:
            return pictures
        with torch.no_grad():
            law = self.autoencoder.encode(pictures)
            return self.scale * (law.mean if noise is None else law.draw(noise))

    def outside(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Return pictures in [-1, 1] of what diffusion ends with."""
        return x if self.autoencoder is None else self.autoencoder.decode(x / self.scale)


# ----------------------------------------------------------------------------------------------------------------------
# Training and sampling


@dataclass(frozen=True)
class Texts:
    """How texts become tokens of one length.

    Attributes:
        merges: of the tokenizer; None: the published list.
        context: T.
        padding: the id after the end: "end" repeats [EOS], as CLIP's tokenizer does; "zero" is 0, as that of Stable
            Diffusion 2.
    """

    merges: str | None
    context: int
    padding: Literal["end", "zero"] = "end"

    def tokens(self, text: str) -> Int64[Tensor, " T"]:
        """Return the ids of a text; what is longer than the context is cut, before [EOS]."""
        tokenizer = tokenizer_of(self.merges)
        return self.padded(tokenizer(text, self.context)[None])[0]

    def padded(self, tokens: Int64[Tensor, "B t"]) -> Int64[Tensor, "B T"]:
        """Return texts that are padded with anything after their first [EOS] as these texts are padded."""
        end = len(tokenizer_of(self.merges)) - 1
        filler = end if self.padding == "end" else 0
        whole = torch.nn.functional.pad(tokens, (0, self.context - tokens.shape[1]), value=filler)
        is_after = (whole == end).int().cumsum(1) - (whole == end).int() > 0
        return torch.where(is_after, filler, whole)

    def of(self, batch: Batch, step: Step, hidden: float) -> Int64[Tensor, "B T"]:
        """Return the captions of a batch, a share of them replaced by the empty text.

        Raises:
            ValueError: if an image has none.
        """
        if not isinstance(batch, CaptionBatch):
            raise ValueError("received images without captions, expected one for each")
        tokens = self.padded(batch.tokens)
        away = torch.rand(len(tokens), generator=step.generator, device=tokens.device) < hidden
        return torch.where(away[:, None], self.tokens("").to(tokens.device), tokens)


class TextCriterion(DiffusionCriterion):
    """As `DiffusionCriterion`, with texts; a share of them is replaced by the empty one."""

    def __init__(self, schedule: Schedule, predicts: Predicted, texts: Texts, *, hidden: float = 0.1):
        super().__init__(schedule, predicts, "simple", hidden=hidden)
        self.texts = texts

    def pictures(self, network: nn.Module, batch: Batch, step: Step) -> Float[Tensor, "B C H W"]:
        return network.inside(batch.images)  # type: ignore[operator]

    def condition(self, batch: Batch, step: Step) -> tuple[Tensor, ...]:
        return (self.texts.of(batch, step, self.hidden),)


class TextDiffusion(Diffusion):
    """Pictures of a text.

    Args:
        network, criterion, preprocess: as `OneLoss`.
        size: (H, W) of the pictures.
        offset: of the times of "leading" spacing.
    """

    network: TextDenoiser
    criterion: TextCriterion

    def __init__(
        self,
        network: TextDenoiser,
        criterion: TextCriterion,
        preprocess: CaptionPreprocess,
        size: tuple[int, int],
        offset: int = 0,
    ):
        super().__init__(network, criterion, preprocess, size)
        self.offset = offset
        self.clip = 1.0 if network.autoencoder is None else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """C H W of what diffusion works on: pixels, or latents."""
        autoencoder = self.network.autoencoder
        if autoencoder is None:
            return 3, *self.size
        H, W = self.size
        return autoencoder.sizes.latent, H // autoencoder.factor, W // autoencoder.factor

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        """Return those of the U-Net, and of a text tower that learns; the autoencoder is trained before."""
        network = self.network
        return [*network.unet.parameters(), *(() if network.frozen else network.text.parameters())]

    def finished(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 3 H W"]:
        return super().finished(self.network.outside(x))

    def told(self, x: Tensor, times: Tensor, rows: Float[Tensor, "B T D"]) -> Denoised:
        """Return what noisy pictures show to a network that looks at the rows of texts."""
        output = widened(self.network.unet(x, times, context=rows))
        return denoised(output, x, self.schedule.levels(times, x), self.criterion.predicts)

    def rows_of(self, text: str, count: int) -> Float[Tensor, "N T D"]:
        """Return the rows of a text, for each of `count` pictures."""
        tokens = self.criterion.texts.tokens(text).to(self.device)
        return self.network.rows(tokens[None]).expand(count, -1, -1)

    def unconditional(self, x: Tensor, times: Tensor) -> Denoised:
        return self.told(x, times, self.rows_of("", len(x)))

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        prompt: str = "",
        negative: str = "",
        guidance: float = 7.5,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1].

        Args:
            count, generator, steps, sampler, eta, spacing: as `Diffusion.sample`.
            prompt: what they shall show; what goes beyond the context is cut.
            negative: what they shall not show; empty: guidance leads away from no text.
            guidance: scale of classifier-free guidance: 1 is none, 0 no prompt.
        """
        plan = self.planned(steps, sampler, eta, spacing)
        with torch.no_grad():
            wanted, other = self.rows_of(prompt, 1), self.rows_of(negative, 1)
        seeds = picture_seeds(generator, count)

        def denoiser_of(rows: slice) -> Denoiser:
            own = len(seeds[rows])
            return classifier_free(self.told, wanted.expand(own, -1, -1), other.expand(own, -1, -1), guidance)

        return self.drawn(plan, denoiser_of, seeds)


class LatentDiffusion(Staged, Samples):
    """First an autoencoder, then diffusion in its latents.

    Args:
        network: U-Net, text tower and autoencoder.
        criterion: of diffusion.
        preprocess: of both.
        size: (H, W) of the pictures.
    """

    def __init__(
        self, network: TextDenoiser, criterion: TextCriterion, preprocess: CaptionPreprocess, size: tuple[int, int]
    ):
        super().__init__()
        self.parts = nn.ModuleDict({"network": network})
        self.criterion, self.preprocess, self.size = criterion, preprocess, size

    @property
    def network(self) -> TextDenoiser:
        """U-Net, text tower and autoencoder."""
        return cast(TextDenoiser, self.parts["network"])

    def diffusion(self) -> TextDiffusion:
        """Return what is trained second, and samples."""
        made = TextDiffusion(self.network, self.criterion, self.preprocess, self.size)
        made.tell = self.tell
        return made

    def stages(self) -> list[Stage]:
        autoencoder = cast(AutoencoderNetwork, self.network.autoencoder)
        return [
            Stage("autoencoder", Autoencoder(autoencoder, AutoencoderCriterion(), self.preprocess)),
            Stage("diffusion", self.diffusion(), self.with_scale_of),
        ]

    @torch.no_grad()
    def with_scale_of(self, dataset: Any) -> Any:
        """Return the data set, and let one over the deviation of the latents of its first pictures be the scale."""
        count, autoencoder = min(len(dataset), SCALED_BY), cast(AutoencoderNetwork, self.network.autoencoder)
        latents = []
        with evaluating(autoencoder):
            for row in range(count):
                placed = self.preprocess.place(*dataset[row])
                batch = self.preprocess.collate([placed]).to(self.device)
                latents.append(autoencoder.encode(batch.images).mean)
        self.network.scale.copy_(1 / torch.cat(latents).std())
        return dataset

    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        prompt: str = "",
        negative: str = "",
        guidance: float = 3.0,
        steps: int | None = None,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        spacing: Spacing = "trailing",
    ) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1]; arguments as `TextDiffusion.sample`."""
        asked = {"prompt": prompt, "negative": negative, "guidance": guidance, "steps": steps, "sampler": sampler}
        return self.diffusion().sample(count, generator=generator, eta=eta, spacing=spacing, **asked)

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        return self.diffusion().conditions(image, **super().conditions(image, **given))


# ----------------------------------------------------------------------------------------------------------------------
# Builders

SCALED_BY = 256
"""Pictures whose latents say the scale."""

QUIET = -6.0
"""Log variance with which the small autoencoder begins."""


def sizes_for_texts(width: int, context: int) -> UNetSizes:
    """Return the numbers of the small U-Net: it looks at rows of `context` channels, and adds the last to the time."""
    return replace(small_sizes(width), context=context, sums_up=True)


def small_tower(merges: str | None, width: int, layers: int, context: int) -> TextTransformer:
    """Return a text tower that sees the whole text from everywhere, with heads of 32 channels."""
    numbers: dict[str, Any] = {"context": context, "depth": layers, "heads": width // 32, "causal": False}
    return without_projection(TextTransformer(len(tokenizer_of(merges)), width, width, **numbers))


def without_projection(tower: TextTransformer) -> TextTransformer:
    """Return a tower of which the rows of all tokens are used, not one vector, without the projection to that."""
    tower.projection = nn.Identity()  # type: ignore[assignment]
    return tower


@builder
def text_to_image_tiny(
    *,
    size: tuple[int, int] = (32, 32),
    width: int = 32,
    text_width: int = 64,
    text_layers: int = 2,
    context: int = 64,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
    untold: float = 0.1,
    merges: str | None = "",
) -> TextDiffusion:
    """Build a small diffusion model of pixels that looks at words, text tower and all.

    Args:
        size: (H, W) of the pictures.
        width: channels of the finest level, a multiple of 8.
        text_width: of the text tower's tokens, a multiple of 32.
        text_layers: of the text tower, which sees the whole text from everywhere.
        context: most ids of a text.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the picture, or the velocity.
        untold: the share of captions that are replaced by the empty one in training.
        merges: of the tokenizer, a line for each join; None: the published ones. A training says its own.
    """
    tower = small_tower(merges, text_width, text_layers, context)
    criterion = TextCriterion(
        Schedule.named(noise_schedule, diffusion_steps), predicts, Texts(merges, context), hidden=untold
    )
    preprocess = CaptionPreprocess(exact=size, mean=HALF, std=HALF, context=context, merges=merges)
    unet = DenoisingUNet(sizes_for_texts(width, text_width))
    return TextDiffusion(TextDenoiser(unet, tower), criterion, preprocess, size)


@builder
def latent_diffusion_tiny(
    *,
    size: tuple[int, int] = (32, 32),
    factor: int = 2,
    autoencoder_width: int = 16,
    latent: int = 4,
    width: int = 32,
    text_width: int = 64,
    text_layers: int = 2,
    context: int = 64,
    diffusion_steps: int = 1000,
    noise_schedule: ScheduleName = "cosine",
    predicts: Predicted = "v",
    untold: float = 0.1,
    merges: str | None = "",
) -> LatentDiffusion:
    """Build a small latent diffusion model of texts, whose autoencoder makes sides two times smaller.

    Args:
        size: (H, W) of the pictures, multiples of four times `factor`.
        factor: how much smaller the sides of latents are, a power of two. Of pictures of 32 pixels a factor of 4 loses
            small things and patterns.
        autoencoder_width: channels of the autoencoder's finest level, a multiple of 8; twice as many at each next.
        latent: channels of the latent.
        width: channels of the U-Net's finest level, a multiple of 8.
        text_width: of the text tower's tokens, a multiple of 32.
        text_layers: of the text tower, which sees the whole text from everywhere.
        context: most ids of a text.
        diffusion_steps: T.
        noise_schedule: of the variances.
        predicts: what the network gives: the noise, the latent, or the velocity.
        untold: the share of captions that are replaced by the empty one in training.
        merges: of the tokenizer, a line for each join; None: the published ones. A training says its own.
    """
    if factor < 2 or factor & (factor - 1):
        raise ValueError(f"received factor={factor}, expected 2, 4, 8 or another power of two")
    channels = tuple(autoencoder_width << level for level in range(factor.bit_length()))
    sizes = AutoencoderSizes(channels=channels, latent=latent, blocks=1, groups=8)
    autoencoder = AutoencoderNetwork(sizes, log_variance=QUIET)
    unet = DenoisingUNet(sizes_for_texts(width, text_width), in_channels=latent, out_channels=latent)
    tower = small_tower(merges, text_width, text_layers, context)
    criterion = TextCriterion(
        Schedule.named(noise_schedule, diffusion_steps), predicts, Texts(merges, context), hidden=untold
    )
    preprocess = CaptionPreprocess(exact=size, mean=HALF, std=HALF, context=context, merges=merges)
    return LatentDiffusion(TextDenoiser(unet, tower, autoencoder, 1.0), criterion, preprocess, size)
