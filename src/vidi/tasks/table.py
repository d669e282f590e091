"""Every task by name."""

from vidi.engine.task import Task
from vidi.tasks.anchors import ANCHORS
from vidi.tasks.body_parts import BODY_PARTS
from vidi.tasks.class_generation import CLASS_GENERATION
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.colourisation import COLOURISATION
from vidi.tasks.depth import DEPTH, DEPTH_FROM_STEREO, DEPTH_FROM_VIDEO, STEREO
from vidi.tasks.detection import DETECTION
from vidi.tasks.detection_3d import DETECTION_3D
from vidi.tasks.generation import GENERATION
from vidi.tasks.identity import IDENTITY
from vidi.tasks.image_text import IMAGE_TEXT
from vidi.tasks.instance import INSTANCE
from vidi.tasks.landmarks import LANDMARKS
from vidi.tasks.panoptic import PANOPTIC
from vidi.tasks.pose import POSE
from vidi.tasks.semantic import SEMANTIC
from vidi.tasks.text_to_image import TEXT_TO_IMAGE
from vidi.tasks.translation import TRANSLATION
from vidi.tasks.windows import WINDOWS

TASKS: dict[str, Task] = {
    "classification": CLASSIFICATION,
    "detection": DETECTION,
    "pose": POSE,
    "landmarks": LANDMARKS,
    "instance": INSTANCE,
    "detection_3d": DETECTION_3D,
    "semantic": SEMANTIC,
    "panoptic": PANOPTIC,
    "body_parts": BODY_PARTS,
    "stereo": STEREO,
    "depth": DEPTH,
    "depth_from_stereo": DEPTH_FROM_STEREO,
    "depth_from_video": DEPTH_FROM_VIDEO,
    "generation": GENERATION,
    "colourisation": COLOURISATION,
    "class_generation": CLASS_GENERATION,
    "text_to_image": TEXT_TO_IMAGE,
    "anchors": ANCHORS,
    "windows": WINDOWS,
    "translation": TRANSLATION,
    "image_text": IMAGE_TEXT,
    "identity": IDENTITY,
}
