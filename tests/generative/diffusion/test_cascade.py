"""A cascade: what the second model is shown in training and in sampling."""

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.generative.diffusion.test_ddpm import drawn_anew, seed
from vidi.generative.diffusion.cascade import (
    SEEN_STEP,
    EnlargingCriterion,
    cascade,
    enlarged,
    enlarger_tiny,
    made_smaller,
)
from vidi.generative.diffusion.ddpm import ddpm_class_tiny
from vidi.model import Step
from vidi.ops.diffusion import Denoised, Schedule, denoised, noised, velocity
from vidi.ops.noise import seeded_normal
from vidi.preprocess import Batch, Placement

SIZE = (8, 8)


class Recorder(nn.Module):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, ...]] = []

    def forward(self, *asked: Tensor) -> Tensor:
        self.asked.append(asked)
        return 0.5 * asked[0]


@pytest.mark.system("8.3.6-CASCADE")
def test_training_shows_the_small_picture_with_noise_of_a_random_level() -> None:
    """Enlarged again, at levels from none to that of half of the times; the error is of the large picture."""
    schedule, network = Schedule.named("cosine", 20), Recorder()
    criterion = EnlargingCriterion(schedule, "v", 2, 3)
    pictures = torch.rand(300, 3, *SIZE, dtype=torch.float64) * 2 - 1
    batch = Batch(pictures, torch.ones(300, *SIZE, dtype=torch.bool), [Placement(SIZE, SIZE)] * 300, [{}] * 300)
    losses = criterion(network, batch, Step(generator=seed(1)))
    ((x, times, levels, seen),) = network.asked
    assert set(levels.tolist()) == {0, 1, 2}
    small = F.interpolate(F.avg_pool2d(pictures, 2), SIZE, mode="bilinear", align_corners=False)
    assert_close(seen[levels == 0], small[levels == 0], NUMBERS)
    for level, alpha in ((1, schedule.level(4)), (2, schedule.level(9))):
        rest = seen[levels == level] - alpha**0.5 * small[levels == level]
        assert rest.var().item() == pytest.approx(1 - alpha, rel=0.1)
    alpha = schedule.levels(times, x)
    noise = (x - alpha**0.5 * pictures) / (1 - alpha) ** 0.5
    assert_close(losses["v"], F.mse_loss(0.5 * x, velocity(pictures, noise, alpha)), 1e-8)


@pytest.mark.system("8.3.6-CASCADE")
def test_the_enlarged_picture_stands_beside_on_the_channels() -> None:
    """Six of them, not twice the width (erratum C8.24)."""
    model = enlarger_tiny(size=SIZE, width=8, diffusion_steps=20, levels=3)
    unet = cast(Any, model.network).unet
    assert unet.conv_in.in_channels == 6
    assert unet.label.table.weight.shape[0] == 3
    drawn_anew(model)
    x, small = torch.randn(1, 3, *SIZE), torch.randn(1, 3, *SIZE)
    times, levels = torch.tensor([3]), torch.tensor([2])
    expected = unet(torch.cat((x, small), 1), times, levels)
    assert torch.equal(model(x, times, levels, small), expected)
    with pytest.raises(ValueError, match="expected sides that it divides"):
        enlarger_tiny(size=(9, 8))


@pytest.mark.system("8.3.6-CASCADE")
def test_a_base_model_and_one_that_enlarges() -> None:
    """The second sees what the first made, with noise of the level asked for and of each picture's own seed."""
    base = ddpm_class_tiny(categories=2, size=(4, 4), width=8, diffusion_steps=20, predicts="x0")
    second = enlarger_tiny(size=SIZE, width=8, diffusion_steps=20, levels=3, predicts="x0")
    drawn_anew(base)
    drawn_anew(second, 2)
    found = cascade(base, [second], 2, generator=seed(4), class_=1, steps=3)
    assert found.shape == (2, 3, *SIZE)
    small = base.sample(2, generator=seed(4), class_=1, steps=3)
    assert_close(found, second.enlarge(small, generator=seed(4), level=1), FLOAT32)
    assert_close(found[1:], second.enlarge(small[1:], generator=seed(5), level=1), FLOAT32)
    assert (found - second.enlarge(small, generator=seed(4), level=0)).abs().max() > 1e-5
    with pytest.raises(ValueError, match="received level 3, expected one from 0 to 2"):
        second.enlarge(small, level=3)


@pytest.mark.system("8.3.6-CASCADE")
def test_sampling_shows_the_enlarged_picture_with_noise_of_each_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In [-1, 1], with noise of the first level unless another one is asked for; DDIM without draws."""
    model = enlarger_tiny(size=SIZE, width=8, diffusion_steps=20, noise_schedule="linear", levels=3, predicts="x0")
    asked: list[tuple[Tensor, ...]] = []

    def remembered(x: Tensor, times: Tensor, *condition: Tensor) -> Denoised:
        asked.append(condition)
        return denoised(torch.zeros_like(x), x, model.schedule.levels(times, x), "x0")

    monkeypatch.setattr(model, "seen", remembered)
    pictures = torch.rand(2, 3, 4, 4)
    model.enlarge(pictures, generator=seed(4), steps=1)
    ((levels, seen),) = asked
    assert levels.tolist() == [1, 1]
    small = F.interpolate(2 * pictures - 1, SIZE, mode="bilinear", align_corners=False)
    alpha = model.schedule.level(4)
    noise = seeded_normal((3, *SIZE), [4, 5], SEEN_STEP)
    assert_close(seen, alpha**0.5 * small + (1 - alpha) ** 0.5 * noise, FLOAT32)
    usual = model.enlarge(pictures, generator=seed(4), steps=3)
    assert torch.equal(usual, model.enlarge(pictures, generator=seed(4), steps=3, eta=0.0))


def test_levels_reach_the_middle_of_the_schedule_and_pictures_need_not_be_square() -> None:
    schedule = Schedule.named("cosine", 20)
    criterion = EnlargingCriterion(schedule, "v", 2, 2)
    like = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    assert criterion.alpha_of(torch.tensor([0, 1]), like).flatten().tolist() == [1, schedule.level(9)]
    pictures = torch.rand(2, 3, 4, 6)
    batch = Batch(pictures, torch.ones(2, 4, 6, dtype=torch.bool), [Placement((4, 6), (4, 6))] * 2, [{}] * 2)
    assert criterion.condition(batch, Step(generator=seed(1)))[1].shape == (2, 3, 4, 6)


def test_the_small_network_is_what_it_says() -> None:
    model = enlarger_tiny()
    assert (model.size, model.criterion.factor, model.criterion.levels, model.schedule.steps) == ((32, 32), 2, 6, 1000)
    assert cast(Any, model.network).unet.sizes.channels == (32, 64, 64)


def test_no_noise_is_none() -> None:
    criterion = EnlargingCriterion(Schedule.named("linear", 20), "v", 2, 1)
    like = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    assert criterion.alpha_of(torch.tensor([0]), like).item() == 1
    picture = torch.rand(1, 3, 4, 4)
    assert torch.equal(noised(picture, seeded_normal((3, 4, 4), [1]), 1.0), picture)
    assert enlarged(made_smaller(picture, 2), (4, 4)).shape == picture.shape
