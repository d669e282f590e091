"""Block matching against slow loops, OpenCV, and real pairs with known disparity."""

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from PIL import Image

from vidi.data.world.dataset import World
from vidi.metrics.depth import DisparityEvaluator
from vidi.ops.block_matching import LARGEST_WINDOW, block_matching, census

Pair = tuple[torch.Tensor, torch.Tensor]


def pair(kind: str, channels: int = 1, size: tuple[int, int] = (9, 23)) -> Pair:
    """A random picture and itself, seen 3 pixels further left, with some noise."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(channels, *size, generator=generator, dtype=torch.float64)
    right = 0.9 * left.roll(-3, 2) + 0.1 * torch.rand(left.shape, generator=generator, dtype=torch.float64)
    return (left, right) if kind == "float" else ((255 * left).to(torch.uint8), (255 * right).to(torch.uint8))


def pixel_costs(left: torch.Tensor, right: torch.Tensor, kind: str, reach: int, D: int) -> np.ndarray:
    """The cost of every window, H W D, by the definition; infinite where x - d is outside."""
    one, other = (picture.double().numpy() for picture in (left, right))
    _, H, W = one.shape
    costs = np.full((H, W, D), np.inf)

    def value(picture: np.ndarray, y: int, x: int) -> np.ndarray:
        return picture[:, min(max(y, 0), H - 1), min(max(x, 0), W - 1)]

    for y, x, d in np.ndindex(H, W, D):
        if x - d < 0:
            continue
        total = 0.0
        for v in range(y - reach, y + reach + 1):
            for u in range(x - reach, x + reach + 1):
                difference = value(one, v, u) - value(other, v, u - d)
                total += np.abs(difference).sum() if kind == "sad" else (difference**2).sum()
        costs[y, x, d] = total
    return costs


@pytest.mark.system("6.0-BLOCKMATCH")
@pytest.mark.parametrize("kind", ["sad", "ssd"])
@pytest.mark.parametrize(("numbers", "channels", "window"), [("bytes", 1, 3), ("bytes", 3, 5), ("float", 2, 1)])
def test_the_match_is_that_of_slow_loops(kind, numbers, channels, window):
    left, right = pair(numbers, channels)
    D = 8
    costs = pixel_costs(left, right, kind, window // 2, D)
    H, W = costs.shape[:2]
    best = costs.argmin(2)
    plain = block_matching(left, right, disparities=D, window=window, cost=kind, subpixel=False, consistency=None)
    assert plain.valid.all()
    assert np.array_equal(plain.disparity.numpy(), best)
    parts = block_matching(left, right, disparities=D, window=window, cost=kind, uniqueness=0.1, consistency=1)
    for y, x in np.ndindex(H, W):
        row, k = costs[y, x], best[y, x]
        others = [row[d] for d in range(D) if abs(d - k) > 1 and d <= x]
        unique = all(other >= row[k] * 1.1 and other > row[k] for other in others)
        back = [costs[y, x - k + d, d] if x - k + d < W else np.inf for d in range(D)]
        valid = unique and abs(int(np.argmin(back)) - k) <= 1
        assert bool(parts.valid[y, x]) == valid, (y, x)
        offset = 0.0
        if 0 < k < min(D - 1, x):
            offset = (row[k - 1] - row[k + 1]) / (2 * (row[k - 1] - 2 * row[k] + row[k + 1]))
        assert float(parts.disparity[y, x]) == pytest.approx((k + offset) * valid, abs=1e-6), (y, x)
    assert 0.2 < parts.valid.double().mean() < 1


@pytest.mark.system("6.0-BLOCKMATCH")
def test_census_says_which_pixels_around_are_darker_and_its_cost_is_the_hamming_distance():
    left, right = pair("bytes", 1, (7, 12))
    signs = census(left)
    grey = left[0].int()
    H, W = grey.shape
    for y, x in np.ndindex(H, W):
        around = [
            grey[min(max(y + v, 0), H - 1), min(max(x + u, 0), W - 1)] < grey[y, x]
            for v in range(-2, 3)
            for u in range(-2, 3)
            if (v, u) != (0, 0)
        ]
        assert signs[:, y, x].tolist() == around
    assert torch.equal(census(torch.cat((left, left, left))), signs)  # grey in colours
    assert torch.equal(census(left.double() / 500 + 0.1), signs)  # another exposure
    expected = pixel_costs(signs, census(right), "sad", 1, 5).argmin(2)
    found = block_matching(left, right, disparities=5, window=3, cost="census", subpixel=False, consistency=None)
    assert np.array_equal(found.disparity.numpy(), expected)


def test_threads_and_the_copies_of_a_channel_change_nothing(monkeypatch):
    left, right = pair("bytes", 1, (40, 60))
    alone = block_matching(left, right, disparities=16, uniqueness=0.05)
    monkeypatch.setattr("vidi.ops.block_matching.PARALLEL_FROM", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for given in ((left, right), (left.expand(3, -1, -1), right.expand(3, -1, -1))):
        shared = block_matching(*given, disparities=16, uniqueness=0.05)
        assert torch.equal(shared.disparity, alone.disparity)
        assert torch.equal(shared.valid, alone.valid)


def test_what_is_not_said_is_sad_of_windows_of_9_at_64_disparities():
    left, _ = pair("float", 1, (5, 100))
    right = left.roll(-64, 2)  # 64 pixels are one more than is tried
    given = {"disparities": 64, "window": 9, "cost": "sad", "subpixel": True, "uniqueness": 0.0, "consistency": 1}
    found, expected = block_matching(left, right), block_matching(left, right, **given)
    assert torch.equal(found.disparity, expected.disparity)
    assert torch.equal(found.valid, expected.valid)


def test_a_wall_without_texture_is_not_unique():
    flat = torch.full((1, 8, 20), 77, dtype=torch.uint8)
    for consistency in (0, 1):
        assert block_matching(flat, flat, disparities=8, consistency=consistency).valid.all()  # 0, the first of equals
    unique = block_matching(flat, flat, disparities=8, uniqueness=0.01).valid
    assert unique[:, :2].all()  # there is no other disparity but those beside
    assert not unique[:, 2:].any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_pictures(size):
    picture = torch.arange(9, dtype=torch.uint8)[: size[0] * size[1]].reshape(1, *size)
    match = block_matching(picture, picture, disparities=64, window=5)
    assert match.valid.all()
    assert (match.disparity == 0).all()


def test_the_largest_window_does_not_overflow():
    left = torch.zeros(3, 4, 12, dtype=torch.uint8)
    right = torch.full_like(left, 255)
    left[:, :, 6:] = 255
    for cost in ("sad", "ssd"):
        match = block_matching(left, right, disparities=4, window=LARGEST_WINDOW, cost=cost, consistency=None)
        small = block_matching(
            left.double(), right.double(), disparities=4, window=LARGEST_WINDOW, cost=cost, consistency=None
        )
        assert torch.equal(match.disparity, small.disparity)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": torch.zeros(1, 4, 7, dtype=torch.uint8)}, "equal sizes|parameter 'right'"),
        ({"right": torch.zeros(1, 4, 8)}, "equal sizes and types"),
        ({"left": torch.zeros(1, 0, 8, dtype=torch.uint8), "right": torch.zeros(1, 0, 8, dtype=torch.uint8)}, "pixels"),
        ({"left": torch.full((1, 4, 8), np.nan), "right": torch.zeros(1, 4, 8)}, "NaN"),
        ({"window": 4}, "window=4"),
        ({"window": LARGEST_WINDOW + 2}, f"to {LARGEST_WINDOW}"),
        ({"window": -1}, "window=-1"),
        ({"disparities": 0}, "disparities=0"),
        ({"cost": "ncc"}, "sad"),
        ({"uniqueness": -0.1}, "uniqueness=-0.1"),
        ({"consistency": -1}, "consistency=-1"),
    ],
)
def test_what_cannot_be_matched_is_refused(change, message):
    left = torch.zeros(1, 4, 8, dtype=torch.uint8)
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        block_matching(**{"left": left, "right": left, **change})


def test_the_worlds_disparity_is_found():
    image, truth = World(size=(128, 128), seed=3, targets=("right", "disparity", "disparity_valid"))[0]
    left, right = (picture.as_subclass(torch.Tensor) for picture in (image, truth["right"]))
    match = block_matching(left, right, disparities=32, window=7)
    known = truth["disparity_valid"].as_subclass(torch.Tensor).bool()
    error = (match.disparity - truth["disparity"].as_subclass(torch.Tensor)).abs()[known & match.valid]
    assert (known & match.valid).double().sum() > 0.6 * known.sum()
    assert (error < 1).double().mean() > 0.85


@pytest.mark.system("6.0-BLOCKMATCH")
def test_the_errors_on_a_real_pair_are_those_of_opencv(shared_data):
    scene = shared_data / "stereo" / "cones"
    grey = [np.array(Image.open(scene / f"{side}.png").convert("L")) for side in ("left", "right")]
    truth = torch.from_numpy(np.asarray(Image.open(scene / "disp_left.png")).astype(np.float32) / 256)
    opencv = cv2.StereoBM.create(64, 11)
    opencv.setDisp12MaxDiff(1)
    theirs = torch.from_numpy(opencv.compute(*grey).astype(np.float32) / 16)  # fixed point, negative where unknown
    ours = block_matching(*(torch.from_numpy(picture)[None] for picture in grey), window=11, uniqueness=0.15)
    scores = []
    for disparity, valid in ((ours.disparity, ours.valid), (theirs, theirs >= 0)):
        known = (truth > 0) & valid
        evaluator = DisparityEvaluator()
        evaluator.update(disparity, truth, known, valid)
        scores.append(evaluator.compute() | {"found": float(valid[truth > 0].double().mean())})
    mine, others = scores
    assert mine["bad2"] < 1.5 * others["bad2"] + 0.02
    assert mine["epe"] < 1.5 * others["epe"]
    assert mine["found"] > others["found"]
    both = ours.valid & (theirs >= 0)
    assert ((ours.disparity - theirs).abs()[both] < 1).double().mean() > 0.9
