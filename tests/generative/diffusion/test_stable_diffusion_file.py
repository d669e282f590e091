"""Single files of Stable Diffusion against diffusers' own converters: names, tensors, and what no shape shows."""

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.generative.diffusion.oracles import AutoencoderKL, UNet2DConditionModel
from vidi.data.tokenizer import PUBLISHED_IDS
from vidi.embedding.clip import ACTIVATIONS
from vidi.embedding.text_tower import TextTransformer
from vidi.generative.diffusion.autoencoder import AutoencoderNetwork, AutoencoderSizes
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.ops.diffusion import Schedule, scaled_linear_betas
from vidi.ops.noise import seeded_normal
from vidi.weights.renaming import inverted, renamed, under
from vidi.weights.stable_diffusion_file import read_stable_diffusion_file
from vidi.weights.tables import (
    diffusers_autoencoder,
    diffusers_unet,
    openai_clip,
    transformers_clip,
)
from vidi.weights.tables import original_stable_diffusion as original

WIDTH, LAYERS = 128, {1: 2, 2: 23}  # of the text tower; diffusers knows the last of 24 layers by its number
SIZES = {
    1: UNetSizes(
        channels=(32, 64, 64), attends=(True, True, False), heads=(8, 8, 8), blocks=1, context=WIDTH, linear=False
    ),
    2: UNetSizes(channels=(64, 128), attends=(True, False), heads=(1, 2), blocks=2, context=WIDTH, linear=True),
}
AUTOENCODER = AutoencoderSizes(channels=(32, 64), latent=4, blocks=1)


class Toy(NamedTuple):
    """Networks with random numbers, and the file that a publisher would make of them."""

    unet: DenoisingUNet
    autoencoder: AutoencoderNetwork
    text: TextTransformer
    file: dict[str, Tensor]


def drawn(network: Any) -> Any:
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def open_clip_names(text: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return a tower's tensors in the names of open_clip, packed, with a last layer that nobody asks."""
    plain = {key: value[0] if key == "positions.table" else value for key, value in text.items()}
    packed: dict[str, Tensor] = {}
    for key, value in plain.items():
        front, part, kind = (*key.rsplit(".", 2),)[:3] if key.count(".") > 1 else (key, "", "")
        if part == "query":
            rows = [plain[f"{front}.{name}.{kind}"] for name in ("query", "key", "value")]
            packed[f"{front}.query_key_value.{kind}"] = torch.cat(rows)
        elif part not in ("key", "value"):
            packed[key] = value
    last = {
        key.replace("layers.0.", f"layers.{layers}."): torch.full_like(value, 7.0)
        for key, value in packed.items()
        if "layers.0." in key
    }
    named = renamed({**packed, **last}, inverted(openai_clip.TEXT))
    return {**named, "text_projection": torch.ones(WIDTH, WIDTH), "logit_scale": torch.ones(())}


@cache
def toy(version: int) -> Toy:
    torch.default_generator.manual_seed(version)
    unet = drawn(DenoisingUNet(SIZES[version], in_channels=4, out_channels=4))
    autoencoder = drawn(AutoencoderNetwork(AUTOENCODER))
    activation = ACTIVATIONS["quick_gelu" if version == 1 else "gelu"]
    tower = TextTransformer(
        PUBLISHED_IDS, WIDTH, WIDTH, context=77, depth=LAYERS[version], heads=2, activation=activation
    )
    tower.projection = nn.Identity()  # type: ignore[assignment]
    drawn(tower)
    if version == 1:
        text = {k: v[0] if k == "positions.table" else v for k, v in tower.state_dict().items()}
        named = renamed(text, inverted(under(transformers_clip.TEXT, "text_model.", "")))
        named["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        front = original.TEXT_1
    else:
        named, front = open_clip_names(tower.state_dict(), LAYERS[version]), original.TEXT_2
    squares = {
        key: value[..., None, None] if ".attention." in key and value.ndim == 2 else value
        for key, value in autoencoder.state_dict().items()
    }
    usual = Schedule(scaled_linear_betas(1000, 0.00085, 0.012))
    parts = {
        original.UNET: renamed(unet.state_dict(), inverted(original.unet_names(SIZES[version]))),
        original.AUTOENCODER: renamed(squares, inverted(original.autoencoder_names(AUTOENCODER))),
        front: named,
    }
    file = {f + key: value.clone() for f, part in parts.items() for key, value in part.items()}
    file |= {"alphas_cumprod": usual.alphas_cumprod.float(), "model_ema.decay": torch.ones(())}
    return Toy(unet, autoencoder, tower, file)


def written(version: int, folder: Path, **more: Tensor) -> Path:
    save_file({**toy(version).file, **more}, folder / "model.safetensors")
    return folder / "model.safetensors"


def theirs(version: int) -> tuple[Any, Any, Any]:
    """Return the networks of diffusers and transformers with what diffusers' converters make of the file."""
    file, sizes = dict(toy(version).file), SIZES[version]
    crossing = [f"{'CrossAttn' * attends}DownBlock2D" for attends in sizes.attends]
    unet = UNet2DConditionModel(
        block_out_channels=sizes.channels,
        layers_per_block=sizes.blocks,
        cross_attention_dim=WIDTH,
        attention_head_dim=sizes.heads,
        use_linear_projection=sizes.linear,
        down_block_types=crossing,
        up_block_types=[f"{'CrossAttn' * attends}UpBlock2D" for attends in reversed(sizes.attends)],
    )
    unet.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(file, dict(unet.config)))
    levels = len(AUTOENCODER.channels)
    vae = AutoencoderKL(
        block_out_channels=AUTOENCODER.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    vae.load_state_dict(single_file_utils.convert_ldm_vae_checkpoint(file, dict(vae.config)))
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=PUBLISHED_IDS,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS[version],
            num_attention_heads=2,
            hidden_act="quick_gelu" if version == 1 else "gelu",
            eos_token_id=PUBLISHED_IDS - 1,
        )
    )
    if version == 1:
        names = single_file_utils.convert_ldm_clip_checkpoint(file)
    else:
        names = single_file_utils.convert_open_clip_checkpoint(text, file)
    dropped = ("text_projection.weight", "text_model.embeddings.position_ids")
    plain = {key.removeprefix("text_model."): value for key, value in names.items() if key not in dropped}
    known = text.state_dict()
    text.load_state_dict({key: plain[key.removeprefix("text_model.")] for key in known})
    assert len(plain) == len(known)
    return unet.eval(), vae.eval(), text.eval()


@pytest.mark.system("8.3.7-SD")
@pytest.mark.parametrize("version", [1, 2])
def test_a_file_is_read_as_diffusers_converts_it(version: int, tmp_path: Path) -> None:
    """Tensor by tensor, then what each network says: heads, groups, activations and the last layer show there."""
    model = read_stable_diffusion_file(written(version, tmp_path))
    made, (unet, vae, text) = toy(version), theirs(version)
    network, autoencoder = model.network, model.network.autoencoder
    assert autoencoder is not None
    expected = renamed(unet.state_dict(), diffusers_unet.NAMES_OF_CONTEXT)
    assert expected.keys() == network.unet.state_dict().keys()
    for key, value in network.unet.state_dict().items():
        assert torch.equal(value, expected[key]), key
    expected = renamed(vae.state_dict(), diffusers_autoencoder.NAMES_NOW)
    for key, value in autoencoder.state_dict().items():
        assert torch.equal(value, expected[key]), key
    for key, value in network.text.state_dict().items():
        assert torch.equal(value, made.text.state_dict()[key]), key
    assert (network.unet.sizes, autoencoder.sizes) == (SIZES[version], AUTOENCODER)
    tokens = model.criterion.texts.tokens("a red sphere")[None]
    with torch.no_grad():
        rows = network.text.sequence(tokens)
        assert_close(rows, text(tokens).last_hidden_state, FLOAT32)
        x, times = seeded_normal((4, 8, 8), [1, 2]), torch.tensor([3, 700])
        rows = rows.expand(2, -1, -1)
        assert_close(network.unet(x, times, context=rows), unet(x, times, rows).sample, FLOAT32)
        assert_close(autoencoder.decode(x), vae.decode(x).sample, FLOAT32)


@pytest.mark.system("8.3.7-SD")
def test_what_no_shape_shows_is_as_published(tmp_path: Path) -> None:
    """Scale, schedule and times as in the publishers' configurations; sizes and predictions by version."""
    usual = Schedule(scaled_linear_betas(1000, 0.00085, 0.012))
    for version, predicts, padding, side in ((1, "noise", "end", 64 * 2), (2, "v", "zero", 96 * 2)):
        model = read_stable_diffusion_file(written(version, tmp_path))
        assert (model.criterion.predicts, model.criterion.texts.padding, model.size) == (
            predicts,
            padding,
            (side, side),
        )
        assert (model.network.scale, model.offset, model.clip) == (0.18215, 1, None)
        assert torch.equal(model.schedule.betas, usual.betas)
        assert model.schedule.final == usual.level(0)
        assert (model.criterion.texts.context, model.criterion.texts.merges) == (77, None)
    for steps in (1000, 500):  # another schedule of as many times, and one of fewer
        other = Schedule(scaled_linear_betas(steps, 0.001, 0.02)).alphas_cumprod
        path = written(1, tmp_path, alphas_cumprod=other)
        base = read_stable_diffusion_file(path, predicts="v", size=(16, 32))
        assert_close(base.schedule.alphas_cumprod, other, NUMBERS)
    assert (base.criterion.predicts, base.size, base.shape) == ("v", (16, 32), (4, 8, 16))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """With what is missing, or the line that converts a pickle, which works."""
    unet = {key: value for key, value in toy(1).file.items() if key.startswith(original.UNET)}
    save_file(unet, tmp_path / "unet.safetensors")
    with pytest.raises(ValueError, match=r"has no first_stage_model\.\*, cond_stage_model\.transformer\.\*; expected"):
        read_stable_diffusion_file(tmp_path / "unet.safetensors")
    inpainting = written(1, tmp_path, **{f"{original.UNET}input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)})
    with pytest.raises(ValueError, match="a U-Net of 9 channels, expected those of the latent, 4"):
        read_stable_diffusion_file(inpainting)
    lacking = {key: value for key, value in toy(1).file.items() if "post_quant_conv" not in key}
    save_file(lacking, tmp_path / "lacking.safetensors")
    with pytest.raises(ValueError, match=r"lacks 'post_quant_conv.weight'; expected Stable Diffusion"):
        read_stable_diffusion_file(tmp_path / "lacking.safetensors")
    words = written(
        1, tmp_path, **{f"{original.TEXT_1}text_model.embeddings.token_embedding.weight": torch.zeros(9, 8)}
    )
    with pytest.raises(ValueError, match="a text tower of 9 words, expected the 49408"):
        read_stable_diffusion_file(words)


def test_a_pickle_is_refused_with_a_line_that_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"a": torch.arange(3.0)}, "global_step": 5}, path)
    with pytest.raises(ValueError, match="is a pickle, which runs code when it is read") as told:
        read_stable_diffusion_file(path)
    (code,) = re.findall(r'python -c "(.*)"', str(told.value))
    exec(code, {})
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], torch.arange(3.0))
