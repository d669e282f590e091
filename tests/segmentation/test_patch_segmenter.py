"""The classifier of patches: its windows one by one are its dense form, and the sum of the pixels' losses its loss."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import GRADIENTS, OUTPUTS, assert_close, largest
from vidi.model import Step
from vidi.preprocess import Batch, Placement
from vidi.segmentation.patch_segmenter import PatchSegmenter, patch_segmenter

K = 4


def pair(stages: int) -> tuple[PatchSegmenter, PatchSegmenter]:
    windows, dense = (
        PatchSegmenter(K, width=3, stages=stages, hidden=6, form=form).double() for form in ("windows", "dense")
    )
    dense.load_state_dict(windows.state_dict())
    return windows, dense


@pytest.mark.system("5.1.2-PATCHSEG", "B5.15")
@pytest.mark.parametrize(("stages", "window"), [(1, 7), (2, 18), (3, 40)])
def test_windows_equal_the_dense_form(stages: int, window: int) -> None:
    windows, dense = pair(stages)
    assert windows.window == dense.window == window
    images = torch.randn(2, 3, 13, 22, dtype=torch.float64)
    one, other = windows(images).logits, dense(images).logits
    assert one.shape == (2, K, 13, 22)
    assert_close(other, one, OUTPUTS)
    weights = torch.randn_like(one)
    for logits in (one, other):
        (logits * weights).sum().backward()
    wanted = {name: p.grad for name, p in windows.named_parameters()}
    grown = {name: p.grad for name, p in dense.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*[g for g in wanted.values() if g is not None]))


@pytest.mark.system("5.1.2-PATCHSEG")
def test_a_pixel_is_classified_by_the_window_about_it() -> None:
    """Cut by hand; and what lies outside of it means nothing."""
    windows, _ = pair(2)
    image = torch.randn(1, 3, 40, 44, dtype=torch.float64)
    scores = windows(image).logits
    y, x, half = 21, 17, 9
    window = image[:, :, y - half : y + half, x - half : x + half]
    assert window.shape[2:] == (18, 18)
    assert_close(scores[:, :, y, x], windows.layers(window).flatten(1), OUTPUTS)
    elsewhere = torch.randn_like(image)
    elsewhere[:, :, y - half : y + half, x - half : x + half] = window
    assert_close(windows(elsewhere).logits[:, :, y, x], scores[:, :, y, x], OUTPUTS)


@pytest.mark.system("5.1.2-PATCHSEG")
def test_the_loss_is_the_sum_over_pixels_by_their_number() -> None:
    model: Any = patch_segmenter(width=3, hidden=6).double()
    assert (model.network.layers[-1].out_channels, model.network.window) == (21, 40)
    images = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    labels = torch.randint(0, 21, (2, 9, 11), dtype=torch.uint8)
    batch = Batch(images, images[:, 0] < 99, [Placement((9, 11), (9, 11))] * 2, [{"semantic": m} for m in labels])
    loss = model.losses("network", batch, Step())["pixels"]
    logits = model(images).logits
    pixels = itertools.product(range(2), range(9), range(11))
    losses = [nn.functional.cross_entropy(logits[b, :, y, x], labels[b, y, x].long()) for b, y, x in pixels]
    assert_close(loss, torch.stack(losses).sum() / (2 * 9 * 11))


def test_what_is_no_segmenter_is_refused() -> None:
    with pytest.raises((ValueError, TypeError)):
        PatchSegmenter(K, width=3, stages=2, hidden=4, form="sparse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        PatchSegmenter(K, width=3, stages=0, hidden=4, form="dense")
