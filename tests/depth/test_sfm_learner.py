"""SfMLearner: its networks by the published code's table, its losses by slow loops, and those of true videos."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from vidi.data.world.dataset import World
from vidi.depth.frame_networks import DepthNetwork, InverseDepths, MotionNetwork
from vidi.depth.sfm_learner import MEAN, STD, VideoCriterion, VideoOutputs, frames_of, sfm_learner_tiny
from vidi.engine.evaluate import evaluate
from vidi.metrics.trajectory import MotionEvaluator
from vidi.model import Step
from vidi.ops.rigid import euler_to_pose
from vidi.ops.warp import Beyond
from vidi.preprocess import Batch, Preprocess
from vidi.tasks.depth import VideoDepthScorer

SIGNED = Preprocess(mean=(MEAN,) * 3, std=(STD,) * 3)

# ----------------------------------------------------------------------------------------------------------------------
# Networks


@pytest.mark.system("6.1.2-DEPTHCNN")
def test_layers_of_the_depth_network() -> None:
    network = DepthNetwork()
    rows = [(m.kernel_size[0], m.stride[0], m.out_channels) for m in network.down.modules() if isinstance(m, nn.Conv2d)]
    assert rows == [
        row
        for kernel, channels in zip((7, 5, 3, 3, 3, 3, 3), (32, 64, 128, 256, 512, 512, 512), strict=True)
        for row in ((kernel, 2, channels), (kernel, 1, channels))
    ]
    assert [up.conv.out_channels for up in network.up] == [512, 512, 256, 128, 64, 32, 16]  # type: ignore[union-attr]
    assert {(up.conv.kernel_size[0], up.conv.stride[0]) for up in network.up} == {(3, 2)}  # type: ignore[union-attr]
    merged = [merge[0].in_channels for merge in network.merge]  # type: ignore[index]
    assert merged == [512 + 512, 512 + 512, 256 + 256, 128 + 128, 64 + 64 + 1, 32 + 32 + 1, 16 + 1]
    activations = {type(m) for m in network.modules() if not list(m.children())}
    assert activations == {nn.Conv2d, nn.ConvTranspose2d, nn.ReLU}


def test_the_first_inverse_depths_lie_in_the_middle_of_the_sigmoid() -> None:
    torch.manual_seed(0)
    for maps in DepthNetwork()(2 * torch.rand(1, 3, 128, 128) - 1):
        assert 4 < maps.min() <= maps.max() < 6


@pytest.mark.system("6.1.2-DEPTHCNN")
def test_inverse_depths_lie_between_a_hundredth_and_ten() -> None:
    network = DepthNetwork(width=0.25).eval()
    outputs = network(torch.rand(1, 3, 130, 203))
    assert [tuple(maps.shape[2:]) for maps in outputs] == [(130, 203), (65, 102), (33, 51), (17, 26)]
    for score in network.scores:
        nn.init.zeros_(score.weight)  # type: ignore[arg-type]
    for bias, expected in ((-100.0, 0.01), (0.0, 5.01), (100.0, 10.01)):
        for score in network.scores:
            nn.init.constant_(score.bias, bias)  # type: ignore[arg-type]
        assert all(
            float(maps.detach().mean()) == pytest.approx(expected, rel=1e-5)
            for maps in network(torch.rand(1, 3, 64, 64))
        )


@pytest.mark.system("6.1.2-POSECNN")
def test_layers_of_the_pose_network() -> None:
    network = MotionNetwork(neighbours=2)
    rows = [(m.kernel_size[0], m.out_channels) for m in network.shared.modules() if isinstance(m, nn.Conv2d)]
    assert rows == [(7, 16), (5, 32), (3, 64), (3, 128), (3, 256)]
    assert [m.out_channels for m in network.motion.modules() if isinstance(m, nn.Conv2d)] == [256, 256]
    strided = [m for part in (network.shared, network.motion) for m in part.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.stride == (2, 2) for m in strided)
    assert (network.score.kernel_size, network.score.out_channels) == ((1, 1), 12)
    rows = [(up.conv.kernel_size[0], up.conv.out_channels) for up in network.up]  # type: ignore[union-attr]
    assert rows == [(3, 256), (3, 128), (3, 64), (5, 32), (7, 16)]
    assert [(m.kernel_size[0], m.out_channels) for m in network.logits] == [(3, 4), (3, 4), (5, 4), (7, 4)]  # type: ignore[union-attr]


@pytest.mark.system("6.1.2-POSECNN")
def test_poses_are_means_over_the_picture_times_a_hundredth() -> None:
    network = MotionNetwork(neighbours=3, masked=False, width=0.5).eval()
    nn.init.zeros_(network.score.weight)
    with torch.no_grad():
        network.score.bias.copy_(torch.arange(18.0))  # type: ignore[union-attr]
    motion = network(torch.rand(2, 3, 70, 90), torch.rand(2, 3, 3, 70, 90))
    assert_close(motion.vectors, 0.01 * torch.arange(18.0).view(1, 3, 6).expand(2, 3, 6), 1e-6)
    assert motion.explained == ()


@pytest.mark.system("6.1.2-POSECNN")
def test_a_mask_at_each_scale() -> None:
    motion = MotionNetwork(width=0.5).eval()(torch.rand(1, 3, 70, 90), torch.rand(1, 2, 3, 70, 90))
    assert [tuple(m.shape) for m in motion.explained] == [
        (1, 2, 2, 70, 90),
        (1, 2, 2, 35, 45),
        (1, 2, 2, 18, 23),
        (1, 2, 2, 9, 12),
    ]


# ----------------------------------------------------------------------------------------------------------------------
# Losses


def video(size: tuple[int, int] = (24, 32)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(3, 3, *size, generator=generator)
    camera = torch.tensor([[20.0, 0, 12.2], [0, 21.0, 7.9], [0, 0, 1]])
    batch = SIGNED.collate([SIGNED.place(frames[0], {"neighbours": frames[1:], "intrinsics": camera})])
    targets = [{name: value.double() for name, value in target.items()} for target in batch.targets]
    return Batch(batch.images.double(), batch.mask, batch.placements, targets)


def euler(angles: Tensor) -> Tensor:
    """Return R_x R_y R_z, the order of the published code."""
    (sx, cx), (sy, cy), (sz, cz) = ((math.sin(angle), math.cos(angle)) for angle in angles.tolist())
    about_x = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]], dtype=torch.float64)
    about_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]], dtype=torch.float64)
    about_z = torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]], dtype=torch.float64)
    return about_x @ about_y @ about_z


def sampled(picture: Tensor, x: float, y: float) -> Tensor:
    """Interpolate at a point in pixels, centres at + 0.5; zero beyond the outermost centres' neighbours."""
    total = torch.zeros(picture.shape[0], dtype=picture.dtype)
    left, top = int(torch.floor(torch.tensor(x - 0.5))), int(torch.floor(torch.tensor(y - 0.5)))
    for column, across in ((left, left + 1.5 - x), (left + 1, x - 0.5 - left)):
        for row, down in ((top, top + 1.5 - y), (top + 1, y - 0.5 - top)):
            if 0 <= column < picture.shape[2] and 0 <= row < picture.shape[1]:
                total += across * down * picture[:, row, column]
    return total


@pytest.mark.system("6.1.2-SFM", "6.1.2-WARP")
@pytest.mark.parametrize("masked", [True, False])
def test_the_losses_by_slow_loops(masked: bool) -> None:
    size, batch = (24, 32), video()
    generator = torch.Generator().manual_seed(2)
    sizes = [(size[0] // 2**k, size[1] // 2**k) for k in range(4)]
    inverse = InverseDepths(*(0.2 + torch.rand(1, 1, *s, generator=generator, dtype=torch.float64) for s in sizes))
    vectors = 0.1 * torch.randn(1, 2, 6, generator=generator, dtype=torch.float64)
    logits = tuple(torch.randn(1, 2, 2, *s, generator=generator, dtype=torch.float64) for s in sizes)
    found = VideoCriterion().compare_views(
        VideoOutputs(tuple(inverse), vectors, logits if masked else ()), batch, Step()
    )

    expected = {"appearance": 0.0, "smoothness": 0.0} | ({"explained": 0.0} if masked else {})
    camera = batch.targets[0]["intrinsics"]
    for k, (h, w) in enumerate(sizes):
        small = camera.clone()
        small[0] *= w / size[1]
        small[1] *= h / size[0]
        frames = torch.stack([batch.images[0], *((batch.targets[0]["neighbours"] - 0.5) / 0.5)])
        frames = F.interpolate(frames, size=(h, w), mode="bilinear", align_corners=False) if k else frames
        for n in range(2):
            rotation, move = euler(vectors[0, n, 3:]), vectors[0, n, :3]
            shares = logits[k][0, n].softmax(0)[1] if masked else torch.ones(h, w, dtype=torch.float64)
            total = 0.0
            for y in range(h):
                for x in range(w):
                    ray = torch.linalg.inv(small) @ torch.tensor([x + 0.5, y + 0.5, 1.0], dtype=torch.float64)
                    point = small @ (rotation @ (ray / inverse[k][0, 0, y, x]) + move)
                    made = sampled(frames[n + 1], float(point[0] / point[2]), float(point[1] / point[2]))
                    total += float((made - frames[0][:, y, x]).abs().sum() * shares[y, x])
            expected["appearance"] += total / (3 * h * w)
            if masked:
                expected["explained"] += 0.2 * float(-logits[k][0, n].log_softmax(0)[1].mean())
        d = inverse[k][0, 0]
        dx, dy = d[:, 1:] - d[:, :-1], d[1:] - d[:-1]
        bends = (dx[:, 1:] - dx[:, :-1], dx[1:] - dx[:-1], dy[:, 1:] - dy[:, :-1], dy[1:] - dy[:-1])
        expected["smoothness"] += 0.5 / 2**k * float(sum(b.abs().mean() for b in bends))
    assert_close(found, {name: torch.tensor(value, dtype=torch.float64) for name, value in expected.items()}, NUMBERS)


def test_normalized_smoothness_is_the_same_in_every_unit_and_the_papers_where_the_mean_is_one() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = [0.5 + torch.rand(1, 1, 24 // 2**k, 32 // 2**k, generator=generator, dtype=torch.float64) for k in range(4)]
    vectors = torch.zeros(1, 2, 6, dtype=torch.float64)

    def smoothness(unit: float, *, normalized: bool) -> float:
        outputs = VideoOutputs(tuple(unit * own / own.mean() for own in maps), vectors, ())
        return float(VideoCriterion(normalized=normalized).compare_views(outputs, video(), Step())["smoothness"])

    assert smoothness(3.0, normalized=False) == pytest.approx(3 * smoothness(1.0, normalized=False))
    assert smoothness(3.0, normalized=True) == pytest.approx(smoothness(1.0, normalized=False))


def test_beyond_its_edge_a_neighbour_may_stay_what_it_is_there() -> None:
    """Plain frames then cost nothing, however far a motion carries them."""
    frames = torch.full((3, 3, 24, 32), 0.9)
    camera = torch.tensor([[20.0, 0, 16], [0, 20.0, 12], [0, 0, 1]])
    batch = SIGNED.collate([SIGNED.place(frames[0], {"neighbours": frames[1:], "intrinsics": camera})])
    inverse = tuple(torch.ones(1, 1, 24 // 2**k, 32 // 2**k) for k in range(4))
    outputs = VideoOutputs(inverse, torch.full((1, 2, 6), 0.3), ())
    costs = {kind: VideoCriterion(beyond=kind).compare_views(outputs, batch, Step()) for kind in get_args(Beyond)}
    assert float(costs["edge"]["appearance"]) == pytest.approx(0, abs=1e-5)
    assert float(costs["zero"]["appearance"]) > 0.1


def test_padding_counts_for_nothing() -> None:
    """A picture on a canvas twice as wide costs what it costs alone. Nothing moves: pixels are sampled in place."""
    batch, half = video(), 16
    mask, images = batch.mask.clone(), batch.images.clone()
    mask[..., half:], images[..., half:] = False, 7.0
    (target,) = batch.targets
    alone = replace(
        batch,
        images=batch.images[..., :half],
        mask=batch.mask[..., :half],
        targets=[{**target, "neighbours": target["neighbours"][..., :half]}],
    )

    def cost(of: Batch) -> Tensor:
        sizes = [[side // 2**k for side in of.images.shape[2:]] for k in range(4)]
        maps = tuple(torch.ones(1, 1, *size, dtype=torch.float64) for size in sizes)
        outputs = VideoOutputs(maps, torch.zeros(1, 2, 6, dtype=torch.float64), ())
        return VideoCriterion().compare_views(outputs, of, Step())["appearance"]

    assert_close(cost(replace(batch, images=images, mask=mask)), cost(alone), NUMBERS)


@pytest.mark.system("6.1.2-SFM")
def test_true_depth_and_motion_cost_less_than_any_near_them() -> None:
    world = World("val", count=4, size=(64, 64), targets=["neighbours", "intrinsics", "depth", "poses"])
    batch = SIGNED.collate([SIGNED.place(*world[row]) for row in range(4)])
    depth = batch.maps("depth")[:, None]
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-3), 1e-3)
    poses = torch.stack([target["poses"] for target in batch.targets])

    def cost(farther: float, moved: float) -> float:
        vectors = torch.zeros(4, 2, 6)
        vectors[..., :3] = moved * poses[..., :3, 3]
        rotation = poses[..., :3, :3]
        vectors[..., 3] = torch.atan2(-rotation[..., 1, 2], rotation[..., 2, 2])
        vectors[..., 4] = torch.asin(rotation[..., 0, 2])
        vectors[..., 5] = torch.atan2(-rotation[..., 0, 1], rotation[..., 0, 0])
        scales = [F.interpolate(inverse / farther, scale_factor=0.5**k, mode="nearest-exact") for k in range(4)]
        outputs = VideoOutputs(tuple(scales), vectors, ())
        return float(VideoCriterion().compare_views(outputs, batch, Step())["appearance"])

    true = cost(1.0, 1.0)
    assert all(cost(1.0, moved) > true for moved in (0.0, 0.7, 1.4, -1.0))
    assert all(cost(farther, 1.0) > true for farther in (0.6, 1.6))
    assert cost(2.0, 2.0) == pytest.approx(true, rel=1e-4)  # the unit is unknown


@pytest.mark.parametrize("lacking", ["neighbours", "intrinsics"])
def test_a_missing_key_is_told(lacking: str) -> None:
    batch = video()
    targets = [{name: value for name, value in target.items() if name != lacking} for target in batch.targets]
    outputs = VideoOutputs(tuple(torch.rand(1, 1, 4, 4) for _ in range(4)), torch.zeros(1, 2, 6), ())
    with pytest.raises(ValueError, match="no 'neighbours' or no 'intrinsics'"):
        VideoCriterion().compare_views(outputs, replace(batch, targets=targets), Step())


# ----------------------------------------------------------------------------------------------------------------------
# The camera's motion


@pytest.mark.system("6.1.2-SFM", "6.1.2-POSECNN")
def test_results_of_frames_with_neighbours_have_the_motions_to_them_and_photos_have_none() -> None:
    model = sfm_learner_tiny(width=0.125, shorter=32, longest=64).eval()
    world = World("val", count=2, size=(32, 64), targets=["neighbours", "intrinsics"])
    samples = [world[0], world[1]]
    placed = [model.preprocess.place(*sample) for sample in samples]
    batch = model.preprocess.collate(placed)
    with torch.no_grad():
        expected = euler_to_pose(model.network.motion(batch.images, frames_of(batch)).vectors)
    for result, own in zip(model.predict_samples(samples), expected, strict=True):
        assert result.motions is not None
        assert_close(result.motions, own, 1e-5)
    assert all(result.motions is None for result in model.predict([image for image, _ in samples]))


def test_the_scores_of_videos_are_those_of_depth_and_of_the_motions() -> None:
    model = sfm_learner_tiny(width=0.125, shorter=32, longest=64).eval()
    scorer = VideoDepthScorer(())
    world = World("val", count=3, size=(32, 64), targets=list(scorer.keys))
    scores = evaluate(model, world, scorer)
    assert {"abs_rel_median_scaled", "ate_3frame_scaled", "ate_3frame_still", "rotation_error"} <= set(scores)
    motions = MotionEvaluator()
    samples = [world[row] for row in range(3)]
    for result, (_, target) in zip(model.predict_samples(samples), samples, strict=True):
        assert result.motions is not None
        motions.update(result.motions, target["poses"])
    assert {name: scores[name] for name in motions.compute()} == pytest.approx(motions.compute(), rel=1e-4)
