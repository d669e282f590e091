"""Generation of pictures of a class that is asked for."""

from dataclasses import replace

from vidi.engine.datasets import categories_of
from vidi.tasks.generation import GENERATION

CLASS_GENERATION = replace(GENERATION, name="class_generation", needs=("label",), says={"categories": categories_of})
