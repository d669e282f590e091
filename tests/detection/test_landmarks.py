"""Landmarks of photos: of the largest sure face, in the pixels of the original."""

from typing import Any

import pytest
import torch

from tests.closeness import FLOAT32, assert_close
from vidi.data.portrait import LANDMARKS
from vidi.detection.landmarks import face_landmarks_tiny, find_landmarks, landmarks_of
from vidi.results.detections import Detections


def faces(boxes: list[list[float]], scores: list[float], joints: int = 5) -> Detections:
    """Return detections whose keypoints are their numbers."""
    N = len(boxes)
    points = torch.arange(N).float()[:, None, None].expand(N, joints, 3).clone()
    points[..., 2] = 1
    labels = torch.zeros(N, dtype=torch.int64)
    return Detections(torch.tensor(boxes).float().view(N, 4), torch.tensor(scores), labels, ("face",), keypoints=points)


def test_the_largest_sure_face_is_taken() -> None:
    found = faces([[0, 0, 9, 9], [0, 0, 20, 10], [0, 0, 50, 50]], [0.9, 0.4, 0.2])
    points = landmarks_of(found)
    assert points is not None
    largest = found.keypoints[int((found.boxes[:, 2] == 20).nonzero()), :, :2]  # type: ignore[index]
    assert torch.equal(points, largest)
    least = landmarks_of(found, 0.1)
    assert least is not None
    assert torch.equal(least, found.keypoints[int((found.boxes[:, 2] == 50).nonzero()), :, :2])  # type: ignore[index]
    assert landmarks_of(found, 0.95) is None
    assert landmarks_of(faces([[0, 0, 9, 9]], [0.5]), 0.5) is not None
    assert landmarks_of(faces([], [])) is None


def test_other_results_have_no_landmarks() -> None:
    with pytest.raises(ValueError, match="does not find left_eye, right_eye, nose, left_mouth, right_mouth"):
        landmarks_of(faces([[0, 0, 9, 9]], [0.9], joints=14))
    with pytest.raises(ValueError, match="train face_landmarks_tiny"):
        landmarks_of("a face")


def test_a_finder_of_landmarks_has_five_joints_of_one_category() -> None:
    model: Any = face_landmarks_tiny()
    assert model.decode.skeleton.joints == LANDMARKS
    assert model.decode.objects.categories == ("face",)
    found = find_landmarks(model, [torch.zeros(3, 40, 60), torch.zeros(3, 80, 30)], threshold=0.99)
    assert found == [None, None]
    (points,) = find_landmarks(model, torch.rand(3, 64, 64), threshold=0.0)
    assert points is not None
    assert points.shape == (5, 2)


def test_the_median_of_the_looks_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder that sees the bright pixel of a picture, and errs: points are in the picture's own pixels.

    Two looks see something else: a face five times as large, which is not believed for that, and one far away.
    """
    model: Any = face_landmarks_tiny()
    seen: list[torch.Tensor] = []
    errors = iter((0.0, 0.6, -1.0, 0.2, 0.5, 300.0, -90.0, 0.3))
    face = torch.tensor([[-10.0, -8], [10, -8], [0, 0], [-8, 10], [8, 10]])

    def predict(pictures: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        seen.extend(pictures)
        error, found = next(errors), []
        for picture in pictures:
            y, x = divmod(int(picture[0].argmax()), picture.shape[2])
            side = 45.0 if error == 300 else 9.0
            result = faces([[0, 0, side, side]], [0.9])
            assert result.keypoints is not None
            points = face * (5 if error == 300 else 1) + torch.tensor([x + 1.5, y + 0.5 + error])
            result.keypoints[0, :, :2] = points
            found.append(result)
        return found

    monkeypatch.setattr(model, "predict", predict)
    pictures = [torch.zeros(3, 40, 60), torch.zeros(3, 80, 30)]
    pictures[0][:, 10, 20] = pictures[1][:, 50, 7] = 1
    found = find_landmarks(model, pictures)
    shapes = [tuple(picture.shape[1:]) for picture in seen]
    for look, border in enumerate((0, 8, 16, 24)):  # 0, 0.2, 0.4 and 0.6 of 40
        assert shapes[4 * look] == shapes[4 * look + 2] == (40 + 2 * border, 60 + 2 * border)
    assert torch.equal(seen[2], seen[0].flip(2))
    assert torch.equal(seen[4][:, 0, 8:-8], pictures[0][:, 0])  # the border has the edge's pixels
    for points, (x, y) in zip(found, ((20.5, 10.5), (7.5, 50.5)), strict=True):
        assert points is not None
        # the finder is a pixel too far right: three looks as they are say so, and three mirrored ones the opposite
        assert_close(points[:, 0], x + face[:, 0], FLOAT32)
        assert_close(points[:, 1], y + face[:, 1] + 0.25, FLOAT32)  # of 0, 0.6, -1, 0.2, 0.5, 0.3


@pytest.mark.parametrize(("share", "moved"), [(0.49, True), (0.51, False)])
def test_looks_see_one_face_up_to_half_of_its_size_apart(
    share: float, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four looks find a face, four find it lower; its size is the mean distance of its points from their centre."""
    model: Any = face_landmarks_tiny()
    face = torch.tensor([[-10.0, -8], [10, -8], [0, 0], [-8, 10], [8, 10]])
    down = share * (face - face.mean(0)).norm(dim=1).mean().item()
    errors = iter((0.0, down) * 4)

    def predict(pictures: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        (picture,) = pictures
        result = faces([[0, 0, 9, 9]], [0.9])
        assert result.keypoints is not None
        centre = torch.tensor([picture.shape[2] / 2, picture.shape[1] / 2 + next(errors)])
        result.keypoints[0, :, :2] = face + centre
        return [result]

    monkeypatch.setattr(model, "predict", predict)
    (points,) = find_landmarks(model, [torch.zeros(3, 40, 60)])
    assert points is not None
    assert_close(points, face + torch.tensor([30.0, 20 + (down / 2 if moved else 0)]), FLOAT32)


def test_where_no_look_finds_a_face_there_are_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = face_landmarks_tiny()
    looks = iter(range(8))

    def predict(pictures: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        score = 0.9 if next(looks) == 3 else 0.2
        return [faces([[0, 0, 9, 9]], [score]), faces([[0, 0, 9, 9]], [0.2])]

    monkeypatch.setattr(model, "predict", predict)
    one, none = find_landmarks(model, [torch.rand(3, 40, 60), torch.rand(3, 80, 30)])
    assert one is not None
    assert none is None
