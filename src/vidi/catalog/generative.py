"""Chapter 8: pictures that were never taken, and what judges them."""

from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.catalog.entry import Entry
from vidi.catalog.papers import GAN, INCEPTION
from vidi.catalog.tiny import SMALL_INCEPTION
from vidi.generative.gan.original import gan
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.generation import GENERATION

GENERATIVE: dict[str, Entry] = {
    "inception_v3_fid": Entry(inception_v3_fid, CLASSIFICATION, "8.1.2", INCEPTION, "pytorch-fid", SMALL_INCEPTION),
    "gan": Entry(gan, GENERATION, "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
}
