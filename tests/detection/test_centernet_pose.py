"""CenterNet for poses: targets, losses and decoding against slow loops; what it refuses, and what it survives."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import tv_tensors

from tests.closeness import NUMBERS, assert_close
from tests.detection import scenes
from tests.references import centernet as slow
from vidi.detection.centernet import CenterCriterion, CenterDecode, CenterOutputs
from vidi.detection.centernet_pose import (
    PoseCriterion,
    PoseDecode,
    PoseOutputs,
    centernet_pose_resnet18,
    centernet_pose_tiny,
    joint_targets,
    joints_of,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.ops.skeletons import Skeleton
from vidi.preprocess import Placement

K, J, R = 2, 3, 4
SIZE, MAP = (48, 64), (12, 16)
NAMES = ("ball", "person")
batch_of = partial(scenes.batch_of, size=SIZE)
KEYS = ("boxes", "crowd", "keypoints", "visibility")
BODY = Skeleton(("head", "left_hand", "right_hand"), ((0, 1), (0, 2)))
FLOATS = torch.zeros(1, dtype=torch.float64)


def target(seed: int = 0, count: int = 3, *, labelled: bool = True) -> dict[str, Tensor]:
    """Boxes with joints in and around them; some outside the picture, some not labelled; one crowd of four."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * torch.tensor([40.0, 30.0])
    sides = 4 + 20 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    share = 1.4 * torch.rand(count, J, 2, generator=generator, dtype=torch.float64) - 0.2
    return {
        "boxes": torch.cat((corner, corner + sides), 1),
        "labels": torch.arange(count) % K,
        "crowd": torch.arange(count) % 4 == 3,
        "keypoints": corner[:, None] + share * sides[:, None],
        "visibility": torch.randint(0, 3, (count, J), generator=generator).to(torch.uint8) * labelled,
    }


def random_outputs(images: int, seed: int = 0) -> PoseOutputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, scale: float = 1.0) -> Tensor:
        values = scale * torch.randn(images, channels, *MAP, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    return PoseOutputs(draw(K), draw(2), draw(2, 15), draw(2 * J, 8), draw(J), draw(2))


def criterion() -> PoseCriterion:
    return PoseCriterion(CenterCriterion(tuple(range(K))))


def slow_joints(targets: list[dict[str, Tensor]]) -> list[list[tuple[Any, int, tuple[float, float]]]]:
    """Per image: box of the object, number and place of each labelled joint in the picture."""
    found = []
    for t in targets:
        rows = []
        for box, crowd, points, states in zip(*(t[key].tolist() for key in KEYS), strict=True):
            for joint, ((x, y), state) in enumerate(zip(points, states, strict=True)):
                if not crowd and state > 0 and 0 <= x < SIZE[1] and 0 <= y < SIZE[0]:
                    rows.append((tuple(box), joint, (x, y)))
        found.append(rows)
    return found


def slow_heat(rows: list[tuple[Any, int, tuple[float, float]]]) -> list[list[list[float]]]:
    """The largest of the Gaussians around the cells of the joints, as wide as those of their objects."""
    maps = [[[0.0] * MAP[1] for _ in range(MAP[0])] for _ in range(J)]
    for box, joint, (px, py) in rows:
        sigma = slow.cornernet_radius((box[2] - box[0]) / R, (box[3] - box[1]) / R, 0.3) / 3
        cx, cy = math.floor(px / R), math.floor(py / R)
        for y in range(MAP[0]):
            for x in range(MAP[1]):
                value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                maps[joint][y][x] = max(maps[joint][y][x], value)
    return maps


def slow_losses(outputs: PoseOutputs, targets: list[dict[str, Tensor]]) -> list[float]:
    joints = slow_joints(targets)
    offsets, logits, residuals = (value.tolist() for value in outputs[3:])
    offset = heat = residual = 0.0
    for image, rows in enumerate(joints):
        maps = slow_heat(rows)
        crowds = targets[image]["boxes"][targets[image]["crowd"]].tolist()
        for joint in range(J):
            for y in range(MAP[0]):
                for x in range(MAP[1]):
                    px, py = (x + 0.5) * R, (y + 0.5) * R
                    hidden = any(b[0] <= px < b[2] and b[1] <= py < b[3] for b in crowds)
                    if maps[joint][y][x] == 1 or not hidden:
                        heat += slow.cell_loss(logits[image][joint][y][x], maps[joint][y][x])
        for box, joint, point in rows:
            x, y = slow.cell_of(box, MAP)
            for axis in (0, 1):
                centre = (box[axis] + box[axis + 2]) / 2
                offset += abs(offsets[image][2 * joint + axis][y][x] - (point[axis] - centre))
            own = [math.floor(value / R) for value in point]
            for axis in (0, 1):
                residual += abs(residuals[image][axis][own[1]][own[0]] - (point[axis] / R - own[axis]))
    count = max(1, sum(map(len, joints)))
    return [0.1 * offset / count, heat / count, residual / count]


# ----------------------------------------------------------------------------------------------------------------------
# Targets and losses


@pytest.mark.system("4.3.5-CTPOSE")
def test_targets_and_losses_are_those_of_slow_loops() -> None:
    targets = [target(0, 5), target(1, 0), target(2, 4), target(3, 2)]
    outputs = random_outputs(4)
    losses = criterion().compare(outputs, batch_of(targets), Step())
    received = [losses[name].item() for name in ("joint_offset", "joint_heatmap", "joint_residual")]
    assert received == pytest.approx(slow_losses(outputs, targets), rel=1e-10)
    objects = [Objects.of(t, like=FLOATS) for t in targets]
    bodies = [joints_of(t, like=FLOATS, joints=J) for t in targets]
    heat = joint_targets(objects, bodies, MAP, min_iou=0.3).heat
    expected = torch.tensor([slow_heat(rows) for rows in slow_joints(targets)], dtype=torch.float64)
    assert_close(heat, expected, NUMBERS)
    alone = criterion().objects.compare(CenterOutputs(*outputs[:3]), batch_of(targets), Step())
    assert all(losses[name] == value for name, value in alone.items())


def test_losses_and_gradients_are_finite_where_no_joint_is_labelled() -> None:
    outputs = random_outputs(1)
    losses = criterion().compare(outputs, batch_of([target(4, labelled=False)]), Step())
    sum(losses.values(), torch.zeros(())).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in outputs)
    assert losses["joint_offset"] == losses["joint_residual"] == 0
    assert losses["joint_heatmap"] > 0


def test_an_object_at_the_border_keeps_its_joints_in_the_picture() -> None:
    boxes = torch.tensor([[50.0, 30.0, 90.0, 70.0]], dtype=torch.float64)
    points = torch.tensor([[[63.9, 47.9], [64.0, 40.0], [60.0, -0.1]]], dtype=torch.float64)
    t = {"boxes": boxes, "labels": torch.tensor([1]), "keypoints": points, "visibility": torch.full((1, J), 2).byte()}
    found = joint_targets([Objects.of(t, like=FLOATS)], [joints_of(t, like=FLOATS, joints=J)], MAP, min_iou=0.3)
    assert found.joints.tolist() == [0]
    assert found.cells.tolist() == [[15, 11]]
    assert found.centre_cells.tolist() == [[15, 11]]  # the nearest to a centre outside
    torch.testing.assert_close(found.offsets, points[:, 0] - torch.tensor([[70.0, 50.0]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("keypoints", None, "expected keypoints and visibility"),
        ("keypoints", torch.zeros(3, J + 1, 2), "expected "),
        ("visibility", torch.zeros(3, J + 1, dtype=torch.uint8), "expected "),
    ],
)
def test_targets_without_joints_are_refused(key: str, value: Tensor | None, message: str) -> None:
    wrong = target()
    if value is None:
        del wrong[key]
    else:
        wrong[key] = value
    with pytest.raises(ValueError, match=message):
        criterion().compare(random_outputs(1), batch_of([wrong]), Step())


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def decoder(count: int = 6) -> PoseDecode:
    return PoseDecode(CenterDecode(NAMES, detections_per_image=count), BODY, (1,))


def slow_pose(outputs: PoseOutputs, image: int, limits: tuple[int, int], count: int) -> list[list[list[float]]]:
    """Joints and scores of the best objects of one image of `limits` (h, w) pixels, straight from the paper."""
    heat, offsets, sizes, regress, joint_logits, residuals = (value[image].tolist() for value in outputs)
    rows, columns = -(-limits[0] // R), -(-limits[1] // R)

    def tops(plane: list[list[float]]) -> list[tuple[float, int, int]]:
        found = []
        for y in range(rows):
            for x in range(columns):
                ys, xs = range(max(0, y - 1), min(rows, y + 2)), range(max(0, x - 1), min(columns, x + 2))
                if plane[y][x] == max(plane[j][i] for j in ys for i in xs):
                    found.append((1 / (1 + math.exp(-plane[y][x])), x, y))
        return sorted(found, reverse=True)

    peaks = [
        [(p, R * (x + residuals[0][y][x]), R * (y + residuals[1][y][x])) for p, x, y in tops(joint_logits[j])[:100]]
        for j in range(J)
    ]
    objects = sorted(((p, k, x, y) for k in range(K) for p, x, y in tops(heat[k])), reverse=True)[:count]
    bodies = []
    for _, label, x, y in objects:
        cx, cy = R * (x + offsets[0][y][x]), R * (y + offsets[1][y][x])
        w, h = (max(0.0, sizes[axis][y][x]) for axis in (0, 1))
        x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        if min(x2, limits[1]) <= max(x1, 0) or min(y2, limits[0]) <= max(y1, 0):
            continue
        body = []
        for joint in range(J):
            px, py = cx + regress[2 * joint][y][x], cy + regress[2 * joint + 1][y][x]
            near = [
                (math.dist((px, py), (qx, qy)), qx, qy, p)
                for p, qx, qy in peaks[joint]
                if p > 0.1 and x1 <= qx <= x2 and y1 <= qy <= y2
            ]
            if near:
                _, px, py, score = min(near)
            else:
                column = min(max(math.floor(px / R), 0), MAP[1] - 1)
                row = min(max(math.floor(py / R), 0), MAP[0] - 1)
                score = 1 / (1 + math.exp(-joint_logits[joint][row][column]))
            body.append([px, py, score if label == 1 else 0.0])
        bodies.append(body)
    return bodies


@pytest.mark.system("4.3.5-CTPOSE")
@pytest.mark.parametrize("shift", [0.0, -3.5])
def test_poses_are_those_of_slow_loops(shift: float) -> None:
    """With fewer sure joints more of them stay where they were regressed to."""
    outputs = random_outputs(2, seed=3)
    outputs = outputs._replace(joint_logits=outputs.joint_logits + shift, sizes=outputs.sizes.abs() + 4)
    placements = [Placement(SIZE, SIZE), Placement((41, 50), (41, 50))]
    results = decoder(20)(outputs, placements)
    for image, (result, placement) in enumerate(zip(results, placements, strict=True)):
        expected = torch.tensor(slow_pose(outputs, image, placement.original, 20), dtype=torch.float64)
        assert result.keypoints is not None
        assert_close(result.keypoints, expected, 1e-9)
        assert result.skeleton == BODY
        assert len(result) > 5


@pytest.mark.system("4.3.5-CTPOSE")
def test_decoding_the_targets_gives_the_poses_back() -> None:
    """Persons at some distance, all joints in the picture; in twice the size of the original."""
    boxes = torch.tensor([[4.0, 4.0, 28.0, 40.0], [34.0, 6.0, 60.0, 44.0]], dtype=torch.float64)
    points = torch.tensor([[[16, 6], [6, 20], [26, 21]], [[48, 9], [36, 26], [58.5, 27]]], dtype=torch.float64)
    t = {
        "boxes": boxes,
        "labels": torch.tensor([1, 1]),
        "keypoints": points,
        "visibility": torch.full((2, J), 2).byte(),
    }
    objects, bodies = [Objects.of(t, like=FLOATS)], [joints_of(t, like=FLOATS, joints=J)]
    joints = joint_targets(objects, bodies, MAP, min_iou=0.3)
    outputs = PoseOutputs(*(torch.zeros_like(value) for value in random_outputs(1)))
    outputs.heat_logits.sub_(9)
    for box in boxes:
        x, y = slow.cell_of(tuple(box.tolist()), MAP)
        outputs.heat_logits[0, 1, y, x] = 5
        centre = (box[:2] + box[2:]) / 2
        outputs.offsets[0, :, y, x] = centre / R - torch.tensor([x, y])
        outputs.sizes[0, :, y, x] = box[2:] - box[:2]
    outputs.joint_logits.copy_((joints.heat.clamp(1e-9, 1 - 1e-9)).logit())
    for joint, cell, residual in zip(joints.joints, joints.cells, joints.residuals, strict=True):
        x, y = cell.tolist()
        outputs.joint_residuals[0, :, y, x] = residual
        assert joint < J
    (result,) = decoder()(outputs, [Placement((24, 32), SIZE)])
    assert result.keypoints is not None
    found = result.keypoints[result.scores > 0.9]
    order = found[:, 0, 0].argsort()
    assert_close(found[order, :, :2], points / 2, 1e-9)
    assert (found[..., 2] > 0.99).all()


def test_nan_weights_are_found_out() -> None:
    outputs = random_outputs(1)
    broken = outputs._replace(joint_offsets=outputs.joint_offsets * torch.nan)
    losses = criterion().compare(broken, batch_of([target()]), Step())
    assert losses["joint_offset"].isnan()
    low = broken._replace(joint_logits=outputs.joint_logits - 20)
    with pytest.raises(ValueError, match="keypoints that are not finite"):
        decoder()(low, [Placement(SIZE, SIZE)])


# ----------------------------------------------------------------------------------------------------------------------
# The model


@pytest.mark.system("4.3.5-CTPOSE")
def test_outputs_and_layers_of_the_paper_s_network() -> None:
    with torch.device("meta"):
        model: Any = centernet_pose_resnet18()
        outputs = model.network(torch.zeros(1, 3, 512, 512))
    assert [value.shape[1] for value in outputs] == [1, 2, 2, 34, 17, 2]
    assert all(value.shape[2:] == (128, 128) for value in outputs)
    network = model.network
    heads = [network.joint_offset, network.joint_heat, network.joint_residual]
    counts = [sum(p.numel() for p in head.parameters()) for head in heads]
    assert counts == [64 * 64 * 9 + 64 + n * 65 for n in (34, 17, 2)]


def test_loss_maps_keypoints_to_the_canvas() -> None:
    """A target in the pixels of an image of half the size costs what the same target costs on the canvas."""
    torch.default_generator.manual_seed(0)
    model: Any = centernet_pose_tiny(
        categories=NAMES, joints=BODY.joints, bones=BODY.bones, channels=(32,), hidden=16, size=(64, 64)
    ).eval()
    t = {k: v.float() if v.is_floating_point() else v for k, v in target(5, 2).items()}
    t["keypoints"] = t["keypoints"].clamp(1, 31)
    t["boxes"] = t["boxes"].clamp(max=32) + torch.tensor([0.0, 0, 1, 1])
    small = torch.zeros(3, 32, 32) + 0.5
    doubled = {**t, "boxes": 2 * t["boxes"], "keypoints": 2 * t["keypoints"]}
    expected = model.loss([torch.zeros(3, 64, 64) + 0.5], [doubled])
    for name, value in model.loss([small], [t]).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


def test_only_categories_with_joints_have_a_pose() -> None:
    torch.default_generator.manual_seed(0)
    model: Any = centernet_pose_tiny(categories=NAMES, joints=BODY.joints, channels=(32,), hidden=16, bones=())
    nn.init.constant_(model.network.size[-1].bias, 20)
    (result,) = model.predict([torch.rand(3, 64, 64)])
    assert result.keypoints is not None
    assert ((result.keypoints[..., 2] > 0).all(1) == (result.labels == 1)).all()
    assert set(result.labels.tolist()) == {0, 1}
    every: Any = centernet_pose_tiny(categories=2, jointed=(), joints=BODY.joints, bones=())
    assert every.decode.jointed == (0, 1)
    with pytest.raises(ValueError, match="expected names among the categories ball, person"):
        centernet_pose_tiny(categories=NAMES, jointed=("dog",))
    with pytest.raises(ValueError, match=r"received the bone \(0, 9\)"):
        centernet_pose_tiny(categories=NAMES, joints=BODY.joints, bones=((0, 9),))


def test_keypoints_typed_by_a_data_set_are_taken() -> None:
    t = target()
    t["keypoints"] = tv_tensors.KeyPoints(t["keypoints"], canvas_size=SIZE)  # type: ignore[call-arg]
    plain_points = joints_of(target(), like=FLOATS, joints=J).points
    assert torch.equal(joints_of(t, like=FLOATS, joints=J).points.as_subclass(Tensor), plain_points)
