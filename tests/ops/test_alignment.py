"""Alignment: the similarities of scikit-image and OpenCV, and faces that come to lie on the template."""

import cv2
import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform

from tests.closeness import assert_close
from tests.embedding.losses import drawn
from vidi.data.faces import Faces
from vidi.ops.alignment import (
    FACE_TEMPLATE,
    TEMPLATE_SIDE,
    aligned_face,
    aligning,
    face_template,
    moved_points,
    similarity_between,
    warped,
)

PLACES = 1e-6  # of points in float32, which are moved by one product
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def test_the_template_is_arcfaces_with_pixels_from_their_corners() -> None:
    assert TEMPLATE_SIDE == 112
    np.testing.assert_allclose(np.array(FACE_TEMPLATE), ARCFACE + 0.5, atol=1e-9)
    torch.testing.assert_close(face_template((112, 112)), torch.tensor(FACE_TEMPLATE))
    torch.testing.assert_close(face_template((56, 56)), torch.tensor(FACE_TEMPLATE) / 2)
    torch.testing.assert_close(face_template((112, 96))[:, 0], torch.tensor(FACE_TEMPLATE)[:, 0] * 96 / 112)
    torch.testing.assert_close(face_template((112, 96))[:, 1], torch.tensor(FACE_TEMPLATE)[:, 1] * 96 / 112 + 8)


@pytest.mark.parametrize("points", [2, 5, 30])
def test_similarities_are_those_of_scikit_image(points: int) -> None:
    source, target = drawn(12, points, 2, scale=30.0), drawn(12, points, 2, seed=1, scale=9.0)
    target[:6] = target[:6] * 0.05 + moved_points(
        source[:6], torch.tensor([[0.6, -0.3, 5.0], [0.3, 0.6, -2.0]]).double()
    )
    found = similarity_between(source, target)
    for row in range(12):
        theirs = SimilarityTransform.from_estimate(source[row].numpy(), target[row].numpy())
        ours = found[row].numpy()
        if np.linalg.det(theirs.params[:2, :2]) > 0:
            np.testing.assert_allclose(ours, theirs.params[:2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(similarity_between(source[3], target[3]), found[3])


def test_similarities_are_those_of_opencv_without_outliers() -> None:
    source = torch.tensor(FACE_TEMPLATE).double()
    matrix = torch.tensor([[0.8, -0.5, 7.0], [0.5, 0.8, -3.0]]).double()
    target = moved_points(source, matrix)
    theirs, _ = cv2.estimateAffinePartial2D(source.numpy(), target.numpy())
    torch.testing.assert_close(similarity_between(source, target), matrix)
    np.testing.assert_allclose(theirs, matrix.numpy(), atol=1e-4)  # they stop earlier


def test_no_other_similarity_brings_points_nearer() -> None:
    source, target = drawn(5, 2, scale=20.0), drawn(5, 2, seed=1, scale=20.0)
    best = similarity_between(source, target)
    error = (moved_points(source, best) - target).square().sum()
    for change in 1e-3 * torch.eye(4).double():
        for sign in (-1, 1):
            a, b, x, y = sign * change
            other = best + torch.stack([torch.stack([a, -b, x]), torch.stack([b, a, y])])
            assert (moved_points(source, other) - target).square().sum() > error


def test_gradients_are_right() -> None:
    source, target = drawn(2, 5, 2).requires_grad_(), drawn(2, 5, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(similarity_between, (source, target))


def test_points_that_say_no_rotation_are_refused() -> None:
    template = torch.tensor(FACE_TEMPLATE)
    for points in (torch.full((5, 2), 3.0), torch.full((5, 2), 1e4) + 1e-6 * drawn(5, 2).float()):
        with pytest.raises(ValueError, match="they are all one"):
            similarity_between(points, template)
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="mirror those"):
        similarity_between(square, square * torch.tensor([-1.0, 1.0]))
    with pytest.raises(ValueError, match="not finite"):
        similarity_between(torch.full((5, 2), torch.nan), template)
    with pytest.raises(ValueError, match="they are all one"):
        similarity_between(torch.stack([template, template[:1].expand(5, 2)]), template.expand(2, 5, 2))


def test_a_picture_is_warped_as_by_opencv() -> None:
    picture = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[1.3, -0.4, 3.0], [0.4, 1.3, -9.0]])
    ours = warped(picture, matrix, (70, 50))
    corner = matrix[:, :2].sum(1) * 0.5 + matrix[:, 2] - 0.5  # theirs are centres of pixels
    theirs = cv2.warpAffine(
        picture.permute(1, 2, 0).numpy(), torch.cat([matrix[:, :2], corner[:, None]], 1).numpy(), (50, 70)
    )
    assert ours.shape == (3, 70, 50)
    # they round places to 1/32 of a pixel
    assert (ours - torch.from_numpy(theirs).permute(2, 0, 1)).abs().max() < 0.08
    same = warped(picture, torch.eye(2, 3), (60, 80))
    assert_close(same, picture, 1e-5)


def test_a_picture_that_shrinks_loses_no_pixel() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 256, 256).contiguous()
    small = warped(stripes, torch.eye(2, 3) * torch.tensor([0.125, 0.125, 1.0]), (32, 32))
    assert (small[:, 2:-2, 2:-2] - 0.5).abs().max() < 0.02
    dot = torch.zeros(1, 256, 256)
    dot[0, 96:104, 160:168] = 1  # its middle is at (164, 100)
    where = warped(dot, torch.tensor([[0.25, 0.0, 4.0], [0.0, 0.25, -3.0]]), (64, 64))[0]
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    centre = torch.stack([(where * x).sum(), (where * y).sum()]) / where.sum()
    torch.testing.assert_close(centre, torch.tensor([164 / 4 + 4.0, 100 / 4 - 3.0]), rtol=0, atol=0.02)


@pytest.mark.parametrize("size", [(112, 112), (64, 48)])
def test_landmarks_of_generated_faces_come_to_lie_as_the_template(size: tuple[int, int]) -> None:
    template = face_template(size)
    for picture, target in (Faces("val", identities=4, pictures=3, size=(96, 96))[index] for index in range(12)):
        points = target["keypoints"][0].as_subclass(torch.Tensor)
        moved, matrix = aligned_face(picture.float() / 255, points, size), aligning(points, size)
        assert moved.shape == (3, *size)
        theirs = SimilarityTransform.from_estimate(points.double().numpy(), template.double().numpy())
        landed = moved_points(points, matrix)
        expected = torch.from_numpy(theirs(points.double().numpy()))
        assert_close(landed.double(), expected, PLACES)
        assert_close(landed.mean(0), template.mean(0), PLACES)
    exact = moved_points(template, torch.tensor([[0.7, 0.4, 12.0], [-0.4, 0.7, 30.0]]))
    matrix = aligning(exact, size)
    assert_close(moved_points(exact, matrix), template, PLACES)
