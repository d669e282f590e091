"""Landmarks: faces in a picture, and where their eyes, noses and mouths are."""

from dataclasses import replace
from functools import partial

from vidi.data.face_scenes import FaceScenes
from vidi.engine.datasets import open_rendered
from vidi.engine.task import BuiltIn
from vidi.tasks.pose import POSE

SCENES = BuiltIn("drawn faces in rendered scenes", partial(open_rendered, FaceScenes, "faces"))
LANDMARKS = replace(POSE, name="landmarks", built_in={"faces": SCENES})
