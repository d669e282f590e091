"""Chapter 5: the class of every pixel, and the thing that it belongs to."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import MASK2FORMER, MASKFORMER
from vidi.catalog.tiny import SMALL_MASK2FORMER, SMALL_MASKFORMER
from vidi.recipes.segmentation import MASKS_TINY
from vidi.segmentation.mask2former import (
    mask2former_resnet18,
    mask2former_resnet50,
    mask2former_resnet101,
    mask2former_swin_b,
    mask2former_swin_l,
    mask2former_swin_s,
    mask2former_swin_t,
    mask2former_tiny,
)
from vidi.segmentation.maskformer import (
    maskformer_resnet18,
    maskformer_resnet50,
    maskformer_resnet101,
    maskformer_swin_t,
    maskformer_tiny,
)
from vidi.tasks.panoptic import PANOPTIC

SEGMENTATION: dict[str, Entry] = {
    "maskformer_tiny": Entry(
        maskformer_tiny, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER, recipe=MASKS_TINY
    ),
    "maskformer_resnet18": Entry(maskformer_resnet18, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet50": Entry(maskformer_resnet50, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet101": Entry(
        maskformer_resnet101, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER
    ),
    "maskformer_swin_t": Entry(maskformer_swin_t, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "mask2former_tiny": Entry(
        mask2former_tiny, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER, recipe=MASKS_TINY
    ),
    "mask2former_resnet18": Entry(
        mask2former_resnet18, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_resnet50": Entry(
        mask2former_resnet50, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_resnet101": Entry(
        mask2former_resnet101, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_swin_t": Entry(mask2former_swin_t, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_s": Entry(mask2former_swin_s, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_b": Entry(mask2former_swin_b, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_l": Entry(mask2former_swin_l, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
}
