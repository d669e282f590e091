"""The truths of one view agree with each other and with geometry worked out by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from vidi.data.world.names import CATEGORIES, NO_PART, PARTS, PERSON, SEMANTIC_CATEGORIES
from vidi.data.world.scene import make_scene
from vidi.data.world.truth import VIEW_TRUTHS, Observation
from vidi.ops.boxes_3d import box_3d_corners

SIZES = [(128, 128), (32, 32), (61, 97), (150, 64)]
SCENES = [(index, SIZES[index % len(SIZES)]) for index in range(24)]


def observe(index: int, size: tuple[int, int]) -> tuple[Observation, dict]:
    seen = Observation(make_scene(1, "val", index), size)
    return seen, {key: np.asarray(truth(seen)) for key, truth in VIEW_TRUTHS.items()}


@pytest.mark.system("0-DATA-DET")
@pytest.mark.parametrize(("index", "size"), SCENES)
def test_boxes_and_masks_and_maps_tell_the_same(index, size):
    _, truth = observe(index, size)
    masks, semantic, panoptic = truth["masks"], truth["semantic"], truth["panoptic"]
    assert masks.sum(0).max() == 1
    assert truth["areas"].tolist() == masks.sum((1, 2)).tolist()
    for row, (mask, box, label) in enumerate(zip(masks, truth["boxes"], truth["labels"], strict=True)):
        i, j = np.nonzero(mask)
        assert box.tolist() == [j.min(), i.min(), j.max() + 1, i.max() + 1]
        assert (semantic[mask] == label).all()
        np.testing.assert_array_equal(panoptic == row + 1, mask)
    stuff = ~masks.any(0)
    assert set(np.unique(semantic[stuff])) <= {SEMANTIC_CATEGORIES.index("ground"), SEMANTIC_CATEGORIES.index("sky")}
    count = len(masks)
    np.testing.assert_array_equal(panoptic == count + 1, semantic == SEMANTIC_CATEGORIES.index("ground"))
    np.testing.assert_array_equal(panoptic == count + 2, semantic == SEMANTIC_CATEGORIES.index("sky"))
    np.testing.assert_array_equal(truth["depth_valid"], semantic != SEMANTIC_CATEGORIES.index("sky"))
    assert truth["label"] == truth["labels"][truth["areas"].argmax()]
    assert not truth["crowd"].any()


@pytest.mark.system("0-DATA-DET")
@pytest.mark.parametrize(("index", "size"), SCENES[:6])
def test_masks_survive_the_run_lengths_of_coco(index, size):
    _, truth = observe(index, size)
    runs = coco_mask.encode(np.asfortranarray(truth["masks"].transpose(1, 2, 0).astype(np.uint8)))
    np.testing.assert_array_equal(coco_mask.decode(runs).transpose(2, 0, 1).astype(bool), truth["masks"])
    assert coco_mask.area(runs).tolist() == truth["areas"].tolist()
    xywh = truth["boxes"].copy()
    xywh[:, 2:] -= xywh[:, :2]
    np.testing.assert_array_equal(coco_mask.toBbox(runs), xywh)


def test_depth_of_the_ground_follows_from_the_height_of_the_camera():
    seen, truth = observe(2, (96, 128))
    matrix, camera = truth["intrinsics"].astype(np.float64), seen.scene.camera
    row = np.arange(96) + 0.5
    expected = matrix[1, 1] * camera.height / (row - matrix[1, 2])
    ground = truth["semantic"] == SEMANTIC_CATEGORIES.index("ground")
    assert ground.sum() > 1000
    np.testing.assert_allclose(
        truth["depth"][ground], np.broadcast_to(expected[:, None], ground.shape)[ground], rtol=1e-5
    )
    assert truth["depth"].max() <= 80.0


def test_points_of_things_lie_on_their_surfaces():
    met = set()
    for index in range(20):
        _, truth = observe(index, (128, 128))
        matrix = truth["intrinsics"].astype(np.float64)
        for mask, box, label in zip(truth["masks"], truth["boxes_3d"], truth["labels"], strict=True):
            i, j = np.nonzero(mask)
            rays = np.stack((j + 0.5, i + 0.5, np.ones(len(i)))).T @ np.linalg.inv(matrix).T
            q = rays * truth["depth"][mask][:, None] - box[:3]
            turn = np.array([[np.cos(box[6]), 0, np.sin(box[6])], [0, 1, 0], [-np.sin(box[6]), 0, np.cos(box[6])]])
            q = q @ turn / (0.5 * box[3:6])
            name = CATEGORIES[label]
            met.add(name)
            if name == "sphere":
                np.testing.assert_allclose((q**2).sum(1), 1.0, atol=1e-4)
            elif name == "box":
                np.testing.assert_allclose(np.abs(q).max(1), 1.0, atol=1e-4)
            elif name == "cylinder":
                np.testing.assert_allclose(np.maximum(np.hypot(q[:, 0], q[:, 2]), np.abs(q[:, 1])), 1.0, atol=1e-4)
            elif name == "cone":
                gap = np.maximum(np.hypot(q[:, 0], q[:, 2]) - (q[:, 1] + 1) / 2, np.abs(q[:, 1]) - 1)
                np.testing.assert_allclose(gap, 0.0, atol=1e-4)
            else:
                assert np.abs(q).max() <= 1.0 + 1e-4
    assert met == set(CATEGORIES)


def test_boxes_in_space_project_around_their_things():
    for index in range(20):
        _, truth = observe(index, (128, 128))
        for box, flat in zip(truth["boxes_3d"], truth["boxes"], strict=True):
            corners = box_3d_corners(torch.from_numpy(box.astype(np.float64))[None])[0].numpy()
            corners = corners @ truth["intrinsics"].astype(np.float64).T
            assert (corners[:, 2] > 0).all()
            corners = corners[:, :2] / corners[:, 2:]
            low, high = corners.min(0), corners.max(0)
            assert (low <= flat[:2] + 0.51).all()
            assert (high >= flat[2:] - 0.51).all()


@pytest.mark.parametrize("size", [(128, 128), (61, 97), (320, 320)])
def test_visible_keypoints_lie_on_their_person_and_outside_ones_are_absent(size):
    visible, hidden, absent, on_part = 0, 0, 0, []
    for index in range(30):
        seen, truth = observe(index, size)
        for row, label in enumerate(truth["labels"]):
            points, state = truth["keypoints"][row], truth["visibility"][row]
            if label != PERSON:
                assert not state.any()
                assert not points.any()
                continue
            for joint, ((x, y), v) in enumerate(zip(points, state, strict=True)):
                visible, hidden, absent = visible + (v == 2), hidden + (v == 1), absent + (v == 0)
                if v == 0:
                    assert x == y == 0
                    u = truth["intrinsics"] @ seen.joints[row, joint]
                    u = u[:2] / u[2]
                    assert not ((u >= 0).all() and (u < (size[1], size[0])).all())
                elif v == 2:
                    assert truth["masks"][row, int(y), int(x)]
                    on_part.append(truth["parts"][int(y), int(x)] == joint)
    assert visible > 2 * hidden > 0
    assert np.mean(on_part) > 0.6  # else the joint lies under another part of the same body


@pytest.mark.parametrize(("index", "size"), SCENES[:8])
def test_parts_are_on_persons_and_nowhere_else(index, size):
    _, truth = observe(index, size)
    np.testing.assert_array_equal(truth["parts"] < NO_PART, truth["semantic"] == PERSON)
    assert truth["parts"].max() <= NO_PART == len(PARTS)
