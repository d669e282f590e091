"""Autoencoders of latent diffusion from files of diffusers: `AutoencoderKL`, old and new names of its attention."""

from vidi.weights.layouts import Layout, Tensors
from vidi.weights.renaming import Names, under
from vidi.weights.tables.diffusers_unet import PLACES, RESIDUAL

OLD_PLACES: Names = {  # of files of before 2023
    "query.*": "attention.query.*",
    "key.*": "attention.key.*",
    "value.*": "attention.value.*",
    "proj_attn.*": "attention.output.*",
}
ENDS: Names = {"conv_in.*": "conv_in.*", "conv_norm_out.*": "norm_out.*", "conv_out.*": "conv_out.*"}


def names_with(attention: Names) -> Names:
    """Return the table of an autoencoder whose attentions are named so."""
    centre = {
        **under(RESIDUAL, "mid_block.resnets.*.", "middle.blocks.*."),
        **under(attention, "mid_block.attentions.0.", "middle.attention."),
    }
    encoder = {
        **under(RESIDUAL, "down_blocks.*.resnets.*.", "down.*.blocks.*."),
        "down_blocks.*.downsamplers.0.conv.*": "down.*.resize.conv.*",
    }
    decoder = {
        **under(RESIDUAL, "up_blocks.*.resnets.*.", "up.*.blocks.*."),
        "up_blocks.*.upsamplers.0.conv.*": "up.*.resize.conv.*",
    }
    return {
        "quant_conv.*": "to_law.*",
        "post_quant_conv.*": "from_latent.*",
        **under({**ENDS, **centre, **encoder}, "encoder.", "encoder."),
        **under({**ENDS, **centre, **decoder}, "decoder.", "decoder."),
    }


NAMES = names_with({**PLACES, **OLD_PLACES})
NAMES_NOW = names_with(PLACES)
"""Of new files, to be read in both directions."""


def as_linear(tensors: Tensors) -> Tensors:
    """Turn the 1 x 1 convolutions that attention was in old files into linear maps."""
    return {
        name: value.flatten(1) if ".attention." in name and value.ndim == 4 else value
        for name, value in tensors.items()
    }


LAYOUT = Layout("diffusers", NAMES, convert=as_linear)
