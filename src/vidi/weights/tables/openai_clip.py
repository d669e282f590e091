"""CLIP from files with the names of its first release, which open_clip and LAION have kept.

Projections are E x D there, and applied from the right; [CLS] and positions have no axis for the batch. OpenAI's
networks have quick GELU, most others GELU: `activation="gelu"` of our builders, for files do not tell.

No published file of named tensors carries a digest in its name, so that none is in the table. The release itself is
TorchScript, a program, which is never run here: convert it with open_clip.
"""

from vidi.backbones.vit import fitted_positions
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import under

LAYER = {
    "ln_1.*": "attention_residual.norm.*",
    "attn.in_proj_weight": "attention.query_key_value.weight",
    "attn.in_proj_bias": "attention.query_key_value.bias",
    "attn.out_proj.*": "attention.output.*",
    "ln_2.*": "feed_forward_residual.norm.*",
    "mlp.c_fc.*": "feed_forward.widen.*",
    "mlp.c_proj.*": "feed_forward.narrow.*",
}
TEXT = {
    "positional_embedding": "positions.table",
    "text_projection": "projection.weight",
    "token_embedding.weight": "words.weight",
    "ln_final.*": "norm.*",
} | under(LAYER, "transformer.resblocks.*.", "encoder.layers.*.")
TRANSFORMER = {
    "class_embedding": "backbone.class_token",
    "positional_embedding": "backbone.positions.table",
    "conv1.weight": "backbone.embedding.projection.weight",
    "ln_pre.*": "backbone.norm_before.*",
    "ln_post.*": "backbone.encoder.norm.*",
    "proj": "projection.weight",
} | under(LAYER, "transformer.resblocks.*.", "backbone.encoder.layers.*.")
BLOCK = {
    "conv1.weight": "reduce.conv.weight",
    "bn1.*": "reduce.norm.*",
    "conv2.weight": "conv.conv.weight",
    "bn2.*": "conv.norm.*",
    "conv3.weight": "expand.conv.weight",
    "bn3.*": "expand.norm.*",
    "downsample.0.weight": "skip.conv.weight",
    "downsample.1.*": "skip.norm.*",
}
RESNET = {
    "conv1.weight": "backbone.stem.0.conv.weight",
    "bn1.*": "backbone.stem.0.norm.*",
    "conv2.weight": "backbone.stem.1.conv.weight",
    "bn2.*": "backbone.stem.1.norm.*",
    "conv3.weight": "backbone.stem.2.conv.weight",
    "bn3.*": "backbone.stem.2.norm.*",
    **under(BLOCK, "layer1.*.", "backbone.stages.0.*."),
    **under(BLOCK, "layer2.*.", "backbone.stages.1.*."),
    **under(BLOCK, "layer3.*.", "backbone.stages.2.*."),
    **under(BLOCK, "layer4.*.", "backbone.stages.3.*."),
    "attnpool.positional_embedding": "pool.positions.table",
    "attnpool.q_proj.*": "pool.attention.query.*",
    "attnpool.k_proj.*": "pool.attention.key.*",
    "attnpool.v_proj.*": "pool.attention.value.*",
    "attnpool.c_proj.*": "pool.attention.output.*",
}
BOTH = under(TEXT, "", "text.") | {
    "logit_scale": "log_scale",
    "input_resolution": None,  # numbers that the release keeps among its tensors
    "context_length": None,
    "vocab_size": None,
}
TURNED = ("text.projection.weight", "image.projection.weight")


def converted(tensors: Tensors) -> Tensors:
    """Take packed projections apart, turn matrices, and give vectors the axes that ours have."""
    turned = {key: value.T if key in TURNED else value for key, value in unpacked(tensors).items()}
    return with_axes(turned)


def with_axes(tensors: Tensors) -> Tensors:
    """Return [CLS] as 1 x 1 x D and positions as 1 x T x D."""
    axes = {"class_token": 3, "positions.table": 3}
    result: Tensors = {}
    for key, value in tensors.items():
        wanted = next((count for name, count in axes.items() if key.endswith(name)), value.ndim)
        result[key] = value[(None,) * (wanted - value.ndim)]
    return result


TRANSFORMER_LAYOUT = Layout(
    "openai", BOTH | under(TRANSFORMER, "visual.", "image."), convert=converted, fit=fitted_positions
)
RESNET_LAYOUT = Layout("openai", BOTH | under(RESNET, "visual.", "image."), convert=converted, fit=fitted_positions)
