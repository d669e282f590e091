"""Swin transformers against torchvision, timm and transformers, and the tables of the paper."""

from typing import Any

import pytest
import timm
import torch
from timm.models.swin_transformer import SwinTransformer as TimmSwin
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwin
from torchvision.ops import StochasticDepth
from transformers import SwinBackbone, SwinConfig

from tests.closeness import OUTPUTS, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import swin
from vidi.backbones.swin import VARIANTS, Swin, Variant, neighbours_after_roll, trunk
from vidi.weights.layouts import Layout
from vidi.weights.tables import timm_swin, torchvision_swin, transformers_swin

DEPTHS, HEADS, SIDE = (2, 1, 3, 1), (1, 2, 2, 4), 3
SMALL: dict[str, Any] = {"width": 16, "depths": DEPTHS, "heads": HEADS, "side": SIDE}


def small(**options: Any) -> nn.Module:
    return swin.swin_t(categories=5, **SMALL, drop_path=0.0, **options).network


def images(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def spread(network: Any) -> Any:
    """Make the weights large enough that tokens, and the biases of their offsets, matter."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=1.0 if "bias_table" in name else parameter.shape[1] ** -0.5)
    return network


def ours(layout: Layout) -> Any:
    return lambda tensors: layout.ours(nn.Module(), tensors)


def call(size: tuple[int, int]) -> Any:
    def run(network: nn.Module) -> Tensor:
        result = network(images(size))
        return result if isinstance(result, Tensor) else result.logits

    return run


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("5.3.3-M2F")
@pytest.mark.parametrize("size", [(96, 96), (52, 140), (24, 88)])  # one window in the last stage, ragged ones, one row
@pytest.mark.parametrize("training", [True, False])
def test_equals_torchvision(size: tuple[int, int], training: bool) -> None:
    options: dict[str, Any] = {"stochastic_depth_prob": 0.0, "num_classes": 5}
    theirs = spread(TorchvisionSwin([4, 4], 16, [*DEPTHS], [*HEADS], [SIDE] * 2, **options))
    assert_same_training(small(), theirs, ours(torchvision_swin.LAYOUT), call(size), training=training)


@pytest.mark.system("5.3.3-M2F")
def test_equals_timm() -> None:
    numbers = {"embed_dim": 16, "depths": DEPTHS, "num_heads": HEADS, "window_size": SIDE, "num_classes": 5}
    theirs = spread(TimmSwin(img_size=96, drop_path_rate=0.0, **numbers))  # type: ignore[arg-type]
    assert_same_training(small(), theirs, ours(timm_swin.LAYOUT), call((96, 96)), training=True)


@pytest.mark.system("5.3.3-M2F")
@pytest.mark.parametrize("size", [(96, 96), (37, 62), (24, 50)])
def test_maps_of_all_stages_equal_those_that_transformers_gives_mask2former(size: tuple[int, int]) -> None:
    """Odd sizes are padded, and windows shift even where one covers the map."""
    stages = [f"stage{k}" for k in (1, 2, 3, 4)]
    numbers: dict[str, Any] = {"depths": [*DEPTHS], "num_heads": [*HEADS], "window_size": SIDE, "embed_dim": 16}
    numbers |= {"out_features": stages, "attn_implementation": "sdpa"}
    theirs = spread(SwinBackbone(SwinConfig(**numbers)))
    randomise(theirs)
    theirs = theirs.double().eval()
    network = trunk("swin_t", always_shift=True, **SMALL).double().eval()
    network.load_state_dict(transformers_swin.LAYOUT.ours(network, theirs.state_dict()))
    expected, found = theirs(images(size)).feature_maps, network(images(size))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, OUTPUTS)
    assert [m.shape[1] for m in found] == [*network.channels] == [16, 32, 64, 128]
    assert network.strides == (4, 8, 16, 32)
    one_window = trunk("swin_t", always_shift=False, **SMALL).double().eval()
    one_window.load_state_dict(network.state_dict())
    covered = min(size) <= 16 * SIDE  # by one window, in the last stage that shifts
    assert covered != torch.allclose(one_window(images(size))[-2], found[-2])


def test_maps_of_some_stages_are_those_of_all() -> None:
    every = trunk("swin_t", **SMALL).double().eval()
    some = trunk("swin_t", levels=(1, 2), **SMALL).double().eval()
    some.load_state_dict({name: every.state_dict()[name] for name in some.state_dict()})
    assert (some.channels, some.strides) == ((32, 64), (8, 16))
    for one, other in zip(some(images((64, 96))), every(images((64, 96)))[1:3], strict=True):
        assert_close(one, other, OUTPUTS)


def test_what_a_roll_brings_together_is_hidden() -> None:
    """Four rows in windows of two, shifted by one: the last window holds row 3 and row 0."""
    mask = neighbours_after_roll((4, 2), 2, (1, 0), torch.device("cpu"))  # N=2, T=4
    assert mask[0].all()
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    assert torch.equal(mask[1], expected)


# ----------------------------------------------------------------------------------------------------------------------
# What no tensor's shape shows

PAPER = {  # Liu et al. 2021, section 3.3: C, layer numbers, window 7, heads of 32; A2.1: 0.2, 0.3, 0.5
    "swin_t": Variant(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2, 232, 7),
    "swin_s": Variant(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3, 246, 7),
    "swin_b": Variant(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5, 238, 7),
    "swin_l": Variant(192, (2, 2, 18, 2), (6, 12, 24, 48), 0.2, 248, 7),
}


@pytest.mark.parametrize(("name", "millions"), [("swin_t", 28.288354), ("swin_s", 49.606258), ("swin_b", 87.768224)])
def test_variants_are_those_of_the_paper(name: str, millions: float) -> None:
    assert PAPER == VARIANTS
    with torch.device("meta"):
        network = getattr(swin, name)().network
    assert sum(p.numel() for p in network.parameters()) == round(millions * 1e6)
    rates = [m.p for m in network.modules() if isinstance(m, StochasticDepth)]
    blocks = sum(PAPER[name].depths)
    wanted = [PAPER[name].drop_path * row / (blocks - 1) for row in range(1, blocks) for _ in range(2)]
    assert rates == pytest.approx(wanted, rel=1e-12)
    sides = {(m.side, m.is_shifted, m.always_shift) for m in network.modules() if isinstance(m, swin.Block)}
    assert sides == {(7, False, False), (7, True, False)}


def test_swin_l_has_the_tensors_of_timm() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("swin_large_patch4_window7_224").state_dict()
        network = swin.swin_l().network
    layout = timm_swin.LAYOUT
    found = {name: value.shape for name, value in layout.ours(network, theirs).items()}
    assert found == {name: value.shape for name, value in network.state_dict().items()}
    config = timm.get_pretrained_cfg("swin_large_patch4_window7_224")
    assert config is not None
    assert 224 / PAPER["swin_l"].shorter == pytest.approx(config.crop_pct, abs=4e-3)


def test_the_biases_of_offsets_are_spared_by_weight_decay() -> None:
    model = swin.swin_t(categories=5, **SMALL)
    assert len(list(model.undecayed_parameters())) == sum(DEPTHS)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"received the name 'swin_x', expected one of swin_t"):
        trunk("swin_x")
    with pytest.raises(ValueError, match="as many heads as depths"):
        Swin(16, (1, 1), (1,), 3, levels=(0,))
    with pytest.raises(ValueError, match="levels"):
        Swin(16, (1, 1), (1, 1), 3, levels=(2,))
    with pytest.raises(ValueError, match="levels"):
        Swin(16, (1, 1), (1, 1), 3, levels=())
    with pytest.raises(ValueError, match="a width that the heads divide"):
        Swin(16, (1,), (3,), 3, levels=(0,))
