"""vidi: machine learning for computer vision. The names below are imported when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidi.api import cost, evaluate, export, load, resume, sample, train
    from vidi.catalog.names import models
    from vidi.engine.hooks import Epoch, StopTraining
    from vidi.engine.tensorboard import TensorBoard
    from vidi.nn.inference import fuse_for_inference
    from vidi.results.anchor_sizes import AnchorSizes
    from vidi.results.body_pose import BodyPose
    from vidi.results.classification import Classification
    from vidi.results.coloured_picture import ColouredPicture
    from vidi.results.depth_map import DepthMap
    from vidi.results.detections import Detections
    from vidi.results.embedding import Embedding
    from vidi.results.image_text import ImageText
    from vidi.results.panoptic_map import PanopticMap
    from vidi.results.semantic_map import SemanticMap
    from vidi.starting.choice import choose
    from vidi.tuning.search import tune
    from vidi.weights.creation import create

__version__ = "0.1.0"

_HOMES = {
    "choose": "vidi.starting.choice",
    "cost": "vidi.api",
    "create": "vidi.weights.creation",
    "evaluate": "vidi.api",
    "export": "vidi.api",
    "fuse_for_inference": "vidi.nn.inference",
    "load": "vidi.api",
    "models": "vidi.catalog.names",
    "resume": "vidi.api",
    "sample": "vidi.api",
    "train": "vidi.api",
    "tune": "vidi.tuning.search",
    "AnchorSizes": "vidi.results.anchor_sizes",
    "BodyPose": "vidi.results.body_pose",
    "Classification": "vidi.results.classification",
    "ColouredPicture": "vidi.results.coloured_picture",
    "DepthMap": "vidi.results.depth_map",
    "Detections": "vidi.results.detections",
    "Embedding": "vidi.results.embedding",
    "Epoch": "vidi.engine.hooks",
    "ImageText": "vidi.results.image_text",
    "PanopticMap": "vidi.results.panoptic_map",
    "SemanticMap": "vidi.results.semantic_map",
    "StopTraining": "vidi.engine.hooks",
    "TensorBoard": "vidi.engine.tensorboard",
}

__all__ = [
    "AnchorSizes",
    "BodyPose",
    "Classification",
    "ColouredPicture",
    "DepthMap",
    "Detections",
    "Embedding",
    "Epoch",
    "ImageText",
    "PanopticMap",
    "SemanticMap",
    "StopTraining",
    "TensorBoard",
    "choose",
    "cost",
    "create",
    "evaluate",
    "export",
    "fuse_for_inference",
    "load",
    "models",
    "resume",
    "sample",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidi' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
