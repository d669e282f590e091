"""Landmarks of photos: of the largest sure face, in the pixels of the original."""

from typing import Any

import pytest
import torch

from vidi.data.portrait import LANDMARKS
from vidi.detection.landmarks import BORDER, face_landmarks_tiny, face_of, find_landmarks
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
    face = face_of(found)
    assert face is not None
    largest = found.keypoints[int((found.boxes[:, 2] == 20).nonzero()), :, :2]  # type: ignore[index]
    assert torch.equal(face.points, largest)
    assert face.area == 200
    least = face_of(found, 0.1)
    assert least is not None
    assert torch.equal(least.points, found.keypoints[int((found.boxes[:, 2] == 50).nonzero()), :, :2])  # type: ignore[index]
    assert face_of(found, 0.95) is None
    assert face_of(faces([], [])) is None


def test_other_results_have_no_landmarks() -> None:
    with pytest.raises(ValueError, match="does not find left_eye, right_eye, nose, left_mouth, right_mouth"):
        face_of(faces([[0, 0, 9, 9]], [0.9], joints=14))
    with pytest.raises(ValueError, match="train face_landmarks_tiny"):
        face_of("a face")


def test_a_finder_of_landmarks_has_five_joints_of_one_category() -> None:
    model: Any = face_landmarks_tiny()
    assert model.decode.skeleton.joints == LANDMARKS
    assert model.decode.objects.categories == ("face",)
    found = find_landmarks(model, [torch.zeros(3, 40, 60), torch.zeros(3, 80, 30)], threshold=0.99)
    assert found == [None, None]
    (points,) = find_landmarks(model, torch.rand(3, 64, 64), threshold=0.0)
    assert points is not None
    assert points.shape == (5, 2)


def test_the_larger_find_in_a_picture_and_one_with_a_border_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = face_landmarks_tiny()
    seen: list[torch.Tensor] = []
    sides, scores = (5, 6, 7, 4, 8, 8), (0.5, 0.6, 0.7, 0.9, 0.2, 0.4)

    def predict(pictures: list[torch.Tensor], *, batch_size: int) -> list[Detections]:
        seen.extend(pictures)
        return [faces([[0, 0, 9, side]], [score]) for side, score in zip(sides, scores, strict=True)]

    monkeypatch.setattr(model, "predict", predict)
    pictures = [torch.rand(3, 40, 60), torch.rand(3, 80, 30), torch.rand(3, 10, 20)]
    found = find_landmarks(model, pictures)
    borders = [round(BORDER * side) for side in (40, 30, 10)]
    assert borders == [16, 12, 4]
    for picture, around, border in zip(pictures, seen[3:], borders, strict=True):
        assert torch.equal(around[:, border:-border, border:-border], picture)
        assert torch.equal(around[:, 0, border:-border], picture[:, 0])
        assert torch.equal(around[:, border:-border, -1], picture[:, :, -1])
    assert [None if points is None else points.unique().tolist() for points in found] == [[0], [0], [-4]]
    monkeypatch.setattr(model, "predict", lambda *_, **__: [faces([[0, 0, 9, 9]], [0.2])] * 6)
    assert find_landmarks(model, pictures) == [None] * 3
