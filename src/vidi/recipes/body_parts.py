"""How body parts are learnt from depth images."""

from dataclasses import replace

from vidi.engine.recipe import Recipe

BODIES = Recipe(world_scenes=2000, world_size=(240, 320))
"""`vidi train body_parts`: fitted at once."""

BODIES_TINY = replace(BODIES, world_scenes=300)
"""`vidi train body_parts_tiny`: seconds."""
