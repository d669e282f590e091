"""Drawn faces in scenes: their boxes and landmarks lie on them, and nothing depends on what was asked before."""

import pytest
import torch
from torch import Tensor

from vidi.data.face_scenes import MOST, SMALLEST, FaceScenes
from vidi.data.portrait import LANDMARKS


def test_faces_have_boxes_and_landmarks_inside_them() -> None:
    scenes = FaceScenes("train", count=40, size=(96, 128))
    counts = set()
    for picture, target in (scenes[index] for index in range(40)):
        assert picture.shape == (3, 96, 128)
        assert picture.dtype == torch.uint8
        N = len(target["labels"])
        counts.add(N)
        boxes, points = target["boxes"].as_subclass(Tensor), target["keypoints"].as_subclass(Tensor)
        assert boxes.shape == (N, 4)
        assert points.shape == (N, len(LANDMARKS), 2)
        assert target["visibility"].shape == (N, len(LANDMARKS))
        sides = boxes[:, 2:] - boxes[:, :2]
        assert (sides >= 0.3 * SMALLEST * 96).all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([128, 96])).all()
        inside = ((points >= boxes[:, None, :2] - 1) & (points <= boxes[:, None, 2:] + 1)).all(2)
        assert inside[target["visibility"] == 2].all()
        assert (target["labels"] == 0).all()
        apart = torch.min(boxes[:, None, 2:], boxes[None, :, 2:]) - torch.max(boxes[:, None, :2], boxes[None, :, :2])
        overlaps = (apart > 0).all(2) & ~torch.eye(N, dtype=torch.bool)
        assert not overlaps.any()
    assert counts == set(range(1, MOST + 1))
    greys = [bool((scenes[index][0].float().std(0) == 0).all()) for index in range(40)]
    assert 3 <= sum(greys) <= 20


def test_a_sample_is_a_function_of_its_arguments() -> None:
    first, again = (
        FaceScenes("val", count=3, size=(64, 64)),
        FaceScenes("val", count=9, size=(64, 64), targets=["boxes"]),
    )
    picture, target = first[2]
    same, fewer = again[2]
    assert torch.equal(picture, same)
    assert set(fewer) == {"image_id", "boxes"}
    assert torch.equal(target["boxes"], fewer["boxes"])
    assert not torch.equal(picture, FaceScenes("train", count=3, size=(64, 64))[2][0])
    assert not torch.equal(picture, FaceScenes("val", count=3, size=(64, 64), seed=1)[2][0])


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="received targets masks"):
        FaceScenes(targets=["masks"])
    with pytest.raises(ValueError, match="unknown split"):
        FaceScenes("all")
    with pytest.raises(IndexError):
        FaceScenes(count=2)[2]
