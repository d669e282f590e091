"""Monodepth: its networks by the paper's table, its losses by slow loops, and what they say of a perfect pair."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from vidi.backbones.resnet import resnet18
from vidi.data.world.dataset import World
from vidi.depth.disparity_network import Disparities, DisparityNetwork, Encoder
from vidi.depth.monodepth import StereoCriterion
from vidi.model import Step
from vidi.ops.warp import Beyond
from vidi.preprocess import Batch, Preprocess

PLAIN = Preprocess(mean=(0.0,) * 3, std=(1.0,) * 3)

# ----------------------------------------------------------------------------------------------------------------------
# Networks


@pytest.mark.system("6.1.1-ARCH", "6.1.1-MONOLR")
@pytest.mark.parametrize(("encoder", "parameters"), [("vgg", 31_600_072), ("resnet50", 58_452_008)])
def test_networks_have_the_parameters_that_the_published_code_prints(encoder: Encoder, parameters: int) -> None:
    with torch.device("meta"):
        network = DisparityNetwork(encoder)
    assert sum(value.numel() for value in network.parameters()) == parameters


@pytest.mark.system("6.1.1-ARCH")
@pytest.mark.parametrize("encoder", ["vgg", "resnet50", "resnet18"])
def test_four_scales_of_shares_of_the_width_whatever_the_size(encoder: Encoder) -> None:
    network: Any = DisparityNetwork(encoder, width=0.25).eval()
    outputs = network(torch.rand(1, 3, 130, 203))
    assert [tuple(maps.shape) for maps in outputs] == [
        (1, 2, 130, 203),
        (1, 2, 65, 102),
        (1, 2, 33, 51),
        (1, 2, 17, 26),
    ]
    assert all(maps.min() > 0 and maps.max() < 0.3 for maps in outputs)
    for score in (level.score for level in network.levels if level.score is not None):
        nn.init.zeros_(score.weight)
        nn.init.constant_(score.bias, 100.0)
    assert_close(network(torch.rand(1, 3, 64, 64)).scale1, torch.full((1, 2, 64, 64), 0.3), 1e-6)


@pytest.mark.system("6.1.1-ARCH")
def test_layers_of_the_published_vgg_network() -> None:
    """Table 6 of the supplement: kernels, strides and channels; ELU everywhere, no norm, pixels repeated."""
    network: Any = DisparityNetwork("vgg")
    convolutions = [m for m in network.backbone.modules() if isinstance(m, nn.Conv2d)]
    rows = [(c.kernel_size[0], c.stride[0], c.out_channels) for c in convolutions]
    assert rows == [
        row
        for kernel, channels in zip((7, 5, 3, 3, 3, 3, 3), (32, 64, 128, 256, 512, 512, 512), strict=True)
        for row in ((kernel, 1, channels), (kernel, 2, channels))
    ]
    merged = [level.merge[0].in_channels for level in network.levels]
    assert merged == [512 + 512, 512 + 512, 256 + 256, 128 + 128, 64 + 64 + 2, 32 + 32 + 2, 16 + 2]
    assert [level.upsampling for level in network.levels] == ["nearest"] * 7
    assert [level.score is not None for level in network.levels] == [False] * 3 + [True] * 4
    activations = {type(m) for m in network.modules() if not list(m.children())} - {nn.Conv2d}
    assert activations == {nn.ELU}


@pytest.mark.system("6.1.1-ARCH")
def test_the_published_resnet_strides_in_the_last_block_of_a_stage() -> None:
    backbone: Any = DisparityNetwork("resnet50", width=0.25).backbone
    assert [[block.shortcut.stride[0] for block in stage] for stage in backbone.stages] == [
        [1, 1, 2],
        [1, 1, 1, 2],
        [1, 1, 1, 1, 1, 2],
        [1, 1, 2],
    ]
    assert not [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]


def test_a_coarser_disparity_is_seen_by_the_level_above() -> None:
    network = DisparityNetwork("vgg", width=0.25).eval()
    image = torch.rand(1, 3, 128, 128)
    before = network(image).scale1
    nn.init.constant_(network.levels[3].score.bias, 5.0)  # type: ignore[union-attr]
    assert (network(image).scale1 - before).abs().max() > 1e-5


def test_the_usual_resnet_has_the_layers_of_the_classifier_whose_weights_it_can_begin_with() -> None:
    own, classifier = DisparityNetwork("resnet18").backbone, resnet18().network.get_submodule("backbone")
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (own, classifier)]
    assert shapes[0] == shapes[1]


def test_disparities_may_begin_elsewhere_than_in_the_middle_of_the_sigmoid() -> None:
    torch.manual_seed(0)
    for maps in DisparityNetwork("vgg", width=0.25, first=0.03)(torch.rand(1, 3, 128, 128)):
        assert 0.02 < maps.min() <= maps.max() < 0.045
    torch.manual_seed(0)
    published = DisparityNetwork("vgg", width=0.25)
    torch.manual_seed(0)
    same = DisparityNetwork("vgg", width=0.25, first=0.15)
    assert all(torch.equal(a, b) for a, b in zip(published.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("first", [0.0, 0.3, -0.1])
def test_a_first_disparity_outside_of_the_sigmoid_is_refused(first: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and below 0\.3"):
        DisparityNetwork("vgg", width=0.25, first=first)


@pytest.mark.parametrize("wrong", [{"encoder": "alexnet"}, {"encoder": "vgg", "upsampling": "cubic"}])
def test_unknown_parts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):  # the shape checks of the test suite refuse a wrong Literal before us
        DisparityNetwork(**wrong)


def test_the_usual_resnet_sees_one_picture() -> None:
    with pytest.raises(ValueError, match="two pictures at once, expected 'vgg' or 'resnet50'"):
        DisparityNetwork("resnet18", in_channels=6)


# ----------------------------------------------------------------------------------------------------------------------
# Losses


def pair(size: tuple[int, int] = (24, 32), count: int = 2) -> Batch:
    """Return random pairs in float64, placed by no resizing."""
    generator = torch.Generator().manual_seed(3)
    placed = []
    for _ in range(count):
        left, right = torch.rand(2, 3, *size, generator=generator)
        placed.append(PLAIN.place(left, {"right": right}))
    batch = PLAIN.collate(placed)
    targets = [{"right": target["right"].double()} for target in batch.targets]
    return Batch(batch.images.double(), batch.mask, batch.placements, targets)


def shares(size: tuple[int, int], views: int, count: int = 2) -> Disparities:
    generator = torch.Generator().manual_seed(5)
    sizes = [(-(-size[0] // 2**k), -(-size[1] // 2**k)) for k in range(4)]
    return Disparities(*(0.3 * torch.rand(count, views, *s, generator=generator, dtype=torch.float64) for s in sizes))


def sampled(row: Tensor, x: float) -> Tensor:
    """Interpolate a row C W at the column x; zero beyond the picture."""
    place = x - 0.5
    low = int(torch.floor(torch.tensor(place)))
    total = torch.zeros(row.shape[0], dtype=row.dtype)
    for column, weight in ((low, low + 1 - place), (low + 1, place - low)):
        if 0 <= column < row.shape[1]:
            total += weight * row[:, column]
    return total


def rebuilt(source: Tensor, disparity: Tensor, sign: int) -> Tensor:
    """Rebuild a view by a loop over pixels; source C H W, disparity H W in pixels."""
    made = torch.zeros(source.shape[0], *disparity.shape, dtype=source.dtype)
    for y in range(disparity.shape[0]):
        for x in range(disparity.shape[1]):
            made[:, y, x] = sampled(source[:, y], x + 0.5 + sign * float(disparity[y, x]))
    return made


def slow_appearance(made: Tensor, picture: Tensor, alpha: float) -> float:
    C, H, W = picture.shape
    total = 0.0
    for c in range(C):
        for y in range(H - 2):
            for x in range(W - 2):
                a, b = made[c, y : y + 3, x : x + 3], picture[c, y : y + 3, x : x + 3]
                covariance = (a * b).mean() - a.mean() * b.mean()
                spread = (a * a).mean() - a.mean() ** 2 + (b * b).mean() - b.mean() ** 2
                value = (2 * a.mean() * b.mean() + 1e-4) * (2 * covariance + 9e-4)
                value = value / ((a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (spread + 9e-4))
                total += float(((1 - value) / 2).clamp(0, 1))
    return alpha * total / (C * (H - 2) * (W - 2)) + (1 - alpha) * float((made - picture).abs().mean())


def slow_smoothness(share: Tensor, picture: Tensor) -> float:
    across = (share[:, 1:] - share[:, :-1]).abs() * torch.exp(-(picture[..., 1:] - picture[..., :-1]).abs().mean(0))
    down = (share[1:] - share[:-1]).abs() * torch.exp(-(picture[:, 1:] - picture[:, :-1]).abs().mean(0))
    return float(across.mean() + down.mean())


@pytest.mark.system("6.1.1-LTOTAL", "6.1.1-MONOLR")
def test_the_sum_of_the_losses_of_two_views_at_four_scales() -> None:
    """By slow loops: appearance and consistency at full weight, smoothness at 0.1 / stride; alpha is 0.85."""
    size = (24, 32)
    batch, outputs = pair(size, count=1), shares(size, 2, count=1)
    found = StereoCriterion().compare(outputs, batch, Step())
    expected = {"appearance": 0.0, "smoothness": 0.0, "consistency": 0.0}
    images = batch.images[0], batch.targets[0]["right"]
    for k, maps in enumerate(outputs):
        left, right = (F.avg_pool2d(image[None], 2**k)[0] for image in images)
        width = maps.shape[3]
        d_left, d_right = maps[0] * width
        expected["appearance"] += slow_appearance(rebuilt(right, d_left, -1), left, 0.85)
        expected["appearance"] += slow_appearance(rebuilt(left, d_right, 1), right, 0.85)
        expected["smoothness"] += 0.1 / 2**k * slow_smoothness(maps[0, 0], left)
        expected["smoothness"] += 0.1 / 2**k * slow_smoothness(maps[0, 1], right)
        seen_left, seen_right = rebuilt(d_right[None], d_left, -1)[0], rebuilt(d_left[None], d_right, 1)[0]
        expected["consistency"] += (
            float((d_left - seen_left).abs().mean() + (d_right - seen_right).abs().mean()) / width
        )
    assert_close(found, {name: torch.tensor(value, dtype=torch.float64) for name, value in expected.items()}, NUMBERS)


def test_beyond_its_edge_a_picture_may_stay_what_it_is_there() -> None:
    """A pair of plain pictures then costs nothing, however far beyond the border a disparity reaches."""
    plain = torch.full((3, 24, 32), 0.5)
    batch = PLAIN.collate([PLAIN.place(plain, {"right": plain})])
    outputs = Disparities(*(torch.full((1, 2, 24 // 2**k, 32 // 2**k), 0.3) for k in range(4)))
    costs = {kind: StereoCriterion(beyond=kind).compare(outputs, batch, Step()) for kind in get_args(Beyond)}
    assert all(float(value) == pytest.approx(0, abs=1e-6) for value in costs["edge"].values())
    assert min(float(costs["zero"][name]) for name in ("appearance", "consistency")) > 0.1


@pytest.mark.system("6.1.1-MONO")
@pytest.mark.parametrize("rebuilds", ["left", "right"])
def test_one_view_rebuilds_one_picture(rebuilds: Any) -> None:
    size = (24, 32)
    batch, outputs = pair(size, count=1), shares(size, 1, count=1)
    found = StereoCriterion(rebuilds=rebuilds).compare(outputs, batch, Step())
    assert set(found) == {"appearance", "smoothness"}
    images = batch.images[0], batch.targets[0]["right"]
    total = rough = 0.0
    for k, maps in enumerate(outputs):
        left, right = (F.avg_pool2d(image[None], 2**k)[0] for image in images)
        disparity = maps[0, 0] * maps.shape[3]
        if rebuilds == "left":
            total += slow_appearance(rebuilt(right, disparity, -1), left, 0.85)
        else:
            total += slow_appearance(rebuilt(left, disparity, 1), right, 0.85)
        rough += 0.1 / 2**k * slow_smoothness(maps[0, 0], left)
    expected = {"appearance": total, "smoothness": rough}
    assert_close(found, {name: torch.tensor(value, dtype=torch.float64) for name, value in expected.items()}, NUMBERS)


@pytest.mark.system("6.1.1-MONOLR")
def test_true_disparities_cost_less_than_any_others_near_them() -> None:
    """On rendered pairs: the appearance is best at the truth, and views that disagree cost more."""
    world = World("val", count=4, size=(64, 64), targets=["right", "disparity", "disparity_right"])
    placed = [PLAIN.place(*world[row]) for row in range(4)]
    batch = PLAIN.collate(placed)
    truth = torch.stack([batch.maps("disparity"), batch.maps("disparity_right")], 1) / 64

    def cost(of_left: float, of_right: float) -> dict[str, float]:
        maps = truth * torch.tensor([of_left, of_right]).view(1, 2, 1, 1)
        outputs = Disparities(*(F.interpolate(maps, scale_factor=0.5**k, mode="area") for k in range(4)))
        return {name: float(value) for name, value in StereoCriterion().compare(outputs, batch, Step()).items()}

    true = cost(1.0, 1.0)
    assert all(cost(f, f)["appearance"] > true["appearance"] for f in (0.8, 0.95, 1.05, 1.2))
    assert all(cost(1.0, f)["consistency"] > true["consistency"] for f in (0.8, 0.95, 1.05, 1.2))


def test_pictures_of_several_sizes_cost_what_they_cost_alone() -> None:
    generator = torch.Generator().manual_seed(7)
    sizes = [(24, 32), (40, 48)]
    placed = []
    for size in sizes:
        left, right = torch.rand(2, 3, *size, generator=generator)
        placed.append(PLAIN.place(left, {"right": right}))
    batch, outputs = PLAIN.collate(placed), shares((40, 48), 2)
    outputs = Disparities(*(maps.float() for maps in outputs))
    together = StereoCriterion().compare(outputs, batch, Step())["appearance"]
    alone = []
    for row, (h, w) in enumerate(sizes):
        cut = Disparities(
            *(
                maps[row : row + 1, :, : h // 2**k, : w // 2**k] * maps.shape[3] / (w // 2**k)
                for k, maps in enumerate(outputs)
            )
        )
        alone.append(StereoCriterion().compare(cut, PLAIN.collate(placed[row : row + 1]), Step())["appearance"])
    assert_close(together, torch.stack(alone).mean(), 1e-5)


def test_a_missing_right_picture_is_told() -> None:
    batch = PLAIN.collate([PLAIN.place(torch.rand(3, 24, 32), {})])
    with pytest.raises(ValueError, match=r"images \[0\] have no 'right'"):
        StereoCriterion().compare(shares((24, 32), 2, count=1), batch, Step())
