"""DeepLab beyond its parity: both forms of v2's pyramid, rates, multi-grid, single pictures, the two-phase training."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vidi
from tests.closeness import OUTPUTS, assert_close
from vidi import files
from vidi.catalog.table import CATALOG
from vidi.model import Step
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Batch, Placement
from vidi.segmentation import deeplab, deeplab_plus
from vidi.segmentation.deeplab import Pyramid, ScorePyramid, rates_at, sharing_weights
from vidi.segmentation.dilated import dilated_trunk, fcn_resnet50

SMALL: dict[str, Any] = {"categories": 3, "width": 16, "channels": 16}
SIZE = (64, 64)


def batch_of(count: int) -> Batch:
    images = torch.randn(count, 3, *SIZE)
    labels = (images[:, 0] > 0).to(torch.uint8)
    placements = [Placement(SIZE, SIZE)] * count
    return Batch(images, images[:, 0] < 99, placements, [{"semantic": m} for m in labels])


@pytest.mark.system("5.A.1-ASPP2")
@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_the_pyramid_of_v2_is_its_branches_summed_or_side_by_side(fusion: Any) -> None:
    pyramid = ScorePyramid(6, 4, fusion=fusion, width=5).double()
    x = torch.randn(2, 6, 33, 41, dtype=torch.float64)
    assert [branch.dilation for branch in pyramid.branches] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    branches = [
        F.conv2d(x, branch.weight, branch.bias, padding=rate, dilation=rate)  # type: ignore[arg-type]
        for branch, rate in zip(pyramid.branches, (6, 12, 18, 24), strict=True)
    ]
    if fusion == "sum":
        expected = branches[0] + branches[1] + branches[2] + branches[3]
    else:
        assert pyramid.mix is not None
        expected = F.conv2d(torch.cat(branches, 1), pyramid.mix.weight, pyramid.mix.bias)
    assert_close(pyramid(x), expected, OUTPUTS)
    with pytest.raises((ValueError, TypeError)):
        ScorePyramid(6, 4, fusion="mean")  # type: ignore[arg-type]


@pytest.mark.system("5.A.1-ASPP2")
def test_v2_sums_by_default_at_stride_8() -> None:
    with torch.device("meta"):
        model: Any = deeplab.deeplabv2_resnet101()
    assert model.network.head.mix is None
    assert model.network.backbone.strides[-1] == 8


@pytest.mark.system("5.A.2-ASPP3")
def test_rates_look_equally_far_at_both_strides() -> None:
    assert (rates_at(16), rates_at(8)) == ((6, 12, 18), (12, 24, 36))
    with torch.device("meta"):
        for stride, rates in ((16, (6, 12, 18)), (8, (12, 24, 36))):
            model: Any = deeplab.deeplabv3_resnet50(stride=stride)  # type: ignore[arg-type]
            pyramid = model.network.head[0]
            assert tuple(branch.conv.dilation[0] for branch in pyramid.dilated) == rates
            assert model.network.backbone.strides[-1] == stride
            assert pyramid.dropout.p == 0.5
    with torch.device("meta"):
        plus: Any = deeplab_plus.deeplabv3plus_resnet50()
    assert plus.network.backbone.strides[-1] == 16
    assert (plus.network.fine.conv.out_channels, len(plus.network.refine)) == (48, 2)
    assert [unit.conv.kernel_size for unit in plus.network.refine] == [(3, 3), (3, 3)]
    assert isinstance(plus.network.smooth, nn.Identity)


@pytest.mark.system("5.A.2-ASPP3")
def test_a_single_picture_trains_though_its_mean_has_no_variance() -> None:
    pyramid: Any = Pyramid(6, 4, rates=(1, 2, 3), norm=norm_layer("batch"), dropout=0.0)
    x = torch.randn(3, 6, 9, 9)
    before = pyramid.whole.norm.running_mean.clone()
    pyramid.train()(x[:1]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pyramid.parameters())
    assert torch.equal(pyramid.whole.norm.running_mean, before)
    pyramid(x)
    assert not torch.equal(pyramid.whole.norm.running_mean, before)
    alone = pyramid.eval()(x[:1])
    assert_close(alone, pyramid(x)[:1], 1e-5)


def last_stage(backbone: Any) -> list[nn.Conv2d]:
    """Return the 3x3 convolutions of the last stage's blocks."""
    return [block.conv2 for block in backbone.stage4]


@pytest.mark.system("5.1.5-DILSTAGE", "5.1.5-DILRESNET")
def test_multi_grid_dilates_the_blocks_of_the_last_stage_one_by_one() -> None:
    backbone = dilated_trunk("resnet50", 16, norm="batch", width=16, multi_grid=(1, 2, 4))
    assert [(layer.dilation, layer.padding) for layer in last_stage(backbone)] == [((d, d), (d, d)) for d in (1, 4, 8)]
    for stride, dilations in ((16, (1, 2, 2)), (8, (2, 4, 4))):
        plain = dilated_trunk("resnet50", stride, norm="batch", width=16)  # type: ignore[arg-type]
        assert tuple(layer.dilation[0] for layer in last_stage(plain)) == dilations
    images = torch.randn(1, 3, 64, 64)
    assert backbone(images)[-1].shape[2:] == (4, 4)
    with pytest.raises(ValueError, match="expected 3 factors"):
        dilated_trunk("resnet50", 16, norm="batch", width=16, multi_grid=(1, 2))
    with pytest.raises((ValueError, TypeError)):
        dilated_trunk("resnet50", 32, norm="batch")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(64, 64), (50, 71), (33, 97)])
@pytest.mark.parametrize("name", ["deeplabv3plus_resnet18", "deeplabv3_resnet18"])
def test_scores_have_the_size_of_any_canvas(name: str, size: tuple[int, int]) -> None:
    model: Any = getattr(deeplab_plus if "plus" in name else deeplab, name)(**SMALL)
    assert model(torch.randn(2, 3, *size)).logits.shape == (2, 3, *size)


def test_the_second_head_is_an_option() -> None:
    with_head: Any = fcn_resnet50(categories=3, width=16)
    without: Any = fcn_resnet50(categories=3, width=16, auxiliary=False)
    assert [*with_head.losses("network", batch_of(2), Step())] == ["pixels", "auxiliary"]
    assert [*without.losses("network", batch_of(2), Step())] == ["pixels"]


# ----------------------------------------------------------------------------------------------------------------------
# Two phases


@pytest.mark.system("5.1.5-CURRICULUM")
def test_the_second_phase_has_the_weights_of_the_first_at_half_the_stride() -> None:
    model: Any = deeplab.deeplabv3_curriculum_resnet50(**SMALL)
    coarse, fine = (stage.model.network for stage in model.stages())
    assert [stage.name for stage in model.stages()] == ["stride16", "stride8"]
    assert (coarse.backbone.strides[-1], fine.network.backbone.strides[-1]) == (16, 8)
    assert [branch.conv.dilation[0] for branch in fine.network.head[0].dilated] == [12, 24, 36]
    assert [block.conv2.dilation[0] for block in fine.network.backbone.stage4] == [2, 8, 16]  # multi-grid 1, 2, 4
    assert {id(p) for p in coarse.parameters()} == {id(p) for p in fine.parameters()}
    with torch.no_grad():
        coarse.head[2].bias.fill_(3.0)
    assert (fine.network.head[2].bias == 3).all()
    reference: Any = deeplab.deeplabv3_resnet50(**SMALL, stride=8, auxiliary=False, multi_grid=(1, 2, 4))
    reference.network.load_state_dict(model.parts["network"].state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(fine.eval()(images).logits, reference(images).logits, 1e-5)
        assert_close(model.predict_batch(batch_of(1))[0].classes.shape, SIZE)


@pytest.mark.system("5.1.5-CURRICULUM")
def test_statistics_are_fixed_in_the_second_phase_alone() -> None:
    model: Any = deeplab.deeplabv3_curriculum_resnet50(**SMALL)
    first, second = (stage.model for stage in model.stages())
    norms: list[Any] = [layer for layer in model.parts.modules() if isinstance(layer, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    second.train().losses("network", batch_of(3), Step())["pixels"].backward()
    assert all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))
    assert all(norm.weight.grad is not None for norm in norms)
    first.train().losses("network", batch_of(3), Step())["pixels"].backward()
    assert not any(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


@pytest.mark.system("5.1.5-CURRICULUM")
def test_the_command_trains_both_phases_on_one_set_of_weights(tmp_path: Path) -> None:
    """The first in larger batches; what the second learnt is what is saved, loaded and predicts."""
    recipes = CATALOG["deeplabv3_curriculum_resnet50"].recipes
    assert [*recipes] == ["stride16", "stride8"]
    assert recipes["stride16"].batch_size == 2 * recipes["stride8"].batch_size
    assert recipes["stride16"].learning_rate == 7 * recipes["stride8"].learning_rate
    numbers = {"steps": 3, "batch_size": 4, "world_scenes": 8, "world_size": (64, 64), "ema": 0.5, "warmup": 0}
    keys = {f"{phase}.{key}": value for phase in recipes for key, value in numbers.items()}
    small: dict[str, Any] = {"width": 16, "channels": 16, "shorter": 64}
    run = vidi.train("deeplabv3_curriculum_resnet50", out=tmp_path / "run", **small, **keys)
    weights = {phase: files.read_tensors(run.folder / phase / "weights.safetensors") for phase in recipes}
    ended = files.read_tensors(run.weights_path("best"))
    first, second = weights["stride16"], weights["stride8"]
    assert all(torch.equal(value, ended[key]) for key, value in second.items())
    means = [key for key in first if key.endswith("running_mean")]
    assert means
    assert all(torch.equal(first[key], second[key]) for key in means)
    assert any(not torch.equal(value, second[key]) for key, value in first.items() if key.endswith("conv.weight"))
    model = vidi.load(run.folder)
    picture = torch.rand(3, 64, 64)
    (found,) = model.predict(picture)
    reference: Any = deeplab.deeplabv3_resnet50(
        categories=model.decode.categories, auxiliary=False, multi_grid=(1, 2, 4), **small
    )
    reference.network.load_state_dict(model.parts["network"].state_dict())
    assert torch.equal(found.classes, reference.predict(picture)[0].classes)


@pytest.mark.system("5.1.5-DEEPLAB3P")
def test_the_decoder_of_the_paper_written_out() -> None:
    """The pyramid four times as large, beside 48 channels of C2; two 3x3; the scores four times as large."""
    network: Any = deeplab_plus.deeplabv3plus_resnet18(**SMALL).double().eval().network
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    c2, *_, c5 = network.backbone.features(images)
    assert (c5.shape[2:], c2.shape[2:]) == ((4, 6), (16, 24))
    x = F.interpolate(network.pyramid(c5), scale_factor=4, mode="bilinear", align_corners=False)
    x = torch.cat((x, unit_of(network.fine, c2, padding=0)), 1)
    assert x.shape[1] == 16 + 48
    for unit in network.refine:
        x = unit_of(unit, x, padding=1)
    x = F.conv2d(x, network.score.weight, network.score.bias)
    expected = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    assert_close(network(images).logits, expected, OUTPUTS)


def unit_of(unit: Any, x: torch.Tensor, *, padding: int) -> torch.Tensor:
    """A convolution without bias, a norm in evaluation and a ReLU, by functions."""
    norm = unit.norm
    x = F.conv2d(x, unit.conv.weight, padding=padding)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5).relu()


def test_networks_of_other_layers_share_no_weights() -> None:
    with pytest.raises(ValueError, match="other layers"):
        sharing_weights(nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Sequential(nn.ReLU()))
