"""Depth Pro from files: transformers' `DepthProForDepthEstimation` (apple/DepthPro-hf), and the authors' depth_pro.pt.

Both are under Apple's licence for machine learning research (apple-amlr): for research only. Neither has a digest in
its name, so that none is in the table of what is downloaded; a file on this machine fits `depth_pro`:

    https://huggingface.co/apple/DepthPro-hf       model.safetensors
    https://huggingface.co/apple/DepthPro          depth_pro.pt

The published code has a residual unit in front of the coarsest map that nothing runs through; it is left out.
"""

from vidi.backbones.vit import fitted_positions
from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import under

LAYER = {
    "norm1.*": "attention_residual.norm.*",
    "norm2.*": "feed_forward_residual.norm.*",
    "layer_scale1.lambda1": "attention_residual.dropout.1.scale",
    "layer_scale2.lambda1": "feed_forward_residual.dropout.1.scale",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
    # in files
    "attention.attention.query.*": "attention.query.*",
    "attention.attention.key.*": "attention.key.*",
    "attention.attention.value.*": "attention.value.*",
    "attention.output.dense.*": "attention.output.*",
    # in modules since version 5
    "attention.q_proj.*": "attention.query.*",
    "attention.k_proj.*": "attention.key.*",
    "attention.v_proj.*": "attention.value.*",
    "attention.o_proj.*": "attention.output.*",
}
TRUNK = {
    "embeddings.cls_token": "class_token",
    "embeddings.mask_token": None,  # of the pre-training
    "embeddings.position_embeddings": "positions.table",
    "embeddings.patch_embeddings.projection.*": "embedding.projection.*",
    "layernorm.*": "encoder.norm.*",
} | under(LAYER, "encoder.layer.*.", "encoder.layers.*.")
FUSION = {
    "residual_layer1.convolution1.*": "own.conv1.*",
    "residual_layer1.convolution2.*": "own.conv2.*",
    "residual_layer2.convolution1.*": "both.conv1.*",
    "residual_layer2.convolution2.*": "both.conv2.*",
    "deconv.weight": "enlarge.weight",
    "projection.*": "project.*",
}
FIRST_FUSION = {old: None if new.startswith("own.") else new for old, new in FUSION.items()}
DEPTH_PRO = (
    under(TRUNK, "depth_pro.encoder.patch_encoder.model.", "backbone.patch_encoder.")
    | under(TRUNK, "depth_pro.encoder.image_encoder.model.", "backbone.image_encoder.")
    | under(TRUNK, "fov_model.fov_encoder.model.", "field_of_view.encoder.")
    | {
        "depth_pro.neck.feature_upsample.image_block.layers.0.*": "neck.whole.*",
        "depth_pro.neck.feature_upsample.scaled_images.*.layers.*.weight": "neck.scales.*.*.weight",
        "depth_pro.neck.feature_upsample.intermediate.*.layers.*.weight": "neck.layers.*.*.weight",
        "depth_pro.neck.fuse_image_with_low_res.*": "neck.mix.*",
        "depth_pro.neck.feature_projection.projections.*.weight": "neck.project.*.weight",
    }
    | under(FIRST_FUSION, "fusion_stage.intermediate.0.", "fusions.0.")
    | under(FUSION, "fusion_stage.intermediate.1.", "fusions.1.")
    | under(FUSION, "fusion_stage.intermediate.2.", "fusions.2.")
    | under(FUSION, "fusion_stage.intermediate.3.", "fusions.3.")
    | under(FUSION, "fusion_stage.final.", "fusions.4.")
    | {
        "head.layers.*.*": "head.*.*",
        "fov_model.fov_encoder.neck.*": "field_of_view.narrow.*",
        "fov_model.conv.*": "field_of_view.halve.*",
        "fov_model.head.layers.*.*": "field_of_view.head.*.*",
    }
)
LAYOUT = Layout("transformers", DEPTH_PRO, fit=fitted_positions, into="parts.network")

ORIGINAL_TRUNK = {
    "cls_token": "class_token",
    "pos_embed": "positions.table",
    "patch_embed.proj.*": "embedding.projection.*",
    "blocks.*.norm1.*": "encoder.layers.*.attention_residual.norm.*",
    "blocks.*.norm2.*": "encoder.layers.*.feed_forward_residual.norm.*",
    "blocks.*.attn.qkv.*": "encoder.layers.*.attention.query_key_value.*",
    "blocks.*.attn.proj.*": "encoder.layers.*.attention.output.*",
    "blocks.*.ls1.gamma": "encoder.layers.*.attention_residual.dropout.1.scale",
    "blocks.*.ls2.gamma": "encoder.layers.*.feed_forward_residual.dropout.1.scale",
    "blocks.*.mlp.fc1.*": "encoder.layers.*.feed_forward.widen.*",
    "blocks.*.mlp.fc2.*": "encoder.layers.*.feed_forward.narrow.*",
    "norm.*": "encoder.norm.*",
}
ORIGINAL_FUSION = {
    "resnet1.residual.1.*": "own.conv1.*",
    "resnet1.residual.3.*": "own.conv2.*",
    "resnet2.residual.1.*": "both.conv1.*",
    "resnet2.residual.3.*": "both.conv2.*",
    "deconv.weight": "enlarge.weight",
    "out_conv.*": "project.*",
}
ORIGINAL_FIRST = {old: None if new.startswith("own.") else new for old, new in ORIGINAL_FUSION.items()}
ORIGINAL = (  # from the finest map, 0, to the coarsest, 4
    under(ORIGINAL_TRUNK, "encoder.patch_encoder.", "backbone.patch_encoder.")
    | under(ORIGINAL_TRUNK, "encoder.image_encoder.", "backbone.image_encoder.")
    | under(ORIGINAL_TRUNK, "fov.encoder.0.", "field_of_view.encoder.")
    | {
        "encoder.upsample_lowres.*": "neck.whole.*",
        "encoder.upsample2.*.weight": "neck.scales.0.*.weight",
        "encoder.upsample1.*.weight": "neck.scales.1.*.weight",
        "encoder.upsample0.*.weight": "neck.scales.2.*.weight",
        "encoder.upsample_latent1.*.weight": "neck.layers.0.*.weight",
        "encoder.upsample_latent0.*.weight": "neck.layers.1.*.weight",
        "encoder.fuse_lowres.*": "neck.mix.*",
        "decoder.convs.4.weight": "neck.project.0.weight",
        "decoder.convs.3.weight": "neck.project.1.weight",
        "decoder.convs.2.weight": "neck.project.2.weight",
        "decoder.convs.1.weight": "neck.project.3.weight",
    }
    | under(ORIGINAL_FIRST, "decoder.fusions.4.", "fusions.0.")
    | under(ORIGINAL_FUSION, "decoder.fusions.3.", "fusions.1.")
    | under(ORIGINAL_FUSION, "decoder.fusions.2.", "fusions.2.")
    | under(ORIGINAL_FUSION, "decoder.fusions.1.", "fusions.3.")
    | under(ORIGINAL_FUSION, "decoder.fusions.0.", "fusions.4.")
    | {
        "head.*.*": "head.*.*",
        "fov.encoder.1.*": "field_of_view.narrow.*",
        "fov.downsample.0.*": "field_of_view.halve.*",
        "fov.head.*.*": "field_of_view.head.*.*",
    }
)
ORIGINAL_LAYOUT = Layout("apple", ORIGINAL, convert=unpacked, fit=fitted_positions, into="parts.network")
