"""Chapter 3: transformers, of sentences and of pictures."""

from vidi.backbones.swin import swin_b, swin_l, swin_s, swin_t
from vidi.backbones.vit import vit_b_16, vit_b_32, vit_h_14, vit_l_16, vit_l_32, vit_small, vit_tiny
from vidi.catalog.entry import Entry
from vidi.catalog.papers import ADDITIVE_ATTENTION, DEIT, SWIN, TRANSFORMER, VIT
from vidi.catalog.tiny import SMALL_RECURRENT, SMALL_SENTENCES, SMALL_SWIN, SMALL_VIT
from vidi.recipes.classification import VISION_TRANSFORMER
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.translation import TRANSLATION
from vidi.translation.translator import recurrent_translator, transformer, transformer_tiny

TRANSFORMERS: dict[str, Entry] = {
    "vit_tiny": Entry(vit_tiny, CLASSIFICATION, "3.2", DEIT, "timm", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_small": Entry(vit_small, CLASSIFICATION, "3.2", DEIT, "timm", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_b_16": Entry(vit_b_16, CLASSIFICATION, "3.2", VIT, "torchvision", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_b_32": Entry(vit_b_32, CLASSIFICATION, "3.2", VIT, "torchvision", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_l_16": Entry(vit_l_16, CLASSIFICATION, "3.2", VIT, "torchvision", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_l_32": Entry(vit_l_32, CLASSIFICATION, "3.2", VIT, "torchvision", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "vit_h_14": Entry(vit_h_14, CLASSIFICATION, "3.2", VIT, "torchvision", SMALL_VIT, recipe=VISION_TRANSFORMER),
    "swin_t": Entry(swin_t, CLASSIFICATION, "5.3.3", SWIN, "torchvision", SMALL_SWIN, recipe=VISION_TRANSFORMER),
    "swin_s": Entry(swin_s, CLASSIFICATION, "5.3.3", SWIN, "torchvision", SMALL_SWIN, recipe=VISION_TRANSFORMER),
    "swin_b": Entry(swin_b, CLASSIFICATION, "5.3.3", SWIN, "torchvision", SMALL_SWIN, recipe=VISION_TRANSFORMER),
    "swin_l": Entry(swin_l, CLASSIFICATION, "5.3.3", SWIN, "timm", SMALL_SWIN, recipe=VISION_TRANSFORMER),
    "transformer": Entry(transformer, TRANSLATION, "3.1", TRANSFORMER, "torch", SMALL_SENTENCES),
    "transformer_tiny": Entry(transformer_tiny, TRANSLATION, "3.1", TRANSFORMER, "torch", SMALL_SENTENCES),
    "recurrent_translator": Entry(recurrent_translator, TRANSLATION, "3.1.1", ADDITIVE_ATTENTION, "", SMALL_RECURRENT),
}
