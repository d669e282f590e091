"""Eyes, nose and mouth corners of faces in photos, by which they are turned upright before they are embedded (7.1).

    image, and with a border -> CenterNet with five joints (`centernet_pose`) -> the largest sure face -> points 5 2

Differs from the published pipelines (MTCNN, RetinaFace): the finder is one's own, trained on drawn faces by
`vidi train face_landmarks_tiny`, and from its weights on any data set of faces with these keypoints.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import pad

from vidi.data.portrait import LANDMARKS
from vidi.detection.centernet_pose import centernet_pose_resnet18
from vidi.model import Predicts, with_defaults
from vidi.results.detections import Detections

LEAST_SCORE = 0.3
"""Of a face whose landmarks are taken."""

BORDER = 0.4
"""Of the shorter side: what a picture gets on each side, so that a face that fills it is as small as others."""

face_landmarks_tiny = with_defaults(
    centernet_pose_resnet18,
    "face_landmarks_tiny",
    "five landmarks of faces; trains in minutes on a CPU on drawn faces",
    __name__,
    categories=("face",),
    jointed=("face",),
    joints=LANDMARKS,
    bones=(),
    width=16,
    dilated=(False, True, True),
    channels=(64,),
    hidden=32,
    deformable=False,
    shorter=128,
    longest=256,
)


class Face(NamedTuple):
    """A face whose landmarks are taken."""

    area: float  # square pixels
    points: Float[Tensor, "5 2"]  # x, y in pixels


def find_landmarks(
    model: Predicts, images: Any, *, threshold: float | int = LEAST_SCORE, batch_size: int = 16
) -> list[Float[Tensor, "5 2"] | None]:
    """Return x, y in pixels of the five landmarks of the largest face of each image; None where no face is found.

    Each image is looked at twice, as it is and with a border: a face that fills its picture, as in cut-out portraits,
    is larger than those that the model knows, which may then take an eye for a face. The larger find counts.

    Args:
        model: `face_landmarks_tiny`, trained.
        images: as for `predict`.
        threshold: the least score of a face.
        batch_size: as for `predict`.

    Raises:
        ValueError: if the model does not find five keypoints.
    """
    pictures = [image for image, _ in model.samples(images)]
    borders = [round(BORDER * min(picture.shape[1:])) for picture in pictures]
    around = [pad(picture, [border], padding_mode="edge") for picture, border in zip(pictures, borders, strict=True)]
    found = [face_of(result, threshold) for result in model.predict([*pictures, *around], batch_size=batch_size)]
    plain, bordered = found[: len(pictures)], found[len(pictures) :]
    moved = [
        None if face is None else face._replace(points=face.points - border)
        for face, border in zip(bordered, borders, strict=True)
    ]
    both = zip(plain, moved, strict=True)
    best = (max(filter(None, pair), key=lambda face: face.area, default=None) for pair in both)
    return [None if face is None else face.points for face in best]


def face_of(found: Any, threshold: float | int = LEAST_SCORE) -> Face | None:
    """Return the largest of some detected faces that score at least the threshold; None without one.

    Raises:
        ValueError: if they are no faces with five keypoints.
    """
    if not isinstance(found, Detections) or found.keypoints is None or found.keypoints.shape[1] != len(LANDMARKS):
        raise ValueError(f"received a model that does not find {', '.join(LANDMARKS)}; train face_landmarks_tiny")
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    areas = sides.prod(1).where(found.scores >= threshold, -1.0)
    if not len(areas) or areas.max() < 0:
        return None
    row = int(areas.argmax())
    return Face(float(areas[row]), torch.as_tensor(found.keypoints[row, :, :2]))
