"""MaskFormer from files of transformers: `MaskFormerForInstanceSegmentation`, with ResNet or Swin.

Others on this machine, such as facebook/maskformer-resnet50-coco-stuff, -resnet50-ade20k-full or -swin-tiny-coco, fit a
builder with the file's categories, that with ResNet with `norm="frozen"`.
"""

from typing import Any

from vidi.preprocess import Preprocess
from vidi.weights.categories import ade20k_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.transformers_detr import DECODER_LAYER
from vidi.weights.tables.transformers_swin import INSIDE

RESIDUAL_BLOCK = {
    "shortcut.convolution.weight": "skip.conv.weight",
    "shortcut.normalization.*": "skip.norm.*",
    "layer.0.convolution.weight": "conv1.weight",
    "layer.0.normalization.*": "norm1.*",
    "layer.1.convolution.weight": "conv2.weight",
    "layer.1.normalization.*": "norm2.*",
    "layer.2.convolution.weight": "conv3.weight",
    "layer.2.normalization.*": "norm3.*",
}
RESNET = (
    {
        "embedder.embedder.convolution.weight": "stem.conv.weight",
        "embedder.embedder.normalization.*": "stem.norm.*",
    }
    | under(RESIDUAL_BLOCK, "encoder.stages.0.layers.*.", "stage1.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.1.layers.*.", "stage2.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.2.layers.*.", "stage3.*.")
    | under(RESIDUAL_BLOCK, "encoder.stages.3.layers.*.", "stage4.*.")
)
SWIN = under(INSIDE, "model.", "") | {
    "hidden_states_norms.0.*": "norms.stage1.*",
    "hidden_states_norms.1.*": "norms.stage2.*",
    "hidden_states_norms.2.*": "norms.stage3.*",
    "hidden_states_norms.3.*": "norms.stage4.*",
}
PIXEL_DECODER = {
    "fpn.stem.*.*": "stem.*.*",
    "fpn.layers.*.proj.*.*": "laterals.*.project.*.*",
    "fpn.layers.*.block.*.*": "laterals.*.smooth.*.*",
    "mask_projection.*": "embed.*",
}
MASK_EMBEDDING = {"0.0.*": "0.*", "1.0.*": "2.*", "2.0.*": "4.*"}
MASKFORMER = (
    under(RESNET | SWIN, "model.pixel_level_module.encoder.", "backbone.")
    | under(PIXEL_DECODER, "model.pixel_level_module.decoder.", "pixel_decoder.")
    | under(DECODER_LAYER, "model.transformer_module.decoder.layers.*.", "decoder.layers.*.")
    | under(MASK_EMBEDDING, "mask_embedder.", "mask_embedding.")
    | {
        "model.transformer_module.queries_embedder.weight": "queries",
        "model.transformer_module.input_projection.*": "projection.*",
        "model.transformer_module.decoder.layernorm.*": "decoder.norm.*",
        "class_predictor.*": "class_head.*",
        "criterion.empty_weight": None,
    }
)
BY_CATEGORY = ("class_head.weight", "class_head.bias")
LAYOUT = Layout("transformers", MASKFORMER, by_category=BY_CATEGORY)


def _of_scenes(model: str, backbone: str, sha256: str, miou: float, **arguments: Any) -> Published:
    """Return the authors' weights of ADE20K; their digests are those of the files' pages."""
    repository = f"maskformer-{backbone}-ade"
    url = f"https://huggingface.co/facebook/{repository}/resolve/main/pytorch_model.bin"
    return Published(
        model=model,
        version="transformers/ade20k",
        files=(File(url, sha256, saved_as=f"{repository}.bin"),),
        licence="CC-BY-NC-4.0",
        preprocess=Preprocess(512, 2048, stride=32),
        score={"miou": miou},
        layout=LAYOUT,
        categories=ade20k_categories,
        arguments=arguments,
    )


PUBLISHED = by_name(
    _of_scenes(
        "maskformer_resnet50_semantic",
        "resnet50",
        "715296aae42e9dcf138eb3254fedd308df2d24fe5c189797874ca028a461ceff",
        44.5,
        norm="frozen",
    ),
    _of_scenes(
        "maskformer_swin_t_semantic",
        "swin-tiny",
        "aef0b7f380f24adcbee44a20ff00bacc9728a2143acc05572e0a8658a8a88047",
        46.7,
    ),
)
