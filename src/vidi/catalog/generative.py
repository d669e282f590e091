"""Chapter 8: pictures that were never taken, and what judges them."""

from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.catalog.entry import Entry
from vidi.catalog.papers import (
    CASCADED,
    DCGAN,
    DDPM,
    DIT,
    GAN,
    GLIDE,
    GUIDED,
    IMAGEN,
    INCEPTION,
    LATENT,
    PIX2PIX,
    PROGAN,
    STYLEGAN,
    WGAN,
    WGAN_GP,
)
from vidi.catalog.tiny import (
    SMALL_COLOURS,
    SMALL_DDPM,
    SMALL_DIFFUSION,
    SMALL_DIT,
    SMALL_GAN,
    SMALL_GROWN,
    SMALL_IMAGEN,
    SMALL_INCEPTION,
    SMALL_LATENT,
    SMALL_TEXT_TO_IMAGE,
)
from vidi.generative.diffusion.cascade import enlarger_tiny
from vidi.generative.diffusion.ddpm import ddpm, ddpm_class_tiny, ddpm_tiny
from vidi.generative.diffusion.dit import dit_tiny
from vidi.generative.diffusion.imagen import imagen_tiny
from vidi.generative.diffusion.text_to_image import latent_diffusion_tiny, text_to_image_tiny
from vidi.generative.gan.dcgan import dcgan, dcgan_tiny
from vidi.generative.gan.original import gan
from vidi.generative.gan.pix2pix import pix2pix_colours, pix2pix_colours_tiny
from vidi.generative.gan.progressive import progan, progan_tiny
from vidi.generative.gan.stylegan import stylegan, stylegan_tiny
from vidi.generative.gan.wgan import wgan, wgan_gp, wgan_gp_tiny
from vidi.recipes import generation as recipes
from vidi.recipes.diffusion import CIFAR, ENLARGER, IMAGEN_RECIPES, LATENT_RECIPES, TINY, WORDS
from vidi.tasks.class_generation import CLASS_GENERATION
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.colourisation import COLOURISATION
from vidi.tasks.generation import GENERATION
from vidi.tasks.text_to_image import TEXT_TO_IMAGE

GENERATIVE: dict[str, Entry] = {
    "inception_v3_fid": Entry(inception_v3_fid, CLASSIFICATION, "8.1.2", INCEPTION, "pytorch-fid", SMALL_INCEPTION),
    "gan": Entry(gan, GENERATION, "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
    "dcgan": Entry(dcgan, GENERATION, "8.2.1", DCGAN, "", SMALL_GAN, recipes.DCGAN),
    "dcgan_tiny": Entry(dcgan_tiny, GENERATION, "8.2.1", DCGAN, "", SMALL_GAN, recipes.DCGAN_TINY),
    "wgan": Entry(wgan, GENERATION, "8.2.2", WGAN, "", SMALL_GAN, recipes.WGAN),
    "wgan_gp": Entry(wgan_gp, GENERATION, "8.2.2", WGAN_GP, "", SMALL_GAN, recipes.WGAN_GP),
    "wgan_gp_tiny": Entry(wgan_gp_tiny, GENERATION, "8.2.2", WGAN_GP, "", SMALL_GAN, recipes.WGAN_GP_TINY),
    "progan": Entry(progan, GENERATION, "8.2.3", PROGAN, "", SMALL_GROWN, recipes.PROGAN),
    "progan_tiny": Entry(progan_tiny, GENERATION, "8.2.3", PROGAN, "", SMALL_GROWN, recipes.PROGAN_TINY),
    "stylegan": Entry(stylegan, GENERATION, "8.2.4", STYLEGAN, "", SMALL_GROWN, recipes.STYLEGAN),
    "stylegan_tiny": Entry(stylegan_tiny, GENERATION, "8.2.4", STYLEGAN, "", SMALL_GROWN, recipes.STYLEGAN_TINY),
    "pix2pix_colours": Entry(pix2pix_colours, COLOURISATION, "8.2", PIX2PIX, "", SMALL_COLOURS, recipes.PIX2PIX),
    "pix2pix_colours_tiny": Entry(pix2pix_colours_tiny, COLOURISATION, "8.2", PIX2PIX, "", SMALL_COLOURS),
    "ddpm": Entry(ddpm, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DDPM, CIFAR),
    "ddpm_tiny": Entry(ddpm_tiny, GENERATION, "8.3.2", DDPM, "diffusers", SMALL_DIFFUSION, TINY),
    "ddpm_class_tiny": Entry(
        ddpm_class_tiny, CLASS_GENERATION, "8.3.6", GUIDED, "diffusers", {"categories": 3, **SMALL_DIFFUSION}, TINY
    ),
    "dit_tiny": Entry(dit_tiny, CLASS_GENERATION, "8.3.3", DIT, "diffusers", SMALL_DIT, TINY),
    "enlarger_tiny": Entry(enlarger_tiny, GENERATION, "8.3.6", CASCADED, "", SMALL_DIFFUSION, ENLARGER),
    "text_to_image_tiny": Entry(
        text_to_image_tiny, TEXT_TO_IMAGE, "8.3.6", GLIDE, "diffusers", SMALL_TEXT_TO_IMAGE, WORDS
    ),
    "imagen_tiny": Entry(imagen_tiny, TEXT_TO_IMAGE, "8.3.6", IMAGEN, "", SMALL_IMAGEN, IMAGEN_RECIPES),
    "latent_diffusion_tiny": Entry(
        latent_diffusion_tiny, TEXT_TO_IMAGE, "8.3.7", LATENT, "diffusers", SMALL_LATENT, LATENT_RECIPES
    ),
}
