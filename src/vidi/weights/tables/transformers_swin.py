"""Swin transformers as backbones in files of transformers: `SwinBackbone`, alone or inside Mask2Former."""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import under

BLOCK = {
    "layernorm_before.*": "attention_residual.norm.*",
    "attention.q_proj.*": "attention.query.*",
    "attention.k_proj.*": "attention.key.*",
    "attention.v_proj.*": "attention.value.*",
    "attention.o_proj.*": "attention.output.*",
    "attention.relative_position_bias.relative_position_bias_table": "attention.offset_bias",
    "layernorm_after.*": "feed_forward_residual.norm.*",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
    # in files
    "attention.self.query.*": "attention.query.*",
    "attention.self.key.*": "attention.key.*",
    "attention.self.value.*": "attention.value.*",
    "attention.output.dense.*": "attention.output.*",
    "attention.self.relative_position_bias_table": "attention.offset_bias",
    "attention.self.relative_position_index": None,
    "intermediate.dense.*": "feed_forward.widen.*",
    "output.dense.*": "feed_forward.narrow.*",
}
INSIDE = {
    "embeddings.patch_embeddings.projection.*": "projection.*",
    "embeddings.norm.*": "norm.*",
    "encoder.layers.0.downsample.norm.*": "stages.1.merging.norm.*",
    "encoder.layers.1.downsample.norm.*": "stages.2.merging.norm.*",
    "encoder.layers.2.downsample.norm.*": "stages.3.merging.norm.*",
    "encoder.layers.0.downsample.reduction.weight": "stages.1.merging.reduction.weight",
    "encoder.layers.1.downsample.reduction.weight": "stages.2.merging.reduction.weight",
    "encoder.layers.2.downsample.reduction.weight": "stages.3.merging.reduction.weight",
    "layernorm.*": None,  # of the last stage, which has another in a backbone
} | under(BLOCK, "encoder.layers.*.blocks.*.", "stages.*.blocks.*.")
TRUNK = under(INSIDE, "swin.", "") | INSIDE | {"hidden_states_norms.*.*": "norms.*.*"}  # without "swin." in files
LAYOUT = Layout("transformers", TRUNK)
