"""Chapter 8: pictures that were never taken, and what judges them."""

from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.catalog.entry import Entry
from vidi.catalog.papers import DDPM, GAN, GUIDED, INCEPTION
from vidi.catalog.tiny import SMALL_DDPM, SMALL_DIFFUSION, SMALL_INCEPTION
from vidi.generative.diffusion.ddpm import ddpm, ddpm_class_tiny, ddpm_tiny
from vidi.generative.gan.original import gan
from vidi.recipes.diffusion import CIFAR, TINY
from vidi.tasks.class_generation import CLASS_GENERATION
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.generation import GENERATION

GENERATIVE: dict[str, Entry] = {
    "inception_v3_fid": Entry(inception_v3_fid, CLASSIFICATION, "8.1.2", INCEPTION, "pytorch-fid", SMALL_INCEPTION),
    "gan": Entry(gan, GENERATION, "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
    "ddpm": Entry(ddpm, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DDPM, CIFAR),
    "ddpm_tiny": Entry(ddpm_tiny, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DIFFUSION, TINY),
    "ddpm_class_tiny": Entry(
        ddpm_class_tiny, CLASS_GENERATION, "8.3.6", GUIDED, "diffusers", {"categories": 3, **SMALL_DIFFUSION}, TINY
    ),
}
