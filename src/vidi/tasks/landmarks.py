"""Landmarks: faces in a picture, and where their eyes, noses and mouths are."""

from collections.abc import Sequence
from dataclasses import replace

from vidi.data.face_scenes import FaceScenes
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.task import BuiltIn
from vidi.tasks.pose import POSE


def _open_scenes(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> FaceScenes:
    wanted = [key for key in keys if key in FaceScenes.kinds]
    try:
        return FaceScenes(split, count=count, size=recipe.world_size, seed=recipe.seed, targets=wanted)
    except ValueError as error:
        raise OverrideError(f"faces: {error}") from None


LANDMARKS = replace(POSE, name="landmarks", built_in={"faces": BuiltIn("drawn faces in rendered scenes", _open_scenes)})
