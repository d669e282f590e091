"""Weights of RegNet that torchvision publishes: ImageNet-1k, its first (V1) and its longer (V2) training, and SWAG.

SWAG (Singh et al. 2022, arXiv 2201.08371) was trained on hashtags of images of Instagram; then all of it was tuned for
ImageNet-1k (`e2e`), or a linear layer on top of it only. Its licence forbids commercial use.
"""

from vidi.preprocess import Preprocess
from vidi.weights.layouts import Layout
from vidi.weights.published import by_name, torchvision_imagenet

NAMES = {
    "stem.0.weight": "backbone.stem.conv.weight",
    "stem.1.*": "backbone.stem.norm.*",
    "fc.*": "head.linear.*",
}
BLOCK = {
    "proj.0.weight": "skip.conv.weight",
    "proj.1.*": "skip.norm.*",
    "f.a.0.weight": "conv1.conv.weight",
    "f.a.1.*": "conv1.norm.*",
    "f.b.0.weight": "conv2.conv.weight",
    "f.b.1.*": "conv2.norm.*",
    "f.se.fc*.*": "se.fc*.*",
    "f.c.0.weight": "conv3.conv.weight",
    "f.c.1.*": "conv3.norm.*",
}
NAMES |= {
    f"trunk_output.block{stage + 1}.block{stage + 1}-*.{old}": f"backbone.stages.{stage}.*.{new}"
    for stage in range(4)
    for old, new in BLOCK.items()
}
LAYOUT = Layout("torchvision", NAMES)

V1 = Preprocess(shorter=256, crop=(224, 224))
V2 = Preprocess(shorter=232, crop=(224, 224))
SWAG = Preprocess(shorter=384, crop=(384, 384), interpolation="bicubic")
SWAG_LINEAR = Preprocess(shorter=224, crop=(224, 224), interpolation="bicubic")

# file, version, preprocessing, top-1, top-5
ROWS = (
    ("regnet_x_400mf-adf1edd5.pth", "imagenet1k_v1", V1, 72.834, 90.950),
    ("regnet_x_400mf-62229a5f.pth", "imagenet1k_v2", V2, 74.864, 92.322),
    ("regnet_x_800mf-ad17e45c.pth", "imagenet1k_v1", V1, 75.212, 92.348),
    ("regnet_x_800mf-94a99ebd.pth", "imagenet1k_v2", V2, 77.522, 93.826),
    ("regnet_x_1_6gf-e3633e7f.pth", "imagenet1k_v1", V1, 77.040, 93.440),
    ("regnet_x_1_6gf-a12f2b72.pth", "imagenet1k_v2", V2, 79.668, 94.922),
    ("regnet_x_3_2gf-f342aeae.pth", "imagenet1k_v1", V1, 78.364, 93.992),
    ("regnet_x_3_2gf-7071aa85.pth", "imagenet1k_v2", V2, 81.196, 95.430),
    ("regnet_x_8gf-03ceed89.pth", "imagenet1k_v1", V1, 79.344, 94.686),
    ("regnet_x_8gf-2b70d774.pth", "imagenet1k_v2", V2, 81.682, 95.678),
    ("regnet_x_16gf-2007eb11.pth", "imagenet1k_v1", V1, 80.058, 94.944),
    ("regnet_x_16gf-ba3796d7.pth", "imagenet1k_v2", V2, 82.716, 96.196),
    ("regnet_x_32gf-9d47f8d0.pth", "imagenet1k_v1", V1, 80.622, 95.248),
    ("regnet_x_32gf-6eb8fdc6.pth", "imagenet1k_v2", V2, 83.014, 96.288),
    ("regnet_y_400mf-c65dace8.pth", "imagenet1k_v1", V1, 74.046, 91.716),
    ("regnet_y_400mf-e6988f5f.pth", "imagenet1k_v2", V2, 75.804, 92.742),
    ("regnet_y_800mf-1b27b58c.pth", "imagenet1k_v1", V1, 76.420, 93.136),
    ("regnet_y_800mf-58fc7688.pth", "imagenet1k_v2", V2, 78.828, 94.502),
    ("regnet_y_1_6gf-b11a554e.pth", "imagenet1k_v1", V1, 77.950, 93.966),
    ("regnet_y_1_6gf-0d7bc02a.pth", "imagenet1k_v2", V2, 80.876, 95.444),
    ("regnet_y_3_2gf-b5a9779c.pth", "imagenet1k_v1", V1, 78.948, 94.576),
    ("regnet_y_3_2gf-9180c971.pth", "imagenet1k_v2", V2, 81.982, 95.972),
    ("regnet_y_8gf-d0d0e4a8.pth", "imagenet1k_v1", V1, 80.032, 95.048),
    ("regnet_y_8gf-dc2b1b54.pth", "imagenet1k_v2", V2, 82.828, 96.330),
    ("regnet_y_16gf-9e6ed7dd.pth", "imagenet1k_v1", V1, 80.424, 95.240),
    ("regnet_y_16gf-3e4a00f9.pth", "imagenet1k_v2", V2, 82.886, 96.328),
    ("regnet_y_32gf-4dee3f7a.pth", "imagenet1k_v1", V1, 80.878, 95.340),
    ("regnet_y_32gf-8db6d4b5.pth", "imagenet1k_v2", V2, 83.368, 96.498),
)
SWAG_ROWS = (
    ("regnet_y_16gf_swag-43afe44d.pth", "imagenet1k_swag_e2e_v1", SWAG, 86.012, 98.054),
    ("regnet_y_16gf_lc_swag-f3ec0043.pth", "imagenet1k_swag_linear_v1", SWAG_LINEAR, 83.976, 97.244),
    ("regnet_y_32gf_swag-04fdfa75.pth", "imagenet1k_swag_e2e_v1", SWAG, 86.838, 98.362),
    ("regnet_y_32gf_lc_swag-e1583746.pth", "imagenet1k_swag_linear_v1", SWAG_LINEAR, 84.622, 97.480),
    ("regnet_y_128gf_swag-c8ce3e52.pth", "imagenet1k_swag_e2e_v1", SWAG, 88.228, 98.682),
    ("regnet_y_128gf_lc_swag-cbe8ce12.pth", "imagenet1k_swag_linear_v1", SWAG_LINEAR, 86.068, 97.844),
)

PUBLISHED = by_name(
    *(torchvision_imagenet(*row, LAYOUT) for row in ROWS),
    *(
        torchvision_imagenet(*row, LAYOUT, model=row[0].split("_lc_")[0].split("_swag")[0], licence="CC-BY-NC-4.0")
        for row in SWAG_ROWS
    ),
)
