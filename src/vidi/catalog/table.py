"""Every system by name."""

from vidi.catalog.backbones import BACKBONES
from vidi.catalog.depth import DEPTH_SYSTEMS
from vidi.catalog.detection import DETECTION_SYSTEMS
from vidi.catalog.embedding import EMBEDDING_SYSTEMS
from vidi.catalog.entry import Entry
from vidi.catalog.generative import GENERATIVE
from vidi.catalog.segmentation import SEGMENTATION
from vidi.catalog.transformers import TRANSFORMERS

CATALOG: dict[str, Entry] = {
    **BACKBONES,
    **TRANSFORMERS,
    **DETECTION_SYSTEMS,
    **SEGMENTATION,
    **DEPTH_SYSTEMS,
    **EMBEDDING_SYSTEMS,
    **GENERATIVE,
}
