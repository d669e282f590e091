"""Weights of MobileNetV2 of several widths that timm publishes (Hugging Face ids timm/mobilenetv2_100.ra_in1k etc.)."""

from vidi.weights.published import by_name
from vidi.weights.tables.timm_efficientnet import timm_row

PUBLISHED = by_name(
    timm_row("mobilenet_v2", "050_lamb_in1k", "mobilenetv2_050-3d30d450.pth", 256, 224, width=0.5),
    timm_row("mobilenet_v2", "100_ra_in1k", "mobilenetv2_100_ra-b33bc2c4.pth", 256, 224),
    timm_row("mobilenet_v2", "140_ra_in1k", "mobilenetv2_140_ra-21a4e913.pth", 256, 224, width=1.4),
)
