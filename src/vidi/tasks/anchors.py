"""Anchors: the sizes that stand for the boxes of a data set."""

from vidi.engine.datasets import WORLD
from vidi.engine.task import Task
from vidi.recipes.detection import ANCHORS as RECIPE
from vidi.results.anchor_sizes import AnchorSizes
from vidi.tasks.detection import MOVES_BOXES

ANCHORS = Task(
    name="anchors", needs=("boxes",), result=AnchorSizes, moves=MOVES_BOXES, built_in={"world": WORLD}, recipe=RECIPE
)
