"""Names of the tensors of vision transformers in transformers: `ViTForImageClassification`, and `ViTModel` below it.

The tensors of queries, keys and values are three there too. The norms have eps 1e-12, an argument of our builders. No
published file carries a digest in its name; one on this machine is loaded by `vidi.weights.local_files`.
"""

from vidi.backbones.vit import fitted_positions
from vidi.weights.layouts import Layout
from vidi.weights.renaming import under

LAYER = {
    "layernorm_before.*": "attention_residual.norm.*",
    "layernorm_after.*": "feed_forward_residual.norm.*",
}
# in files
LAYER_OF_FILES = {
    "attention.attention.query.*": "attention.query.*",
    "attention.attention.key.*": "attention.key.*",
    "attention.attention.value.*": "attention.value.*",
    "attention.output.dense.*": "attention.output.*",
    "intermediate.dense.*": "feed_forward.widen.*",
    "output.dense.*": "feed_forward.narrow.*",
} | LAYER
# in modules since version 5
LAYER_OF_MODULES = {
    "attention.q_proj.*": "attention.query.*",
    "attention.k_proj.*": "attention.key.*",
    "attention.v_proj.*": "attention.value.*",
    "attention.o_proj.*": "attention.output.*",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
} | LAYER
TRUNK = (
    {
        "embeddings.cls_token": "class_token",
        "embeddings.position_embeddings": "positions.table",
        "embeddings.patch_embeddings.projection.*": "embedding.projection.*",
        "layernorm.*": "encoder.norm.*",
        "pooler.dense.*": None,  # a layer on [CLS] for the next pre-training
    }
    | {f"encoder.layer.*.{old}": f"encoder.layers.*.{new}" for old, new in LAYER_OF_FILES.items()}
    | {f"layers.*.{old}": f"encoder.layers.*.{new}" for old, new in LAYER_OF_MODULES.items()}
)
CLASSIFIER = under(TRUNK, "vit.", "backbone.") | under(TRUNK, "", "backbone.") | {"classifier.*": "head.linear.*"}
LAYOUT = Layout("transformers", CLASSIFIER, fit=fitted_positions)
