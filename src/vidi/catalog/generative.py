"""Chapter 8: pictures that were never taken, and what judges them."""

from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.catalog.entry import Entry
from vidi.catalog.papers import CASCADED, DDPM, GAN, GLIDE, GUIDED, INCEPTION, LATENT
from vidi.catalog.tiny import SMALL_DDPM, SMALL_DIFFUSION, SMALL_INCEPTION, SMALL_LATENT, SMALL_TEXT_TO_IMAGE
from vidi.generative.diffusion.cascade import enlarger_tiny
from vidi.generative.diffusion.ddpm import ddpm, ddpm_class_tiny, ddpm_tiny
from vidi.generative.diffusion.text_to_image import latent_diffusion_tiny, text_to_image_tiny
from vidi.generative.gan.original import gan
from vidi.recipes.diffusion import CIFAR, LATENT_RECIPES, TINY, WORDS
from vidi.tasks.class_generation import CLASS_GENERATION
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.generation import GENERATION
from vidi.tasks.text_to_image import TEXT_TO_IMAGE

GENERATIVE: dict[str, Entry] = {
    "inception_v3_fid": Entry(inception_v3_fid, CLASSIFICATION, "8.1.2", INCEPTION, "pytorch-fid", SMALL_INCEPTION),
    "gan": Entry(gan, GENERATION, "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
    "ddpm": Entry(ddpm, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DDPM, CIFAR),
    "ddpm_tiny": Entry(ddpm_tiny, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DIFFUSION, TINY),
    "ddpm_class_tiny": Entry(
        ddpm_class_tiny, CLASS_GENERATION, "8.3.6", GUIDED, "diffusers", {"categories": 3, **SMALL_DIFFUSION}, TINY
    ),
    "enlarger_tiny": Entry(enlarger_tiny, GENERATION, "8.3.6", CASCADED, "", SMALL_DIFFUSION, TINY),
    "text_to_image_tiny": Entry(
        text_to_image_tiny, TEXT_TO_IMAGE, "8.3.6", GLIDE, "diffusers", SMALL_TEXT_TO_IMAGE, WORDS
    ),
    "latent_diffusion_tiny": Entry(
        latent_diffusion_tiny, TEXT_TO_IMAGE, "8.3.7", LATENT, "diffusers", SMALL_LATENT, LATENT_RECIPES
    ),
}
