"""Joints from part probabilities: where pixels are in space, the modes of their weights, and the push back."""

import numpy as np
import pytest
import torch

from tests.closeness import assert_close
from vidi.data.world.depth_bodies import DepthBodies
from vidi.segmentation.body_parts.joint_proposals import (
    BANDWIDTH,
    LEAST_PROBABILITY,
    PUSH_BACK,
    JointProposals,
    propose_joints,
    reproject,
    surface_distances,
)


@pytest.mark.system("5.1.1-JOINTS")
def test_pixels_are_put_where_the_camera_saw_them():
    camera = torch.tensor([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]])
    points = reproject(torch.tensor([[59, 79], [10, 120]]), torch.tensor([2.0, 3.0]), camera)
    expected = torch.tensor([[-0.5 * 2 / 200, -0.5 * 2 / 200, 2], [40.5 * 3 / 200, -49.5 * 3 / 200, 3]])
    assert_close(points, expected, 1e-6)
    back = points @ camera.T
    assert_close(back[:, :2] / back[:, 2:], torch.tensor([[79.5, 59.5], [120.5, 10.5]]), 1e-6)


def limbs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels of one part in two places, the surer ones in the larger, and of another part."""
    random = torch.Generator().manual_seed(seed)
    places = torch.tensor([[0.0, 0, 2], [0.6, 0, 2.5], [0, 0.7, 2.2]])
    counts = (80, 30, 50)
    points = torch.cat([p + 0.01 * torch.randn(n, 3, generator=random) for p, n in zip(places, counts, strict=True)])
    probabilities = torch.zeros(160, 2)
    probabilities[:80, 0], probabilities[80:110, 0], probabilities[110:, 1] = 0.9, 0.5, 1.0
    return points, probabilities


@pytest.mark.system("5.1.1-JOINTS")
def test_modes_are_weighted_by_probability_and_the_square_of_the_depth():
    """C5.2: local modes, where a centre of mass would lie between two limbs, in the air."""
    points, probabilities = limbs()
    found = propose_joints(probabilities, points, 100.0, [0, 1], push_back=torch.zeros(2))
    assert found.joints.tolist() == [0, 0, 1]
    assert_close(found.positions[0], points[:80].mean(0), 5e-3)
    assert_close(found.positions[1], points[80:110].mean(0), 5e-3)
    weights = probabilities[:, 0].double() * (points[:, 2].double() / 100) ** 2
    assert found.confidences[0] == pytest.approx(float(weights[:80].sum()), rel=1e-6)
    assert found.confidences[1] == pytest.approx(float(weights[80:110].sum()), rel=1e-6)
    mass = (weights[:, None] * points).sum(0) / weights.sum()
    assert (mass - found.positions[0]).norm() > 0.1  # the centre of mass lies between the limbs, in the air
    peak = found.positions[0].double()
    density = weights * torch.exp(-((points.double() - peak) ** 2).sum(1) / BANDWIDTH**2)
    assert_close((density[:, None] * points).sum(0) / density.sum(), peak, 1e-4)


@pytest.mark.system("5.1.1-JOINTS")
def test_pixels_that_are_hardly_of_the_part_do_not_count():
    points, probabilities = limbs()
    probabilities[80:110, 0] = LEAST_PROBABILITY
    found = propose_joints(probabilities, points, 100.0, [0], push_back=torch.zeros(1))
    assert len(found.joints) == 1
    assert len(propose_joints(probabilities, points, 100.0, [0], least=0.1).joints) == 2
    assert len(propose_joints(torch.zeros(160, 2), points, 100.0, [0, 1]).joints) == 0


@pytest.mark.system("5.1.1-JOINTS")
def test_modes_are_pushed_back_along_the_line_of_sight():
    points, probabilities = limbs()
    surface, usual, own = (
        propose_joints(probabilities, points, 100.0, [0, 1], push_back=back).positions
        for back in (torch.zeros(2), None, torch.tensor([0.1, 0.02]))
    )
    for pushed, lengths in ((usual, (PUSH_BACK, PUSH_BACK, PUSH_BACK)), (own, (0.1, 0.1, 0.02))):
        assert_close((pushed - surface).norm(dim=1), torch.tensor(lengths), 1e-4)
        assert_close(torch.linalg.cross(pushed, surface).norm(dim=1), torch.zeros(3), 1.0, size=1e-5)
        assert (pushed.norm(dim=1) > surface.norm(dim=1)).all()


@pytest.mark.system("5.1.1-JOINTS")
def test_how_far_joints_lie_behind_their_surface_is_measured_along_the_line_of_sight():
    positions = torch.tensor([[0.3, 0.4, 1.2], [9.0, 0, 1], [0, 0, 2.0]])
    proposals = JointProposals(torch.tensor([0, 0, 2]), positions, torch.ones(3))
    joints = torch.stack((positions[0] * (1 + 0.13 / 1.3), torch.zeros(3), torch.tensor([0.3, 0, 2.0])))
    assert surface_distances(proposals, joints)[0] == pytest.approx(0.13, rel=1e-5)
    assert surface_distances(proposals, joints).isnan().tolist() == [False, True, True]
    assert surface_distances(proposals, joints, near=0.31)[2] == pytest.approx(0, abs=1e-6)


def test_the_numbers_of_the_paper():
    assert (BANDWIDTH, LEAST_PROBABILITY, PUSH_BACK) == (0.065, 0.14, 0.039)


@pytest.mark.system("5.1.1-JOINTS", "5.1.1-POSE")
def test_from_true_parts_come_true_joints():
    """With the truth for probabilities, what is left is the way from surfaces to joints."""
    errors = []
    dataset = DepthBodies("val", count=8)
    for image, target in (dataset[row] for row in range(8)):
        parts = target["parts"].as_subclass(torch.Tensor)
        pixels = (parts < len(DepthBodies.parts)).nonzero()
        depth = image[0][pixels[:, 0], pixels[:, 1]]
        sure = torch.nn.functional.one_hot(parts[pixels[:, 0], pixels[:, 1]].long(), len(DepthBodies.parts)).float()
        points = reproject(pixels, depth, target["intrinsics"])
        found = propose_joints(sure, points, float(target["intrinsics"][0, 0]), range(14))
        for joint in found.joints.unique().tolist():
            best = found.positions[found.joints == joint][0]
            errors.append(float((best - target["joints"][0, joint]).norm()))
    assert len(errors) > 90
    assert np.mean(errors) < 0.06
    assert np.mean(np.array(errors) < 0.1) > 0.9
