"""The denoising U-Net against diffusers: outputs and gradients with the same weights, in float64."""

from typing import Any

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.generative.diffusion.oracles import UNet2DConditionModel, UNet2DModel
from vidi.generative.diffusion.blocks import (
    ClassEmbedding,
    ContextTransformer,
    PlaceAttention,
    ResidualBlock,
    TimeEmbedding,
    time_waves,
)
from vidi.generative.diffusion.unet import DenoisingUNet, UNetSizes
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables.diffusers_unet import NAMES

SMALL = {"channels": (8, 16, 16), "attends": (False, True, False), "heads": (1, 2, 4), "blocks": 1, "groups": 4}
PLAIN = {
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attn_norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
WORDS = {
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 6,
    "attention_head_dim": (1, 2, 4),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
TIMES = torch.tensor([3, 711])


class ExactWaves(nn.Module):
    """The waves of diffusers in the precision of the comparison; theirs are of float32 whatever the network is of."""

    def __init__(self, width: int, shift: int = 0):
        super().__init__()
        self.count, self.shift = width // 2, shift

    def forward(self, times: Tensor) -> Tensor:
        rates = [10_000.0 ** (-k / (self.count - self.shift)) for k in range(self.count)]
        angles = times.double()[:, None] * torch.tensor(rates, dtype=torch.float64)
        return torch.cat((angles.cos(), angles.sin()), 1)


def drawn_anew(network: nn.Module) -> None:
    """Give every parameter random values: zeros would hide what does not reach the output."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)


def pair(ours: DenoisingUNet, theirs: Any, shift: int = 0) -> tuple[DenoisingUNet, Any]:
    ours, theirs = ours.double(), theirs.double().eval()
    drawn_anew(theirs)
    theirs.time_proj = ExactWaves(ours.sizes.channels[0], shift)
    load_strictly(ours, renamed(theirs.state_dict(), NAMES))
    return ours.eval(), theirs


def assert_same(ours: DenoisingUNet, theirs: Any, shape: tuple[int, ...] = (2, 3, 8, 12), **known: Tensor) -> None:
    """Compare outputs and all gradients, also those of the input."""
    names = {"labels": "class_labels", "context": "encoder_hidden_states"}
    x = torch.randn(shape, dtype=torch.float64)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = ours(one, TIMES, **known)
    expected = theirs(two, TIMES, **{names[key]: value for key, value in known.items()}).sample
    assert_close(found, expected, OUTPUTS)
    assert largest(expected) > 0.1
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    gradients = renamed({key: p.grad for key, p in theirs.named_parameters()}, NAMES)
    size = largest(*gradients.values())
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[key], GRADIENTS, size=size, msg=key)
    assert_close(one.grad, two.grad, GRADIENTS)


@pytest.mark.system("8.3.3-UNET")
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_unet_is_diffusers(symmetric: bool) -> None:
    """Attention at one level and in the middle; strided convolutions padded as PyTorch does, or as TensorFlow."""
    sizes = UNetSizes(**{**SMALL, "heads": (1, 4, 4)}, symmetric=symmetric)
    theirs = UNet2DModel(**PLAIN, attention_head_dim=4, downsample_padding=1 if symmetric else 0)
    assert_same(*pair(DenoisingUNet(sizes), theirs))


@pytest.mark.system("8.3.3-UNET")
def test_other_depths_and_numbers_are_diffusers() -> None:
    """Two blocks a level, attention at the finest, another eps, and the waves of the first code."""
    sizes = UNetSizes(
        channels=(8, 16), attends=(True, False), heads=(2, 4), blocks=2, groups=2, eps=1e-3, shift=1, dropout=0.3
    )
    theirs = UNet2DModel(
        block_out_channels=(8, 16),
        layers_per_block=2,
        norm_num_groups=2,
        attn_norm_num_groups=2,
        norm_eps=1e-3,
        attention_head_dim=4,
        in_channels=4,
        out_channels=6,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D"),
        freq_shift=1,
    )
    assert_same(*pair(DenoisingUNet(sizes, in_channels=4, out_channels=6), theirs, 1), (2, 4, 8, 8))


@pytest.mark.system("8.3.3-ADAGN")
def test_adaptive_group_norm_is_diffusers() -> None:
    """GN(h) (1 + s) + b."""
    sizes = UNetSizes(**{**SMALL, "heads": (1, 4, 4)}, conditioning="scale_shift")
    theirs = UNet2DModel(**PLAIN, attention_head_dim=4, resnet_time_scale_shift="scale_shift")
    assert_same(*pair(DenoisingUNet(sizes), theirs))


@pytest.mark.system("8.3.3-ADAGN")
def test_adaptive_group_norm_scales_by_one_more_than_the_embedding_says() -> None:
    block = ResidualBlock(4, 4, 3, conditioning="scale_shift", groups=2).double()
    drawn_anew(block)
    x, embedding = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    assert block.embed is not None
    s, b = block.embed(nn.functional.silu(embedding)).chunk(2, 1)
    h = block.norm2(block.conv1(nn.functional.silu(block.norm1(x))))
    h = h * (1 + s[..., None, None]) + b[..., None, None]
    assert_close(block(x, embedding), x + block.conv2(nn.functional.silu(h)), NUMBERS)


@pytest.mark.system("8.3.3-TIMECAT")
def test_concatenated_conditions_stand_beside_the_channels_of_every_place() -> None:
    """Broadcast over H and W: the second convolution sees twice the channels, half of which are the same everywhere."""
    block = ResidualBlock(4, 6, 3, conditioning="concat", groups=2).double()
    drawn_anew(block)
    assert block.conv2.in_channels == 12
    x, embedding = torch.randn(2, 4, 5, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    assert block.embed is not None
    said = block.embed(nn.functional.silu(embedding))
    h = nn.functional.silu(block.norm2(block.conv1(nn.functional.silu(block.norm1(x)))))
    beside = torch.empty(2, 6, 5, 4, dtype=torch.float64)
    for i in range(5):
        for j in range(4):
            beside[:, :, i, j] = said
    assert_close(block(x, embedding), block.shortcut(x) + block.conv2(torch.cat((h, beside), 1)), NUMBERS)


@pytest.mark.system("8.3.3-TIMECAT")
def test_a_network_by_concatenation_tells_times_apart() -> None:
    network = DenoisingUNet(UNetSizes(**SMALL, conditioning="concat")).double()
    drawn_anew(network)
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64).expand(2, -1, -1, -1)
    found = network(x, TIMES)
    assert found.shape == (2, 3, 8, 8)
    assert (found[0] - found[1]).abs().max() > 0.01


@pytest.mark.system("8.3.3-TIMEEMB")
@pytest.mark.parametrize("shift", [0, 1])
def test_time_waves_are_diffusers(shift: int) -> None:
    times = torch.tensor([0, 1, 500, 999])
    theirs = get_timestep_embedding(times, 16, flip_sin_to_cos=True, downscale_freq_shift=shift)
    assert_close(time_waves(times, 16, shift=shift).float(), theirs, FLOAT32)
    assert_close(time_waves(times, 16, shift=shift), ExactWaves(16, shift)(times), NUMBERS)
    assert_close(time_waves(times, 16), time_waves(times, 16, shift=0), NUMBERS)


@pytest.mark.system("8.3.3-TIMEEMB")
def test_the_embedding_is_waves_and_a_network_of_one_hidden_layer() -> None:
    """Four times as wide as the first channels; SiLU between its two maps."""
    embed = TimeEmbedding(8, 32).double()
    found = embed(TIMES)
    assert found.shape == (2, 32)
    assert_close(found, embed.narrow(nn.functional.silu(embed.widen(ExactWaves(8)(TIMES)))), NUMBERS)
    assert DenoisingUNet(UNetSizes(**SMALL)).time.narrow.weight.shape == (32, 32)


@pytest.mark.system("8.3.6-ONEHOT")
def test_class_vectors_from_a_table_are_diffusers() -> None:
    sizes = UNetSizes(**{**SMALL, "heads": (1, 4, 4)})
    theirs = UNet2DModel(**PLAIN, attention_head_dim=4, num_class_embeds=5)
    ours = DenoisingUNet(sizes, classes=5, class_hidden=False)
    assert_same(*pair(ours, theirs), labels=torch.tensor([4, 0]))


@pytest.mark.system("8.3.6-ONEHOT")
@pytest.mark.parametrize("conditioning", ["add", "concat"])
def test_a_class_is_an_mlp_of_its_one_hot_vector_added_to_the_time(conditioning: str) -> None:
    """And goes wherever the time goes: it is added to channels, or stands beside them."""
    embed = ClassEmbedding(4, 6).double()
    drawn_anew(embed)
    labels = torch.tensor([2, 0, 3])
    one_hot = nn.functional.one_hot(labels, 4).double()
    assert embed.narrow is not None
    assert embed.bias is not None
    hidden = nn.functional.silu(one_hot @ embed.table.weight + embed.bias)
    assert_close(embed(labels), embed.narrow(hidden), NUMBERS)

    network = DenoisingUNet(UNetSizes(**{**SMALL, "conditioning": conditioning}), classes=4).double()
    drawn_anew(network)
    assert network.label is not None
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = network(x, TIMES, torch.tensor([1, 3]))
    seen = network.time(TIMES) + network.label(torch.tensor([1, 3]))
    network.label, network.time.forward = None, lambda times: seen  # type: ignore[method-assign]
    assert_close(found, network(x, TIMES), NUMBERS)


@pytest.mark.system("8.3.6-TEXT")
@pytest.mark.parametrize("linear", [False, True])
def test_the_unet_that_looks_at_words_is_diffusers(linear: bool) -> None:
    """Places ask, words answer; `attention_head_dim` of diffusers is the number of heads."""
    sizes = UNetSizes(**SMALL, context=6, linear=linear)
    theirs = UNet2DConditionModel(**WORDS, in_channels=3, out_channels=3, use_linear_projection=linear)
    ours, theirs = pair(DenoisingUNet(sizes), theirs)
    assert_same(ours, theirs, context=torch.randn(2, 5, 6, dtype=torch.float64))


@pytest.mark.system("8.3.6-TEXT")
def test_deeper_transformers_and_odd_sizes_are_diffusers() -> None:
    sizes = UNetSizes(**SMALL, context=6, depth=2)
    theirs = UNet2DConditionModel(**WORDS, in_channels=3, out_channels=3, transformer_layers_per_block=2)
    ours, theirs = pair(DenoisingUNet(sizes), theirs)
    assert_same(ours, theirs, (2, 3, 7, 9), context=torch.randn(2, 5, 6, dtype=torch.float64))


@pytest.mark.system("8.3.6-TEXT")
def test_a_text_is_summed_up_by_its_last_word_as_a_class_is_by_its_vector() -> None:
    """GLIDE: a linear map of the last token stands where the class stood; other words go to attention alone."""
    network = DenoisingUNet(UNetSizes(**SMALL, context=6, sums_up=True)).double()
    drawn_anew(network)
    assert network.text is not None
    x, context = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(2, 5, 6, dtype=torch.float64)
    found = network(x, TIMES, None, context)
    seen = network.time(TIMES) + network.text(context[:, 4])
    network.text, network.time.forward = None, lambda times: seen  # type: ignore[method-assign]
    assert_close(found, network(x, TIMES, None, context), NUMBERS)
    assert DenoisingUNet(UNetSizes(**SMALL, context=6)).text is None
    with pytest.raises(ValueError, match="expected a context to sum up"):
        UNetSizes(**SMALL, sums_up=True)


@pytest.mark.system("8.3.3-UNET")
def test_an_untrained_network_says_nothing_and_keeps_odd_sizes() -> None:
    """The last maps begin at zero; any size comes back."""
    network = DenoisingUNet(UNetSizes(**SMALL))
    for size in ((8, 8), (7, 9), (1, 1), (5, 16)):
        found = network(torch.randn(2, 3, *size), TIMES)
        assert found.shape == (2, 3, *size)
        assert (found == 0).all()


def test_every_residual_branch_begins_at_zero() -> None:
    last: list[Any] = []
    for context in (None, 6):
        for module in DenoisingUNet(UNetSizes(**SMALL, context=context)).modules():
            if isinstance(module, ResidualBlock):
                last.append(module.conv2)
            elif isinstance(module, PlaceAttention):
                last.append(module.attention.output)
            elif isinstance(module, ContextTransformer):
                last.append(module.leave)
    assert len(last) > 20
    assert all(int(layer.weight.count_nonzero()) == int(layer.bias.count_nonzero()) == 0 for layer in last)


def test_what_a_network_is_not_told_is_refused() -> None:
    x = torch.randn(2, 3, 8, 8)
    plain = DenoisingUNet(UNetSizes(**SMALL))
    with pytest.raises(ValueError, match=r"received labels=.*expected none"):
        plain(x, TIMES, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="expected one a picture"):
        DenoisingUNet(UNetSizes(**SMALL), classes=3)(x, TIMES)
    with pytest.raises(ValueError, match="received no context"):
        DenoisingUNet(UNetSizes(**SMALL, context=6))(x, TIMES)


@pytest.mark.parametrize("numbers", [{"attends": (True,)}, {"heads": (1, 3, 4)}, {"groups": 3}, {"channels": ()}])
def test_numbers_that_do_not_fit_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        UNetSizes(**{**SMALL, **numbers})
