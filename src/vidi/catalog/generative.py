"""Chapter 8: pictures that were never taken, and what judges them."""

from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.catalog.entry import Entry
from vidi.catalog.papers import DCGAN, GAN, INCEPTION, PIX2PIX, PROGAN, STYLEGAN, WGAN, WGAN_GP
from vidi.catalog.tiny import SMALL_COLOURS, SMALL_GAN, SMALL_GROWN, SMALL_INCEPTION
from vidi.generative.gan.dcgan import dcgan, dcgan_tiny
from vidi.generative.gan.original import gan
from vidi.generative.gan.pix2pix import pix2pix_colours, pix2pix_colours_tiny
from vidi.generative.gan.progressive import progan, progan_tiny
from vidi.generative.gan.stylegan import stylegan, stylegan_tiny
from vidi.generative.gan.wgan import wgan, wgan_gp, wgan_gp_tiny
from vidi.recipes import generation as recipes
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.colourisation import COLOURISATION
from vidi.tasks.generation import GENERATION

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
}
