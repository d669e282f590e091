"""Generation of pictures of a text."""

from dataclasses import replace

from vidi.engine.datasets import WORLD
from vidi.tasks.generation import GENERATION
from vidi.tasks.image_text import IMAGE_TEXT

TEXT_TO_IMAGE = replace(
    GENERATION,
    name="text_to_image",
    needs=IMAGE_TEXT.needs,
    says=IMAGE_TEXT.says,
    moves=IMAGE_TEXT.moves,
    built_in={"world": WORLD},
)
