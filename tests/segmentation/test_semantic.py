"""What semantic segmenters share: the loss of pixels, the class of each pixel of the original."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from tests.closeness import EXACT, assert_close
from vidi.model import Step
from vidi.ops.label_maps import VOID
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.segmentation.semantic import AuxiliaryOutputs, PixelCriterion, SemanticDecode, SemanticOutputs
from vidi.segmentation.unet import unet_tiny

K = 3
SIZES = [(6, 9), (5, 7), (4, 8)]  # H, W of maps on a canvas of 6 x 9


def labels_of(seed: int = 0, *, classes: int = K) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in SIZES:
        labels = torch.randint(0, classes, size, generator=generator, dtype=torch.uint8)
        labels[torch.rand(size, generator=generator) < 0.2] = VOID
        found.append(labels)
    return found


def batch_of(maps: list[Tensor]) -> Batch:
    placements = [Placement((m.shape[0], m.shape[1]), (m.shape[0], m.shape[1])) for m in maps]
    images = torch.zeros(len(maps), 3, *SIZES[0])
    return Batch(images, images[:, 0] == 0, placements, [{"semantic": tv_tensors.Mask(m)} for m in maps])


def logits_of(count: int = 3, outputs: int = K, seed: int = 1) -> Tensor:
    return torch.randn(
        count, outputs, *SIZES[0], dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


@pytest.mark.system("5.1-SEMSEG")
def test_the_loss_by_slow_loops() -> None:
    """Padding and void pixels have none; the mean is over all that are left."""
    maps, logits, second = labels_of(), logits_of(), logits_of(seed=2)
    total, auxiliary, count = 0.0, 0.0, 0
    for row, labels in enumerate(maps):
        for y, line in enumerate(labels.tolist()):
            for x, label in enumerate(line):
                if label != VOID:
                    for which in (logits, second):
                        p = which[row, :, y, x].softmax(0)[label].item()
                        total, auxiliary = (
                            (total - math.log(p), auxiliary) if which is logits else (total, auxiliary - math.log(p))
                        )
                    count += 1
    losses = PixelCriterion((0, 1, 2), 0.4).compare(AuxiliaryOutputs(logits, second), batch_of(maps), Step())
    assert losses["pixels"].item() == pytest.approx(total / count, rel=EXACT)
    assert losses["auxiliary"].item() == pytest.approx(0.4 * auxiliary / count, rel=EXACT)
    losses["pixels"].backward()
    assert logits.grad is not None
    assert (logits.grad[1, :, 5:] == 0).all()
    assert (logits.grad[1, :, :, 7:] == 0).all()
    plain = PixelCriterion((0, 1, 2)).compare(SemanticOutputs(logits), batch_of(maps), Step())
    assert [*plain] == ["pixels"]


def test_two_processes_equal_one() -> None:
    maps, logits, criterion = labels_of(), logits_of(), PixelCriterion((0, 1, 2))
    whole = criterion.compare(SemanticOutputs(logits), batch_of(maps), Step())["pixels"]
    counts: list[Tensor] = []
    parts = (slice(0, 1), slice(1, 3))
    for part in parts:
        step = Step(mean=lambda count: counts.append(count) or count)
        criterion.compare(SemanticOutputs(logits[part]), batch_of(maps[part]), step)
    mean = torch.stack(counts).double().mean()
    shares = [
        criterion.compare(SemanticOutputs(logits[part]), batch_of(maps[part]), Step(mean=lambda _: mean))["pixels"]
        for part in parts
    ]
    assert_close(torch.stack(shares).mean(), whole)


def test_labels_count_the_outputs_that_have_a_category() -> None:
    """The others stay in the softmax, and are never the class of a pixel."""
    maps, logits = labels_of(), logits_of(outputs=5)
    moved = [m.where(m == VOID, torch.tensor([1, 2, 4], dtype=torch.uint8)[m.where(m != VOID, 0).long()]) for m in maps]
    losses = PixelCriterion((1, 2, 4)).compare(SemanticOutputs(logits), batch_of(maps), Step())
    every = PixelCriterion((0, 1, 2, 3, 4)).compare(SemanticOutputs(logits), batch_of(moved), Step())
    assert losses["pixels"] == every["pixels"]
    decode = SemanticDecode((None, "a", "b", None, "c"))
    (result,) = decode(SemanticOutputs(logits[:1]), [Placement(SIZES[0], SIZES[0])])
    assert result.categories == ("a", "b", "c")
    assert torch.equal(result.classes, logits[0, [1, 2, 4]].argmax(0).to(torch.uint8))


def test_pictures_of_void_alone_cost_nothing() -> None:
    logits = logits_of(1)
    batch = batch_of([torch.full(SIZES[0], VOID, dtype=torch.uint8)])
    loss = PixelCriterion((0, 1, 2)).compare(SemanticOutputs(logits), batch, Step())["pixels"]
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([{"semantic": torch.full((6, 9), 3, dtype=torch.uint8)}], r"label 3, expected 0\.\.2 or 255"),
        ([{}], "no 'semantic'"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(targets: list[dict[str, Tensor]], message: str) -> None:
    images = torch.zeros(1, 3, *SIZES[0])
    batch = Batch(images, images[:, 0] == 0, [Placement(SIZES[0], SIZES[0])], targets)
    with pytest.raises(ValueError, match=message):
        PixelCriterion((0, 1, 2)).compare(SemanticOutputs(logits_of(1)), batch, Step())


@pytest.mark.system("5.1-SEMSEG")
@pytest.mark.parametrize("original", [(40, 31), (39, 57), (64, 64), (17, 130)])
def test_odd_sizes_keep_their_pixels_in_place(original: tuple[int, int]) -> None:
    """A picture whose brightness says its class, through resizing, padding, and back: edges stay where they are."""

    class Steps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.levels = torch.nn.Buffer(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1))

        def forward(self, images: Tensor) -> SemanticOutputs:
            return SemanticOutputs(-((images.mean(1, keepdim=True) - self.levels) ** 2))

    model: Any = unet_tiny(categories=K)
    model.network = Steps()
    model.preprocess = Preprocess(longest=64, stride=16, mean=(0.0,) * 3, std=(1.0,) * 3)
    H, W = original
    ramp = torch.linspace(0, 1, W).expand(3, H, W).clone()
    (result,) = model.predict(ramp)
    assert result.classes.shape == original
    expected = (ramp[0] > 0.25).int() + (ramp[0] > 0.75).int()
    wrong = (result.classes != expected).float().mean()
    assert wrong <= 2 * max(1, W / 64) / W  # at each of two edges at most half a pixel of the resized picture
    assert (result.classes != result.classes[:1]).any(0).sum() <= 1  # a tie may fall either way


def test_the_canvas_of_maps_is_void_beyond_the_pictures() -> None:
    maps = labels_of()
    stacked = batch_of(maps).maps("semantic")
    assert stacked.shape == (3, 6, 9)
    assert stacked.dtype == torch.uint8
    for row, labels in enumerate(maps):
        h, w = labels.shape
        assert torch.equal(stacked[row, :h, :w], labels)
        assert (stacked[row, h:] == VOID).all()
        assert (stacked[row, :, w:] == VOID).all()
