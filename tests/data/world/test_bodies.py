"""Depth images of bodies: depth, parts and joints in space belong together."""

import numpy as np
import pytest
import torch

from tests.closeness import assert_close
from vidi.data.world.bodies import Bodies

SIZE = (120, 160)


def bodies(count: int = 30, **arguments) -> Bodies:
    return Bodies(count=count, size=SIZE, targets=sorted(Bodies.kinds), **arguments)


@pytest.mark.system("0-DATA-DEPTHBODY")
def test_a_sample_has_depth_parts_and_joints_of_one_person():
    image, target = bodies()[0]
    assert image.shape == (3, *SIZE)
    assert set(target) == Bodies.kinds
    assert target["joints"].shape == (1, 14, 3)
    assert target["masks"].shape == (1, *SIZE)
    mask = target["masks"][0].as_subclass(torch.Tensor)
    assert torch.equal(target["depth_valid"].as_subclass(torch.Tensor), mask)
    assert torch.equal(target["parts"].as_subclass(torch.Tensor) < len(Bodies.parts), mask)
    assert not target["depth"][~mask].any()
    assert 1.5 < float(target["depth"][mask].min()) < float(target["depth"][mask].max()) < 5.0


@pytest.mark.system("0-DATA-DEPTHBODY")
def test_the_camera_has_the_intrinsics_of_the_kinect():
    _, target = Bodies(count=1, size=(480, 512), targets=["intrinsics"])[0]
    assert target["intrinsics"][0, 0] == pytest.approx(585.0)
    assert target["intrinsics"][1, 2] == pytest.approx(240.0)


@pytest.mark.system("0-DATA-DEPTHBODY")
def test_parts_lie_around_their_joints_in_space():
    seen = np.zeros(len(Bodies.parts))
    for _, target in bodies():
        matrix, parts = target["intrinsics"].numpy().astype(np.float64), target["parts"].numpy()
        i, j = np.nonzero(parts < len(Bodies.parts))
        depth = target["depth"].numpy()[i, j].astype(np.float64)
        points = np.stack((j + 0.5, i + 0.5, np.ones(len(i)))).T @ np.linalg.inv(matrix).T * depth[:, None]
        for joint in range(14):
            around = points[parts[i, j] == joint]
            if len(around):
                away = np.linalg.norm(around - target["joints"][0, joint].numpy(), axis=1)
                assert np.median(away) < 0.16
                assert away.max() < 0.32
        seen += np.bincount(parts[i, j], minlength=len(seen)) > 0
    assert seen.min() > 10  # every part is seen in a third of the pictures


@pytest.mark.system("0-DATA-DEPTHBODY")
def test_joints_project_onto_their_keypoints_and_persons_are_whole():
    whole = []
    for _, target in bodies():
        pixels = target["joints"][0] @ target["intrinsics"].T
        pixels = pixels[:, :2] / pixels[:, 2:]
        present = target["visibility"][0] > 0
        assert_close(target["keypoints"][0][present].as_subclass(torch.Tensor), pixels[present], 1e-5)
        whole.append(bool(present.all()))
    assert np.mean(whole) > 0.9


@pytest.mark.system("0-DATA-DEPTHBODY")
def test_bodies_are_repeatable_and_varied():
    one, same = bodies(20), bodies(20)
    shapes, poses = set(), []
    for index in range(20):
        (_, target), (_, again) = one[index], same[index]
        assert torch.equal(target["depth"], again["depth"])
        assert torch.equal(target["parts"], again["parts"])
        shapes.add(int(target["identity"]))
        poses.append(target["joints"][0] - target["joints"][0, 8:10].mean(0))
    assert len(shapes) > 12
    assert torch.stack(poses).std(0).max() > 0.2
    assert not torch.equal(one[0][1]["depth"], bodies(1, split="val")[0][1]["depth"])


@pytest.mark.parametrize("arguments", [{"split": "x"}, {"targets": ["right"]}, {"size": (16, 64)}, {"count": -1}])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"choices|sides|negative"):
        Bodies(**arguments)
