"""Eyes, nose and mouth corners of faces in photos, by which they are turned upright before they are embedded (7.1).

    image, in eight looks -> CenterNet with five joints (`centernet_pose`) -> the largest sure face of each
                          -> the median of the points that most agree on, 5 2

Differs from the published pipelines (MTCNN, RetinaFace): the finder is one's own, trained on drawn faces by
`vidi train face_landmarks_tiny`, and from its weights on any data set of faces with these keypoints.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import hflip, pad

from vidi.data.portrait import LANDMARKS
from vidi.detection.centernet_pose import centernet_pose_resnet18
from vidi.model import Predicts, with_defaults
from vidi.ops.skeletons import Skeleton
from vidi.results.detections import Detections

LEAST_SCORE = 0.3
"""Of a face whose landmarks are taken."""

BORDERS = (0.0, 0.2, 0.4, 0.6)
"""What a look adds on each side, as shares of the shorter side: a face that fills its picture gets as small as others.

Each look is taken mirrored too. The network errs by a few pixels, by other ones in each look.
"""

NEAR = 0.5
"""Mean distance of the points of two looks that see one face, at most, beside that of the points from their centre."""

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

    Each image is looked at with several borders, and mirrored; the points are the medians of what most looks find.

    Args:
        model: `face_landmarks_tiny`, trained.
        images: as for `predict`.
        threshold: the least score of a face.
        batch_size: as for `predict`.

    Raises:
        ValueError: if the model does not find five keypoints.
    """
    pictures = [image for image, _ in model.samples(images)]
    looks = [
        _look(model, pictures, border, mirrored, threshold, batch_size)
        for border in BORDERS
        for mirrored in (False, True)
    ]
    return [_median([points for points in found if points is not None]) for found in zip(*looks, strict=True)]


def _look(
    model: Predicts, pictures: Sequence[Tensor], share: float, mirrored: bool, threshold: float | int, batch_size: int
) -> list[Float[Tensor, "5 2"] | None]:
    """Return the landmarks that are found in each picture with a border, where they lie without that."""
    borders = [round(share * min(picture.shape[1:])) for picture in pictures]
    shown = [pad(picture, [border], padding_mode="edge") for picture, border in zip(pictures, borders, strict=True)]
    if mirrored:
        shown = [hflip(picture) for picture in shown]
    mirror = Skeleton(LANDMARKS).mirrored()
    found = []
    for picture, border, result in zip(shown, borders, model.predict(shown, batch_size=batch_size), strict=True):
        points = landmarks_of(result, threshold)
        if points is not None and mirrored:
            points = points[mirror] * points.new_tensor([-1, 1]) + points.new_tensor([picture.shape[2], 0])
        found.append(None if points is None else points - border)
    return found


def _median(looks: Sequence[Float[Tensor, "5 2"]]) -> Float[Tensor, "5 2"] | None:
    """Return the middle of the points of those looks that see the face that most of them see."""
    if not looks:
        return None
    points = torch.stack(list(looks))  # K 5 2
    apart = torch.linalg.vector_norm(points[:, None] - points, dim=-1).mean(-1)  # K K
    most = int(apart.median(1).values.argmin())
    size = torch.linalg.vector_norm(points[most] - points[most].mean(0), dim=-1).mean()
    return points[apart[most] <= NEAR * size].quantile(0.5, dim=0)


def landmarks_of(found: Any, threshold: float | int = LEAST_SCORE) -> Float[Tensor, "5 2"] | None:
    """Return those of the largest of some detected faces that score at least the threshold; None without one.

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
