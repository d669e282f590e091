"""Stereo and supervised depth: their losses by slow loops; how outputs of every system become depth in metres."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import EXACT, FLOAT32, NUMBERS, assert_close
from vidi.depth.disparity_network import Disparities, mean_with_mirrored
from vidi.depth.estimator import Cameras, DepthDecode
from vidi.depth.frame_networks import InverseDepths
from vidi.depth.monodepth import LeftDisparity, monodepth_tiny
from vidi.depth.sfm_learner import inverse_depth
from vidi.depth.stereo import DisparityCriterion, left_disparity, stereo_tiny
from vidi.depth.supervised import DepthCriterion, MetricDepth, depth_tiny
from vidi.losses.depth import scale_invariant_log_loss
from vidi.model import Step
from vidi.preprocess import Batch, Placement

SIZE = (12, 16)


def drawn(views: int = 1, seed: int = 0) -> Disparities:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(SIZE[0] // 2**k, SIZE[1] // 2**k) for k in range(3)] + [(2, 2)]
    return Disparities(
        *(0.01 + 0.28 * torch.rand(2, views, *s, generator=generator, dtype=torch.float64) for s in sizes)
    )


def batch_of(**maps: Tensor) -> Batch:
    images = torch.rand(2, 3, *SIZE, dtype=torch.float64)
    targets = [{name: value[row] for name, value in maps.items()} for row in range(2)]
    return Batch(images, torch.ones(2, *SIZE, dtype=torch.bool), [Placement(SIZE, SIZE)] * 2, targets)


def enlarged(maps: Tensor) -> Tensor:
    return F.interpolate(maps, size=SIZE, mode="bilinear", align_corners=False)[:, 0]


# ----------------------------------------------------------------------------------------------------------------------
# Losses


@pytest.mark.system("6.1-SUPERVISED")
@pytest.mark.parametrize("forgiven", [0.0, 0.5, 1.0])
def test_the_scale_invariant_loss_by_a_loop_over_pairs_of_pixels(forgiven: float) -> None:
    """Eigen et al., equations 3 and 4: with all forgiven it compares each pixel with every other."""
    difference = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    valid = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(2)) < 0.6
    expected = []
    for own, seen in zip(difference, valid, strict=True):
        d = own[seen]
        pairs = ((d[:, None] - d[None]) ** 2).mean() / 2  # mean d^2 - (mean d)^2
        expected.append((1 - forgiven) * (d**2).mean() + forgiven * pairs)
    found = scale_invariant_log_loss(difference, valid, forgiven=forgiven)
    assert_close(found, torch.stack(expected).mean(), NUMBERS)


def test_pictures_without_depth_count_nothing() -> None:
    difference, valid = torch.randn(2, 4, 5), torch.zeros(2, 4, 5, dtype=torch.bool)
    assert float(scale_invariant_log_loss(difference, valid)) == 0
    valid[1] = True
    assert_close(scale_invariant_log_loss(difference, valid), scale_invariant_log_loss(difference[1:], valid[1:]), 1e-6)


@pytest.mark.system("6.1-SUPERVISED")
def test_supervised_depth_is_compared_at_every_scale() -> None:
    outputs, depth = drawn(), 1 + 9 * torch.rand(2, *SIZE, dtype=torch.float64)
    valid = torch.rand(2, *SIZE) < 0.7
    depth[~valid] = 0  # as in files
    found = DepthCriterion(MetricDepth(0.5)).compare(outputs, batch_of(depth=depth, depth_valid=valid), Step())
    expected = []
    for maps in outputs:
        predicted = 0.5 * 0.3 / enlarged(maps)  # 0.3, the largest output, is half a metre
        d = [(predicted[row].log() - depth[row].log())[valid[row]] for row in range(2)]
        expected.append(sum((own**2).mean() - 0.5 * own.mean() ** 2 for own in d) / 2)
    assert_close(found["depth"], torch.stack(expected).mean(), NUMBERS)  # type: ignore[arg-type]


@pytest.mark.system("6.1.1-STEREONAIVE")
def test_disparities_are_compared_in_pixels_where_there_is_a_match() -> None:
    outputs, truth = drawn(), 4 * torch.rand(2, *SIZE, dtype=torch.float64)
    valid = torch.rand(2, *SIZE) < 0.7
    found = DisparityCriterion().compare(outputs, batch_of(disparity=truth, disparity_valid=valid), Step())
    errors = [(enlarged(maps) * SIZE[1] - truth).abs()[valid].mean() for maps in outputs]
    assert_close(found["disparity"], torch.stack(errors).mean(), NUMBERS)


@pytest.mark.parametrize("criterion", [DisparityCriterion(), DepthCriterion(MetricDepth())])
def test_a_missing_truth_is_told(criterion: Any) -> None:
    with pytest.raises(ValueError, match=r"images \[0, 1\] have no"):
        criterion.compare(drawn(), batch_of(), Step())


# ----------------------------------------------------------------------------------------------------------------------
# From outputs to depth

CAMERAS = Cameras(torch.tensor([20.0, math.nan]), torch.tensor([0.5, 0.5]))  # focal, baseline


@pytest.mark.system("6.1.1-INFER")
def test_the_left_disparity_alone_gives_depth() -> None:
    """z = f b / d, in metres where the camera is known and the network knows the baseline it was trained with."""
    outputs = drawn(2)
    found = LeftDisparity(0.25)(outputs, CAMERAS)
    assert found.is_metric.tolist() == [True, False]
    pixels = outputs.scale1[:, 0] * SIZE[1]
    assert_close(1 / found.inverse[0], 20 * 0.25 / pixels[0], FLOAT32)
    assert_close(found.inverse[1], pixels[1], EXACT)
    assert_close(found.disparity, pixels, EXACT)
    assert LeftDisparity()(outputs, CAMERAS).is_metric.tolist() == [False, False]


@pytest.mark.system("6.1.1-STEREONAIVE")
def test_a_pair_says_its_own_baseline() -> None:
    outputs = drawn()
    found = left_disparity(outputs, CAMERAS)
    assert_close(1 / found.inverse[0], 20 * 0.5 / (outputs.scale1[0, 0] * SIZE[1]), FLOAT32)
    assert found.is_metric.tolist() == [True, False]


def test_supervised_depth_is_in_metres_whatever_the_camera() -> None:
    outputs = drawn()
    found = MetricDepth(0.5)(outputs, CAMERAS)
    assert found.is_metric.all()
    assert_close(1 / found.inverse, 0.15 / outputs.scale1[:, 0], EXACT)


@pytest.mark.system("6.1.2-SFM")
def test_depth_of_videos_has_no_unit() -> None:
    outputs = InverseDepths(*drawn())
    found = inverse_depth(outputs, CAMERAS)
    assert not found.is_metric.any()
    assert_close(found.inverse, outputs.scale1[:, 0], EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# The mirrored picture


@pytest.mark.system("6.1.1-INFER")
def test_the_mean_with_the_mirrored_picture() -> None:
    """The published post-processing: 1 - clip(20 (x - 0.05), 0, 1) from the left, the same from the right."""
    straight, mirrored = torch.rand(2, 1, 1, 3, 41, dtype=torch.float64)
    x = torch.linspace(0, 1, 41, dtype=torch.float64)
    left = 1 - (20 * (x - 0.05)).clamp(0, 1)
    right = left.flip(0)
    expected = right * straight + left * mirrored + (1 - left - right) * 0.5 * (straight + mirrored)
    found = mean_with_mirrored(straight, mirrored)
    assert_close(found, expected, EXACT)
    assert_close(found[..., 0], mirrored[..., 0], EXACT)
    assert_close(found[..., -1], straight[..., -1], EXACT)


@pytest.mark.system("6.1.1-INFER")
def test_averaging_is_an_option_of_evaluations() -> None:
    options: dict[str, Any] = {"width": 0.1, "shorter": 32, "longest": 64}
    plain, averaged = monodepth_tiny(**options), monodepth_tiny(**options, averaged=True)
    averaged.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 40)
    straight, mirrored = plain(images).scale1[:, :1], plain(images.flip(3)).scale1[:, :1].flip(3)
    assert_close(averaged(images).scale1[:, :1], mean_with_mirrored(straight, mirrored), 1e-6)
    assert_close(averaged.train()(images).scale1, plain(images).scale1, 1e-6)
    middle = averaged.eval()(images).scale1[..., 18:22]
    flipped = averaged(images.flip(3)).scale1.flip(3)[..., 18:22]
    assert_close(middle[:, :1], flipped[:, :1], 1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@pytest.mark.system("6.1.1-STEREORECON")
def test_stereo_learns_from_the_other_picture_too() -> None:
    model = stereo_tiny(learns_from="pictures", width=0.1, shorter=32, longest=64)
    pictures = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    losses = model.loss([pictures[0]], [{"right": pictures[1]}])
    assert set(losses) == {"appearance", "smoothness"}
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 6


@pytest.mark.system("6.1.1-MONO", "6.1.1-MONOLR")
@pytest.mark.parametrize(("left_right", "views"), [(True, 2), (False, 1)])
def test_monodepth_has_a_disparity_of_each_view_or_of_one(left_right: bool, views: int) -> None:
    model = monodepth_tiny(left_right=left_right, width=0.1, shorter=32, longest=64)
    assert model(torch.rand(1, 3, 32, 64)).scale1.shape == (1, views, 32, 64)


@pytest.mark.parametrize(
    ("build", "wrong"), [(stereo_tiny, {"learns_from": "sound"}), (monodepth_tiny, {"rebuilds": "both"})]
)
def test_options_that_do_not_exist(build: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):  # the shape checks of the test suite refuse a wrong Literal before us
        build(**wrong)


def test_the_nearest_depth_is_positive_and_losses_and_results_share_it() -> None:
    with pytest.raises(ValueError, match="received nearest=0, expected a positive number of metres"):
        depth_tiny(nearest=0)
    model = depth_tiny(nearest=0.4, forgiven=0.25, width=0.1)
    assert model(torch.rand(1, 3, 64, 64)).scale1.shape == (1, 1, 64, 64)
    assert model.criterion == DepthCriterion(MetricDepth(0.4), 0.25)
    assert model.decode == DepthDecode(MetricDepth(0.4))
