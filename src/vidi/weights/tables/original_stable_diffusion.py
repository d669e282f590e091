"""Stable Diffusion 1 and 2 from single files of CompVis and StabilityAI.

    model.diffusion_model.*     U-Net; its blocks are counted through, so that the table depends on its sizes
    first_stage_model.*         autoencoder; the levels of its decoder are counted from the finest
    cond_stage_model.*          text tower: of transformers in version 1, of open_clip in version 2

What else such files hold (the schedule, averages of the training) belongs to neither. No published file carries a
digest in its name, so that none is in the table.
"""

from vidi.generative.diffusion.autoencoder import AutoencoderSizes
from vidi.generative.diffusion.unet import UNetSizes
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import Names, under
from vidi.weights.tables import openai_clip, transformers_clip
from vidi.weights.tables.diffusers_autoencoder import as_linear
from vidi.weights.tables.diffusers_unet import CONTEXT
from vidi.weights.tables.openai_clip import with_axes

UNET, AUTOENCODER, TEXT_1, TEXT_2 = (
    "model.diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.transformer.",
    "cond_stage_model.model.",
)
RESIDUAL: Names = {
    "in_layers.0.*": "norm1.*",
    "in_layers.2.*": "conv1.*",
    "emb_layers.1.*": "embed.*",
    "out_layers.0.*": "norm2.*",
    "out_layers.3.*": "conv2.*",
    "skip_connection.*": "shortcut.*",
}
PLAIN_RESIDUAL: Names = {
    "norm1.*": "norm1.*",
    "conv1.*": "conv1.*",
    "norm2.*": "norm2.*",
    "conv2.*": "conv2.*",
    "nin_shortcut.*": "shortcut.*",
}
PLACES: Names = {
    "norm.*": "norm.*",
    "q.*": "attention.query.*",
    "k.*": "attention.key.*",
    "v.*": "attention.value.*",
    "proj_out.*": "attention.output.*",
}
TEXT: Names = under(transformers_clip.TEXT, "text_model.", "") | transformers_clip.TEXT
OPEN_TEXT: Names = openai_clip.TEXT | {"text_projection": None, "logit_scale": None, "attn_mask": None}


def unet_names(sizes: UNetSizes) -> Names:
    """Return the table of a U-Net: `input_blocks` holds conv_in, then the blocks of each level and what halves it."""
    names: dict[str, str | None] = {
        "time_embed.0.*": "time.widen.*",
        "time_embed.2.*": "time.narrow.*",
        "input_blocks.0.0.*": "conv_in.*",
        **under(RESIDUAL, "middle_block.0.", "middle.blocks.0."),
        **under(CONTEXT, "middle_block.1.", "middle.attention."),
        **under(RESIDUAL, "middle_block.2.", "middle.blocks.1."),
        "out.0.*": "norm_out.*",
        "out.2.*": "conv_out.*",
    }
    levels, stride = len(sizes.channels), sizes.blocks + 1
    for level, attends in enumerate(sizes.attends):
        first, up = 1 + level * stride, levels - 1 - level
        for k in range(stride):  # on the way down the last of them halves the size, on the way up it is a block
            if k < sizes.blocks:
                names |= under(RESIDUAL, f"input_blocks.{first + k}.0.", f"down.{level}.blocks.{k}.")
                names |= under(CONTEXT, f"input_blocks.{first + k}.1.", f"down.{level}.attentions.{k}.")
            names |= under(RESIDUAL, f"output_blocks.{up * stride + k}.0.", f"up.{up}.blocks.{k}.")
            names |= under(CONTEXT, f"output_blocks.{up * stride + k}.1.", f"up.{up}.attentions.{k}.")
        names[f"input_blocks.{first + sizes.blocks}.0.op.*"] = f"down.{level}.resize.conv.*"
        last = up * stride + sizes.blocks
        names[f"output_blocks.{last}.{2 if attends else 1}.conv.*"] = f"up.{up}.resize.conv.*"
    return names


def autoencoder_names(sizes: AutoencoderSizes) -> Names:
    """Return the table of an autoencoder."""
    both: Names = {
        "conv_in.*": "conv_in.*",
        **under(PLAIN_RESIDUAL, "mid.block_1.", "middle.blocks.0."),
        **under(PLACES, "mid.attn_1.", "middle.attention."),
        **under(PLAIN_RESIDUAL, "mid.block_2.", "middle.blocks.1."),
        "norm_out.*": "norm_out.*",
        "conv_out.*": "conv_out.*",
    }
    names: dict[str, str | None] = {
        "quant_conv.*": "to_law.*",
        "post_quant_conv.*": "from_latent.*",
        **under(both, "encoder.", "encoder."),
        **under(PLAIN_RESIDUAL, "encoder.down.*.block.*.", "encoder.down.*.blocks.*."),
        "encoder.down.*.downsample.conv.*": "encoder.down.*.resize.conv.*",
        **under(both, "decoder.", "decoder."),
    }
    for level in range(len(sizes.channels)):
        up = len(sizes.channels) - 1 - level
        names |= under(PLAIN_RESIDUAL, f"decoder.up.{level}.block.*.", f"decoder.up.{up}.blocks.*.")
        names[f"decoder.up.{level}.upsample.conv.*"] = f"decoder.up.{up}.resize.conv.*"
    return names


def as_tower(tensors: Tensors) -> Tensors:
    """Take packed projections apart, and give positions their axes."""
    return with_axes(unpacked(tensors))


def without_last_layer(names: Names, layers: int) -> Names:
    """Return the table of a tower of which the last of `layers` layers is not asked: the rows before it are used."""
    last = f"transformer.resblocks.{layers - 1}."
    dropped = under(dict.fromkeys(openai_clip.LAYER), last, "")
    kept = {name: value for name, value in names.items() if "resblocks" not in name}
    for layer in range(layers - 1):
        kept |= under(openai_clip.LAYER, f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}.")
    return kept | dropped


def unet_layout(sizes: UNetSizes) -> Layout:
    """Return how a U-Net is read."""
    return Layout("stabilityai", unet_names(sizes))


def autoencoder_layout(sizes: AutoencoderSizes) -> Layout:
    """Return how an autoencoder is read; its attention was made of 1 x 1 convolutions."""
    return Layout("stabilityai", autoencoder_names(sizes), convert=as_linear)


TEXT_LAYOUT = Layout("stabilityai", TEXT, convert=with_axes)


def open_text_layout(layers: int) -> Layout:
    """Return how the text tower of version 2 is read."""
    return Layout("stabilityai", without_last_layer(OPEN_TEXT, layers), convert=as_tower)
