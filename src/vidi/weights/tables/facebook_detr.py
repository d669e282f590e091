"""DETR weights of its authors (facebookresearch/detr): COCO 2017, 500 epochs."""

from vidi.preprocess import Preprocess
from vidi.weights.categories import coco_categories
from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_resnet import TRUNK

FEED_FORWARD = {"linear1.*": "feed_forward.widen.*", "linear2.*": "feed_forward.narrow.*"}
ENCODER_LAYER = {
    "self_attn.in_proj_*": "attention.query_key_value.*",
    "self_attn.out_proj.*": "attention.output.*",
    "norm1.*": "attention_residual.norm.*",
    "norm2.*": "feed_forward_residual.norm.*",
} | FEED_FORWARD
DECODER_LAYER = {
    "self_attn.in_proj_*": "self_attention.query_key_value.*",
    "self_attn.out_proj.*": "self_attention.output.*",
    "norm1.*": "self_attention_residual.norm.*",
    "multihead_attn.in_proj_*": "cross_attention.query_key_value.*",
    "multihead_attn.out_proj.*": "cross_attention.output.*",
    "norm2.*": "cross_attention_residual.norm.*",
    "norm3.*": "feed_forward_residual.norm.*",
} | FEED_FORWARD
DETR = (
    under(TRUNK, "backbone.0.body.", "backbone.")
    | under(ENCODER_LAYER, "transformer.encoder.layers.*.", "encoder.layers.*.")
    | under(DECODER_LAYER, "transformer.decoder.layers.*.", "decoder.layers.*.")
    | {
        "input_proj.*": "projection.*",
        "query_embed.weight": "queries",
        "transformer.decoder.norm.*": "decoder.norm.*",
        "class_embed.*": "class_head.*",
        "bbox_embed.layers.0.*": "box_head.0.*",
        "bbox_embed.layers.1.*": "box_head.2.*",
        "bbox_embed.layers.2.*": "box_head.4.*",
    }
)

BY_CATEGORY = ("class_head.weight", "class_head.bias")
LAYOUT = Layout("facebook", DETR, convert=unpacked, by_category=BY_CATEGORY)

# model, file, box AP
ROWS = (
    ("detr_resnet50", "detr-r50-e632da11.pth", 42.0),
    ("detr_resnet50_dc5", "detr-r50-dc5-f0fb7ef5.pth", 43.3),
    ("detr_resnet101", "detr-r101-2c7b67e5.pth", 43.5),
)

PUBLISHED = by_name(
    *(
        Published(
            model=model,
            version="facebook/coco",
            files=(File.named_by_digest(f"https://dl.fbaipublicfiles.com/detr/{file}"),),
            layout=LAYOUT,
            licence="Apache-2.0",
            preprocess=Preprocess(shorter=800, longest=1333),
            score={"ap": ap},
            categories=coco_categories,
            arguments={"norm": "frozen"},
        )
        for model, file, ap in ROWS
    )
)
