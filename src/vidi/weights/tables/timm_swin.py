"""Swin transformers from files of timm, such as `model.safetensors` of timm/swin_large_patch4_window7_224.

No published file carries a digest in its name, so that none is in the table; one on this machine fits a builder with
the file's window: `side=12` and `size=(384, 384)` for those of 384 pixels.
"""

from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import under

BLOCK = {
    "norm1.*": "attention_residual.norm.*",
    "attn.qkv.*": "attention.query_key_value.*",
    "attn.proj.*": "attention.output.*",
    "attn.relative_position_bias_table": "attention.offset_bias",
    "attn.relative_position_index": None,  # in files of timm before 1.0, as the next
    "attn_mask": None,
    "norm2.*": "feed_forward_residual.norm.*",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
}
TRUNK = {
    "patch_embed.proj.*": "projection.*",
    "patch_embed.norm.*": "norm.*",
    "layers.*.downsample.norm.*": "stages.*.merging.norm.*",
    "layers.*.downsample.reduction.weight": "stages.*.merging.reduction.weight",
    "norm.*": "norms.stage4.*",
} | under(BLOCK, "layers.*.blocks.*.", "stages.*.blocks.*.")
CLASSIFIER = under(TRUNK, "", "backbone.") | {"head.fc.*": "head.linear.*"}
LAYOUT = Layout("timm", CLASSIFIER, convert=unpacked)
