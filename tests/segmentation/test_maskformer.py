"""MaskFormer's naive form, its builders, and what its losses say by hand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.closeness import EXACT, assert_close
from tests.segmentation.transformers_masks import panoptic_target
from vidi.losses.mask import dice_loss
from vidi.segmentation.mask2former import mask2former_swin_b, mask2former_swin_t, mask2former_tiny
from vidi.segmentation.maskformer import maskformer_resnet50, maskformer_swin_t, maskformer_tiny


@pytest.mark.system("5.3.2-NAIVE")
def test_the_naive_form_reads_a_coarse_mask_off_each_query() -> None:
    """The MLP gives every cell of a mask of 6 x 6; there is no pixel decoder; the mask is enlarged."""
    network: Any = maskformer_tiny(coarse=6).network.double()
    assert network.coarse == 6
    assert not hasattr(network, "pixel_decoder")
    seen: list[Tensor] = []
    network.mask_embedding.register_forward_hook(lambda _, given, out: seen.extend((given[0], out)))
    images = torch.randn(2, 3, 96, 128, dtype=torch.float64)
    outputs = network(images)
    objects, cells = seen
    assert objects.shape == (2, 2, 16, 64)
    assert cells.shape == (2, 2, 16, 36)
    hidden = objects[1, 0, 3]
    for layer in (0, 2):
        linear = network.mask_embedding[layer]
        hidden = F.relu(linear.weight @ hidden + linear.bias)
    coarse = (network.mask_embedding[4].weight @ hidden + network.mask_embedding[4].bias).view(6, 6)
    enlarged = F.interpolate(coarse[None, None], (24, 32), mode="bilinear", align_corners=False)[0, 0]
    assert_close(outputs.auxiliary_mask_logits[1, 0, 3], enlarged, EXACT)
    assert outputs.mask_logits.shape == (2, 16, 24, 32)


@pytest.mark.system("5.3.2-NAIVE")
def test_the_naive_form_learns() -> None:
    model = maskformer_tiny(coarse=6, size=(64, 64), norm="frozen").train()
    images, targets = [torch.rand(3, 64, 64)], [panoptic_target((64, 64), 3)]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        loss = torch.stack(list(model.loss(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.system("5.3.2-MASKFORMER", "5.3.3-M2F")
def test_numbers_of_parameters_are_those_of_the_papers() -> None:
    """Cheng et al. 2021, table 1: 41 M and 42 M; 2022, tables 1 and 2: 47 M (Swin-T), 107 M (Swin-B)."""
    builders = {maskformer_resnet50: 41, maskformer_swin_t: 42, mask2former_swin_t: 47, mask2former_swin_b: 107}
    with torch.device("meta"):
        for build, millions in builders.items():
            assert round(sum(p.numel() for p in build().parameters()) / 1e6) == millions


def test_a_segment_of_a_class_beyond_the_outputs_is_refused() -> None:
    model = maskformer_tiny(categories=3, things=2)
    with pytest.raises(ValueError, match=r"received a segment of class 3, expected 0\.\.2"):
        model.loss([torch.rand(3, 64, 64)], [panoptic_target((64, 64), 0)])
    with pytest.raises(ValueError, match="expected at least panoptic and semantic"):
        model.loss([torch.rand(3, 64, 64)], [{"semantic": torch.zeros(64, 64, dtype=torch.uint8)}])


@pytest.mark.parametrize("build", [maskformer_tiny, mask2former_tiny])
def test_widths_that_cannot_be_are_refused(build: object) -> None:
    with pytest.raises(ValueError, match=r"width=66|heads"):
        build(width=66)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"heads=5|heads"):
        build(heads=5)  # type: ignore[operator]


def test_dice_of_an_empty_mask_that_is_found_empty_is_zero() -> None:
    nothing, everything = torch.full((1, 10), -100.0), torch.full((1, 10), 100.0)
    truth = torch.zeros(1, 10, dtype=torch.bool)
    assert float(dice_loss(nothing, truth)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(everything, ~truth)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(everything, truth)) == pytest.approx(1 - 1 / 11, rel=1e-6)
    half = torch.zeros(1, 10)  # p = 1/2 everywhere: 1 - (2 x 5 + 1) / (5 + 10 + 1)
    assert float(dice_loss(half, ~truth)) == pytest.approx(1 - 11 / 16, rel=1e-6)


@pytest.mark.system("5.3.2-MFLOSS")
@pytest.mark.parametrize("layers", [1, 2])
def test_every_layer_before_the_last_is_judged_too(layers: int) -> None:
    losses = maskformer_tiny(layers=layers).loss([torch.rand(3, 64, 64)], [panoptic_target((64, 64), 0)])
    terms = {"classification", "mask", "dice"}
    assert set(losses) == (terms if layers == 1 else terms | {f"auxiliary_{term}" for term in terms})
