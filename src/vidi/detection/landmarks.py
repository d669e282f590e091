"""Eyes, nose and mouth corners of faces in photos, by which they are turned upright before they are embedded (7.1).

    image -> CenterNet with five joints (`centernet_pose`) -> Detections -> the largest sure face -> points 5 2

Differs from the published pipelines (MTCNN, RetinaFace): the finder is one's own, trained on drawn faces by
`vidi train face_landmarks_tiny` or on any data set of faces with these keypoints.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.data.portrait import LANDMARKS
from vidi.detection.centernet_pose import centernet_pose_resnet18
from vidi.model import Predicts, with_defaults
from vidi.results.detections import Detections

LEAST_SCORE = 0.3
"""Of a face whose landmarks are taken."""

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


def find_landmarks(
    model: Predicts, images: Any, *, threshold: float | int = LEAST_SCORE, batch_size: int = 16
) -> list[Float[Tensor, "5 2"] | None]:
    """Return x, y in pixels of the five landmarks of the largest face of each image; None where no face is found.

    Args:
        model: `face_landmarks_tiny`, trained.
        images: as for `predict`.
        threshold: the least score of a face.
        batch_size: as for `predict`.

    Raises:
        ValueError: if the model does not find five keypoints.
    """
    return [landmarks_of(found, threshold=threshold) for found in model.predict(images, batch_size=batch_size)]


def landmarks_of(found: Any, *, threshold: float | int = LEAST_SCORE) -> Float[Tensor, "5 2"] | None:
    """Return the landmarks of the largest of some detected faces; None without one.

    Raises:
        ValueError: if they are no faces with five keypoints.
    """
    if not isinstance(found, Detections) or found.keypoints is None or found.keypoints.shape[1] != len(LANDMARKS):
        raise ValueError(f"received a model that does not find {', '.join(LANDMARKS)}; train face_landmarks_tiny")
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    areas = sides.prod(1).where(found.scores >= threshold, -1.0)
    if not len(areas) or areas.max() < 0:
        return None
    return torch.as_tensor(found.keypoints[int(areas.argmax()), :, :2])
