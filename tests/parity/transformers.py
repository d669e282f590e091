"""From the names of torch's transformer layers to ours."""

import re
from collections.abc import Mapping

from torch import Tensor

ENCODER = {
    "self_attn": "attention",
    "norm1": "attention_residual.norm",
    "norm2": "feed_forward_residual.norm",
    "linear1": "feed_forward.widen",
    "linear2": "feed_forward.narrow",
}
DECODER = ENCODER | {
    "self_attn": "self_attention",
    "norm1": "self_attention_residual.norm",
    "multihead_attn": "cross_attention",
    "norm2": "cross_attention_residual.norm",
    "norm3": "feed_forward_residual.norm",
}
PART = re.compile(r"\b(" + "|".join(DECODER) + r")\.")


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename layers, and take their packed projections apart."""
    result: dict[str, Tensor] = {}
    for old, value in state.items():
        name = PART.sub(lambda match: names[match[1]] + ".", old).replace(".out_proj.", ".output.")
        if "in_proj_" in name:
            for part, tensor in zip(("query.", "key.", "value."), value.chunk(3), strict=True):
                result[name.replace("in_proj_", part)] = tensor
        else:
            result[name] = value
    return result


def encoder_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of `TransformerEncoder` or one of its layers."""
    return renamed(state, ENCODER)


def decoder_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of `TransformerDecoder` or one of its layers."""
    return renamed(state, DECODER)
