"""Upright faces: a model that aligns sees the template wherever the face lay, and asks for what it aligns by."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import FLOAT32, assert_close
from vidi.catalog.table import CATALOG
from vidi.data.faces import Faces
from vidi.embedding.embedder import embedder_tiny
from vidi.embedding.fingerprint import fingerprint
from vidi.ops.alignment import aligned_face, aligning, face_template, similarity_between
from vidi.preprocess import Preprocess


def test_a_face_is_placed_on_the_template_before_all_else() -> None:
    preprocess = Preprocess(exact=(64, 48), aligned=True)
    picture, target = Faces("val", identities=1, pictures=1, size=(90, 80))[0]
    placed, moved, placement = preprocess.place(picture, target)
    points = target["keypoints"][0].as_subclass(Tensor)
    expected = aligned_face(picture.as_subclass(Tensor).float() / 255, points, (64, 48))
    matrix = aligning(points, (64, 48))
    torch.testing.assert_close(placed, expected)
    where = moved["keypoints"][0]
    torch.testing.assert_close(where, points @ matrix[:, :2].T + matrix[:, 2])
    assert_close(similarity_between(where, face_template((64, 48))), torch.eye(2, 3), FLOAT32)
    assert moved["label"] == target["label"]
    assert (placement.original, placement.resized) == ((90, 80), (64, 48))
    batch = preprocess.collate([(placed, moved, placement)])
    assert batch.images.shape == (1, 3, 64, 48)


@pytest.mark.parametrize("keypoints", [None, torch.zeros(1, 14, 2), torch.zeros(2, 5, 2)])
def test_without_five_points_of_one_face_nothing_is_aligned(keypoints: Tensor | None) -> None:
    target = {} if keypoints is None else {"keypoints": keypoints}
    with pytest.raises(ValueError, match="expected the five of a face"):
        Preprocess(exact=(64, 64), aligned=True).place(torch.zeros(3, 64, 64), target)
    with pytest.raises(ValueError, match="received aligned=True without exact"):
        Preprocess(shorter=64, aligned=True)


def test_an_aligning_embedder_does_not_see_where_a_face_lay() -> None:
    model: Any = embedder_tiny(dimensions=8, aligned=True)
    faces = Faces("val", identities=1, pictures=1, size=(96, 96))
    picture, target = faces[0]
    points = target["keypoints"].as_subclass(Tensor)
    wider = torch.full((3, 140, 150), 128, dtype=torch.uint8)
    wider[:, 30:126, 40:136] = picture
    samples = [(picture, {"keypoints": points}), (wider, {"keypoints": points + torch.tensor([40.0, 30.0])})]
    first, second = (result.vector for result in model.predict_samples(samples))
    plain: Any = embedder_tiny(dimensions=8)
    plain.load_state_dict(model.state_dict())
    one, other = (result.vector for result in plain.predict_samples(samples))
    assert (first - second).norm() < 0.2 * (one - other).norm()


@pytest.mark.parametrize("name", ["facenet", "arcface_resnet18", "deepface_tiny", "deepid2", "embedder_resnet18"])
def test_every_network_for_faces_can_align_them(name: str) -> None:
    arguments = {"facenet": {"width": 8}, "arcface_resnet18": {"width": 16}, "embedder_resnet18": {"width": 16}}
    made = partial(CATALOG[name].builder, **arguments.get(name, {}))
    assert made(aligned=True).preprocess == replace(made().preprocess, aligned=True)
    assert not made().preprocess.aligned


def test_a_fingerprint_changes_with_weights_and_arguments() -> None:
    torch.manual_seed(0)
    model: Any = embedder_tiny(dimensions=8)
    known = fingerprint(model)
    assert known.startswith("embedder_tiny ")
    assert fingerprint(model) == known
    other: Any = embedder_tiny(dimensions=8, aligned=True)
    other.load_state_dict(model.state_dict())
    assert fingerprint(other) != known
    assert fingerprint(model, other) not in (known, fingerprint(other))
    with torch.no_grad():
        next(model.parameters()).flatten()[0] += 1
    assert fingerprint(model) != known
