"""The result of a finder of bodies: order, wording, plain values and drawings."""

import json

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from vidi.ops.depth_pictures import depth_picture
from vidi.ops.palette import INK, class_colour
from vidi.ops.skeletons import Skeleton
from vidi.results.body_pose import BodyPose
from vidi.results.result import Result

PARTS = ("hand", "arm", "torso")
SKELETON = Skeleton(("hand", "torso"), ((0, 1),))
CAMERA = torch.tensor([[100.0, 0.0, 60.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]])


def pose(**changed) -> BodyPose:
    classes = torch.full((100, 120), 3, dtype=torch.uint8)
    classes[20:80, 40:60] = 2
    classes[30:35, 60:90] = 0
    fields = {
        "classes": classes,
        "categories": PARTS,
        "proposed": torch.tensor([1, 0, 0]),
        "positions": torch.tensor([[-0.2, 0.0, 2.0], [0.1, 0.1, 1.5], [0.3, -0.4, 2.0]]),
        "confidences": torch.tensor([0.2, 0.01, 0.03]),
        "skeleton": SKELETON,
        "intrinsics": CAMERA,
    }
    return BodyPose(**fields | changed)


@pytest.mark.system("5.1.1-POSE")
def test_proposals_are_in_order_and_the_surest_of_each_joint_is_the_skeleton():
    found: Result = pose()
    assert isinstance(found, BodyPose)
    assert found.confidences.tolist() == pytest.approx([0.2, 0.03, 0.01])
    assert found.best() == [1, 0]
    positions, confidences = found.joints()
    assert positions[0].tolist() == pytest.approx([0.3, -0.4, 2.0])
    assert confidences.tolist() == pytest.approx([0.03, 0.2])
    alone = pose(proposed=torch.tensor([1]), positions=torch.ones(1, 3), confidences=torch.ones(1))
    assert alone.best() == [None, 0]
    assert alone.joints()[1].tolist() == [0, 1]
    assert not alone.joints()[0][0].any()


@pytest.mark.system("5.1.1-POSE")
def test_plain_values_and_a_line():
    plain = json.loads(json.dumps(pose().to_dict()))
    assert plain["size"] == [100, 120]
    assert [joint["name"] for joint in plain["joints"]] == ["hand", "torso"]
    assert plain["joints"][0]["position"] == pytest.approx([0.3, -0.4, 2.0])
    assert plain["joints"][1]["confidence"] == pytest.approx(0.2)
    assert [part["name"] for part in plain["parts"]] == ["hand", "torso"]
    assert plain["parts"][1]["share"] == pytest.approx(1200 / 1350)
    assert str(pose()) == "2 of 2 joints, body on 11% of the picture, 2.00 m away"
    none = pose(proposed=torch.zeros(0, dtype=torch.int64), positions=torch.zeros(0, 3), confidences=torch.zeros(0))
    assert str(none) == "0 of 2 joints, body on 11% of the picture"
    assert none.to_dict()["joints"] == []


@pytest.mark.system("5.1.1-POSE")
def test_parts_and_bones_are_drawn_where_they_are():
    depth = torch.where(pose().classes < 3, 2.0, 0.0)[None]
    drawn = np.asarray(pose().draw(depth)).astype(int)
    assert drawn.shape == (400, 480, 3)
    joint = tuple(round(4 * c) for c in (0.3 / 2 * 100 + 60, -0.4 / 2 * 100 + 50))
    assert np.abs(drawn[joint[1], joint[0]] - INK).max() < 12
    inside, outside = drawn[4 * 70, 4 * 50], drawn[4 * 90, 4 * 10]
    assert np.abs(inside - class_colour(2)).sum() < np.abs(outside - class_colour(2)).sum()
    assert (outside == outside[0]).all()
    assert pose().draw(np.zeros((100, 120, 3), np.uint8)).size == (480, 400)
    with pytest.raises(ValueError, match="classes of size"):
        pose().draw(np.zeros((10, 12, 3), np.uint8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"confidences": torch.tensor([0.1, 0.2, torch.nan])}, "not finite"),
        ({"positions": torch.full((3, 3), torch.inf)}, "not finite"),
        ({"proposed": torch.tensor([0, 1, 2])}, "skeleton"),
        ({"proposed": torch.tensor([0, 1, -1])}, "skeleton"),
        ({"classes": torch.full((4, 4), 4, dtype=torch.uint8)}, "label 4"),
        ({"positions": torch.zeros(2, 3)}, "positions"),
    ],
)
def test_results_that_contradict_themselves_are_refused(changed, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        pose(**changed)


def test_near_is_bright_and_nothing_is_dark():
    depth = torch.tensor([[[1.0, 3.0], [2.0, 0.0]]])
    picture = depth_picture(depth)
    assert picture.shape == (3, 2, 2)
    near, far, middle, nothing = picture[0].flatten().tolist()[0], *picture[0].flatten().tolist()[1:]
    assert (near, far, nothing) == (round(255 * 0.95), round(255 * 0.35), round(255 * 0.12))
    assert middle == round((near + far) / 2)
    assert len(depth_picture(torch.zeros(1, 2, 2)).unique()) == 1
    assert depth_picture(torch.full((1, 2, 2), 2.0)).min() > 80
