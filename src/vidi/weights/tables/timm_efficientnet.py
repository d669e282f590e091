"""Weights of EfficientNet that timm publishes: trained by R. Wightman, or converted from the authors' TensorFlow files.

Versions as in timm (Hugging Face ids timm/efficientnet_b0.ra_in1k and so on); the converted ones, there named
tf_efficientnet, begin with `tf_` and need TensorFlow's padding. The files are those of timm's releases on GitHub, as
their names carry a digest.
"""

from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name

RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"
NAMES = {
    "conv_stem.weight": "backbone.stem.conv.weight",
    "bn1.*": "backbone.stem.norm.*",
    # the first stage has no expansion
    "blocks.0.*.conv_dw.weight": "backbone.stages.0.*.depthwise.conv.weight",
    "blocks.0.*.bn1.*": "backbone.stages.0.*.depthwise.norm.*",
    "blocks.0.*.se.conv_reduce.*": "backbone.stages.0.*.se.fc1.*",
    "blocks.0.*.se.conv_expand.*": "backbone.stages.0.*.se.fc2.*",
    "blocks.0.*.conv_pw.weight": "backbone.stages.0.*.project.conv.weight",
    "blocks.0.*.bn2.*": "backbone.stages.0.*.project.norm.*",
    "conv_head.weight": "head.before.conv.weight",
    "bn2.*": "head.before.norm.*",
    "classifier.*": "head.linear.*",
}
LATER = {
    "conv_pw.weight": "expand.conv.weight",
    "bn1.*": "expand.norm.*",
    "conv_dw.weight": "depthwise.conv.weight",
    "bn2.*": "depthwise.norm.*",
    "se.conv_reduce.*": "se.fc1.*",
    "se.conv_expand.*": "se.fc2.*",
    "conv_pwl.weight": "project.conv.weight",
    "bn3.*": "project.norm.*",
}
NAMES |= {
    f"blocks.{stage}.*.{old}": f"backbone.stages.{stage}.*.{new}" for stage in range(1, 7) for old, new in LATER.items()
}
LAYOUT = Layout("timm", NAMES)

# model, version, file, shorter side, crop
TRAINED = (
    ("efficientnet_b0", "ra_in1k", "efficientnet_b0_ra-3dd342df.pth", 256, 224),
    ("efficientnet_b1", "ft_in1k", "efficientnet_b1-533bc792.pth", 256, 256),
    ("efficientnet_b2", "ra_in1k", "efficientnet_b2_ra-bcdf34b7.pth", 288, 288),
    ("efficientnet_b3", "ra2_in1k", "efficientnet_b3_ra2-cf984f9c.pth", 320, 320),
    ("efficientnet_b4", "ra2_in1k", "efficientnet_b4_ra2_320-7eb33cd5.pth", 384, 384),
)
TRAINED_LITE = (("efficientnet_lite0", "ra_in1k", "efficientnet_lite0_ra-37913777.pth", 256, 224),)
CONVERTED = (
    ("efficientnet_b0", "tf_aa_in1k", "tf_efficientnet_b0_aa-827b6e33.pth", 256, 224),
    ("efficientnet_b0", "tf_ap_in1k", "tf_efficientnet_b0_ap-f262efe1.pth", 256, 224),
    ("efficientnet_b0", "tf_in1k", "tf_efficientnet_b0-0af12548.pth", 256, 224),
    ("efficientnet_b0", "tf_ns_jft_in1k", "tf_efficientnet_b0_ns-c0e6a31c.pth", 256, 224),
    ("efficientnet_b1", "tf_aa_in1k", "tf_efficientnet_b1_aa-ea7a6ee0.pth", 272, 240),
    ("efficientnet_b1", "tf_ap_in1k", "tf_efficientnet_b1_ap-44ef0a3d.pth", 272, 240),
    ("efficientnet_b1", "tf_in1k", "tf_efficientnet_b1-5c1377c4.pth", 272, 240),
    ("efficientnet_b1", "tf_ns_jft_in1k", "tf_efficientnet_b1_ns-99dd0c41.pth", 272, 240),
    ("efficientnet_b2", "tf_aa_in1k", "tf_efficientnet_b2_aa-60c94f97.pth", 292, 260),
    ("efficientnet_b2", "tf_ap_in1k", "tf_efficientnet_b2_ap-2f8e7636.pth", 292, 260),
    ("efficientnet_b2", "tf_in1k", "tf_efficientnet_b2-e393ef04.pth", 292, 260),
    ("efficientnet_b2", "tf_ns_jft_in1k", "tf_efficientnet_b2_ns-00306e48.pth", 292, 260),
    ("efficientnet_b3", "tf_aa_in1k", "tf_efficientnet_b3_aa-84b4657e.pth", 331, 300),
    ("efficientnet_b3", "tf_ap_in1k", "tf_efficientnet_b3_ap-aad25bdd.pth", 331, 300),
    ("efficientnet_b3", "tf_in1k", "tf_efficientnet_b3-e3bd6955.pth", 331, 300),
    ("efficientnet_b3", "tf_ns_jft_in1k", "tf_efficientnet_b3_ns-9d44bf68.pth", 331, 300),
    ("efficientnet_b4", "tf_aa_in1k", "tf_efficientnet_b4_aa-818f208c.pth", 412, 380),
    ("efficientnet_b4", "tf_ap_in1k", "tf_efficientnet_b4_ap-dedb23e6.pth", 412, 380),
    ("efficientnet_b4", "tf_in1k", "tf_efficientnet_b4-74ee3bed.pth", 412, 380),
    ("efficientnet_b4", "tf_ns_jft_in1k", "tf_efficientnet_b4_ns-d6313a46.pth", 412, 380),
    ("efficientnet_b5", "tf_aa_in1k", "tf_efficientnet_b5_aa-99018a74.pth", 488, 456),
    ("efficientnet_b5", "tf_ap_in1k", "tf_efficientnet_b5_ap-9e82fae8.pth", 488, 456),
    ("efficientnet_b5", "tf_in1k", "tf_efficientnet_b5-c6949ce9.pth", 488, 456),
    ("efficientnet_b5", "tf_ns_jft_in1k", "tf_efficientnet_b5_ns-6f26d0cf.pth", 488, 456),
    ("efficientnet_b5", "tf_ra_in1k", "tf_efficientnet_b5_ra-9a3e5369.pth", 488, 456),
    ("efficientnet_b6", "tf_aa_in1k", "tf_efficientnet_b6_aa-80ba17e4.pth", 560, 528),
    ("efficientnet_b6", "tf_ap_in1k", "tf_efficientnet_b6_ap-4ffb161f.pth", 560, 528),
    ("efficientnet_b6", "tf_ns_jft_in1k", "tf_efficientnet_b6_ns-51548356.pth", 560, 528),
    ("efficientnet_b7", "tf_aa_in1k", "tf_efficientnet_b7_aa-076e3472.pth", 632, 600),
    ("efficientnet_b7", "tf_ap_in1k", "tf_efficientnet_b7_ap-ddb28fec.pth", 632, 600),
    ("efficientnet_b7", "tf_ns_jft_in1k", "tf_efficientnet_b7_ns-1dbc32de.pth", 632, 600),
    ("efficientnet_b7", "tf_ra_in1k", "tf_efficientnet_b7_ra-6c08e654.pth", 632, 600),
)
CONVERTED_LITE = (
    ("efficientnet_lite0", "tf_in1k", "tf_efficientnet_lite0-0aa007d2.pth", 256, 224),
    ("efficientnet_lite1", "tf_in1k", "tf_efficientnet_lite1-bde8b488.pth", 272, 240),
    ("efficientnet_lite2", "tf_in1k", "tf_efficientnet_lite2-dcccb7df.pth", 292, 260),
    ("efficientnet_lite3", "tf_in1k", "tf_efficientnet_lite3-b733e338.pth", 331, 300),
    ("efficientnet_lite4", "tf_in1k", "tf_efficientnet_lite4-741542c3.pth", 413, 380),
)
BILINEAR = ("efficientnet_lite3", "efficientnet_lite4")  # the rest is bicubic


def timm_row(
    model: str, version: str, file: str, shorter: int, crop: int, *, centred: bool = False, **arguments: object
) -> Published:
    """Return a file of timm's first release of weights.

    Args:
        model, version, file: names.
        shorter, crop: of the preprocessing.
        centred: whether pixels go from -1 to 1 instead of having the mean and deviation of ImageNet.
        arguments: of the builder.
    """
    half = (0.5, 0.5, 0.5)
    return Published(
        model=model,
        version=f"timm/{version}",
        files=(File.named_by_digest(f"{RELEASE}/{file}"),),
        licence="Apache-2.0",
        preprocess=Preprocess(
            shorter=shorter,
            crop=(crop, crop),
            interpolation="bilinear" if model in BILINEAR else "bicubic",
            mean=half if centred else IMAGENET_MEAN,
            std=half if centred else IMAGENET_STD,
        ),
        layout=LAYOUT,
        categories=imagenet_categories,
        arguments=arguments,
    )


PUBLISHED = by_name(
    *(timm_row(*row, tensorflow=False) for row in (*TRAINED, *TRAINED_LITE)),
    *(timm_row(*row, centred=row[1] == "tf_ap_in1k", tensorflow=True) for row in CONVERTED),
    *(timm_row(*row, centred=True, tensorflow=True) for row in CONVERTED_LITE),
)
