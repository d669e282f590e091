"""Chapter 5: what every pixel of a picture is."""

from vidi.catalog.entry import Entry
from vidi.recipes.body_parts import BODIES_TINY
from vidi.segmentation.body_parts.classifier import body_parts, body_parts_tiny
from vidi.tasks.body_parts import BODY_PARTS

SMALL_FOREST = {"trees": 2, "depth": 6, "candidates": 40, "tried": 8, "thresholds": 8, "pixels": 60}

SEGMENTATION: dict[str, Entry] = {
    "body_parts": Entry(body_parts, BODY_PARTS, "5.1.1", "Shotton et al. 2011", "", SMALL_FOREST),
    "body_parts_tiny": Entry(
        body_parts_tiny, BODY_PARTS, "5.1.1", "Shotton et al. 2011", "", SMALL_FOREST, recipe=BODIES_TINY
    ),
}
