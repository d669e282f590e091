"""DETR from files of transformers: `DetrForObjectDetection`, such as `model.safetensors` of facebook/detr-resnet-50.

No published file carries a digest in its name, so that none is in the table; one on this machine fits a builder
with `norm="frozen"`.
"""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import under
from vidi.weights.tables.facebook_detr import BY_CATEGORY
from vidi.weights.tables.torchvision_resnet import TRUNK

ATTENTION = {
    "q_proj.*": "query.*",
    "k_proj.*": "key.*",
    "v_proj.*": "value.*",
    "o_proj.*": "output.*",
    "out_proj.*": "output.*",  # in files; the module's name since version 5 is the one above
}
FEED_FORWARD = {
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
    "fc1.*": "feed_forward.widen.*",
    "fc2.*": "feed_forward.narrow.*",
    "final_layer_norm.*": "feed_forward_residual.norm.*",
}
ENCODER_LAYER = (
    under(ATTENTION, "self_attn.", "attention.")
    | {"self_attn_layer_norm.*": "attention_residual.norm.*"}
    | FEED_FORWARD
)
DECODER_LAYER = (
    under(ATTENTION, "self_attn.", "self_attention.")
    | under(ATTENTION, "encoder_attn.", "cross_attention.")
    | {
        "self_attn_layer_norm.*": "self_attention_residual.norm.*",
        "encoder_attn_layer_norm.*": "cross_attention_residual.norm.*",
    }
    | FEED_FORWARD
)
DETR = (
    under(TRUNK, "model.backbone.model.", "backbone.")
    | under(TRUNK, "model.backbone.conv_encoder.model.", "backbone.")  # in files
    | under(ENCODER_LAYER, "model.encoder.layers.*.", "encoder.layers.*.")
    | under(DECODER_LAYER, "model.decoder.layers.*.", "decoder.layers.*.")
    | {
        "model.input_projection.*": "projection.*",
        "model.query_position_embeddings.weight": "queries",
        "model.decoder.layernorm.*": "decoder.norm.*",
        "class_labels_classifier.*": "class_head.*",
        "bbox_predictor.layers.0.*": "box_head.0.*",
        "bbox_predictor.layers.1.*": "box_head.2.*",
        "bbox_predictor.layers.2.*": "box_head.4.*",
    }
)
LAYOUT = Layout("transformers", DETR, by_category=BY_CATEGORY)
