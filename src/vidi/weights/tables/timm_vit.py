"""Weights of vision transformers that timm publishes (Hugging Face: timm/vit_base_patch16_224.orig_in21k_ft_in1k ...).

Those of the paper (`orig`: pre-trained on ImageNet-21k, tuned on ImageNet-1k) and of DeiT (Touvron et al. 2021,
2012.12877: on ImageNet-1k from scratch). Listed are the files whose names carry a digest; any other one, once it is on
this machine, is loaded by `vidi.weights.local_files`.
"""

from functools import partial

from vidi.backbones.vit import fitted_positions
from vidi.preprocess import HALF, Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout
from vidi.weights.packed_projections import unpacked
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under

LAYER = {
    "norm1.*": "attention_residual.norm.*",
    "attn.qkv.*": "attention.query_key_value.*",
    "attn.proj.*": "attention.output.*",
    "norm2.*": "feed_forward_residual.norm.*",
    "mlp.fc1.*": "feed_forward.widen.*",
    "mlp.fc2.*": "feed_forward.narrow.*",
}
TRUNK = {
    "cls_token": "class_token",
    "patch_embed.proj.*": "embedding.projection.*",
    "pos_embed": "positions.table",
    "norm.*": "encoder.norm.*",
} | {f"blocks.*.{old}": f"encoder.layers.*.{new}" for old, new in LAYER.items()}
CLASSIFIER = under(TRUNK, "", "backbone.") | {"head.*": "head.linear.*"}
LAYOUT = Layout("timm", CLASSIFIER, convert=unpacked, fit=partial(fitted_positions, antialias=True))

JAX = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx"
DEIT = "https://dl.fbaipublicfiles.com/deit"

# the crop is 0.9 of the resized side at 224 pixels, all of it at 384
PAPER_224 = Preprocess(shorter=248, crop=(224, 224), interpolation="bicubic", mean=HALF, std=HALF)
PAPER_384 = Preprocess(shorter=384, crop=(384, 384), interpolation="bicubic", mean=HALF, std=HALF)
DEIT_224 = Preprocess(shorter=248, crop=(224, 224), interpolation="bicubic")
DEIT_384 = Preprocess(shorter=384, crop=(384, 384), interpolation="bicubic")

# builder, version, where, file, preprocessing
ROWS = (
    ("vit_tiny", "deit_fb_in1k", DEIT, "deit_tiny_patch16_224-a1311bcf.pth", DEIT_224),
    ("vit_small", "deit_fb_in1k", DEIT, "deit_small_patch16_224-cd65a155.pth", DEIT_224),
    ("vit_b_16", "orig_in21k_ft_in1k", JAX, "jx_vit_base_p16_224-80ecf9dd.pth", PAPER_224),
    ("vit_b_16", "orig_in21k_ft_in1k_384", JAX, "jx_vit_base_p16_384-83fb41ba.pth", PAPER_384),
    ("vit_b_16", "deit_fb_in1k", DEIT, "deit_base_patch16_224-b5f2ef4d.pth", DEIT_224),
    ("vit_b_16", "deit_fb_in1k_384", DEIT, "deit_base_patch16_384-8de9b5d1.pth", DEIT_384),
    ("vit_l_32", "orig_in21k_ft_in1k_384", JAX, "jx_vit_large_p32_384-9b920ba8.pth", PAPER_384),
)

PUBLISHED = by_name(
    *(
        Published(
            model=model,
            version=f"timm/{version}",
            files=(File.named_by_digest(f"{where}/{file}"),),
            layout=LAYOUT,
            licence="Apache-2.0",
            preprocess=preprocess,
            categories=imagenet_categories,
            arguments={} if preprocess.crop == (224, 224) else {"size": preprocess.crop},
        )
        for model, version, where, file, preprocess in ROWS
    )
)
