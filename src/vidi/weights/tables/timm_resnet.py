"""Weights of ResNet, ResNeXt, Wide ResNet and the SE networks that timm publishes, beyond those of `timm_senet`.

Versions as in timm (Hugging Face ids timm/resnet50.a1_in1k and so on): a1, a2, a3, b, c, d of "ResNet strikes back"
(Wightman et al. 2021, arXiv 2110.00476), those of MXNet's Gluon, and Meta's that have seen a billion other images
(`fb_`, for non-commercial use only). Listed are files whose names carry a digest, and not torchvision's own, which timm
hands on as well. The preprocessing is that of timm's tests; their results are not part of its package.
"""

from vidi.preprocess import Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.published import File, Published, by_name
from vidi.weights.tables.timm_senet import LAYOUT

TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download"
TIMM_BEFORE = "https://github.com/rwightman/pytorch-image-models/releases/download"  # its former address, redirected
GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1"
META = "https://dl.fbaipublicfiles.com/semiweaksupervision/model_files"
META_WEAK = "https://download.pytorch.org/models"

# folder -> model, version, file, shorter side, crop
FREE = {
    f"{TIMM}/v0.1-rsb-weights": (
        ("resnet18", "a1_in1k", "resnet18_a1_0-d63eafa0.pth", 288, 288),
        ("resnet18", "a2_in1k", "resnet18_a2_0-b61bd467.pth", 288, 288),
        ("resnet18", "a3_in1k", "resnet18_a3_0-40c531c8.pth", 235, 224),
        ("resnet34", "a1_in1k", "resnet34_a1_0-46f8f793.pth", 288, 288),
        ("resnet34", "a2_in1k", "resnet34_a2_0-82d47d71.pth", 288, 288),
        ("resnet34", "a3_in1k", "resnet34_a3_0-a20cabb6.pth", 235, 224),
        ("resnet50", "a1h_in1k", "resnet50_a1h2_176-001a1197.pth", 224, 224),
        ("resnet50", "a2_in1k", "resnet50_a2_0-a2746f79.pth", 288, 288),
        ("resnet50", "a3_in1k", "resnet50_a3_0-59cae1ef.pth", 235, 224),
        ("resnet50", "b1k_in1k", "resnet50_b1k-532a802a.pth", 288, 288),
        ("resnet50", "b2k_in1k", "resnet50_b2k-1ba180c1.pth", 288, 288),
        ("resnet50", "c1_in1k", "resnet50_c1-5ba5e060.pth", 288, 288),
        ("resnet50", "c2_in1k", "resnet50_c2-d01e05b2.pth", 288, 288),
        ("resnet50", "d_in1k", "resnet50_d-f39db8af.pth", 288, 288),
        ("resnet101", "a1_in1k", "resnet101_a1_0-cdcb52a9.pth", 288, 288),
        ("resnet101", "a2_in1k", "resnet101_a2_0-6edb36c7.pth", 288, 288),
        ("resnet101", "a3_in1k", "resnet101_a3_0-1db14157.pth", 235, 224),
        ("resnet152", "a1_in1k", "resnet152_a1_0-2eee8a7a.pth", 288, 288),
        ("resnet152", "a2_in1k", "resnet152_a2_0-b4c6978f.pth", 288, 288),
        ("resnet152", "a3_in1k", "resnet152_a3_0-134d4688.pth", 235, 224),
        ("resnext50_32x4d", "a1_in1k", "resnext50_32x4d_a1_0-b5a91a1d.pth", 288, 288),
        ("resnext50_32x4d", "a2_in1k", "resnext50_32x4d_a2_0-efc76add.pth", 288, 288),
        ("resnext50_32x4d", "a3_in1k", "resnext50_32x4d_a3_0-3e450271.pth", 235, 224),
        ("seresnet50", "a1_in1k", "seresnet50_a1_0-ffa00869.pth", 288, 288),
        ("seresnet50", "a2_in1k", "seresnet50_a2_0-850de0d9.pth", 288, 288),
        ("seresnet50", "a3_in1k", "seresnet50_a3_0-317ecd56.pth", 235, 224),
    ),
    f"{TIMM_BEFORE}/v0.1-rsb-weights": (
        ("resnet50", "a1_in1k", "resnet50_a1_0-14fe96d1.pth", 288, 288),
        ("resnet101", "a1h_in1k", "resnet101_a1h-36d3f2aa.pth", 288, 288),
        ("resnet152", "a1h_in1k", "resnet152_a1h-dc400468.pth", 288, 288),
        ("resnext50_32x4d", "a1h_in1k", "resnext50_32x4d_a1h-0146ab0a.pth", 288, 288),
    ),
    f"{TIMM}/v0.1-weights": (
        ("resnet50", "am_in1k", "resnet50_am-6c502b37.pth", 256, 224),
        ("resnet50", "bt_in1k", "rw_resnet50-86acaeed.pth", 303, 288),
        ("resnet50", "ra_in1k", "resnet50_ra-85ebb6e5.pth", 303, 288),
        ("resnet50", "ram_in1k", "resnet50_ram-a26f946b.pth", 303, 288),
        ("resnext50_32x4d", "ra_in1k", "resnext50_32x4d_ra-d733960d.pth", 303, 288),
    ),
    f"{TIMM_BEFORE}/v0.1-weights": (
        ("resnet34", "bt_in1k", "resnet34-43635321.pth", 303, 288),
        ("wide_resnet50_2", "racm_in1k", "wide_resnet50_racm-8234f177.pth", 303, 288),
    ),
    f"{TIMM_BEFORE}/v0.1-tpu-weights": (
        ("resnext101_64x4d", "c1_in1k", "resnext101_64x4d_c-0d0e0cc0.pth", 288, 288),
        ("seresnext101_32x8d", "ah_in1k", "seresnext101_32x8d_ah-e6bc4c0a.pth", 288, 288),
    ),
    GLUON: (
        ("resnet18", "gluon_in1k", "gluon_resnet18_v1b-0757602b.pth", 256, 224),
        ("resnet34", "gluon_in1k", "gluon_resnet34_v1b-c6d82d59.pth", 256, 224),
        ("resnet50", "gluon_in1k", "gluon_resnet50_v1b-0ebe02e2.pth", 256, 224),
        ("resnet101", "gluon_in1k", "gluon_resnet101_v1b-3b017079.pth", 256, 224),
        ("resnet152", "gluon_in1k", "gluon_resnet152_v1b-c1edb0dd.pth", 256, 224),
        ("resnext50_32x4d", "gluon_in1k", "gluon_resnext50_32x4d-e6a097c1.pth", 256, 224),
        ("resnext101_64x4d", "gluon_in1k", "gluon_resnext101_64x4d-f9a8e184.pth", 256, 224),
        ("seresnext50_32x4d", "gluon_in1k", "gluon_seresnext50_32x4d-90cf2d6e.pth", 256, 224),
    ),
}

# folder -> model, version, file
NON_COMMERCIAL = {
    META: (
        ("resnet18", "fb_ssl_yfcc100m_ft_in1k", "semi_supervised_resnet18-d92f0530.pth"),
        ("resnet18", "fb_swsl_ig1b_ft_in1k", "semi_weakly_supervised_resnet18-118f1556.pth"),
        ("resnet50", "fb_ssl_yfcc100m_ft_in1k", "semi_supervised_resnet50-08389792.pth"),
        ("resnet50", "fb_swsl_ig1b_ft_in1k", "semi_weakly_supervised_resnet50-16a12f1b.pth"),
        ("resnext50_32x4d", "fb_ssl_yfcc100m_ft_in1k", "semi_supervised_resnext50_32x4-ddb3e555.pth"),
        ("resnext50_32x4d", "fb_swsl_ig1b_ft_in1k", "semi_weakly_supervised_resnext50_32x4-72679e44.pth"),
        ("resnext101_32x8d", "fb_ssl_yfcc100m_ft_in1k", "semi_supervised_resnext101_32x8-2cfe2f8b.pth"),
        ("resnext101_32x8d", "fb_swsl_ig1b_ft_in1k", "semi_weakly_supervised_resnext101_32x8-b4712904.pth"),
    ),
    META_WEAK: (("resnext101_32x8d", "fb_wsl_ig1b_ft_in1k", "ig_resnext101_32x8-c38310e5.pth"),),
}


def timm_resnet(
    model: str, version: str, url: str, preprocess: Preprocess, *, licence: str = "Apache-2.0", **arguments: str
) -> Published:
    """Return a file of the family that timm lists; further arguments are the builder's."""
    return Published(
        model=model,
        version=f"timm/{version}",
        files=(File.named_by_digest(url),),
        licence=licence,
        preprocess=preprocess,
        layout=LAYOUT,
        categories=imagenet_categories,
        arguments=arguments,
    )


PUBLISHED = by_name(
    timm_resnet(
        "resnet50",
        "gn_a1h_in1k",  # of timm's resnet50_gn
        f"{TIMM_BEFORE}/v0.1-rsb-weights/resnet50_gn_a1h2-8fe6c4d0.pth",
        Preprocess(shorter=303, crop=(288, 288), interpolation="bicubic"),
        norm="group",
    ),
    *(
        timm_resnet(
            model,
            version,
            f"{folder}/{file}",
            Preprocess(shorter=shorter, crop=(crop, crop), interpolation="bicubic"),
        )
        for folder, rows in FREE.items()
        for model, version, file, shorter, crop in rows
    ),
    *(
        timm_resnet(
            model,
            version,
            f"{folder}/{file}",
            Preprocess(shorter=256, crop=(224, 224)),
            licence="CC-BY-NC-4.0",
        )
        for folder, rows in NON_COMMERCIAL.items()
        for model, version, file in rows
    ),
)
