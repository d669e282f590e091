"""The joints of a body, the bones between them, and which joints change places in a mirror."""

from dataclasses import dataclass

SIDES = ("left_", "right_")  # how the names of joints that a body has twice begin


@dataclass(frozen=True)
class Skeleton:
    """The names of joints, in the order of their coordinates, and the pairs of them that a bone connects."""

    joints: tuple[str, ...]
    bones: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        wrong = [bone for bone in self.bones if not all(0 <= end < len(self.joints) for end in bone)]
        if wrong:
            raise ValueError(f"received the bone {wrong[0]}, expected joints 0..{len(self.joints) - 1}")

    def mirrored(self) -> list[int]:
        """Return, for each joint, the joint that it becomes in a mirror: `left_NAME` is `right_NAME` there.

        Raises:
            ValueError: if a joint of one side has no partner on the other.
        """
        place = {name: index for index, name in enumerate(self.joints)}
        partners = [place.get(_other_side(name), -1) for name in self.joints]
        alone = [name for name, partner in zip(self.joints, partners, strict=True) if partner < 0]
        if alone:
            raise ValueError(f"received the joint {alone[0]!r} without {_other_side(alone[0])!r}, its mirror image")
        return partners


def _other_side(name: str) -> str:
    for side, other in (SIDES, SIDES[::-1]):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


COCO_SKELETON = Skeleton(
    (
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    (
        (15, 13),
        (13, 11),
        (16, 14),
        (14, 12),
        (11, 12),
        (5, 11),
        (6, 12),
        (5, 6),
        (5, 7),
        (6, 8),
        (7, 9),
        (8, 10),
        (1, 2),
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
    ),
)
"""The seventeen joints of COCO's persons (Lin et al. 2014), in the order of its files."""
