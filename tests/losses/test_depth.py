"""The losses of self-supervised depth against scikit-image, torchmetrics, slow loops and the notes' numbers."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.closeness import NUMBERS, assert_close
from vidi.losses.depth import (
    appearance_loss,
    edge_aware_smoothness_loss,
    explainability_loss,
    left_right_loss,
    second_order_smoothness_loss,
    ssim_box,
    ssim_gaussian,
)
from vidi.ops.warp import left_from_right, right_from_left


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(size: tuple[int, int] = (17, 21)) -> tuple[torch.Tensor, torch.Tensor]:
    first = draw(2, 3, *size)
    return first, 0.7 * first + 0.3 * draw(2, 3, *size, seed=1)


@pytest.mark.system("6.1.1-SSIM")
def test_the_map_of_equal_weights_is_scikit_images():
    first, second = pictures()
    received = ssim_box(first, second, value_range=2.0)
    assert received.shape == (2, 3, 15, 19)
    for b in range(2):
        for c in range(3):
            expected = structural_similarity(
                first[b, c].numpy(),
                second[b, c].numpy(),
                win_size=3,
                data_range=2.0,
                use_sample_covariance=False,
                full=True,
            )[1]
            assert_close(received[b, c], expected[1:-1, 1:-1], NUMBERS)
    assert torch.equal(ssim_box(first, second), ssim_box(first, second, value_range=1))


@pytest.mark.system("6.1.1-SSIM")
def test_the_gaussian_map_is_scikit_images_and_torchmetrics():
    first, second = pictures()
    received = ssim_gaussian(first, second)
    assert received.shape == (2, 3, 7, 11)
    for b in range(2):
        expected = structural_similarity(
            first[b].numpy(),
            second[b].numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=0,
            full=True,
        )[1]
        assert_close(received[b], expected[:, 5:-5, 5:-5], NUMBERS)


@pytest.mark.system("6.1.1-SSIM")
def test_the_maps_with_a_mirrored_border_are_torchmetrics():
    first, second = pictures()
    for ssim, options in ((ssim_gaussian, {}), (ssim_box, {"gaussian_kernel": False, "kernel_size": 3})):
        _, theirs = structural_similarity_index_measure(
            first, second, data_range=1.0, return_full_image=True, **options
        )
        assert_close(ssim(first, second, border="reflect"), theirs, NUMBERS)


@pytest.mark.system("6.1.1-SSIM")
def test_the_border_may_be_mirrored():
    first, second = pictures()
    for ssim, reach in ((ssim_box, 1), (ssim_gaussian, 5)):
        whole = ssim(first, second, border="reflect")
        assert whole.shape == first.shape
        assert_close(whole[:, :, reach:-reach, reach:-reach], ssim(first, second), NUMBERS)
        margins = ((0, 0), (0, 0), (reach, reach), (reach, reach))
        wider = [torch.from_numpy(np.pad(p.numpy(), margins, "reflect")) for p in (first, second)]
        assert_close(whole, ssim(*wider), NUMBERS)


@pytest.mark.system("6.1.1-SSIM", "B6.4")
def test_two_constant_pictures_differ_in_shade_only():
    """B6.4."""
    dark, bright = (torch.full((1, 1, 11, 11), value, dtype=torch.float64) for value in (0.2, 0.6))
    for ssim in (ssim_box, ssim_gaussian):
        assert float(ssim(dark, bright).mean()) == pytest.approx(0.600100, abs=5e-7)
        assert_close(ssim(dark, dark), torch.ones_like(ssim(dark, dark)))


def test_structure_is_computed_in_float32_under_autocast():
    first, second = (picture.bfloat16() for picture in pictures())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = [ssim_box(first, second), ssim_gaussian(first, second)]
    expected = [ssim_box(first.float(), second.float()), ssim_gaussian(first.float(), second.float())]
    for one, other in zip(received, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("size", "other", "options", "message"),
    [
        ((2, 9), (2, 9), {}, "at least 3 x 3"),
        ((9, 9), (9, 8), {}, r"one size|parameter"),
        ((9, 9), (9, 9), {"border": "zero"}, "reflect"),
    ],
)
def test_pictures_that_cannot_be_compared_are_refused(size, other, options, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        ssim_box(draw(1, 1, *size), draw(1, 1, *other), **options)


@pytest.mark.system("6.1.1-LAP")
def test_appearance_is_structure_and_difference_of_colours():
    rebuilt, picture = pictures((6, 7))
    structure = 0.0
    for b, c, y, x in np.ndindex(2, 3, 4, 5):
        one, other = (p[b, c, y : y + 3, x : x + 3].numpy().ravel() for p in (rebuilt, picture))
        covariance = np.cov(one, other, bias=True)
        shade = (2 * one.mean() * other.mean() + 1e-4) / (one.mean() ** 2 + other.mean() ** 2 + 1e-4)
        contrast = (2 * covariance[0, 1] + 9e-4) / (covariance[0, 0] + covariance[1, 1] + 9e-4)
        structure += min(max((1 - shade * contrast) / 2, 0), 1) / (2 * 4 * 5)  # summed over the channels
    difference = float((rebuilt - picture).abs().sum()) / (2 * 6 * 7)
    averaged = (0.85 * structure + 0.15 * difference) / 3
    assert float(appearance_loss(rebuilt, picture)) == pytest.approx(averaged, rel=NUMBERS)
    summed = appearance_loss(rebuilt, picture, alpha=0.3, channels="sum")
    assert float(summed) == pytest.approx(0.3 * structure + 0.7 * difference, rel=NUMBERS)
    whole = appearance_loss(rebuilt, picture, alpha=1, border="reflect")
    assert_close(whole, ((1 - ssim_box(rebuilt, picture, border="reflect")) / 2).mean(), NUMBERS)
    assert float(appearance_loss(picture, picture)) == pytest.approx(0.0, abs=1e-15)


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A slanted wall without occlusion: pictures and disparities of both views, bilinear in the other one."""
    columns = torch.arange(40, dtype=torch.float64)
    left_disparity = torch.full((1, 1, 8, 40), 3.0, dtype=torch.float64)
    right = torch.sin(columns / 3).expand(1, 3, 8, 40).clone()
    return left_from_right(right, left_disparity).image, right, left_disparity, left_disparity.clone()


@pytest.mark.system("6.1.1-LAP", "6.1.1-LLR", "B6.3")
def test_a_perfect_disparity_costs_nothing():
    """B6.3, for a wall that both views show whole."""
    left, right, disparity, other = scene()
    rebuilt = left_from_right(right, disparity)
    assert float(appearance_loss(rebuilt.image, left)) == pytest.approx(0.0, abs=1e-12)
    seen = right_from_left(left, other)
    both = seen.inside.expand_as(right)
    assert_close(seen.image[both], right[both])
    assert float(left_right_loss(disparity, other)) == 0
    wrong = left_from_right(right, disparity + 1)
    assert float(appearance_loss(wrong.image, left)) > 0.01


@pytest.mark.system("6.1.1-LAP")
def test_the_gradient_of_appearance_is_that_of_finite_differences():
    rebuilt, picture = (p[:1] for p in pictures((4, 5)))
    assert torch.autograd.gradcheck(lambda r: appearance_loss(r, picture), (rebuilt.clone().requires_grad_(),))


@pytest.mark.parametrize(("options", "message"), [({"alpha": 1.1}, "alpha=1.1"), ({"channels": "max"}, "mean")])
def test_an_appearance_that_is_not_defined_is_refused(options, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        appearance_loss(*pictures(), **options)


@pytest.mark.system("6.1.1-LDS")
@pytest.mark.parametrize("channels", ["mean", "sum"])
def test_steps_of_disparity_cost_less_where_the_picture_has_one(channels):
    disparity, picture = draw(2, 1, 4, 5), draw(2, 3, 4, 5, seed=1)
    expected = 0.0
    for axis, (H, W) in ((3, (4, 4)), (2, (3, 5))):
        for b, y, x in np.ndindex(2, H, W):
            v, u = (y, x + 1) if axis == 3 else (y + 1, x)
            step = [abs(float(picture[b, c, y, x] - picture[b, c, v, u])) for c in range(3)]
            edge = sum(step) / (3 if channels == "mean" else 1)
            expected += abs(float(disparity[b, 0, y, x] - disparity[b, 0, v, u])) * math.exp(-edge) / (2 * H * W)
    received = edge_aware_smoothness_loss(disparity, picture, channels=channels)
    assert float(received) == pytest.approx(expected, rel=NUMBERS)


@pytest.mark.system("6.1.1-LDS", "B6.5")
def test_a_constant_disparity_is_smooth_and_a_step_on_an_edge_weighs_one_by_e():
    """B6.5."""
    picture = torch.zeros(1, 3, 1, 4, dtype=torch.float64)
    picture[..., 2:] = 1
    tall = picture.expand(1, 3, 2, 4)
    assert float(edge_aware_smoothness_loss(torch.full((1, 1, 2, 4), 7.0, dtype=torch.float64), tall)) == 0
    step = 2 * tall[:, :1]
    assert float(edge_aware_smoothness_loss(step, tall)) * 3 / 2 == pytest.approx(0.367879, abs=5e-7)
    assert float(edge_aware_smoothness_loss(step, torch.zeros_like(tall))) * 3 / 2 == pytest.approx(1.0)
    assert float(edge_aware_smoothness_loss(step.mT, tall.mT)) * 3 / 2 == pytest.approx(0.367879, abs=5e-7)


def test_a_map_and_a_picture_of_two_sizes_are_refused():
    with pytest.raises((ValueError, TypeCheckError), match=r"one size|parameter"):  # the tests' hook comes first
        edge_aware_smoothness_loss(draw(1, 1, 4, 4), draw(1, 3, 4, 5))


def slow_row(values: torch.Tensor, x: float, beyond: str) -> float:
    W = len(values)
    if beyond == "edge":
        x = min(max(x, 0), W - 1)
    a = math.floor(x)
    weights = ((a, 1 - (x - a)), (a + 1, x - a))
    return sum(share * float(values[k]) for k, share in weights if 0 <= k < W)


@pytest.mark.system("6.1.1-LLR")
@pytest.mark.parametrize("beyond", ["edge", "zero"])
def test_each_disparity_is_compared_with_the_other_where_they_meet(beyond):
    """The signs of C6.1 and C6.2: the right map at u - d_left, the left map at u + d_right."""
    left, right = 4 * draw(2, 1, 3, 9), 4 * draw(2, 1, 3, 9, seed=1)
    expected = 0.0
    for b, y, x in np.ndindex(2, 3, 9):
        d_left, d_right = float(left[b, 0, y, x]), float(right[b, 0, y, x])
        expected += abs(d_left - slow_row(right[b, 0, y], x - d_left, beyond)) / 54
        expected += abs(d_right - slow_row(left[b, 0, y], x + d_right, beyond)) / 54
    assert float(left_right_loss(left, right, beyond=beyond)) == pytest.approx(expected, rel=NUMBERS)
    maps = left.requires_grad_(), right.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: left_right_loss(a, b, beyond=beyond), maps)


def test_a_plane_does_not_bend_and_a_parabola_does_by_its_second_derivative():
    y, x = torch.meshgrid(torch.arange(5.0).double(), torch.arange(6.0).double(), indexing="ij")
    assert float(second_order_smoothness_loss((3 * x - 2 * y + 1)[None, None])) == pytest.approx(0, abs=1e-12)
    # 2, 5 and 5, and 6: the second differences along x, mixed, and along y
    assert float(second_order_smoothness_loss((x**2 + 5 * x * y + 3 * y**2)[None, None])) == pytest.approx(18)
    maps = draw(2, 1, 4, 5)
    d = maps[:, 0].numpy()
    expected = sum(np.abs(np.diff(np.diff(d, axis=a), axis=b)).mean() for a in (1, 2) for b in (1, 2))
    assert float(second_order_smoothness_loss(maps)) == pytest.approx(expected, rel=NUMBERS)


def test_to_explain_every_pixel_is_cross_entropy_with_the_second_class():
    logits = 4 * draw(2, 3, 2, 4, 5) - 2
    expected = 0.0
    for b, s, y, x in np.ndindex(2, 3, 4, 5):
        no, yes = (float(logits[b, s, k, y, x]) for k in range(2))
        expected -= math.log(math.exp(yes) / (math.exp(no) + math.exp(yes))) / (2 * 3 * 4 * 5)
    assert float(explainability_loss(logits)) == pytest.approx(expected, rel=NUMBERS)
    assert float(explainability_loss(torch.zeros(1, 2, 4, 4))) == pytest.approx(math.log(2))


def test_all_losses_of_halves_are_of_floats():
    maps, picture = draw(1, 1, 5, 6).bfloat16(), draw(1, 3, 5, 6).bfloat16()
    losses = [
        appearance_loss(picture, picture.flip(2)),
        edge_aware_smoothness_loss(maps, picture),
        left_right_loss(maps, maps.flip(2)),
        second_order_smoothness_loss(maps),
        explainability_loss(torch.cat((maps, maps), 1)),
    ]
    for loss in losses:
        assert loss.dtype == torch.float32
        assert loss > 0
