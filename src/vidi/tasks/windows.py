"""Windows: detection by a classifier of small windows, learnt from boxes or from pictures of one thing each."""

from vidi.engine.datasets import WORLD, categories_of
from vidi.engine.task import Task
from vidi.recipes.detection import CASCADE
from vidi.results.detections import Detections
from vidi.tasks.detection import MOVES_BOXES

WINDOWS = Task(
    name="windows",
    uses=("boxes", "labels", "crowd", "label"),
    says={"categories": categories_of},
    result=Detections,
    moves=MOVES_BOXES,
    tiles=True,
    built_in={"world": WORLD},
    recipe=CASCADE,
)
