"""Denoising U-Nets from files of diffusers: `UNet2DModel` and `UNet2DConditionModel`.

No published file carries a digest in its name, so that none is in the table.
"""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import Names, under

RESIDUAL: Names = {
    "norm1.*": "norm1.*",
    "conv1.*": "conv1.*",
    "time_emb_proj.*": "embed.*",
    "norm2.*": "norm2.*",
    "conv2.*": "conv2.*",
    "conv_shortcut.*": "shortcut.*",
}
PLACES: Names = {
    "group_norm.*": "norm.*",
    "to_q.*": "attention.query.*",
    "to_k.*": "attention.key.*",
    "to_v.*": "attention.value.*",
    "to_out.0.*": "attention.output.*",
}
LAYER: Names = {
    "norm*.*": "norm*.*",
    "attn1.to_q.*": "self_attention.query.*",
    "attn1.to_k.*": "self_attention.key.*",
    "attn1.to_v.*": "self_attention.value.*",
    "attn1.to_out.0.*": "self_attention.output.*",
    "attn2.to_q.*": "cross_attention.query.*",
    "attn2.to_k.*": "cross_attention.key.*",
    "attn2.to_v.*": "cross_attention.value.*",
    "attn2.to_out.0.*": "cross_attention.output.*",
    "ff.net.0.proj.*": "feed_forward.widen.*",
    "ff.net.2.*": "feed_forward.narrow.*",
}
CONTEXT: Names = {
    "norm.*": "norm.*",
    "proj_in.*": "enter.*",
    "proj_out.*": "leave.*",
    **under(LAYER, "transformer_blocks.*.", "layers.*."),
}


def names_with(attention: Names) -> Names:
    """Return the table of a network whose attentions are named so."""
    return {
        "conv_in.*": "conv_in.*",
        "time_embedding.linear_1.*": "time.widen.*",
        "time_embedding.linear_2.*": "time.narrow.*",
        "class_embedding.weight": "label.table.weight",
        "conv_norm_out.*": "norm_out.*",
        "conv_out.*": "conv_out.*",
        **under(RESIDUAL, "down_blocks.*.resnets.*.", "down.*.blocks.*."),
        **under(attention, "down_blocks.*.attentions.*.", "down.*.attentions.*."),
        "down_blocks.*.downsamplers.0.conv.*": "down.*.resize.conv.*",
        **under(RESIDUAL, "mid_block.resnets.*.", "middle.blocks.*."),
        **under(attention, "mid_block.attentions.0.", "middle.attention."),
        **under(RESIDUAL, "up_blocks.*.resnets.*.", "up.*.blocks.*."),
        **under(attention, "up_blocks.*.attentions.*.", "up.*.attentions.*."),
        "up_blocks.*.upsamplers.0.conv.*": "up.*.resize.conv.*",
    }


NAMES = names_with({**PLACES, **CONTEXT})
NAMES_OF_CONTEXT = names_with(CONTEXT)
"""Of networks that look at words, to be read in both directions."""

LAYOUT = Layout("diffusers", NAMES)
