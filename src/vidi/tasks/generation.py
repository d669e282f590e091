"""Generation: pictures that look as if they were of the data set, from noise."""

from vidi.engine.datasets import DIGITS, WORLD
from vidi.engine.task import Task
from vidi.recipes.generation import GAN

GENERATION = Task(name="generation", asks="nothing", built_in={"world": WORLD, "digits": DIGITS}, recipe=GAN)
