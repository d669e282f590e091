"""A toy Stable Diffusion of diffusers with random weights, and the folder that diffusers saved of it."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.generative.diffusion.oracles import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from vidi.data.tokenizer import tokenizer_of, trained_merges

MERGES = trained_merges(["a red sphere", "a blue box left of a red box", "a sphere on grass"], 20)
CONTEXT = 12


def tokenizer(folder: Path) -> CLIPTokenizer:
    ours = tokenizer_of(MERGES)
    pieces = [*ours.pieces[:-2], "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    merges.write_text("#version: 0.2\n" + MERGES + "\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=CONTEXT)


def pipeline(folder: Path, **numbers: Any) -> Any:
    """Return a toy of the first kind, with random weights."""
    torch.default_generator.manual_seed(3)
    ids = len(tokenizer_of(MERGES))
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=ids,
            hidden_size=8,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CONTEXT,
            bos_token_id=ids - 2,
            eos_token_id=ids - 1,
            pad_token_id=ids - 1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    for network in (unet, vae, text):
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **numbers,
    )
    made = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(folder),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@cache
def theirs() -> tuple[Any, Path]:
    """Return the toy and its folder."""
    folder = Path(tempfile.mkdtemp())
    made = pipeline(folder)
    made.save_pretrained(folder / "saved")
    return made, folder / "saved"
