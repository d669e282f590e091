"""Stable Diffusion 1 and 2 as folders in the layout of diffusers, read and written.

    model_index.json
    unet/           config.json, diffusion_pytorch_model.safetensors
    vae/            the same
    text_encoder/   config.json, model.safetensors; keys of the text tower with "text_model." in front or without
    tokenizer/      vocab.json and merges.txt, or tokenizer.json alone
    scheduler/      scheduler_config.json

Only safetensors are read. A folder whose weights are pickles is refused, with the line that converts them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vidi import files
from vidi.data.tokenizer import tokenizer_of
from vidi.embedding.captions import CaptionPreprocess
from vidi.embedding.clip import ACTIVATIONS
from vidi.embedding.text_tower import QuickGELU, TextTransformer
from vidi.generative.diffusion.autoencoder import AutoencoderNetwork, AutoencoderSizes
from vidi.generative.diffusion.text_to_image import (
    TextCriterion,
    TextDenoiser,
    TextDiffusion,
    Texts,
    without_projection,
)
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.nn.attention import MultiHeadAttention
from vidi.ops.diffusion import Schedule, linear_betas, scaled_linear_betas
from vidi.preprocess import HALF
from vidi.weights.layouts import Layout
from vidi.weights.pickles import PICKLES, refusal
from vidi.weights.renaming import inverted, renamed, under
from vidi.weights.strict import load_strictly
from vidi.weights.tables import diffusers_autoencoder, diffusers_unet
from vidi.weights.tables.openai_clip import with_axes
from vidi.weights.tables.transformers_clip import TEXT

UNET, VAE, TEXTS = ("unet", "vae", "text_encoder")
WEIGHTS = {
    UNET: "diffusion_pytorch_model.safetensors",
    VAE: "diffusion_pytorch_model.safetensors",
    TEXTS: "model.safetensors",
}
CONFIGS = (*(f"{part}/config.json" for part in WEIGHTS), "scheduler/scheduler_config.json")
TEXT_LAYOUT = Layout("transformers", under(TEXT, "text_model.", "") | TEXT, convert=with_axes)
KINDS = {"epsilon": "noise", "sample": "x0", "v_prediction": "v"}
ENDS = ("<|startoftext|>", "<|endoftext|>")
ROUNDING = 1e-9  # of variances, whose ends are written as decimals


def read_stable_diffusion(folder: str | Path) -> TextDiffusion:
    """Return the model of a folder.

    Raises:
        FileNotFoundError: if a part is missing, saying how to convert pickles where there are some.
        ValueError: for a configuration that is not of Stable Diffusion 1 or 2, and weights that do not fit it.
    """
    folder = Path(folder)
    missing = [name for name in CONFIGS if not (folder / name).is_file()]
    if missing:
        parts = ", ".join(sorted({name.split("/")[0] for name in CONFIGS}))
        raise FileNotFoundError(f"{folder} has no {missing[0]}; expected the layout of diffusers: {parts}, tokenizer")
    unet_config, vae_config, text_config = (files.read_json(folder / part / "config.json") for part in WEIGHTS)
    scheduler = files.read_json(folder / "scheduler" / "scheduler_config.json")
    unet = _unet(unet_config)
    autoencoder = AutoencoderNetwork(_autoencoder_sizes(vae_config))
    text = without_projection(_text_tower(text_config))
    network = TextDenoiser(unet, text, autoencoder, scale=vae_config.get("scaling_factor", 0.18215))
    layouts = {UNET: diffusers_unet.LAYOUT, VAE: diffusers_autoencoder.LAYOUT, TEXTS: TEXT_LAYOUT}
    for (part, layout), module in zip(layouts.items(), (unet, autoencoder, text), strict=True):
        load_strictly(module, layout.ours(module, files.read_tensors(_weights_of(folder / part, WEIGHTS[part]))))
    texts = Texts(_merges(folder / "tokenizer"), text_config["max_position_embeddings"], _padding(folder / "tokenizer"))
    if len(tokenizer_of(texts.merges)) != text_config["vocab_size"]:
        raise ValueError(
            f"{folder}: received a tokenizer of {len(tokenizer_of(texts.merges))} ids and a text encoder of "
            f"{text_config['vocab_size']}, expected equal numbers"
        )
    side = unet_config["sample_size"] * autoencoder.factor
    preprocess = CaptionPreprocess(exact=(side, side), mean=HALF, std=HALF, context=texts.context, merges=texts.merges)
    criterion = TextCriterion(_schedule(scheduler), KINDS[scheduler.get("prediction_type", "epsilon")], texts)  # type: ignore[arg-type]
    offset = scheduler.get("steps_offset", 0)
    return TextDiffusion(network, criterion, preprocess, (side, side), offset).eval()


def _weights_of(folder: Path, name: str) -> Path:
    """Return the safetensors of a part; FileNotFoundError if there are none, with the way from a pickle to them."""
    if (folder / name).is_file():
        return folder / name
    pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in PICKLES] if folder.is_dir() else []
    if not pickles:
        raise FileNotFoundError(f"{folder / name}: no such file")
    raise FileNotFoundError(f"{folder / name}: no such file; {refusal(pickles[0], name)}")


def _unet(config: Mapping[str, Any]) -> DenoisingUNet:
    channels = tuple(config["block_out_channels"])
    heads = config["attention_head_dim"]  # which is the number of heads
    sizes = UNetSizes(
        channels=channels,
        attends=tuple(kind.startswith("CrossAttn") for kind in config["down_block_types"]),
        heads=tuple(heads) if isinstance(heads, list | tuple) else (heads,) * len(channels),
        blocks=config.get("layers_per_block", 2),
        context=config["cross_attention_dim"],
        linear=config.get("use_linear_projection", False),
        groups=config.get("norm_num_groups", 32),
        eps=config.get("norm_eps", 1e-5),
        depth=config.get("transformer_layers_per_block", 1),
    )
    return DenoisingUNet(sizes, in_channels=config["in_channels"], out_channels=config["out_channels"])


def _autoencoder_sizes(config: Mapping[str, Any]) -> AutoencoderSizes:
    return AutoencoderSizes(
        channels=tuple(config["block_out_channels"]),
        latent=config["latent_channels"],
        blocks=config.get("layers_per_block", 1),
        groups=config.get("norm_num_groups", 32),
    )


def _text_tower(config: Mapping[str, Any]) -> TextTransformer:
    width = config["hidden_size"]
    if config["intermediate_size"] != 4 * width:
        raise ValueError(f"received intermediate_size={config['intermediate_size']}, expected four times {width}")
    return TextTransformer(
        config["vocab_size"],
        width,
        width,
        context=config["max_position_embeddings"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        activation=ACTIVATIONS[config["hidden_act"]],
    )


def _schedule(config: Mapping[str, Any]) -> Schedule:
    if config.get("trained_betas") is not None:
        variances = torch.tensor(config["trained_betas"], dtype=torch.float64)
    else:
        betas = {"linear": linear_betas, "scaled_linear": scaled_linear_betas}[config["beta_schedule"]]
        variances = betas(config["num_train_timesteps"], config["beta_start"], config["beta_end"])
    usual = Schedule(variances)
    return usual if config.get("set_alpha_to_one", True) else Schedule(usual.betas, usual.level(0))


def _merges(folder: Path) -> str:
    """Return the joins of a tokenizer, from either form of its files."""
    if (folder / "merges.txt").is_file():
        lines = files.read_bytes(folder / "merges.txt").decode().splitlines()
        return "\n".join(line for line in lines if line and not line.startswith("#version"))
    pairs = files.read_json(folder / "tokenizer.json")["model"]["merges"]
    return "\n".join(pair if isinstance(pair, str) else " ".join(pair) for pair in pairs)


def _padding(folder: Path) -> Any:
    config = folder / "tokenizer_config.json"
    token = files.read_json(config).get("pad_token", ENDS[1]) if config.is_file() else ENDS[1]
    token = token["content"] if isinstance(token, dict) else token
    return "zero" if token == "!" else "end"


def write_stable_diffusion(model: TextDiffusion, folder: str | Path) -> None:
    """Write a model as a folder that diffusers reads, with its own tokenizer.

    Raises:
        ValueError: if it works on pixels, or its networks are others than those of Stable Diffusion: there is no such
            folder.
    """
    network, folder = model.network, Path(folder)
    if network.autoencoder is None:
        raise ValueError("received a model of pixels, expected one with an autoencoder")
    if network.unet.sizes.conditioning != "add" or not network.text.causal:
        raise ValueError(
            "received a U-Net that the time scales, or a text tower that looks ahead; expected Stable Diffusion's, "
            "to which the time is added and whose text tower is causal"
        )
    for part, config in _configs(model, network.autoencoder).items():
        files.write_json(folder / part, config)
    text = {name: value[0] if name == "positions.table" else value for name, value in network.text.state_dict().items()}
    parts = (
        (UNET, network.unet.state_dict(), diffusers_unet.NAMES_OF_CONTEXT),
        (VAE, network.autoencoder.state_dict(), diffusers_autoencoder.NAMES_NOW),
        (TEXTS, text, under(TEXT, "text_model.", "")),
    )
    for part, tensors, names in parts:
        files.write_tensors(folder / part / WEIGHTS[part], renamed(tensors, inverted(names)))
    tokenizer = tokenizer_of(model.criterion.texts.merges)
    vocabulary = {piece: number for number, piece in enumerate([*tokenizer.pieces[:-2], *ENDS])}
    files.write_json(folder / "tokenizer" / "vocab.json", vocabulary)
    joins = [" ".join(pair) for pair in tokenizer.ranks]
    files.write_text(folder / "tokenizer" / "merges.txt", "\n".join(["#version: 0.2", *joins]) + "\n")


def _variances(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as a scheduler's configuration says it: by its ends, or as a list if it is another one."""
    first, last = schedule.betas[0].item(), schedule.betas[-1].item()
    usual = scaled_linear_betas(schedule.steps, first, last)
    is_usual = torch.allclose(schedule.betas, usual, rtol=ROUNDING, atol=0)
    listed = None if is_usual else schedule.betas.tolist()
    return {"beta_schedule": "scaled_linear", "beta_start": first, "beta_end": last, "trained_betas": listed}


def _configs(model: TextDiffusion, autoencoder: AutoencoderNetwork) -> dict[str, Any]:
    """Return the configurations by file."""
    network, schedule, texts = model.network, model.schedule, model.criterion.texts
    unet, text, sizes = network.unet, network.text, autoencoder.sizes
    crossing = unet.sizes.attends
    layers = [layer for layer in text.encoder.modules() if isinstance(layer, MultiHeadAttention)]
    quick = any(isinstance(module, QuickGELU) for module in text.modules())
    filler = ENDS[1] if texts.padding == "end" else "!"
    levels = len(sizes.channels)
    return {
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline",
            UNET: ["diffusers", "UNet2DConditionModel"],
            VAE: ["diffusers", "AutoencoderKL"],
            TEXTS: ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
        },
        "unet/config.json": {
            "_class_name": "UNet2DConditionModel",
            "sample_size": model.shape[1],
            "in_channels": unet.in_channels,
            "out_channels": unet.conv_out.out_channels,
            "block_out_channels": unet.sizes.channels,
            "down_block_types": ["CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crossing],
            "up_block_types": ["CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crossing)],
            "attention_head_dim": unet.sizes.heads,
            "layers_per_block": unet.sizes.blocks,
            "cross_attention_dim": unet.sizes.context,
            "use_linear_projection": unet.sizes.linear,
            "norm_num_groups": unet.sizes.groups,
            "norm_eps": unet.sizes.eps,
            "transformer_layers_per_block": unet.sizes.depth,
        },
        "vae/config.json": {
            "_class_name": "AutoencoderKL",
            "block_out_channels": sizes.channels,
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "latent_channels": sizes.latent,
            "layers_per_block": sizes.blocks,
            "norm_num_groups": sizes.groups,
            "sample_size": model.size[0],
            "scaling_factor": round(network.scale.item(), 7),
        },
        "text_encoder/config.json": {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "vocab_size": text.vocabulary,
            "hidden_size": text.norm.normalized_shape[0],
            "intermediate_size": 4 * text.norm.normalized_shape[0],
            "max_position_embeddings": texts.context,
            "num_hidden_layers": len(layers),
            "num_attention_heads": layers[0].heads,
            "hidden_act": "quick_gelu" if quick else "gelu",
            "bos_token_id": text.vocabulary - 2,
            "eos_token_id": text.vocabulary - 1,
            "pad_token_id": text.vocabulary - 1 if texts.padding == "end" else 0,
        },
        "tokenizer/tokenizer_config.json": {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": texts.context,
            "bos_token": ENDS[0],
            "eos_token": ENDS[1],
            "unk_token": ENDS[1],
            "pad_token": filler,
        },
        "scheduler/scheduler_config.json": {
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": schedule.steps,
            **_variances(schedule),
            "prediction_type": {ours: theirs for theirs, ours in KINDS.items()}[model.criterion.predicts],
            "steps_offset": model.offset,
            "set_alpha_to_one": schedule.final == 1,
            "clip_sample": False,
            "timestep_spacing": "leading",
        },
    }
