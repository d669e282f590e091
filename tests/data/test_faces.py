"""Generated faces: identities stay, circumstances vary, and landmarks lie where the features are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from vidi.data.faces import Faces, KnownFaces
from vidi.data.portrait import LANDMARKS, Nuisance, landmarks, portrait

SPLITS = ("train", "val", "test")


def pixels(faces: Faces) -> Tensor:
    """All pictures as rows of float64 in [0, 1]."""
    return torch.stack([faces[i][0].as_subclass(Tensor) for i in range(len(faces))]).double().flatten(1) / 255


@pytest.mark.system("0-DATA-FACE")
@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_a_sample_keeps_the_contract(size):
    faces = Faces("val", identities=3, pictures=2, size=size)
    image, target = faces[5]
    assert len(faces) == 6
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *size)
    assert set(target) == faces.kinds
    assert int(target["label"]) == int(faces.labels[5]) == 2
    assert target["identity"].shape == (1,)
    assert target["identity"].dtype == torch.int64
    assert isinstance(target["keypoints"], tv_tensors.KeyPoints)
    assert target["keypoints"].shape == (1, len(LANDMARKS), 2)
    assert target["visibility"].shape == (1, len(LANDMARKS))
    assert target["visibility"].dtype == torch.uint8


@pytest.mark.system("0-DATA-FACE")
def test_nobody_is_in_two_splits():
    numbers = [int(Faces(s, identities=4, pictures=1, size=(8, 8))[i][1]["identity"]) for s in SPLITS for i in range(4)]
    assert len(set(numbers)) == 12
    people = {Faces(split).identity_of(person) for split in SPLITS for person in range(4)}
    assert len(people) == 12


@pytest.mark.system("0-DATA-FACE")
def test_without_nuisance_only_the_person_matters():
    rows = pixels(Faces(identities=6, pictures=3, nuisance=0.0)).unflatten(0, (6, 3))
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert float(torch.pdist(rows[:, 0]).min()) > 1.0


@pytest.mark.system("0-DATA-FACE")
def test_circumstances_change_pixels_more_than_people_do():
    """What makes recognition a task: one person in two pictures is further apart than two people in one pose."""
    varied = pixels(Faces(identities=12, pictures=4)).unflatten(0, (12, 4))
    frontal = pixels(Faces(identities=12, pictures=1, nuisance=0.0))
    within = torch.stack([torch.pdist(rows).mean() for rows in varied]).mean()
    assert float(within) > 1.2 * float(torch.pdist(frontal).mean())


@pytest.mark.system("0-DATA-FACE")
def test_identity_can_be_told_from_the_pixels_and_gets_harder_with_nuisance():
    scores = []
    for nuisance in (0.2, 1.0):
        rows = pixels(Faces("test", identities=20, pictures=4, size=(32, 32), nuisance=nuisance)).unflatten(0, (20, 4))
        nearest = torch.cdist(rows[:, 1:].flatten(0, 1), rows[:, 0]).argmin(1)
        scores.append(float((nearest == torch.arange(20).repeat_interleave(3)).double().mean()))
    assert scores[0] > 0.5
    assert 2 / 20 < scores[1] < 0.5


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0.0, 0.0, 0.0), (0.5, 0.1, 0.1), (-0.5, -0.1, -0.2), (0.1, 0.25, 0.0)]
)
def test_landmarks_lie_on_the_features(yaw, pitch, roll):
    """Pupils are black; a corner of the mouth lies on its dark line or on a lip, not on plain skin."""
    nuisance = Nuisance(yaw=yaw, pitch=pitch, roll=roll, contrast=0.0, shift=(0.03, -0.02))
    for person in range(8):
        identity = replace(Faces().identity_of(person), beard=0.0, skin=(0.9, 0.8, 0.7))
        image = portrait(identity, nuisance, (256, 256), np.random.default_rng(0)).double() / 255
        points, visibility = landmarks(identity, nuisance, (256, 256))
        assert visibility.tolist() == [2] * len(LANDMARKS)
        for x, y in points[:2].tolist():
            assert float(image[:, int(y), int(x)].max()) < 0.15
        for (x, y), inwards in zip(points[3:].tolist(), (1, -1), strict=True):
            patch = image[:, int(y) - 3 : int(y) + 4, int(x) - 2 + 3 * inwards : int(x) + 3 + 3 * inwards]
            assert float(patch[1].min()) < 0.5


def test_a_point_that_turns_away_or_leaves_the_image_is_hidden():
    identity = Faces().identity_of(0)
    _, turned = landmarks(identity, Nuisance(yaw=1.5), (64, 64))
    assert turned.tolist()[1] == 1  # the right eye, when the head looks right
    _, cropped = landmarks(identity, Nuisance(shift=(0.5, 0.0)), (64, 64))
    assert cropped.tolist()[1] == 1
    assert cropped.tolist()[0] == 2


def test_light_from_the_right_brightens_the_right_half():
    identity = replace(Faces().identity_of(1), hair_length=-0.5, beard=0.0, glasses=0.0)
    nuisance = Nuisance(light=1.2, contrast=0.5)
    image = portrait(identity, nuisance, (64, 64), np.random.default_rng(0)).double().mean(0)
    assert float(image[30:40, 36:44].mean()) > 1.3 * float(image[30:40, 20:28].mean())


def test_nobody_or_no_picture_is_an_error():
    with pytest.raises(ValueError, match="0 identities"):
        Faces(identities=0)


def test_targets_are_those_that_are_asked_for_and_kept_pictures_are_the_same():
    every = Faces(identities=2, pictures=2, size=(24, 24))
    narrow = Faces(identities=2, pictures=2, size=(24, 24), targets=("label",), keeps=True)
    for row in range(4):
        image, target = every[row]
        assert target.keys() == Faces.kinds
        for _ in range(2):
            kept, said = narrow[row]
            assert torch.equal(image, kept)
            assert said.keys() == {"image_id", "label"}
            kept.zero_()  # is one's own
    with pytest.raises(ValueError, match="received targets boxes, expected some of identity, image_id"):
        Faces(targets=("boxes",))


def test_known_people_have_other_pictures():
    faces = Faces(identities=3, pictures=5, size=(24, 24))
    shown, held_back = KnownFaces(faces, 0, 3), KnownFaces(faces, 3, 5)
    assert (len(shown), len(held_back)) == (9, 6)
    assert held_back.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for row in range(6):
        image, target = held_back[row]
        assert (int(target["label"]), int(target["image_id"])) == (row // 2, row)
        assert torch.equal(image, faces[row // 2 * 5 + 3 + row % 2][0])
    assert torch.equal(shown[4][0], faces[6][0])
