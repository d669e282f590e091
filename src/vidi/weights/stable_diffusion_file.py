"""Stable Diffusion 1 and 2 as one file of safetensors, in the original layout of CompVis and StabilityAI.

A file says its sizes by its shapes. What no shape shows is as in the publishers' configurations:

                     version 1                            version 2
    heads            8                                    of 64 channels
    text tower       quick GELU, padded with its end      GELU, padded with 0, rows before the last layer
    predicts         the noise, 512 x 512                 the velocity, 768 x 768 (the base model: noise, 512 x 512)

There is no tokenizer in a file: the published joins are found as CLIP's are. Of a file with averages of the training
besides (`model_ema.*`) the weights that the publisher named for sampling, `model.*`, are taken.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vidi import files
from vidi.data.tokenizer import tokenizer_of
from vidi.embedding.captions import CaptionPreprocess
from vidi.embedding.clip import ACTIVATIONS
from vidi.embedding.text_tower import TextTransformer
from vidi.generative.diffusion.autoencoder import AutoencoderNetwork, AutoencoderSizes
from vidi.generative.diffusion.ddpm import Predicted
from vidi.generative.diffusion.text_to_image import (
    TextCriterion,
    TextDenoiser,
    TextDiffusion,
    Texts,
    without_projection,
)
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.ops.diffusion import Schedule, scaled_linear_betas
from vidi.preprocess import HALF
from vidi.weights.layouts import Layout
from vidi.weights.pickles import PICKLES, refusal
from vidi.weights.strict import load_strictly
from vidi.weights.tables import original_stable_diffusion as original

HEAD = 64  # channels of a head: of all text towers, and of the U-Net of version 2
HEADS_1 = 8  # of the U-Net of version 1
STEPS, FIRST, LAST = 1000, 0.00085, 0.012  # of the schedule
ROUNDED = 1e-4  # of cumulative products in float32


class TextPart(NamedTuple):
    """The text tower of a file."""

    tower: TextTransformer
    layout: Layout
    texts: Texts


def read_stable_diffusion_file(
    path: str | Path, *, predicts: Predicted | None = None, size: tuple[int, int] | None = None
) -> TextDiffusion:
    """Return the model of a file.

    Args:
        path: of safetensors.
        predicts: what the U-Net gives; None: as the first published model of the version.
        size: (H, W) of the pictures; None: likewise.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a pickle, with the line that converts it, and for a file of another kind of model.
    """
    path = Path(path)
    if path.suffix in PICKLES:
        raise ValueError(refusal(str(path), str(path.with_suffix(".safetensors"))))
    held = files.read_tensors(path)
    second = any(name.startswith(original.TEXT_2) for name in held)
    text_front = original.TEXT_2 if second else original.TEXT_1
    fronts = (original.UNET, original.AUTOENCODER, text_front)
    parts = [{key.removeprefix(front): held[key] for key in held if key.startswith(front)} for front in fronts]
    if not all(parts):
        lacking = ", ".join(f"{front}*" for front, part in zip(fronts, parts, strict=True) if not part)
        raise ValueError(f"{path} has no {lacking}; expected Stable Diffusion 1 or 2 in its original layout")
    try:
        sizes, autoencoder_sizes = unet_sizes(parts[0], second=second), autoencoder_sizes_of(parts[1])
        unet = DenoisingUNet(
            sizes,
            in_channels=parts[0]["input_blocks.0.0.weight"].shape[1],
            out_channels=parts[0]["out.2.weight"].shape[0],
        )
        text = (text_2 if second else text_1)(parts[2])
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}; expected Stable Diffusion 1 or 2 in its original layout") from None
    if unet.in_channels != autoencoder_sizes.latent:
        raise ValueError(
            f"{path} holds a U-Net of {unet.in_channels} channels, expected those of the latent, "
            f"{autoencoder_sizes.latent}: models of inpainting and depth see more than noise"
        )
    autoencoder = AutoencoderNetwork(autoencoder_sizes)
    network = TextDenoiser(unet, without_projection(text.tower), autoencoder)
    layouts = (original.unet_layout(sizes), original.autoencoder_layout(autoencoder_sizes), text.layout)
    modules: tuple[nn.Module, ...] = (unet, autoencoder, text.tower)
    for layout, module, part in zip(layouts, modules, parts, strict=True):
        load_strictly(module, layout.ours(module, part))
    side = (96 if second else 64) * autoencoder.factor
    size = size or (side, side)
    texts = text.texts
    preprocess = CaptionPreprocess(exact=size, mean=HALF, std=HALF, context=texts.context, merges=texts.merges)
    criterion = TextCriterion(schedule_of(held), predicts or ("v" if second else "noise"), texts)
    return TextDiffusion(network, criterion, preprocess, size, 1).eval()


def unet_sizes(part: Mapping[str, Tensor], *, second: bool) -> UNetSizes:
    """Return the sizes of a U-Net from its tensors."""
    halved = sorted(int(name.split(".")[1]) for name in part if name.endswith(".0.op.weight"))
    levels = len(halved) + 1
    count = 1 + max(int(name.split(".")[1]) for name in part if name.startswith("input_blocks."))
    blocks = count // levels - 1
    firsts = [1 + level * (blocks + 1) for level in range(levels)]
    channels = tuple(part[f"input_blocks.{first}.0.out_layers.3.weight"].shape[0] for first in firsts)
    middle = [name for name in part if name.startswith("middle_block.1.transformer_blocks.")]
    return UNetSizes(
        channels=channels,
        attends=tuple(f"input_blocks.{first}.1.norm.weight" in part for first in firsts),
        heads=tuple(width // HEAD for width in channels) if second else (HEADS_1,) * levels,
        blocks=blocks,
        context=part["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        depth=len({name.split(".")[3] for name in middle}),
        linear=part["middle_block.1.proj_in.weight"].ndim == 2,
    )


def autoencoder_sizes_of(part: Mapping[str, Tensor]) -> AutoencoderSizes:
    """Return the sizes of an autoencoder from its tensors."""
    levels = len({name.split(".")[2] for name in part if name.startswith("encoder.down.")})
    return AutoencoderSizes(
        channels=tuple(part[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)),
        latent=part["post_quant_conv.weight"].shape[1],
        blocks=len({name.split(".")[4] for name in part if name.startswith("encoder.down.0.block.")}),
    )


def text_1(part: Mapping[str, Tensor]) -> TextPart:
    """Return the tower of version 1, in the names of transformers."""
    plain = {name.removeprefix("text_model."): value for name, value in part.items()}
    layers = {name.split(".")[2] for name in plain if name.startswith("encoder.layers.")}
    words, positions = plain["embeddings.token_embedding.weight"], plain["embeddings.position_embedding.weight"]
    tower = _tower(words, positions, len(layers), "quick_gelu")
    return TextPart(tower, original.TEXT_LAYOUT, Texts(None, len(positions)))


def text_2(part: Mapping[str, Tensor]) -> TextPart:
    """Return the tower of version 2, in the names of open_clip, without its last layer."""
    layers = {name.split(".")[2] for name in part if name.startswith("transformer.resblocks.")}
    words, positions = part["token_embedding.weight"], part["positional_embedding"]
    tower = _tower(words, positions, len(layers) - 1, "gelu")
    return TextPart(tower, original.open_text_layout(len(layers)), Texts(None, len(positions), "zero"))


def _tower(words: Tensor, positions: Tensor, layers: int, activation: str) -> TextTransformer:
    (vocabulary, width), known = words.shape, len(tokenizer_of(None))
    if vocabulary != known:
        raise ValueError(f"received a text tower of {vocabulary} words, expected the {known} of the published joins")
    return TextTransformer(
        vocabulary,
        width,
        width,
        context=len(positions),
        depth=layers,
        heads=width // HEAD,
        activation=ACTIVATIONS[activation],
    )


def schedule_of(held: Mapping[str, Tensor]) -> Schedule:
    """Return the schedule of a file, which ends at the level of time 0: the published one, or another that it holds."""
    found = Schedule(scaled_linear_betas(STEPS, FIRST, LAST))
    products = held.get("alphas_cumprod")
    if products is not None:
        products, usual = products.double(), found.alphas_cumprod
        if products.shape != usual.shape or not torch.allclose(products, usual, rtol=ROUNDED, atol=0):
            found = Schedule(1 - products / torch.cat((products.new_ones(1), products[:-1])))
    return Schedule(found.betas, found.level(0))
