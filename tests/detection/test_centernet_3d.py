"""CenterNet for boxes in space: angles in two bins, losses and decoding against slow loops; what it refuses."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import EXACT
from tests.detection import scenes
from tests.references import centernet as slow
from vidi.data.world.dataset import World
from vidi.detection.centernet import CenterCriterion, CenterDecode, CenterOutputs
from vidi.detection.centernet_3d import (
    SpaceCriterion,
    SpaceDecode,
    SpaceOutputs,
    assumed_intrinsics,
    centernet_3d_resnet18,
    centernet_3d_tiny,
    depth_of,
)
from vidi.model import Step
from vidi.ops.boxes_3d import box_3d_corners, mirror_boxes_3d, observation_angles, project_points, wrap_angles
from vidi.ops.orientation import decode_angles, encode_angles
from vidi.preprocess import Placement

K, R = 2, 4
SIZE, MAP = (48, 64), (12, 16)
NAMES = ("ball", "person")
batch_of = partial(scenes.batch_of, size=SIZE)
CAMERA = (1.1, 0.05, -0.1)
ANGLES = torch.linspace(-math.pi, math.pi - 1e-6, 97, dtype=torch.float64)


def target(seed: int = 0, count: int = 3) -> dict[str, Tensor]:
    """Boxes in the picture and in space, one crowd of four."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([44.0, 32.0])
    sides = 2 + 16 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    space = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    space[:, :2] = 6 * space[:, :2] - 3
    space[:, 2] = 3 + 8 * space[:, 2]
    space[:, 3:6] += 0.2
    space[:, 6] = 2 * math.pi * space[:, 6] - math.pi
    return {
        "boxes": torch.cat((corner, corner + sides), 1),
        "labels": torch.arange(count) % K,
        "crowd": torch.arange(count) % 4 == 3,
        "boxes_3d": space,
    }


def random_outputs(images: int, seed: int = 0) -> SpaceOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, scale: float = 1.0) -> Tensor:
        values = scale * torch.randn(images, channels, *MAP, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return SpaceOutputs(draw(K), draw(2), draw(2, 15), draw(1), draw(3), draw(8))


def criterion() -> SpaceCriterion:
    return SpaceCriterion(CenterCriterion(tuple(range(K))))


# ----------------------------------------------------------------------------------------------------------------------
# Angles and boxes in space


@pytest.mark.system("4.3.5-CT3D")
def test_angles_lie_in_the_bins_of_the_paper() -> None:
    inside, numbers = encode_angles(ANGLES)
    for angle, bins, parts in zip(ANGLES.tolist(), inside.tolist(), numbers.tolist(), strict=True):
        turns = [angle + 2 * math.pi * k for k in (-1, 0, 1)]
        first = any(-7 * math.pi / 6 <= turn <= math.pi / 6 for turn in turns)
        second = any(-math.pi / 6 <= turn <= 7 * math.pi / 6 for turn in turns)
        assert bins == [first, second]
        for (sine, cosine), middle in zip(parts, (-math.pi / 2, math.pi / 2), strict=True):
            assert (sine, cosine) == pytest.approx((math.sin(angle - middle), math.cos(angle - middle)), rel=EXACT)


@pytest.mark.system("4.3.5-CT3D")
@pytest.mark.parametrize("surest", [0, 1])
def test_encoded_angles_decode_to_themselves(surest: int) -> None:
    """By whichever bin they lie in; sine and cosine may be of any length."""
    inside, numbers = encode_angles(ANGLES)
    logits = torch.stack((torch.zeros_like(ANGLES), ANGLES.new_full((), 3.0).expand_as(ANGLES)), 1)
    bins = torch.zeros(len(ANGLES), 2, 4, dtype=torch.float64)
    bins[..., :2] = logits[:, None] * inside[..., None]
    bins[:, surest, 1] += 1.0 * inside[:, surest]
    bins[..., 2:] = 0.3 * numbers
    away = wrap_angles(decode_angles(bins.flatten(1)) - ANGLES)
    assert away.abs().max() < 1e-9


def test_the_bin_is_chosen_by_its_probability() -> None:
    """The second bin's logit is larger, but so is the one against it."""
    numbers = torch.tensor([[0.0, 1.0, 0.0, 1.0, 5.0, 2.0, 0.0, 1.0]])
    assert decode_angles(numbers).item() == pytest.approx(-math.pi / 2)


def test_angles_on_the_optical_axis_and_beside_it() -> None:
    """A thing that faces away along its ray has angle 0 wherever it stands; one to the right shows its left side."""
    boxes = torch.tensor([[0.0, 0, 5, 1, 1, 1, 0.4], [5.0, 0, 5, 1, 1, 1, math.pi / 4], [5.0, 0, 5, 1, 1, 1, 0.0]])
    assert observation_angles(boxes).tolist() == pytest.approx([0.4, 0.0, -math.pi / 4], abs=1e-6)


def test_boxes_in_space_lie_where_the_world_shows_the_things() -> None:
    """The corners hold all pixels of a thing, and a mirrored mirror image is the thing."""
    world = World(count=5, size=(96, 128), targets=("boxes", "boxes_3d", "intrinsics", "depth", "masks"))
    for row in range(5):
        _, t = world[row]
        pixels = project_points(box_3d_corners(t["boxes_3d"]), t["intrinsics"])
        box = t["boxes"].as_subclass(Tensor)
        assert (pixels.amin(1) <= box[:, :2] + 1).all()
        assert (pixels.amax(1) >= box[:, 2:] - 1).all()
        torch.testing.assert_close(mirror_boxes_3d(mirror_boxes_3d(t["boxes_3d"])), t["boxes_3d"])
        for space, mask in zip(t["boxes_3d"], t["masks"], strict=True):
            near = (t["depth"][mask] - space[2]).abs().min()
            assert near <= space[3:6].norm() / 2


# ----------------------------------------------------------------------------------------------------------------------
# Losses


def slow_losses(outputs: SpaceOutputs, targets: list[dict[str, Tensor]]) -> list[float]:
    depths, sizes, numbers = (value.tolist() for value in outputs[3:])
    depth = size = orientation = 0.0
    count = 0
    for image, t in enumerate(targets):
        for box, crowd, space in zip(*(t[key].tolist() for key in ("boxes", "crowd", "boxes_3d")), strict=True):
            if crowd:
                continue
            count += 1
            x, y = slow.cell_of(tuple(box), MAP)
            depth += abs(1 / (1 / (1 + math.exp(-depths[image][0][y][x]))) - 1 - space[2])
            size += sum(abs(sizes[image][side][y][x] - space[3 + side]) for side in range(3))
            alpha = space[6] - math.atan2(space[0], space[2])
            for number, middle in enumerate((-math.pi / 2, math.pi / 2)):
                no, yes, sine, cosine = (numbers[image][4 * number + part][y][x] for part in range(4))
                away = (alpha - middle + math.pi) % (2 * math.pi) - math.pi
                inside = abs(away) <= 2 * math.pi / 3
                orientation += math.log(math.exp(no) + math.exp(yes)) - (yes if inside else no)
                if inside:
                    orientation += abs(sine - math.sin(away)) + abs(cosine - math.cos(away))
    return [value / max(1, count) for value in (depth, size, orientation)]


@pytest.mark.system("4.3.5-CT3D")
def test_losses_are_those_of_slow_loops() -> None:
    targets = [target(0, 5), target(1, 0), target(2, 4), target(3, 1)]
    outputs = random_outputs(4)
    losses = criterion().compare(outputs, batch_of(targets), Step())
    received = [losses[name].item() for name in ("depth", "size_3d", "orientation")]
    assert received == pytest.approx(slow_losses(outputs, targets), rel=1e-10)
    alone = criterion().objects.compare(CenterOutputs(*outputs[:3]), batch_of(targets), Step())
    assert all(losses[name] == value for name, value in alone.items())


@pytest.mark.parametrize(
    ("column", "value"), [(2, 0.0), (2, -3.0), (4, 0.0), (3, math.nan)], ids=["at", "behind", "flat", "unknown"]
)
def test_boxes_in_space_that_cannot_be_learnt_are_refused(column: int, value: float) -> None:
    wrong = target()
    wrong["boxes_3d"][1, column] = value
    with pytest.raises(ValueError, match="a depth and sides above 0"):
        criterion().compare(random_outputs(1), batch_of([wrong]), Step())
    del wrong["boxes_3d"]
    with pytest.raises(ValueError, match="expected boxes_3d"):
        criterion().compare(random_outputs(1), batch_of([wrong]), Step())


# ----------------------------------------------------------------------------------------------------------------------
# Decoder and model


def slow_boxes(outputs: SpaceOutputs, image: int, original: tuple[int, int], count: int) -> list[list[float]]:
    """Centre, size and yaw of the best objects of one image that was doubled for the network."""
    heat, offsets, sizes, depths, sizes_3d, numbers = (value[image].tolist() for value in outputs)
    limits = (2 * original[0], 2 * original[1])
    side = min(original)
    focal, cx = CAMERA[0] * side, original[1] / 2 + CAMERA[1] * side
    cy = original[0] / 2 + CAMERA[2] * side
    rows, columns = -(-limits[0] // R), -(-limits[1] // R)
    peaks = []
    for k in range(K):
        for y in range(rows):
            for x in range(columns):
                ys, xs = range(max(0, y - 1), min(rows, y + 2)), range(max(0, x - 1), min(columns, x + 2))
                if heat[k][y][x] == max(heat[k][j][i] for j in ys for i in xs):
                    peaks.append((heat[k][y][x], x, y))
    found = []
    for _, x, y in sorted(peaks, reverse=True)[:count]:
        u, v = R * (x + offsets[0][y][x]), R * (y + offsets[1][y][x])
        w, h = sizes[0][y][x], sizes[1][y][x]
        if min(u + w / 2, limits[1]) <= max(u - w / 2, 0) or min(v + h / 2, limits[0]) <= max(v - h / 2, 0):
            continue
        z = 1 / (1 / (1 + math.exp(-depths[0][y][x]))) - 1
        first, second = ([numbers[4 * b + part][y][x] for part in range(4)] for b in (0, 1))
        sure = [math.exp(b[1]) / (math.exp(b[0]) + math.exp(b[1])) for b in (first, second)]
        best, middle = (first, -math.pi / 2) if sure[0] >= sure[1] else (second, math.pi / 2)
        centre = [(u / 2 - cx) / focal * z, (v / 2 - cy) / focal * z, z]
        yaw = math.atan2(best[2], best[3]) + middle + math.atan2(centre[0], z)
        metres = [max(0.0, sizes_3d[axis][y][x]) for axis in range(3)]
        found.append([*centre, *metres, (yaw + math.pi) % (2 * math.pi) - math.pi])
    return found


@pytest.mark.system("4.3.5-CT3D")
def test_boxes_in_space_are_those_of_slow_loops() -> None:
    outputs = random_outputs(2, seed=3)
    outputs = outputs._replace(sizes=outputs.sizes.abs() + 2)
    placements = [Placement((24, 32), SIZE), Placement((20, 27), (40, 54))]
    results = SpaceDecode(CenterDecode(NAMES, detections_per_image=15), CAMERA)(outputs, placements)
    for image, (result, placement) in enumerate(zip(results, placements, strict=True)):
        expected = torch.tensor(slow_boxes(outputs, image, placement.original, 15), dtype=torch.float64)
        assert result.boxes_3d is not None
        torch.testing.assert_close(result.boxes_3d, expected, atol=1e-5, rtol=1e-5)  # the camera is float32
        assert len(result) > 8


def test_depths_are_those_of_the_paper() -> None:
    logits = torch.linspace(-9, 9, 19, dtype=torch.float64)
    torch.testing.assert_close(depth_of(logits), 1 / logits.sigmoid() - 1, atol=1e-10, rtol=1e-10)


def test_the_assumed_camera_looks_at_the_middle_of_any_picture() -> None:
    assert assumed_intrinsics((2.0, 0.1, -0.2), (50, 80)).tolist() == [[100, 0, 45], [0, 100, 15], [0, 0, 1]]
    with pytest.raises(ValueError, match="positive focal length"):
        centernet_3d_tiny(camera=(0.0, 0.0, 0.0))


@pytest.mark.system("4.3.5-CT3D")
def test_outputs_and_layers_of_the_paper_s_network() -> None:
    with torch.device("meta"):
        model: Any = centernet_3d_resnet18()
        outputs = model.network(torch.zeros(1, 3, 384, 1280))
    assert [value.shape[1] for value in outputs] == [3, 2, 2, 1, 3, 8]
    assert all(value.shape[2:] == (96, 320) for value in outputs)
    heads = [model.network.depth, model.network.size_3d, model.network.orientation]
    counts = [sum(p.numel() for p in head.parameters()) for head in heads]
    assert counts == [64 * 64 * 9 + 64 + n * 65 for n in (1, 3, 8)]


def test_nan_weights_are_found_out() -> None:
    outputs = random_outputs(1)
    broken = outputs._replace(depth_logits=outputs.depth_logits * torch.nan, sizes=outputs.sizes.abs() + 2)
    assert criterion().compare(broken, batch_of([target()]), Step())["depth"].isnan()
    with pytest.raises(ValueError, match="boxes_3d that are not finite"):
        SpaceDecode(CenterDecode(NAMES), CAMERA)(broken, [Placement(SIZE, SIZE)])
